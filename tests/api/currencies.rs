//! Orders and costs in other currencies: each by its own day's rate, and never by none.

use serde_json::{Value, json as j};

use crate::server::Server;

const DAY_MS: i64 = 24 * 3_600_000;

/// Orders in JPY, KWD and EUR of days that have rates, and one of a day that has none.
#[tokio::test]
async fn money_goes_by_its_own_days_rate() {
    let api = Server::start().await;
    let noon_ms = utmost::domain::time::now_ms().div_euclid(DAY_MS) * DAY_MS + DAY_MS / 2;
    let day = |days: i64| utmost::domain::time::rfc3339(noon_ms - days * DAY_MS)[..10].to_owned();
    let link = api.post("/api/v1/links", j!({"url": "https://shop.test", "post": "p"})).await.expect(201);
    let token = api.click(&link, noon_ms - 40 * DAY_MS).await;
    // The reporting currency is USD; the European Central Bank states everything against EUR.
    let csv = format!("Date,USD,JPY,KWD,\n{},1.10,165,0.34,\n{},1.20,150,N/A,\n", day(10), day(20));
    let stored = api.send("PUT", "/api/v1/rates", &[("content-type", "text/csv")], &csv).await;
    assert_eq!(stored.expect(200)["stored"], 5);

    let order = async |id: &str, days: i64, amount: &str, currency: &str| {
        let order = j!({"id": id, "amount": amount, "currency": currency, "click_id": token,
            "occurred_at": format!("{}T12:00:00Z", day(days))});
        api.post("/api/v1/conversions", order).await.expect(202);
    };
    order("jpy", 20, "1000", "JPY").await;
    order("kwd", 10, "1.234", "KWD").await;
    // Weekends have none of their own: the last one holds for a week.
    order("eur", 7, "10.00", "EUR").await;
    order("late", 30, "10.00", "EUR").await;
    let refund = j!({"id": "r", "amount": "400", "occurred_at": format!("{}T12:00:00Z", day(10))});
    api.post("/api/v1/conversions/jpy/refunds", refund).await.expect(202);
    api.work().await;
    let stands = async |id: &str| {
        let read = api.get(&format!("/api/v1/conversions/{id}")).await.expect(200);
        ["status", "amount", "revenue", "refunds", "net_revenue", "rate"].map(|name| read[name].clone())
    };
    // 1000 / 150 x 1.20; a refund goes by its order's rate, so that a full one leaves nothing.
    assert_eq!(stands("jpy").await[..5], ["attributed", "1000", "8.00", "3.20", "4.80"].map(Value::from));
    // 1.234 / 0.34 x 1.10
    assert_eq!(stands("kwd").await[..5], ["attributed", "1.234", "3.99", "0.00", "3.99"].map(Value::from));
    assert_eq!(stands("eur").await[..5], ["attributed", "10.00", "11.00", "0.00", "11.00"].map(Value::from));
    let eur = api.get("/api/v1/conversions/eur").await.expect(200);
    assert_eq!([&eur["rate"], &eur["rate_date"]], ["1.1", &*day(10)]);
    let missing = stands("late").await;
    assert_eq!(missing, [j!("excluded"), j!("10.00"), j!(null), j!(null), j!(null), j!(null)]);

    // Costs by their own days' rates too: one of a day with a rate, one of a day without.
    for (id, days) in [("with", 20), ("without", 30)] {
        let cost = j!({"post": "p", "amount": "3.00", "currency": "EUR", "from": day(days), "kind": "spend"});
        api.put(&format!("/api/v1/costs/{id}"), cost).await.expect(201);
    }
    let report = async || {
        let report = api.get("/api/v1/reports/attribution?by=post&model=last_touch").await.expect(200);
        let problems = report["problems"].as_array().unwrap().clone();
        let missing = problems.into_iter().filter(|problem| problem["code"] == "missing_rate").count();
        (report["totals"]["net_revenue"].clone(), report["totals"]["cost"].clone(), missing)
    };
    assert_eq!(report().await, (j!("19.79"), j!("3.60"), 2), "an order and a cost wait for their rates");

    // The rate arrives, and both heal by themselves.
    let rates = j!({"base": "EUR", "date": day(31), "rates": {"USD": "1.30"}});
    api.put("/api/v1/rates", rates).await.expect(200);
    api.work().await;
    assert_eq!(stands("late").await[..3], ["attributed", "10.00", "13.00"].map(Value::from));
    assert_eq!(report().await, (j!("32.79"), j!("7.50"), 0));
}
