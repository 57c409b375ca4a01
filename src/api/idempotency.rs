//! `Idempotency-Key` on every POST: a repeated request is answered as the first one was, for 24 hours.
//!
//! What failed without doing anything (429, 5xx) is not kept: the same request may be sent again.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Api;
use super::auth::Caller;
use super::error::{Answer, Kind, Problem};
use super::extract::{BULK_MAX_BYTES, read_body};
use crate::domain::time::now_ms;
use crate::ledger::idempotency::{self, KeptRow};

const HEADER: &str = "idempotency-key";
/// Answers say with it that they are repeated.
const REPLAYED: &str = "idempotency-replayed";
const KEY_MAX_BYTES: usize = 255;
pub const KEPT_MS: i64 = 24 * 3600 * 1000;
/// No request runs longer; one that seems to was left behind by a process that died.
const STALE_MS: i64 = 120_000;

/// Put among a response's extensions: what to answer to a repetition, where that differs from the response.
#[derive(Debug, Clone)]
pub struct Repeat {
    pub status: StatusCode,
    pub body: String,
    /// Answer 503 until the hot copies are fed up to this change of links.
    pub after_change: Option<i64>,
}

pub async fn idempotent(State(api): State<Arc<Api>>, request: Request, next: Next) -> Answer<Response> {
    let Some(key) = request.headers().get(HEADER).filter(|_| request.method() == Method::POST) else {
        return Ok(next.run(request).await);
    };
    let key = key
        .to_str()
        .ok()
        .filter(|key| !key.is_empty() && key.len() <= KEY_MAX_BYTES)
        .ok_or_else(|| {
            Problem::invalid("Idempotency-Key", format!("use 1 to {KEY_MAX_BYTES} ASCII characters"))
        })?
        .to_owned();
    let Some(caller) = request.extensions().get::<Caller>() else {
        return Err(Problem::internal("idempotent without authenticate"));
    };
    let workspace = caller.workspace_unchecked().to_owned();

    let (parts, body) = request.into_parts();
    let body = read_body(body, BULK_MAX_BYTES).await?;
    let mut hash = Sha256::new();
    for part in [parts.method.as_str(), parts.uri.path(), parts.uri.query().unwrap_or_default()] {
        hash.update(part);
        hash.update([0]);
    }
    hash.update(&body);
    let request_hash = hex::encode(hash.finalize());

    let now = now_ms();
    let claimed =
        idempotency::claim(&api.ledger, &workspace, &key, &request_hash, now, KEPT_MS, STALE_MS).await?;
    if let Some(kept) = claimed {
        return repeat(&api, kept, &request_hash).await;
    }

    // In a task of its own, since a caller who hangs up must not leave it half done.
    let request = Request::from_parts(parts, Body::from(body));
    let work = async move {
        let response = next.run(request).await;
        finish(&api, &workspace, &key, request_hash, now, response).await
    };
    tokio::spawn(work).await.map_err(Problem::internal)?
}

async fn repeat(api: &Api, kept: KeptRow, request_hash: &str) -> Answer<Response> {
    if kept.request != request_hash {
        let detail = "this key was used for another request within 24 hours; use a new one";
        return Err(Problem::field(Kind::IdempotencyKeyReused, "Idempotency-Key", detail));
    }
    if kept.status == 0 {
        let detail = "the first request with this key is still under way";
        return Err(Problem::field(Kind::Conflict, "Idempotency-Key", detail).retry_after(1));
    }
    if let Some(change) = kept.after_change {
        api.issuer.wait_for_copies(change).await?;
    }
    let status = u16::try_from(kept.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    // A dialect may tell problems in the same form.
    let problem = serde_json::from_str::<Value>(&kept.body)
        .is_ok_and(|body| kept.status >= 400 && body["type"].is_string() && body["title"].is_string());
    let mut response = (status.unwrap_or(StatusCode::OK), kept.body).into_response();
    let content_type = if problem { "application/problem+json" } else { "application/json" };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

async fn finish(
    api: &Api,
    workspace: &str,
    key: &str,
    request: String,
    created_ms: i64,
    response: Response,
) -> Answer<Response> {
    let (parts, body) = response.into_parts();
    let body = read_body(body, usize::MAX).await?;
    let kept = match parts.extensions.get::<Repeat>() {
        Some(repeat) => Some((repeat.status, repeat.body.clone(), repeat.after_change)),
        None if parts.status.is_server_error() || parts.status == StatusCode::TOO_MANY_REQUESTS => None,
        None => Some((parts.status, String::from_utf8_lossy(&body).into_owned(), None)),
    };
    let done = match kept {
        Some((status, body, after_change)) => {
            let status = i64::from(status.as_u16());
            let kept = KeptRow { request, status, body, after_change, created_ms };
            idempotency::keep(&api.ledger, workspace, key, &kept).await
        }
        None => idempotency::release(&api.ledger, workspace, key, created_ms).await,
    };
    if let Err(error) = done {
        // The work is done and its answer stands; only a repetition within two minutes is refused.
        tracing::warn!(%error, "could not keep an answer for its Idempotency-Key");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}
