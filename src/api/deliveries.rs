//! Deliveries: what arrived, what became of it, what was missing; and reading one again.

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::{Caller, Scope};
use super::error::{Answer, Kind, Problem, Problems};
use super::extract::{Query, Segment};
use super::page::{Page, Window};
use crate::domain::flaw::Flaws;
use crate::domain::time::rfc3339;
use crate::intake::{self, Platform, Secret, Verdict};
use crate::ledger::deliveries::{self, DeliveryFilter, DeliveryRow, RawRow};
use crate::ledger::{LedgerError, sources};
use crate::log::record::Delivery;

const RESULTS: [&str; 6] = ["accepted", "ignored", "duplicate", "pending", "unverified", "dead"];
/// Stored deliveries that are judged anew at once.
const SWEEP: i64 = 100;

pub fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/deliveries", get(list))
        .route("/deliveries/{id}", get(read))
        .route("/deliveries/{id}/replay", post(replay))
        .route("/sources/{id}/deliveries", get(list_of_source))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ShownDelivery {
    id: String,
    source: String,
    received_at: String,
    /// The platform's own word: orders/create, ...
    topic: Option<String>,
    /// accepted, ignored, duplicate, pending (its order is being fetched), unverified or dead.
    result: String,
    /// Why it was ignored, is not verified or could not be read, and what is missing.
    problem: Option<String>,
    order_id: Option<String>,
    /// What became of the order; null where there is none (yet).
    conversion: Option<DeliveredConversion>,
    /// Whether the raw body is still kept, so that it can be read again.
    replayable: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveredConversion {
    /// attributed, unattributed or excluded.
    status: String,
    reason: Option<String>,
    /// How it found its clicks.
    #[serde(rename = "match")]
    method: Option<String>,
}

pub(super) fn show(row: DeliveryRow) -> ShownDelivery {
    let conversion =
        row.status.map(|status| DeliveredConversion { status, reason: row.reason, method: row.match_method });
    ShownDelivery {
        id: row.id,
        source: row.source,
        received_at: rfc3339(row.received_ms),
        topic: row.topic,
        result: row.result,
        problem: row.problem,
        order_id: row.order_id,
        conversion,
        replayable: row.has_body,
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListDeliveries {
    /// accepted, ignored, duplicate, pending, unverified or dead.
    result: Option<String>,
    /// Id of a source.
    source: Option<String>,
    order_id: Option<String>,
    /// 1 to 1000, 100 if absent.
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Deliveries of all sources, newest first: `?result=dead` are those that nobody could read.
#[utoipa::path(get, path = "/api/v1/deliveries", tag = "sources", params(ListDeliveries),
    responses((status = 200, body = Page<ShownDelivery>), Problems))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<ListDeliveries>,
) -> Answer<JsonAnswer<Page<ShownDelivery>>> {
    let workspace = caller.may_any(&[Scope::Conversions, Scope::Reports])?;
    if query.result.as_deref().is_some_and(|result| !RESULTS.contains(&result)) {
        let mut flaws = Flaws::default();
        flaws.add("result", format!("result must be one of {}", RESULTS.join(", ")));
        flaws.check()?;
    }
    let window = Window::new(query.limit, query.cursor.as_deref(), 1)?;
    let filter = DeliveryFilter {
        workspace: workspace.to_owned(),
        source: query.source,
        result: query.result,
        order_id: query.order_id,
        before: window.after.as_ref().map(|key| key[0].clone()),
        limit: window.fetch(),
    };
    let rows = deliveries::list(&api.ledger, &filter).await?;
    Ok(JsonAnswer(window.page(rows, |row| vec![row.id.clone()], show)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListOfSource {
    /// accepted, ignored, duplicate, pending, unverified or dead.
    result: Option<String>,
    order_id: Option<String>,
    /// 1 to 1000, 100 if absent.
    limit: Option<u32>,
    cursor: Option<String>,
}

/// What a source sent, newest first: what was read, what it matched and what was missing.
#[utoipa::path(get, path = "/api/v1/sources/{id}/deliveries", tag = "sources",
    params(("id" = String, Path), ListOfSource),
    responses((status = 200, body = Page<ShownDelivery>), Problems))]
pub async fn list_of_source(
    state: State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
    Query(query): Query<ListOfSource>,
) -> Answer<JsonAnswer<Page<ShownDelivery>>> {
    let workspace = caller.may_any(&[Scope::Conversions, Scope::Reports])?;
    if sources::get(&state.ledger, workspace, &id).await?.is_none() {
        return Err(Problem::not_found("source", id));
    }
    let ListOfSource { result, order_id, limit, cursor } = query;
    list(state, caller, Query(ListDeliveries { result, source: Some(id), order_id, limit, cursor })).await
}

/// A delivery as it came in. The body names people: handle it with care.
#[derive(Debug, Serialize, ToSchema)]
pub struct RawDelivery {
    #[serde(flatten)]
    delivery: ShownDelivery,
    /// Those that were kept, as [name, value].
    #[schema(value_type = Vec<Vec<String>>)]
    headers: Vec<(String, String)>,
    /// null once it was erased.
    body: Option<String>,
}

/// A delivery with its raw body. Needs the scope admin.
#[utoipa::path(get, path = "/api/v1/deliveries/{id}", tag = "sources", params(("id" = String, Path)),
    responses((status = 200, body = RawDelivery), Problems))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<JsonAnswer<RawDelivery>> {
    let workspace = caller.may(Scope::Admin)?;
    let row = deliveries::get(&api.ledger, workspace, &id).await?;
    let raw = deliveries::raw(&api.ledger, workspace, &id).await?;
    let (row, raw) = row.zip(raw).ok_or_else(|| Problem::not_found("delivery", id))?;
    Ok(JsonAnswer(RawDelivery {
        delivery: show(row),
        headers: raw.headers,
        body: raw.body.map(|body| String::from_utf8_lossy(&body).into_owned()),
    }))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Replayed {
    id: String,
}

/// Read a kept delivery again, once what was missing is there.
#[utoipa::path(post, path = "/api/v1/deliveries/{id}/replay", tag = "sources", params(("id" = String, Path)),
    responses((status = 202, body = Replayed), Problems))]
pub async fn replay(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<(StatusCode, JsonAnswer<Replayed>)> {
    let workspace = caller.may(Scope::Admin)?;
    let raw = deliveries::raw(&api.ledger, workspace, &id).await?;
    let raw = raw.ok_or_else(|| Problem::not_found("delivery", &id))?;
    let platform = platform_of(&api, &raw).await?;
    if raw.result == "unverified" && !verifies(&api, platform, &raw).await? {
        let detail = "no secret of the source signed this delivery; add the right one first";
        return Err(Problem::new(Kind::Conflict, detail));
    }
    let erased = || Problem::new(Kind::Conflict, "the raw body of this delivery was erased by now");
    let delivery = read_again(platform, raw).ok_or_else(erased)?;
    api.log.append_delivery(&delivery).await?;
    Ok((StatusCode::ACCEPTED, JsonAnswer(Replayed { id })))
}

async fn platform_of(api: &Api, raw: &RawRow) -> Answer<Platform> {
    let source = sources::get(&api.ledger, &raw.workspace, &raw.source).await?;
    let gone = || Problem::new(Kind::Conflict, "the source of this delivery was deleted");
    let source = source.ok_or_else(gone)?;
    let damaged = |_| LedgerError::Damaged(format!("platform of source {}", source.id));
    Ok(source.platform.parse().map_err(damaged)?)
}

/// Whether a secret of the source signed a kept delivery.
async fn verifies(api: &Api, platform: Platform, raw: &RawRow) -> Answer<bool> {
    let secrets = sources::secrets(&api.ledger, &raw.source).await?;
    let secrets: Vec<Secret> = secrets.iter().map(|row| Secret::new(&row.secret)).collect();
    let headers = intake::header_map(&raw.headers);
    let body = raw.body.as_deref().unwrap_or_default();
    Ok(intake::verify(platform, &headers, body, &secrets, raw.received_ms) == Verdict::Verified)
}

/// A kept delivery as it goes into the log once more. None: its body is gone.
fn read_again(platform: Platform, raw: RawRow) -> Option<Delivery> {
    Some(Delivery {
        id: raw.id,
        workspace: raw.workspace,
        source: raw.source,
        platform: platform.as_str().to_owned(),
        received_ms: raw.received_ms,
        is_verified: true,
        headers: raw.headers,
        body: raw.body.filter(|body| !body.is_empty())?,
        is_replayed: true,
    })
}

/// Judges deliveries that came before their source had a secret; how many there were to judge.
pub(super) async fn verify_waiting(api: &Api) -> Answer<usize> {
    let waiting = deliveries::to_verify(&api.ledger, SWEEP).await?;
    let count = waiting.len();
    for raw in waiting {
        let platform = platform_of(api, &raw).await?;
        let id = raw.id.clone();
        let problem = match verifies(api, platform, &raw).await? {
            false => deliveries::SIGNED_BY_NONE,
            true => {
                if let Some(delivery) = read_again(platform, raw) {
                    api.log.append_delivery(&delivery).await?;
                }
                deliveries::READ_AGAIN
            }
        };
        deliveries::explain(&api.ledger, &id, problem).await?;
    }
    Ok(count)
}
