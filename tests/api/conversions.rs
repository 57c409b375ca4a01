//! Conversions by API, and how they are shown.

use serde_json::{Value, json as j};
use utmost::domain::time::{now_ms, rfc3339};

use crate::server::{Server, fields};

const DAY_MS: i64 = 24 * 3_600_000;

#[tokio::test]
async fn a_conversion_is_taken_attributed_and_explained() {
    let api = Server::start().await;
    let post = api
        .put(
            "/api/v1/posts/p1",
            j!({"destination": "https://s.test", "networks": ["instagram", "x"], "campaign": "c"}),
        )
        .await
        .expect(201);
    let now_ms = now_ms();
    let first = api.click(&post["links"][0], now_ms - 3 * DAY_MS).await;
    let last = api.click(&post["links"][1], now_ms - DAY_MS).await;
    let sale = j!({"id": "o1", "amount": "49.90", "currency": "USD", "tax": "9.90", "click_ids": [first, last],
        "occurred_at": rfc3339(now_ms), "customer": {"email": "a@b.test"}});
    let accepted = api.post("/api/v1/conversions", sale.clone()).await.expect(202);
    assert_eq!(accepted["id"], "o1");
    api.post("/api/v1/conversions/o1/refunds", j!({"id": "r1", "amount": "12.475"})).await.expect(422);
    api.post("/api/v1/conversions/o1/refunds", j!({"id": "r1", "amount": "24.95"})).await.expect(202);
    api.work().await;

    let read = api.get("/api/v1/conversions/o1").await.expect(200);
    assert_eq!(
        (&read["status"], &read["event"], &read["pending"]),
        (&j!("attributed"), &j!("purchase"), &j!(false))
    );
    assert_eq!(read["match"]["method"], "click_token");
    assert_eq!(
        (&read["amount"], &read["refunded"], &read["currency"]),
        (&j!("49.90"), &j!("24.95"), &j!("USD"))
    );
    assert_eq!(
        (&read["revenue"], &read["refunds"], &read["net_revenue"], &read["revenue_basis"]),
        (&j!("40.00"), &j!("20.00"), &j!("20.00"), &j!("ex_tax"))
    );
    let touches = read["touches"].as_array().unwrap();
    let networks: Vec<&Value> = touches.iter().map(|touch| &touch["network"]).collect();
    assert_eq!(networks, ["instagram", "x"]);
    assert_eq!((&touches[0]["post"], &touches[0]["campaign"]), (&j!("p1"), &j!("c")));
    assert_eq!(touches[0]["short_url"], post["links"][0]["short_url"]);
    assert_eq!(touches[0]["credits"]["linear"], j!({"weight": 0.5, "net_revenue": "10.00"}));
    assert_eq!(touches[1]["credits"]["last_touch"], j!({"weight": 1.0, "net_revenue": "20.00"}));
    assert_eq!(touches[0]["credits"].as_object().unwrap().len(), 5);
    let kinds: Vec<&Value> = read["changes"].as_array().unwrap().iter().map(|it| &it["kind"]).collect();
    assert_eq!(kinds, ["revenue", "refund"]);
    assert_eq!(read["deliveries"].as_array().unwrap().len(), 2);
    assert!(!read.to_string().contains("a@b.test"));
    assert_eq!(api.get("/api/v1/conversions/api-default:o1").await.expect(200), read);

    // The same again is the same one.
    api.post("/api/v1/conversions", sale).await.expect(202);
    api.work().await;
    assert_eq!(api.get("/api/v1/conversions/o1").await.expect(200)["net_revenue"], "20.00");
    api.get("/api/v1/conversions/o2").await.expect(404);
    // Sources of the API's own are not shop accounts.
    assert_eq!(api.get("/api/v1/sources").await.expect(200)["data"], j!([]));
}

#[tokio::test]
async fn conversions_are_listed_by_what_became_of_them() {
    let api = Server::start().await;
    for (id, event, amount) in
        [("a", "purchase", Some("1.00")), ("b", "purchase", Some("2")), ("c", "lead", None)]
    {
        let body = j!({"id": id, "event": event, "amount": amount, "currency": amount.map(|_| "USD")});
        api.post("/api/v1/conversions", body).await.expect(202);
        // Within one millisecond their order is open.
        api.work().await;
    }
    let ids = async |query: &str| {
        let page = api.get(&format!("/api/v1/conversions?{query}")).await.expect(200);
        page["data"].as_array().unwrap().iter().map(|it| it["id"].clone()).collect::<Vec<Value>>()
    };
    assert_eq!(ids("status=unattributed&reason=no_match").await.len(), 3);
    assert_eq!(ids("event=lead").await, ["c"]);
    assert_eq!(ids("status=attributed").await, [] as [Value; 0]);
    assert_eq!(ids("from=2020-01-01&to=2020-01-02").await, [] as [Value; 0]);
    let page = api.get("/api/v1/conversions?limit=2").await.expect(200);
    let rest = ids(&format!("limit=2&cursor={}", page["next_cursor"].as_str().unwrap())).await;
    assert_eq!(rest, ["a"]);
    api.get("/api/v1/conversions?status=lost").await.expect(422);

    api.post("/api/v1/workspaces", j!({"id": "acme", "name": "Acme"})).await.expect(201);
    let acme = api.with_header("utmost-workspace", "acme");
    acme.get("/api/v1/conversions/a").await.expect(404);
    acme.post("/api/v1/conversions", j!({"id": "a", "amount": "5", "currency": "USD"})).await.expect(202);
    api.work().await;
    assert_eq!(acme.get("/api/v1/conversions/a").await.expect(200)["amount"], "5.00");
    assert_eq!(api.get("/api/v1/conversions/a").await.expect(200)["amount"], "1.00");
}

#[tokio::test]
async fn mistakes_in_conversions_are_named_and_nothing_is_stored() {
    let api = Server::start().await;
    let right = j!({"id": "o1", "amount": "1.00", "currency": "USD"});
    let check = async |change: Value, expected: &str| {
        let mut body = right.clone();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let problem = api.post("/api/v1/conversions", body.clone()).await.expect(422);
        assert_eq!(fields(&problem), [expected], "{body}: {problem}");
    };
    check(j!({"id": null}), "id").await;
    check(j!({"amount": null}), "amount").await;
    check(j!({"amount": "-1.00"}), "amount").await;
    check(j!({"amount": "1.001"}), "amount").await;
    check(j!({"currency": "DOLLAR"}), "currency").await;
    check(j!({"occurred_at": "today"}), "occurred_at").await;
    check(j!({"click_ids": "x"}), "click_ids").await;
    check(j!({"customer": {"name": "x"}}), "customer.name").await;
    check(j!({"totl": "1"}), "totl").await;
    let unknown =
        api.post("/api/v1/conversions/none/refunds", j!({"id": "r", "amount": "1"})).await.expect(422);
    assert_eq!(fields(&unknown), ["currency"]);
    api.post("/api/v1/conversions/none/refunds", j!({"id": "r", "amount": "1", "currency": "USD"}))
        .await
        .expect(202);
    let cut = api
        .send("POST", "/api/v1/conversions", &[("content-type", "application/json")], "{\"id\": \"o")
        .await;
    cut.expect(400);
    api.work().await;
    assert_eq!(api.count("SELECT COUNT(*) FROM conversions WHERE event IS NOT NULL").await, 0);
    let key = api.post("/api/v1/keys", j!({"name": "x", "scopes": ["links"]})).await.expect(201);
    api.with_key(key["key"].as_str().unwrap()).post("/api/v1/conversions", right.clone()).await.expect(403);
}
