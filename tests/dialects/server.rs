//! A router over a temporary ledger, asked as the clients of other shorteners ask.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sqlx::Row as _;
use tempfile::TempDir;
use tower::ServiceExt as _;
use utmost::api::{Api, Parts};
use utmost::config::Config;
use utmost::domain::ids::LinkId;
use utmost::ledger::conversions::{ChangeRow, CreditRow, Due, Evaluation, TouchRow, put_evaluation};
use utmost::ledger::{Ledger, Synchronous};
use utmost::links::cache::{LinkCache, LinkCacheMetrics, LinkSource};
use utmost::links::copies::Copies;
use utmost::log::{Log, LogConfig, LogMetrics};

pub const ADMIN_KEY: &str = "an-admin-key-for-tests";

pub struct Server {
    router: axum::Router,
    ledger: Ledger,
    /// Removed with the server.
    _dir: TempDir,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Server {
    /// `toml`: what differs from the default configuration.
    pub async fn start(toml: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open_sqlite(&dir.path().join("ledger.db"), Synchronous::Normal).await.unwrap();
        let config = Config::from_layers(Some(("utmost.toml", toml)), std::iter::empty()).unwrap();
        let public_url = "https://go.test".parse().unwrap();
        let links = LinkCache::new(LinkSource::Ledger(ledger.clone()), 1 << 20, LinkCacheMetrics::default());
        let copies = Copies::Embedded(links);
        let log = LogConfig { data_dir: dir.path().to_owned(), ..LogConfig::default() };
        let api = Api::start(Parts {
            config: Arc::new(config),
            ledger: ledger.clone(),
            log: Log::open(&log, LogMetrics::default()).await.unwrap(),
            copies,
            door_copies: None,
            public_url,
            admin_key: ADMIN_KEY.to_owned(),
            ring: Arc::new(utmost::domain::keys::KeyRing::generate(0)),
        })
        .await
        .unwrap();
        Self { router: utmost::api::router(api), ledger, _dir: dir }
    }

    /// Sends a request with these headers and a body, JSON or a form.
    pub async fn ask(&self, request: &str, headers: &[(&str, &str)], body: impl Into<Sent>) -> Answer {
        let (method, path) = request.split_once(' ').unwrap();
        let (content_type, body) = match body.into() {
            Sent::Nothing => (None, String::new()),
            Sent::Json(value) => (Some("application/json"), value.to_string()),
            Sent::Raw(body) => (None, body),
            Sent::Form(form) => (Some("application/x-www-form-urlencoded"), form),
        };
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in content_type.map(|value| ("content-type", value)).iter().chain(headers) {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).unwrap();
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// The same of the native API, with the administration key.
    pub async fn native(&self, request: &str, body: impl Into<Sent>) -> Value {
        let answer = self.ask(request, &[("authorization", &format!("Bearer {ADMIN_KEY}"))], body).await;
        assert!(answer.status < 300, "{request}: {}", answer.body);
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    /// A new key of the default workspace.
    pub async fn key(&self, scopes: &[&str]) -> String {
        self.key_and_token(scopes).await.0
    }

    /// A new key and its signature token.
    pub async fn key_and_token(&self, scopes: &[&str]) -> (String, String) {
        let made = self.native("POST /api/v1/keys", json!({"name": "scheduler", "scopes": scopes})).await;
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("key"), text("signature_token"))
    }

    /// Puts the ledger into a state that only the worker would bring about.
    pub async fn sql(&self, sql: String) {
        let mut tx = self.ledger.begin().await.unwrap();
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// As if people and bots had clicked a link today.
    pub async fn clicks(&self, slug: &str, human: i64, bots: i64) {
        let day = utmost::domain::time::now_ms() / 86_400_000;
        self.sql(format!(
            "INSERT INTO clicks_by_day SELECT workspace, {day}, id, 1, {human}, 0, {bots}, 0, 0, {human} \
             FROM links WHERE slug = '{slug}'"
        ))
        .await;
        for (part, value) in [("all", ""), ("country", "DE"), ("device", "mobile")] {
            self.sql(format!(
                "INSERT INTO clicks_in_all SELECT workspace, '{part}', '{value}', {day}, {human}, {human}, {bots}, \
                 {human} + {bots} FROM links WHERE slug = '{slug}' \
                 ON CONFLICT (workspace, part, day, value) DO UPDATE SET human = clicks_in_all.human + excluded.human, \
                 uniques = clicks_in_all.uniques + excluded.uniques, bots = clicks_in_all.bots + excluded.bots, \
                 recorded = clicks_in_all.recorded + excluded.recorded"
            ))
            .await;
        }
        for (table, key) in [("country", "DE"), ("device", "mobile"), ("referrer", "l.instagram.com")] {
            self.sql(format!(
                "INSERT INTO clicks_by_{table} SELECT workspace, {day}, id, 1, '{key}', {human}, {human}, {bots}, \
                 {human} + {bots} FROM links WHERE slug = '{slug}'"
            ))
            .await;
        }
    }

    /// As if a conversion of an event had been credited to a link today.
    pub async fn credit(&self, slug: &str, event: &str, conversion: i64, amount_minor: i64) {
        let at_ms = utmost::domain::time::now_ms();
        let day = i32::try_from(at_ms / 86_400_000).unwrap();
        let found = sqlx::query("SELECT workspace, id FROM links WHERE slug = $1").bind(slug.to_owned());
        let found = found.fetch_one(&self.ledger.read).await.unwrap();
        let (workspace, order_id) = (found.get::<String, _>(0), format!("order-{conversion}"));
        self.sql(format!(
            "INSERT INTO conversions (id, workspace, source, order_id, due, received_ms)
             VALUES ({conversion}, '{workspace}', 's', '{order_id}', 1, {at_ms})"
        ))
        .await;
        let touch = TouchRow {
            at_ms,
            via: "journey".to_owned(),
            link: Some(LinkId::from_i64(found.get(1)).unwrap()),
            revision: Some(1),
            click: None,
            visitor: None,
            channel: None,
            country: None,
            device: None,
            counted: true,
        };
        let evaluation = Evaluation {
            event: Some(event.to_owned()),
            status: Some("attributed"),
            occurred_ms: Some(at_ms),
            t_ms: Some(at_ms),
            order_day: Some(day),
            gross_minor: Some(amount_minor),
            net_minor: Some(amount_minor),
            touches: vec![touch],
            changes: vec![ChangeRow { kind: "revenue", refund_id: None, amount_minor, at_ms, day }],
            credits: vec![CreditRow {
                change_no: 0,
                touch_no: 0,
                click_day: day,
                is_last: true,
                amounts_minor: [amount_minor; 5],
                weights: [1_000_000_000; 5],
            }],
            ..Evaluation::default()
        };
        let due = Due { id: conversion, workspace, source: "s".to_owned(), order_id, due: 1 };
        let mut tx = self.ledger.begin().await.unwrap();
        put_evaluation(&self.ledger, &mut tx, &due, &evaluation, at_ms).await.unwrap();
        tx.commit().await.unwrap();
    }
}

/// The body of a request.
pub enum Sent {
    Nothing,
    Json(Value),
    Form(String),
    /// The headers say what it is.
    Raw(String),
}

impl From<()> for Sent {
    fn from((): ()) -> Self {
        Self::Nothing
    }
}

impl From<Value> for Sent {
    fn from(value: Value) -> Self {
        Self::Json(value)
    }
}

impl From<&str> for Sent {
    fn from(form: &str) -> Self {
        Self::Form(form.to_owned())
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The JSON of an answer with this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/json", "{}", self.body);
        self.json()
    }
}
