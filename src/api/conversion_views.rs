//! How a conversion came about: its match, its journey and what every model credits.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::{Caller, Scope};
use super::deliveries::{self, ShownDelivery};
use super::error::{Answer, Kind, Problem, Problems};
use super::extract::{Query, Segment};
use super::fields;
use super::links::link_id;
use super::page::{Page, Window};
use crate::attribution::models::Model;
use crate::domain::flaw::Flaws;
use crate::domain::money::{Currency, format_minor};
use crate::domain::time::{day_date, rfc3339};
use crate::ledger::conversion_views::{
    self, ConversionFilter, ConversionRow, CreditedTouchRow, ShownChangeRow,
};
use crate::ledger::deliveries::DeliveryFilter;
use crate::ledger::{LedgerError, workspaces};

/// Amounts without a currency of their own are in `reporting_currency`, on the revenue basis.
#[derive(Debug, Serialize, ToSchema)]
pub struct Conversion {
    /// The order's id at its source.
    id: String,
    source: String,
    platform: Option<String>,
    /// purchase, lead, ...
    event: Option<String>,
    /// attributed, unattributed or excluded; null until the worker has looked at it.
    status: Option<String>,
    /// Why it is unattributed or excluded.
    reason: Option<String>,
    /// Something new is known of it, so it is evaluated anew within a moment.
    pending: bool,
    occurred_at: Option<String>,
    received_at: String,
    /// Day of the order in the workspace's zone.
    day: Option<String>,
    /// As ordered, with tax and shipping.
    amount: Option<String>,
    currency: Option<String>,
    tax: Option<String>,
    shipping: Option<String>,
    refunded: Option<String>,
    cost_of_goods: Option<String>,
    reporting_currency: String,
    revenue: Option<String>,
    refunds: Option<String>,
    net_revenue: Option<String>,
    /// total, ex_tax or ex_tax_shipping: what counted as revenue.
    revenue_basis: Option<String>,
    /// From the order's currency to the reporting currency.
    rate: Option<String>,
    /// The day for which the rate was stated: weekends and holidays have none of their own.
    rate_date: Option<String>,
    /// What a lead or another action is worth; never part of revenue.
    assigned_value: Option<String>,
    /// The subscription that the order renews.
    renews: Option<String>,
    #[serde(rename = "match")]
    matched: Match,
    /// Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    touches: Option<Vec<Touch>>,
    /// The sale and its refunds, not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<Change>>,
    /// What was sent about it, newest first, not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<Vec<ShownDelivery>>,
}

/// How it found its clicks.
#[derive(Debug, Serialize, ToSchema)]
pub struct Match {
    /// click_token, customer, coupon or utm.
    method: Option<String>,
    /// Other methods that would have found clicks too.
    runners_up: Vec<String>,
}

/// A click, or a landing that is not ours.
#[derive(Debug, Serialize, ToSchema)]
pub struct Touch {
    at: String,
    /// How it is known: journey, click_token, customer, coupon, utm or landing.
    via: String,
    link: Option<String>,
    short_url: Option<String>,
    post: Option<String>,
    network: Option<String>,
    campaign: Option<String>,
    click_id: Option<String>,
    /// Of a landing that is not ours: other:organic_search, ...
    channel: Option<String>,
    country: Option<String>,
    device: Option<String>,
    /// False: outside the window or a repetition, so without credits.
    counted: bool,
    /// By model.
    credits: BTreeMap<&'static str, Credit>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Credit {
    /// Share of the conversion, 0 to 1.
    weight: f64,
    /// Of the net revenue.
    net_revenue: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Change {
    /// revenue, refund, cancelled or fx.
    kind: String,
    refund: Option<String>,
    /// Signed.
    amount: String,
    at: String,
}

fn show(row: ConversionRow, reporting: Currency) -> Conversion {
    let original = row.currency.as_deref().and_then(|code| code.parse::<Currency>().ok());
    let money = |minor: Option<i64>| Some(format_minor(minor?, original?));
    let reported = |minor: Option<i64>| minor.map(|minor| format_minor(minor, reporting));
    Conversion {
        amount: money(row.total_minor),
        tax: money(row.tax_minor),
        shipping: money(row.shipping_minor),
        refunded: money(row.refunded_minor),
        cost_of_goods: money(row.cost_of_goods_minor),
        revenue: reported(row.gross_minor),
        refunds: reported(row.refunds_minor),
        net_revenue: reported(row.net_minor),
        assigned_value: reported(row.assigned_value_minor),
        id: row.order_id,
        source: row.source,
        platform: row.platform,
        event: row.event,
        status: row.status,
        reason: row.reason,
        pending: row.is_due,
        occurred_at: row.occurred_ms.map(rfc3339),
        received_at: rfc3339(row.received_ms),
        day: row.order_day.map(date),
        currency: row.currency.filter(|code| !code.is_empty()),
        reporting_currency: reporting.code().to_owned(),
        revenue_basis: row.basis,
        rate: row.rate,
        rate_date: row.rate_day.map(date),
        renews: row.renews,
        matched: Match { method: row.match_method, runners_up: row.runners_up },
        touches: None,
        changes: None,
        deliveries: None,
    }
}

fn date(day: i64) -> String {
    day_date(i32::try_from(day).unwrap_or(i32::MAX)).to_string()
}

fn show_touch(api: &Api, row: CreditedTouchRow, reporting: Currency) -> Touch {
    let credit = |i: usize| Credit {
        weight: row.weights[i] as f64 / 1e9,
        net_revenue: format_minor(row.amounts_minor[i], reporting),
    };
    let models = Model::ALL.iter().enumerate().filter(|_| row.is_counted);
    Touch {
        at: rfc3339(row.at_ms),
        via: row.via.clone(),
        link: row.link.map(link_id),
        short_url: row.domain.as_deref().zip(row.slug.as_deref()).map(|(d, s)| api.issuer.short_url_of(d, s)),
        credits: models.map(|(i, model)| (model.as_str(), credit(i))).collect(),
        post: row.post,
        network: row.network,
        campaign: row.campaign,
        click_id: row.click,
        channel: row.channel,
        country: row.country,
        device: row.device,
        counted: row.is_counted,
    }
}

fn show_change(row: ShownChangeRow, reporting: Currency) -> Change {
    Change {
        kind: row.kind,
        refund: row.refund_id,
        amount: format_minor(row.amount_minor, reporting),
        at: rfc3339(row.at_ms),
    }
}

async fn reporting_currency(api: &Api, workspace: &str) -> Answer<Currency> {
    let row = workspaces::get(&api.ledger, workspace).await?;
    let row = row.ok_or_else(|| Problem::not_found("workspace", workspace))?;
    let damaged = |_| LedgerError::Damaged(format!("currency of workspace {workspace}"));
    Ok(row.currency.parse().map_err(damaged)?)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListConversions {
    /// attributed, unattributed or excluded.
    status: Option<String>,
    reason: Option<String>,
    event: Option<String>,
    /// Id of a source.
    source: Option<String>,
    /// First day of the order.
    #[param(format = Date)]
    from: Option<String>,
    /// The day after the last one.
    #[param(format = Date)]
    to: Option<String>,
    /// 1 to 1000, 100 if absent.
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Conversions, filtered.
#[utoipa::path(get, path = "/api/v1/conversions", tag = "conversions", params(ListConversions),
    responses((status = 200, body = Page<Conversion>), Problems))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<ListConversions>,
) -> Answer<JsonAnswer<Page<Conversion>>> {
    let workspace = caller.may_any(&[Scope::Reports, Scope::Conversions])?;
    let window = Window::new(query.limit, query.cursor.as_deref(), 1)?;
    let zone = workspaces::zone(&api.ledger, workspace).await?;
    let mut flaws = Flaws::default();
    if query.status.as_deref().is_some_and(|status| !STATUSES.contains(&status)) {
        flaws.add("status", format!("status must be one of {}", STATUSES.join(", ")));
    }
    let mut day = |field: &str, text: Option<String>| fields::day(field, text?.as_str(), &zone, &mut flaws);
    let (from_day, to_day) = (day("from", query.from), day("to", query.to));
    flaws.check()?;
    let filter = ConversionFilter {
        workspace: workspace.to_owned(),
        status: query.status,
        reason: query.reason,
        event: query.event,
        source: query.source,
        order_id: None,
        from_day,
        to_day,
        before: window.after_number(0)?,
        limit: window.fetch(),
    };
    let reporting = reporting_currency(&api, workspace).await?;
    let rows = conversion_views::list(&api.ledger, &filter).await?;
    Ok(JsonAnswer(window.page(rows, |row| vec![row.id.to_string()], |row| show(row, reporting))))
}

const STATUSES: [&str; 3] = ["attributed", "unattributed", "excluded"];

/// A conversion with its journey and credits.
///
/// The id is the order's id, or `source:order id` where several sources have such an order.
#[utoipa::path(get, path = "/api/v1/conversions/{id}", tag = "conversions", params(("id" = String, Path)),
    responses((status = 200, body = Conversion), Problems))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<JsonAnswer<Conversion>> {
    let workspace = caller.may_any(&[Scope::Reports, Scope::Conversions])?;
    let row = find(&api, workspace, &id).await?;
    let reporting = reporting_currency(&api, workspace).await?;
    let touches = conversion_views::touches(&api.ledger.read, row.id).await?;
    let changes = conversion_views::changes(&api.ledger, row.id).await?;
    let sent = DeliveryFilter {
        workspace: workspace.to_owned(),
        source: Some(row.source.clone()),
        order_id: Some(row.order_id.clone()),
        limit: 100,
        ..DeliveryFilter::default()
    };
    let sent = crate::ledger::deliveries::list(&api.ledger, &sent).await?;
    Ok(JsonAnswer(Conversion {
        touches: Some(touches.into_iter().map(|touch| show_touch(&api, touch, reporting)).collect()),
        changes: Some(changes.into_iter().map(|change| show_change(change, reporting)).collect()),
        deliveries: Some(sent.into_iter().map(deliveries::show).collect()),
        ..show(row, reporting)
    }))
}

async fn find(api: &Api, workspace: &str, id: &str) -> Answer<ConversionRow> {
    let filter = ConversionFilter {
        workspace: workspace.to_owned(),
        order_id: Some(id.to_owned()),
        limit: 2,
        ..ConversionFilter::default()
    };
    let mut found = conversion_views::list(&api.ledger, &filter).await?;
    if let (true, Some((source, order_id))) = (found.is_empty(), id.split_once(':')) {
        let of_source = ConversionFilter {
            source: Some(source.to_owned()),
            order_id: Some(order_id.to_owned()),
            ..filter
        };
        found = conversion_views::list(&api.ledger, &of_source).await?;
    }
    let first = found.pop().ok_or_else(|| Problem::not_found("conversion", id))?;
    match found.pop() {
        None => Ok(first),
        Some(other) => {
            let detail = format!(
                "several sources have an order {id}; ask for {}:{id} or {}:{id}",
                first.source, other.source
            );
            Err(Problem::field(Kind::Conflict, "id", detail))
        }
    }
}
