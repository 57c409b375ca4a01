//! What trying out other rules reads: conversions in order of arrival, and the posts of links.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, Row};

use super::conversions::Due;
use super::{Ledger, LedgerError, sql};
use crate::domain::ids::LinkId;

/// Orders of a workspace with ids above `after`, in order of id.
pub async fn conversions(
    ledger: &Ledger,
    workspace: &str,
    after: i64,
    limit: i64,
) -> Result<Vec<Due>, LedgerError> {
    let rows = sqlx::query(
        "SELECT id, workspace, source, order_id, due FROM conversions
         WHERE workspace = $1 AND id > $2 AND status IS NOT NULL ORDER BY id LIMIT $3",
    )
    .bind(workspace)
    .bind(after)
    .bind(limit)
    .fetch_all(&ledger.read)
    .await?;
    rows.iter().map(Due::read).collect()
}

pub async fn conversion(ledger: &Ledger, id: i64) -> Result<Option<Due>, LedgerError> {
    let row = sqlx::query("SELECT id, workspace, source, order_id, due FROM conversions WHERE id = $1")
        .bind(id)
        .fetch_optional(&ledger.read)
        .await?;
    row.as_ref().map(Due::read).transpose()
}

/// The posts that links stood for, by link and revision; those without one are missing.
pub async fn posts(ledger: &Ledger, links: &[LinkId]) -> Result<HashMap<(LinkId, i64), String>, LedgerError> {
    let mut posts = HashMap::new();
    for chunk in links.chunks(500) {
        let text = format!(
            "SELECT link, revision, post FROM link_revisions WHERE post IS NOT NULL AND link IN ({})",
            sql::list_from(1, chunk.len())
        );
        let query =
            chunk.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, link| query.bind(link.as_i64()));
        for row in query.fetch_all(&ledger.read).await? {
            let link = LinkId::from_i64(row.try_get(0)?).map_err(|e| LedgerError::Damaged(e.to_string()))?;
            posts.insert((link, row.try_get(1)?), row.try_get(2)?);
        }
    }
    Ok(posts)
}
