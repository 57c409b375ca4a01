//! What deliveries said: facts, and the keys by which they concern one another.

use sqlx::{AssertSqlSafe, Row};

use super::conversions::OrderKey;
use super::{LedgerError, Tx, sql};
use crate::domain::ids::LinkId;

/// A delivery as the worker leaves it.
pub struct DeliveryRow<'a> {
    pub id: &'a str,
    pub workspace: &'a str,
    pub source: &'a str,
    pub received_ms: i64,
    pub topic: Option<&'a str>,
    /// JSON array of [name, value].
    pub headers: &'a str,
    pub body: &'a [u8],
    /// accepted | ignored | duplicate | pending | unverified | dead
    pub result: &'a str,
    pub problem: Option<&'a str>,
    pub order_id: Option<&'a str>,
}

/// Stores a delivery; one that is replayed takes its former row's place.
pub async fn put_delivery(tx: &mut Tx, row: &DeliveryRow<'_>) -> Result<(), LedgerError> {
    sqlx::query(
        "INSERT INTO deliveries (id, workspace, source, received_ms, topic, headers, body, result, problem, order_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (id) DO UPDATE SET topic = excluded.topic, result = excluded.result,
           problem = excluded.problem, order_id = excluded.order_id",
    )
    .bind(row.id)
    .bind(row.workspace)
    .bind(row.source)
    .bind(row.received_ms)
    .bind(row.topic)
    .bind(row.headers)
    .bind(row.body.to_vec())
    .bind(row.result)
    .bind(row.problem)
    .bind(row.order_id)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// A verified token that an order names.
pub struct TokenRow {
    pub click: String,
    pub link: LinkId,
    pub visitor: Option<String>,
    pub at_ms: i64,
}

/// A fact with the keys that stand in it, customers already hashed.
pub struct FactRow {
    pub workspace: String,
    pub source: String,
    pub order_id: String,
    pub version_ms: i64,
    /// Of `says`: the same statement twice is one.
    pub hash: String,
    /// JSON of `intake::fact::Says`.
    pub says: String,
    pub delivery: String,
    pub received_ms: i64,
    pub references: Vec<String>,
    pub customers: Vec<String>,
    /// Upper case.
    pub coupons: Vec<String>,
    pub tokens: Vec<TokenRow>,
    /// The order's own time as this fact states it.
    pub ordered_ms: i64,
    /// For the conversion's row, if this is the first fact of its order.
    pub conversion_id: i64,
}

/// Stores a fact and marks every conversion due that it may concern. False: another delivery said it
/// before. The transaction is one of [`Ledger::begin_alone`](super::Ledger::begin_alone).
pub async fn put_fact(tx: &mut Tx, fact: &FactRow) -> Result<bool, LedgerError> {
    let inserted = sqlx::query(
        "INSERT INTO facts (source, order_id, hash, workspace, version_ms, says, delivery, received_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
    )
    .bind(fact.source.as_str())
    .bind(fact.order_id.as_str())
    .bind(fact.hash.as_str())
    .bind(fact.workspace.as_str())
    .bind(fact.version_ms)
    .bind(fact.says.as_str())
    .bind(fact.delivery.as_str())
    .bind(fact.received_ms)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    if inserted == 0 {
        let said_by: String =
            sqlx::query("SELECT delivery FROM facts WHERE source = $1 AND order_id = $2 AND hash = $3")
                .bind(fact.source.as_str())
                .bind(fact.order_id.as_str())
                .bind(fact.hash.as_str())
                .fetch_one(&mut **tx)
                .await?
                .try_get(0)?;
        return Ok(said_by == fact.delivery);
    }
    sqlx::query(
        "INSERT INTO conversions (id, workspace, source, order_id, due, received_ms) VALUES ($1, $2, $3, $4, 1, $5)
         ON CONFLICT (source, order_id) DO UPDATE SET due = ABS(conversions.due) + 1",
    )
    .bind(fact.conversion_id)
    .bind(fact.workspace.as_str())
    .bind(fact.source.as_str())
    .bind(fact.order_id.as_str())
    .bind(fact.received_ms)
    .execute(&mut **tx)
    .await?;

    // An order goes by its own id too, so that a refund under another name finds it.
    let references: Vec<&str> =
        std::iter::once(fact.order_id.as_str()).chain(fact.references.iter().map(String::as_str)).collect();
    for reference in &references {
        put_key(tx, "order_references", "reference", reference, fact).await?;
    }
    for customer in &fact.customers {
        put_key(tx, "order_customers", "customer", customer, fact).await?;
    }
    for code in &fact.coupons {
        put_key(tx, "order_coupons", "code", code, fact).await?;
    }
    for token in &fact.tokens {
        sqlx::query(
            "INSERT INTO order_tokens (source, order_id, click, workspace, link, visitor, at_ms, ordered_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (source, order_id, click) DO UPDATE SET ordered_ms =
               CASE WHEN excluded.ordered_ms < order_tokens.ordered_ms
                 THEN excluded.ordered_ms ELSE order_tokens.ordered_ms END",
        )
        .bind(fact.source.as_str())
        .bind(fact.order_id.as_str())
        .bind(token.click.as_str())
        .bind(fact.workspace.as_str())
        .bind(token.link.as_i64())
        .bind(token.visitor.as_deref())
        .bind(token.at_ms)
        .bind(fact.ordered_ms)
        .execute(&mut **tx)
        .await?;
    }
    let order = OrderKey { source: fact.source.clone(), order_id: fact.order_id.clone() };
    mark_related(tx, &fact.workspace, &order).await?;
    let visitors = sqlx::query(
        "SELECT DISTINCT visitor FROM order_tokens WHERE source = $1 AND order_id = $2 AND visitor IS NOT NULL",
    )
    .bind(fact.source.as_str())
    .bind(fact.order_id.as_str())
    .fetch_all(&mut **tx)
    .await?;
    let visitors: Vec<String> = visitors.iter().map(|row| row.get(0)).collect();
    // Their journeys may now belong to this order's customer and no longer to another's.
    mark_visitors(tx, &fact.workspace, &visitors).await?;
    Ok(true)
}

async fn put_key(
    tx: &mut Tx,
    table: &str,
    column: &str,
    value: &str,
    fact: &FactRow,
) -> Result<(), LedgerError> {
    let text = format!(
        "INSERT INTO {table} (workspace, {column}, source, order_id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
    );
    sqlx::query(AssertSqlSafe(text))
        .bind(fact.workspace.as_str())
        .bind(value)
        .bind(fact.source.as_str())
        .bind(fact.order_id.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Marks the conversion of an order due.
pub async fn mark_due(tx: &mut Tx, order: &OrderKey) -> Result<(), LedgerError> {
    sqlx::query("UPDATE conversions SET due = ABS(due) + 1 WHERE source = $1 AND order_id = $2")
        .bind(order.source.as_str())
        .bind(order.order_id.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Marks the conversions due that a coupon code concerns, since it stands for something else than before.
pub async fn mark_coupon(tx: &mut Tx, workspace: &str, code: &str) -> Result<(), LedgerError> {
    let rows = sqlx::query("SELECT source, order_id FROM order_coupons WHERE workspace = $1 AND code = $2")
        .bind(workspace)
        .bind(code)
        .fetch_all(&mut **tx)
        .await?;
    for row in rows {
        let order = OrderKey { source: row.try_get(0)?, order_id: row.try_get(1)? };
        mark_due(tx, &order).await?;
        mark_related(tx, workspace, &order).await?;
    }
    Ok(())
}

/// Marks every other conversion due that reads what is known of an order: those that share a name with it
/// (its record, its evidence), those of its customers, and those that share a name with these.
pub async fn mark_related(tx: &mut Tx, workspace: &str, order: &OrderKey) -> Result<(), LedgerError> {
    // Every order has a name: its own id.
    sqlx::query(
        "UPDATE conversions SET due = ABS(due) + 1 WHERE (source, order_id) IN
           (SELECT other.source, other.order_id FROM order_references other
              JOIN order_references r ON r.workspace = other.workspace AND r.reference = other.reference
            WHERE r.workspace = $1 AND (r.source, r.order_id) IN
              (SELECT source, order_id FROM order_references WHERE source = $2 AND order_id = $3
               UNION
               SELECT c.source, c.order_id FROM order_customers c
                 JOIN order_customers own ON own.workspace = c.workspace AND own.customer = c.customer
               WHERE own.source = $2 AND own.order_id = $3))
         AND NOT (source = $2 AND order_id = $3)",
    )
    .bind(workspace)
    .bind(order.source.as_str())
    .bind(order.order_id.as_str())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Marks the conversions due that read the journeys of these visitors.
pub async fn mark_visitors(tx: &mut Tx, workspace: &str, visitors: &[String]) -> Result<u64, LedgerError> {
    let mut marked = 0;
    for chunk in visitors.chunks(500) {
        let text = format!(
            "UPDATE conversions SET due = ABS(due) + 1 WHERE id IN
               (SELECT conversion FROM conversion_visitors WHERE workspace = $1 AND visitor IN ({}))",
            sql::list_from(2, chunk.len())
        );
        let mut query = sqlx::query(AssertSqlSafe(text)).bind(workspace);
        for visitor in chunk {
            query = query.bind(visitor.as_str());
        }
        marked += query.execute(&mut **tx).await?.rows_affected();
    }
    Ok(marked)
}

/// T of a workspace's latest conversion: a click after it concerns none of them.
pub async fn latest_t_ms(tx: &mut Tx, workspace: &str) -> Result<Option<i64>, LedgerError> {
    let row = sqlx::query("SELECT MAX(t_ms) FROM conversions WHERE workspace = $1")
        .bind(workspace)
        .fetch_one(&mut **tx)
        .await?;
    Ok(row.try_get(0)?)
}

/// Erases raw bodies and headers received before a time; what they said stays as facts.
pub async fn erase_raw(tx: &mut Tx, before_ms: i64) -> Result<(), LedgerError> {
    sqlx::query(
        "UPDATE deliveries SET body = NULL, headers = '[]' WHERE received_ms < $1 AND body IS NOT NULL",
    )
    .bind(before_ms)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
