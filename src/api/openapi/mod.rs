//! The description of the interface: `/api/openapi.json` (OpenAPI 3.1), and `/api/docs` to read it.
//!
//! What an operation takes and answers stands beside its handler. What holds for many operations is added
//! here, once: who may ask, the headers, the problems, the limits.

mod complete;
mod details;
mod page;
mod report_shapes;

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;
use utoipa::OpenApi;

use super::error::ProblemBody;
use super::{
    Api, backfill, conversion_views, conversions, costs, coupons, customers, deliveries, events, health,
    hooks, keys, link_stats, links, posts, rates, reports, snapshots, sources, webhooks, workspaces,
};

pub fn routes() -> Router<Arc<Api>> {
    Router::new().route("/api/openapi.json", get(openapi)).route("/api/docs", get(page::docs))
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "utmost",
        description = "Short links that prove what social posts earn. Errors are RFC 9457 problems that name the \
                       field and the fix. Money is a decimal string with its currency, times are RFC 3339, \
                       lists are {data, next_cursor}. Short links themselves (GET /{slug}) and the dialects of \
                       other shorteners (docs/SCHEDULERS.md) are not described here.",
    ),
    tags(
        (name = "links", description = "Tracked short links"),
        (name = "posts", description = "Posts, their links, their metrics, and coupon codes that stand for them"),
        (name = "sources", description = "Shop accounts and what they sent"),
        (name = "conversions", description = "Orders, leads and other conversions, and whose they are"),
        (name = "costs", description = "What posts cost, and exchange rates"),
        (name = "reports", description = "What posts brought in"),
        (name = "webhooks", description = "Endpoints that are told what happens (docs/WEBHOOKS.md)"),
        (name = "keys", description = "Who may ask"),
        (name = "workspaces", description = "Customers of a platform, and their domains"),
        (name = "health", description = "How the program feels, and its description"),
    ),
    components(schemas(ProblemBody)),
    paths(
        links::create, links::list, links::create_many, links::upsert, links::read_external, links::read,
        links::change, links::archive, link_stats::stats,
        posts::list, posts::upsert, posts::read, posts::put_metrics, posts::metrics,
        coupons::list, coupons::bind, coupons::read, coupons::remove,
        sources::create, sources::list, sources::read, sources::change, sources::remove, sources::add_secret,
        sources::remove_secret, sources::test, backfill::backfill,
        deliveries::list, deliveries::list_of_source, deliveries::read, deliveries::replay, hooks::receive,
        hooks::receive_batch,
        conversions::create, conversions::refund, conversion_views::list, conversion_views::read,
        events::create, customers::erase,
        costs::create, costs::list, costs::upsert, costs::read, costs::remove, rates::put_rates,
        reports::attribution, reports::compare, reports::retention,
        snapshots::create, snapshots::list, snapshots::read, snapshots::compare,
        webhooks::create, webhooks::list, webhooks::read, webhooks::change, webhooks::remove, webhooks::rotate,
        webhooks::test, webhooks::messages, webhooks::replay, webhooks::replay_dead,
        keys::create, keys::list, keys::revoke,
        workspaces::create, workspaces::list, workspaces::read, workspaces::change, workspaces::remove,
        workspaces::progress, workspaces::recompute,
        workspaces::add_domain, workspaces::list_domains, workspaces::remove_domain,
        health::healthz, health::readyz, openapi, page::docs,
    ),
)]
struct Described;

/// The whole document.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let described = serde_json::to_value(Described::openapi()).expect("a description is JSON");
    complete::complete(described)
});
static TEXT: LazyLock<String> = LazyLock::new(|| DOCUMENT.to_string());

/// This description.
#[utoipa::path(get, path = "/api/openapi.json", tag = "health",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = Object)))]
async fn openapi() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "public, max-age=300"),
        // Readers of descriptions are often web pages of somebody else.
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    (headers, TEXT.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        fn check(value: &Value, document: &Value) {
            match value {
                Value::Object(object) => {
                    if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
                    }
                    object.values().for_each(|value| check(value, document));
                }
                Value::Array(items) => items.iter().for_each(|value| check(value, document)),
                _ => {}
            }
        }
        check(&DOCUMENT, &DOCUMENT);
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_and_says_what_it_does() {
        let mut names = std::collections::BTreeSet::new();
        for (path, method, operation) in complete::operations(&DOCUMENT) {
            assert!(names.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
        }
        assert!(names.len() > 50);
    }
}
