//! The HTTP API: native routes under `/api/v1`, webhooks under `/hooks`, and how the program feels.

mod auth;
mod costs;
mod coupons;
mod dialects;
mod error;
mod extract;
mod fields;
mod idempotency;
mod keys;
mod links;
mod page;
mod posts;
mod rates;
mod reports;
mod workspaces;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use url::Url;

pub use auth::{Caller, DEFAULT_WORKSPACE, Keys, Scope, authenticate, generate_key};
pub use error::{Answer, Kind, Problem, ProblemBody, Problems};
pub use extract::{Json, Query, Segment};
pub use idempotency::idempotent;

use crate::config::Config;
use crate::domain::time::now_ms;
use crate::ledger::workspaces::{DomainRow, WorkspaceRow};
use crate::ledger::{Ledger, LedgerError};
use crate::links::copies::Copies;
use crate::links::issue::Issuer;

/// What the handlers work with.
#[derive(Debug)]
pub struct Api {
    pub config: Arc<Config>,
    pub ledger: Ledger,
    pub keys: Keys,
    pub issuer: Issuer,
}

impl Api {
    /// `public_url`: the base of short links; `admin_key`: the platform's administration key.
    /// Makes the default workspace at first start.
    pub async fn start(
        config: Arc<Config>,
        ledger: Ledger,
        copies: Copies,
        public_url: Url,
        admin_key: &str,
    ) -> Result<Arc<Self>, LedgerError> {
        let issuer = Issuer::new(ledger.clone(), copies, public_url);
        let now_ms = now_ms();
        let mut tx = ledger.begin().await?;
        let workspace = WorkspaceRow {
            id: DEFAULT_WORKSPACE.to_owned(),
            name: "Default".to_owned(),
            timezone: config.workspace_timezone.clone(),
            currency: config.workspace_currency.clone(),
            settings: "{}".to_owned(),
            created_ms: now_ms,
        };
        crate::ledger::workspaces::insert(&mut tx, &workspace).await?;
        let domain =
            DomainRow { domain: issuer.public_domain().to_owned(), workspace: None, created_ms: now_ms };
        crate::ledger::workspaces::insert_domain(&mut tx, &domain).await?;
        tx.commit().await?;
        Ok(Arc::new(Self { keys: Keys::new(ledger.clone(), admin_key), config, ledger, issuer }))
    }
}

/// All routes of the API. Whatever it does not know is answered as a problem.
pub fn router(api: Arc<Api>) -> Router {
    let v1 = Router::new()
        .merge(costs::routes())
        .merge(coupons::routes())
        .merge(keys::routes())
        .merge(links::routes())
        .merge(posts::routes())
        .merge(rates::routes())
        .merge(reports::routes())
        .merge(workspaces::routes())
        .route_layer(from_fn_with_state(Arc::clone(&api), idempotent))
        .route_layer(from_fn_with_state(Arc::clone(&api), authenticate));
    Router::new()
        .nest("/api/v1", v1)
        .merge(dialects::router(&api))
        .fallback(|| async { Problem::new(Kind::NotFound, "there is nothing at this path; see /api/docs") })
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(api)
}

async fn method_not_allowed() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "the header Allow says which methods fit")
}
