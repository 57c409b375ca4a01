//! Reports of closed periods, frozen: `/api/v1/reports/snapshots`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::{Caller, Scope};
use super::error::{Answer, Problem, Problems};
use super::extract::{Json, Query, Segment};
use super::page::{Page, Window};
use super::reports::{Asked, sheet_answer};
use crate::domain::flaw::Flaws;
use crate::domain::time::{day_date, rfc3339};
use crate::ledger::LedgerError;
use crate::ledger::snapshots::{self, SnapshotRow};
use crate::reports;

pub fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/reports/snapshots", get(list).post(create))
        .route("/reports/snapshots/{id}", get(read))
        .route("/reports/snapshots/{id}/compare", get(compare))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotInput {
    /// What people call it: "October 2026".
    name: String,
    /// Parameters of the attribution report: by, model, clock, filters, and always from and to.
    query: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Snapshot {
    id: String,
    name: String,
    query: BTreeMap<String, String>,
    /// First day.
    from: String,
    /// The day after the last one.
    to: String,
    /// When it was frozen.
    as_of: String,
    /// Equal hashes: the same attribution settings.
    settings_hash: String,
    /// The attribution report as it was answered then; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Value>,
}

fn show(row: SnapshotRow) -> Answer<Snapshot> {
    let damaged = |error| LedgerError::Damaged(format!("snapshot {}: {error}", row.id));
    let report = match row.report.as_str() {
        "" => None,
        text => Some(serde_json::from_str(text).map_err(damaged)?),
    };
    let date = |day: i64| day_date(i32::try_from(day).unwrap_or(i32::MAX)).to_string();
    Ok(Snapshot {
        query: url::form_urlencoded::parse(row.query.as_bytes()).into_owned().collect(),
        from: date(row.from_day),
        to: date(row.to_day),
        as_of: rfc3339(row.as_of_ms),
        settings_hash: row.settings_hash,
        report,
        id: row.id,
        name: row.name,
    })
}

/// Freeze the attribution report of a period that is over.
#[utoipa::path(post, path = "/api/v1/reports/snapshots", tag = "reports", request_body = SnapshotInput,
    responses((status = 201, body = Snapshot), Problems))]
pub async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(input): Json<SnapshotInput>,
) -> Answer<(StatusCode, JsonAnswer<Snapshot>)> {
    let workspace = caller.may(Scope::Reports)?;
    let mut flaws = Flaws::default();
    let name = flaws.text("name", Some(input.name), 200);
    if name.is_none() {
        flaws.add("name", "name must say what the snapshot is: \"October 2026\"");
    }
    flaws.check()?;
    let pairs: Vec<(String, String)> =
        input.query.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let name = name.unwrap_or_default();
    let row = reports::freeze(&api.ledger, workspace, &name, &pairs, &api.config.attribution).await?;
    Ok((StatusCode::CREATED, JsonAnswer(show(row)?)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListSnapshots {
    /// 1 to 1000, 100 if absent.
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Snapshots, the latest first.
#[utoipa::path(get, path = "/api/v1/reports/snapshots", tag = "reports", params(ListSnapshots),
    responses((status = 200, body = Page<Snapshot>), Problems))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<ListSnapshots>,
) -> Answer<JsonAnswer<Page<Snapshot>>> {
    let workspace = caller.may(Scope::Reports)?;
    let window = Window::new(query.limit, query.cursor.as_deref(), 1)?;
    let before = window.after.as_ref().map(|key| key[0].as_str());
    let rows = snapshots::list(&api.ledger, workspace, before, window.fetch()).await?;
    let page = window.page(rows, |row| vec![row.id.clone()], show);
    let data = page.data.into_iter().collect::<Answer<Vec<_>>>()?;
    Ok(JsonAnswer(Page { data, next_cursor: page.next_cursor }))
}

async fn find(api: &Api, workspace: &str, id: &str) -> Answer<SnapshotRow> {
    let row = snapshots::get(&api.ledger, workspace, id).await?;
    row.ok_or_else(|| Problem::not_found("snapshot", id))
}

/// A snapshot with its report.
#[utoipa::path(get, path = "/api/v1/reports/snapshots/{id}", tag = "reports", params(("id" = String, Path)),
    responses((status = 200, body = Snapshot), Problems))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<JsonAnswer<Snapshot>> {
    let workspace = caller.may(Scope::Reports)?;
    Ok(JsonAnswer(show(find(&api, workspace, &id).await?)?))
}

/// A snapshot against what the same report says today, row by row, and why figures moved.
#[utoipa::path(get, path = "/api/v1/reports/snapshots/{id}/compare", tag = "reports",
    params(("id" = String, Path), ("format" = Option<String>, Query, description = "json (default) or csv")),
    responses((status = 200, description = "Rows with each figure then, now and its change", content_type = "application/json"), Problems))]
pub async fn compare(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
    RawQuery(query): RawQuery,
) -> Answer<Response> {
    let workspace = caller.may(Scope::Reports)?;
    let asked = Asked::read(query.as_deref())?;
    if let Some((name, _)) = asked.pairs().next() {
        return Err(Problem::invalid(name, "is no parameter here"));
    }
    let snapshot = find(&api, workspace, &id).await?;
    let sheet = reports::difference(&api.ledger, &snapshot, &api.config.attribution).await?;
    sheet_answer(&format!("snapshot-{id}"), &sheet, asked.csv)
}
