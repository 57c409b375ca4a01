//! What is told, written in the transaction of the results that it tells of.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use super::{CONVERSION_ATTRIBUTED, CONVERSION_REFUNDED, LINK_CLICKED};
use crate::attribution::models::Model;
use crate::domain::ids::{ClickId, LinkId};
use crate::domain::money::{Currency, format_minor};
use crate::domain::time::rfc3339;
use crate::ledger::conversion_views::{self, ConversionRow, CreditedTouchRow};
use crate::ledger::webhooks::{self, NewMessage, Standing, Subscriber};
use crate::ledger::{LedgerError, Tx};

/// Clicks in one message.
const CLICKS_MAX: usize = 500;
/// Touches in one message; the latest stay.
const TOUCHES_MAX: usize = 100;

/// The webhooks of some workspaces.
pub struct Audience(Vec<Subscriber>);

impl Audience {
    pub async fn of<'a>(tx: &mut Tx, workspaces: impl Iterator<Item = &'a str>) -> Result<Self, LedgerError> {
        let workspaces = Vec::from_iter(workspaces.collect::<BTreeSet<&str>>());
        Ok(Self(webhooks::subscribers(tx, &workspaces).await?))
    }

    fn wanting<'a>(&'a self, workspace: &'a str, event: &'a str) -> impl Iterator<Item = &'a Subscriber> {
        let wants = move |subscriber: &&Subscriber| {
            subscriber.workspace == workspace && subscriber.events.iter().any(|wanted| wanted == event)
        };
        self.0.iter().filter(wants)
    }

    /// Whether anybody wants to know of the workspace's conversions.
    pub fn wants_conversions(&self, workspace: &str) -> bool {
        let mut wanted = [CONVERSION_ATTRIBUTED, CONVERSION_REFUNDED].into_iter();
        wanted.any(|event| self.wanting(workspace, event).next().is_some())
    }

    /// One message for each that wants it, with the same id.
    fn messages(&self, workspace: &str, event: &str, data: Value, now_ms: i64) -> Vec<NewMessage> {
        let id = format!("msg_{}", uuid::Uuid::now_v7().simple());
        let body = json!({"type": event, "timestamp": rfc3339(now_ms), "data": data}).to_string();
        let message = |subscriber: &Subscriber| NewMessage {
            id: id.clone(),
            webhook: subscriber.webhook.clone(),
            workspace: workspace.to_owned(),
            event: event.to_owned(),
            body: body.clone(),
        };
        self.wanting(workspace, event).map(message).collect()
    }
}

/// Tells what an evaluation has changed: other credits, new refunds. `before`: what stood before its results were
/// written in this very transaction.
pub async fn tell_conversion(
    tx: &mut Tx,
    audience: &Audience,
    workspace: &str,
    currency: Currency,
    conversion: i64,
    before: &Standing,
    now_ms: i64,
) -> Result<(), LedgerError> {
    let after = webhooks::standing(tx, conversion).await?;
    let attributed = after.status.as_deref() == Some("attributed")
        && (before.status != after.status || before.credits != after.credits);
    let counted = |standing: &Standing| {
        matches!(standing.status.as_deref(), Some("attributed" | "unattributed"))
            .then(|| standing.refunds.clone())
    };
    let told = counted(before).unwrap_or_default();
    let refunds: Vec<_> =
        counted(&after).unwrap_or_default().into_iter().filter(|refund| !told.contains(refund)).collect();
    if !attributed && refunds.is_empty() {
        return Ok(());
    }
    let Some(row) = conversion_views::of(tx, conversion).await? else { return Ok(()) };
    let shown = show_conversion(&row, currency);
    let mut messages = Vec::new();
    if attributed {
        let touches = conversion_views::touches(&mut **tx, conversion).await?;
        let counted: Vec<&CreditedTouchRow> = touches.iter().filter(|touch| touch.is_counted).collect();
        let latest = &counted[counted.len().saturating_sub(TOUCHES_MAX)..];
        let touches: Vec<Value> = latest.iter().map(|touch| show_touch(touch, currency)).collect();
        let data = json!({"conversion": shown, "touches": touches});
        messages.extend(audience.messages(workspace, CONVERSION_ATTRIBUTED, data, now_ms));
    }
    for (kind, refund_id, amount_minor, at_ms) in refunds {
        let refund = json!({
            "id": refund_id,
            "kind": kind,
            "amount": format_minor(-amount_minor, currency),
            "occurred_at": rfc3339(at_ms),
        });
        let data = json!({"conversion": shown, "refund": refund});
        messages.extend(audience.messages(workspace, CONVERSION_REFUNDED, data, now_ms));
    }
    webhooks::push(tx, &messages, now_ms).await
}

/// The names are those of `GET /api/v1/conversions/{id}`.
fn show_conversion(row: &ConversionRow, reporting: Currency) -> Value {
    let original = row.currency.as_deref().and_then(|code| code.parse::<Currency>().ok());
    let money = |minor: Option<i64>| Some(format_minor(minor?, original?));
    let reported = |minor: Option<i64>| minor.map(|minor| format_minor(minor, reporting));
    json!({
        "id": row.order_id,
        "source": row.source,
        "event": row.event,
        "status": row.status,
        "match": row.match_method,
        "occurred_at": row.occurred_ms.map(rfc3339),
        "amount": money(row.total_minor),
        "refunded": money(row.refunded_minor),
        "currency": row.currency,
        "reporting_currency": reporting.code(),
        "revenue": reported(row.gross_minor),
        "refunds": reported(row.refunds_minor),
        "net_revenue": reported(row.net_minor),
        "assigned_value": reported(row.assigned_value_minor),
    })
}

fn show_touch(row: &CreditedTouchRow, reporting: Currency) -> Value {
    let credit = |i: usize| {
        json!({
            "weight": row.weights[i] as f64 / 1e9,
            "net_revenue": format_minor(row.amounts_minor[i], reporting),
        })
    };
    let credits: serde_json::Map<String, Value> =
        Model::ALL.iter().enumerate().map(|(i, model)| (model.as_str().to_owned(), credit(i))).collect();
    json!({
        "at": rfc3339(row.at_ms),
        "via": row.via,
        "link": row.link.map(link_text),
        "post": row.post,
        "network": row.network,
        "campaign": row.campaign,
        "channel": row.channel,
        "click_id": row.click,
        "credits": credits,
    })
}

fn link_text(stored: i64) -> String {
    LinkId::from_i64(stored).map_or_else(|_| stored.to_string(), |id| id.to_string())
}

/// Post and network by link and revision.
type StandsFor = HashMap<(i64, i64), (Option<String>, Option<String>)>;

/// A counted click, as it is told.
pub struct ToldClick<'a> {
    pub id: ClickId,
    pub workspace: &'a str,
    pub link: LinkId,
    pub revision: i64,
    pub class: &'static str,
    pub country: [u8; 2],
    pub device: &'static str,
    pub referrer: &'a str,
}

/// Tells the clicks of a batch, in the transaction that counts them.
pub async fn tell_clicks<'a>(
    tx: &mut Tx,
    clicks: impl Iterator<Item = ToldClick<'a>> + Clone,
    now_ms: i64,
) -> Result<(), LedgerError> {
    // Mostly nobody wants to hear of them, so nothing is kept of each.
    let mut workspaces = BTreeSet::new();
    for click in clicks.clone() {
        workspaces.insert(click.workspace);
    }
    let audience = Audience::of(tx, workspaces.iter().copied()).await?;
    workspaces.retain(|workspace| audience.wanting(workspace, LINK_CLICKED).next().is_some());
    for workspace in workspaces {
        let own: Vec<ToldClick<'_>> = clicks.clone().filter(|click| click.workspace == workspace).collect();
        let links: BTreeSet<i64> = own.iter().map(|click| click.link.as_i64()).collect();
        let known = webhooks::stands_for(tx, &Vec::from_iter(links)).await?;
        let known: StandsFor = known
            .into_iter()
            .map(|(link, revision, post, network)| ((link, revision), (post, network)))
            .collect();
        for own in own.chunks(CLICKS_MAX) {
            let shown: Vec<Value> = own.iter().map(|click| show_click(click, &known)).collect();
            let messages = audience.messages(workspace, LINK_CLICKED, json!({"clicks": shown}), now_ms);
            webhooks::push(tx, &messages, now_ms).await?;
        }
    }
    Ok(())
}

fn show_click(click: &ToldClick<'_>, known: &StandsFor) -> Value {
    let (post, network) = known.get(&(click.link.as_i64(), click.revision)).cloned().unwrap_or_default();
    let country = std::str::from_utf8(&click.country).ok().filter(|code| *code != "\0\0");
    json!({
        "id": click.id.to_string(),
        "at": rfc3339(click.id.at_ms()),
        "link": click.link.to_string(),
        "post": post,
        "network": network,
        "class": click.class,
        "country": country,
        "device": click.device,
        "referrer": Some(click.referrer).filter(|host| !host.is_empty()),
    })
}

/// A message that says nothing but that it came.
pub async fn tell_test(
    tx: &mut Tx,
    webhook: &webhooks::WebhookRow,
    now_ms: i64,
) -> Result<String, LedgerError> {
    let id = format!("msg_{}", uuid::Uuid::now_v7().simple());
    let data = json!({"webhook": webhook.id});
    let body = json!({"type": super::WEBHOOK_TEST, "timestamp": rfc3339(now_ms), "data": data}).to_string();
    let message = NewMessage {
        id: id.clone(),
        webhook: webhook.id.clone(),
        workspace: webhook.workspace.clone(),
        event: super::WEBHOOK_TEST.to_owned(),
        body,
    };
    webhooks::push(tx, &[message], now_ms).await?;
    Ok(id)
}
