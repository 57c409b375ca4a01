//! Erasing a customer of a running utmost, with journeys in Redis and the ledger in PostgreSQL, and embedded.

mod support;

use http::{HeaderMap, Method};
use serde_json::{Value, json};
use support::postgres::Postgres;
use support::{Cluster, Redis, Server, click, settled, token};
use utmost::cli::client::Client;

/// A visitor clicks, orders under an e-mail, and wants to be forgotten.
async fn forgotten(client: &Client) {
    let link = json!({"url": "https://shop.example/", "post": "p"});
    let link = client.api(Method::POST, "/api/v1/links", Some(link)).await.unwrap();
    let short = link["short_url"].as_str().unwrap();
    let answer = click(client, short, None).await.unwrap();
    let order = json!({"id": "o1", "amount": "20.00", "currency": "USD", "click_id": token(&answer),
        "customer": {"email": "ada@example.com"}});
    client.api(Method::POST, "/api/v1/conversions", Some(order)).await.unwrap();
    let is_there = |list: &Value| list["data"].as_array().is_some_and(|data| !data.is_empty());
    settled(client, "/api/v1/conversions", is_there).await;
    let is_seen = |order: &Value| order["touches"][0]["device"] == "mobile";
    // The click has been read too, or its journey would come after it was erased.
    let before = settled(client, "/api/v1/conversions/o1", is_seen).await;
    assert_eq!(before["net_revenue"], "20.00");

    let erase = async || {
        let wish = json!({"email": "ADA@example.com"});
        let accepted = client.api(Method::POST, "/api/v1/customers/erase", Some(wish)).await.unwrap();
        let path = format!("/api/v1/deliveries/{}", accepted["delivery"].as_str().unwrap());
        // It is there once the worker has read it.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", client.authorization().unwrap());
            let answer = client.send(Method::GET, &path, headers, Vec::new()).await.unwrap();
            if answer.status == 200 {
                let delivery: Value = serde_json::from_slice(&answer.body).unwrap();
                return (accepted["orders"].clone(), delivery["problem"].as_str().unwrap().to_owned());
            }
            assert!(std::time::Instant::now() < end, "{}", answer.status);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let said = |orders, bodies, journeys| {
        format!(
            "erased what led from {orders} orders to a person: {bodies} raw deliveries, the hashes, {journeys} journeys"
        )
    };
    assert_eq!(erase().await, (json!(1), said(1, 1, 1)));
    let is_settled = |progress: &Value| progress["pending"] == 0;
    settled(client, "/api/v1/workspaces/default/recompute", is_settled).await;
    let after = client.api(Method::GET, "/api/v1/conversions/o1", None).await.unwrap();
    for part in ["status", "match", "touches", "changes", "net_revenue"] {
        assert_eq!(after[part], before[part], "{part}");
    }
    assert_eq!(erase().await, (json!(0), said(0, 0, 0)));
}

#[tokio::test]
async fn on_redis_and_postgresql() {
    let (redis, postgres) = (Redis::start(&["--appendonly", "no"]), Postgres::start());
    let dir = tempfile::tempdir().unwrap();
    let (hot, ledger) = (redis.url(), postgres.url("postgres"));
    let server = Server::start(dir.path(), &[("UTMOST_HOT__URL", &hot), ("UTMOST_LEDGER__URL", &ledger)]);
    forgotten(&server.client()).await;
    assert_eq!(redis.cli(&["KEYS", "*:journey:*"]).trim(), "");
}

#[tokio::test]
async fn embedded() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    forgotten(&server.client()).await;
}

#[tokio::test]
async fn on_a_cluster() {
    let cluster = Cluster::start(&["--appendonly", "no"]);
    let dir = tempfile::tempdir().unwrap();
    let hot = cluster.url();
    let server = Server::start(dir.path(), &[("UTMOST_HOT__URL", &hot), ("UTMOST_HOT__PARTITIONS", "4")]);
    forgotten(&server.client()).await;
    assert!(cluster.keys("*:journey:*").iter().all(Vec::is_empty));
}
