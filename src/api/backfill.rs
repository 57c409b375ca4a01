//! Orders from before a source was connected: kept and read as its webhooks are.

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Api;
use super::auth::{Caller, Scope};
use super::error::{Answer, Problem, Problems};
use super::extract::{BULK_MAX_BYTES, Json, Segment};
use crate::domain::time::now_ms;
use crate::intake::{self, Platform};
use crate::ledger::{LedgerError, sources};
use crate::log::record::Delivery;

const ORDERS_MAX: usize = 500;

pub fn routes() -> Router<Arc<Api>> {
    Router::new().route("/sources/{id}/orders", post(backfill))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Backfill {
    /// Up to 500, each as the body of the platform's own webhook of an order; besides, `refunded_total` for what
    /// came back in all where single refunds are not known.
    #[schema(value_type = Vec<Object>)]
    orders: Vec<Value>,
    /// true: only say what would be refused.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct BackfillResults {
    results: Vec<BackfillResult>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct BackfillResult {
    /// Place in the request, from 0.
    index: usize,
    order_id: Option<String>,
    /// What cannot be read of it; null where it was taken.
    problem: Option<String>,
}

/// Bring in orders of a Shopify or WooCommerce source from before its webhooks came.
///
/// Each is kept as a delivery and becomes the same order that its webhooks tell of, so nothing counts twice,
/// whatever comes first and however often.
#[utoipa::path(post, path = "/api/v1/sources/{id}/orders", tag = "sources", params(("id" = String, Path)),
    request_body = Backfill, responses((status = 200, body = BackfillResults), Problems))]
pub async fn backfill(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
    Json(input): Json<Backfill, BULK_MAX_BYTES>,
) -> Answer<JsonAnswer<BackfillResults>> {
    let workspace = caller.may(Scope::Admin)?;
    let source = sources::get(&api.ledger, workspace, &id).await?;
    let source = source.ok_or_else(|| Problem::not_found("source", &id))?;
    let damaged = |_| LedgerError::Damaged(format!("platform of source {id}"));
    let platform: Platform = source.platform.parse().map_err(damaged)?;
    let header = match platform {
        Platform::Shopify => ("x-shopify-topic", "orders/import"),
        Platform::Woocommerce => ("x-wc-webhook-topic", "order.import"),
        _ => {
            return Err(Problem::invalid(
                "id",
                "only sources of shopify and woocommerce take orders from before",
            ));
        }
    };
    if input.orders.is_empty() || input.orders.len() > ORDERS_MAX {
        return Err(Problem::invalid("orders", format!("send 1 to {ORDERS_MAX} orders")));
    }
    let headers = vec![(header.0.to_owned(), header.1.to_owned())];
    let received_ms = now_ms();
    let mut results = Vec::with_capacity(input.orders.len());
    for (index, order) in input.orders.into_iter().enumerate() {
        let body = serde_json::to_vec(&order).map_err(Problem::internal)?;
        let result = match intake::interpret(platform, &headers, &body, received_ms) {
            Err(error) => BackfillResult { index, order_id: None, problem: Some(error.to_string()) },
            Ok(said) => {
                let fact = said.facts.first();
                if let Some(fact) = fact.filter(|_| !input.dry_run) {
                    let delivery = Delivery {
                        id: delivery_id(&source.id, fact.version_ms, &body),
                        workspace: source.workspace.clone(),
                        source: source.id.clone(),
                        platform: platform.as_str().to_owned(),
                        received_ms,
                        is_verified: true,
                        headers: headers.clone(),
                        body,
                        is_replayed: false,
                    };
                    api.log.append_delivery(&delivery).await?;
                }
                BackfillResult { index, order_id: fact.map(|fact| fact.order_id.clone()), problem: None }
            }
        };
        results.push(result);
    }
    Ok(JsonAnswer(BackfillResults { results }))
}

/// The same for the same words, so that a file sent twice is one delivery; by its order's time, so that lists of
/// the newest begin with what came by itself.
fn delivery_id(source: &str, version_ms: i64, body: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(source.as_bytes()).update(&[0]).update(body);
    let mut random = [0; 10];
    random.copy_from_slice(&hasher.finalize().as_bytes()[..10]);
    let millis = u64::try_from(version_ms).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().to_string()
}
