//! Conversions by API: taken like a webhook, kept raw, read by the worker; and looked at again.

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Api;
use super::auth::{Caller, Scope};
use super::built_in::{self, BuiltIn};
use super::error::{Answer, Problem, Problems};
use super::extract::{Json, Segment};
use crate::domain::time::now_ms;
use crate::intake::fact::{Fact, Says};
use crate::intake::{InterpretError, standard};
use crate::ledger::conversion_views;

pub fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/conversions", post(create).get(super::conversion_views::list))
        .route("/conversions/{id}", get(super::conversion_views::read))
        .route("/conversions/{id}/refunds", post(refund))
}

/// A sale, a lead or another conversion. Sent again with the same id it is the same one.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewConversion {
    /// Your id of the order.
    #[schema(value_type = String)]
    id: Option<Value>,
    /// purchase if absent; lead, sign_up or your own word.
    #[schema(value_type = Option<String>)]
    event: Option<Value>,
    /// Gross, with tax and shipping, a decimal string: "49.90". Only an event other than purchase may be without.
    #[schema(value_type = Option<String>)]
    amount: Option<Value>,
    /// ISO 4217.
    #[schema(value_type = Option<String>)]
    currency: Option<Value>,
    #[schema(value_type = Option<String>)]
    tax: Option<Value>,
    #[schema(value_type = Option<String>)]
    shipping: Option<Value>,
    /// What the goods cost you, for profit in reports.
    #[schema(value_type = Option<String>)]
    cost_of_goods: Option<Value>,
    /// RFC 3339; now if absent.
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<Value>,
    /// The click token that the landing page was called with (`um_click`).
    #[schema(value_type = Option<String>)]
    click_id: Option<Value>,
    /// Several, where the shop remembered earlier ones.
    #[schema(value_type = Option<Vec<String>>)]
    click_ids: Option<Value>,
    customer: Option<NewCustomer>,
    #[schema(value_type = Option<String>)]
    coupon: Option<Value>,
    /// UTM values of the landing: `{"source": "instagram", "content": "..."}`.
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    utm: Option<Value>,
    #[schema(value_type = Option<String>)]
    landing_url: Option<Value>,
    #[schema(value_type = Option<String>)]
    referrer: Option<Value>,
}

/// Kept hashed only.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCustomer {
    #[schema(value_type = Option<String>)]
    id: Option<Value>,
    #[schema(value_type = Option<String>)]
    email: Option<Value>,
}

/// Money of a conversion that went back.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRefund {
    /// Your id of the refund.
    #[schema(value_type = String)]
    id: Option<Value>,
    /// A decimal string.
    #[schema(value_type = String)]
    amount: Option<Value>,
    /// That of the conversion if absent.
    #[schema(value_type = Option<String>)]
    currency: Option<Value>,
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<Value>,
    /// From the path.
    #[serde(skip_deserializing)]
    #[schema(ignore)]
    conversion: String,
}

/// Kept; read within a moment.
#[derive(Debug, Serialize, ToSchema)]
pub struct Accepted {
    id: String,
    /// Look it up with GET /api/v1/deliveries/{id}.
    delivery: String,
}

/// Report a conversion.
///
/// 202 means that it is durable; the worker attributes it within a moment.
#[utoipa::path(post, path = "/api/v1/conversions", tag = "conversions", request_body = NewConversion,
    responses((status = 202, body = Accepted), Problems))]
pub async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(new): Json<NewConversion>,
) -> Answer<(StatusCode, JsonAnswer<Accepted>)> {
    let workspace = caller.may(Scope::Conversions)?;
    let body = serde_json::to_value(&new).map_err(Problem::internal)?;
    Ok((StatusCode::ACCEPTED, JsonAnswer(take(&api, workspace, body).await?)))
}

/// Makes a conversion durable, whichever way it was reported.
pub(super) async fn take(api: &Api, workspace: &str, body: Value) -> Answer<Accepted> {
    let fact = standard::conversion(&body, now_ms())?;
    api.recent_currencies.remember(workspace, &fact);
    let envelope = json!({"type": "conversion", "data": body});
    let delivery = built_in::append(api, BuiltIn::Api, workspace, &envelope).await?;
    Ok(Accepted { id: fact.order_id, delivery })
}

/// Report a refund of a conversion that was reported by API.
#[utoipa::path(post, path = "/api/v1/conversions/{id}/refunds", tag = "conversions",
    params(("id" = String, Path)), request_body = NewRefund,
    responses((status = 202, body = Accepted), Problems))]
pub async fn refund(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(conversion): Segment,
    Json(mut new): Json<NewRefund>,
) -> Answer<(StatusCode, JsonAnswer<Accepted>)> {
    let workspace = caller.may(Scope::Conversions)?;
    let conversion =
        conversion.strip_prefix(&format!("{}:", BuiltIn::Api.source(workspace))).unwrap_or(&conversion);
    if new.currency.is_none() {
        new.currency = Some(currency_of(&api, workspace, conversion).await?.into());
    }
    new.conversion = conversion.to_owned();
    let body = serde_json::to_value(&new).map_err(Problem::internal)?;
    let fact = standard::refund(&body, conversion, None, now_ms())?;
    let Says::Refund(refund) = fact.says else {
        return Err(Problem::internal("a refund was read as something else"));
    };
    let delivery =
        built_in::append(&api, BuiltIn::Api, workspace, &json!({"type": "refund", "data": body})).await?;
    Ok((StatusCode::ACCEPTED, JsonAnswer(Accepted { id: refund.id, delivery })))
}

async fn currency_of(api: &Api, workspace: &str, conversion: &str) -> Answer<String> {
    let known = match api.recent_currencies.get(workspace, conversion) {
        Some(currency) => Some(currency),
        None => {
            conversion_views::order_currency(&api.ledger, &BuiltIn::Api.source(workspace), conversion).await?
        }
    };
    known.ok_or_else(|| {
        let detail = format!(
            "the conversion {conversion} is not known by now; give the currency, and it will be joined when it comes"
        );
        Problem::invalid("currency", detail)
    })
}

/// The currencies of conversions that came a moment ago and that the worker may not have read yet.
#[derive(Debug)]
pub struct RecentCurrencies(quick_cache::sync::Cache<(String, String), String>);

impl Default for RecentCurrencies {
    fn default() -> Self {
        Self(quick_cache::sync::Cache::new(10_000))
    }
}

impl RecentCurrencies {
    fn remember(&self, workspace: &str, fact: &Fact) {
        if let Says::Order(order) = &fact.says {
            self.0.insert((workspace.to_owned(), fact.order_id.clone()), order.currency.clone());
        }
    }

    fn get(&self, workspace: &str, order_id: &str) -> Option<String> {
        let currency = self.0.get(&(workspace.to_owned(), order_id.to_owned()))?;
        Some(currency).filter(|currency| !currency.is_empty())
    }
}

impl From<InterpretError> for Problem {
    fn from(error: InterpretError) -> Self {
        match error.field().filter(|field| !field.is_empty()) {
            Some(field) => Self::invalid(field, error.to_string()),
            None => Self::new(super::error::Kind::Invalid, error.to_string()),
        }
    }
}
