//! Costs, booked on a post, a link, a campaign or a network over a span of days.

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{post, put};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::{Caller, Scope};
use super::error::{Answer, Problem, Problems};
use super::extract::{Json, Query, Segment};
use super::fields;
use super::page::{Page, Window};
use crate::domain::flaw::Flaws;
use crate::domain::ids::LinkId;
use crate::domain::money::{Currency, format_minor, parse_minor_json};
use crate::domain::time::{day_date, now_ms, rfc3339};
use crate::ledger::costs::{self, CostFilter, CostRow};
use crate::ledger::{LedgerError, links, posts, workspaces};

/// A cost spreads over its days; more than this is a mistake.
const DAYS_MAX: i64 = 3660;

pub fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/costs", post(create).get(list))
        .route("/costs/{id}", put(upsert).get(read).delete(remove))
}

/// Booked on exactly one of post, link, campaign and network.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CostInput {
    /// Id of a post.
    post: Option<String>,
    /// Id of a link.
    link: Option<String>,
    campaign: Option<String>,
    network: Option<String>,
    /// A decimal string: "12.50".
    #[schema(value_type = String)]
    amount: Value,
    /// ISO 4217.
    currency: String,
    /// First day, in the workspace's zone.
    #[schema(format = Date)]
    from: String,
    /// The day after the last one; absent, or the same as from: that one day.
    #[schema(value_type = Option<String>, format = Date)]
    to: Option<String>,
    /// spend, hours, tools, ... Your word.
    kind: String,
    note: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Cost {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    post: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    amount: String,
    currency: String,
    from: String,
    /// The day after the last one.
    to: String,
    kind: String,
    note: Option<String>,
    created_at: String,
}

fn show(row: CostRow) -> Answer<Cost> {
    let currency: Currency =
        row.currency.parse().map_err(|_| LedgerError::Damaged(format!("currency of cost {}", row.id)))?;
    let on = |scope: &str| (row.scope == scope).then(|| row.target.clone());
    Ok(Cost {
        post: on("post"),
        link: on("link"),
        campaign: on("campaign"),
        network: on("network"),
        amount: format_minor(row.amount_minor, currency),
        currency: row.currency,
        from: date(row.from_day),
        to: date(row.to_day),
        kind: row.kind,
        note: row.note,
        created_at: rfc3339(row.created_ms),
        id: row.id,
    })
}

fn date(day: i64) -> String {
    day_date(i32::try_from(day).unwrap_or(i32::MAX)).to_string()
}

/// Checks a cost and writes it; whether it is new.
async fn book(api: &Api, workspace: &str, id: String, input: CostInput) -> Answer<(Cost, bool)> {
    let zone = workspaces::zone(&api.ledger, workspace).await?;
    let mut flaws = Flaws::default();
    let on = [
        ("post", input.post),
        ("link", input.link),
        ("campaign", input.campaign),
        ("network", input.network),
    ];
    let mut on = on.into_iter().filter_map(|(scope, target)| Some((scope, target?)));
    let (scope, target) = match (on.next(), on.next()) {
        (Some((scope, target)), None) => (scope, flaws.id(scope, &target)),
        _ => {
            flaws.add("post", "say what the cost is for: exactly one of post, link, campaign and network");
            ("", String::new())
        }
    };
    let currency = flaws.note("currency", input.currency.parse::<Currency>());
    let amount_minor = currency.and_then(|currency| {
        let amount_minor = flaws.note("amount", parse_minor_json(&input.amount, currency))?;
        if amount_minor < 0 {
            flaws.add("amount", "amount must not be negative");
        }
        Some(amount_minor)
    });
    let from_day = fields::day("from", &input.from, &zone, &mut flaws);
    let to_day = match &input.to {
        Some(to) => fields::day("to", to, &zone, &mut flaws),
        None => from_day,
    };
    let days = from_day
        .zip(to_day)
        .map(|(from_day, to_day)| (from_day, to_day.max(from_day + 1), to_day - from_day));
    if days.is_some_and(|(_, _, length)| !(0..=DAYS_MAX).contains(&length)) {
        flaws.add("to", format!("to must be a day after from, at most {DAYS_MAX} days"));
    }
    let kind = flaws.text("kind", Some(input.kind), 50);
    if kind.is_none() {
        flaws.add("kind", "kind must say what the money went for: spend, hours, tools, ...");
    }
    let note = flaws.text("note", input.note, 1000);
    let id = flaws.id("id", &id);
    flaws.check()?;
    let (Some(currency), Some(amount_minor), Some((from_day, to_day, _)), Some(kind)) =
        (currency, amount_minor, days, kind)
    else {
        return Err(Problem::internal("a checked cost lacks a field"));
    };

    let now_ms = now_ms();
    let target = match scope {
        "network" => target.to_lowercase(),
        "link" => link_target(api, workspace, &target).await?,
        _ => target,
    };
    let mut tx = api.ledger.begin().await?;
    if scope == "post" {
        posts::ensure(&mut tx, workspace, &[&target], now_ms).await?;
    }
    let old = costs::get_in(&mut tx, workspace, &id).await?;
    let row = CostRow {
        workspace: workspace.to_owned(),
        id,
        scope: scope.to_owned(),
        target,
        amount_minor,
        currency: currency.code().to_owned(),
        from_day,
        to_day,
        kind,
        note,
        created_ms: old.as_ref().map_or(now_ms, |old| old.created_ms),
    };
    costs::put(&mut tx, &row).await?;
    tx.commit().await?;
    Ok((show(row)?, old.is_none()))
}

/// The text form of a link's id, if the workspace has the link.
pub(super) async fn link_target(api: &Api, workspace: &str, text: &str) -> Answer<String> {
    if let Ok(id) = text.parse::<LinkId>()
        && links::get(&api.ledger, workspace, id.as_i64()).await?.is_some()
    {
        return Ok(id.to_string());
    }
    Err(Problem::invalid("link", format!("there is no link {text} in this workspace")))
}

/// Book a cost.
#[utoipa::path(post, path = "/api/v1/costs", tag = "costs", request_body = CostInput,
    responses((status = 201, body = Cost), Problems))]
pub async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(input): Json<CostInput>,
) -> Answer<(StatusCode, JsonAnswer<Cost>)> {
    let workspace = caller.may_any(&[Scope::Reports, Scope::Links])?;
    let id = format!("cost_{}", uuid::Uuid::now_v7().simple());
    let (cost, _) = book(&api, workspace, id, input).await?;
    Ok((StatusCode::CREATED, JsonAnswer(cost)))
}

/// Book a cost under your own id, or replace it.
#[utoipa::path(put, path = "/api/v1/costs/{id}", tag = "costs", params(("id" = String, Path)),
    request_body = CostInput,
    responses((status = 200, body = Cost), (status = 201, body = Cost), Problems))]
pub async fn upsert(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
    Json(input): Json<CostInput>,
) -> Answer<(StatusCode, JsonAnswer<Cost>)> {
    let workspace = caller.may_any(&[Scope::Reports, Scope::Links])?;
    let (cost, new) = book(&api, workspace, id, input).await?;
    Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, JsonAnswer(cost)))
}

/// A cost.
#[utoipa::path(get, path = "/api/v1/costs/{id}", tag = "costs", params(("id" = String, Path)),
    responses((status = 200, body = Cost), Problems))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<JsonAnswer<Cost>> {
    let filter = CostFilter {
        workspace: caller.may_any(&[Scope::Reports, Scope::Links])?.to_owned(),
        id: Some(id.clone()),
        limit: 1,
        ..CostFilter::default()
    };
    let row = costs::list(&api.ledger, &filter).await?.pop();
    Ok(JsonAnswer(show(row.ok_or_else(|| Problem::not_found("cost", id))?)?))
}

/// Remove a cost from all reports.
#[utoipa::path(delete, path = "/api/v1/costs/{id}", tag = "costs", params(("id" = String, Path)),
    responses((status = 204), Problems))]
pub async fn remove(State(api): State<Arc<Api>>, caller: Caller, Segment(id): Segment) -> Answer<StatusCode> {
    let workspace = caller.may_any(&[Scope::Reports, Scope::Links])?;
    let mut tx = api.ledger.begin().await?;
    let removed = costs::delete(&mut tx, workspace, &id).await?;
    tx.commit().await?;
    if removed { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("cost", id)) }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListCosts {
    /// At most one of post, link, campaign and network.
    post: Option<String>,
    link: Option<String>,
    campaign: Option<String>,
    network: Option<String>,
    kind: Option<String>,
    /// Costs with a day from here on.
    #[param(format = Date)]
    from: Option<String>,
    /// Costs with a day before this.
    #[param(format = Date)]
    to: Option<String>,
    /// 1 to 1000, 100 if absent.
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Costs, filtered.
#[utoipa::path(get, path = "/api/v1/costs", tag = "costs", params(ListCosts),
    responses((status = 200, body = Page<Cost>), Problems))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<ListCosts>,
) -> Answer<JsonAnswer<Page<Cost>>> {
    let workspace = caller.may_any(&[Scope::Reports, Scope::Links])?;
    let window = Window::new(query.limit, query.cursor.as_deref(), 1)?;
    let zone = workspaces::zone(&api.ledger, workspace).await?;
    let mut flaws = Flaws::default();
    let on = [
        ("post", query.post),
        ("link", query.link),
        ("campaign", query.campaign),
        ("network", query.network.map(|network| network.to_lowercase())),
    ];
    let mut on = on.into_iter().filter_map(|(scope, target)| Some((scope.to_owned(), target?)));
    let of = on.next();
    if on.next().is_some() {
        flaws.add("post", "filter by at most one of post, link, campaign and network");
    }
    let mut day = |field: &str, text: Option<String>| fields::day(field, text?.as_str(), &zone, &mut flaws);
    let (from_day, to_day) = (day("from", query.from), day("to", query.to));
    flaws.check()?;
    let filter = CostFilter {
        workspace: workspace.to_owned(),
        id: None,
        of,
        kind: query.kind,
        from_day,
        to_day,
        after: window.after_text(0).to_owned(),
        limit: window.fetch(),
    };
    let rows = costs::list(&api.ledger, &filter).await?;
    let page = window.page(rows, |row| vec![row.id.clone()], show);
    Ok(JsonAnswer(Page {
        data: page.data.into_iter().collect::<Answer<_>>()?,
        next_cursor: page.next_cursor,
    }))
}
