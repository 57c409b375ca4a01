//! `GET /api/v1/reports/attribution`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Api;
use super::auth::{Caller, Scope};
use super::error::{Answer, Kind, Problem, Problems};
use crate::reports::{self, ReportError, ReportRequest};

pub fn routes() -> Router<Arc<Api>> {
    Router::new().route("/reports/attribution", get(attribution))
}

impl From<ReportError> for Problem {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Invalid { field, detail } => Self::invalid(field, detail),
            ReportError::UnknownWorkspace(id) => {
                Self::new(Kind::NotFound, format!("there is no workspace {id}"))
            }
            ReportError::Ledger(error) => error.into(),
        }
    }
}

/// What posts, networks, campaigns or days brought in and cost.
///
/// Filters are parameters named as the values of `by` (all but times). Columns: docs/REPORTS.md.
#[utoipa::path(get, path = "/api/v1/reports/attribution", tag = "reports",
    params(
        ("by" = Option<String>, Query, description = "post (default), network, campaign, link, utm_source, utm_medium, utm_campaign, utm_term, utm_content, tag, kind, source, country, device, day, week, month or hour_of_week"),
        ("model" = Option<String>, Query, description = "first_touch, last_touch (default), linear, time_decay, position_based, markov, shapley, or all side by side"),
        ("order" = Option<u8>, Query, description = "How many keys a state of markov remembers, 1 (default) to 3"),
        ("transform" = Option<String>, Query, description = "What markov and shapley do with repeated keys: exposure (default), first or unique"),
        ("from" = Option<String>, Query, description = "First day in the workspace's zone, a date or RFC 3339; absent: the first on which anything happened"),
        ("to" = Option<String>, Query, description = "The day after the last; absent: tomorrow"),
        ("clock" = Option<String>, Query, description = "order (default), click or cash: what dates money"),
        ("event" = Option<String>, Query, description = "The event whose conversions count; purchase if absent"),
        ("format" = Option<String>, Query, description = "json (default) or csv"),
    ),
    responses((status = 200, description = "The report, with totals and reconciliation", content_type = "application/json"), Problems))]
pub async fn attribution(
    State(api): State<Arc<Api>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Answer<Response> {
    let workspace = caller.may(Scope::Reports)?;
    let query = query.unwrap_or_default();
    let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
    let csv = match pairs.iter().find(|(name, _)| name == "format").map(|(_, value)| value.as_ref()) {
        None | Some("" | "json") => false,
        Some("csv") => true,
        Some(other) => return Err(Problem::invalid("format", format!("{other:?} is none of json, csv"))),
    };
    let others = pairs.iter().filter(|(name, _)| name != "format");
    let request = ReportRequest::parse(others.map(|(name, value)| (name.as_ref(), value.as_ref())))?;
    let report = reports::attribution(&api.ledger, workspace, &request, &api.config.attribution).await?;
    if csv {
        let name = format!("attribution-by-{}-{}-{}.csv", report.by.name(), report.from, report.to);
        let headers = [
            (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
            (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        ];
        return Ok((headers, report.to_csv().map_err(Problem::internal)?).into_response());
    }
    Ok(axum::Json(report).into_response())
}
