//! `POST /hooks/{source}`: verify over the raw bytes, keep, then answer. What it means is read later.

use std::io::Read as _;
use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use flate2::read::GzDecoder;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::doors::{Door, DoorsError};
use super::error::{Answer, Kind, Problem, Problems};
use super::extract::{BODY_MAX_BYTES, Segment, read_body};
use crate::domain::time::now_ms;
use crate::intake::{self, Verdict};
use crate::log::AppendError;
use crate::log::record::Delivery;

pub fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/hooks/{source}", post(receive))
        .route("/hooks/{source}/v1/batch", post(receive_batch))
}

/// What a door did with a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    Kept {
        delivery: String,
        is_verified: bool,
    },
    /// A platform tried whether somebody is there.
    Ping,
}

/// A shop's webhook.
///
/// 200 with an empty body means that it is durable. Platforms send it again after any other answer.
#[utoipa::path(post, path = "/hooks/{source}", tag = "sources", params(("source" = String, Path)),
    request_body(content = String, content_type = "application/json"),
    responses((status = 200, description = "Kept"), Problems))]
pub async fn receive(
    State(api): State<Arc<Api>>,
    Segment(source): Segment,
    request: Request,
) -> Answer<StatusCode> {
    let (parts, body) = request.into_parts();
    let body = read_body(body, BODY_MAX_BYTES).await?;
    take(&api, &source, &parts.headers, &body).await?;
    Ok(StatusCode::OK)
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Batched {
    success: bool,
}

/// Calls of Segment's or RudderStack's own library.
///
/// It is told of the source's `webhook_url` as its host, and of the source's secret as its write key, which it sends
/// as the user of Basic authentication. The body may be gzipped.
#[utoipa::path(post, path = "/hooks/{source}/v1/batch", tag = "sources", params(("source" = String, Path)),
    request_body(content = String, content_type = "application/json"),
    responses((status = 200, description = "Kept", body = Batched), Problems))]
pub async fn receive_batch(
    State(api): State<Arc<Api>>,
    Segment(source): Segment,
    request: Request,
) -> Answer<JsonAnswer<Batched>> {
    let (parts, body) = request.into_parts();
    let body = read_body(body, BODY_MAX_BYTES).await?;
    let door = find(&api, &source).await?;
    let verdict = intake::verify_write_key(door.platform, &parts.headers, &door.secrets);
    let is_zipped = parts.headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding == "gzip");
    let kept = match verdict {
        Verdict::Verified if is_zipped => keep(&api, &door, verdict, &parts.headers, &unzip(&body)?).await?,
        verdict => keep(&api, &door, verdict, &parts.headers, &body).await?,
    };
    Ok(JsonAnswer(Batched { success: matches!(kept, Received::Kept { .. }) }))
}

fn unzip(body: &[u8]) -> Answer<Vec<u8>> {
    let mut unzipped = Vec::new();
    let read = GzDecoder::new(body).take(BODY_MAX_BYTES as u64 + 1).read_to_end(&mut unzipped);
    match read {
        Ok(length) if length <= BODY_MAX_BYTES => Ok(unzipped),
        Ok(_) => Err(Problem::new(Kind::TooLarge, format!("send at most {BODY_MAX_BYTES} bytes, unzipped"))),
        Err(_) => Err(Problem::new(Kind::Malformed, "the body is not what its Content-Encoding says: gzip")),
    }
}

async fn find(api: &Api, source: &str) -> Answer<Arc<Door>> {
    api.doors.find(source).await?.ok_or_else(|| {
        Problem::new(
            Kind::NotFound,
            "there is no source with this id; see its webhook_url for the right path",
        )
    })
}

/// Judges a delivery and makes it durable.
pub(super) async fn take(api: &Api, source: &str, headers: &HeaderMap, body: &[u8]) -> Answer<Received> {
    let door = find(api, source).await?;
    let verdict = intake::verify(door.platform, headers, body, &door.secrets, now_ms());
    keep(api, &door, verdict, headers, body).await
}

async fn keep(
    api: &Api,
    door: &Door,
    verdict: Verdict,
    headers: &HeaderMap,
    body: &[u8],
) -> Answer<Received> {
    let received_ms = now_ms();
    let is_verified = match verdict {
        Verdict::Verified => true,
        Verdict::Unverified if door.may_keep_unverified() => false,
        Verdict::Unverified => {
            let detail = "too many deliveries wait for the source's secret; add it with \
                          POST /api/v1/sources/{id}/secrets";
            return Err(Problem::new(Kind::TooManyRequests, detail).retry_after(3600));
        }
        Verdict::Ping => return Ok(Received::Ping),
        Verdict::Refused(error) => {
            tracing::info!(source = door.source, %error, "a delivery was refused");
            door.refused(received_ms, error.to_string());
            return Err(Problem::new(Kind::BadSignature, error.to_string()));
        }
    };
    let delivery = Delivery {
        id: uuid::Uuid::now_v7().to_string(),
        workspace: door.workspace.clone(),
        source: door.source.clone(),
        platform: door.platform.as_str().to_owned(),
        received_ms,
        is_verified,
        headers: intake::kept_headers(door.platform, headers),
        body: body.to_vec(),
        is_replayed: false,
    };
    api.log.append_delivery(&delivery).await?;
    Ok(Received::Kept { delivery: delivery.id, is_verified })
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        Self::unavailable("it could not be made durable; send it again", 5).because(error)
    }
}

impl From<DoorsError> for Problem {
    fn from(error: DoorsError) -> Self {
        match error {
            DoorsError::Ledger(error) => error.into(),
            DoorsError::Redis(_) => {
                Self::unavailable("neither ledger nor hot store answer", 5).because(error)
            }
        }
    }
}
