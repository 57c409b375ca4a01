//! Deliveries as people look at them: what arrived, what became of it, and what can be read again.

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Ledger, LedgerError, Tx};

/// Why an unverified delivery stays one, until another secret is added.
pub const SIGNED_BY_NONE: &str = "no secret of this source signed it";
/// An unverified delivery that a later secret verified, on its way through the log.
pub const READ_AGAIN: &str = "verified by now, being read again";
/// An unverified delivery that waits for a secret.
pub const NO_SECRET: &str = "the source has no secret yet";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    pub id: String,
    pub source: String,
    pub received_ms: i64,
    pub topic: Option<String>,
    /// accepted | ignored | duplicate | pending | unverified | dead
    pub result: String,
    pub problem: Option<String>,
    pub order_id: Option<String>,
    /// Of its conversion: status, reason and method of the match.
    pub status: Option<String>,
    pub reason: Option<String>,
    pub match_method: Option<String>,
    /// Whether the raw body is still kept.
    pub has_body: bool,
}

const SELECT: &str = "SELECT d.id, d.source, d.received_ms, d.topic, d.result, d.problem, d.order_id, c.status, c.reason, \
     c.match_method, CASE WHEN d.body IS NULL THEN 0 ELSE 1 END \
     FROM deliveries d LEFT JOIN conversions c ON c.source = d.source AND c.order_id = d.order_id";

fn read(row: &AnyRow) -> Result<DeliveryRow, sqlx::Error> {
    Ok(DeliveryRow {
        id: row.try_get(0)?,
        source: row.try_get(1)?,
        received_ms: row.try_get(2)?,
        topic: row.try_get(3)?,
        result: row.try_get(4)?,
        problem: row.try_get(5)?,
        order_id: row.try_get(6)?,
        status: row.try_get(7)?,
        reason: row.try_get(8)?,
        match_method: row.try_get(9)?,
        has_body: integer(row, 10)? != 0,
    })
}

/// PostgreSQL gives a small literal as 32 bits, SQLite as 64.
fn integer(row: &AnyRow, column: usize) -> Result<i64, sqlx::Error> {
    row.try_get::<i64, _>(column).or_else(|_| row.try_get::<i32, _>(column).map(i64::from))
}

#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    pub workspace: String,
    pub source: Option<String>,
    pub result: Option<String>,
    pub order_id: Option<String>,
    /// Id of the last delivery seen.
    pub before: Option<String>,
    pub limit: i64,
}

/// Newest first.
pub async fn list(ledger: &Ledger, filter: &DeliveryFilter) -> Result<Vec<DeliveryRow>, LedgerError> {
    let mut conditions = vec!["d.workspace = $1".to_owned()];
    let mut texts = vec![filter.workspace.clone()];
    for (condition, value) in [
        ("d.source =", &filter.source),
        ("d.result =", &filter.result),
        ("d.order_id =", &filter.order_id),
        ("d.id <", &filter.before),
    ] {
        if let Some(value) = value {
            texts.push(value.clone());
            conditions.push(format!("{condition} ${}", texts.len()));
        }
    }
    let text =
        format!("{SELECT} WHERE {} ORDER BY d.id DESC LIMIT ${}", conditions.join(" AND "), texts.len() + 1);
    let query = texts.into_iter().fold(sqlx::query(AssertSqlSafe(text)), |query, text| query.bind(text));
    let rows = query.bind(filter.limit).fetch_all(&ledger.read).await?;
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

pub async fn get(ledger: &Ledger, workspace: &str, id: &str) -> Result<Option<DeliveryRow>, LedgerError> {
    let text = format!("{SELECT} WHERE d.workspace = $1 AND d.id = $2");
    let row = sqlx::query(AssertSqlSafe(text))
        .bind(workspace.to_owned())
        .bind(id.to_owned())
        .fetch_optional(&ledger.read)
        .await?;
    Ok(row.as_ref().map(read).transpose()?)
}

/// A delivery as it came in.
#[derive(Debug, Clone)]
pub struct RawRow {
    pub id: String,
    pub workspace: String,
    pub source: String,
    pub received_ms: i64,
    pub result: String,
    pub headers: Vec<(String, String)>,
    /// None once erased.
    pub body: Option<Vec<u8>>,
}

const RAW: &str =
    "SELECT d.id, d.workspace, d.source, d.received_ms, d.result, d.headers, d.body FROM deliveries d";

fn read_raw(row: &AnyRow) -> Result<RawRow, LedgerError> {
    let id: String = row.try_get(0)?;
    Ok(RawRow {
        workspace: row.try_get(1)?,
        source: row.try_get(2)?,
        received_ms: row.try_get(3)?,
        result: row.try_get(4)?,
        headers: serde_json::from_str(row.try_get(5)?)
            .map_err(|error| LedgerError::Damaged(format!("headers of delivery {id}: {error}")))?,
        body: row.try_get(6)?,
        id,
    })
}

pub async fn raw(ledger: &Ledger, workspace: &str, id: &str) -> Result<Option<RawRow>, LedgerError> {
    let text = format!("{RAW} WHERE d.workspace = $1 AND d.id = $2");
    let row = sqlx::query(AssertSqlSafe(text))
        .bind(workspace.to_owned())
        .bind(id.to_owned())
        .fetch_optional(&ledger.read)
        .await?;
    row.as_ref().map(read_raw).transpose()
}

/// Unverified deliveries of sources that have a secret by now, which nobody has tried it on yet.
pub async fn to_verify(ledger: &Ledger, limit: i64) -> Result<Vec<RawRow>, LedgerError> {
    let text = format!(
        "{RAW} JOIN sources s ON s.workspace = d.workspace AND s.id = d.source AND s.deleted_ms IS NULL \
         WHERE d.result = 'unverified' AND COALESCE(d.problem, '') NOT IN ($1, $2) AND d.body IS NOT NULL \
         AND EXISTS (SELECT 1 FROM source_secrets k WHERE k.source = d.source) ORDER BY d.id LIMIT $3"
    );
    let rows = sqlx::query(AssertSqlSafe(text))
        .bind(SIGNED_BY_NONE)
        .bind(READ_AGAIN)
        .bind(limit)
        .fetch_all(&ledger.read)
        .await?;
    rows.iter().map(read_raw).collect()
}

/// Says why an unverified delivery is where it is.
pub async fn explain(ledger: &Ledger, id: &str, problem: &str) -> Result<(), LedgerError> {
    let mut tx = ledger.begin().await?;
    sqlx::query("UPDATE deliveries SET problem = $1 WHERE id = $2 AND result = 'unverified'")
        .bind(problem.to_owned())
        .bind(id.to_owned())
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// A new secret may verify what the others did not.
pub async fn try_again(tx: &mut Tx, source: &str) -> Result<(), LedgerError> {
    sqlx::query("UPDATE deliveries SET problem = $1 WHERE source = $2 AND result = 'unverified'")
        .bind(NO_SECRET)
        .bind(source.to_owned())
        .execute(&mut **tx)
        .await?;
    Ok(())
}
