//! `POST /api/v1/events`: what the script in a shop's pages reports of an order (docs/SCRIPT.md).
//!
//! Its key stands in the page and its sender is any browser, so it is evidence: it names the clicks of an
//! order that the shop itself reports, and never makes a conversion or moves money.

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::post;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Api;
use super::built_in::{self, BuiltIn};
use super::error::{Answer, Kind, Problem, Problems};
use super::extract::{parse_json, read_body};
use crate::domain::time::now_ms;
use crate::domain::token::has_token_shape;
use crate::intake::standard;

const EVENT_MAX_BYTES: usize = 16 << 10;
/// The script keeps no more.
const CLICKS_MAX: usize = 10;

pub fn routes() -> Router<Arc<Api>> {
    let methods = post(create).options(preflight).layer(map_response(for_any_origin));
    Router::new().route("/events", methods)
}

/// Which clicks led to an order.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEvent {
    /// A publishable key.
    #[serde(skip_serializing)]
    key: String,
    /// The order as the shop's own webhook names it: its id, number, checkout or payment id.
    #[schema(value_type = String)]
    id: Value,
    /// For people who look at the delivery.
    event: Option<String>,
    /// Click tokens (`um_click`), at most 10. What has not the shape of one is passed over.
    click_ids: Vec<String>,
    landing_url: Option<String>,
    referrer: Option<String>,
}

/// Kept; read within a moment.
#[derive(Debug, Serialize, ToSchema)]
pub struct Kept {
    /// Look it up with GET /api/v1/deliveries/{id}.
    delivery: String,
}

/// Report from a page which clicks led to an order.
///
/// JSON of any content type, from any origin, with the key in the body, so that a browser can send it when a
/// page closes. It counts for nothing until the shop's webhook or API call brings the order.
#[utoipa::path(post, path = "/api/v1/events", tag = "conversions",
    request_body(content((NewEvent = "application/json"), (NewEvent = "text/plain"))),
    responses((status = 202, body = Kept), Problems), security(()))]
pub async fn create(State(api): State<Arc<Api>>, request: Request) -> Answer<(StatusCode, JsonAnswer<Kept>)> {
    let body = read_body(request.into_body(), EVENT_MAX_BYTES).await?;
    let mut event: NewEvent = parse_json(&body)?;
    let key = api
        .keys
        .find(&event.key)
        .await?
        .ok_or_else(|| Problem::field(Kind::Unauthorized, "key", "give a publishable key: um_..."))?;
    let Some(workspace) = key.workspace.as_deref().filter(|_| key.is_publishable()) else {
        let detail = "this key is secret and must not stand in a page: revoke it, and make one with the \
                      scope publishable";
        return Err(Problem::field(Kind::Forbidden, "key", detail));
    };
    let _permit = api.keys.enter(&key)?;

    event.click_ids.retain(|token| has_token_shape(token));
    if event.click_ids.is_empty() || event.click_ids.len() > CLICKS_MAX {
        let detail = format!("give 1 to {CLICKS_MAX} click tokens, as um_click holds them");
        return Err(Problem::invalid("click_ids", detail));
    }
    let data = serde_json::to_value(&event).map_err(Problem::internal)?;
    standard::evidence(&data, now_ms())?;
    let envelope = json!({"type": "evidence", "data": data});
    let delivery = built_in::append(&api, BuiltIn::Script, workspace, &envelope).await?;
    Ok((StatusCode::ACCEPTED, JsonAnswer(Kept { delivery })))
}

/// A page that sends another content type asks first.
async fn preflight() -> (StatusCode, [(header::HeaderName, &'static str); 3]) {
    let allowed = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    (StatusCode::NO_CONTENT, allowed)
}

/// Pages of any shop may read the answer; no cookie goes with it.
async fn for_any_origin(mut response: Response) -> Response {
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}
