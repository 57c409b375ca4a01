//! What `utmost doctor` counts.

use sqlx::Row;

use super::links::{fed, last_change};
use super::{Ledger, LedgerError};

/// What waits, or was left lying.
#[derive(Debug, Clone, Copy)]
pub struct Backlog {
    /// Conversions to be evaluated.
    pub due: i64,
    /// Deliveries that could not be read.
    pub dead: i64,
    /// Deliveries without a secret that verifies them.
    pub unverified: i64,
    /// Changes of links that the hot copies do not have yet; means something only where there are such.
    pub unfed: i64,
    pub webhooks_disabled: i64,
    pub webhooks_waiting: i64,
}

pub async fn backlog(ledger: &Ledger) -> Result<Backlog, LedgerError> {
    Ok(Backlog {
        due: count(ledger, "SELECT COUNT(*) FROM conversions WHERE due > 0").await?,
        dead: count(ledger, "SELECT COUNT(*) FROM deliveries WHERE result = 'dead'").await?,
        unverified: count(ledger, "SELECT COUNT(*) FROM deliveries WHERE result = 'unverified'").await?,
        unfed: last_change(ledger).await? - fed(ledger).await?,
        webhooks_disabled: count(ledger, "SELECT COUNT(*) FROM webhooks WHERE disabled_ms IS NOT NULL")
            .await?,
        webhooks_waiting: count(ledger, "SELECT COUNT(*) FROM webhook_messages WHERE result = 'waiting'")
            .await?,
    })
}

/// The schema's.
pub async fn version(ledger: &Ledger) -> Result<i64, LedgerError> {
    count(ledger, "SELECT COALESCE(MAX(version), 0) FROM schema_version").await
}

async fn count(ledger: &Ledger, sql: &'static str) -> Result<i64, LedgerError> {
    Ok(sqlx::query(sql).fetch_one(&ledger.read).await?.try_get(0)?)
}
