//! Path counts: journeys that did not convert, for the time when they have expired.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use indexmap::IndexSet;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Row};

use super::packs::Link;
use super::{Ledger, LedgerError, Tx, sql};
use crate::domain::ids::{ClickId, VisitorId};

/// What a path is counted by: the event that it did not come to, and the day of its last click.
pub type Ended = (String, i32);

/// Journeys by what they are counted by and by their path: the link of each click.
pub type Counts = BTreeMap<Ended, HashMap<Vec<Link>, i64>>;

/// The journeys that ended on a day without the event, as they lie in a row: postcard's bytes.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayPaths {
    pub links: Vec<Link>,
    /// For each path how many journeys took it, its length, and the places of its links in `links`.
    numbers: Vec<u64>,
}

impl DayPaths {
    pub fn of(counts: &HashMap<Vec<Link>, i64>) -> Self {
        // In order, so that what is alike has the same bytes.
        let counts: BTreeMap<&Vec<Link>, &i64> = counts.iter().collect();
        let mut links: IndexSet<Link> = IndexSet::new();
        let mut numbers = Vec::new();
        for (path, nulls) in counts {
            numbers.extend([nulls.unsigned_abs(), path.len() as u64]);
            numbers.extend(path.iter().map(|link| links.insert_full(*link).0 as u64));
        }
        Self { links: links.into_iter().collect(), numbers }
    }

    /// How many journeys took each path, and the places of its links.
    pub fn paths(&self) -> impl Iterator<Item = Result<(i64, &[u64]), LedgerError>> {
        let mut rest = self.numbers.as_slice();
        std::iter::from_fn(move || {
            let (nulls, after) = rest.split_first()?;
            let path =
                after.split_first().and_then(|(length, after)| after.split_at_checked(*length as usize));
            let path = path.filter(|(path, _)| path.iter().all(|link| (*link as usize) < self.links.len()));
            rest = path.map_or(&[], |(_, after)| after);
            let damaged = || LedgerError::Damaged("the paths of a day".to_owned());
            Some(path.map(|(path, _)| (*nulls as i64, path)).ok_or_else(damaged))
        })
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("numbers can be written")
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LedgerError> {
        postcard::from_bytes(bytes)
            .map_err(|error| LedgerError::Damaged(format!("the paths of a day: {error}")))
    }
}

/// Up to which day (exclusive) the counts of a workspace are final.
pub async fn settled_day(ledger: &Ledger, workspace: &str) -> Result<Option<i32>, LedgerError> {
    let row = sqlx::query("SELECT settled_day FROM path_folds WHERE workspace = $1")
        .bind(workspace)
        .fetch_optional(&ledger.read)
        .await?;
    Ok(row.map(|row| row.try_get::<i64, _>(0)).transpose()?.map(|day| day as i32))
}

/// The kinds of events that a workspace's conversions have had.
pub async fn events(ledger: &Ledger, workspace: &str, limit: i64) -> Result<BTreeSet<String>, LedgerError> {
    let rows = sqlx::query(
        "SELECT event FROM conversions WHERE workspace = $1 AND event IS NOT NULL
         GROUP BY event ORDER BY COUNT(*) DESC, event LIMIT $2",
    )
    .bind(workspace)
    .bind(limit)
    .fetch_all(&ledger.read)
    .await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// What a visitor's clicks came to.
#[derive(Debug, Default)]
pub struct Reached {
    /// T of each conversion that reads the visitor's journey, by event.
    pub conversions_ms: BTreeMap<String, BTreeSet<i64>>,
    /// Clicks that conversions name, by event.
    pub named: BTreeMap<String, BTreeSet<ClickId>>,
}

/// What the visitors' clicks came to, as far as the conversions count.
pub async fn reached(
    ledger: &Ledger,
    workspace: &str,
    visitors: &[VisitorId],
) -> Result<HashMap<VisitorId, Reached>, LedgerError> {
    let mut reached: HashMap<VisitorId, Reached> = HashMap::new();
    for chunk in visitors.chunks(500) {
        let list = sql::list_from(2, chunk.len());
        let ask = async |text: String| {
            let query = sqlx::query(AssertSqlSafe(text)).bind(workspace);
            let query = chunk.iter().fold(query, |query, visitor| query.bind(visitor.to_string()));
            query.fetch_all(&ledger.read).await
        };
        let rows = ask(format!(
            "SELECT c.visitor, v.event, v.t_ms FROM conversion_visitors c JOIN conversions v ON v.id = c.conversion
             WHERE c.workspace = $1 AND c.visitor IN ({list}) AND v.status IN ('attributed', 'unattributed')"
        ));
        for row in rows.await? {
            let of_visitor = reached.entry(parsed(row.try_get(0)?)?).or_default();
            of_visitor.conversions_ms.entry(row.try_get(1)?).or_default().insert(row.try_get(2)?);
        }
        let rows = ask(format!(
            "SELECT t.visitor, v.event, t.click FROM order_tokens t
               JOIN conversions v ON v.source = t.source AND v.order_id = t.order_id
             WHERE t.workspace = $1 AND t.visitor IN ({list}) AND v.status IN ('attributed', 'unattributed')"
        ));
        for row in rows.await? {
            let of_visitor = reached.entry(parsed(row.try_get(0)?)?).or_default();
            of_visitor.named.entry(row.try_get(1)?).or_default().insert(parsed(row.try_get(2)?)?);
        }
    }
    Ok(reached)
}

/// Puts new counts in the place of those from `settled` on, and makes those before `settles` final. False, and
/// nothing is written: another worker has settled days since `settled` was read.
pub async fn replace(
    ledger: &Ledger,
    tx: &mut Tx,
    workspace: &str,
    settled: Option<i32>,
    settles: i32,
    counts: &Counts,
) -> Result<bool, LedgerError> {
    let text = format!("SELECT settled_day FROM path_folds WHERE workspace = $1{}", ledger.for_update());
    let row = sqlx::query(AssertSqlSafe(text)).bind(workspace).fetch_optional(&mut **tx).await?;
    let now: Option<i64> = row.map(|row| row.try_get(0)).transpose()?;
    if now != settled.map(i64::from) {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO path_folds (workspace, settled_day) VALUES ($1, $2)
         ON CONFLICT (workspace) DO UPDATE SET settled_day = excluded.settled_day",
    )
    .bind(workspace)
    .bind(i64::from(settles.max(settled.unwrap_or(settles))))
    .execute(&mut **tx)
    .await?;

    // Few of many days change from one time to the next, so only what differs is written.
    let mut before: BTreeMap<(String, i64), Vec<u8>> = BTreeMap::new();
    let rows = sqlx::query("SELECT event, day, paths FROM path_counts WHERE workspace = $1 AND day >= $2")
        .bind(workspace)
        .bind(settled.map_or(i64::MIN, i64::from))
        .fetch_all(&mut **tx)
        .await?;
    for row in rows {
        before.insert((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?);
    }
    for ((event, day), paths) in counts.iter().filter(|((_, day), _)| settled.is_none_or(|s| *day >= s)) {
        let key = (event.clone(), i64::from(*day));
        let bytes = DayPaths::of(paths).to_bytes();
        if before.remove(&key).as_ref() == Some(&bytes) {
            continue;
        }
        sqlx::query(
            "INSERT INTO path_counts (workspace, event, day, paths) VALUES ($1, $2, $3, $4)
             ON CONFLICT (workspace, event, day) DO UPDATE SET paths = excluded.paths",
        )
        .bind(workspace)
        .bind(key.0)
        .bind(key.1)
        .bind(bytes)
        .execute(&mut **tx)
        .await?;
    }
    for (event, day) in before.into_keys() {
        sqlx::query("DELETE FROM path_counts WHERE workspace = $1 AND event = $2 AND day = $3")
            .bind(workspace)
            .bind(event)
            .bind(day)
            .execute(&mut **tx)
            .await?;
    }
    Ok(true)
}

fn parsed<T: std::str::FromStr>(text: String) -> Result<T, LedgerError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| LedgerError::Damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_day_read_back() {
        let counts = HashMap::from([(vec![(7, 1)], 12), (vec![(7, 1), (8, 2), (7, 1)], 3)]);
        let written = DayPaths::of(&counts);
        let read = DayPaths::from_bytes(&written.to_bytes()).unwrap();
        assert_eq!(read, written);
        let named = read.paths().map(|counted| {
            let (nulls, path) = counted.unwrap();
            (path.iter().map(|link| read.links[*link as usize]).collect(), nulls)
        });
        assert_eq!(named.collect::<HashMap<Vec<Link>, i64>>(), counts);
        for numbers in [vec![1], vec![1, 2, 0], vec![1, 1, 9], vec![1, 1, 0, 5, u64::MAX]] {
            let damaged = DayPaths { links: vec![(7, 1)], numbers: numbers.clone() };
            assert!(damaged.paths().any(|counted| counted.is_err()), "{numbers:?}");
        }
    }
}
