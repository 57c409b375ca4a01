//! Journeys in a SQLite file of their own beside the ledger: one table in order of visitor, and no index by
//! time. Visitors come in no order, so what a click costs is its share of the pages that a batch touches.

use std::cmp::Ordering;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection, Row, SqlitePool};

use super::{JourneyError, Step, Who};
use crate::domain::ids::VisitorId;
use crate::ledger::{Synchronous, sql};

/// Values per statement stay far below SQLite's limit of 32,766.
const ROWS_PER_STATEMENT: usize = 500;
const STEPS_PER_PAGE: usize = 10_000;

#[derive(Clone)]
pub struct EmbeddedJourneys {
    pool: SqlitePool,
}

impl EmbeddedJourneys {
    pub async fn open(path: &Path, synchronous: Synchronous) -> Result<Self, JourneyError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(match synchronous {
                Synchronous::Full => SqliteSynchronous::Full,
                Synchronous::Normal => SqliteSynchronous::Normal,
            })
            .busy_timeout(Duration::from_secs(10))
            .pragma("cache_size", "-65536")
            // Batches write the same pages again and again: only now and then are they copied to their place.
            .pragma("wal_autocheckpoint", "16384")
            .pragma("journal_size_limit", "67108864");
        // One connection: the worker is its only user, and SQLite has one writer.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            // As in the ledger: after a failed disk the connection may be stuck in a transaction.
            .before_acquire(|connection, _| {
                let is_free = !connection.is_in_transaction();
                Box::pin(async move { Ok(is_free) })
            })
            .connect_with(options)
            .await?;
        sqlx::query(
            "CREATE TABLE IF NOT EXISTS steps (
               who  BLOB NOT NULL,  -- 0 or 1 (anonymous), workspace, 0, visitor
               step BLOB NOT NULL,  -- begins with its time, as click ids do
               PRIMARY KEY (who, step)
             ) WITHOUT ROWID",
        )
        .execute(&pool)
        .await?;
        Ok(Self { pool })
    }

    pub async fn add(&self, steps: &[(Who, Step)]) -> Result<(), JourneyError> {
        // In the order of the table, so that neighbours find their page at hand.
        let mut steps: Vec<&(Who, Step)> = steps.iter().collect();
        steps.sort_unstable_by(|(a, _), (b, _)| in_order_of_key(a, b));
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for chunk in steps.chunks(ROWS_PER_STATEMENT) {
            let text =
                format!("INSERT OR IGNORE INTO steps (who, step) VALUES {}", sql::unnumbered(chunk.len(), 2));
            let mut query = sqlx::query(AssertSqlSafe(text)).persistent(chunk.len() == ROWS_PER_STATEMENT);
            for (who, step) in chunk {
                query = query.bind(key(who)).bind(step.to_bytes().to_vec());
            }
            query.execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    pub async fn read(
        &self,
        whose: &[Who],
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<Vec<Step>>, JourneyError> {
        let mut connection = self.pool.acquire().await?;
        let mut journeys = Vec::with_capacity(whose.len());
        for who in whose {
            let rows =
                sqlx::query("SELECT step FROM steps WHERE who = $1 AND step BETWEEN $2 AND $3 ORDER BY step")
                    .bind(key(who))
                    .bind(first_of(from_ms))
                    .bind(last_of(to_ms))
                    .fetch_all(&mut *connection)
                    .await?;
            journeys.push(rows.iter().filter_map(|row| Step::from_bytes(row.get(0))).collect());
        }
        Ok(journeys)
    }

    /// Whole journeys of visitors whose key comes after `after`, in order of key; with the key of the last one,
    /// or None at the end.
    pub async fn page(&self, after: &[u8]) -> Result<(Vec<(Who, Vec<Step>)>, Option<Vec<u8>>), JourneyError> {
        // Keys of those without a visitor begin with 1.
        let rows = sqlx::query(
            "SELECT who, step FROM steps WHERE who > $1 AND who < x'01' ORDER BY who, step LIMIT $2",
        )
        .bind(after)
        .bind(STEPS_PER_PAGE as i64)
        .fetch_all(&self.pool)
        .await?;
        let is_end = rows.len() < STEPS_PER_PAGE;
        let mut by_key: Vec<(Vec<u8>, Vec<Step>)> = Vec::new();
        for row in &rows {
            let (key, step): (Vec<u8>, &[u8]) = (row.get(0), row.get(1));
            if by_key.last().is_none_or(|(last, _)| *last != key) {
                by_key.push((key, Vec::new()));
            }
            if let (Some((_, steps)), Some(step)) = (by_key.last_mut(), Step::from_bytes(step)) {
                steps.push(step);
            }
        }
        if !is_end && by_key.len() > 1 {
            // It may have been cut.
            by_key.pop();
        } else if !is_end && let Some((key, steps)) = by_key.last_mut() {
            let rows = sqlx::query("SELECT step FROM steps WHERE who = $1 ORDER BY step")
                .bind(key.as_slice())
                .fetch_all(&self.pool)
                .await?;
            *steps = rows.iter().filter_map(|row| Step::from_bytes(row.get(0))).collect();
        }
        let last = by_key.last().map(|(key, _)| key.clone()).filter(|_| !is_end);
        let whole = by_key.into_iter().filter_map(|(key, steps)| Some((who(&key)?, steps)));
        Ok((whole.collect(), last))
    }

    pub async fn erase(&self, who: &Who) -> Result<(), JourneyError> {
        sqlx::query("DELETE FROM steps WHERE who = $1").bind(key(who)).execute(&self.pool).await?;
        Ok(())
    }

    /// Looks at everything, page by page, so that nobody waits for long.
    pub async fn expire(&self, anonymous_before_ms: i64, before_ms: i64) -> Result<(), JourneyError> {
        let mut after = Vec::new();
        loop {
            let last: Option<Vec<u8>> =
                sqlx::query_scalar("SELECT who FROM steps WHERE who > $1 ORDER BY who LIMIT 1 OFFSET $2")
                    .bind(after.as_slice())
                    .bind(STEPS_PER_PAGE as i64)
                    .fetch_optional(&self.pool)
                    .await?;
            sqlx::query(
                "DELETE FROM steps WHERE who > $1 AND who <= $2
                 AND step < CASE WHEN who < x'01' THEN $3 ELSE $4 END",
            )
            .bind(after)
            .bind(last.as_deref().unwrap_or(&[u8::MAX]))
            .bind(first_of(before_ms))
            .bind(first_of(anonymous_before_ms))
            .execute(&self.pool)
            .await?;
            match last {
                Some(last) => after = last,
                None => return Ok(()),
            }
        }
    }
}

/// Comes before every step of this millisecond or later, and after all others.
fn first_of(at_ms: i64) -> Vec<u8> {
    let at_ms = at_ms.clamp(0, (1 << 48) - 1);
    at_ms.to_be_bytes()[2..].to_vec()
}

/// Comes after every step of this millisecond or earlier, and before all others.
fn last_of(at_ms: i64) -> Vec<u8> {
    let mut last = first_of(at_ms);
    last.resize(Step::BYTES + 1, u8::MAX);
    last
}

/// As their keys would be, without making them.
fn in_order_of_key(a: &Who, b: &Who) -> Ordering {
    let by_workspace = || match Arc::ptr_eq(&a.workspace, &b.workspace) {
        true => Ordering::Equal,
        false => a.workspace.cmp(&b.workspace),
    };
    a.anonymous.cmp(&b.anonymous).then_with(by_workspace).then_with(|| a.visitor.cmp(&b.visitor))
}

fn key(who: &Who) -> Vec<u8> {
    let mut key = Vec::with_capacity(2 + who.workspace.len() + who.visitor.as_bytes().len());
    key.push(u8::from(who.anonymous));
    key.extend_from_slice(who.workspace.as_bytes());
    key.push(0);
    key.extend_from_slice(who.visitor.as_bytes());
    key
}

/// The other way round; None for what this program did not write.
fn who(key: &[u8]) -> Option<Who> {
    let (anonymous, rest) = key.split_first()?;
    let (workspace, visitor) = rest.split_at_checked(rest.iter().position(|byte| *byte == 0)?)?;
    let visitor: [u8; 12] = visitor[1..].try_into().ok()?;
    Some(Who {
        workspace: std::str::from_utf8(workspace).ok()?.into(),
        visitor: VisitorId::from_bytes(visitor),
        anonymous: *anonymous == 1,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn people_are_ordered_as_their_keys(
            people in prop::collection::vec((any::<bool>(), "[ab]{0,3}", 0u8..3), 2..9),
        ) {
            let people: Vec<Who> = people
                .into_iter()
                .map(|(anonymous, workspace, visitor)| Who {
                    visitor: VisitorId::from_bytes([visitor; 12]),
                    workspace: workspace.into(),
                    anonymous,
                })
                .collect();
            for (a, b) in people.iter().flat_map(|a| people.iter().map(move |b| (a, b))) {
                prop_assert_eq!(in_order_of_key(a, b), key(a).cmp(&key(b)));
            }
        }
    }
}
