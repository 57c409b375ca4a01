//! The columns that only some workspaces have, and rows by the hour of publishing.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::columns::WHOLE;
use super::gather::{Gathered, Measured};
use super::{Figures, Problem, ReportError};
use crate::config::Attribution;
use crate::domain::money::Currency;
use crate::domain::time::hour_of_week;
use crate::ledger::reports::{self as sums, Dimension, Goods, Key, Slice};
use crate::ledger::{Ledger, LedgerError};

/// Cost of goods, where orders state any; by row, None being the whole.
pub fn goods(
    goods: Vec<(Option<Key>, Goods)>,
    currency: Currency,
    all: &mut Gathered,
) -> Result<(), ReportError> {
    let mut credited = 0;
    for (key, goods) in goods {
        let cost = converted(&goods, currency)?;
        let into = match key {
            Some(key) => all.rows.entry(key).or_default(),
            None => {
                credited += i128::from(goods.weight) * i128::from(goods.conversions);
                &mut all.totals
            }
        };
        *into.figures.goods.get_or_insert_default() += cost;
    }
    // Half a conversion is no longer a matter of rounding.
    let without = i128::from(all.totals.figures.credits.weight) - credited;
    if all.totals.figures.goods.is_some() && without > WHOLE / 2 {
        let count = Decimal::from_i128_with_scale(without, 9).round_dp(2).normalize();
        let detail =
            format!("conversions without a cost of goods, whose whole net counts as profit: {count}");
        all.problems.push(Problem { code: "cost_of_goods_missing", detail });
    }
    Ok(())
}

/// In minor units of the reporting currency times billionths.
fn converted(goods: &Goods, to: Currency) -> Result<i128, LedgerError> {
    let damaged = || LedgerError::Damaged(format!("cost of goods in {} at {:?}", goods.currency, goods.rate));
    let from: Currency = goods.currency.parse().map_err(|_| damaged())?;
    if from == to {
        return Ok(i128::from(goods.cost_minor) * i128::from(goods.weight));
    }
    let rate: Decimal = goods.rate.as_deref().and_then(|rate| rate.parse().ok()).ok_or_else(damaged)?;
    // Millionths of a minor unit are fine enough, and leave room for the largest sums.
    let millionths =
        Decimal::from(10_i64.pow(6 + to.exponent())) / Decimal::from(10_i64.pow(from.exponent()));
    let cost =
        Decimal::from(goods.cost_minor).checked_mul(rate).and_then(|cost| cost.checked_mul(millionths));
    let cost = cost.and_then(|cost| cost.round().to_i128()).ok_or_else(damaged)?;
    Ok(cost * i128::from(goods.weight) / 1_000_000)
}

/// What clicks would have cost as advertisements, where prices are set.
pub async fn click_value(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
    currency: Currency,
    settings: &Attribution,
    all: &mut Gathered,
) -> Result<(), ReportError> {
    if settings.click_prices.is_empty() || by == Dimension::Source {
        return Ok(());
    }
    let mut prices: BTreeMap<String, i128> = BTreeMap::new();
    for (network, price) in &settings.click_prices {
        let damaged = || LedgerError::Damaged(format!("click price {price:?} of {network}"));
        let scale = Decimal::from(10_i64.pow(9 + currency.exponent()));
        let price = price.parse::<Decimal>().ok().and_then(|price| price.checked_mul(scale));
        let price = price.and_then(|price| price.round().to_i128()).ok_or_else(damaged)?;
        prices.insert(network.to_lowercase(), price);
    }
    let networks: Vec<&str> = prices.keys().map(String::as_str).collect();
    all.totals.figures.click_value = Some(0);
    for (key, network, clicks) in sums::clicks_of_networks(ledger, slice, by, &networks).await? {
        let value = prices.get(&network).copied().unwrap_or_default() * i128::from(clicks);
        for key in sums::rows_of(by, key)? {
            *all.rows.entry(key).or_default().figures.click_value.get_or_insert_default() += value;
        }
        *all.totals.figures.click_value.get_or_insert_default() += value;
    }
    Ok(())
}

/// What networks report of the posts; null where they report nothing.
pub async fn engagement(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
    all: &mut Gathered,
) -> Result<(), ReportError> {
    for (key, engagement) in sums::engagement(ledger, slice, by).await?.unwrap_or_default() {
        all.rows.entry(key).or_default().figures.engagement = Some(engagement);
        let whole = all.totals.figures.engagement.get_or_insert_default();
        whole.reach += engagement.reach;
        whole.actions += engagement.actions;
    }
    Ok(())
}

/// Rows by post as rows by the hour of the week in which each post was published.
pub async fn by_published_hour(
    ledger: &Ledger,
    workspace: &str,
    zone: &TimeZone,
    all: &mut Gathered,
) -> Result<(), ReportError> {
    let published = sums::published(ledger, workspace).await?;
    let mut rows: BTreeMap<Key, Measured> = BTreeMap::new();
    for (key, measured) in std::mem::take(&mut all.rows) {
        let hour = match &key {
            Key::Text(post) => published
                .get(post)
                .map_or(Key::None, |at_ms| Key::Number(i64::from(hour_of_week(*at_ms, zone)))),
            _ => key,
        };
        match rows.entry(hour) {
            std::collections::btree_map::Entry::Vacant(row) => {
                row.insert(measured);
            }
            std::collections::btree_map::Entry::Occupied(mut row) => add(row.get_mut(), measured),
        }
    }
    // A conversion that several posts of one hour have assisted is one, which sums cannot tell.
    all.totals.figures.assisted = None;
    rows.values_mut().for_each(|row| row.figures.assisted = None);
    all.rows = rows;
    Ok(())
}

fn add(into: &mut Measured, other: Measured) {
    fn sum<T>(into: &mut Option<T>, other: Option<T>, add: impl Fn(&mut T, T)) {
        match (into.as_mut(), other) {
            (Some(into), Some(other)) => add(into, other),
            (None, other) => *into = other,
            (Some(_), None) => {}
        }
    }
    let Figures { clicks, credits, assigned_value, cost, assisted: _, goods, click_value, engagement } =
        other.figures;
    let figures = &mut into.figures;
    sum(&mut figures.clicks, clicks, |a, b| a.add(b));
    figures.credits.add(credits);
    sum(&mut figures.assigned_value, assigned_value, |a, b| *a += b);
    sum(&mut figures.cost, cost, |a, b| {
        a.direct_minor += b.direct_minor;
        a.shared_minor += b.shared_minor;
    });
    sum(&mut figures.goods, goods, |a, b| *a += b);
    sum(&mut figures.click_value, click_value, |a, b| *a += b);
    sum(&mut figures.engagement, engagement, |a, b| {
        a.reach += b.reach;
        a.actions += b.actions;
    });
    into.by_model.iter_mut().zip(other.by_model).for_each(|(a, b)| a.add(b));
}
