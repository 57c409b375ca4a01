//! Clicks of a month as reports read them: for each link its counts by day, by country, by device and by hour of the
//! week, all links in one row for each of these, since a row for each count costs SQL more than reading a hundred of
//! them.
//!
//! A month is packed up to a day that is over. A batch of clicks before that day makes the month's version another,
//! and what was packed of a former version is read no more: readers go to the rollups themselves, as they do for later
//! days, until the worker has packed the month anew. All of it follows from the rollups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::packs::{Link, items};
use super::{Ledger, LedgerError, Tx};
use crate::domain::time::month_after;

/// What damaged bytes were.
const CLICKS: &str = "packed clicks of a month";

/// What the counts of a link are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// One count.
    All,
    /// Days since 1970.
    Day,
    /// A place in `values`, and so is a device.
    Country,
    Device,
    /// Of the week.
    Hour,
}

impl Part {
    const ALL: [Self; 5] = [Self::All, Self::Day, Self::Country, Self::Device, Self::Hour];

    fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Day => "day",
            Self::Country => "country",
            Self::Device => "device",
            Self::Hour => "hour",
        }
    }
}

/// Clicks of one link by one value of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// See [`Part`].
    pub value: u32,
    pub human: i64,
    pub uniques: i64,
    /// All machines.
    pub bots: i64,
    /// All classes together.
    pub recorded: i64,
}

/// A part of a month's clicks. Its bytes are postcard's: the values, then for each link its counts with their length
/// before them, so that a reader can pass over a link.
#[derive(Debug)]
pub struct ClickPack {
    /// First day of the month, which is the first one packed.
    pub month: i64,
    /// Exclusive.
    pub to_day: i64,
    pub part: Part,
    bytes: Vec<u8>,
}

impl ClickPack {
    /// Countries or devices.
    pub fn values(&self) -> Result<Vec<&str>, LedgerError> {
        postcard::take_from_bytes(&self.bytes).map(|(values, _)| values).map_err(damaged)
    }

    /// The bytes of each link's counts.
    pub fn links(&self) -> Result<impl Iterator<Item = Result<(Link, &[u8]), LedgerError>>, LedgerError> {
        let (_, links) = postcard::take_from_bytes::<Vec<&str>>(&self.bytes).map_err(damaged)?;
        Ok(items(links, CLICKS))
    }

    fn of(
        (month, to_day): (i64, i64),
        part: Part,
        values: &[String],
        mut counts: Vec<(Link, Count)>,
    ) -> Self {
        counts.sort_by_key(|(link, count)| (*link, count.value));
        let mut bytes = postcard::to_allocvec(values).expect("texts can be written");
        for of_link in counts.chunk_by(|(a, _), (b, _)| a == b) {
            let mut inner = Vec::new();
            for (_, count) in of_link {
                inner = postcard::to_extend(count, inner).expect("numbers can be written");
            }
            bytes =
                postcard::to_extend(&(of_link[0].0, inner.as_slice()), bytes).expect("bytes can be written");
        }
        Self { month, to_day, part, bytes }
    }
}

/// The counts in a link's bytes.
pub fn counts(bytes: &[u8]) -> impl Iterator<Item = Result<Count, LedgerError>> {
    items(bytes, CLICKS)
}

fn damaged(error: postcard::Error) -> LedgerError {
    LedgerError::Damaged(format!("{CLICKS}: {error}"))
}

/// What is packed of a workspace's months, of those that begin from a day on up to another, exclusive. Of hours only
/// whole months are.
pub async fn load(
    ledger: &Ledger,
    workspace: &str,
    part: Part,
    (from_day, to_day): (i64, i64),
) -> Result<Vec<ClickPack>, LedgerError> {
    let rows = sqlx::query(
        "SELECT p.month, m.to_day, p.clicks FROM click_months m
           JOIN click_packs p ON p.workspace = m.workspace AND p.month = m.month
         WHERE m.workspace = $1 AND m.packed_version = m.version AND p.part = $2 AND p.month >= $3 AND p.month < $4
         ORDER BY p.month",
    )
    .bind(workspace)
    .bind(part.name())
    .bind(from_day)
    .bind(to_day)
    .fetch_all(&ledger.read)
    .await?;
    let pack = |row: &AnyRow| {
        Ok(ClickPack { month: row.try_get(0)?, to_day: row.try_get(1)?, part, bytes: row.try_get(2)? })
    };
    rows.iter().map(pack).collect()
}

/// Notes that clicks have come, by workspace and first day of the month: of which day the earliest was.
pub(super) async fn note(tx: &mut Tx, months: &BTreeMap<(&str, i32), i32>) -> Result<(), LedgerError> {
    for ((workspace, month), day) in months {
        sqlx::query(
            "INSERT INTO click_months (workspace, month, version, packed_version, to_day) VALUES ($1, $2, 1, 0, $3)
             ON CONFLICT (workspace, month) DO UPDATE SET
               version = click_months.version + CASE WHEN click_months.to_day > excluded.to_day THEN 1 ELSE 0 END",
        )
        .bind(*workspace)
        .bind(i64::from(*month))
        .bind(i64::from(*day))
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// Packs what has changed or is not packed yet of the days before one.
pub async fn pack(ledger: &Ledger, before_day: i64) -> Result<(), LedgerError> {
    let rows = sqlx::query(
        "SELECT workspace, month, version - packed_version, to_day FROM click_months WHERE month < $1
         ORDER BY workspace, month",
    )
    .bind(before_day)
    .fetch_all(&ledger.read)
    .await?;
    for row in rows {
        let (workspace, month): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        let (behind, packed_to): (i64, i64) = (row.try_get(2)?, row.try_get(3)?);
        let to_day = month_after(month).min(before_day);
        if behind != 0 || packed_to < to_day {
            pack_month(ledger, &workspace, month, to_day).await?;
        }
    }
    Ok(())
}

async fn pack_month(ledger: &Ledger, workspace: &str, month: i64, to_day: i64) -> Result<(), LedgerError> {
    // First the days are claimed: batches that come from here on make the version another one, and those that were on
    // their way have ended, since they hold the month's row.
    let mut tx = ledger.begin().await?;
    let claim =
        "UPDATE click_months SET to_day = $3, packed_version = -1 WHERE workspace = $1 AND month = $2";
    sqlx::query(claim).bind(workspace).bind(month).bind(to_day).execute(&mut *tx).await?;
    tx.commit().await?;
    let version = sqlx::query("SELECT version FROM click_months WHERE workspace = $1 AND month = $2");
    let version: i64 = version.bind(workspace).bind(month).fetch_one(&ledger.read).await?.try_get(0)?;
    let packs = packs_of(ledger, workspace, (month, to_day)).await?;
    let mut tx = ledger.begin().await?;
    sqlx::query("DELETE FROM click_packs WHERE workspace = $1 AND month = $2")
        .bind(workspace)
        .bind(month)
        .execute(&mut *tx)
        .await?;
    for pack in &packs {
        put(&mut tx, workspace, pack).await?;
    }
    sqlx::query(
        "UPDATE click_months SET packed_version = $3 WHERE workspace = $1 AND month = $2 AND to_day = $4",
    )
    .bind(workspace)
    .bind(month)
    .bind(version)
    .bind(to_day)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

async fn put(tx: &mut Tx, workspace: &str, pack: &ClickPack) -> Result<(), LedgerError> {
    sqlx::query("INSERT INTO click_packs (workspace, month, part, clicks) VALUES ($1, $2, $3, $4)")
        .bind(workspace)
        .bind(pack.month)
        .bind(pack.part.name())
        .bind(pack.bytes.as_slice())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn packs_of(
    ledger: &Ledger,
    workspace: &str,
    (month, to_day): (i64, i64),
) -> Result<Vec<ClickPack>, LedgerError> {
    let mut packs = Vec::new();
    let is_whole = to_day == month_after(month);
    for part in Part::ALL.into_iter().filter(|part| is_whole || *part != Part::Hour) {
        // A link's counts in one row, each on a line: many fewer rows, and little memory.
        let text = format!(
            "SELECT g.link, g.revision, string_agg(g.value || ' ' || g.human || ' ' || g.uniques || ' ' || g.bots || ' ' \
               || g.recorded, '\n') FROM ({}) AS g GROUP BY g.link, g.revision",
            rollup_of(part)
        );
        let mut query = sqlx::query(AssertSqlSafe(text)).bind(workspace).bind(month).bind(to_day);
        if part == Part::Hour {
            query = query.bind(workspace).bind(month);
        }
        let mut values: BTreeMap<String, u32> = BTreeMap::new();
        let mut counts: Vec<(Link, Count)> = Vec::new();
        for row in query.fetch_all(&ledger.read).await? {
            let link = (row.try_get(0)?, row.try_get(1)?);
            for line in row.try_get::<&str, _>(2)?.split('\n') {
                let count = count(part, line, &mut values);
                counts.push((link, count.ok_or_else(|| LedgerError::Damaged(format!("clicks {line:?}")))?));
            }
        }
        let mut names = vec![String::new(); values.len()];
        values.into_iter().for_each(|(name, place)| names[place as usize] = name);
        packs.push(ClickPack::of((month, to_day), part, &names, counts));
    }
    Ok(packs)
}

/// From the rollup of a part: link, revision, value and counts of a workspace from a day on up to another.
fn rollup_of(part: Part) -> String {
    const SUMS: &str =
        "SUM(g.human) AS human, SUM(g.uniques) AS uniques, SUM(g.bots) AS bots, SUM(g.recorded) AS recorded";
    let days = "g.workspace = $1 AND g.day >= $2 AND g.day < $3";
    match part {
        Part::All | Part::Day => {
            let (value, group) = if part == Part::All { ("0", "") } else { ("g.day", ", g.day") };
            format!(
                "SELECT g.link, g.revision, {value} AS value, SUM(g.human) AS human, SUM(g.uniques) AS uniques,
                   SUM(g.bot + g.preview + g.prefetch) AS bots,
                   SUM(g.human + g.duplicate + g.bot + g.preview + g.prefetch) AS recorded
                 FROM clicks_by_day g WHERE {days} GROUP BY g.link, g.revision{group}"
            )
        }
        Part::Country | Part::Device => {
            let part = part.name();
            format!(
                "SELECT g.link, g.revision, g.{part} AS value, {SUMS} FROM clicks_by_{part} g WHERE {days}
                 GROUP BY g.link, g.revision, g.{part}"
            )
        }
        // Hours are in the order of links, and the days say which links there are.
        Part::Hour => format!(
            "SELECT h.link, h.revision, h.hour AS value, h.human, h.uniques, h.bots, h.recorded
             FROM (SELECT DISTINCT g.link, g.revision FROM clicks_by_day g WHERE {days}) AS d CROSS JOIN clicks_by_hour h
             WHERE h.workspace = $4 AND h.link = d.link AND h.revision = d.revision AND h.month = $5"
        ),
    }
}

/// Value and counts.
fn count(part: Part, line: &str, values: &mut BTreeMap<String, u32>) -> Option<Count> {
    let (value, numbers) = line.split_once(' ')?;
    let value = match part {
        Part::All | Part::Day | Part::Hour => value.parse().ok()?,
        Part::Country | Part::Device => {
            let next = u32::try_from(values.len()).ok()?;
            *values.entry(value.to_owned()).or_insert(next)
        }
    };
    let mut numbers = numbers.split(' ').map(|number| number.parse::<i64>().ok());
    let mut next = || numbers.next().flatten();
    Some(Count { value, human: next()?, uniques: next()?, bots: next()?, recorded: next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_links_read_back() {
        let count = |value, human| Count { value, human, uniques: 1, bots: 2, recorded: human + 2 };
        let written = vec![((8, 1), count(1, 5)), ((7, 2), count(0, 300)), ((8, 1), count(0, 6))];
        let pack = ClickPack::of((20_454, 20_485), Part::Country, &["DE".to_owned(), String::new()], written);
        assert_eq!(pack.values().unwrap(), ["DE", ""]);
        let read: Vec<(Link, Vec<Count>)> = pack
            .links()
            .unwrap()
            .map(|link| {
                link.map(|(link, bytes)| (link, counts(bytes).map(Result::unwrap).collect())).unwrap()
            })
            .collect();
        assert_eq!(read, [((7, 2), vec![count(0, 300)]), ((8, 1), vec![count(0, 6), count(1, 5)])]);
        let cut = ClickPack { bytes: pack.bytes[..pack.bytes.len() - 1].to_vec(), ..pack };
        assert!(cut.links().unwrap().any(|link| link.is_err()));
    }
}
