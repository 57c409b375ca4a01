//! What many links brought, in one call: for schedulers that show it beside their posts.

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::{Caller, Scope};
use super::error::{Answer, Kind, Problem, Problems};
use super::extract::Json;
use super::fields;
use super::links::link_id;
use super::page::{Page, Window};
use crate::domain::flaw::Flaws;
use crate::domain::ids::LinkId;
use crate::domain::money::{Currency, format_minor};
use crate::domain::time::local_day;
use crate::ledger::LedgerError;
use crate::ledger::links::{self, LinkFigures, LinkRow, Which};
use crate::ledger::workspaces;

/// Links named in one call.
const NAMES_MAX: usize = 1000;

pub fn routes() -> Router<Arc<Api>> {
    Router::new().route("/links/stats", post(stats))
}

/// Which links: those that are named, those that something happened to, or those to which both applies.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatsInput {
    /// With external_ids 1,000 at most; links that are not there are left out of the answer.
    #[serde(default)]
    ids: Vec<String>,
    #[serde(default)]
    external_ids: Vec<String>,
    /// Links with a click, or with an order made or refunded, on the day of this moment or later, by the days of the
    /// workspace's zone. What is recorded late counts on its own day.
    #[schema(format = DateTime)]
    changed_since: Option<String>,
    /// 1 to 1000, 100 if absent.
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Figures over all time; conversions and money by last touch.
#[derive(Debug, Serialize, ToSchema)]
pub struct LinkStats {
    id: String,
    external_id: Option<String>,
    post: Option<String>,
    /// Clicks of people.
    clicks: i64,
    /// Clicks of machines: bots, link previews and prefetches.
    bot_clicks: i64,
    leads: i64,
    /// Purchases.
    conversions: i64,
    /// Their revenue less refunds.
    net_revenue: String,
    currency: String,
}

/// What links brought.
///
/// In the order of their ids. Clicks and orders are in it a moment after they came.
#[utoipa::path(post, path = "/api/v1/links/stats", tag = "links", request_body = StatsInput,
    responses((status = 200, body = Page<LinkStats>), Problems))]
pub async fn stats(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(input): Json<StatsInput>,
) -> Answer<JsonAnswer<Page<LinkStats>>> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
    let window = Window::new(input.limit, input.cursor.as_deref(), 1)?;
    let mut flaws = Flaws::default();
    let names = input.ids.len() + input.external_ids.len();
    if names > NAMES_MAX {
        flaws.add("ids", format!("name at most {NAMES_MAX} links in ids and external_ids"));
    }
    if names == 0 && input.changed_since.is_none() {
        flaws.add("ids", "say which links: ids, external_ids or changed_since");
    }
    let since_ms = fields::time("changed_since", input.changed_since.as_deref(), &mut flaws);
    flaws.check()?;

    let row = workspaces::get(&api.ledger, workspace).await?;
    let row =
        row.ok_or_else(|| Problem::new(Kind::NotFound, format!("there is no workspace {workspace}")))?;
    let damaged = |_| LedgerError::Damaged(format!("currency of workspace {workspace}"));
    let currency: Currency = row.currency.parse().map_err(damaged)?;
    let zone = jiff::tz::TimeZone::get(&row.timezone).map_err(Problem::internal)?;
    // What is no id of ours names no link.
    let ids = input.ids.iter().filter_map(|id| Some(id.trim().parse::<LinkId>().ok()?.as_i64()));
    let which = Which {
        named: (names > 0).then(|| (ids.collect(), input.external_ids)),
        active_from_day: since_ms.map(|at_ms| i64::from(local_day(at_ms, &zone))),
        after: window.after_number(0)?.unwrap_or(i64::MIN),
        limit: window.fetch(),
    };
    let rows = links::which(&api.ledger, workspace, &which).await?;
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let figures = links::figures(&api.ledger, &ids).await?;
    Ok(JsonAnswer(window.page(
        rows,
        |row| vec![row.id.to_string()],
        |row| {
            let of_link = figures.get(&row.id).copied().unwrap_or_default();
            show(row, of_link, currency)
        },
    )))
}

fn show(row: LinkRow, figures: LinkFigures, currency: Currency) -> LinkStats {
    LinkStats {
        id: link_id(row.id),
        external_id: row.external_id,
        post: row.post,
        clicks: figures.clicks,
        bot_clicks: figures.bot_clicks,
        leads: figures.leads,
        conversions: figures.purchases,
        net_revenue: format_minor(figures.net_minor, currency),
        currency: currency.code().to_owned(),
    }
}
