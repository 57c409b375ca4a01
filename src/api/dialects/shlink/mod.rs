//! Shlink's REST API, version 3 (https://api-spec.shlink.io): what `@shlinkio/shlink-js-sdk`, its web client
//! and other tools speak.

mod short_urls;
mod tags;
mod visits;

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use serde_json::{Value, json};

use super::{Door, whole_detail};
use crate::api::Api;
use crate::api::auth::{Caller, Scope, bearer};
use crate::api::error::{Answer, Kind, Problem};
use crate::ledger::workspaces;

const DOOR: Door = Door { key: sent_key, say, content_type: "application/problem+json" };
/// The version whose answers these are.
const VERSION: &str = "4.4.0";
const DOMAINS_MAX: i64 = 1000;

pub fn routes(api: &Arc<Api>) -> Router<Arc<Api>> {
    let routes = Router::new()
        .route("/short-urls", get(short_urls::list).post(short_urls::create))
        .route(
            "/short-urls/{code}",
            get(short_urls::read).patch(short_urls::change).delete(short_urls::delete),
        )
        .route("/short-urls/{code}/visits", get(visits::of_link).delete(not_possible))
        .route("/short-urls/{code}/redirect-rules", get(short_urls::rules).post(not_possible))
        .route("/visits", get(visits::overview))
        .route("/visits/non-orphan", get(visits::of_all))
        .route("/visits/orphan", get(visits::orphan).delete(not_possible))
        .route("/tags", get(tags::list).put(tags::rename).delete(tags::delete))
        .route("/tags/stats", get(tags::stats))
        .route("/tags/{tag}/visits", get(visits::of_tag))
        .route("/domains", get(domains))
        .route("/domains/redirects", axum::routing::patch(not_possible))
        .route("/domains/{domain}/visits", get(visits::of_domain))
        .route("/mercure-info", get(not_possible));
    let open = DOOR.open(Router::new().route("/health", get(health)));
    let routes = DOOR.guard(api, routes).merge(open.clone());
    let routes = Router::new().nest("/rest/v3", routes).nest("/rest", open);
    Router::new().merge(routes.clone()).nest("/shlink", routes)
}

fn sent_key(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-api-key").and_then(|value| value.to_str().ok()).or_else(|| bearer(headers))
}

fn say(problem: &Problem) -> (StatusCode, Value) {
    let body = problem.body();
    let (status, word, title) = match problem.kind() {
        Kind::Unauthorized | Kind::BadSignature => (401, "invalid-api-key", "Invalid API key"),
        Kind::Forbidden => (403, "forbidden", "Forbidden"),
        Kind::NotFound if body.field.as_deref() == Some(tags::OLD_NAME) => {
            (404, "tag-not-found", "Tag not found")
        }
        Kind::NotFound => (404, "short-url-not-found", "Short URL not found"),
        Kind::SlugTaken => (400, "non-unique-slug", "Invalid custom slug"),
        Kind::Malformed | Kind::Invalid | Kind::Conflict | Kind::IdempotencyKeyReused | Kind::TooLarge => {
            (400, "invalid-data", "Invalid data")
        }
        kind => (kind.status().as_u16(), "internal-error", "Something went wrong"),
    };
    let mut said = json!({
        "type": format!("https://shlink.io/api/error/{word}"),
        "title": title,
        "detail": whole_detail(problem),
        "status": status,
    });
    if word == "invalid-data" {
        // In Shlink's words, as far as they differ.
        let named = |field: &str| match field {
            "url" => "longUrl".to_owned(),
            "slug" => "customSlug".to_owned(),
            "max_clicks" => "maxVisits".to_owned(),
            other => other.to_owned(),
        };
        let fields =
            body.errors.iter().map(|error| named(&error.field)).chain(body.field.as_deref().map(named));
        let mut fields: Vec<String> = fields.collect();
        fields.dedup();
        said["invalidElements"] = fields.into();
    }
    (StatusCode::from_u16(status).unwrap_or(problem.kind().status()), said)
}

async fn not_possible(caller: Caller) -> Problem {
    drop(caller);
    Problem::new(Kind::Invalid, "this is not possible here: docs/SCHEDULERS.md says what is")
}

/// `GET /health`
async fn health() -> JsonAnswer<Value> {
    JsonAnswer(json!({"status": "pass", "version": VERSION, "links": {"about": "https://shlink.io"}}))
}

/// `GET /domains`
async fn domains(State(api): State<Arc<Api>>, caller: Caller) -> Answer<JsonAnswer<Value>> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
    let redirects = json!({
        "baseUrlRedirect": null, "regular404Redirect": null, "invalidShortUrlRedirect": null
    });
    let rows = workspaces::list_domains(&api.ledger, workspace, "", DOMAINS_MAX).await?;
    let shown = rows.iter().map(|row| {
        let is_default = row.domain == api.issuer.public_domain();
        json!({"domain": row.domain, "isDefault": is_default, "redirects": redirects})
    });
    let shown: Vec<Value> = shown.collect();
    Ok(JsonAnswer(json!({"domains": {"data": shown, "defaultRedirects": redirects}})))
}

/// A page of a list, as Shlink counts pages: from 1.
#[derive(Debug, Clone, Copy)]
struct Page {
    number: i64,
    size: i64,
}

impl Page {
    fn new(number: Option<i64>, size: Option<i64>, default_size: i64, max_size: i64) -> Self {
        let size = match size {
            // -1 asks for all.
            Some(..=0) => max_size,
            Some(size) => size.min(max_size),
            None => default_size,
        };
        Self { number: number.unwrap_or(1).clamp(1, i64::from(u32::MAX)), size }
    }

    fn offset(self) -> i64 {
        (self.number - 1) * self.size
    }

    fn of(self, data: Vec<Value>, total: i64) -> Value {
        let pages = total.max(1).unsigned_abs().div_ceil(self.size.unsigned_abs());
        let pagination = json!({"currentPage": self.number, "pagesCount": pages, "itemsPerPage": self.size,
            "itemsInCurrentPage": data.len(), "totalItems": total});
        json!({"data": data, "pagination": pagination})
    }
}

/// All clicks, those of people and those of machines.
fn visits_summary(people: i64, machines: i64) -> Value {
    json!({"total": people + machines, "nonBots": people, "bots": machines})
}
