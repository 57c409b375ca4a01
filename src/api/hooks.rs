//! `POST /hooks/{source}`: verify over the raw bytes, keep, then answer. What it means is read later.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;

use super::Api;
use super::doors::DoorsError;
use super::error::{Answer, Kind, Problem, Problems};
use super::extract::{BODY_MAX_BYTES, Segment, read_body};
use crate::domain::time::now_ms;
use crate::intake::{self, Verdict};
use crate::log::AppendError;
use crate::log::record::Delivery;

pub fn routes() -> Router<Arc<Api>> {
    Router::new().route("/hooks/{source}", post(receive))
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

/// Judges a delivery and makes it durable.
pub(super) async fn take(api: &Api, source: &str, headers: &HeaderMap, body: &[u8]) -> Answer<Received> {
    let door = api.doors.find(source).await?.ok_or_else(|| {
        Problem::new(
            Kind::NotFound,
            "there is no source with this id; see its webhook_url for the right path",
        )
    })?;
    let received_ms = now_ms();
    let is_verified = match intake::verify(door.platform, headers, body, &door.secrets, received_ms) {
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
