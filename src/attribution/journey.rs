//! From what is known about a conversion to its touches: match, causality, window, duplicates, rivals.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ids::{ClickId, LinkId, VisitorId};

/// How a conversion found its touches, best first. The first that gives a touch names the match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    ClickToken,
    Customer,
    Coupon,
    Utm,
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClickToken => "click_token",
            Self::Customer => "customer",
            Self::Coupon => "coupon",
            Self::Utm => "utm",
        }
    }
}

/// A click that may be a touch, or a link that stands for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub method: Method,
    pub link: LinkId,
    /// None for what is only inferred (coupon, UTM values): it sits at T.
    pub click: Option<ClickId>,
    pub visitor: Option<VisitorId>,
    /// ISO 3166 alpha-2 and device class, where the click's record was seen.
    pub country: Option<String>,
    pub device: Option<String>,
}

/// Everything about one conversion that decides its touches.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The order's own time.
    pub occurred_ms: i64,
    pub candidates: Vec<Candidate>,
    /// The channel of the order's own foreign landing, if it has one.
    pub rival_channel: Option<String>,
    /// When the customer's latest earlier purchase was, if that ends the journey.
    pub cut_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub lookback_ms: i64,
    pub duplicate_ms: i64,
    pub include_rival_touches: bool,
}

/// A touch of a conversion. `link` None: a rival touch of `channel`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    pub at_ms: i64,
    pub method: Option<Method>,
    pub link: Option<LinkId>,
    pub click: Option<ClickId>,
    pub visitor: Option<VisitorId>,
    pub channel: Option<String>,
    pub country: Option<String>,
    pub device: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journey {
    /// T: the later of the order time and the clicks that the order itself names.
    pub t_ms: i64,
    /// Ordered by (time, click id), the rival last at equal times.
    pub touches: Vec<Touch>,
    /// The method that named the match; None where nothing matched.
    pub method: Option<Method>,
    /// Other methods that had something to say.
    pub runners_up: Vec<Method>,
    /// Why there is no touch of ours, where there is none.
    pub reason: Option<&'static str>,
}

pub fn journey(evidence: &Evidence, rules: &Rules) -> Journey {
    // An order that names a click proves that the click came first, whatever the clocks say.
    let named = evidence.candidates.iter().filter(|c| c.method == Method::ClickToken);
    let t_ms = named.filter_map(|c| c.click).map(|click| click.at_ms()).fold(evidence.occurred_ms, i64::max);
    let from_ms = (t_ms - rules.lookback_ms).max(evidence.cut_ms.map_or(i64::MIN, |cut| cut + 1));
    let in_window = |c: &&Candidate| c.click.is_none_or(|click| (from_ms..=t_ms).contains(&click.at_ms()));

    let candidates = once_per_click(&evidence.candidates);
    let spoke: BTreeSet<Method> = candidates.iter().map(|c| c.method).collect();
    let within: Vec<&Candidate> = candidates.iter().filter(in_window).collect();
    let method = within.iter().map(|c| c.method).min();

    // Clicks of the visitor and of the customer count together; what is only inferred counts only
    // where there are none of them.
    let counted = |c: &&&Candidate| match method {
        Some(Method::ClickToken | Method::Customer) => c.method <= Method::Customer,
        named => Some(c.method) == named,
    };
    let mut touches: Vec<Touch> = Vec::new();
    for candidate in first_of_span(within.iter().filter(counted).copied(), rules.duplicate_ms) {
        touches.push(Touch {
            at_ms: candidate.click.map_or(t_ms, |click| click.at_ms()),
            method: Some(candidate.method),
            link: Some(candidate.link),
            click: candidate.click,
            visitor: candidate.visitor,
            channel: None,
            country: candidate.country.clone(),
            device: candidate.device.clone(),
        });
    }
    touches.sort_by_key(|touch| (touch.at_ms, touch.click, touch.link));
    let ours = !touches.is_empty();
    if let Some(channel) = evidence.rival_channel.clone().filter(|_| rules.include_rival_touches) {
        touches.push(Touch {
            at_ms: t_ms,
            method: None,
            link: None,
            click: None,
            visitor: None,
            channel: Some(channel),
            country: None,
            device: None,
        });
    }
    let reason = match (ours, touches.is_empty(), spoke.is_empty()) {
        (true, ..) => None,
        (false, false, _) => Some("other_channel"),
        (false, true, false) => Some("outside_window"),
        (false, true, true) => Some("no_match"),
    };
    let runners_up = spoke.into_iter().filter(|m| Some(*m) != method).collect();
    Journey { t_ms, touches, method, runners_up, reason }
}

/// Each click once, by its best method: what two methods know alike is said by the better one, so that a
/// journey that has expired since says nothing less. In order of click id, so in order of time.
fn once_per_click(candidates: &[Candidate]) -> Vec<Candidate> {
    let mut by_click: BTreeMap<(Option<ClickId>, LinkId, Option<Method>), Candidate> = BTreeMap::new();
    for candidate in candidates {
        // Without a click, each method speaks for itself.
        let inferred = candidate.click.is_none().then_some(candidate.method);
        by_click
            .entry((candidate.click, candidate.link, inferred))
            .and_modify(|known| {
                known.method = known.method.min(candidate.method);
                known.visitor = known.visitor.or(candidate.visitor);
                known.country = known.country.take().or_else(|| candidate.country.clone());
                known.device = known.device.take().or_else(|| candidate.device.clone());
            })
            .or_insert_with(|| candidate.clone());
    }
    by_click.into_values().collect()
}

/// Of clicks of one visitor on one link within one span of `duplicate_ms` the earliest. A span is a fixed
/// piece of the clock, so arrival order does not matter.
fn first_of_span<'a>(
    candidates: impl Iterator<Item = &'a Candidate>,
    duplicate_ms: i64,
) -> impl Iterator<Item = &'a Candidate> {
    let mut spans: BTreeSet<(VisitorId, LinkId, i64)> = BTreeSet::new();
    candidates.filter(move |candidate| match (candidate.visitor, candidate.click) {
        (Some(visitor), Some(click)) => {
            spans.insert((visitor, candidate.link, click.at_ms().div_euclid(duplicate_ms)))
        }
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const DAY_MS: i64 = 24 * HOUR_MS;
    const NOW_MS: i64 = 1_795_000_000_000;
    const RULES: Rules =
        Rules { lookback_ms: 100 * DAY_MS, duplicate_ms: 10_000, include_rival_touches: true };

    fn link(n: i64) -> LinkId {
        LinkId::from_i64(n).unwrap()
    }

    fn click(method: Method, n: i64, at_ms: i64) -> Candidate {
        Candidate {
            method,
            link: link(n),
            click: Some(ClickId::generate(at_ms)),
            visitor: Some(VisitorId::from_bytes([7; 12])),
            country: None,
            device: None,
        }
    }

    fn inferred(method: Method, n: i64) -> Candidate {
        Candidate { click: None, visitor: None, ..click(method, n, 0) }
    }

    fn links(candidates: Vec<Candidate>) -> (Vec<i64>, Option<Method>, Option<&'static str>) {
        let evidence = Evidence { occurred_ms: NOW_MS, candidates, ..Evidence::default() };
        let journey = journey(&evidence, &RULES);
        let links = journey.touches.iter().map(|t| t.link.map_or(-1, LinkId::as_i64)).collect();
        (links, journey.method, journey.reason)
    }

    #[test]
    fn touches_are_ordered_and_the_best_method_names_the_match() {
        use Method::{ClickToken, Coupon, Customer, Utm};
        assert_eq!(links(vec![]), (vec![], None, Some("no_match")));
        assert_eq!(
            links(vec![
                click(ClickToken, 2, NOW_MS - HOUR_MS),
                click(Customer, 1, NOW_MS - DAY_MS),
                inferred(Coupon, 3),
            ]),
            (vec![1, 2], Some(ClickToken), None)
        );
        assert_eq!(links(vec![inferred(Utm, 4), inferred(Coupon, 3)]), (vec![3], Some(Coupon), None));
        assert_eq!(
            links(vec![click(Customer, 1, NOW_MS - 101 * DAY_MS)]),
            (vec![], None, Some("outside_window"))
        );
        // A click after the order that it does not name is no cause of it.
        assert_eq!(links(vec![click(Customer, 1, NOW_MS + 1)]), (vec![], None, Some("outside_window")));
        // One that it names came first, whatever the clocks say.
        assert_eq!(
            links(vec![click(ClickToken, 1, NOW_MS + 5_000), click(Customer, 2, NOW_MS + 4_000)]),
            (vec![2, 1], Some(ClickToken), None)
        );
    }

    #[test]
    fn a_method_that_only_repeats_another_is_no_runner_up() {
        let one = click(Method::ClickToken, 1, NOW_MS - DAY_MS);
        let again = Candidate { method: Method::Customer, ..one.clone() };
        let runners_up = |candidates| {
            journey(&Evidence { occurred_ms: NOW_MS, candidates, ..Evidence::default() }, &RULES).runners_up
        };
        assert_eq!(runners_up(vec![one.clone(), again.clone(), inferred(Method::Utm, 1)]), [Method::Utm]);
        let more = click(Method::Customer, 1, NOW_MS - HOUR_MS);
        assert_eq!(runners_up(vec![one, again, more]), [Method::Customer]);
    }

    #[test]
    fn a_click_counts_once() {
        let one = click(Method::ClickToken, 1, NOW_MS - DAY_MS);
        let again = Candidate { method: Method::Customer, ..one.clone() };
        assert_eq!(links(vec![one, again]).0, [1]);
        // A double click is one touch; a click in the next span is another.
        let at_ms = (NOW_MS - DAY_MS).div_euclid(10_000) * 10_000;
        let double = |ms| click(Method::Customer, 1, at_ms + ms);
        assert_eq!(links(vec![double(9_999), double(0), double(10_000)]).0, [1, 1]);
    }

    #[test]
    fn a_foreign_landing_takes_its_share_and_stands_last() {
        let mut evidence = Evidence {
            occurred_ms: NOW_MS,
            candidates: vec![click(Method::Customer, 1, NOW_MS)],
            rival_channel: Some("paid_search".into()),
            cut_ms: None,
        };
        let touches = journey(&evidence, &RULES).touches;
        assert_eq!(touches[1].channel.as_deref(), Some("paid_search"));
        evidence.candidates.clear();
        assert_eq!(journey(&evidence, &RULES).reason, Some("other_channel"));
        let ignore = Rules { include_rival_touches: false, ..RULES };
        assert_eq!(journey(&evidence, &ignore).reason, Some("no_match"));
    }

    #[test]
    fn an_earlier_purchase_can_end_the_journey() {
        let evidence = Evidence {
            occurred_ms: NOW_MS,
            candidates: vec![
                click(Method::Customer, 1, NOW_MS - 2 * DAY_MS),
                click(Method::Customer, 2, NOW_MS - HOUR_MS),
            ],
            cut_ms: Some(NOW_MS - DAY_MS),
            ..Evidence::default()
        };
        assert_eq!(journey(&evidence, &RULES).touches.len(), 1);
    }
}
