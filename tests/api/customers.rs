//! Erasing customers: nothing leads to them any more, and no figure changes.

use serde_json::{Value, json as j};
use utmost::domain::time::now_ms;

use crate::server::{Server, fields};

const HOUR_MS: i64 = 3_600_000;

async fn figures(api: &Server) -> [Value; 3] {
    let report = async |by: &str| {
        let mut report =
            api.get(&format!("/api/v1/reports/attribution?by={by}&model=linear")).await.expect(200);
        report["as_of"] = Value::Null;
        report
    };
    let list = api.get("/api/v1/conversions").await.expect(200)["data"].clone();
    [report("post").await, report("day").await, list]
}

#[tokio::test]
async fn an_erased_customer_leaves_money_and_no_trace() {
    let api = Server::start().await;
    // An earlier purchase cuts the later journey, which is to stay so.
    let settings = j!({"settings": {"purchase_cuts_journey": true}});
    api.patch("/api/v1/workspaces/default", settings).await.expect(200);
    let link = api.post("/api/v1/links", j!({"url": "https://shop.test", "post": "p"})).await.expect(201);
    let clicks = [5, 3].map(|hours| now_ms() - hours * HOUR_MS);
    let tokens = api.clicks_of_one(&link, &clicks).await;
    let order = |id: &str, hours: i64, customer: Value| {
        j!({"id": id, "amount": "10.00", "currency": "USD", "customer": customer,
            "occurred_at": utmost::domain::time::rfc3339(now_ms() - hours * HOUR_MS)})
    };
    let mut first = order("o1", 4, j!({"email": "Ada@Example.com", "id": "17"}));
    first["click_id"] = j!(tokens[0]);
    api.post("/api/v1/conversions", first).await.expect(202);
    // Known by id alone, and by e-mail alone.
    api.post("/api/v1/conversions", order("o2", 2, j!({"id": "17"}))).await.expect(202);
    api.post("/api/v1/conversions", order("o3", 1, j!({"email": "ada@example.com"}))).await.expect(202);
    // Bob had the link from Ada.
    let mut passed_on = order("o4", 1, j!({"email": "bob@example.com"}));
    passed_on["click_id"] = j!(tokens[1]);
    api.post("/api/v1/conversions", passed_on).await.expect(202);
    api.work().await;
    let before = figures(&api).await;
    let hashes = "SELECT COUNT(DISTINCT customer) FROM order_customers";
    assert_eq!(api.count(hashes).await, 3);
    let visitor = api.text("SELECT MIN(visitor) FROM order_tokens").await;
    let customers = api.text("SELECT group_concat(customer) FROM order_customers ORDER BY 1").await;

    let wish = j!({"email": "ada@example.com "});
    let accepted = api.post("/api/v1/customers/erase", wish.clone()).await.expect(202);
    assert_eq!(accepted["orders"], 2);
    api.work().await;
    let delivery = format!("/api/v1/deliveries/{}", accepted["delivery"].as_str().unwrap());
    let delivery = api.get(&delivery).await;
    assert!(!delivery.body.to_lowercase().contains("ada@"), "{}", delivery.body);
    let said = delivery.expect(200)["problem"].as_str().unwrap().to_owned();
    assert_eq!(said, "erased what led from 3 orders to a person: 3 raw deliveries, the hashes, 1 journeys");

    assert_eq!(figures(&api).await, before, "figures stay");
    let now = api.text("SELECT group_concat(customer) FROM order_customers ORDER BY 1").await;
    let gone = customers.split(',').filter(|hash| !now.contains(hash)).count();
    assert_eq!((gone, customers.split(',').count()), (4, 5), "only Bob's hash stays");
    for table in ["order_tokens", "touches", "conversion_visitors"] {
        let text = format!("SELECT COUNT(*) FROM {table} WHERE visitor = '{visitor}'");
        assert_eq!(api.count(text.leak()).await, 0, "{table}");
    }
    assert_eq!(api.count("SELECT COUNT(*) FROM deliveries WHERE CAST(body AS TEXT) LIKE '%da@%'").await, 0);
    assert_eq!(api.count("SELECT COUNT(*) FROM deliveries WHERE CAST(body AS TEXT) LIKE '%bob@%'").await, 1);
    assert_eq!(api.steps(&visitor).await, 0);
    // Evaluated from scratch it comes to the same.
    api.post("/api/v1/workspaces/default/recompute", j!({})).await.expect(202);
    api.work().await;
    assert_eq!(figures(&api).await, before);

    // Again it finds nothing, and says so.
    let again = api.post("/api/v1/customers/erase", wish).await.expect(202);
    assert_eq!(again["orders"], 0);
    api.work().await;
    assert_eq!(figures(&api).await, before);
    // By id: of the API's own source unless another is named.
    let by_id = api.post("/api/v1/customers/erase", j!({"id": "17"})).await.expect(202);
    assert_eq!(by_id["orders"], 0);
}

#[tokio::test]
async fn wishes_to_erase_are_checked() {
    let api = Server::start().await;
    let check = async |body: Value, expected: &[&str]| {
        let refused = api.post("/api/v1/customers/erase", body).await.expect(422);
        assert_eq!(fields(&refused), expected);
    };
    check(j!({}), &["email"]).await;
    check(j!({"email": "ada"}), &["email"]).await;
    check(j!({"source": "s"}), &["email", "id", "source"]).await;
    check(j!({"id": "1", "source": "nowhere"}), &["source"]).await;
    check(j!({"mail": "a@b"}), &["mail"]).await;
    let key = api.post("/api/v1/keys", j!({"name": "x", "scopes": ["conversions"]})).await.expect(201);
    let other = api.with_key(key["key"].as_str().unwrap());
    other.post("/api/v1/customers/erase", j!({"email": "a@b.c"})).await.expect(403);
}
