//! Coupon codes bound to posts and links.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Ledger, LedgerError, Tx, facts};

/// A coupon code bound to a post or to a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CouponRow {
    /// Upper case.
    pub code: String,
    pub post: Option<String>,
    pub link: Option<i64>,
    pub created_ms: i64,
}

fn read(row: &AnyRow) -> Result<CouponRow, LedgerError> {
    Ok(CouponRow {
        code: row.try_get(0)?,
        post: row.try_get(1)?,
        link: row.try_get(2)?,
        created_ms: row.try_get(3)?,
    })
}

/// Binds a code, and marks the conversions due that used it. The transaction is one of [`Ledger::begin_alone`].
pub async fn put(tx: &mut Tx, workspace: &str, coupon: &CouponRow) -> Result<(), LedgerError> {
    sqlx::query(
        "INSERT INTO coupons (workspace, code, post, link, created_ms) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (workspace, code) DO UPDATE SET post = excluded.post, link = excluded.link",
    )
    .bind(workspace.to_owned())
    .bind(coupon.code.clone())
    .bind(coupon.post.clone())
    .bind(coupon.link)
    .bind(coupon.created_ms)
    .execute(&mut **tx)
    .await?;
    facts::mark_coupon(tx, workspace, &coupon.code).await
}

/// By code, after `after`.
pub async fn list(
    ledger: &Ledger,
    workspace: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<CouponRow>, LedgerError> {
    let rows = sqlx::query(
        "SELECT code, post, link, created_ms FROM coupons WHERE workspace = $1 AND code > $2 ORDER BY code LIMIT $3",
    )
    .bind(workspace.to_owned())
    .bind(after.to_owned())
    .bind(limit)
    .fetch_all(&ledger.read)
    .await?;
    rows.iter().map(read).collect()
}

pub async fn get(ledger: &Ledger, workspace: &str, code: &str) -> Result<Option<CouponRow>, LedgerError> {
    let row =
        sqlx::query("SELECT code, post, link, created_ms FROM coupons WHERE workspace = $1 AND code = $2")
            .bind(workspace.to_owned())
            .bind(code.to_owned())
            .fetch_optional(&ledger.read)
            .await?;
    row.as_ref().map(read).transpose()
}

/// Whether it was there.
pub async fn delete(tx: &mut Tx, workspace: &str, code: &str) -> Result<bool, LedgerError> {
    let done = sqlx::query("DELETE FROM coupons WHERE workspace = $1 AND code = $2")
        .bind(workspace.to_owned())
        .bind(code.to_owned())
        .execute(&mut **tx)
        .await?;
    facts::mark_coupon(tx, workspace, code).await?;
    Ok(done.rows_affected() > 0)
}
