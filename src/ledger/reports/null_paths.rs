//! Journeys that did not convert, as they were counted before they expired.

use std::collections::HashMap;

use sqlx::Row;

use super::{Dimension, Key, Query, Slice, key};
use crate::ledger::{Ledger, LedgerError};

/// The keys of journeys whose last click is of the slice's days and that did not come to the slice's event, with
/// how many there were. Of the slice's filters none applies: what did not convert has no source.
pub async fn null_paths(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
) -> Result<Vec<(Vec<Key>, i64)>, LedgerError> {
    let mut query = Query::new("SELECT path, CAST(SUM(nulls) AS BIGINT) FROM path_counts WHERE workspace = ");
    query.text(&slice.workspace).push(" AND event = ").text(&slice.event);
    query.push(" AND day >= ").number(slice.from_day).push(" AND day < ").number(slice.to_day);
    query.push(" GROUP BY path ORDER BY path");
    let counted = query.fetch(ledger).await?;
    if counted.is_empty() {
        return Ok(Vec::new());
    }
    let keys = keys(ledger, slice, by).await?;
    let mut paths = Vec::with_capacity(counted.len());
    for row in counted {
        let path: String = row.try_get(0)?;
        let of_click = |text: &str| {
            let (link, revision) = text.split_once('.')?;
            Some((link.parse::<i64>().ok()?, revision.parse::<i64>().ok()?))
        };
        let damaged = || LedgerError::Damaged(format!("path {path}"));
        let mut path_keys = Vec::new();
        for click in path.split(' ') {
            let (link, revision) = of_click(click).ok_or_else(damaged)?;
            path_keys.push(match by {
                Dimension::Link => Key::Number(link),
                _ => keys.get(&(link, revision)).cloned().unwrap_or(Key::None),
            });
        }
        paths.push((path_keys, row.try_get(1)?));
    }
    Ok(paths)
}

/// What the workspace's links stand for, by link and revision; nothing where links stand for themselves.
async fn keys(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
) -> Result<HashMap<(i64, i64), Key>, LedgerError> {
    let Some(column) = by.link_sql() else { return Ok(HashMap::new()) };
    let mut query = Query::new(&format!(
        "SELECT {column}, r.link, r.revision FROM link_revisions r
           LEFT JOIN posts p ON p.workspace = r.workspace AND p.id = r.post WHERE r.workspace = "
    ));
    query.text(&slice.workspace);
    let mut keys = HashMap::new();
    for row in query.fetch(ledger).await? {
        keys.insert((row.try_get(1)?, row.try_get(2)?), key(&row, 0, by)?);
    }
    Ok(keys)
}
