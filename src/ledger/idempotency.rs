//! Answers kept for a day, so that a repeated request is answered, not done, again.

use sqlx::Row;

use super::{Ledger, LedgerError, Tx};

/// What was answered to a request, to be given again.
#[derive(Debug, Clone)]
pub struct KeptRow {
    /// Hash of the request.
    pub request: String,
    /// 0: still running.
    pub status: i64,
    pub body: String,
    /// The answer holds once the hot copies are fed up to this change of links.
    pub after_change: Option<i64>,
    pub created_ms: i64,
}

/// Claims the key for a request. None: it is ours now; else what stands there.
/// A claim older than `stale_ms` was left by a process that died, and is taken over.
pub async fn claim(
    ledger: &Ledger,
    workspace: &str,
    idem_key: &str,
    request: &str,
    now_ms: i64,
    kept_ms: i64,
    stale_ms: i64,
) -> Result<Option<KeptRow>, LedgerError> {
    let mut tx = ledger.begin().await?;
    let done = sqlx::query(
        "INSERT INTO idempotency (workspace, idem_key, request, status, body, created_ms) \
         VALUES ($1, $2, $3, 0, '', $4) \
         ON CONFLICT (workspace, idem_key) DO UPDATE \
         SET request = excluded.request, status = 0, body = '', after_change = NULL, created_ms = excluded.created_ms \
         WHERE idempotency.created_ms < $5 OR (idempotency.status = 0 AND idempotency.created_ms < $6)",
    )
    .bind(workspace)
    .bind(idem_key)
    .bind(request)
    .bind(now_ms)
    .bind(now_ms - kept_ms)
    .bind(now_ms - stale_ms)
    .execute(&mut *tx)
    .await?;
    let kept = match done.rows_affected() {
        0 => Some(read(&mut tx, workspace, idem_key).await?),
        _ => None,
    };
    tx.commit().await?;
    Ok(kept)
}

async fn read(tx: &mut Tx, workspace: &str, idem_key: &str) -> Result<KeptRow, LedgerError> {
    let row = sqlx::query(
        "SELECT request, status, body, after_change, created_ms FROM idempotency \
         WHERE workspace = $1 AND idem_key = $2",
    )
    .bind(workspace)
    .bind(idem_key)
    .fetch_one(&mut **tx)
    .await?;
    Ok(KeptRow {
        request: row.try_get(0)?,
        status: row.try_get(1)?,
        body: row.try_get(2)?,
        after_change: row.try_get(3)?,
        created_ms: row.try_get(4)?,
    })
}

/// Keeps the answer of a claimed request.
pub async fn keep(
    ledger: &Ledger,
    workspace: &str,
    idem_key: &str,
    kept: &KeptRow,
) -> Result<(), LedgerError> {
    let mut tx = ledger.begin().await?;
    sqlx::query(
        "UPDATE idempotency SET status = $1, body = $2, after_change = $3 \
         WHERE workspace = $4 AND idem_key = $5 AND request = $6 AND created_ms = $7",
    )
    .bind(kept.status)
    .bind(&kept.body)
    .bind(kept.after_change)
    .bind(workspace)
    .bind(idem_key)
    .bind(&kept.request)
    .bind(kept.created_ms)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Gives a claim up: the request changed nothing and may be sent again.
pub async fn release(
    ledger: &Ledger,
    workspace: &str,
    idem_key: &str,
    created_ms: i64,
) -> Result<(), LedgerError> {
    let mut tx = ledger.begin().await?;
    sqlx::query(
        "DELETE FROM idempotency WHERE workspace = $1 AND idem_key = $2 AND status = 0 AND created_ms = $3",
    )
    .bind(workspace)
    .bind(idem_key)
    .bind(created_ms)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Removes what was kept before `before_ms`.
pub async fn purge(ledger: &Ledger, before_ms: i64) -> Result<(), LedgerError> {
    let mut tx = ledger.begin().await?;
    sqlx::query("DELETE FROM idempotency WHERE created_ms < $1").bind(before_ms).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}
