//! What an evaluation leaves of a conversion: its results, touches, changes and credits.

use std::collections::BTreeSet;

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Due, damaged, parsed};
use crate::attribution::credit::WEIGHT_SCALE;
use crate::domain::ids::{ClickId, LinkId, VisitorId};
use crate::ledger::packs::{self, Change, ChangeKind, Conversion, Goods, Status, Touch};
use crate::ledger::{Ledger, LedgerError, Tx, sql};

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
    /// All hashes that the order names.
    pub customers: BTreeSet<String>,
    pub renews: Option<String>,
    pub touches: Vec<TouchRow>,
    pub changes: Vec<ChangeRow>,
    pub credits: Vec<CreditRow>,
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
    let lock =
        format!("SELECT due, event, status, order_day FROM conversions WHERE id = $1{}", ledger.for_update());
    let row = sqlx::query(AssertSqlSafe(lock)).bind(due.id).fetch_one(&mut **tx).await?;
    if row.try_get::<i64, _>(0)? != due.due {
        return Ok(Put::Outdated);
    }
    let (event, status): (Option<String>, Option<String>) = (row.try_get(1)?, row.try_get(2)?);
    let order_day: Option<i64> = row.try_get(3)?;
    let counted = is_purchase(event.as_deref(), status.as_deref());
    let counts_anew = counted != is_purchase(evaluation.event.as_deref(), evaluation.status);
    let runners_up = serde_json::to_string(&evaluation.runners_up).unwrap_or_default();
    let packed = packed(due, evaluation)?.map(|conversion| conversion.to_bytes());
    sqlx::query(
        "UPDATE conversions SET due = $2, evaluated_ms = $3, event = $4, status = $5, reason = $6,
           match_method = $7, runners_up = $8, occurred_ms = $9, t_ms = $10, order_day = $11, currency = $12,
           total_minor = $13, tax_minor = $14, shipping_minor = $15, refunded_minor = $16,
           cost_of_goods_minor = $17, gross_minor = $18, refunds_minor = $19, net_minor = $20, basis = $21,
           rate = $22, rate_day = $23, assigned_value_minor = $24, customer = $25, renews = $26,
           packed = $27 WHERE id = $1",
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
    .bind(evaluation.customers.first().map(String::as_str))
    .bind(evaluation.renews.as_deref())
    .bind(packed)
    .execute(&mut **tx)
    .await?;
    for table in ["touches", "changes", "credits"] {
        let text = format!("DELETE FROM {table} WHERE conversion = $1");
        sqlx::query(AssertSqlSafe(text)).bind(due.id).execute(&mut **tx).await?;
    }
    put_touches(tx, due.id, &evaluation.touches).await?;
    put_changes(tx, due.id, &evaluation.changes).await?;
    put_credits(tx, due, evaluation).await?;
    let before = status.and(event.as_deref()).zip(order_day);
    let now = evaluation.status.and(evaluation.event.as_deref()).zip(evaluation.order_day.map(i64::from));
    packs::note(tx, &due.workspace, due.id, &before.into_iter().chain(now).collect()).await?;
    Ok(Put::Done { counts_anew })
}

/// Whether a conversion is an earlier purchase to those after it, as [`super::earlier_purchase_ms`] reads it.
fn is_purchase(event: Option<&str>, status: Option<&str>) -> bool {
    event == Some("purchase") && matches!(status, Some("attributed" | "unattributed"))
}

/// What reports read of it. None: it is in no report.
fn packed<'a>(due: &'a Due, evaluation: &'a Evaluation) -> Result<Option<Conversion<'a>>, LedgerError> {
    let damaged = |what: &str| LedgerError::Damaged(format!("{what} of conversion {}", due.id));
    let (Some(status), Some(order_day)) = (evaluation.status, evaluation.order_day) else { return Ok(None) };
    // Those of the sale, one for each touch that has credits.
    let credits = || evaluation.credits.iter().filter(|credit| credit.change_no == 0);
    let touch_of = |credit: &CreditRow| &evaluation.touches[credit.touch_no as usize];
    let link = |credit: &CreditRow| {
        let touch = touch_of(credit);
        touch.link.map(|link| (link.as_i64(), touch.revision.unwrap_or(1)))
    };
    let touch = |credit: &'a CreditRow| {
        let touch = touch_of(credit);
        let channel = touch.channel.as_deref().filter(|_| touch.link.is_none());
        Touch {
            channel: channel.unwrap_or_default(),
            at_ms: touch.at_ms,
            day: credit.click_day.into(),
            country: touch.country.as_deref().unwrap_or_default(),
            device: touch.device.as_deref().unwrap_or_default(),
            weights: (credit.weights != [WEIGHT_SCALE; 5]).then_some(credit.weights),
        }
    };
    let change = |(change_no, change): (i64, &ChangeRow)| {
        let credits = evaluation.credits.iter().filter(|credit| credit.change_no == change_no);
        let whole = [change.amount_minor; 5];
        Ok(Change {
            kind: ChangeKind::from_word(change.kind).ok_or_else(|| damaged("the kind of a change"))?,
            amount_minor: change.amount_minor,
            at_ms: change.at_ms,
            day: change.day.into(),
            credits: credits.map(|c| (c.amounts_minor != whole).then_some(c.amounts_minor)).collect(),
        })
    };
    let goods = evaluation.cost_of_goods_minor.map(|cost_minor| Goods {
        cost_minor,
        currency: evaluation.currency.as_deref().unwrap_or_default(),
        rate: evaluation.rate.as_deref(),
    });
    let customers = evaluation.customers.iter().map(|hash| packs::customer(hash));
    Ok(Some(Conversion {
        id: due.id,
        links: credits().map(link).collect(),
        order_day: order_day.into(),
        source: &due.source,
        status: Status::from_word(status).ok_or_else(|| damaged("the status"))?,
        reason: evaluation.reason.as_deref(),
        basis: evaluation.basis,
        occurred_ms: evaluation.occurred_ms,
        t_ms: evaluation.t_ms.unwrap_or_default(),
        gross_minor: evaluation.gross_minor.unwrap_or_default(),
        net_minor: evaluation.net_minor.unwrap_or_default(),
        assigned_value_minor: evaluation.assigned_value_minor,
        goods,
        customers: customers.collect::<Result<_, _>>()?,
        touches: credits().map(touch).collect(),
        changes: (0..).zip(&evaluation.changes).map(change).collect::<Result<_, LedgerError>>()?,
    }))
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
            "INSERT INTO credits (conversion, change_no, n, workspace, link, revision, country, device, kind,
               event, source, order_day, click_day, cash_day, is_last,
               first_touch, last_touch, linear, time_decay, position_based,
               first_touch_weight, last_touch_weight, linear_weight, time_decay_weight, position_based_weight)
             VALUES {}",
            sql::values(tx, chunk.len(), 25)
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
                .bind(touch.country.as_deref())
                .bind(touch.device.as_deref())
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

/// What an evaluation left of touches.
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
