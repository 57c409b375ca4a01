//! Erasing people. Money rows stay, anonymous.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, Row};

use super::conversions::{self, OrderKey};
use super::{Ledger, LedgerError, Tx, facts, packs, sql};
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

/// How many orders of a workspace belong to any of these customer hashes.
pub async fn count_orders(
    ledger: &Ledger,
    workspace: &str,
    customers: &[String],
) -> Result<usize, LedgerError> {
    let mut orders = BTreeSet::new();
    for customer in customers {
        let rows = sqlx::query(
            "SELECT source, order_id FROM order_customers WHERE workspace = $1 AND customer = $2",
        )
        .bind(workspace)
        .bind(customer.as_str())
        .fetch_all(&ledger.read)
        .await?;
        orders.extend(rows.iter().map(|row| (row.get::<String, _>(0), row.get::<String, _>(1))));
    }
    Ok(orders.len())
}

/// All orders of a source.
pub async fn orders_of_source(tx: &mut Tx, source: &str) -> Result<Vec<OrderKey>, LedgerError> {
    let rows = sqlx::query("SELECT order_id FROM conversions WHERE source = $1")
        .bind(source)
        .fetch_all(&mut **tx)
        .await?;
    Ok(rows.iter().map(|row| OrderKey { source: source.to_owned(), order_id: row.get(0) }).collect())
}

/// Other names of these orders, and evidence of them: what shares a reference with them. An order of another
/// shop that happens to have the same number is none of them.
pub async fn akin(
    tx: &mut Tx,
    workspace: &str,
    orders: &[OrderKey],
) -> Result<BTreeSet<OrderKey>, LedgerError> {
    let mut akin = BTreeSet::new();
    for order in orders {
        let rows = sqlx::query(
            "SELECT other.source, other.order_id FROM order_references own
               JOIN order_references other ON other.workspace = own.workspace AND other.reference = own.reference
             WHERE own.workspace = $1 AND own.source = $2 AND own.order_id = $3 AND (other.source = own.source
               OR EXISTS (SELECT 1 FROM sources s WHERE s.id = other.source AND s.role = 'evidence'))",
        )
        .bind(workspace)
        .bind(order.source.as_str())
        .bind(order.order_id.as_str())
        .fetch_all(&mut **tx)
        .await?;
        akin.extend(rows.iter().map(|row| OrderKey { source: row.get(0), order_id: row.get(1) }));
    }
    Ok(akin)
}

/// Erases the raw bodies of all deliveries that said something of these orders; returns how many there were.
pub async fn erase_bodies(tx: &mut Tx, orders: &[OrderKey]) -> Result<u64, LedgerError> {
    let mut bodies = 0;
    for order in orders {
        let done = sqlx::query(
            "UPDATE deliveries SET body = NULL, headers = '[]' WHERE body IS NOT NULL AND source = $1
               AND (order_id = $2 OR id IN (SELECT delivery FROM facts WHERE source = $1 AND order_id = $2))",
        )
        .bind(order.source.as_str())
        .bind(order.order_id.as_str())
        .execute(&mut **tx)
        .await?;
        bodies += done.rows_affected();
    }
    Ok(bodies)
}

/// Visitors whose clicks these orders name.
pub async fn visitors_of(tx: &mut Tx, orders: &[OrderKey]) -> Result<BTreeSet<VisitorId>, LedgerError> {
    let clicks = conversions::named_clicks(tx, orders).await?;
    Ok(clicks.into_iter().filter_map(|named| named.visitor).collect())
}

/// In what reports read of these orders, and of those that share a name with them.
async fn rename_in_packs(
    tx: &mut Tx,
    workspace: &str,
    orders: &[OrderKey],
    customer: &str,
    name: packs::Customer,
) -> Result<(), LedgerError> {
    let mut ids = Vec::new();
    for order in orders {
        let rows = sqlx::query(
            "SELECT id FROM conversions WHERE source = $2 AND order_id = $3
             UNION SELECT v.id FROM order_references own
               JOIN order_references other ON other.workspace = own.workspace AND other.reference = own.reference
               JOIN conversions v ON v.source = other.source AND v.order_id = other.order_id
             WHERE own.workspace = $1 AND own.source = $2 AND own.order_id = $3",
        )
        .bind(workspace)
        .bind(order.source.as_str())
        .bind(order.order_id.as_str())
        .fetch_all(&mut **tx)
        .await?;
        ids.extend(rows.iter().map(|row| row.get::<i64, _>(0)));
    }
    packs::rename_customer(tx, &ids, packs::customer(customer)?, name).await
}

/// Puts a random name in the place of each customer hash and each visitor, wherever the workspace has it, and
/// marks the conversions due that read them. Orders of one person stay orders of one, so that no credit
/// changes, but nothing leads to the person any more. The transaction is one of
/// [`Ledger::begin_alone`](super::Ledger::begin_alone).
pub async fn make_anonymous(
    tx: &mut Tx,
    workspace: &str,
    customers: &BTreeSet<String>,
    visitors: &BTreeSet<VisitorId>,
) -> Result<(), LedgerError> {
    for customer in customers {
        let orders = orders_of(tx, workspace, std::slice::from_ref(customer)).await?;
        for order in &orders {
            facts::mark_due(tx, order).await?;
        }
        let name: packs::Customer = rand::random();
        rename_in_packs(tx, workspace, &orders, customer, name).await?;
        let name = hex::encode(name);
        for statement in [
            "UPDATE order_customers SET customer = $1 WHERE workspace = $2 AND customer = $3",
            "UPDATE conversions SET customer = $1 WHERE workspace = $2 AND customer = $3",
        ] {
            sqlx::query(statement)
                .bind(name.as_str())
                .bind(workspace)
                .bind(customer.as_str())
                .execute(&mut **tx)
                .await?;
        }
    }
    for visitor in visitors {
        let visitor = visitor.to_string();
        // Whoever reads the visitor's journey, and whoever names one of its clicks alone.
        facts::mark_visitors(tx, workspace, std::slice::from_ref(&visitor)).await?;
        sqlx::query(
            "UPDATE conversions SET due = ABS(due) + 1 WHERE (source, order_id) IN
               (SELECT source, order_id FROM order_tokens WHERE workspace = $1 AND visitor = $2)",
        )
        .bind(workspace)
        .bind(visitor.as_str())
        .execute(&mut **tx)
        .await?;
        let name = VisitorId::from_bytes(rand::random()).to_string();
        for statement in [
            "UPDATE touches SET visitor = $1 WHERE visitor = $3 AND conversion IN
               (SELECT conversion FROM conversion_visitors WHERE workspace = $2 AND visitor = $3
                UNION SELECT v.id FROM conversions v JOIN order_tokens t
                  ON t.source = v.source AND t.order_id = v.order_id WHERE t.workspace = $2 AND t.visitor = $3)",
            "UPDATE conversion_visitors SET visitor = $1 WHERE workspace = $2 AND visitor = $3",
            "UPDATE order_tokens SET visitor = $1 WHERE workspace = $2 AND visitor = $3",
        ] {
            sqlx::query(statement)
                .bind(name.as_str())
                .bind(workspace)
                .bind(visitor.as_str())
                .execute(&mut **tx)
                .await?;
        }
    }
    Ok(())
}
