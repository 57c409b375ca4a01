//! What the worker needs to evaluate a conversion, and what it leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Ledger, LedgerError, Tx, sql};
use crate::attribution::order::StoredFact;
use crate::domain::ids::{ClickId, LinkId, VisitorId};

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
}

/// The longest-waiting due conversions.
pub async fn due(ledger: &Ledger, limit: i64) -> Result<Vec<Due>, LedgerError> {
    let rows = sqlx::query(
        "SELECT id, workspace, source, order_id, due FROM conversions WHERE due > 0 ORDER BY id LIMIT $1",
    )
    .bind(limit)
    .fetch_all(&ledger.read)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Due {
                id: row.try_get(0)?,
                workspace: row.try_get(1)?,
                source: row.try_get(2)?,
                order_id: row.try_get(3)?,
                due: row.try_get(4)?,
            })
        })
        .collect()
}

/// An order of some source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderKey {
    pub source: String,
    pub order_id: String,
}

/// A verified click that an order names.
#[derive(Debug, Clone)]
pub struct NamedClick {
    pub click: ClickId,
    pub link: LinkId,
    pub visitor: Option<VisitorId>,
}

/// The first order of a known customer that named a click of a visitor.
#[derive(Debug, Clone)]
pub struct Claim {
    pub visitor: VisitorId,
    pub ordered_ms: i64,
    pub order: OrderKey,
    pub customer: String,
}

/// The role of a source: whether its money counts.
pub async fn is_of_record(tx: &mut Tx, source: &str) -> Result<bool, LedgerError> {
    let row =
        sqlx::query("SELECT role FROM sources WHERE id = $1").bind(source).fetch_optional(&mut **tx).await?;
    Ok(row.is_none_or(|row| row.get::<String, _>(0) == "of_record"))
}

pub async fn references(tx: &mut Tx, order: &OrderKey) -> Result<Vec<String>, LedgerError> {
    let rows = sqlx::query(
        "SELECT reference FROM order_references WHERE source = $1 AND order_id = $2 ORDER BY reference",
    )
    .bind(order.source.as_str())
    .bind(order.order_id.as_str())
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Orders of the same source that are another name of this one: it lists their id among its references.
pub async fn known_as(
    tx: &mut Tx,
    order: &OrderKey,
    references: &[String],
) -> Result<Vec<OrderKey>, LedgerError> {
    let others: Vec<&String> = references.iter().filter(|reference| **reference != order.order_id).collect();
    if others.is_empty() {
        return Ok(Vec::new());
    }
    let text = format!(
        "SELECT DISTINCT order_id FROM facts WHERE source = $1 AND order_id IN ({}) ORDER BY order_id",
        sql::list_from(2, others.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(text)).bind(order.source.as_str());
    for reference in others {
        query = query.bind(reference.as_str());
    }
    let rows = query.fetch_all(&mut **tx).await?;
    Ok(rows.iter().map(|row| OrderKey { source: order.source.clone(), order_id: row.get(0) }).collect())
}

/// Orders of the same source that list this one's id among their references.
pub async fn known_by(tx: &mut Tx, workspace: &str, order: &OrderKey) -> Result<Vec<OrderKey>, LedgerError> {
    let rows = sqlx::query(
        "SELECT order_id FROM order_references
         WHERE workspace = $1 AND reference = $2 AND source = $3 AND order_id <> $2 ORDER BY order_id",
    )
    .bind(workspace)
    .bind(order.order_id.as_str())
    .bind(order.source.as_str())
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.iter().map(|row| OrderKey { source: order.source.clone(), order_id: row.get(0) }).collect())
}

/// Orders of evidence sources that share one of these references.
pub async fn evidence(
    tx: &mut Tx,
    workspace: &str,
    references: &[String],
) -> Result<Vec<OrderKey>, LedgerError> {
    if references.is_empty() {
        return Ok(Vec::new());
    }
    let text = format!(
        "SELECT DISTINCT r.source, r.order_id FROM order_references r JOIN sources s ON s.id = r.source
         WHERE r.workspace = $1 AND s.role = 'evidence' AND r.reference IN ({}) ORDER BY r.source, r.order_id",
        sql::list_from(2, references.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(text)).bind(workspace);
    for reference in references {
        query = query.bind(reference.as_str());
    }
    let rows = query.fetch_all(&mut **tx).await?;
    Ok(rows.iter().map(|row| OrderKey { source: row.get(0), order_id: row.get(1) }).collect())
}

pub async fn facts(tx: &mut Tx, order: &OrderKey) -> Result<Vec<StoredFact>, LedgerError> {
    let rows = sqlx::query("SELECT version_ms, hash, says FROM facts WHERE source = $1 AND order_id = $2")
        .bind(order.source.as_str())
        .bind(order.order_id.as_str())
        .fetch_all(&mut **tx)
        .await?;
    rows.iter()
        .map(|row| {
            let says: String = row.try_get(2)?;
            Ok(StoredFact {
                version_ms: row.try_get(0)?,
                hash: row.try_get(1)?,
                says: serde_json::from_str(&says)
                    .map_err(|e| LedgerError::Damaged(format!("fact of order {}: {e}", order.order_id)))?,
            })
        })
        .collect()
}

pub async fn customers(tx: &mut Tx, orders: &[OrderKey]) -> Result<BTreeSet<String>, LedgerError> {
    let mut customers = BTreeSet::new();
    for order in orders {
        let rows = sqlx::query("SELECT customer FROM order_customers WHERE source = $1 AND order_id = $2")
            .bind(order.source.as_str())
            .bind(order.order_id.as_str())
            .fetch_all(&mut **tx)
            .await?;
        customers.extend(rows.iter().map(|row| row.get::<String, _>(0)));
    }
    Ok(customers)
}

pub async fn named_clicks(tx: &mut Tx, orders: &[OrderKey]) -> Result<Vec<NamedClick>, LedgerError> {
    let mut clicks = Vec::new();
    for order in orders {
        let rows =
            sqlx::query("SELECT click, link, visitor FROM order_tokens WHERE source = $1 AND order_id = $2 ORDER BY click")
                .bind(order.source.as_str())
                .bind(order.order_id.as_str())
                .fetch_all(&mut **tx)
                .await?;
        for row in rows {
            let visitor: Option<String> = row.try_get(2)?;
            clicks.push(NamedClick {
                click: parsed(row.try_get(0)?)?,
                link: LinkId::from_i64(row.try_get(1)?).map_err(damaged)?,
                visitor: visitor.map(parsed).transpose()?,
            });
        }
    }
    Ok(clicks)
}

/// Visitors whose clicks any order of these customers has named, at most `limit`, the earliest first.
pub async fn visitors_of(
    tx: &mut Tx,
    workspace: &str,
    customers: &BTreeSet<String>,
    limit: i64,
) -> Result<Vec<VisitorId>, LedgerError> {
    if customers.is_empty() {
        return Ok(Vec::new());
    }
    let text = format!(
        "SELECT t.visitor, MIN(t.ordered_ms) AS first_ms
         FROM order_customers c JOIN order_tokens t ON t.source = c.source AND t.order_id = c.order_id
         WHERE c.workspace = $1 AND t.visitor IS NOT NULL AND c.customer IN ({})
         GROUP BY t.visitor ORDER BY first_ms, t.visitor LIMIT $2",
        sql::list_from(3, customers.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(text)).bind(workspace).bind(limit);
    for customer in customers {
        query = query.bind(customer.as_str());
    }
    query.fetch_all(&mut **tx).await?.iter().map(|row| parsed(row.try_get(0)?)).collect()
}

/// Every claim of a known customer on these visitors.
pub async fn claims(
    tx: &mut Tx,
    workspace: &str,
    visitors: &BTreeSet<VisitorId>,
) -> Result<Vec<Claim>, LedgerError> {
    if visitors.is_empty() {
        return Ok(Vec::new());
    }
    let text = format!(
        "SELECT t.visitor, t.ordered_ms, t.source, t.order_id, c.customer
         FROM order_tokens t JOIN order_customers c ON c.source = t.source AND c.order_id = t.order_id
         WHERE t.workspace = $1 AND t.visitor IN ({})",
        sql::list_from(2, visitors.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(text)).bind(workspace);
    for visitor in visitors {
        query = query.bind(visitor.to_string());
    }
    let rows = query.fetch_all(&mut **tx).await?;
    rows.iter()
        .map(|row| {
            Ok(Claim {
                visitor: parsed(row.try_get(0)?)?,
                ordered_ms: row.try_get(1)?,
                order: OrderKey { source: row.try_get(2)?, order_id: row.try_get(3)? },
                customer: row.try_get(4)?,
            })
        })
        .collect()
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

/// A stored touch.
#[derive(Debug, Clone)]
pub struct TouchRow {
    pub at_ms: i64,
    pub via: String,
    pub link: Option<LinkId>,
    pub revision: Option<i64>,
    pub click: Option<ClickId>,
    pub visitor: Option<VisitorId>,
    pub channel: Option<String>,
    pub country: Option<String>,
    pub device: Option<String>,
    pub counted: bool,
}

pub async fn touches(tx: &mut Tx, conversion: i64) -> Result<Vec<TouchRow>, LedgerError> {
    let rows = sqlx::query(
        "SELECT at_ms, via, link, revision, click, visitor, channel, country, device, counted
         FROM touches WHERE conversion = $1 ORDER BY n",
    )
    .bind(conversion)
    .fetch_all(&mut **tx)
    .await?;
    rows.iter().map(touch).collect()
}

fn touch(row: &AnyRow) -> Result<TouchRow, LedgerError> {
    let (link, click, visitor): (Option<i64>, Option<String>, Option<String>) =
        (row.try_get(2)?, row.try_get(4)?, row.try_get(5)?);
    Ok(TouchRow {
        at_ms: row.try_get(0)?,
        via: row.try_get(1)?,
        link: link.map(LinkId::from_i64).transpose().map_err(damaged)?,
        revision: row.try_get(3)?,
        click: click.map(parsed).transpose()?,
        visitor: visitor.map(parsed).transpose()?,
        channel: row.try_get(6)?,
        country: row.try_get(7)?,
        device: row.try_get(8)?,
        counted: row.try_get::<i64, _>(9)? == 1,
    })
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

/// Everything that an evaluation writes of one conversion.
#[derive(Debug, Default)]
pub struct Evaluation {
    pub event: Option<String>,
    pub status: Option<&'static str>,
    pub reason: Option<String>,
    pub match_method: Option<String>,
    pub runners_up: Vec<String>,
    pub occurred_ms: Option<i64>,
    pub t_ms: Option<i64>,
    pub order_day: Option<i32>,
    pub currency: Option<String>,
    pub total_minor: Option<i64>,
    pub tax_minor: Option<i64>,
    pub shipping_minor: Option<i64>,
    pub refunded_minor: Option<i64>,
    pub cost_of_goods_minor: Option<i64>,
    pub gross_minor: Option<i64>,
    pub refunds_minor: Option<i64>,
    pub net_minor: Option<i64>,
    pub basis: Option<&'static str>,
    pub rate: Option<String>,
    pub rate_day: Option<i32>,
    pub assigned_value_minor: Option<i64>,
    pub customer: Option<String>,
    pub renews: Option<String>,
    pub touches: Vec<TouchRow>,
    pub changes: Vec<ChangeRow>,
    pub credits: Vec<CreditRow>,
}

#[derive(Debug, Clone)]
pub struct ChangeRow {
    pub kind: &'static str,
    pub refund_id: Option<String>,
    /// Signed, reporting currency, on the revenue basis.
    pub amount_minor: i64,
    pub at_ms: i64,
    pub day: i32,
}

impl ChangeRow {
    /// Only clock=cash counts those.
    pub fn is_exchange_difference(&self) -> bool {
        self.kind == "fx"
    }
}

/// The credits of one change for one counted touch.
#[derive(Debug)]
pub struct CreditRow {
    pub change_no: i64,
    pub touch_no: i64,
    pub click_day: i32,
    pub is_last: bool,
    /// Per model, in the order of `Model::ALL`.
    pub amounts_minor: [i64; 5],
    /// Billionths; zeros but for change 0.
    pub weights: [i64; 5],
}

/// What became of an evaluation's results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// A new reason has come up since `due` was read, or somebody else was faster: nothing is written.
    Outdated,
    /// `counts_anew`: whether it counts as a purchase is not as it was.
    Done { counts_anew: bool },
}

/// Replaces a conversion's results.
pub async fn put_evaluation(
    ledger: &Ledger,
    tx: &mut Tx,
    due: &Due,
    evaluation: &Evaluation,
    now_ms: i64,
) -> Result<Put, LedgerError> {
    let lock = format!("SELECT due, event, status FROM conversions WHERE id = $1{}", ledger.for_update());
    let row = sqlx::query(AssertSqlSafe(lock)).bind(due.id).fetch_one(&mut **tx).await?;
    if row.try_get::<i64, _>(0)? != due.due {
        return Ok(Put::Outdated);
    }
    let (event, status): (Option<String>, Option<String>) = (row.try_get(1)?, row.try_get(2)?);
    let counted = is_purchase(event.as_deref(), status.as_deref());
    let counts_anew = counted != is_purchase(evaluation.event.as_deref(), evaluation.status);
    let runners_up = serde_json::to_string(&evaluation.runners_up).unwrap_or_default();
    let journey = journey(evaluation);
    sqlx::query(
        "UPDATE conversions SET due = $2, evaluated_ms = $3, event = $4, status = $5, reason = $6,
           match_method = $7, runners_up = $8, occurred_ms = $9, t_ms = $10, order_day = $11, currency = $12,
           total_minor = $13, tax_minor = $14, shipping_minor = $15, refunded_minor = $16,
           cost_of_goods_minor = $17, gross_minor = $18, refunds_minor = $19, net_minor = $20, basis = $21,
           rate = $22, rate_day = $23, assigned_value_minor = $24, customer = $25, renews = $26,
           touch_count = $27, journey = $28 WHERE id = $1",
    )
    .bind(due.id)
    .bind(-due.due)
    .bind(now_ms)
    .bind(evaluation.event.as_deref())
    .bind(evaluation.status)
    .bind(evaluation.reason.as_deref())
    .bind(evaluation.match_method.as_deref())
    .bind(runners_up)
    .bind(evaluation.occurred_ms)
    .bind(evaluation.t_ms)
    .bind(evaluation.order_day.map(i64::from))
    .bind(evaluation.currency.as_deref())
    .bind(evaluation.total_minor)
    .bind(evaluation.tax_minor)
    .bind(evaluation.shipping_minor)
    .bind(evaluation.refunded_minor)
    .bind(evaluation.cost_of_goods_minor)
    .bind(evaluation.gross_minor)
    .bind(evaluation.refunds_minor)
    .bind(evaluation.net_minor)
    .bind(evaluation.basis)
    .bind(evaluation.rate.as_deref())
    .bind(evaluation.rate_day.map(i64::from))
    .bind(evaluation.assigned_value_minor)
    .bind(evaluation.customer.as_deref())
    .bind(evaluation.renews.as_deref())
    .bind(journey.as_ref().map(|(count, _)| *count))
    .bind(journey.map(|(_, text)| text))
    .execute(&mut **tx)
    .await?;
    for table in ["touches", "changes", "credits"] {
        let text = format!("DELETE FROM {table} WHERE conversion = $1");
        sqlx::query(AssertSqlSafe(text)).bind(due.id).execute(&mut **tx).await?;
    }
    put_touches(tx, due.id, &evaluation.touches).await?;
    put_changes(tx, due.id, &evaluation.changes).await?;
    put_credits(tx, due, evaluation).await?;
    Ok(Put::Done { counts_anew })
}

/// Whether a conversion is an earlier purchase to those after it, as [`earlier_purchase_ms`] reads it.
fn is_purchase(event: Option<&str>, status: Option<&str>) -> bool {
    event == Some("purchase") && matches!(status, Some("attributed" | "unattributed"))
}

/// The touches that have credits, as reports read them: their number, and each as `link.revision.day`, or
/// `-channel` for a rival. None without credits.
fn journey(evaluation: &Evaluation) -> Option<(i64, String)> {
    let mut text = String::new();
    let mut count = 0;
    for credit in evaluation.credits.iter().filter(|credit| credit.change_no == 0) {
        let touch = &evaluation.touches[credit.touch_no as usize];
        let separator = if count == 0 { "" } else { " " };
        let _ = match touch.link {
            Some(link) => {
                let revision = touch.revision.unwrap_or(1);
                write!(text, "{separator}{}.{revision}.{}", link.as_i64(), credit.click_day)
            }
            None => write!(text, "{separator}-{}", touch.channel.as_deref().unwrap_or_default()),
        };
        count += 1;
    }
    (count > 0).then_some((count, text))
}

async fn put_touches(tx: &mut Tx, conversion: i64, touches: &[TouchRow]) -> Result<(), LedgerError> {
    if touches.is_empty() {
        return Ok(());
    }
    let text = format!(
        "INSERT INTO touches (conversion, n, at_ms, via, link, revision, click, visitor, channel, country, device, counted)
         VALUES {}",
        sql::values(tx, touches.len(), 12)
    );
    let mut query = sqlx::query(AssertSqlSafe(text));
    for (n, touch) in (0i64..).zip(touches) {
        query = query
            .bind(conversion)
            .bind(n)
            .bind(touch.at_ms)
            .bind(touch.via.as_str())
            .bind(touch.link.map(LinkId::as_i64))
            .bind(touch.revision)
            .bind(touch.click.map(|click| click.to_string()))
            .bind(touch.visitor.map(|visitor| visitor.to_string()))
            .bind(touch.channel.as_deref())
            .bind(touch.country.as_deref())
            .bind(touch.device.as_deref())
            .bind(i64::from(touch.counted));
    }
    query.execute(&mut **tx).await?;
    Ok(())
}

async fn put_changes(tx: &mut Tx, conversion: i64, changes: &[ChangeRow]) -> Result<(), LedgerError> {
    for (change_no, change) in (0i64..).zip(changes) {
        sqlx::query(
            "INSERT INTO changes (conversion, change_no, kind, refund_id, amount_minor, at_ms, day)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(conversion)
        .bind(change_no)
        .bind(change.kind)
        .bind(change.refund_id.as_deref())
        .bind(change.amount_minor)
        .bind(change.at_ms)
        .bind(i64::from(change.day))
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

async fn put_credits(tx: &mut Tx, due: &Due, evaluation: &Evaluation) -> Result<(), LedgerError> {
    for chunk in evaluation.credits.chunks(200) {
        let text = format!(
            "INSERT INTO credits (conversion, change_no, n, workspace, link, revision, kind, event, source,
               order_day, click_day, cash_day, is_last,
               first_touch, last_touch, linear, time_decay, position_based,
               first_touch_weight, last_touch_weight, linear_weight, time_decay_weight, position_based_weight)
             VALUES {}",
            sql::values(tx, chunk.len(), 23)
        );
        let mut query = sqlx::query(AssertSqlSafe(text));
        for credit in chunk {
            let touch = &evaluation.touches[credit.touch_no as usize];
            let change = &evaluation.changes[credit.change_no as usize];
            query = query
                .bind(due.id)
                .bind(credit.change_no)
                .bind(credit.touch_no)
                .bind(due.workspace.as_str())
                .bind(touch.link.map(LinkId::as_i64))
                .bind(touch.revision)
                .bind(change.kind)
                .bind(evaluation.event.as_deref())
                .bind(due.source.as_str())
                .bind(evaluation.order_day.map(i64::from))
                .bind(i64::from(credit.click_day))
                .bind(i64::from(change.day))
                .bind(i64::from(credit.is_last));
            for number in credit.amounts_minor.iter().chain(&credit.weights) {
                query = query.bind(*number);
            }
        }
        query.execute(&mut **tx).await?;
    }
    Ok(())
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

fn parsed<T: std::str::FromStr>(text: String) -> Result<T, LedgerError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(damaged)
}

fn damaged(error: impl std::fmt::Display) -> LedgerError {
    LedgerError::Damaged(error.to_string())
}
