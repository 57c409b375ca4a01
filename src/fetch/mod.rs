//! Fetches what a shop's notice only names.
//!
//! ```text
//! worker --notice, "pending"--> ledger (fetches) --Fetcher--> the shop's API
//!                                                    '--the order, as a delivery of its own--> event log --> worker
//! ```
//!
//! The order takes the way of every delivery: kept raw, then interpreted, and the same twice counts once. So a
//! fetch that is repeated does no harm, and one that fails for good leaves its notice as a dead letter, which a
//! replay tries again.

mod bigcommerce;

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinError;
use uuid::Uuid;

use crate::domain::time::{now_ms, rfc3339};
use crate::intake::{self, Platform};
use crate::ledger::deliveries::{self, RawRow};
use crate::ledger::fetches::{self, Claimed, Then};
use crate::ledger::sources::{self, ApiAccess};
use crate::ledger::{Ledger, LedgerError};
use crate::log::Log;
use crate::log::record::Delivery;
use crate::webhooks::WebhooksConfig;
use crate::webhooks::attempts::Attempts;
use crate::webhooks::client::GuardedClient;
use crate::webhooks::deliver::{millis, next_wait_ms};

/// How often the ledger is asked what is due.
const EVERY: Duration = Duration::from_millis(500);
/// Fetches at once, over all sources.
const FETCHING_MAX: usize = 32;
/// Requests that one fetch makes at most.
const REQUESTS_MAX: u32 = 3;

#[derive(Debug, Clone, Default)]
pub struct FetchMetrics {
    attempts: Family<[(&'static str, &'static str); 1], Counter>,
}

impl FetchMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "utmost_fetch_attempts",
            "Attempts to fetch an order from its shop, by result",
            self.attempts.clone(),
        );
    }
}

/// Why there is no order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failure {
    /// Another attempt would end the same.
    Final(String),
    /// Not now; how long it asks to be left alone.
    Passing(String, Option<Duration>),
}

pub struct Fetcher {
    ledger: Ledger,
    log: Log,
    /// What holds for calls of webhooks holds for these as well.
    config: WebhooksConfig,
    client: GuardedClient,
    metrics: FetchMetrics,
}

impl Fetcher {
    pub fn new(ledger: Ledger, log: Log, config: WebhooksConfig, metrics: FetchMetrics) -> Self {
        let client = GuardedClient::new(&config.allow_networks, config.timeout);
        Self { ledger, log, config, client, metrics }
    }

    /// Runs until `stop` becomes true; then what is under way is awaited, which the timeout bounds.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut fetching = Attempts::new(self.config.parallel, FETCHING_MAX);
        let mut is_failing = false;
        while !*stop.borrow() {
            let result = self.round(&mut fetching).await;
            if let Err(error) = &result
                && !is_failing
            {
                // Once per outage; what is wanted waits in the ledger.
                tracing::warn!(%error, "orders are not fetched");
            }
            is_failing = result.is_err();
            tokio::select! {
                Some(done) = fetching.next() => self.settle(done).await,
                _ = stop.changed() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
        while let Some(done) = fetching.next().await {
            self.settle(done).await;
        }
    }

    /// Begins as many attempts as may be made.
    async fn round(&self, fetching: &mut Attempts<(Claimed, Then)>) -> Result<(), LedgerError> {
        let now_ms = now_ms();
        for source in fetches::due(&self.ledger, now_ms).await? {
            let free = fetching.free(&source);
            if free == 0 {
                continue;
            }
            // All its requests, and its outcome has to be written as well.
            let lease_ms = now_ms + i64::from(REQUESTS_MAX + 1) * millis(self.config.timeout) + 1000;
            for claimed in fetches::claim(&self.ledger, &source, now_ms, lease_ms, free as i64).await? {
                let attempt = Attempt {
                    ledger: self.ledger.clone(),
                    log: self.log.clone(),
                    client: self.client.clone(),
                    config: self.config.clone(),
                };
                fetching.begin(&source, async move {
                    let then = attempt.run(&claimed).await;
                    (claimed, then)
                });
            }
        }
        Ok(())
    }

    async fn settle(&self, done: Result<(Claimed, Then), JoinError>) {
        let (claimed, then) = match done {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "an attempt to fetch an order died");
                return;
            }
        };
        let result = match &then {
            Then::Fetched(_) => "fetched",
            Then::RetryAt(..) => "failed",
            Then::Dead(problem) => {
                tracing::warn!(
                    delivery = claimed.delivery,
                    source = claimed.source,
                    problem,
                    "order not fetched"
                );
                "dead"
            }
        };
        self.metrics.attempts.get_or_create(&[("result", result)]).inc();
        if let Err(error) = fetches::settle(&self.ledger, &claimed, &then).await {
            // Its lease runs out, and it is fetched once more.
            tracing::warn!(%error, "what became of a fetch was not written");
        }
    }
}

/// One attempt, with all it needs.
struct Attempt {
    ledger: Ledger,
    log: Log,
    client: GuardedClient,
    config: WebhooksConfig,
}

impl Attempt {
    async fn run(&self, claimed: &Claimed) -> Then {
        match self.fetch(claimed).await {
            Ok(delivery) => Then::Fetched(delivery),
            Err(Failure::Final(problem)) => Then::Dead(problem),
            Err(Failure::Passing(problem, retry_after)) => {
                let now_ms = now_ms();
                if now_ms - claimed.since_ms >= millis(self.config.give_up) {
                    let since = rfc3339(claimed.since_ms);
                    return Then::Dead(format!("given up, tried since {since}; the last attempt: {problem}"));
                }
                let wait_ms = next_wait_ms(&self.config, claimed.attempts, retry_after);
                Then::RetryAt(now_ms + wait_ms, problem)
            }
        }
    }

    /// Fetches the order and lays it into the log; returns the delivery that it has become.
    async fn fetch(&self, claimed: &Claimed) -> Result<String, Failure> {
        let away = |error: LedgerError| Failure::Passing(error.to_string(), None);
        let gone = || Failure::Final("the source of this delivery was deleted".to_owned());
        let source = sources::any(&self.ledger, &claimed.source).await.map_err(away)?.ok_or_else(gone)?;
        let access = sources::api_access(&self.ledger, &source.id).await.map_err(away)?;
        let notice =
            deliveries::raw(&self.ledger, &source.workspace, &claimed.delivery).await.map_err(away)?;
        let body = order(&self.client, &access, notice.as_ref()).await?;
        let delivery = Delivery {
            id: Uuid::now_v7().to_string(),
            workspace: source.workspace,
            source: source.id,
            platform: source.platform,
            received_ms: now_ms(),
            is_verified: true,
            headers: vec![(intake::FETCHED.to_owned(), claimed.delivery.clone())],
            body: body.to_string().into_bytes(),
            is_replayed: false,
        };
        self.log
            .append_delivery(&delivery)
            .await
            .map_err(|error| Failure::Passing(error.to_string(), None))?;
        Ok(delivery.id)
    }
}

async fn order(
    client: &GuardedClient,
    access: &ApiAccess,
    notice: Option<&RawRow>,
) -> Result<Value, Failure> {
    let erased =
        || Failure::Final("the raw body of this delivery was erased before its order was fetched".to_owned());
    let notice = notice.ok_or_else(erased)?;
    let body = notice.body.as_deref().filter(|body| !body.is_empty()).ok_or_else(erased)?;
    let said = intake::interpret(Platform::Bigcommerce, &notice.headers, body, notice.received_ms);
    let said = said.map_err(|error| Failure::Final(error.to_string()))?;
    let fetch = said.fetch.ok_or_else(|| Failure::Final("the delivery names no order".to_owned()))?;
    let token = access.token.as_deref();
    let token = token.ok_or_else(|| Failure::Final("the source has no api_token any more".to_owned()))?;
    bigcommerce::order(client, access.url.as_deref(), token, &fetch).await
}
