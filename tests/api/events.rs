//! What the script in shop pages reports: evidence, and never money.

use serde_json::{Value, json as j};
use utmost::domain::time::now_ms;

use crate::server::{Answer, Server, fields, json};

const HOUR_MS: i64 = 3_600_000;

/// As a browser sends it: as text, without a header that names the key.
async fn report(api: &Server, event: &Value) -> Answer {
    let headers = [
        ("content-type", "text/plain;charset=UTF-8"),
        ("origin", "https://shop.test"),
        ("authorization", ""),
    ];
    api.send("POST", "/api/v1/events", &headers, &event.to_string()).await
}

async fn key(api: &Server, scope: &str) -> String {
    let made = api.post("/api/v1/keys", j!({"name": "shop pages", "scopes": [scope]})).await.expect(201);
    made["key"].as_str().unwrap().to_owned()
}

async fn clicked(api: &Server) -> String {
    let link = api.post("/api/v1/links", j!({"url": "https://shop.test"})).await.expect(201);
    api.click(&link, now_ms() - HOUR_MS).await
}

#[tokio::test]
async fn a_page_names_the_clicks_of_an_order_and_no_money() {
    let api = Server::start().await;
    let (token, key) = (clicked(&api).await, key(&api, "publishable").await);
    let event = j!({"key": key, "event": "purchase", "id": "1001", "click_ids": [token],
        "landing_url": "https://shop.test/?utm_source=x", "referrer": "https://l.facebook.com/"});
    report(&api, &event).await.expect(202);
    api.work().await;
    assert_eq!(api.get("/api/v1/conversions").await.expect(200)["data"], j!([]));

    // The order may come later than its evidence, and earlier.
    let sale = j!({"id": "1001", "amount": "50.00", "currency": "USD"});
    api.post("/api/v1/conversions", sale).await.expect(202);
    api.post("/api/v1/conversions", j!({"id": "1002", "amount": "20.00", "currency": "USD"}))
        .await
        .expect(202);
    api.work().await;
    let read = api.get("/api/v1/conversions/1002").await.expect(200);
    assert_eq!((&read["status"], &read["reason"]), (&j!("unattributed"), &j!("no_match")));
    report(&api, &j!({"key": key, "id": 1002, "click_ids": ["junk", token]})).await.expect(202);
    api.work().await;
    for (id, net) in [("1001", "50.00"), ("1002", "20.00")] {
        let read = api.get(&format!("/api/v1/conversions/{id}")).await.expect(200);
        assert_eq!((&read["status"], &read["net_revenue"]), (&j!("attributed"), &j!(net)), "{id}");
        assert_eq!(read["match"]["method"], "click_token");
    }
    assert_eq!(api.get("/api/v1/conversions").await.expect(200)["data"].as_array().unwrap().len(), 2);

    let sent = api.get("/api/v1/deliveries?source=script-default&order_id=1001").await.expect(200);
    assert_eq!((&sent["data"][0]["topic"], &sent["data"][0]["result"]), (&j!("evidence"), &j!("accepted")));
    let delivery = api.get(&format!("/api/v1/deliveries/{}", sent["data"][0]["id"].as_str().unwrap())).await;
    assert!(!delivery.body.contains(&key), "{}", delivery.body);
}

#[tokio::test]
async fn any_page_may_ask_and_only_here() {
    let api = Server::start().await;
    let key = key(&api, "publishable").await;
    let asked = [("origin", "https://shop.test"), ("access-control-request-method", "POST")];
    let preflight = api.send("OPTIONS", "/api/v1/events", &asked, "").await;
    preflight.expect(204);
    assert_eq!(preflight.header("access-control-allow-methods"), Some("POST"));
    assert_eq!(preflight.header("access-control-allow-headers"), Some("content-type"));
    let answers =
        [preflight, report(&api, &j!({"key": key})).await, report(&api, &j!({"key": "um_no"})).await];
    for answer in answers {
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{}", answer.status);
    }
    let other = api.send("POST", "/api/v1/links", &[("origin", "https://shop.test")], "{}").await;
    assert_eq!(other.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn only_a_publishable_key_opens_and_it_opens_nothing_else() {
    let api = Server::start().await;
    let publishable = key(&api, "publishable").await;
    let event = |key: &str| j!({"key": key, "id": "1", "click_ids": ["A".repeat(64)]});
    report(&api, &event(&publishable)).await.expect(202);
    report(&api, &event("um_unknown")).await.expect(401);
    for secret in [key(&api, "conversions").await, key(&api, "admin").await, crate::server::ADMIN_KEY.into()]
    {
        let refused = report(&api, &event(&secret)).await.expect(403);
        assert_eq!(fields(&refused), ["key"]);
    }

    let page = api.with_key(&publishable);
    page.get("/api/v1/links").await.expect(403);
    // Not even an Idempotency-Key of the workspace may be taken with it.
    let body = j!({"url": "https://shop.test"}).to_string();
    let headers = [("content-type", "application/json"), ("idempotency-key", "order-1")];
    page.send("POST", "/api/v1/links", &headers, &body).await.expect(403);
    api.send("POST", "/api/v1/links", &headers, &body).await.expect(201);

    for wrong in [
        j!({"name": "x", "scopes": ["publishable", "links"]}),
        j!({"name": "x", "scopes": ["publishable"], "platform": true}),
    ] {
        assert_eq!(fields(&api.post("/api/v1/keys", wrong).await.expect(422)), ["scopes"]);
    }
    let keys = api.get("/api/v1/keys").await.expect(200);
    let listed = keys["data"].as_array().unwrap().iter().find(|key| key["scopes"] == j!(["publishable"]));
    api.delete(&format!("/api/v1/keys/{}", listed.unwrap()["id"].as_str().unwrap())).await.expect(204);
    report(&api, &event(&publishable)).await.expect(401);
}

#[tokio::test]
async fn mistakes_in_reports_are_named() {
    let api = Server::start().await;
    let key = key(&api, "publishable").await;
    let check = async |change: Value, expected: &[&str]| {
        let mut event = j!({"key": key, "id": "1", "click_ids": ["A".repeat(64)]});
        event.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = report(&api, &event).await;
        assert_eq!(fields(&answer.expect(422)), expected, "{change}");
    };
    check(j!({"id": null}), &["id"]).await;
    check(j!({"id": ""}), &["id"]).await;
    check(j!({"amount": "10.00"}), &["amount"]).await;
    check(j!({"click_ids": []}), &["click_ids"]).await;
    check(j!({"click_ids": ["x", "<b>", "A".repeat(63)]}), &["click_ids"]).await;
    check(j!({"click_ids": vec!["A".repeat(64); 11]}), &["click_ids"]).await;
    check(j!({"click_ids": "A"}), &["click_ids"]).await;
    check(j!({"landing_url": 5}), &["landing_url"]).await;
    let large = j!({"key": key, "id": "1", "click_ids": [], "referrer": "x".repeat(16 << 10)});
    report(&api, &large).await.expect(413);
    let answer = api.send("POST", "/api/v1/events", &[], "{").await;
    assert_eq!((answer.status, json(&answer.body)["type"].as_str()), (400, Some("urn:utmost:malformed")));
}
