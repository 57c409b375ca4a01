//! Erasing people. Money rows stay, anonymous.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, Row};

use super::conversions::OrderKey;
use super::{LedgerError, Tx, sql};
use crate::domain::ids::VisitorId;

/// Orders of a workspace that belong to any of these customer hashes.
pub async fn orders_of(
    tx: &mut Tx,
    workspace: &str,
    customers: &[String],
) -> Result<Vec<OrderKey>, LedgerError> {
    if customers.is_empty() {
        return Ok(Vec::new());
    }
    let text = format!(
        "SELECT DISTINCT source, order_id FROM order_customers WHERE workspace = $1 AND customer IN ({})",
        sql::list_from(2, customers.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(text)).bind(workspace);
    for customer in customers {
        query = query.bind(customer.as_str());
    }
    let rows = query.fetch_all(&mut **tx).await?;
    Ok(rows.iter().map(|row| OrderKey { source: row.get(0), order_id: row.get(1) }).collect())
}

/// All orders of a source.
pub async fn orders_of_source(tx: &mut Tx, source: &str) -> Result<Vec<OrderKey>, LedgerError> {
    let rows = sqlx::query("SELECT order_id FROM conversions WHERE source = $1")
        .bind(source)
        .fetch_all(&mut **tx)
        .await?;
    Ok(rows.iter().map(|row| OrderKey { source: source.to_owned(), order_id: row.get(0) }).collect())
}

/// Takes out of the ledger whatever leads from an order to a person: raw bodies, customer hashes,
/// visitors. Returns the visitors, whose journeys are to be erased too.
pub async fn erase_people(
    tx: &mut Tx,
    workspace: &str,
    orders: &[OrderKey],
) -> Result<BTreeSet<VisitorId>, LedgerError> {
    let mut visitors = BTreeSet::new();
    for order in orders {
        let rows = sqlx::query(
            "SELECT DISTINCT visitor FROM order_tokens WHERE source = $1 AND order_id = $2 AND visitor IS NOT NULL",
        )
        .bind(order.source.as_str())
        .bind(order.order_id.as_str())
        .fetch_all(&mut **tx)
        .await?;
        visitors.extend(rows.iter().filter_map(|row| row.get::<String, _>(0).parse::<VisitorId>().ok()));
        for statement in [
            "UPDATE deliveries SET body = NULL, headers = '[]' WHERE source = $1 AND order_id = $2",
            "DELETE FROM order_customers WHERE source = $1 AND order_id = $2",
            "UPDATE order_tokens SET visitor = NULL WHERE source = $1 AND order_id = $2",
            "UPDATE conversions SET customer = NULL WHERE source = $1 AND order_id = $2",
        ] {
            sqlx::query(statement)
                .bind(order.source.as_str())
                .bind(order.order_id.as_str())
                .execute(&mut **tx)
                .await?;
        }
    }
    for visitor in &visitors {
        let visitor = visitor.to_string();
        for statement in [
            "UPDATE touches SET visitor = NULL WHERE visitor = $2 AND conversion IN
               (SELECT conversion FROM conversion_visitors WHERE workspace = $1 AND visitor = $2)",
            "DELETE FROM conversion_visitors WHERE workspace = $1 AND visitor = $2",
        ] {
            sqlx::query(statement).bind(workspace).bind(visitor.as_str()).execute(&mut **tx).await?;
        }
    }
    Ok(visitors)
}
