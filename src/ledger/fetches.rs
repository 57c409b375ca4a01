//! Orders that a notice named and that are still to be fetched from the shop's API.

use sqlx::Row;

use super::{Ledger, LedgerError, Tx};

/// Asks for what a delivery's notice names, from the start where it was asked for before.
pub async fn want(tx: &mut Tx, delivery: &str, source: &str, now_ms: i64) -> Result<(), LedgerError> {
    sqlx::query(
        "INSERT INTO fetches (delivery, source, since_ms, attempts, next_ms) VALUES ($1, $2, $3, 0, $3)
         ON CONFLICT (delivery) DO UPDATE SET since_ms = excluded.since_ms, attempts = 0, next_ms = excluded.next_ms",
    )
    .bind(delivery)
    .bind(source)
    .bind(now_ms)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Asks once more for all that a source's notices named in vain, since it has another token; how many these are.
pub async fn want_again(tx: &mut Tx, source: &str, now_ms: i64) -> Result<u64, LedgerError> {
    const DEAD_NOTICES: &str = "source = $1 AND result = 'dead' AND order_id IS NOT NULL AND body IS NOT NULL
         AND topic LIKE 'store/order/%'";
    let insert = format!(
        "INSERT INTO fetches (delivery, source, since_ms, attempts, next_ms)
         SELECT id, source, CAST($2 AS BIGINT), 0, CAST($2 AS BIGINT) FROM deliveries WHERE {DEAD_NOTICES}
         ON CONFLICT (delivery) DO NOTHING"
    );
    sqlx::query(sqlx::AssertSqlSafe(insert)).bind(source).bind(now_ms).execute(&mut **tx).await?;
    let update = format!("UPDATE deliveries SET result = 'pending', problem = $2 WHERE {DEAD_NOTICES}");
    let done = sqlx::query(sqlx::AssertSqlSafe(update)).bind(source).bind(WAITS).execute(&mut **tx).await?;
    Ok(done.rows_affected())
}

/// What a pending delivery says until there is more to say.
pub const WAITS: &str = "the order is being fetched from the shop";

/// Sources for which something is due.
pub async fn due(ledger: &Ledger, now_ms: i64) -> Result<Vec<String>, LedgerError> {
    let rows = sqlx::query("SELECT DISTINCT source FROM fetches WHERE next_ms <= $1 ORDER BY source")
        .bind(now_ms)
        .fetch_all(&ledger.read)
        .await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// A fetch that this process is to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    pub delivery: String,
    pub source: String,
    pub since_ms: i64,
    /// Before this one.
    pub attempts: i64,
    pub lease_ms: i64,
}

/// Takes up to `limit` due fetches of a source. Until `lease_ms` nobody else does.
pub async fn claim(
    ledger: &Ledger,
    source: &str,
    now_ms: i64,
    lease_ms: i64,
    limit: i64,
) -> Result<Vec<Claimed>, LedgerError> {
    let mut tx = ledger.begin().await?;
    // Of two who read the same rows, the second finds them moved when it comes to write.
    let rows = sqlx::query(
        "UPDATE fetches SET next_ms = $1 WHERE source = $2 AND next_ms <= $3 AND delivery IN
           (SELECT delivery FROM fetches WHERE source = $2 AND next_ms <= $3 ORDER BY next_ms, delivery LIMIT $4)
         RETURNING delivery, since_ms, attempts",
    )
    .bind(lease_ms)
    .bind(source)
    .bind(now_ms)
    .bind(limit)
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    rows.iter()
        .map(|row| {
            Ok(Claimed {
                delivery: row.try_get(0)?,
                source: source.to_owned(),
                since_ms: row.try_get(1)?,
                attempts: row.try_get(2)?,
                lease_ms,
            })
        })
        .collect()
}

/// What follows an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// The order lies in the log, as this delivery.
    Fetched(String),
    RetryAt(i64, String),
    Dead(String),
}

/// Writes what became of an attempt, unless somebody has asked anew since it was claimed.
pub async fn settle(ledger: &Ledger, claimed: &Claimed, then: &Then) -> Result<(), LedgerError> {
    let mut tx = ledger.begin().await?;
    let moved = match then {
        Then::RetryAt(next_ms, _) => sqlx::query(
            "UPDATE fetches SET next_ms = $3, attempts = attempts + 1 WHERE delivery = $1 AND next_ms = $2",
        )
        .bind(claimed.delivery.as_str())
        .bind(claimed.lease_ms)
        .bind(*next_ms),
        Then::Fetched(_) | Then::Dead(_) => {
            sqlx::query("DELETE FROM fetches WHERE delivery = $1 AND next_ms = $2")
                .bind(claimed.delivery.as_str())
                .bind(claimed.lease_ms)
        }
    };
    if moved.execute(&mut *tx).await?.rows_affected() == 0 {
        return Ok(());
    }
    let (result, problem) = match then {
        Then::Fetched(as_delivery) => ("accepted", format!("the order was fetched: delivery {as_delivery}")),
        Then::RetryAt(_, problem) => ("pending", format!("{WAITS}; the last attempt: {problem}")),
        Then::Dead(problem) => ("dead", problem.clone()),
    };
    sqlx::query("UPDATE deliveries SET result = $1, problem = $2 WHERE id = $3 AND result = 'pending'")
        .bind(result)
        .bind(problem)
        .bind(claimed.delivery.as_str())
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}
