//! Journeys that did not convert, as they were counted before they expired.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use indexmap::{IndexMap, IndexSet};
use sqlx::Row;

use super::{Dimension, Key, Query, Slice, key};
use crate::ledger::{Ledger, LedgerError};

/// What journeys that did not convert went through.
#[derive(Debug, Default)]
pub struct NullPaths {
    pub keys: IndexSet<Key>,
    /// Keys by number, in order of the journey, and how many there were.
    pub paths: IndexMap<Vec<usize>, i64, RandomState>,
}

/// Journeys whose last click is of the slice's days and that did not come to the slice's event. Of the slice's
/// filters none applies: what did not convert has no source.
pub async fn null_paths(ledger: &Ledger, slice: &Slice, by: Dimension) -> Result<NullPaths, LedgerError> {
    let mut query = Query::new("SELECT paths FROM path_counts WHERE workspace = ");
    query.text(&slice.workspace).push(" AND event = ").text(&slice.event);
    query.push(" AND day >= ").number(slice.from_day).push(" AND day < ").number(slice.to_day);
    query.push(" ORDER BY day");
    let days = query.fetch(ledger).await?;
    if days.is_empty() {
        return Ok(NullPaths::default());
    }
    let links = Links::load(ledger, slice, by).await?;
    // Millions of lines, in a large workspace: others are not to wait for them.
    let read = tokio::task::spawn_blocking(move || {
        let mut reader = Reader { by, links, all: NullPaths::default(), path: Vec::new() };
        for row in days {
            reader.read(row.try_get(0)?)?;
        }
        Ok(reader.all)
    });
    read.await.map_err(|error| LedgerError::Damaged(error.to_string()))?
}

struct Reader {
    by: Dimension,
    links: Links,
    all: NullPaths,
    /// Used again for each line.
    path: Vec<usize>,
}

impl Reader {
    /// The lines of a day: how many journeys, then `link.revision` of each click.
    fn read(&mut self, lines: &str) -> Result<(), LedgerError> {
        for line in lines.split('\n') {
            let damaged = || LedgerError::Damaged(format!("path {line:?}"));
            let mut parts = line.split(' ');
            let nulls: i64 = parts.next().and_then(|text| text.parse().ok()).ok_or_else(damaged)?;
            self.path.clear();
            for click in parts {
                let (link, revision) = click.split_once('.').ok_or_else(damaged)?;
                let link: i64 = link.parse().map_err(|_| damaged())?;
                let revision: i64 = revision.parse().map_err(|_| damaged())?;
                let number = match self.links.0.get(&(link, revision)) {
                    Some((_, Some(number))) => *number,
                    Some((key, None)) => {
                        let number = self.all.keys.insert_full(key.clone()).0;
                        self.links.0.entry((link, revision)).and_modify(|(_, known)| *known = Some(number));
                        number
                    }
                    None if self.by == Dimension::Link => self.all.keys.insert_full(Key::Number(link)).0,
                    None => self.all.keys.insert_full(Key::None).0,
                };
                self.path.push(number);
            }
            match self.all.paths.get_mut(self.path.as_slice()) {
                Some(sum) => *sum += nulls,
                None => _ = self.all.paths.insert(self.path.clone(), nulls),
            }
        }
        Ok(())
    }
}

/// What the workspace's links stand for, by link and revision, and the key's number where one has come up; nothing
/// where links stand for themselves.
struct Links(HashMap<(i64, i64), (Key, Option<usize>), RandomState>);

impl Links {
    async fn load(ledger: &Ledger, slice: &Slice, by: Dimension) -> Result<Self, LedgerError> {
        let mut links = HashMap::default();
        let Some(column) = by.link_sql() else { return Ok(Self(links)) };
        let mut query = Query::new(&format!(
            "SELECT {column}, r.link, r.revision FROM link_revisions r
               LEFT JOIN posts p ON p.workspace = r.workspace AND p.id = r.post WHERE r.workspace = "
        ));
        query.text(&slice.workspace);
        for row in query.fetch(ledger).await? {
            links.insert((row.try_get(1)?, row.try_get(2)?), (key(&row, 0, by)?, None));
        }
        Ok(Self(links))
    }
}
