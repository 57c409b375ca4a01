//! A router over a temporary ledger, and short words to ask it.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use serde_json::Value;
use sqlx::Row as _;
use tempfile::TempDir;
use tokio::sync::Notify;
use tower::ServiceExt as _;
use utmost::api::{Api, Parts};
use utmost::config::Config;
use utmost::domain::ids::{ClickId, VisitorId};
use utmost::domain::keys::KeyRing;
use utmost::ledger::{Ledger, Synchronous};
use utmost::links::cache::{LinkCache, LinkCacheMetrics, LinkSource};
use utmost::links::copies::Copies;
use utmost::log::record::{Click, Delivery};
use utmost::log::{self, Log, LogConfig, LogMetrics};
use utmost::worker::geo::Countries;
use utmost::worker::journeys::{Journeys, Who};
use utmost::worker::{Worker, WorkerMetrics};

const BROWSER: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36";
pub const ADMIN_KEY: &str = "an-admin-key-for-tests";

#[derive(Clone)]
pub struct Server {
    router: axum::Router,
    api: Arc<Api>,
    ledger: Ledger,
    worker: Arc<Worker>,
    headers: Vec<(String, String)>,
    /// Removed with the last clone.
    dir: Arc<TempDir>,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Server {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open_sqlite(&dir.path().join("ledger.db"), Synchronous::Normal).await.unwrap();
        let config = Arc::new(Config::from_layers(None, std::iter::empty()).unwrap());
        let public_url = "https://go.test".parse().unwrap();
        let source = LinkSource::Ledger(ledger.clone());
        let links = LinkCache::new(source, 1 << 20, LinkCacheMetrics::default());
        let log = LogConfig { data_dir: dir.path().to_owned(), ..LogConfig::default() };
        let log = Log::open(&log, LogMetrics::default()).await.unwrap();
        let keys = Arc::new(KeyRing::generate(0));
        let parts = Parts {
            config,
            ledger: ledger.clone(),
            log: log.clone(),
            copies: Copies::Embedded(links),
            door_copies: None,
            public_url,
            admin_key: ADMIN_KEY.to_owned(),
            ring: Arc::clone(&keys),
        };
        let attribution = parts.config.attribution.clone();
        let api = Api::start(parts).await.unwrap();
        let journeys = dir.path().join("journeys.db");
        let worker = Arc::new(Worker {
            ledger: ledger.clone(),
            log,
            journeys: Journeys::open_embedded(&journeys, Synchronous::Normal).await.unwrap(),
            keys,
            attribution,
            countries: Countries::open(None).unwrap(),
            raw_days: 30,
            metrics: WorkerMetrics::default(),
            due: Arc::new(Notify::new()),
        });
        let router = utmost::api::router(Arc::clone(&api));
        let headers = vec![("authorization".into(), format!("Bearer {ADMIN_KEY}"))];
        Self { router, api, ledger, worker, headers, dir: Arc::new(dir) }
    }

    pub fn with_header(&self, name: &str, value: &str) -> Self {
        let mut server = self.clone();
        server.headers.retain(|(held, _)| held != name);
        server.headers.push((name.to_owned(), value.to_owned()));
        server
    }

    pub fn with_key(&self, key: &str) -> Self {
        self.with_header("authorization", &format!("Bearer {key}"))
    }

    /// Sends these headers besides the server's own, which they override.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        for (name, value) in &self.headers {
            if !headers.iter().any(|(given, _)| given == name) {
                request = request.header(name, value);
            }
        }
        let request = request.body(Body::from(body.as_ref().to_vec())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], &body.to_string()).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send("PUT", path, &[("content-type", "application/json")], &body.to_string()).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send("PATCH", path, &[("content-type", "application/json")], &body.to_string()).await
    }

    /// Lets the worker read and attribute all that came.
    pub async fn work(&self) {
        self.worker.drain().await.unwrap();
    }

    /// Judges deliveries that came before their source's secret.
    pub async fn verify_waiting(&self) {
        self.api.verify_waiting().await.unwrap();
    }

    /// A person clicks a link; the token that the destination gets.
    pub async fn click(&self, link: &Value, at_ms: i64) -> String {
        self.clicks_of_one(link, &[at_ms]).await.remove(0)
    }

    /// One person clicks a link several times; the tokens.
    pub async fn clicks_of_one(&self, link: &Value, times_ms: &[i64]) -> Vec<String> {
        let visitor = VisitorId::from_bytes(rand::random());
        let mut tokens = Vec::new();
        for at_ms in times_ms {
            tokens.push(self.click_of(link, visitor, *at_ms).await);
        }
        tokens
    }

    async fn click_of(&self, link: &Value, visitor: VisitorId, at_ms: i64) -> String {
        let click = Click {
            id: ClickId::generate(at_ms),
            link: link["id"].as_str().unwrap().parse().unwrap(),
            visitor: Some(visitor),
            is_new_visitor: false,
            request: log::record::Request::Get,
            address: None,
            user_agent: BROWSER.into(),
            referrer: "".into(),
            is_replayed: false,
        };
        self.worker.log.append_click(&click).await.unwrap();
        let token = self.worker.keys.token.mint(click.id, click.link, Some(visitor));
        String::from_utf8(token.to_vec()).unwrap()
    }

    /// A verified webhook of a source of the default workspace, as intake leaves it in the log; and its work.
    pub async fn webhook(&self, platform: &str, source: &str, topic: &str, body: &Value) {
        let name = if platform == "shopify" { "x-shopify-topic" } else { "x-wc-webhook-topic" };
        let delivery = Delivery {
            id: uuid::Uuid::now_v7().to_string(),
            workspace: "default".into(),
            source: source.into(),
            platform: platform.into(),
            received_ms: utmost::domain::time::now_ms(),
            is_verified: true,
            headers: vec![(name.into(), topic.into())],
            body: serde_json::to_vec(body).unwrap(),
            is_replayed: false,
        };
        self.worker.log.append_delivery(&delivery).await.unwrap();
        self.work().await;
    }

    /// Puts the ledger into a state that only the worker or time would bring about.
    pub async fn sql(&self, sql: &'static str) {
        let mut tx = self.ledger.begin().await.unwrap();
        sqlx::query(sql).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn text(&self, sql: &'static str) -> String {
        sqlx::query(sql).fetch_one(&self.ledger.read).await.unwrap().get(0)
    }

    /// How many steps the journey of a visitor of the default workspace has.
    pub async fn steps(&self, visitor: &str) -> usize {
        let who = Who { workspace: "default".into(), visitor: visitor.parse().unwrap(), anonymous: false };
        self.worker.journeys.read(&[who], 0, i64::MAX).await.unwrap()[0].len()
    }

    /// Where its files are.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query(sql).fetch_one(&self.ledger.read).await.unwrap().get(0)
    }
}

impl Answer {
    /// The JSON of an answer with this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        if self.body.is_empty() { Value::Null } else { json(&self.body) }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The fields that a problem names.
pub fn fields(problem: &Value) -> Vec<&str> {
    problem["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect()
}
