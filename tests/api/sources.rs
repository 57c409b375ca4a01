//! Sources and their doors: signatures, secrets that come late, deliveries, replay.

use std::io::Write as _;

use base64::Engine as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json as j};
use utmost::domain::time::{now_ms, rfc3339};
use utmost::intake::{Platform, Secret, sign};

use crate::server::{Answer, Server, fields};

async fn source(api: &Server, platform: &str, secret: Option<&str>) -> String {
    let made = api
        .post("/api/v1/sources", j!({"platform": platform, "name": "Shop", "secret": secret}))
        .await
        .expect(201);
    assert!(!made.to_string().contains("hush"), "secrets are never shown");
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!(made["webhook_url"], format!("https://go.test/hooks/{id}"));
    id
}

pub async fn hook(api: &Server, source: &str, headers: &[(&str, String)], body: &str) -> Answer {
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    api.send("POST", &format!("/hooks/{source}"), &headers, body).await
}

/// A Shopify order, signed.
async fn order(api: &Server, source: &str, secret: &str, id: i64, total: &str, token: &str) -> Answer {
    let now_ms = now_ms();
    let body = j!({"id": id, "total_price": total, "currency": "USD", "financial_status": "paid",
        "created_at": rfc3339(now_ms), "updated_at": rfc3339(now_ms), "email": "a@b.test",
        "note_attributes": [{"name": "um_click", "value": token}]})
    .to_string();
    let mut headers = sign(Platform::Shopify, &Secret::new(secret), "", body.as_bytes(), now_ms).unwrap();
    headers.push(("x-shopify-topic", "orders/create".to_owned()));
    hook(api, source, &headers, &body).await
}

pub async fn deliveries(api: &Server, source: &str) -> Vec<Value> {
    let page = api.get(&format!("/api/v1/sources/{source}/deliveries")).await.expect(200);
    page["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_signed_order_is_kept_and_its_match_is_shown() {
    let api = Server::start().await;
    let id = source(&api, "shopify", Some("hush")).await;
    let link = api.post("/api/v1/links", j!({"url": "https://s.test", "post": "p1"})).await.expect(201);
    let token = api.click(&link, now_ms() - 1000).await;
    let answer = order(&api, &id, "hush", 5_000_000_000_001, "10.00", &token).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    order(&api, &id, "hush", 5_000_000_000_002, "ten", &token).await.expect(200);
    api.work().await;

    let sent = deliveries(&api, &id).await;
    assert_eq!(sent.len(), 2);
    let problem = sent[0]["problem"].as_str().unwrap();
    assert!(sent[0]["result"] == "dead" && problem.contains("total_price"), "{}", sent[0]);
    assert_eq!((&sent[1]["result"], &sent[1]["order_id"]), (&j!("accepted"), &j!("5000000000001")));
    assert_eq!(sent[1]["conversion"], j!({"status": "attributed", "reason": null, "match": "click_token"}));

    let dead = api.get("/api/v1/deliveries?result=dead").await.expect(200);
    assert_eq!(dead["data"].as_array().unwrap().len(), 1);
    let path = format!("/api/v1/deliveries/{}", dead["data"][0]["id"].as_str().unwrap());
    let raw = api.get(&path).await.expect(200);
    assert!(raw["body"].as_str().unwrap().contains("\"ten\"") && raw["headers"][0][0] == "x-shopify-topic");
    api.post(&format!("{path}/replay"), j!({})).await.expect(202);
    api.work().await;
    assert_eq!(deliveries(&api, &id).await.len(), 2);
    api.post("/api/v1/deliveries/none/replay", j!({})).await.expect(404);
    api.get("/api/v1/deliveries?result=lost").await.expect(422);
}

#[tokio::test]
async fn what_is_not_signed_or_not_right_is_refused() {
    let api = Server::start().await;
    let id = source(&api, "shopify", Some("hush")).await;
    let refused = order(&api, &id, "wrong", 1, "1.00", "").await;
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert!(refused.expect(401)["detail"].as_str().unwrap().contains("x-shopify-hmac-sha256"));
    let shown = api.get(&format!("/api/v1/sources/{id}")).await.expect(200);
    assert!(shown["last_refused"]["problem"].as_str().unwrap().contains("fits no secret"));
    hook(&api, &id, &[], "{}").await.expect(401);
    hook(&api, &id, &[], &" ".repeat((1 << 20) + 1)).await.expect(413);
    hook(&api, "src_00000000000000000000000000000000", &[], "{}").await.expect(404);
    hook(&api, "nonsense", &[], "{}").await.expect(404);
    assert_eq!(api.send("GET", &format!("/hooks/{id}"), &[], "").await.status, 405);
    api.work().await;
    assert_eq!(api.count("SELECT COUNT(*) FROM deliveries").await, 0);

    // What WooCommerce sends when a webhook is made.
    let woo = source(&api, "woocommerce", Some("hush")).await;
    hook(&api, &woo, &[("content-type", "application/x-www-form-urlencoded".into())], "webhook_id=5")
        .await
        .expect(200);
    assert_eq!(api.count("SELECT COUNT(*) FROM deliveries").await, 0);
}

#[tokio::test]
async fn deliveries_wait_for_a_secret_that_comes_late() {
    let api = Server::start().await;
    let id = source(&api, "shopify", None).await;
    order(&api, &id, "hush", 11, "5.00", "").await.expect(200);
    order(&api, &id, "other", 12, "6.00", "").await.expect(200);
    api.work().await;
    assert_eq!(api.count("SELECT COUNT(*) FROM conversions").await, 0);
    let results = |sent: &[Value]| sent.iter().map(|it| it["result"].clone()).collect::<Vec<_>>();
    assert_eq!(results(&deliveries(&api, &id).await), ["unverified", "unverified"]);

    let path = format!("/api/v1/sources/{id}/secrets");
    let secret = api.post(&path, j!({"secret": " hush "})).await.expect(201);
    api.verify_waiting().await;
    api.work().await;
    let sent = deliveries(&api, &id).await;
    assert_eq!(results(&sent), ["unverified", "accepted"]);
    assert!(sent[0]["problem"].as_str().unwrap().contains("no secret"), "{}", sent[0]);
    let replay = format!("/api/v1/deliveries/{}/replay", sent[0]["id"].as_str().unwrap());
    api.post(&replay, j!({})).await.expect(409);
    order(&api, &id, "other", 12, "6.00", "").await.expect(401);

    // Both hold while they are rotated.
    api.post(&path, j!({"secret": "other"})).await.expect(201);
    api.verify_waiting().await;
    api.work().await;
    assert_eq!(results(&deliveries(&api, &id).await), ["accepted", "accepted"]);
    order(&api, &id, "hush", 13, "1.00", "").await.expect(200);
    api.delete(&format!("{path}/{}", secret["id"].as_str().unwrap())).await.expect(204);
    order(&api, &id, "hush", 14, "1.00", "").await.expect(401);
    order(&api, &id, "other", 14, "1.00", "").await.expect(200);
    assert_eq!(
        api.get(&format!("/api/v1/sources/{id}")).await.expect(200)["secrets"].as_array().unwrap().len(),
        1
    );
}

#[tokio::test]
async fn sources_are_managed_by_their_workspace() {
    let api = Server::start().await;
    let check = async |body: Value, expected: &[&str]| {
        let problem = api.post("/api/v1/sources", body.clone()).await.expect(422);
        assert_eq!(fields(&problem), expected, "{body}: {problem}");
    };
    check(j!({"platform": "etsy", "name": " ", "role": "x"}), &["platform", "name", "role"]).await;
    check(j!({"platform": "api", "name": "x"}), &["platform"]).await;
    check(j!({"platform": "standard", "name": "x", "secret": "whsec_%%"}), &["secret"]).await;
    check(j!({"platform": "shopify", "name": "x", "secret": " "}), &["secret"]).await;

    let id = source(&api, "shopify", Some("hush")).await;
    let path = format!("/api/v1/sources/{id}");
    let changed = api.patch(&path, j!({"name": "Other", "role": "evidence"})).await.expect(200);
    assert_eq!((&changed["name"], &changed["role"]), (&j!("Other"), &j!("evidence")));
    api.patch(&path, j!({"role": "x"})).await.expect(422);
    assert_eq!(api.get("/api/v1/sources").await.expect(200)["data"].as_array().unwrap().len(), 1);

    api.post("/api/v1/workspaces", j!({"id": "acme", "name": "Acme"})).await.expect(201);
    let acme = api.with_header("utmost-workspace", "acme");
    for path in [path.clone(), format!("{path}/deliveries")] {
        acme.get(&path).await.expect(404);
    }
    acme.delete(&path).await.expect(404);
    acme.post(&format!("{path}/test"), j!({})).await.expect(404);
    let key = api.post("/api/v1/keys", j!({"name": "x", "scopes": ["conversions"]})).await.expect(201);
    let key = api.with_key(key["key"].as_str().unwrap());
    key.get(&path).await.expect(200);
    key.post(&format!("{path}/secrets"), j!({"secret": "x"})).await.expect(403);

    api.delete(&path).await.expect(204);
    api.get(&path).await.expect(404);
    order(&api, &id, "hush", 1, "1.00", "").await.expect(404);
}

#[tokio::test]
async fn an_example_goes_the_whole_way() {
    let api = Server::start().await;
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for platform in Platform::ALL {
        if matches!(platform, Platform::Api | Platform::Paypal) {
            continue;
        }
        let id = source(&api, platform.as_str(), Some(secret)).await;
        let sent = api.post(&format!("/api/v1/sources/{id}/test"), j!({})).await.expect(202);
        api.work().await;
        let shown = deliveries(&api, &id).await;
        assert_eq!(shown[0]["id"], sent["delivery"]);
        assert!(shown[0]["result"] == "accepted" || shown[0]["result"] == "ignored", "{}", shown[0]);
    }
    assert_eq!(api.count("SELECT COUNT(*) FROM conversions WHERE status <> 'excluded'").await, 0);
    let without = source(&api, "shopify", None).await;
    api.post(&format!("/api/v1/sources/{without}/test"), j!({})).await.expect(409);
}

/// What Segment's and RudderStack's own libraries send, which sign nothing.
#[tokio::test]
async fn batches_come_with_a_write_key_zipped_or_not() {
    let api = Server::start().await;
    let id = source(&api, "rudderstack", Some("hush")).await;
    let link = api.post("/api/v1/links", j!({"url": "https://s.test", "post": "p1"})).await.expect(201);
    let path = format!("/hooks/{id}/v1/batch");
    let key =
        |key: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{key}:")));
    let batch = async |order: &str, total: &str| {
        let token = api.click(&link, now_ms() - 1000).await;
        j!({"sentAt": rfc3339(now_ms()), "batch": [{"type": "track", "event": "Order Completed", "messageId": order,
            "timestamp": rfc3339(now_ms()),
            "properties": {"order_id": order, "total": total, "currency": "USD", "um_click": token}}]})
        .to_string()
    };
    let plain = batch("o1", "10.00").await;
    let right = key("hush");
    let answer = api.send("POST", &path, &[("authorization", right.as_str())], &plain).await;
    assert_eq!(answer.expect(200), j!({"success": true}));
    let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
    zipped.write_all(batch("o2", "5.00").await.as_bytes()).unwrap();
    let zipped = zipped.finish().unwrap();
    let headers = [
        ("authorization", right.as_str()),
        ("content-encoding", "gzip"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    api.send("POST", &path, &headers, zipped.clone()).await.expect(200);
    api.work().await;
    let read = api.get("/api/v1/reports/attribution?by=post").await.expect(200);
    assert_eq!((&read["rows"][0]["key"], &read["totals"]["net_revenue"]), (&j!("p1"), &j!("15.00")));

    let wrong = key("rush");
    for headers in [&[("authorization", wrong.as_str()), ("content-encoding", "gzip")][..], &[]] {
        api.send("POST", &path, headers, zipped.clone()).await.expect(401);
    }
    let broken = api.send("POST", &path, &headers, &zipped[..20]).await.expect(400);
    assert!(broken["detail"].as_str().unwrap().contains("gzip"), "{broken}");
    let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
    bomb.write_all(&vec![b' '; 2 << 20]).unwrap();
    api.send("POST", &path, &headers, bomb.finish().unwrap()).await.expect(413);
    // Nothing verifies what comes before the key is known, and other platforms sign.
    for (platform, secret) in [("segment", None), ("shopify", Some("hush"))] {
        let id = source(&api, platform, secret).await;
        let path = format!("/hooks/{id}/v1/batch");
        api.send("POST", &path, &[("authorization", right.as_str())], &plain).await.expect(401);
    }
}
