//! Erasing a customer who asks for it.

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::Api;
use super::auth::{Caller, Scope};
use super::built_in::{self, BuiltIn};
use super::error::{Answer, Problems};
use super::extract::Json;
use crate::domain::flaw::Flaws;
use crate::ledger::{privacy, sources};
use crate::worker::privacy::customer_hashes;

pub fn routes() -> Router<Arc<Api>> {
    Router::new().route("/customers/erase", post(erase))
}

/// Who is to be forgotten: by e-mail, by a source's id of the customer, or by both.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Erasure {
    email: Option<String>,
    /// The customer's id in the source.
    id: Option<String>,
    /// Whose id it is; that of conversions by API if absent.
    source: Option<String>,
}

/// Kept; done within a moment.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErasureAccepted {
    /// GET /api/v1/deliveries/{id} says what was erased, in `problem`. Who it was is not kept with it.
    delivery: String,
    /// Orders that are known under these names now; 0 once it is done.
    orders: usize,
}

/// Erase a customer.
///
/// Raw webhooks, customer hashes and journeys go; orders, money and credits stay, anonymous. Asking again
/// changes nothing. A delivery that could not be interpreted is not known to be the customer's: it goes after
/// `privacy.raw_days`, as all do.
#[utoipa::path(post, path = "/api/v1/customers/erase", tag = "conversions", request_body = Erasure,
    responses((status = 202, body = ErasureAccepted), Problems))]
pub async fn erase(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(wish): Json<Erasure>,
) -> Answer<(StatusCode, JsonAnswer<ErasureAccepted>)> {
    let workspace = caller.may(Scope::Admin)?;
    let mut flaws = Flaws::default();
    let email = flaws.text("email", wish.email, 320);
    let id = flaws.text("id", wish.id, 255);
    let source = flaws.text("source", wish.source, 255);
    match (&email, &id) {
        (None, None) => flaws.add("email", "give the customer's email, or the id in a source, or both"),
        (Some(email), _) if !email.contains('@') => flaws.add("email", "email must hold an @"),
        _ => {}
    }
    if source.is_some() && id.is_none() {
        flaws.add("id", "give the customer's id in this source");
    }
    let source = source.unwrap_or_else(|| BuiltIn::Api.source(workspace));
    let is_known = source == BuiltIn::Api.source(workspace)
        || sources::workspace_of(&api.ledger, &source).await?.as_deref() == Some(workspace);
    if !is_known {
        flaws.add("source", format!("there is no source {source}"));
    }
    flaws.check()?;

    let of_source = id.as_deref().map(|id| (source.as_str(), id));
    let hashes = customer_hashes(&api.ring, workspace, email.as_deref(), of_source);
    let orders = privacy::count_orders(&api.ledger, workspace, &hashes).await?;
    let envelope = json!({"type": "erase", "data": {"email": email, "id": id, "source": source}});
    let delivery = built_in::append(&api, BuiltIn::Api, workspace, &envelope).await?;
    Ok((StatusCode::ACCEPTED, JsonAnswer(ErasureAccepted { delivery, orders })))
}
