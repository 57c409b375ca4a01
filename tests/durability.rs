//! Faults, really made: what a client was told has happened is there afterwards.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use support::{Redis, Server, click, settled};
use utmost::cli::client::Client;

/// Clients that click until they are told to stop, and count the redirects they received.
struct Load {
    redirected: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(client: &Client, short_url: &str, clients: usize) -> Self {
        let redirected = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..clients)
            .map(|_| {
                let (client, short_url) = (client.clone(), short_url.to_owned());
                let (redirected, stop) = (Arc::clone(&redirected), Arc::clone(&stop));
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        match click(&client, &short_url, None).await {
                            Ok(answer) if answer.status == 302 => {
                                redirected.fetch_add(1, Ordering::Relaxed);
                            }
                            Ok(answer) => panic!("a redirect answered {}", answer.status),
                            // The server is away; its clients come again.
                            Err(_) => tokio::task::yield_now().await,
                        }
                    }
                })
            })
            .collect();
        Self { redirected, stop, clients }
    }

    async fn reaches(&self, count: u64) {
        while self.redirected.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("no client fails");
        }
        self.redirected.load(Ordering::Relaxed)
    }
}

async fn short_url(client: &Client) -> String {
    let body = json!({"url": "https://shop.example/", "slug": "load"});
    let link = client.api(Method::POST, "/api/v1/links", Some(body)).await.unwrap();
    link["short_url"].as_str().unwrap().to_owned()
}

/// All clicks recorded for the one link, once there are at least `expected`.
async fn recorded(client: &Client, expected: u64) -> u64 {
    let count = |report: &Value| report["totals"]["recorded_clicks"].as_u64().unwrap_or(0);
    let report = settled(client, "/api/v1/reports/attribution?by=link", |r| count(r) >= expected).await;
    count(&report)
}

/// kill -9 under load, several times: no click is lost whose redirect was received, none counts twice.
async fn killed_under_load(env: &[(&str, &str)]) {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), env);
    let client = server.client();
    let url = short_url(&client).await;
    let clients = 8;
    let load = Load::start(&client, &url, clients);
    for round in 1..=3 {
        load.reaches(round * 150).await;
        server.kill();
        server.restart();
    }
    load.reaches(600).await;
    let redirected = load.end().await;
    let recorded = recorded(&server.client(), redirected).await;
    // A click may be recorded whose answer the kill cut off: at most one per client and kill.
    let unanswered = recorded - redirected;
    assert!(unanswered <= 3 * clients as u64, "{redirected} redirected, {recorded} recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_embedded() {
    killed_under_load(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_redis() {
    let redis = Redis::start(&["--maxmemory-policy", "noeviction"]);
    killed_under_load(&[("UTMOST_HOT__URL", &redis.url())]).await;
}

/// SIGTERM under load: every request that was accepted is answered, and every answer is recorded.
#[tokio::test(flavor = "multi_thread")]
async fn terminated_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[]);
    let client = server.client();
    let url = short_url(&client).await;
    let load = Load::start(&client, &url, 8);
    load.reaches(200).await;
    assert!(server.terminate(), "a graceful stop ends well");
    server.restart();
    load.reaches(400).await;
    let redirected = load.end().await;
    assert_eq!(recorded(&server.client(), redirected).await, redirected);
}

/// Redis stops answering for a while, comes back, and everything is counted once.
#[tokio::test(flavor = "multi_thread")]
async fn redis_hangs_and_comes_back() {
    let redis = Redis::start(&["--maxmemory-policy", "noeviction"]);
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[("UTMOST_HOT__URL", &redis.url())]);
    let client = server.client();
    let url = short_url(&client).await;
    let load = Load::start(&client, &url, 8);
    load.reaches(200).await;
    redis.pause();
    // Redirects go on from the spool.
    load.reaches(600).await;
    redis.resume();
    load.reaches(1000).await;
    let redirected = load.end().await;
    assert_eq!(recorded(&client, redirected).await, redirected);
}

/// Redis dies and comes back with what it had made durable; the spool fills the gap.
#[tokio::test(flavor = "multi_thread")]
async fn redis_is_killed_and_restarts() {
    let mut redis =
        Redis::start(&["--maxmemory-policy", "noeviction", "--appendonly", "yes", "--appendfsync", "always"]);
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[("UTMOST_HOT__URL", &redis.url())]);
    let client = server.client();
    let url = short_url(&client).await;
    let load = Load::start(&client, &url, 8);
    load.reaches(200).await;
    redis.kill();
    load.reaches(600).await;
    redis.restart();
    load.reaches(1000).await;
    let redirected = load.end().await;
    assert_eq!(recorded(&client, redirected).await, redirected);
}
