//! Logs and the registry of metrics.

use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::{StatusCode, header};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

use crate::config::Config;

/// Logs go to standard error, so that reports and tables on standard output stay clean.
pub fn init(config: &Config) -> anyhow::Result<()> {
    // PostgreSQL tells at every start that a table is there already.
    let filter = EnvFilter::try_new(&config.log_level)?.add_directive("sqlx::postgres::notice=warn".parse()?);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match config.log_json {
        true => builder.json().try_init(),
        false => builder.try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))
}

/// `/metrics` in the OpenMetrics text format. `observe` brings gauges up to date before they are read.
pub fn router(registry: Arc<Registry>, observe: impl Fn() + Clone + Send + Sync + 'static) -> Router {
    Router::new().route(
        "/metrics",
        get(move || async move {
            observe();
            let mut text = String::new();
            match encode(&mut text, &registry) {
                Ok(()) => (
                    [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
                    text,
                )
                    .into_response(),
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }),
    )
}
