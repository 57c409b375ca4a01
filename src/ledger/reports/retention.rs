//! Purchases by customer, for reports on what customers come back for.

use std::collections::BTreeMap;

use sqlx::Row;

use super::{Dimension, Key, Query, key};
use crate::ledger::{Ledger, LedgerError};

/// A purchase that counts (attributed or not, but not excluded) of a customer that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    /// One of the customer's hashes; [`same_customers`] says which belong together.
    pub customer: String,
    pub id: i64,
    pub t_ms: i64,
    pub order_day: i64,
    /// Reporting currency, on the revenue basis.
    pub gross_minor: i64,
    pub net_minor: i64,
    /// None: unattributed.
    pub touched: Option<Touched>,
}

/// By which of our links a purchase came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touched {
    /// Day of the first click.
    pub first_day: i64,
    /// Link and revision of the last click.
    pub last_link: (i64, i64),
}

/// All purchases of known customers up to a day (exclusive), in no order.
pub async fn purchases(ledger: &Ledger, workspace: &str, to_day: i64) -> Result<Vec<Purchase>, LedgerError> {
    // Those of a day in one row, each on a line: a row for each costs SQL more than reading a hundred of them here.
    let mut query = Query::new(
        "SELECT v.order_day, string_agg(v.customer || ' ' || v.id || ' ' || v.t_ms || ' ' || v.gross_minor || ' ' \
           || v.net_minor || ' ' || COALESCE(v.journey, ''), '\n') FROM conversions v WHERE v.workspace = ",
    );
    query.text(workspace).push(" AND v.event = 'purchase' AND v.status IN ('attributed', 'unattributed')");
    query.push(" AND v.customer IS NOT NULL AND v.order_day < ").number(to_day).push(" GROUP BY v.order_day");
    let mut purchases = Vec::new();
    for row in query.fetch(ledger).await? {
        let (order_day, lines): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
        for line in lines.split('\n') {
            purchases.push(purchase(order_day, line)?);
        }
    }
    Ok(purchases)
}

/// Customer, id, time, gross, net and journey.
fn purchase(order_day: i64, line: &str) -> Result<Purchase, LedgerError> {
    let mut parts = line.splitn(6, ' ');
    let mut next = || parts.next().unwrap_or_default();
    let (customer, numbers, journey) = (next(), [next(), next(), next(), next()], next());
    let damaged = |_| LedgerError::Damaged(format!("a purchase of day {order_day}: {numbers:?}"));
    let number = |n: usize| numbers[n].parse::<i64>().map_err(damaged);
    Ok(Purchase {
        customer: customer.to_owned(),
        id: number(0)?,
        t_ms: number(1)?,
        order_day,
        gross_minor: number(2)?,
        net_minor: number(3)?,
        touched: touched(number(0)?, journey)?,
    })
}

/// From a conversion's journey: `link.revision.day` and more for each of our touches, `-channel` for rivals.
fn touched(id: i64, journey: &str) -> Result<Option<Touched>, LedgerError> {
    let mut found: Option<Touched> = None;
    for touch in journey.split(' ').filter(|touch| !touch.is_empty() && !touch.starts_with('-')) {
        let damaged = || LedgerError::Damaged(format!("journey of conversion {id}: {touch:?}"));
        let mut numbers = touch.split('.').map(|number| number.parse::<i64>().map_err(|_| damaged()));
        let mut next = || numbers.next().ok_or_else(damaged)?;
        let (link, revision, day) = (next()?, next()?, next()?);
        let first_day = found.map_or(day, |found| found.first_day);
        found = Some(Touched { first_day, last_link: (link, revision) });
    }
    Ok(found)
}

/// Pairs of hashes that some order says are one customer's; some come more than once.
pub async fn same_customers(ledger: &Ledger, workspace: &str) -> Result<Vec<(String, String)>, LedgerError> {
    let mut query = Query::new(
        "SELECT string_agg(o.customer || ' ' || v.customer, '\n') FROM order_customers o
         JOIN conversions v ON v.source = o.source AND v.order_id = o.order_id AND v.customer <> o.customer
         WHERE o.workspace = ",
    );
    query.text(workspace);
    let rows = query.fetch(ledger).await?;
    let pairs: Option<String> = match rows.first() {
        Some(row) => row.try_get(0)?,
        None => None,
    };
    let pairs = pairs.unwrap_or_default();
    let pairs = pairs.split('\n').filter_map(|pair| pair.split_once(' '));
    Ok(pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).collect())
}

/// Purchases that count, of customers that nothing identifies, by days (half-open).
pub async fn anonymous_purchases(
    ledger: &Ledger,
    workspace: &str,
    from_day: i64,
    to_day: i64,
) -> Result<i64, LedgerError> {
    let mut query = Query::new("SELECT COUNT(*) FROM conversions v WHERE v.workspace = ");
    query.text(workspace).push(" AND v.event = 'purchase' AND v.status IN ('attributed', 'unattributed')");
    query.push(" AND v.customer IS NULL AND v.order_day >= ").number(from_day);
    query.push(" AND v.order_day < ").number(to_day);
    Ok(query.fetch(ledger).await?[0].try_get(0)?)
}

/// The key of each revision of each link.
pub async fn link_keys(
    ledger: &Ledger,
    workspace: &str,
    by: Dimension,
) -> Result<BTreeMap<(i64, i64), Key>, LedgerError> {
    let mut query = Query::new(&format!(
        "SELECT {}, r.link, r.revision FROM link_revisions r
         LEFT JOIN posts p ON p.workspace = r.workspace AND p.id = r.post WHERE r.workspace = ",
        by.link_sql().unwrap_or("r.link")
    ));
    query.text(workspace);
    let rows = query.fetch(ledger).await?;
    rows.iter().map(|row| Ok(((row.try_get(1)?, row.try_get(2)?), key(row, 0, by)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journey_has_a_first_day_and_a_last_link() {
        let check = |journey: &str, expected: Option<(i64, (i64, i64))>| {
            let found = touched(1, journey).unwrap();
            assert_eq!(found.map(|found| (found.first_day, found.last_link)), expected, "{journey}");
        };
        check("", None);
        check("-search", None);
        check("7.1.100", Some((100, (7, 1))));
        check("-search 7.1.100 8.3.102 -email", Some((100, (8, 3))));
        assert!(touched(1, "7.1").is_err());
    }
}
