//! Sums for the columns that only some workspaces have: prices of clicks and what networks report of posts; and
//! what is missing for want of an exchange rate.

use std::collections::BTreeMap;

use sqlx::Row;

use super::clicks::ClickTable;
use super::{Dimension, Key, Query, Slice, day_sql, key};
use crate::ledger::{Ledger, LedgerError};

/// Human clicks by key on links of some networks.
pub async fn clicks_of_networks(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
    networks: &[&str],
) -> Result<Vec<(Key, String, i64)>, LedgerError> {
    if by == Dimension::Source {
        return Ok(Vec::new());
    }
    let table = ClickTable::of(slice, by);
    let network = "COALESCE(r.network, p.network)";
    let mut query = Query::new(&format!(
        "SELECT {}, {network}, CAST(SUM(g.human) AS BIGINT) FROM {} g
         JOIN link_revisions r ON r.link = g.link AND r.revision = g.revision
         LEFT JOIN posts p ON p.workspace = r.workspace AND p.id = r.post",
        table.key_sql, table.name
    ));
    table.where_slice(&mut query, slice);
    query.push(&format!(" AND {network} IN ("));
    for (i, network) in networks.iter().enumerate() {
        query.push(if i == 0 { "" } else { "," }).text(network);
    }
    query.push(")").and_link_filters(slice, "g.link").push(" GROUP BY 1, 2");
    let rows = query.fetch(ledger).await?;
    rows.iter().map(|row| Ok((key(row, 0, by)?, row.try_get(1)?, row.try_get(2)?))).collect()
}

/// What networks report of posts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Engagement {
    pub reach: i64,
    /// Likes, shares and comments.
    pub actions: i64,
}

/// By key, on the days it was reported for. None where posts alone cannot tell the key or a filter.
pub async fn engagement(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
) -> Result<Option<Vec<(Key, Engagement)>>, LedgerError> {
    let of_post = |dimension| match dimension {
        Dimension::Post => Some("m.post"),
        Dimension::Network => Some("p.network"),
        Dimension::Campaign => Some("p.campaign"),
        Dimension::Kind => Some("p.kind"),
        _ => None,
    };
    let Some(key_sql) = of_post(by).map(str::to_owned).or_else(|| day_sql(by, "m.day", slice)) else {
        return Ok(None);
    };
    let mut query = Query::new(&format!(
        "SELECT {key_sql}, CAST(COALESCE(SUM(m.reach), 0) AS BIGINT),
           CAST(SUM(COALESCE(m.likes, 0) + COALESCE(m.shares, 0) + COALESCE(m.comments, 0)) AS BIGINT)
         FROM post_metrics m LEFT JOIN posts p ON p.workspace = m.workspace AND p.id = m.post
         WHERE m.workspace = "
    ));
    query.text(&slice.workspace).push(" AND m.day >= ").number(slice.from_day);
    query.push(" AND m.day < ").number(slice.to_day);
    for (dimension, wanted) in &slice.filters {
        let Some(column) = of_post(*dimension) else { return Ok(None) };
        query.push(&format!(" AND {column} = ")).key(wanted);
    }
    query.push(" GROUP BY 1");
    let rows = query.fetch(ledger).await?;
    let read = |row: &_| {
        let engagement = Engagement { reach: Row::try_get(row, 1)?, actions: Row::try_get(row, 2)? };
        Ok((key(row, 0, by)?, engagement))
    };
    rows.iter().map(read).collect::<Result<Vec<_>, LedgerError>>().map(Some)
}

/// When posts were published, by id.
pub async fn published(ledger: &Ledger, workspace: &str) -> Result<BTreeMap<String, i64>, LedgerError> {
    let mut query =
        Query::new("SELECT id, published_ms FROM posts WHERE published_ms IS NOT NULL AND workspace = ");
    query.text(workspace);
    query.fetch(ledger).await?.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Orders of one currency that are excluded, since no rate is known for their days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingRate {
    pub currency: String,
    pub orders: i64,
    pub first_day: i64,
    pub last_day: i64,
    /// Distinct days.
    pub days: i64,
}

pub async fn missing_rates(ledger: &Ledger, slice: &Slice) -> Result<Vec<MissingRate>, LedgerError> {
    let mut query = Query::new(
        "SELECT COALESCE(v.currency, ''), COUNT(*), MIN(v.order_day), MAX(v.order_day), COUNT(DISTINCT v.order_day)
         FROM conversions v WHERE v.status = 'excluded' AND v.reason = 'missing_rate' AND v.workspace = ",
    );
    query.text(&slice.workspace).push(" AND v.order_day >= ").number(slice.from_day);
    query.push(" AND v.order_day < ").number(slice.to_day).push(" AND v.event = ").text(&slice.event);
    if let Some(source) = slice.filter(Dimension::Source) {
        query.push(" AND v.source = ").key(source);
    }
    query.push(" GROUP BY 1 ORDER BY 1");
    let read = |row: &_| {
        Ok(MissingRate {
            currency: Row::try_get(row, 0)?,
            orders: Row::try_get(row, 1)?,
            first_day: Row::try_get(row, 2)?,
            last_day: Row::try_get(row, 3)?,
            days: Row::try_get(row, 4)?,
        })
    };
    query.fetch(ledger).await?.iter().map(read).collect()
}
