//! The journeys of one visitor that did not come to a conversion.

use std::collections::BTreeSet;

use crate::domain::ids::{ClickId, LinkId};

/// A longer journey counts by its last clicks.
const CLICKS_MAX: usize = 100;

#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Clicks so long before a conversion are its touches.
    pub lookback_ms: i64,
    /// A pause of more than this ends a journey, and a journey reaches no further back from its last click.
    pub window_ms: i64,
    /// Of clicks on one link in one span of the clock, the first counts.
    pub duplicate_ms: i64,
}

/// `clicks` in order of time; `conversions_ms`: T of the visitor's conversions; `named`: clicks that conversions
/// name besides. What leads to a conversion is no null journey, and what comes after it begins another.
pub fn null_journeys(
    clicks: &[(ClickId, LinkId)],
    conversions_ms: &BTreeSet<i64>,
    named: &BTreeSet<ClickId>,
    rules: &Rules,
) -> Vec<Vec<(ClickId, LinkId)>> {
    let mut journeys = Vec::new();
    let mut journey: Vec<(ClickId, LinkId)> = Vec::new();
    let mut spans = BTreeSet::new();
    for &(click, link) in clicks {
        let at_ms = click.at_ms();
        let is_touch = named.contains(&click)
            || conversions_ms.range(at_ms..=at_ms.saturating_add(rules.lookback_ms)).next().is_some();
        if let Some((last, _)) = journey.last()
            && (is_touch
                || at_ms - last.at_ms() > rules.window_ms
                || conversions_ms.range(last.at_ms()..at_ms).next().is_some())
        {
            journeys.push(std::mem::take(&mut journey));
        }
        if !is_touch && spans.insert((link, at_ms.div_euclid(rules.duplicate_ms))) {
            journey.push((click, link));
        }
    }
    journeys.push(journey);
    for journey in &mut journeys {
        let last_ms = journey.last().map_or(0, |(last, _)| last.at_ms());
        journey.retain(|(click, _)| last_ms - click.at_ms() <= rules.window_ms);
        let surplus = journey.len().saturating_sub(CLICKS_MAX);
        journey.drain(..surplus);
    }
    journeys.retain(|journey| !journey.is_empty());
    journeys
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { lookback_ms: 50, window_ms: 30, duplicate_ms: 10 };

    fn check(clicks: &[(i64, i64)], conversions_ms: &[i64], named: &[i64], expected: &[&[i64]]) {
        let id = |at_ms: i64| {
            let mut bytes = [0; 16];
            bytes[..6].copy_from_slice(&at_ms.to_be_bytes()[2..]);
            ClickId::from_bytes(bytes)
        };
        let clicks: Vec<_> =
            clicks.iter().map(|(at_ms, link)| (id(*at_ms), LinkId::from_i64(*link).unwrap())).collect();
        let named = named.iter().map(|at_ms| id(*at_ms)).collect();
        let found = null_journeys(&clicks, &conversions_ms.iter().copied().collect(), &named, &RULES);
        let found: Vec<Vec<i64>> =
            found.iter().map(|journey| journey.iter().map(|(click, _)| click.at_ms()).collect()).collect();
        assert_eq!(found, expected, "{conversions_ms:?}");
    }

    #[test]
    fn what_leads_to_a_conversion_is_no_null_journey() {
        check(&[], &[], &[], &[]);
        check(&[(100, 1), (110, 2)], &[], &[], &[&[100, 110]]);
        check(&[(100, 1), (110, 2)], &[110], &[], &[]);
        // A conversion between two clicks ends the one and begins another.
        check(&[(100, 1), (160, 2)], &[155], &[], &[&[100], &[160]]);
        check(&[(100, 1), (120, 2)], &[110], &[], &[&[120]]);
        check(&[(100, 1), (110, 2), (120, 1)], &[], &[110], &[&[100], &[120]]);
        // A pause does so too.
        check(&[(100, 1), (131, 2)], &[], &[], &[&[100], &[131]]);
        // It reaches no further back than a window.
        check(&[(100, 1), (120, 2), (140, 3)], &[], &[], &[&[120, 140]]);
        // A double click is one.
        check(&[(100, 1), (104, 1), (108, 2), (110, 1)], &[], &[], &[&[100, 108, 110]]);
    }
}
