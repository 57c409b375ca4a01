//! Journeys that did not convert, as they were counted before they expired.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::clicks::unpacked_spans;
use super::{Dimension, Journeys, Key, PathKey, Query, Slice, key, whole_months};
use crate::domain::time::month_after;
use crate::ledger::packs::Link;
use crate::ledger::paths::PathCounts;
use crate::ledger::{Ledger, LedgerError, blocking};

/// Adds the journeys whose last click is of the slice's days and that did not come to the slice's event. Of the
/// slice's filters none applies: what did not convert has no source.
pub async fn add_null_paths(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
    journeys: Journeys,
) -> Result<Journeys, LedgerError> {
    let months = whole_months(slice.from_day, slice.to_day);
    let months = counted(ledger, slice, "month", months).await?;
    let known = months.iter().map(|row| row.try_get(1)).collect::<Result<Vec<i64>, _>>()?;
    let mut rows = months;
    for days in unpacked_spans(slice, known.into_iter().map(|month| (month, month_after(month)))) {
        rows.extend(counted(ledger, slice, "day", days).await?);
    }
    if rows.is_empty() {
        return Ok(journeys);
    }
    let keys = link_keys(ledger, slice, by).await?;
    // Millions of journeys, in a large workspace: others are not to wait for them.
    blocking(move || {
        let mut adding = Adding { by, keys, numbers: HashMap::default(), journeys, path: Vec::new() };
        for row in rows {
            adding.add(&PathCounts::from_bytes(row.try_get(0)?)?)?;
        }
        Ok(adding.journeys)
    })
    .await
}

/// Counts of days or months that begin in a span of days.
async fn counted(
    ledger: &Ledger,
    slice: &Slice,
    of: &str,
    (from_day, to_day): (i64, i64),
) -> Result<Vec<AnyRow>, LedgerError> {
    let table = if of == "month" { "path_months" } else { "path_counts" };
    let mut query = Query::new(&format!("SELECT paths, {of} FROM {table} WHERE workspace = "));
    query.text(&slice.workspace).push(" AND event = ").text(&slice.event);
    query.push(&format!(" AND {of} >= ")).number(from_day).push(&format!(" AND {of} < ")).number(to_day);
    query.push(&format!(" ORDER BY {of}"));
    query.fetch(ledger).await
}

struct Adding {
    by: Dimension,
    /// What the workspace's links stand for; nothing where they stand for themselves.
    keys: HashMap<Link, Key, RandomState>,
    /// Of the key of each link that has come up.
    numbers: HashMap<Link, usize, RandomState>,
    journeys: Journeys,
    /// Used again for each path.
    path: Vec<usize>,
}

impl Adding {
    fn add(&mut self, counts: &PathCounts) -> Result<(), LedgerError> {
        let numbers: Vec<usize> = counts.links.iter().map(|link| self.number(*link)).collect();
        for counted in counts.paths() {
            let (nulls, links) = counted?;
            self.path.clear();
            self.path.extend(links.iter().map(|link| numbers[*link as usize]));
            match self.journeys.paths.get_mut(self.path.as_slice()) {
                Some(outcome) => outcome.nulls += nulls,
                None => self.journeys.paths.entry(self.path.clone()).or_default().nulls = nulls,
            }
        }
        Ok(())
    }

    fn number(&mut self, link: Link) -> usize {
        if let Some(number) = self.numbers.get(&link) {
            return *number;
        }
        let key = match self.by {
            Dimension::Link => Key::Number(link.0),
            _ => self.keys.get(&link).cloned().unwrap_or(Key::None),
        };
        let number = self.journeys.keys.insert_full(PathKey::Ours(key)).0;
        self.numbers.insert(link, number);
        number
    }
}

async fn link_keys(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
) -> Result<HashMap<Link, Key, RandomState>, LedgerError> {
    let Some(column) = by.link_sql() else { return Ok(HashMap::default()) };
    let mut query = Query::new(&format!(
        "SELECT {column}, r.link, r.revision FROM link_revisions r
           LEFT JOIN posts p ON p.workspace = r.workspace AND p.id = r.post WHERE r.workspace = "
    ));
    query.text(&slice.workspace);
    let rows = query.fetch(ledger).await?;
    rows.iter().map(|row| Ok(((row.try_get(1)?, row.try_get(2)?), key(row, 0, by)?))).collect()
}
