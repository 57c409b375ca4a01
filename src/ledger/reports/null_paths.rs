//! Journeys that did not convert, as they were counted before they expired.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use sqlx::Row;

use super::{Dimension, Journeys, Key, PathKey, Query, Slice, key};
use crate::ledger::packs::Link;
use crate::ledger::paths::DayPaths;
use crate::ledger::{Ledger, LedgerError};

/// Adds the journeys whose last click is of the slice's days and that did not come to the slice's event. Of the
/// slice's filters none applies: what did not convert has no source.
pub async fn add_null_paths(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
    journeys: Journeys,
) -> Result<Journeys, LedgerError> {
    let mut query = Query::new("SELECT paths FROM path_counts WHERE workspace = ");
    query.text(&slice.workspace).push(" AND event = ").text(&slice.event);
    query.push(" AND day >= ").number(slice.from_day).push(" AND day < ").number(slice.to_day);
    query.push(" ORDER BY day");
    let days = query.fetch(ledger).await?;
    if days.is_empty() {
        return Ok(journeys);
    }
    let keys = link_keys(ledger, slice, by).await?;
    // Millions of journeys, in a large workspace: others are not to wait for them.
    let read = tokio::task::spawn_blocking(move || {
        let mut adding = Adding { by, keys, numbers: HashMap::default(), journeys, path: Vec::new() };
        for row in days {
            adding.add(&DayPaths::from_bytes(row.try_get(0)?)?)?;
        }
        Ok(adding.journeys)
    });
    read.await.map_err(|error| LedgerError::Damaged(error.to_string()))?
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
    fn add(&mut self, day: &DayPaths) -> Result<(), LedgerError> {
        let numbers: Vec<usize> = day.links.iter().map(|link| self.number(*link)).collect();
        for counted in day.paths() {
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
