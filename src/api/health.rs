//! How the program feels: `/healthz` says that it runs, `/readyz` that its stores answer.

use std::time::Duration;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::Problems;
use crate::ledger::Ledger;
use crate::log::{Health, Log};

const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// For every process, whatever its roles.
pub fn health(ledger: Ledger, log: Log) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Stores { ledger, log })
}

#[derive(Clone)]
pub struct Stores {
    ledger: Ledger,
    log: Log,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    ready: bool,
    /// up, spooling (the hot store is away, the spool takes records) or losing.
    log: &'static str,
    /// up or down.
    ledger: &'static str,
}

/// Whether the program runs.
#[utoipa::path(get, path = "/healthz", tag = "health",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"), Problems))]
pub async fn healthz() -> &'static str {
    "ok"
}

/// Whether the program can work, and which of its stores cannot.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = 200, body = Ready), (status = 503, body = Ready), Problems))]
pub async fn readyz(State(stores): State<Stores>) -> (StatusCode, JsonAnswer<Ready>) {
    let asked = tokio::time::timeout(ANSWER_WITHIN, stores.ledger.ping()).await;
    let ledger_is_up = matches!(asked, Ok(Ok(())));
    let health = stores.log.health();
    let ready = ledger_is_up && health != Health::Losing;
    let log = match health {
        Health::Up => "up",
        Health::Spooling => "spooling",
        Health::Losing => "losing",
    };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, JsonAnswer(Ready { ready, log, ledger: if ledger_is_up { "up" } else { "down" } }))
}
