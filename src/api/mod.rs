//! The HTTP API: native routes under `/api/v1`, webhooks under `/hooks`, and how the program feels.

mod auth;
mod backfill;
mod built_in;
mod conversion_views;
mod conversions;
mod costs;
mod coupons;
mod customers;
mod deliveries;
mod dialects;
mod doors;
mod error;
mod events;
mod examples;
mod extract;
mod fields;
mod health;
mod hooks;
mod idempotency;
mod keys;
mod link_stats;
mod links;
mod openapi;
mod page;
mod posts;
mod rates;
mod reports;
mod snapshots;
mod source_api;
mod sources;
mod webhooks;
mod workspaces;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use tokio::sync::Notify;
use url::Url;

pub use auth::{Caller, DEFAULT_WORKSPACE, Keys, Scope, authenticate, generate_key};
pub use doors::DoorCopies;
pub use error::{Answer, Kind, Problem, ProblemBody, Problems};
pub use extract::{Json, Query, Segment};
pub use health::health;
pub use idempotency::idempotent;

use conversions::RecentCurrencies;
use doors::Doors;
use idempotency::KEPT_MS;

use crate::config::Config;
use crate::domain::keys::KeyRing;
use crate::domain::time::now_ms;
use crate::ledger::workspaces::{DomainRow, WorkspaceRow};
use crate::ledger::{Ledger, LedgerError};
use crate::links::copies::Copies;
use crate::links::issue::Issuer;
use crate::log::Log;

const VERIFY_EVERY: Duration = Duration::from_secs(5);
const TIDY_EVERY: Duration = Duration::from_secs(3600);

/// What the API is built from.
pub struct Parts {
    pub config: Arc<Config>,
    pub ledger: Ledger,
    pub log: Log,
    pub copies: Copies,
    /// Where the hot store is Redis.
    pub door_copies: Option<DoorCopies>,
    /// The base of short links and webhooks as visitors see it, without a path.
    pub public_url: Url,
    /// The platform's administration key.
    pub admin_key: String,
    pub ring: Arc<KeyRing>,
}

/// What the handlers work with.
pub struct Api {
    pub config: Arc<Config>,
    pub ledger: Ledger,
    pub issuer: Issuer,
    log: Log,
    pub keys: Keys,
    ring: Arc<KeyRing>,
    doors: Doors,
    recent_currencies: RecentCurrencies,
    built_in: built_in::Made,
    /// Deliveries may have waited for it.
    secret_added: Notify,
}

impl Api {
    /// Makes the default workspace at first start.
    pub async fn start(parts: Parts) -> Result<Arc<Self>, LedgerError> {
        let Parts { config, ledger, log, copies, door_copies, public_url, admin_key, ring } = parts;
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
        Ok(Arc::new(Self {
            keys: Keys::new(ledger.clone(), &admin_key, Arc::clone(&ring)),
            ring,
            doors: Doors::new(ledger.clone(), door_copies),
            recent_currencies: RecentCurrencies::default(),
            built_in: built_in::Made::default(),
            secret_added: Notify::new(),
            config,
            ledger,
            issuer,
            log,
        }))
    }

    /// What the API does besides answering; runs until it is dropped.
    pub async fn work(&self) {
        tokio::join!(self.issuer.feed(), self.doors.renew(), self.verify(), self.tidy());
    }

    /// Judges deliveries that waited for a secret, at once and, for those still on their way, a little later.
    async fn verify(&self) {
        let mut tick = tokio::time::interval(VERIFY_EVERY);
        loop {
            tokio::select! {
                () = self.secret_added.notified() => {}
                _ = tick.tick() => {}
            }
            if let Err(problem) = self.verify_waiting().await {
                problem.log();
            }
        }
    }

    /// Judges the deliveries that came before their source had a secret.
    pub async fn verify_waiting(&self) -> Answer<()> {
        while deliveries::verify_waiting(self).await? > 0 {}
        Ok(())
    }

    /// Forgets what has had its time.
    async fn tidy(&self) {
        let mut tick = tokio::time::interval(TIDY_EVERY);
        loop {
            tick.tick().await;
            let answers = crate::ledger::idempotency::purge(&self.ledger, now_ms() - KEPT_MS).await;
            if let Err(error) = answers.and(self.issuer.forget_changes().await) {
                tracing::warn!(%error, "old answers and changes of links stay for another hour");
            }
        }
    }
}

/// All routes of the API. Whatever it does not know is answered as a problem.
pub fn router(api: Arc<Api>) -> Router {
    let v1 = Router::new()
        .merge(backfill::routes())
        .merge(conversions::routes())
        .merge(costs::routes())
        .merge(coupons::routes())
        .merge(customers::routes())
        .merge(deliveries::routes())
        .merge(keys::routes())
        .merge(link_stats::routes())
        .merge(links::routes())
        .merge(posts::routes())
        .merge(rates::routes())
        .merge(reports::routes())
        .merge(snapshots::routes())
        .merge(sources::routes())
        .merge(webhooks::routes())
        .merge(workspaces::routes())
        .route_layer(from_fn_with_state(Arc::clone(&api), idempotent))
        .route_layer(from_fn_with_state(Arc::clone(&api), authenticate))
        // From here on without the header Authorization.
        .merge(events::routes());
    Router::new()
        .nest("/api/v1", v1)
        .merge(hooks::routes())
        .merge(openapi::routes())
        .merge(dialects::router(&api))
        .fallback(|| async { Problem::new(Kind::NotFound, "there is nothing at this path; see /api/docs") })
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(api)
}

async fn method_not_allowed() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "the header Allow says which methods fit")
}
