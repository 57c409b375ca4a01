//! Purchases by customer, for reports on what customers come back for.

use std::collections::BTreeMap;

use sqlx::Row;

use super::{Dimension, Key, Query, key};
use crate::ledger::packs::{Conversion, Customer, Reading, Span, Status};
use crate::ledger::{Ledger, LedgerError, blocking};

/// A purchase that counts (attributed or not, but not excluded) of a customer that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    /// One of the customer's hashes; [`Purchases::same`] says which belong together.
    pub customer: Customer,
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

#[derive(Debug, Default)]
pub struct Purchases {
    /// In no order.
    pub known: Vec<Purchase>,
    /// Pairs of hashes that some order says are one customer's; some come more than once.
    pub same: Vec<(Customer, Customer)>,
    /// Those of customers that nothing identifies, by the day of the order.
    pub anonymous: BTreeMap<i64, i64>,
}

/// All purchases that count, up to a day (exclusive).
pub async fn purchases(ledger: &Ledger, workspace: &str, to_day: i64) -> Result<Purchases, LedgerError> {
    let span = Span::Orders(i64::MIN, to_day);
    let mut reading = Reading::begin(ledger, workspace, "purchase", span, false).await?;
    let mut all = Purchases::default();
    while let Some(packs) = reading.next().await? {
        all = blocking(move || {
            packs.each(|_, conversion| {
                all.add(&conversion);
                Ok(())
            })?;
            Ok(all)
        })
        .await?;
    }
    Ok(all)
}

impl Purchases {
    fn add(&mut self, conversion: &Conversion<'_>) {
        if conversion.status == Status::Excluded {
            return;
        }
        let Some((customer, others)) = conversion.customers.split_first() else {
            *self.anonymous.entry(conversion.order_day).or_default() += 1;
            return;
        };
        self.same.extend(others.iter().map(|other| (*customer, *other)));
        self.known.push(Purchase {
            customer: *customer,
            id: conversion.id,
            t_ms: conversion.t_ms,
            order_day: conversion.order_day,
            gross_minor: conversion.gross_minor,
            net_minor: conversion.net_minor,
            touched: touched(conversion),
        });
    }
}

fn touched(conversion: &Conversion<'_>) -> Option<Touched> {
    let mut ours =
        conversion.links.iter().zip(&conversion.touches).filter_map(|(link, touch)| Some(((*link)?, touch)));
    let (link, first) = ours.next()?;
    let last_link = ours.next_back().map_or(link, |(link, _)| link);
    Some(Touched { first_day: first.day, last_link })
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
