//! What holds for every request: repetition and errors.

use serde_json::json as j;

use crate::server::{Server, json};

#[tokio::test]
async fn repeated_posts_are_answered_not_done_again() {
    let api = Server::start().await;
    let keyed = api.with_header("idempotency-key", "k1");
    let body = j!({"url": "https://s.test"});
    let first = keyed.post("/api/v1/links", body.clone()).await;
    let again = keyed.post("/api/v1/links", body.clone()).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    assert_eq!(first.expect(201)["url"], "https://s.test");
    let other = keyed.post("/api/v1/links", j!({"url": "https://t.test"})).await.expect(422);
    assert_eq!(other["field"], "Idempotency-Key");
    assert_eq!(api.get("/api/v1/links").await.expect(200)["data"].as_array().unwrap().len(), 1);

    let refused = api.with_header("idempotency-key", "k2");
    let problem = refused.post("/api/v1/links", j!({"url": "x"})).await;
    let same = refused.post("/api/v1/links", j!({"url": "x"})).await;
    assert_eq!((problem.status, &problem.body), (same.status, &same.body));
    assert_eq!(same.header("content-type"), Some("application/problem+json"));

    // Another workspace has keys of its own.
    api.post("/api/v1/workspaces", j!({"id": "acme", "name": "Acme"})).await.expect(201);
    keyed
        .with_header("utmost-workspace", "acme")
        .post("/api/v1/links", j!({"url": "https://u.test"}))
        .await
        .expect(201);

    // A key is shown once, also to those who ask twice.
    let keyed = api.with_header("idempotency-key", "k3");
    let made = keyed.post("/api/v1/keys", j!({"name": "x", "scopes": ["links"]})).await.expect(201);
    let again = keyed.post("/api/v1/keys", j!({"name": "x", "scopes": ["links"]})).await.expect(201);
    assert_eq!((made["id"].clone(), again.get("key")), (again["id"].clone(), None));

    api.sql("UPDATE idempotency SET status = 0, created_ms = created_ms - 60000 WHERE idem_key = 'k1' AND workspace = 'default'")
        .await;
    let under_way = api.with_header("idempotency-key", "k1").post("/api/v1/links", body.clone()).await;
    assert_eq!(under_way.header("retry-after"), Some("1"));
    under_way.expect(409);
    api.sql("UPDATE idempotency SET created_ms = created_ms - 90000000 WHERE idem_key = 'k1'").await;
    api.with_header("idempotency-key", "k1").post("/api/v1/links", body).await.expect(201);
    api.with_header("idempotency-key", &"k".repeat(256)).post("/api/v1/links", j!({})).await.expect(422);
}

#[tokio::test]
async fn every_way_to_ask_wrongly_is_a_problem() {
    let api = Server::start().await;
    let jsons = ("content-type", "application/json");
    let check = async |method: &str, path: &str, headers: &[(&str, &str)], body: &str, status: u16| {
        let answer = api.send(method, path, headers, body).await;
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{method} {path}");
        let problem = answer.expect(status);
        assert_eq!(problem["status"], status);
        assert!(problem["type"].as_str().unwrap().starts_with("urn:utmost:") && problem["title"].is_string());
        problem
    };
    check("GET", "/nowhere", &[], "", 404).await;
    check("GET", "/api/v1/nowhere", &[], "", 404).await;
    check("PUT", "/api/v1/links", &[jsons], "{}", 405).await;
    check("POST", "/api/v1/links", &[jsons], "{\"url\": \"https", 400).await;
    check("POST", "/api/v1/links", &[("content-type", "text/plain")], "{}", 415).await;
    check("POST", "/api/v1/links", &[jsons], &" ".repeat((1 << 20) + 1), 413).await;
    check("GET", "/api/v1/links?limit=0", &[], "", 422).await;
    check("GET", "/api/v1/links?limit=x", &[], "", 422).await;
    check("GET", "/api/v1/links?cursor=x", &[], "", 422).await;
    check("GET", "/api/v1/links?colour=red", &[], "", 422).await;
    check("GET", "/api/v1/links/nonsense", &[], "", 404).await;
    check("GET", "/api/v1/links/0000000000000", &[], "", 404).await;
    let unknown = json(&api.send("GET", "/api/v1/links?colour=red", &[], "").await.body);
    assert_eq!(unknown["field"], "colour");
    assert_eq!(api.send("PUT", "/api/v1/links", &[jsons], "{}").await.header("allow"), Some("POST,GET,HEAD"));
}

/// PostgreSQL keeps it in no text, so no store gets it.
#[tokio::test]
async fn nul_is_a_problem_of_the_caller() {
    let api = Server::start().await;
    for path in ["posts/%00", "coupons/a%00", "conversions/%00", "links/by-external-id/%00", "deliveries/%00"]
    {
        api.get(&format!("/api/v1/{path}")).await.expect(404);
    }
    for path in ["links?post=%00", "reports/attribution?post=%00", "posts?cursor=WyJcdTAwMDAiXQ"] {
        api.get(&format!("/api/v1/{path}")).await.expect(422);
    }
    let problem = api.post("/api/v1/links", j!({"url": "https://s.test", "post": "a\0"})).await.expect(422);
    assert_eq!(problem["field"], "post");
    let metrics = j!({"day": "2026-01-01", "reach": i64::MAX});
    api.put("/api/v1/posts/p/metrics", metrics).await.expect(422);
}
