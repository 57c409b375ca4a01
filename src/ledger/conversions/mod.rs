//! Conversions, along the way of an evaluation: what is due, what is known of its order, what could have led
//! to it, what it makes known before journeys are read, and what it leaves.

mod evaluation;
mod known;
mod matching;

use std::collections::BTreeSet;

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Ledger, LedgerError, Tx, sql};
use crate::domain::ids::VisitorId;

pub use evaluation::{ChangeRow, CreditRow, Evaluation, Put, TouchRow, put_evaluation, touches};
pub use known::{
    Claim, NamedClick, claims, customers, evidence, facts, is_of_record, known_as, known_by, named_clicks,
    references, visitors_of,
};
pub use matching::{coupon_links, earlier_purchase_ms, first_sale, has_link, links_with_utm};

/// A conversion that waits to be evaluated. The size of `due` grows with every reason and never shrinks, so
/// that two evaluations cannot mistake each other's; below 0 all reasons are dealt with.
#[derive(Debug, Clone)]
pub struct Due {
    pub id: i64,
    pub workspace: String,
    pub source: String,
    pub order_id: String,
    pub due: i64,
}

impl Due {
    pub fn order(&self) -> OrderKey {
        OrderKey { source: self.source.clone(), order_id: self.order_id.clone() }
    }

    /// From a row of `id, workspace, source, order_id, due`.
    pub(super) fn read(row: &AnyRow) -> Result<Self, LedgerError> {
        Ok(Self {
            id: row.try_get(0)?,
            workspace: row.try_get(1)?,
            source: row.try_get(2)?,
            order_id: row.try_get(3)?,
            due: row.try_get(4)?,
        })
    }
}

/// The longest-waiting due conversions.
pub async fn due(ledger: &Ledger, limit: i64) -> Result<Vec<Due>, LedgerError> {
    let rows = sqlx::query(
        "SELECT id, workspace, source, order_id, due FROM conversions WHERE due > 0 ORDER BY id LIMIT $1",
    )
    .bind(limit)
    .fetch_all(&ledger.read)
    .await?;
    rows.iter().map(Due::read).collect()
}

/// An order of some source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderKey {
    pub source: String,
    pub order_id: String,
}

/// The conversion of an order, if there is one: its id and T.
pub async fn find(tx: &mut Tx, order: &OrderKey) -> Result<Option<(i64, Option<i64>)>, LedgerError> {
    let row = sqlx::query("SELECT id, t_ms FROM conversions WHERE source = $1 AND order_id = $2")
        .bind(order.source.as_str())
        .bind(order.order_id.as_str())
        .fetch_optional(&mut **tx)
        .await?;
    row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}

/// Makes known what others look for before journeys are read, so that a click that comes at the same time
/// finds the conversion. Says whether T is another than before.
pub async fn announce(
    tx: &mut Tx,
    due: &Due,
    visitors: &BTreeSet<VisitorId>,
    t_ms: Option<i64>,
    renews: Option<&str>,
) -> Result<bool, LedgerError> {
    let row =
        sqlx::query("SELECT t_ms FROM conversions WHERE id = $1").bind(due.id).fetch_one(&mut **tx).await?;
    let t_ms_before: Option<i64> = row.try_get(0)?;
    sqlx::query("UPDATE conversions SET t_ms = $2, renews = $3 WHERE id = $1")
        .bind(due.id)
        .bind(t_ms)
        .bind(renews)
        .execute(&mut **tx)
        .await?;
    sqlx::query("DELETE FROM conversion_visitors WHERE conversion = $1")
        .bind(due.id)
        .execute(&mut **tx)
        .await?;
    for visitor in visitors {
        sqlx::query("INSERT INTO conversion_visitors (workspace, visitor, conversion) VALUES ($1, $2, $3)")
            .bind(due.workspace.as_str())
            .bind(visitor.to_string())
            .bind(due.id)
            .execute(&mut **tx)
            .await?;
    }
    Ok(t_ms != t_ms_before)
}

/// Marks the renewals of a subscription due, since they inherit what its first sale was credited.
pub async fn mark_renewals(tx: &mut Tx, source: &str, references: &[String]) -> Result<(), LedgerError> {
    if references.is_empty() {
        return Ok(());
    }
    let text = format!(
        "UPDATE conversions SET due = ABS(due) + 1 WHERE source = $1 AND renews IN ({})",
        sql::list_from(2, references.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(text)).bind(source);
    for reference in references {
        query = query.bind(reference.as_str());
    }
    query.execute(&mut **tx).await?;
    Ok(())
}

fn parsed<T: std::str::FromStr>(text: String) -> Result<T, LedgerError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(damaged)
}

fn damaged(error: impl std::fmt::Display) -> LedgerError {
    LedgerError::Damaged(error.to_string())
}
