//! Conversions that a key has touched without being their last touch.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row;

use super::journeys::{LinkKeys, Step, Touch, links_of, steps};
use super::{Clock, Dimension, Key, Query, Slice};
use crate::domain::time::{day_date, day_number};
use crate::ledger::{Ledger, LedgerError};

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Assists {
    /// Distinct conversions by key.
    pub by_key: BTreeMap<Key, i64>,
    /// Those that some of our touches assisted and none ended.
    pub whole: i64,
}

/// Conversions of the same day and source, each journey on a line.
struct Lines {
    order_day: i64,
    source: String,
    journeys: String,
}

pub async fn assists(ledger: &Ledger, slice: &Slice, by: Dimension) -> Result<Assists, LedgerError> {
    let groups = lines(ledger, slice).await?;
    let mut journeys: Vec<(&Lines, Vec<Step<'_>>)> = Vec::new();
    for group in &groups {
        for journey in group.journeys.split('\n') {
            journeys.push((group, steps(journey)?));
        }
    }
    let links = links_of(journeys.iter().flat_map(|(_, steps)| steps));
    let keys = LinkKeys::load(ledger, slice, by, &links).await?;
    let in_slice = |touch: &Touch<'_>| {
        slice.clock != Clock::Click || (slice.from_day..slice.to_day).contains(&touch.day)
    };
    let mut assists = Assists::default();
    for (group, steps) in &journeys {
        let Some((last, before)) = steps.split_last() else { continue };
        let mut touched: BTreeSet<Key> = BTreeSet::new();
        for touch in before.iter().filter_map(|step| passing(&keys, slice, step)).filter(in_slice) {
            touched.extend(keys_of(&keys, slice, by, group, &touch)?);
        }
        let ended_by = match passing(&keys, slice, last) {
            Some(last) => Some(keys_of(&keys, slice, by, group, &last)?),
            None => None,
        };
        assists.whole += i64::from(!touched.is_empty() && ended_by.is_none());
        let ended_by = ended_by.unwrap_or_default();
        for key in touched.into_iter().filter(|key| !ended_by.contains(key)) {
            *assists.by_key.entry(key).or_default() += 1;
        }
    }
    Ok(assists)
}

/// Our touch, if the filters let it pass.
fn passing<'a>(keys: &LinkKeys, slice: &Slice, step: &Step<'a>) -> Option<Touch<'a>> {
    match step {
        Step::Ours(touch) if keys.passes(slice, touch) => Some(*touch),
        Step::Ours(_) | Step::Rival(_) => None,
    }
}

/// The journeys with several touches that the slice may look at.
async fn lines(ledger: &Ledger, slice: &Slice) -> Result<Vec<Lines>, LedgerError> {
    let mut query = Query::new(
        "SELECT v.order_day, v.source, string_agg(v.journey, '\n') FROM conversions v WHERE v.workspace = ",
    );
    query.text(&slice.workspace).push(" AND v.touch_count > 1 AND v.event = ").text(&slice.event);
    // A click is mostly, but not always, before its order.
    if slice.clock != Clock::Click {
        query.push(" AND v.order_day >= ").number(slice.from_day);
        query.push(" AND v.order_day < ").number(slice.to_day);
    }
    if let Some(source) = slice.filter(Dimension::Source) {
        query.push(" AND v.source = ").key(source);
    }
    query.push(" GROUP BY v.order_day, v.source");
    let rows = query.fetch(ledger).await?;
    let line = |row: &_| {
        Ok(Lines {
            order_day: Row::try_get(row, 0)?,
            source: Row::try_get(row, 1)?,
            journeys: Row::try_get(row, 2)?,
        })
    };
    rows.iter().map(line).collect()
}

/// The report's rows that a touch belongs to.
fn keys_of(
    keys: &LinkKeys,
    slice: &Slice,
    by: Dimension,
    group: &Lines,
    touch: &Touch<'_>,
) -> Result<Vec<Key>, LedgerError> {
    let day = match slice.clock {
        Clock::Click => touch.day,
        Clock::Order | Clock::Cash => group.order_day,
    };
    let text = |text: &str| match text {
        "" => Key::None,
        text => Key::Text(text.to_owned()),
    };
    Ok(vec![match by {
        Dimension::Source => text(&group.source),
        Dimension::Country => text(touch.country),
        Dimension::Device => text(touch.device),
        Dimension::Day => Key::Number(day),
        Dimension::Week => Key::Number((day + 3).div_euclid(7) * 7 - 3),
        Dimension::Month => {
            let day = i32::try_from(day).map_err(|_| LedgerError::Damaged(format!("day {day}")))?;
            Key::Number(i64::from(day_number(day_date(day).first_of_month())))
        }
        _ => return Ok(keys.of(touch).to_vec()),
    }])
}
