//! Conversions that a key has touched without being their last touch.

use std::collections::BTreeMap;

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
    let links = match by.is_of_link() || slice.filters_links() {
        true => links_of(journeys.iter().flat_map(|(_, steps)| steps)),
        false => Vec::new(),
    };
    let mut keys = LinkKeys::load(ledger, slice, by, &links).await?;
    let in_slice = |touch: &Touch<'_>| {
        slice.clock != Clock::Click || (slice.from_day..slice.to_day).contains(&touch.day)
    };
    let mut whole = 0;
    // By the keys' numbers.
    let mut counts: Vec<i64> = Vec::new();
    let (mut touched, mut ended_by) = (Vec::new(), Vec::new());
    for (group, steps) in &journeys {
        let Some((last, before)) = steps.split_last() else { continue };
        touched.clear();
        ended_by.clear();
        for step in before {
            if let Some(touch) = passing(&keys, slice, step).filter(in_slice) {
                add_keys(&mut keys, slice, by, group, &touch, &mut touched)?;
            }
        }
        let last = passing(&keys, slice, last);
        if let Some(last) = &last {
            add_keys(&mut keys, slice, by, group, last, &mut ended_by)?;
        }
        whole += i64::from(!touched.is_empty() && last.is_none());
        touched.sort_unstable();
        touched.dedup();
        counts.resize(keys.keys.len(), 0);
        touched.iter().filter(|key| !ended_by.contains(key)).for_each(|key| counts[*key] += 1);
    }
    let counted = keys.keys.into_iter().zip(counts).filter(|(_, count)| *count > 0);
    Ok(Assists { by_key: counted.collect(), whole })
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

/// The numbers of the report's rows that a touch belongs to.
fn add_keys(
    keys: &mut LinkKeys,
    slice: &Slice,
    by: Dimension,
    group: &Lines,
    touch: &Touch<'_>,
    into: &mut Vec<usize>,
) -> Result<(), LedgerError> {
    let day = match slice.clock {
        Clock::Click => touch.day,
        Clock::Order | Clock::Cash => group.order_day,
    };
    let text = |text: &str| match text {
        "" => Key::None,
        text => Key::Text(text.to_owned()),
    };
    let key = match by {
        Dimension::Source => text(&group.source),
        Dimension::Country => text(touch.country),
        Dimension::Device => text(touch.device),
        Dimension::Day => Key::Number(day),
        Dimension::Week => Key::Number((day + 3).div_euclid(7) * 7 - 3),
        Dimension::Month => {
            let day = i32::try_from(day).map_err(|_| LedgerError::Damaged(format!("day {day}")))?;
            Key::Number(i64::from(day_number(day_date(day).first_of_month())))
        }
        _ => {
            into.extend(keys.of(touch));
            return Ok(());
        }
    };
    into.push(keys.keys.insert_full(key).0);
    Ok(())
}
