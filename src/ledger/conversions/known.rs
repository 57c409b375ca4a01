//! What is known of an order: its facts, its other names, its customers, and the clicks that they named.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, Row};

use super::{OrderKey, damaged, parsed};
use crate::attribution::order::StoredFact;
use crate::domain::ids::{ClickId, LinkId, VisitorId};
use crate::ledger::{LedgerError, Tx, sql};

/// The role of a source: whether its money counts.
pub async fn is_of_record(tx: &mut Tx, source: &str) -> Result<bool, LedgerError> {
    let row =
        sqlx::query("SELECT role FROM sources WHERE id = $1").bind(source).fetch_optional(&mut **tx).await?;
    Ok(row.is_none_or(|row| row.get::<String, _>(0) == "of_record"))
}

pub async fn references(tx: &mut Tx, order: &OrderKey) -> Result<Vec<String>, LedgerError> {
    let rows = sqlx::query(
        "SELECT reference FROM order_references WHERE source = $1 AND order_id = $2 ORDER BY reference",
    )
    .bind(order.source.as_str())
    .bind(order.order_id.as_str())
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Orders of the same source that are another name of this one: it lists their id among its references.
pub async fn known_as(
    tx: &mut Tx,
    order: &OrderKey,
    references: &[String],
) -> Result<Vec<OrderKey>, LedgerError> {
    let others: Vec<&String> = references.iter().filter(|reference| **reference != order.order_id).collect();
    if others.is_empty() {
        return Ok(Vec::new());
    }
    let text = format!(
        "SELECT DISTINCT order_id FROM facts WHERE source = $1 AND order_id IN ({}) ORDER BY order_id",
        sql::list_from(2, others.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(text)).bind(order.source.as_str());
    for reference in others {
        query = query.bind(reference.as_str());
    }
    let rows = query.fetch_all(&mut **tx).await?;
    Ok(rows.iter().map(|row| OrderKey { source: order.source.clone(), order_id: row.get(0) }).collect())
}

/// Orders of the same source that list this one's id among their references.
pub async fn known_by(tx: &mut Tx, workspace: &str, order: &OrderKey) -> Result<Vec<OrderKey>, LedgerError> {
    let rows = sqlx::query(
        "SELECT order_id FROM order_references
         WHERE workspace = $1 AND reference = $2 AND source = $3 AND order_id <> $2 ORDER BY order_id",
    )
    .bind(workspace)
    .bind(order.order_id.as_str())
    .bind(order.source.as_str())
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.iter().map(|row| OrderKey { source: order.source.clone(), order_id: row.get(0) }).collect())
}

/// Orders of evidence sources that share one of these references.
pub async fn evidence(
    tx: &mut Tx,
    workspace: &str,
    references: &[String],
) -> Result<Vec<OrderKey>, LedgerError> {
    if references.is_empty() {
        return Ok(Vec::new());
    }
    let text = format!(
        "SELECT DISTINCT r.source, r.order_id FROM order_references r JOIN sources s ON s.id = r.source
         WHERE r.workspace = $1 AND s.role = 'evidence' AND r.reference IN ({}) ORDER BY r.source, r.order_id",
        sql::list_from(2, references.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(text)).bind(workspace);
    for reference in references {
        query = query.bind(reference.as_str());
    }
    let rows = query.fetch_all(&mut **tx).await?;
    Ok(rows.iter().map(|row| OrderKey { source: row.get(0), order_id: row.get(1) }).collect())
}

pub async fn facts(tx: &mut Tx, order: &OrderKey) -> Result<Vec<StoredFact>, LedgerError> {
    let rows = sqlx::query("SELECT version_ms, hash, says FROM facts WHERE source = $1 AND order_id = $2")
        .bind(order.source.as_str())
        .bind(order.order_id.as_str())
        .fetch_all(&mut **tx)
        .await?;
    rows.iter()
        .map(|row| {
            let says: String = row.try_get(2)?;
            Ok(StoredFact {
                version_ms: row.try_get(0)?,
                hash: row.try_get(1)?,
                says: serde_json::from_str(&says)
                    .map_err(|e| LedgerError::Damaged(format!("fact of order {}: {e}", order.order_id)))?,
            })
        })
        .collect()
}

pub async fn customers(tx: &mut Tx, orders: &[OrderKey]) -> Result<BTreeSet<String>, LedgerError> {
    let mut customers = BTreeSet::new();
    for order in orders {
        let rows = sqlx::query("SELECT customer FROM order_customers WHERE source = $1 AND order_id = $2")
            .bind(order.source.as_str())
            .bind(order.order_id.as_str())
            .fetch_all(&mut **tx)
            .await?;
        customers.extend(rows.iter().map(|row| row.get::<String, _>(0)));
    }
    Ok(customers)
}

/// A verified click that an order names.
#[derive(Debug, Clone)]
pub struct NamedClick {
    pub click: ClickId,
    pub link: LinkId,
    pub visitor: Option<VisitorId>,
}

pub async fn named_clicks(tx: &mut Tx, orders: &[OrderKey]) -> Result<Vec<NamedClick>, LedgerError> {
    let mut clicks = Vec::new();
    for order in orders {
        let rows =
            sqlx::query("SELECT click, link, visitor FROM order_tokens WHERE source = $1 AND order_id = $2 ORDER BY click")
                .bind(order.source.as_str())
                .bind(order.order_id.as_str())
                .fetch_all(&mut **tx)
                .await?;
        for row in rows {
            let visitor: Option<String> = row.try_get(2)?;
            clicks.push(NamedClick {
                click: parsed(row.try_get(0)?)?,
                link: LinkId::from_i64(row.try_get(1)?).map_err(damaged)?,
                visitor: visitor.map(parsed).transpose()?,
            });
        }
    }
    Ok(clicks)
}

/// Visitors whose clicks any order of these customers has named, at most `limit`, the earliest first.
pub async fn visitors_of(
    tx: &mut Tx,
    workspace: &str,
    customers: &BTreeSet<String>,
    limit: i64,
) -> Result<Vec<VisitorId>, LedgerError> {
    if customers.is_empty() {
        return Ok(Vec::new());
    }
    let text = format!(
        "SELECT t.visitor, MIN(t.ordered_ms) AS first_ms
         FROM order_customers c JOIN order_tokens t ON t.source = c.source AND t.order_id = c.order_id
         WHERE c.workspace = $1 AND t.visitor IS NOT NULL AND c.customer IN ({})
         GROUP BY t.visitor ORDER BY first_ms, t.visitor LIMIT $2",
        sql::list_from(3, customers.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(text)).bind(workspace).bind(limit);
    for customer in customers {
        query = query.bind(customer.as_str());
    }
    query.fetch_all(&mut **tx).await?.iter().map(|row| parsed(row.try_get(0)?)).collect()
}

/// The first order of a known customer that named a click of a visitor.
#[derive(Debug, Clone)]
pub struct Claim {
    pub visitor: VisitorId,
    pub ordered_ms: i64,
    pub order: OrderKey,
    pub customer: String,
}

/// Every claim of a known customer on these visitors.
pub async fn claims(
    tx: &mut Tx,
    workspace: &str,
    visitors: &BTreeSet<VisitorId>,
) -> Result<Vec<Claim>, LedgerError> {
    if visitors.is_empty() {
        return Ok(Vec::new());
    }
    let text = format!(
        "SELECT t.visitor, t.ordered_ms, t.source, t.order_id, c.customer
         FROM order_tokens t JOIN order_customers c ON c.source = t.source AND c.order_id = t.order_id
         WHERE t.workspace = $1 AND t.visitor IN ({})",
        sql::list_from(2, visitors.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(text)).bind(workspace);
    for visitor in visitors {
        query = query.bind(visitor.to_string());
    }
    let rows = query.fetch_all(&mut **tx).await?;
    rows.iter()
        .map(|row| {
            Ok(Claim {
                visitor: parsed(row.try_get(0)?)?,
                ordered_ms: row.try_get(1)?,
                order: OrderKey { source: row.try_get(2)?, order_id: row.try_get(3)? },
                customer: row.try_get(4)?,
            })
        })
        .collect()
}
