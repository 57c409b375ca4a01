//! Rollups of clicks and the worker's positions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Ledger, LedgerError, Tx, click_packs, sql};
use crate::domain::ids::{ClickId, LinkId};
use crate::worker::rollup::{Counts, Key, Part, Rollups};

const ROWS_PER_STATEMENT: usize = 250;

/// The position that a worker has committed; empty before the first batch.
pub async fn position(ledger: &Ledger, stream: &str, partition: u16) -> Result<String, LedgerError> {
    let row = sqlx::query("SELECT position FROM positions WHERE stream = $1 AND partition = $2")
        .bind(stream)
        .bind(i64::from(partition))
        .fetch_optional(&ledger.read)
        .await?;
    row.map_or(Ok(String::new()), |row| Ok(row.try_get(0)?))
}

/// Moves a position from `from` to `to`. False: another worker has moved it, so nothing of this
/// transaction may be committed.
pub async fn move_position(
    tx: &mut Tx,
    stream: &str,
    partition: u16,
    from: &str,
    to: &str,
) -> Result<bool, LedgerError> {
    let statement = match from {
        "" => {
            "INSERT INTO positions (stream, partition, position) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
        }
        _ => "UPDATE positions SET position = $3 WHERE stream = $1 AND partition = $2 AND position = $4",
    };
    let mut query = sqlx::query(statement).bind(stream).bind(i64::from(partition)).bind(to);
    if !from.is_empty() {
        query = query.bind(from);
    }
    Ok(query.execute(&mut **tx).await?.rows_affected() == 1)
}

/// Adds a batch's counts to all rollups.
pub async fn add(tx: &mut Tx, rollups: &Rollups<'_>) -> Result<(), LedgerError> {
    let by_day: Vec<_> = rollups.by_day.iter().collect();
    for chunk in by_day.chunks(ROWS_PER_STATEMENT) {
        let text = format!(
            "INSERT INTO clicks_by_day (workspace, day, link, revision, human, duplicate, bot, preview, prefetch, uniques)
             VALUES {} ON CONFLICT (workspace, day, link, revision) DO UPDATE SET
               human = clicks_by_day.human + excluded.human,
               duplicate = clicks_by_day.duplicate + excluded.duplicate,
               bot = clicks_by_day.bot + excluded.bot,
               preview = clicks_by_day.preview + excluded.preview,
               prefetch = clicks_by_day.prefetch + excluded.prefetch,
               uniques = clicks_by_day.uniques + excluded.uniques",
            sql::values(tx, chunk.len(), 10)
        );
        let mut query = sqlx::query(AssertSqlSafe(text));
        for ((workspace, day, link, revision, ()), counts) in chunk {
            query = query
                .bind(*workspace)
                .bind(i64::from(*day))
                .bind(link.as_i64())
                .bind(*revision)
                .bind(counts.human)
                .bind(counts.duplicate)
                .bind(counts.bot)
                .bind(counts.preview)
                .bind(counts.prefetch)
                .bind(counts.uniques);
        }
        query.execute(&mut **tx).await?;
    }
    add_dimension(tx, "clicks_by_country", "country", &rollups.by_country, |c| Text(country(c))).await?;
    add_dimension(tx, "clicks_by_device", "device", &rollups.by_device, |d| Text(d.as_str().into())).await?;
    add_dimension(tx, "clicks_by_referrer", "referrer", &rollups.by_referrer, |r| Text((*r).into())).await?;
    add_dimension(tx, "clicks_by_hour", "hour", &rollups.by_hour, |h| Number(i64::from(*h))).await?;
    add_in_all(tx, &rollups.in_all).await?;
    click_packs::note(tx, &rollups.months()).await
}

fn country(code: &[u8; 2]) -> String {
    match code {
        [0, 0] => String::new(),
        code => String::from_utf8_lossy(code).into_owned(),
    }
}

use Value::{Number, Text};

enum Value {
    Text(String),
    Number(i64),
}

/// `column`: of the one more dimension.
async fn add_dimension<D>(
    tx: &mut Tx,
    table: &str,
    column: &str,
    rollup: &BTreeMap<Key<'_, D>, Counts>,
    value: impl Fn(&D) -> Value,
) -> Result<(), LedgerError> {
    let day = if table == "clicks_by_hour" { "month" } else { "day" };
    let key = format!("workspace, {day}, link, revision, {column}");
    let rows: Vec<_> = rollup.iter().collect();
    for chunk in rows.chunks(ROWS_PER_STATEMENT) {
        let text = adding(tx, table, &key, chunk.len(), 9);
        let mut query = sqlx::query(AssertSqlSafe(text));
        for ((workspace, day, link, revision, dimension), counts) in chunk {
            query = query.bind(*workspace).bind(i64::from(*day)).bind(link.as_i64()).bind(*revision);
            query = match value(dimension) {
                Text(text) => query.bind(text),
                Number(number) => query.bind(number),
            };
            query = query.bind(counts.human).bind(counts.uniques).bind(counts.bots()).bind(counts.recorded());
        }
        query.execute(&mut **tx).await?;
    }
    Ok(())
}

/// A part's name and value in the tables.
fn words(part: &Part) -> (&'static str, String) {
    match part {
        Part::All => ("all", String::new()),
        Part::Country(code) => ("country", country(code)),
        Part::Device(device) => ("device", device.as_str().to_owned()),
        Part::Hour(hour) => ("hour", hour.to_string()),
    }
}

async fn add_in_all(tx: &mut Tx, in_all: &BTreeMap<(&str, i32, Part), Counts>) -> Result<(), LedgerError> {
    let rows: Vec<_> = in_all.iter().collect();
    for chunk in rows.chunks(ROWS_PER_STATEMENT) {
        let text = adding(tx, "clicks_in_all", "workspace, day, part, value", chunk.len(), 8);
        let mut query = sqlx::query(AssertSqlSafe(text));
        for ((workspace, day, part), counts) in chunk {
            let (part, value) = words(part);
            query = query.bind(*workspace).bind(i64::from(*day)).bind(part).bind(value);
            query = query.bind(counts.human).bind(counts.uniques).bind(counts.bots()).bind(counts.recorded());
        }
        query.execute(&mut **tx).await?;
    }
    Ok(())
}

/// The statement that adds rows of `width` values: the key's columns, then counts of four kinds.
fn adding(tx: &Tx, table: &str, key: &str, rows: usize, width: usize) -> String {
    format!(
        "INSERT INTO {table} ({key}, human, uniques, bots, recorded) VALUES {}
         ON CONFLICT ({key}) DO UPDATE SET
           human = {table}.human + excluded.human,
           uniques = {table}.uniques + excluded.uniques,
           bots = {table}.bots + excluded.bots,
           recorded = {table}.recorded + excluded.recorded",
        sql::values(tx, rows, width)
    )
}

/// A link's workspace and, oldest first, its revisions with the time from which each holds.
pub struct LinkHistory {
    pub workspace: Arc<str>,
    pub revisions: Vec<(i64, i64)>,
}

impl LinkHistory {
    /// The revision that held at a time; the first one before its own time.
    pub fn revision_at(&self, at_ms: i64) -> i64 {
        let held = self.revisions.iter().rev().find(|(from_ms, _)| *from_ms <= at_ms);
        held.or(self.revisions.first()).map_or(1, |(_, revision)| *revision)
    }
}

pub type LinkHistories = HashMap<LinkId, LinkHistory, RandomState>;

/// The histories of links; unknown ones are missing.
pub async fn link_histories(ledger: &Ledger, links: &[LinkId]) -> Result<LinkHistories, LedgerError> {
    let mut histories = LinkHistories::default();
    for chunk in links.chunks(ROWS_PER_STATEMENT) {
        let text = format!(
            "SELECT link, workspace, from_ms, revision FROM link_revisions WHERE link IN ({}) ORDER BY link, revision",
            sql::list_from(1, chunk.len())
        );
        let mut query = sqlx::query(AssertSqlSafe(text));
        for link in chunk {
            query = query.bind(link.as_i64());
        }
        for row in query.fetch_all(&ledger.read).await? {
            let link = LinkId::from_i64(row.try_get(0)?).map_err(|e| LedgerError::Damaged(e.to_string()))?;
            let history = histories.entry(link).or_insert_with(|| LinkHistory {
                workspace: row.get::<&str, _>(1).into(),
                revisions: Vec::new(),
            });
            history.revisions.push((row.try_get(2)?, row.try_get(3)?));
        }
    }
    Ok(histories)
}

/// Ids of counted clicks are kept this long: a spool that is replayed later may count a click twice.
pub const CLICK_IDS_KEPT_MS: i64 = 30 * 24 * 3_600_000;

/// Remembers the ids that a batch counted, and which of them came marked as replayed.
pub async fn put_click_ids(
    tx: &mut Tx,
    partition: u16,
    position: &str,
    ids: &[ClickId],
    replayed: &[ClickId],
) -> Result<(), LedgerError> {
    let times = || ids.iter().map(|id| id.at_ms());
    let (Some(first_ms), Some(last_ms)) = (times().min(), times().max()) else { return Ok(()) };
    let bytes = |ids: &[ClickId]| ids.iter().map(|id| *id.as_bytes()).collect::<Vec<_>>().into_flattened();
    sqlx::query(
        "INSERT INTO click_ids (partition, position, first_ms, last_ms, ids, replayed)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(i64::from(partition))
    .bind(position)
    .bind(first_ms)
    .bind(last_ms)
    .bind(bytes(ids))
    .bind(bytes(replayed))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The ids counted in batches that reach into a span of click times.
pub async fn counted_ids(
    ledger: &Ledger,
    partition: u16,
    first_ms: i64,
    last_ms: i64,
) -> Result<HashSet<ClickId>, LedgerError> {
    let rows =
        sqlx::query("SELECT ids FROM click_ids WHERE partition = $1 AND last_ms >= $2 AND first_ms <= $3")
            .bind(i64::from(partition))
            .bind(first_ms)
            .bind(last_ms)
            .fetch_all(&ledger.read)
            .await?;
    ids(&rows)
}

/// The ids counted from marked entries since a time.
pub async fn replayed_ids(
    ledger: &Ledger,
    partition: u16,
    since_ms: i64,
) -> Result<HashSet<ClickId>, LedgerError> {
    let rows = sqlx::query(
        "SELECT replayed FROM click_ids WHERE partition = $1 AND last_ms >= $2 AND length(replayed) > 0",
    )
    .bind(i64::from(partition))
    .bind(since_ms)
    .fetch_all(&ledger.read)
    .await?;
    ids(&rows)
}

fn ids(rows: &[AnyRow]) -> Result<HashSet<ClickId>, LedgerError> {
    let mut found = HashSet::new();
    for row in rows {
        let bytes: Vec<u8> = row.try_get(0)?;
        found.extend(bytes.as_chunks().0.iter().map(|id| ClickId::from_bytes(*id)));
    }
    Ok(found)
}

/// Forgets ids older than they are kept.
pub async fn drop_click_ids(tx: &mut Tx, before_ms: i64) -> Result<(), LedgerError> {
    sqlx::query("DELETE FROM click_ids WHERE last_ms < $1").bind(before_ms).execute(&mut **tx).await?;
    Ok(())
}
