//! BigCommerce's API: an order (V2), its coupons (V2) and its refunds (V3).

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;
use url::Url;

use super::Failure;
use crate::intake::{self, Fetch};
use crate::webhooks::client::{CallError, GuardedClient, retry_after};

const API: &str = "https://api.bigcommerce.com/";
/// An order of thousands of lines is smaller, since its lines are resources of their own.
const ANSWER_MAX_BYTES: usize = 1 << 20;
/// When the quota is full again, milliseconds from now
/// (<https://docs.bigcommerce.com/developer/docs/overview/api-fundamentals/rate-limits>).
const QUOTA_RESET: &str = "x-rate-limit-time-reset-ms";

/// Everything that `intake` reads of an order. `api`: another address of the API, as for tests.
pub(super) async fn order(
    client: &GuardedClient,
    api: Option<&str>,
    token: &str,
    fetch: &Fetch,
) -> Result<Value, Failure> {
    let Fetch { store, order_id } = fetch;
    let api: Url =
        api.unwrap_or(API).parse().map_err(|_| Failure::Final("api_url is not a URL".to_owned()))?;
    let get = async |path: String| {
        let url = api.join(&path).map_err(|_| Failure::Final("api_url cannot be added to".to_owned()))?;
        get(client, &url, token, fetch).await
    };
    let order = get(format!("stores/{store}/v2/orders/{order_id}")).await?;
    let is_it = order.get("id").is_some_and(|id| id.to_string().trim_matches('"') == order_id.as_str());
    if !is_it {
        return Err(Failure::Final(format!("the answer is not order {order_id}")));
    }
    let coupons = get(format!("stores/{store}/v2/orders/{order_id}/coupons")).await?;
    let refunds = match intake::has_refunds(&order) {
        true => {
            get(format!("stores/{store}/v3/orders/{order_id}/payment_actions/refunds")).await?["data"].take()
        }
        false => Value::Null,
    };
    Ok(intake::fetched(order, coupons, refunds))
}

/// An empty list comes as 204.
async fn get(client: &GuardedClient, url: &Url, token: &str, fetch: &Fetch) -> Result<Value, Failure> {
    let mut headers = HeaderMap::new();
    let mut token =
        HeaderValue::from_str(token).map_err(|_| Failure::Final("api_token cannot be sent".to_owned()))?;
    token.set_sensitive(true);
    headers.insert("x-auth-token", token);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers
        .insert(header::USER_AGENT, HeaderValue::from_static(concat!("utmost/", env!("CARGO_PKG_VERSION"))));
    let (status, headers, body) =
        client.get(url, headers, ANSWER_MAX_BYTES).await.map_err(|error| match error {
            CallError::Forbidden(_) | CallError::Url => Failure::Final(error.to_string()),
            CallError::Timeout(_) | CallError::TooLarge(_) | CallError::Http(_) => {
                Failure::Passing(error.to_string(), None)
            }
        })?;
    match status {
        StatusCode::OK => serde_json::from_slice(&body)
            .map_err(|error| Failure::Passing(format!("the answer is not JSON: {error}"), None)),
        StatusCode::NO_CONTENT => Ok(Value::Null),
        _ => Err(refused(status, &headers, fetch)),
    }
}

fn refused(status: StatusCode, headers: &HeaderMap, fetch: &Fetch) -> Failure {
    let Fetch { store, order_id } = fetch;
    let answered = format!("BigCommerce answered {}", status.as_u16());
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Final(format!(
            "{answered}: it refuses api_token for store {store}; set one of an API account of this store with the \
             scope Orders: read-only (PATCH /api/v1/sources/{{id}}), and its orders are fetched"
        )),
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            Failure::Final(format!("{answered}: store {store} has no order {order_id} (any more)"))
        }
        StatusCode::TOO_MANY_REQUESTS => {
            let reset = headers.get(QUOTA_RESET).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            let wait = retry_after(headers).max(reset.map(Duration::from_millis));
            Failure::Passing(format!("{answered}: its quota of requests is used up"), wait)
        }
        _ if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
            Failure::Passing(answered, retry_after(headers))
        }
        _ if status.is_redirection() => Failure::Final(format!("{answered}; redirects are not followed")),
        _ => Failure::Final(answered),
    }
}
