//! Frozen reports, and what has happened to a period since.

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Ledger, LedgerError, Tx, sql};

#[derive(Debug, Clone)]
pub struct SnapshotRow {
    pub workspace: String,
    pub id: String,
    pub name: String,
    /// Parameters of the report, form-encoded.
    pub query: String,
    pub from_day: i64,
    /// Exclusive.
    pub to_day: i64,
    pub as_of_ms: i64,
    pub settings_hash: String,
    /// JSON; empty in lists.
    pub report: String,
}

const COLUMNS: &str = "workspace, id, name, query, from_day, to_day, as_of_ms, settings_hash, report";

fn read(row: &AnyRow) -> Result<SnapshotRow, LedgerError> {
    Ok(SnapshotRow {
        workspace: row.try_get(0)?,
        id: row.try_get(1)?,
        name: row.try_get(2)?,
        query: row.try_get(3)?,
        from_day: row.try_get(4)?,
        to_day: row.try_get(5)?,
        as_of_ms: row.try_get(6)?,
        settings_hash: row.try_get(7)?,
        report: row.try_get(8)?,
    })
}

pub async fn insert(tx: &mut Tx, snapshot: &SnapshotRow) -> Result<(), LedgerError> {
    let text = format!("INSERT INTO snapshots ({COLUMNS}) VALUES {}", sql::values(tx, 1, 9));
    sqlx::query(AssertSqlSafe(text))
        .bind(snapshot.workspace.clone())
        .bind(snapshot.id.clone())
        .bind(snapshot.name.clone())
        .bind(snapshot.query.clone())
        .bind(snapshot.from_day)
        .bind(snapshot.to_day)
        .bind(snapshot.as_of_ms)
        .bind(snapshot.settings_hash.clone())
        .bind(snapshot.report.clone())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub async fn get(ledger: &Ledger, workspace: &str, id: &str) -> Result<Option<SnapshotRow>, LedgerError> {
    let text = format!("SELECT {COLUMNS} FROM snapshots WHERE workspace = $1 AND id = $2");
    let row = sqlx::query(AssertSqlSafe(text))
        .bind(workspace.to_owned())
        .bind(id.to_owned())
        .fetch_optional(&ledger.read)
        .await?;
    row.as_ref().map(read).transpose()
}

/// The latest first, without their reports; `before` is the id of the last one seen.
pub async fn list(
    ledger: &Ledger,
    workspace: &str,
    before: Option<&str>,
    limit: i64,
) -> Result<Vec<SnapshotRow>, LedgerError> {
    let columns = COLUMNS.replace("report", "''");
    // Ids are of hexadecimal digits, so all of them come before this.
    let text =
        format!("SELECT {columns} FROM snapshots WHERE workspace = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
    let rows = sqlx::query(AssertSqlSafe(text))
        .bind(workspace.to_owned())
        .bind(before.unwrap_or("z").to_owned())
        .bind(limit)
        .fetch_all(&ledger.read)
        .await?;
    rows.iter().map(read).collect()
}

/// What has happened to the orders and costs of a period since a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Since {
    pub late_orders: i64,
    /// Of the late orders, whatever became of them.
    pub late_net_minor: i64,
    /// Orders known before, of which a later delivery says something new: a refund, an edit.
    pub changed_orders: i64,
    /// Orders known before, whose attribution was computed anew.
    pub evaluated_again: i64,
    /// Costs booked since; one that was booked anew counts by its first booking.
    pub costs_booked: i64,
}

/// `event` is the conversions' kind; days are half-open.
pub async fn since(ledger: &Ledger, snapshot: &SnapshotRow, event: &str) -> Result<Since, LedgerError> {
    let row = sqlx::query(
        "SELECT CAST(COALESCE(SUM(CASE WHEN v.received_ms > $1 THEN 1 ELSE 0 END), 0) AS BIGINT),
           CAST(COALESCE(SUM(CASE WHEN v.received_ms > $1 THEN v.net_minor ELSE 0 END), 0) AS BIGINT),
           CAST(COALESCE(SUM(CASE WHEN v.received_ms <= $1 AND EXISTS (SELECT 1 FROM facts f
             WHERE f.source = v.source AND f.order_id = v.order_id AND f.received_ms > $1)
             THEN 1 ELSE 0 END), 0) AS BIGINT),
           CAST(COALESCE(SUM(CASE WHEN v.received_ms <= $1 AND v.evaluated_ms > $1 THEN 1 ELSE 0 END), 0) AS BIGINT),
           (SELECT COUNT(*) FROM costs c WHERE c.workspace = $2 AND c.from_day < $4 AND c.to_day > $3
             AND c.created_ms > $1)
         FROM conversions v WHERE v.workspace = $2 AND v.order_day >= $3 AND v.order_day < $4
           AND v.status IS NOT NULL AND v.event = $5",
    )
    .bind(snapshot.as_of_ms)
    .bind(snapshot.workspace.clone())
    .bind(snapshot.from_day)
    .bind(snapshot.to_day)
    .bind(event.to_owned())
    .fetch_one(&ledger.read)
    .await?;
    Ok(Since {
        late_orders: row.try_get(0)?,
        late_net_minor: row.try_get(1)?,
        changed_orders: row.try_get(2)?,
        evaluated_again: row.try_get(3)?,
        costs_booked: row.try_get(4)?,
    })
}
