//! Links by what they are called or by what happened to them lately.

use sqlx::AssertSqlSafe;

use super::{COLUMNS, LinkRow, read};
use crate::ledger::{Ledger, LedgerError, sql};

#[derive(Debug, Clone)]
pub struct Which {
    /// By id or by external id; None: any.
    pub named: Option<(Vec<i64>, Vec<String>)>,
    /// With a click, or with an order made or refunded, on this day (since 1970, in the workspace's zone) or later.
    pub active_from_day: Option<i64>,
    /// The last id seen.
    pub after: i64,
    pub limit: i64,
}

/// The links in the order of their ids.
pub async fn which(ledger: &Ledger, workspace: &str, which: &Which) -> Result<Vec<LinkRow>, LedgerError> {
    let mut text = format!("SELECT {COLUMNS} FROM links WHERE workspace = $1 AND id > $2");
    let mut place = 4;
    if which.active_from_day.is_some() {
        text.push_str(
            " AND id IN (SELECT link FROM clicks_by_day WHERE workspace = $1 AND day >= $4 \
             UNION SELECT link FROM credits WHERE workspace = $1 AND cash_day >= $4 AND link IS NOT NULL)",
        );
        place += 1;
    }
    let (ids, external_ids) =
        which.named.as_ref().map_or((&[][..], &[][..]), |(ids, external)| (ids, external));
    if which.named.is_some() {
        let named = [("id", ids.len()), ("external_id", external_ids.len())];
        let mut conditions = Vec::new();
        for (column, count) in named.into_iter().filter(|(_, count)| *count > 0) {
            conditions.push(format!("{column} IN ({})", sql::list_from(place, count)));
            place += count;
        }
        if conditions.is_empty() {
            return Ok(Vec::new());
        }
        text.push_str(&format!(" AND ({})", conditions.join(" OR ")));
    }
    text.push_str(" ORDER BY id LIMIT $3");
    let mut query = sqlx::query(AssertSqlSafe(text)).bind(workspace).bind(which.after).bind(which.limit);
    if let Some(day) = which.active_from_day {
        query = query.bind(day);
    }
    let query = ids.iter().fold(query, |query, id| query.bind(*id));
    let query = external_ids.iter().fold(query, |query, id| query.bind(id));
    let rows = query.fetch_all(&ledger.read).await?;
    rows.iter().map(read).collect()
}
