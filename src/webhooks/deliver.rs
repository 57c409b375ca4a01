//! Sends what lies in the outbox, and again later what was not taken.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use rand::RngExt as _;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::Instant;
use url::Url;

use super::attempts::Attempts;
use super::client::GuardedClient;
use super::{WebhooksConfig, signatures};
use crate::domain::time::now_ms;
use crate::ledger::webhooks::{self, Attempt, Claimed, Then, WebhookRow};
use crate::ledger::{Ledger, LedgerError};

/// How often the outbox is looked into.
const EVERY: Duration = Duration::from_millis(500);
/// Attempts at once, over all webhooks.
const SENDING_MAX: usize = 64;
/// Longest wait between two attempts.
const RETRY_MAX: Duration = Duration::from_secs(6 * 3600);
/// Each wait is so many times the last one.
const BACK_OFF: f64 = 3.0;
/// Each wait is shortened or lengthened by up to this share, so that failures do not come back all at once.
const JITTER: f64 = 0.2;
/// Longest `Retry-After` that is heeded.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
const TIDY_EVERY: Duration = Duration::from_secs(600);
const DELIVERED_KEPT_MS: i64 = 7 * 24 * 3_600_000;
const DEAD_KEPT_MS: i64 = 30 * 24 * 3_600_000;
/// Messages that may wait for one webhook; beyond, it is disabled.
const WAITING_MAX: i64 = 50_000;

#[derive(Debug, Clone, Default)]
pub struct DeliverMetrics {
    attempts: Family<[(&'static str, &'static str); 1], Counter>,
}

impl DeliverMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "utmost_webhook_attempts",
            "Attempts to send a webhook, by result",
            self.attempts.clone(),
        );
    }
}

pub struct Deliverer {
    ledger: Ledger,
    config: WebhooksConfig,
    client: GuardedClient,
    metrics: DeliverMetrics,
}

impl Deliverer {
    pub fn new(ledger: Ledger, config: WebhooksConfig, metrics: DeliverMetrics) -> Self {
        let client = GuardedClient::new(&config.allow_networks, config.timeout);
        Self { ledger, config, client, metrics }
    }

    /// Runs until `stop` becomes true; then what is under way is awaited, which the timeout bounds.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut sending = Attempts::new(self.config.parallel, SENDING_MAX);
        let mut is_failing = false;
        let mut tidied: Option<Instant> = None;
        while !*stop.borrow() {
            let result = self.round(&mut sending, &mut tidied).await;
            if let Err(error) = &result
                && !is_failing
            {
                // Once per outage; the messages wait in the ledger.
                tracing::warn!(%error, "webhooks are not sent");
            }
            is_failing = result.is_err();
            tokio::select! {
                Some(sent) = sending.next() => self.settle(sent).await,
                _ = stop.changed() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
        while let Some(sent) = sending.next().await {
            self.settle(sent).await;
        }
    }

    /// Begins as many attempts as may be made.
    async fn round(
        &self,
        sending: &mut Attempts<Attempt>,
        tidied: &mut Option<Instant>,
    ) -> Result<(), LedgerError> {
        let now_ms = now_ms();
        if tidied.is_none_or(|at| at.elapsed() >= TIDY_EVERY) {
            let (delivered, dead) = (now_ms - DELIVERED_KEPT_MS, now_ms - DEAD_KEPT_MS);
            webhooks::tidy(&self.ledger, delivered, dead, WAITING_MAX, now_ms).await?;
            *tidied = Some(Instant::now());
        }
        for webhook in webhooks::due(&self.ledger, now_ms).await? {
            let free = sending.free(&webhook.id);
            if free == 0 {
                continue;
            }
            // Twice the timeout, since its outcome has to be written as well.
            let lease_ms = now_ms + 2 * millis(self.config.timeout) + 1000;
            for message in webhooks::claim(&self.ledger, &webhook.id, now_ms, lease_ms, free as i64).await? {
                let (client, config) = (self.client.clone(), self.config.clone());
                sending.begin(&webhook.id, attempt(client, config, webhook.clone(), message));
            }
        }
        Ok(())
    }

    async fn settle(&self, sent: Result<Attempt, JoinError>) {
        let attempt = match sent {
            Ok(attempt) => attempt,
            Err(error) => {
                tracing::error!(%error, "an attempt to send a webhook died");
                return;
            }
        };
        let result = match &attempt.then {
            Then::Delivered => "delivered",
            Then::RetryAt(_) => "failed",
            Then::Dead | Then::Disable(_) => "dead",
        };
        self.metrics.attempts.get_or_create(&[("result", result)]).inc();
        if let Then::Disable(reason) = &attempt.then {
            tracing::warn!(webhook = attempt.webhook, reason, "a webhook was disabled");
        }
        if let Err(error) = webhooks::settle(&self.ledger, &attempt, now_ms()).await {
            // Its lease runs out, and it is sent once more: at least once.
            tracing::warn!(%error, "what became of a webhook's message was not written");
        }
    }
}

/// One attempt, and what is to follow it.
async fn attempt(
    client: GuardedClient,
    config: WebhooksConfig,
    webhook: WebhookRow,
    message: Claimed,
) -> Attempt {
    let (status, problem, retry_after) = match send(&client, &webhook, &message).await {
        Ok((status, _)) if status.is_success() => (Some(status), None, None),
        Ok((status, retry_after)) if status.is_redirection() => (
            Some(status),
            Some(format!("answered {}; redirects are not followed", status.as_u16())),
            retry_after,
        ),
        Ok((status, retry_after)) => {
            (Some(status), Some(format!("answered {}", status.as_u16())), retry_after)
        }
        Err(problem) => (None, Some(problem), None),
    };
    let then = match &problem {
        None => Then::Delivered,
        Some(problem) => after_failure(&config, &webhook, &message, status, problem, retry_after, now_ms()),
    };
    Attempt {
        webhook: webhook.id,
        message: message.id,
        status: status.map(|status| i64::from(status.as_u16())),
        problem,
        then,
    }
}

async fn send(
    client: &GuardedClient,
    webhook: &WebhookRow,
    message: &Claimed,
) -> Result<(StatusCode, Option<Duration>), String> {
    let now_ms = now_ms();
    let at_s = now_ms.div_euclid(1000);
    let secrets = webhook.secrets.iter().filter(|secret| secret.until_ms.is_none_or(|until| now_ms < until));
    let signature = signatures(secrets.map(|it| it.secret.as_str()), &message.id, at_s, &message.body);
    let url: Url = webhook.url.parse().map_err(|_| "not a URL".to_owned())?;
    let mut headers = HeaderMap::new();
    let mut header = |name: &'static str, value: &str| {
        let value = HeaderValue::from_str(value).map_err(|_| format!("{name} cannot be sent"))?;
        headers.insert(name, value);
        Ok::<(), String>(())
    };
    header("webhook-id", &message.id)?;
    header("webhook-timestamp", &at_s.to_string())?;
    header("webhook-signature", &signature)?;
    header(header::CONTENT_TYPE.as_str(), "application/json")?;
    header(header::USER_AGENT.as_str(), concat!("utmost/", env!("CARGO_PKG_VERSION")))?;
    let body = Bytes::from(message.body.clone());
    client.post(&url, headers, body).await.map_err(|error| error.to_string())
}

fn after_failure(
    config: &WebhooksConfig,
    webhook: &WebhookRow,
    message: &Claimed,
    status: Option<StatusCode>,
    problem: &str,
    retry_after: Option<Duration>,
    now_ms: i64,
) -> Then {
    if status == Some(StatusCode::GONE) {
        return Then::Disable("it answered 410: nobody wants these any more".to_owned());
    }
    let give_up_ms = millis(config.give_up);
    if let Some(since_ms) = webhook.failing_ms.filter(|since| now_ms - since >= give_up_ms) {
        let since = crate::domain::time::rfc3339(since_ms);
        return Then::Disable(format!("nothing was taken since {since}; the last attempt: {problem}"));
    }
    if now_ms - message.created_ms >= give_up_ms {
        return Then::Dead;
    }
    Then::RetryAt(now_ms + next_wait_ms(config, message.attempts, retry_after))
}

/// How long to wait after an attempt that failed. `attempts`: how many there were before it.
pub fn next_wait_ms(config: &WebhooksConfig, attempts: i64, retry_after: Option<Duration>) -> i64 {
    let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
    let jitter = rand::rng().random_range(1.0 - JITTER..1.0 + JITTER);
    millis(asked).max((wait_ms(config.first_retry, attempts) * jitter) as i64)
}

/// Without jitter. `attempts`: how many there were before this one.
fn wait_ms(first: Duration, attempts: i64) -> f64 {
    let attempts = i32::try_from(attempts).unwrap_or(i32::MAX);
    (millis(first) as f64 * BACK_OFF.powi(attempts)).min(millis(RETRY_MAX) as f64)
}

pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: WebhooksConfig = WebhooksConfig {
        allow_networks: Vec::new(),
        timeout: Duration::from_secs(10),
        parallel: 4,
        first_retry: Duration::from_secs(5),
        give_up: Duration::from_secs(72 * 3600),
    };
    const HOUR_MS: i64 = 3_600_000;

    fn webhook(failing_ms: Option<i64>) -> WebhookRow {
        WebhookRow {
            id: "wh".into(),
            workspace: "w".into(),
            url: "https://a.example/".into(),
            events: Vec::new(),
            description: None,
            secrets: Vec::new(),
            failing_ms,
            disabled_ms: None,
            disabled_reason: None,
            created_ms: 0,
        }
    }

    #[test]
    fn waits_grow_to_a_bound() {
        let waits: Vec<f64> = (0..12).map(|n| wait_ms(CONFIG.first_retry, n) / 1000.0).collect();
        assert_eq!(waits[..5], [5.0, 15.0, 45.0, 135.0, 405.0]);
        assert_eq!(waits[8..], [21_600.0; 4]);
        assert!(wait_ms(CONFIG.first_retry, i64::MAX) <= 21_600_000.0);
    }

    #[test]
    fn failures_are_retried_then_dead_then_disable() {
        let message =
            |attempts, created_ms| Claimed { id: "m".into(), body: "{}".into(), attempts, created_ms };
        let after = |failing_ms, created_ms, status: u16, retry_after, now_ms| {
            let status = StatusCode::from_u16(status).ok();
            after_failure(
                &CONFIG,
                &webhook(failing_ms),
                &message(0, created_ms),
                status,
                "p",
                retry_after,
                now_ms,
            )
        };
        let now = 100 * HOUR_MS;
        let Then::RetryAt(at) = after(None, now, 500, None, now) else { panic!("not retried") };
        assert!((4_000..=6_000).contains(&(at - now)), "{}", at - now);
        let asked = Some(Duration::from_secs(120));
        assert_eq!(after(None, now, 503, asked, now), Then::RetryAt(now + 120_000));
        let asked = Some(Duration::from_secs(1 << 40));
        assert_eq!(after(None, now, 429, asked, now), Then::RetryAt(now + HOUR_MS));
        assert_eq!(after(Some(now - HOUR_MS), now - 72 * HOUR_MS, 500, None, now), Then::Dead);
        assert!(matches!(after(Some(now - 72 * HOUR_MS), now, 500, None, now), Then::Disable(_)));
        assert!(matches!(after(None, now, 410, None, now), Then::Disable(_)));
    }
}
