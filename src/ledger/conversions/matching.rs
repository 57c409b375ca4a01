//! What could have led to an order besides the clicks it names: coupons, tags, and the sales before it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sqlx::{AssertSqlSafe, Row};

use super::{Due, damaged};
use crate::domain::ids::LinkId;
use crate::ledger::{LedgerError, Tx, sql};

/// Links that a coupon stands for: its own, or all that stood for its post at `at_ms` (or that do so now, if
/// none did then).
pub async fn coupon_links(
    tx: &mut Tx,
    workspace: &str,
    code: &str,
    at_ms: i64,
) -> Result<BTreeSet<LinkId>, LedgerError> {
    let row = sqlx::query("SELECT post, link FROM coupons WHERE workspace = $1 AND code = $2")
        .bind(workspace)
        .bind(code)
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else { return Ok(BTreeSet::new()) };
    if let Some(link) = row.try_get::<Option<i64>, _>(1)? {
        return Ok(BTreeSet::from([LinkId::from_i64(link).map_err(damaged)?]));
    }
    let Some(post) = row.try_get::<Option<String>, _>(0)? else { return Ok(BTreeSet::new()) };
    let rows = sqlx::query(
        "SELECT link, from_ms, post FROM link_revisions WHERE workspace = $1 AND link IN
           (SELECT link FROM link_revisions WHERE workspace = $1 AND post = $2) ORDER BY link, revision",
    )
    .bind(workspace)
    .bind(post.as_str())
    .fetch_all(&mut **tx)
    .await?;
    let (mut then, mut now) = (BTreeMap::new(), BTreeMap::new());
    for row in rows {
        let link = LinkId::from_i64(row.try_get(0)?).map_err(damaged)?;
        let is_of_post = row.try_get::<Option<String>, _>(2)?.as_deref() == Some(post.as_str());
        if row.try_get::<i64, _>(1)? <= at_ms {
            then.insert(link, is_of_post);
        }
        now.insert(link, is_of_post);
    }
    let of_post = |links: BTreeMap<LinkId, bool>| -> BTreeSet<LinkId> {
        links.into_iter().filter(|(_, is_of_post)| *is_of_post).map(|(link, _)| link).collect()
    };
    let then = of_post(then);
    Ok(if then.is_empty() { of_post(now) } else { then })
}

/// Whether a link belongs to the workspace.
pub async fn has_link(tx: &mut Tx, workspace: &str, link: LinkId) -> Result<bool, LedgerError> {
    let row = sqlx::query("SELECT 1 FROM links WHERE id = $1 AND workspace = $2")
        .bind(link.as_i64())
        .bind(workspace)
        .fetch_optional(&mut **tx)
        .await?;
    Ok(row.is_some())
}

/// Links whose tags are these; `content` and `term` only where given. Those that were there at `at_ms`: one that
/// was made later takes nothing from an order before it. If there was none then, those that are there now.
pub async fn links_with_utm(
    tx: &mut Tx,
    workspace: &str,
    utm: &[(&str, String)],
    at_ms: i64,
) -> Result<Vec<LinkId>, LedgerError> {
    let mut text = String::from("SELECT link, MIN(from_ms) FROM link_revisions WHERE workspace = $1");
    for (i, (column, _)) in utm.iter().enumerate() {
        let _ = write!(text, " AND {column} = ${}", i + 2);
    }
    // The earliest ones suffice to say whether there is one, none or several.
    text.push_str(" GROUP BY link ORDER BY 2, 1 LIMIT 2");
    let mut query = sqlx::query(AssertSqlSafe(text)).bind(workspace);
    for (_, value) in utm {
        query = query.bind(value.as_str());
    }
    let mut links = Vec::new();
    let mut then = 0;
    for row in query.fetch_all(&mut **tx).await? {
        links.push(LinkId::from_i64(row.try_get(0)?).map_err(damaged)?);
        then += usize::from(row.try_get::<i64, _>(1)? <= at_ms);
    }
    links.truncate(if then > 0 { then } else { links.len() });
    Ok(links)
}

/// When the customers' latest purchase before `t_ms` was.
pub async fn earlier_purchase_ms(
    tx: &mut Tx,
    due: &Due,
    customers: &BTreeSet<String>,
    t_ms: i64,
) -> Result<Option<i64>, LedgerError> {
    if customers.is_empty() {
        return Ok(None);
    }
    let text = format!(
        "SELECT MAX(v.t_ms) FROM order_customers c JOIN conversions v ON v.source = c.source AND v.order_id = c.order_id
         WHERE c.workspace = $1 AND v.id <> $2 AND v.t_ms < $3 AND v.event = 'purchase'
           AND v.status IN ('attributed', 'unattributed') AND c.customer IN ({})",
        sql::list_from(4, customers.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(text)).bind(due.workspace.as_str()).bind(due.id).bind(t_ms);
    for customer in customers {
        query = query.bind(customer.as_str());
    }
    Ok(query.fetch_one(&mut **tx).await?.try_get(0)?)
}

/// The first sale of a subscription: the earliest order of the source that lists it and renews nothing.
pub async fn first_sale(
    tx: &mut Tx,
    workspace: &str,
    source: &str,
    subscription: &str,
) -> Result<Option<(i64, Option<i64>)>, LedgerError> {
    let row = sqlx::query(
        "SELECT v.id, v.t_ms FROM order_references r
           JOIN conversions v ON v.source = r.source AND v.order_id = r.order_id
         WHERE r.workspace = $1 AND r.reference = $2 AND r.source = $3
           AND v.renews IS NULL AND v.status IS NOT NULL ORDER BY v.t_ms, v.order_id LIMIT 1",
    )
    .bind(workspace)
    .bind(subscription)
    .bind(source)
    .fetch_optional(&mut **tx)
    .await?;
    row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}
