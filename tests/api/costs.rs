//! Costs and exchange rates.

use serde_json::{Value, json as j};

use crate::server::{Server, fields};

#[tokio::test]
async fn costs_are_booked_replaced_listed_and_removed() {
    let api = Server::start().await;
    let spend = j!({"post": "p1", "amount": "120.5", "currency": "eur", "from": "2026-11-01", "to": "2026-12-01",
        "kind": "spend", "note": "boost"});
    let made = api.post("/api/v1/costs", spend.clone()).await.expect(201);
    assert_eq!(
        (&made["amount"], &made["currency"], &made["to"]),
        (&j!("120.50"), &j!("EUR"), &j!("2026-12-01"))
    );
    assert!(made.get("link").is_none());
    let path = format!("/api/v1/costs/{}", made["id"].as_str().unwrap());
    assert_eq!(api.get(&path).await.expect(200), made);

    let hours = j!({"network": "Instagram", "amount": 3000, "currency": "JPY", "from": "2026-11-05", "kind": "hours"});
    let mine = api.put("/api/v1/costs/my%2Fid", hours.clone()).await.expect(201);
    assert_eq!(
        (&mine["id"], &mine["network"], &mine["amount"]),
        (&j!("my/id"), &j!("instagram"), &j!("3000"))
    );
    assert_eq!((&mine["from"], &mine["to"]), (&j!("2026-11-05"), &j!("2026-11-06")));
    assert_eq!(api.put("/api/v1/costs/my%2Fid", hours.clone()).await.expect(200), mine);

    let ids = async |query: &str| {
        let page = api.get(&format!("/api/v1/costs?{query}")).await.expect(200);
        page["data"].as_array().unwrap().iter().map(|cost| cost["id"].clone()).collect::<Vec<Value>>()
    };
    assert_eq!(ids("").await.len(), 2);
    assert_eq!(ids("network=instagram").await, ["my/id"]);
    assert_eq!(ids("kind=spend&post=p1").await, [made["id"].clone()]);
    assert_eq!(ids("from=2026-11-06").await, [made["id"].clone()]);
    assert_eq!(ids("to=2026-11-01").await, [] as [Value; 0]);

    // The id is the workspace's own.
    api.post("/api/v1/workspaces", j!({"id": "acme", "name": "Acme"})).await.expect(201);
    let acme = api.with_header("utmost-workspace", "acme");
    acme.get("/api/v1/costs/my%2Fid").await.expect(404);
    acme.put("/api/v1/costs/my%2Fid", hours).await.expect(201);
    acme.delete("/api/v1/costs/my%2Fid").await.expect(204);
    api.delete("/api/v1/costs/my%2Fid").await.expect(204);
    api.delete("/api/v1/costs/my%2Fid").await.expect(404);
}

#[tokio::test]
async fn mistakes_in_costs_are_named() {
    let api = Server::start().await;
    let right =
        j!({"campaign": "c", "amount": "1", "currency": "EUR", "from": "2026-11-01", "kind": "spend"});
    let check = async |change: Value, expected: &[&str]| {
        let mut body = right.clone();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let problem = api.post("/api/v1/costs", body.clone()).await.expect(422);
        assert_eq!(fields(&problem), expected, "{body}: {problem}");
    };
    check(j!({"post": "p"}), &["post"]).await;
    check(j!({"campaign": null}), &["post"]).await;
    check(j!({"campaign": null, "link": "nonsense"}), &["link"]).await;
    check(j!({"amount": "-1"}), &["amount"]).await;
    check(j!({"amount": "1.001"}), &["amount"]).await;
    check(j!({"amount": "1,00"}), &["amount"]).await;
    check(j!({"currency": "EURO"}), &["currency"]).await;
    check(j!({"from": "1.11.2026", "kind": " "}), &["from", "kind"]).await;
    check(j!({"to": "2026-10-31"}), &["to"]).await;
    check(j!({"cost": 1}), &["cost"]).await;
    let missing = api.post("/api/v1/costs", j!({"campaign": "c"})).await.expect(422);
    assert_eq!(fields(&missing), ["amount"]);
    assert_eq!(api.get("/api/v1/costs").await.expect(200)["data"], j!([]));
}

#[tokio::test]
async fn rates_come_as_json_or_as_the_central_banks_csv() {
    let api = Server::start().await;
    let one = j!({"base": "EUR", "date": "2026-11-20", "rates": {"USD": "1.05", "JPY": 160}});
    assert_eq!(api.put("/api/v1/rates", one.clone()).await.expect(200)["stored"], 2);
    api.put("/api/v1/rates", j!([one])).await.expect(200);
    assert_eq!(api.count("SELECT COUNT(*) FROM rates").await, 2);
    let csv = "Date,USD,JPY,\n2026-11-21,1.06,161,\n2026-11-20,1.07,N/A,\n";
    let stored = api.send("PUT", "/api/v1/rates", &[("content-type", "text/csv; charset=utf-8")], csv).await;
    assert_eq!(stored.expect(200)["stored"], 3);
    assert_eq!(api.count("SELECT COUNT(*) FROM rates WHERE rate = '1.07'").await, 1);

    let wrong = api
        .put("/api/v1/rates", j!({"base": "E", "date": "x", "rates": {"USD": "0", "ABC": "1"}}))
        .await
        .expect(422);
    assert_eq!(fields(&wrong), ["[0].base", "[0].date", "[0].rates.ABC", "[0].rates.USD"]);
    let made = api.post("/api/v1/keys", j!({"name": "x", "scopes": ["admin"]})).await.expect(201);
    api.with_key(made["key"].as_str().unwrap()).put("/api/v1/rates", j!([])).await.expect(403);
}
