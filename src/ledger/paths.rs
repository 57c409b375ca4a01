//! Path counts: journeys that did not convert, for the time when they have expired.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use indexmap::IndexSet;
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::packs::Link;
use super::{Ledger, LedgerError, Tx, sql};
use crate::domain::ids::{ClickId, VisitorId};
use crate::domain::time::{month_after, month_of};

/// What a path is counted by: the event that it did not come to, and the day of its last click.
pub type Ended = (String, i32);

/// Journeys by what they are counted by and by their path: the link of each click.
pub type Counts = BTreeMap<Ended, HashMap<Vec<Link>, i64>>;

/// The journeys that ended on a day, or in a month, without the event, as they lie in a row: postcard's bytes.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathCounts {
    pub links: Vec<Link>,
    /// For each path how many journeys took it, its length, and the places of its links in `links`.
    numbers: Vec<u64>,
}

impl PathCounts {
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
            let damaged = || LedgerError::Damaged("counted paths".to_owned());
            Some(path.map(|(path, _)| (*nulls as i64, path)).ok_or_else(damaged))
        })
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("numbers can be written")
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LedgerError> {
        postcard::from_bytes(bytes).map_err(|error| LedgerError::Damaged(format!("counted paths: {error}")))
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

/// What is final of a workspace's counts, and what is to be.
#[derive(Debug, Clone, Copy)]
pub struct Settling {
    /// The days before this one were final when the counting began.
    pub settled: Option<i32>,
    /// The days before this one become final.
    pub settles: i32,
    pub today: i32,
}

/// Puts new counts in the place of those that are not final yet. False, and nothing is written: another worker has
/// settled days since the counting began.
pub async fn replace(
    ledger: &Ledger,
    tx: &mut Tx,
    workspace: &str,
    settling: Settling,
    counts: &Counts,
) -> Result<bool, LedgerError> {
    let Settling { settled, settles, today } = settling;
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
    let mut changed: BTreeSet<(String, i64)> = BTreeSet::new();
    for ((event, day), paths) in counts.iter().filter(|((_, day), _)| settled.is_none_or(|s| *day >= s)) {
        let key = (event.clone(), i64::from(*day));
        let bytes = PathCounts::of(paths).to_bytes();
        if before.remove(&key).as_ref() == Some(&bytes) {
            continue;
        }
        sqlx::query(
            "INSERT INTO path_counts (workspace, event, day, paths) VALUES ($1, $2, $3, $4)
             ON CONFLICT (workspace, event, day) DO UPDATE SET paths = excluded.paths",
        )
        .bind(workspace)
        .bind(key.0.as_str())
        .bind(key.1)
        .bind(bytes)
        .execute(&mut **tx)
        .await?;
        changed.insert((key.0, month_of(key.1)));
    }
    for (event, day) in before.into_keys() {
        sqlx::query("DELETE FROM path_counts WHERE workspace = $1 AND event = $2 AND day = $3")
            .bind(workspace)
            .bind(event.as_str())
            .bind(day)
            .execute(&mut **tx)
            .await?;
        changed.insert((event, month_of(day)));
    }
    put_months(tx, workspace, changed, today.into()).await?;
    Ok(true)
}

/// Sums up the months in which days have changed, of those that are over, and those that are newly over.
pub async fn put_months(
    tx: &mut Tx,
    workspace: &str,
    changed: BTreeSet<(String, i64)>,
    today: i64,
) -> Result<(), LedgerError> {
    for (event, month) in &changed {
        sqlx::query("DELETE FROM path_months WHERE workspace = $1 AND event = $2 AND month = $3")
            .bind(workspace)
            .bind(event.as_str())
            .bind(*month)
            .execute(&mut **tx)
            .await?;
    }
    let rows = sqlx::query("SELECT event, day FROM path_counts WHERE workspace = $1").bind(workspace);
    let days = rows.fetch_all(&mut **tx).await?;
    let rows = sqlx::query("SELECT event, month FROM path_months WHERE workspace = $1").bind(workspace);
    let place = |row: &AnyRow| Ok((row.try_get::<String, _>(0)?, row.try_get::<i64, _>(1)?));
    let known = rows.fetch_all(&mut **tx).await?;
    let known: BTreeSet<_> = known.iter().map(place).collect::<Result<_, LedgerError>>()?;
    let months = days.iter().map(|row| place(row).map(|(event, day)| (event, month_of(day))));
    let months: BTreeSet<_> = months.collect::<Result<_, LedgerError>>()?;
    for (event, month) in months.difference(&known).filter(|(_, month)| month_after(*month) <= today) {
        let rows = sqlx::query(
            "SELECT paths FROM path_counts WHERE workspace = $1 AND event = $2 AND day >= $3 AND day < $4",
        );
        let rows = rows.bind(workspace).bind(event.as_str()).bind(*month).bind(month_after(*month));
        let mut sums: HashMap<Vec<Link>, i64> = HashMap::new();
        for row in rows.fetch_all(&mut **tx).await? {
            let day = PathCounts::from_bytes(row.try_get(0)?)?;
            for counted in day.paths() {
                let (nulls, places) = counted?;
                *sums.entry(places.iter().map(|place| day.links[*place as usize]).collect()).or_default() +=
                    nulls;
            }
        }
        sqlx::query("INSERT INTO path_months (workspace, event, month, paths) VALUES ($1, $2, $3, $4)")
            .bind(workspace)
            .bind(event.as_str())
            .bind(*month)
            .bind(PathCounts::of(&sums).to_bytes())
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
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
    fn counted_paths_read_back() {
        let counts = HashMap::from([(vec![(7, 1)], 12), (vec![(7, 1), (8, 2), (7, 1)], 3)]);
        let written = PathCounts::of(&counts);
        let read = PathCounts::from_bytes(&written.to_bytes()).unwrap();
        assert_eq!(read, written);
        let named = read.paths().map(|counted| {
            let (nulls, path) = counted.unwrap();
            (path.iter().map(|link| read.links[*link as usize]).collect(), nulls)
        });
        assert_eq!(named.collect::<HashMap<Vec<Link>, i64>>(), counts);
        for numbers in [vec![1], vec![1, 2, 0], vec![1, 1, 9], vec![1, 1, 0, 5, u64::MAX]] {
            let damaged = PathCounts { links: vec![(7, 1)], numbers: numbers.clone() };
            assert!(damaged.paths().any(|counted| counted.is_err()), "{numbers:?}");
        }
    }
}
