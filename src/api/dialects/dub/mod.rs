//! Dub (https://dub.co/docs/api-reference): what Postiz and the `dub` packages speak. At the root, where
//! clients look that get another base URL, and under `/dub`.

mod analytics;
mod links;
mod qr;
mod show;
mod track;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, patch, post, put};
use serde_json::{Value, json};

use super::{Door, whole_detail};
use crate::api::Api;
use crate::api::auth::{Caller, bearer};
use crate::api::error::{Answer, Kind, Problem};

const DOOR: Door = Door { key: bearer, say, content_type: "application/json" };
/// By this name goes Dub's own service: the default of clients that were not told a domain.
const HOSTED: &[&str] = &["dub.sh", "www.dub.sh", "d.to"];

pub fn routes(api: &Arc<Api>) -> Router<Arc<Api>> {
    let routes = Router::new()
        .route("/links", post(links::create).get(links::list))
        .route("/links/info", get(links::info))
        .route("/links/count", get(links::count))
        .route("/links/upsert", put(links::upsert))
        .route("/links/bulk", post(links::create_many).patch(links::change_many).delete(links::delete_many))
        .route("/links/{id}", patch(links::change).put(links::change).delete(links::delete).get(links::read));
    let routes = routes
        .route("/analytics", get(analytics::read))
        .route("/track/lead", post(track::lead))
        .route("/track/sale", post(track::sale));
    let open = DOOR.open(Router::new().route("/qr", get(qr::picture)));
    let routes = DOOR.guard(api, routes);
    Router::new().merge(routes.clone()).nest("/dub", routes.merge(open))
}

/// The address of a short URL's QR code.
fn qr_url(api: &Api, short_url: &str) -> String {
    let query: String = url::form_urlencoded::byte_serialize(short_url.as_bytes()).collect();
    format!("{}dub/qr?url={query}", api.issuer.public_url())
}

fn say(problem: &Problem) -> (StatusCode, Value) {
    let code = code(problem.kind());
    (problem.kind().status(), json!({"error": {"code": code, "message": whole_detail(problem)}}))
}

fn code(kind: Kind) -> &'static str {
    match kind {
        Kind::Malformed
        | Kind::MethodNotAllowed
        | Kind::Timeout
        | Kind::TooLarge
        | Kind::UnsupportedMediaType => "bad_request",
        Kind::Unauthorized | Kind::BadSignature => "unauthorized",
        Kind::Forbidden => "forbidden",
        Kind::NotFound => "not_found",
        Kind::Conflict | Kind::SlugTaken => "conflict",
        Kind::Invalid | Kind::IdempotencyKeyReused => "unprocessable_entity",
        Kind::TooManyRequests => "rate_limit_exceeded",
        Kind::Internal | Kind::Unavailable => "internal_server_error",
    }
}

/// The caller, acting for the workspace that its tenant is: as `dialects.dub_tenants` says, for platform keys.
/// Other tenants are labels of links.
async fn acting(api: &Api, caller: &Caller, tenant: Option<&str>) -> Answer<(Caller, Option<String>)> {
    let workspace = tenant.and_then(|tenant| api.config.dialects.dub_tenants.get(tenant));
    let acting = match workspace {
        Some(workspace) => api.keys.acting_for(caller, workspace).await?,
        None => None,
    };
    Ok(match acting {
        Some(acting) => (acting, None),
        None => (caller.clone(), tenant.map(str::to_owned)),
    })
}
