//! The reports under `/api/v1/reports`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Api;
use super::auth::{Caller, Scope};
use super::error::{Answer, Kind, Problem, Problems};
use super::extract::parse_pairs;
use crate::reports::{self, CompareRequest, ReportError, ReportRequest, RetentionRequest, Sheet};

pub fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/reports/attribution", get(attribution))
        .route("/reports/compare", get(compare))
        .route("/reports/retention", get(retention))
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
    let asked = Asked::read(query.as_deref())?;
    let request = ReportRequest::parse(asked.pairs())?;
    let report = reports::attribution(&api.ledger, workspace, &request, &api.config.attribution).await?;
    if asked.csv {
        let name = format!("attribution-by-{}-{}-{}", report.by.name(), report.from, report.to);
        return Ok(csv_answer(&name, report.to_csv().map_err(Problem::internal)?));
    }
    Ok(axum::Json(report).into_response())
}

/// How much each row gains or loses under each model against another.
///
/// Filters are parameters named as the values of `by`, as in the attribution report.
#[utoipa::path(get, path = "/api/v1/reports/compare", tag = "reports",
    params(
        ("by" = Option<String>, Query, description = "As in the attribution report; post if absent"),
        ("models" = Option<String>, Query, description = "By commas: first_touch, last_touch, linear, time_decay, position_based, markov, shapley; absent or all: all that have an answer"),
        ("baseline" = Option<String>, Query, description = "The model that they are compared with; last_touch if absent"),
        ("order" = Option<u8>, Query, description = "How many keys a state of markov remembers, 1 (default) to 3"),
        ("transform" = Option<String>, Query, description = "What markov and shapley do with repeated keys: exposure (default), first or unique"),
        ("from" = Option<String>, Query, description = "First day in the workspace's zone"),
        ("to" = Option<String>, Query, description = "The day after the last"),
        ("clock" = Option<String>, Query, description = "order (default), click or cash: what dates money"),
        ("event" = Option<String>, Query, description = "The event whose conversions count; purchase if absent"),
        ("format" = Option<String>, Query, description = "json (default) or csv"),
    ),
    responses((status = 200, description = "Rows and totals with each model's change in money and in percent", content_type = "application/json"), Problems))]
pub async fn compare(
    State(api): State<Arc<Api>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Answer<Response> {
    let workspace = caller.may(Scope::Reports)?;
    let asked = Asked::read(query.as_deref())?;
    let request = CompareRequest::parse(asked.pairs())?;
    let sheet = reports::compare(&api.ledger, workspace, &request, &api.config.attribution).await?;
    sheet_answer("compare", &sheet, asked.csv)
}

/// Customers that social brought against all others.
///
/// A customer belongs to what brought the first purchase, and counts where that falls into the period.
#[utoipa::path(get, path = "/api/v1/reports/retention", tag = "reports",
    params(
        ("by" = Option<String>, Query, description = "all (default): social against the others; or network, post, campaign, kind"),
        ("from" = Option<String>, Query, description = "First day of first purchases, in the workspace's zone"),
        ("to" = Option<String>, Query, description = "The day after the last"),
        ("format" = Option<String>, Query, description = "json (default) or csv"),
    ),
    responses((status = 200, description = "Rows by what brought the customers; docs/REPORTS.md defines the columns", content_type = "application/json"), Problems))]
pub async fn retention(
    State(api): State<Arc<Api>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Answer<Response> {
    let workspace = caller.may(Scope::Reports)?;
    let asked = Asked::read(query.as_deref())?;
    let request = RetentionRequest::parse(asked.pairs())?;
    let sheet = reports::retention(&api.ledger, workspace, &request, &api.config.attribution).await?;
    sheet_answer("retention", &sheet, asked.csv)
}

/// The parameters of a report.
pub(super) struct Asked {
    pairs: Vec<(String, String)>,
    pub csv: bool,
}

impl Asked {
    pub fn read(query: Option<&str>) -> Answer<Self> {
        let pairs = parse_pairs(query.unwrap_or_default())?.into_iter();
        let (format, pairs): (Vec<_>, Vec<_>) = pairs.partition(|(name, _)| name == "format");
        let csv = match format.first().map(|(_, value)| value.as_str()) {
            None | Some("" | "json") => false,
            Some("csv") => true,
            Some(other) => {
                return Err(Problem::invalid("format", format!("{other:?} is none of json, csv")));
            }
        };
        Ok(Self { pairs, csv })
    }

    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// The sheet as JSON, or as a CSV file of that name.
pub(super) fn sheet_answer(name: &str, sheet: &Sheet, csv: bool) -> Answer<Response> {
    match csv {
        true => Ok(csv_answer(name, sheet.to_csv().map_err(Problem::internal)?)),
        false => Ok(axum::Json(sheet).into_response()),
    }
}

fn csv_answer(name: &str, text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.csv\"")),
    ];
    (headers, text).into_response()
}
