//! Models against one another, customers who come back, and closed periods.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utmost::domain::time::{day_date, local_day, now_ms};
use utmost::ledger::privacy::make_anonymous;
use utmost::reports::{ReportError, difference, freeze};

use crate::shop::Value::T;
use crate::shop::{Order, SALE, Shop, WORKSPACE, customer, settings, sheet_rows, told};
use crate::{IN_NOVEMBER, november};

#[tokio::test]
async fn each_row_gains_or_loses_by_model() {
    let mut shop = november().await;
    let columns = ["net_revenue", "linear_net_revenue", "linear_change", "linear_change_percent"];
    let sheet = shop.compare(&format!("{IN_NOVEMBER}&by=post&models=linear")).await.unwrap();
    assert_eq!(
        sheet_rows(&sheet, &columns),
        [
            "a: 175.00 108.33 -66.67 -38.10",
            // Nothing by the last touch: no percent of it.
            "b: 0.00 66.67 66.67 null",
            "-: 0.00 15.01 15.01 null",
            "total: 175.00 190.01 15.01 8.58",
        ]
    );
    assert_eq!(sheet.columns.len(), 6);
    let columns = ["net_revenue", "last_touch_net_revenue", "last_touch_change", "last_touch_change_percent"];
    let sheet = shop
        .compare(&format!("{IN_NOVEMBER}&by=post&models=last_touch,shapley&baseline=linear"))
        .await
        .unwrap();
    assert_eq!(
        sheet_rows(&sheet, &columns),
        [
            "a: 108.33 175.00 66.67 61.54",
            "b: 66.67 0.00 -66.67 -100.00",
            "-: 15.01 0.00 -15.01 -100.00",
            "total: 190.01 175.00 -15.01 -7.90",
        ]
    );
    assert_eq!(sheet_rows(&sheet, &["shapley_net_revenue"])[0], "a: 125.00");
    // All models that have an answer; the models of a period have none by day.
    let all = shop.compare(IN_NOVEMBER).await.unwrap();
    assert!(all.columns.iter().any(|column| column == "markov_change_percent"));
    let by_day = shop.compare(&format!("{IN_NOVEMBER}&by=day")).await.unwrap();
    assert!(by_day.columns.iter().all(|column| !column.starts_with("markov")));
    let sheet = shop.compare(&format!("{IN_NOVEMBER}&by=network&models=linear,markov")).await.unwrap();
    insta::assert_snapshot!(sheet.to_table());
}

#[tokio::test]
async fn comparisons_that_have_no_answer_are_refused() {
    let mut shop = november().await;
    let mut check = async |query: &str, field: &str| match shop.compare(query).await {
        Err(ReportError::Invalid { field: named, detail }) => assert_eq!(named, field, "{query}: {detail}"),
        other => panic!("{query}: {other:?}"),
    };
    check("models=linear,guess", "models").await;
    check("baseline=all", "baseline").await;
    check("model=linear", "model").await;
    check("models=markov&by=day", "by").await;
    check("models=markov&order=4", "order").await;
    check("baseline=shapley&clock=cash", "clock").await;
    check("colour=red", "colour").await;
}

#[tokio::test]
async fn csv_and_json_of_a_sheet_agree() {
    let mut shop = november().await;
    let sheet = shop.compare(&format!("{IN_NOVEMBER}&by=post")).await.unwrap();
    let json = serde_json::to_value(&sheet).unwrap();
    let text = sheet.to_csv().unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns = reader.headers().unwrap().clone();
    let mut compared = 0;
    for (i, record) in reader.records().enumerate() {
        let record = record.unwrap();
        let row = json["rows"].get(i).unwrap_or(&json["totals"]);
        for (column, text) in columns.iter().zip(&record).skip(2) {
            let value = match &row[column] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                number => number.to_string(),
            };
            assert_eq!(text.parse::<f64>().ok(), value.parse::<f64>().ok(), "{i} {column}");
            compared += 1;
        }
    }
    assert_eq!(compared, 4 * sheet.columns.len());
}

/// Days before today, as a date in the zone of the shop.
fn ago(days: i32) -> String {
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    day_date(local_day(now_ms(), &zone) - days).to_string()
}

async fn loyal() -> Shop {
    let mut shop = Shop::open("Europe/Berlin", "EUR").await;
    shop.post("a", Some("instagram"), None, "[]").await;
    shop.post("b", Some("tiktok"), None, "[]").await;
    let a = shop.link(Some("a"), None, None).await;
    let b = shop.link(Some("b"), None, None).await;
    let days: Vec<String> = (0..=410).map(ago).collect();
    let mut buy = async |customer: Option<&'static str>, day: usize, minor: i64, links: &[(i64, usize)]| {
        let touches: Vec<(Option<i64>, &str)> =
            links.iter().map(|(link, day)| (Some(*link), days[*day].as_str())).collect();
        let none = touches.is_empty();
        let order = Order {
            day: &days[day],
            amount_minor: minor,
            touches: &touches,
            customers: customer.as_slice(),
            status: if none { "unattributed" } else { "attributed" },
            reason: none.then_some("no_match"),
            ..SALE
        };
        shop.order(order).await;
    };
    // Ann found us by b, bought by a ten days later, came back within 30 days, then by b, then in a year.
    buy(Some("ann"), 400, 10_000, &[(b, 410), (a, 401)]).await;
    buy(Some("ann"), 371, 5_000, &[]).await;
    buy(Some("ann"), 370, 2_000, &[(b, 370)]).await;
    buy(Some("ann"), 10, 500, &[(b, 10)]).await;
    // Bea is new: too young for any of the spans.
    buy(Some("bea"), 10, 4_000, &[(a, 12)]).await;
    // Cid came by himself and later by social: social has not brought him.
    buy(Some("cid"), 95, 3_000, &[]).await;
    buy(Some("cid"), 5, 7_000, &[(a, 5)]).await;
    // Nobody knows who this was.
    buy(None, 50, 1_000, &[]).await;
    shop
}

#[tokio::test]
async fn customers_that_social_brought_against_all_others() {
    let mut shop = loyal().await;
    let query = format!("from={}&to={}", ago(410), ago(0));
    let sheet = shop.retention(&query).await.unwrap();
    let columns = ["new_customers", "returning_customers", "orders", "orders_per_customer", "repeat_rate"];
    assert_eq!(sheet_rows(&sheet, &columns), ["social: 2 2 5 2.50 0.5000", "others: 1 1 2 2.00 1.0000"]);
    let columns = ["average_order_value", "net_revenue", "revenue_per_customer"];
    assert_eq!(sheet_rows(&sheet, &columns), ["social: 43.00 215.00 107.50", "others: 50.00 100.00 100.00"]);
    let after: Vec<String> = [30, 60, 90, 365]
        .iter()
        .flat_map(|n| [format!("revenue_per_customer_{n}_days"), format!("customers_after_{n}_days")])
        .collect();
    let after: Vec<&str> = after.iter().map(String::as_str).collect();
    assert_eq!(
        sheet_rows(&sheet, &after),
        [
            // The 30th day is the first that no longer counts.
            "social: 150.00 1 170.00 1 170.00 1 170.00 1",
            "others: 30.00 1 30.00 1 30.00 1 null 0",
        ]
    );
    let columns = ["median_days_to_close", "mean_days_to_close"];
    assert_eq!(sheet_rows(&sheet, &columns), ["social: 6.00 6.00", "others: null null"]);
    assert_eq!(sheet.problems[0].code, "unknown_customer");
    assert!(sheet.problems[0].detail.ends_with(": 1"), "{}", sheet.problems[0].detail);
}

#[tokio::test]
async fn new_and_returning_customers_by_what_brought_them() {
    let mut shop = loyal().await;
    let columns = ["new_customers", "returning_customers"];
    let mut check = async |query: &str, expected: &[&str]| {
        let sheet = shop.retention(query).await.unwrap();
        assert_eq!(sheet_rows(&sheet, &columns), expected, "{query}");
    };
    let all = format!("from={}&to={}", ago(410), ago(0));
    check(&format!("by=post&{all}"), &["a: 2 1", "b: 0 1", "others: 1 1"]).await;
    check(&format!("by=network&{all}"), &["instagram: 2 1", "tiktok: 0 1", "others: 1 1"]).await;
    // Only the last 20 days: Bea is new, Ann and Cid come back.
    let last = format!("by=post&from={}&to={}", ago(20), ago(0));
    check(&last, &["a: 1 1", "b: 0 1"]).await;
    for (query, field) in [("by=day", "by"), ("model=linear", "model"), ("from=x", "from")] {
        match shop.retention(query).await {
            Err(ReportError::Invalid { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{query}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn an_erased_customer_stays_one_under_another_name() {
    let mut shop = loyal().await;
    let query = format!("by=post&from={}&to={}", ago(410), ago(0));
    let before = shop.retention(&query).await.unwrap();
    let ann = customer("ann");
    for order in shop.orders_of(&ann).await {
        let name = format!("order-{order}");
        shop.insert(
            "order_customers (workspace, customer, source, order_id)",
            &[T(WORKSPACE), T(&ann), T("shop"), T(&name)],
        )
        .await;
    }
    shop.commit().await;
    let bytes = hex::decode(&ann).unwrap();
    assert!(shop.packed().await.iter().any(|packed| packed.windows(16).any(|part| part == bytes)));
    let mut tx = shop.ledger.begin_alone().await.unwrap();
    make_anonymous(&mut tx, WORKSPACE, &[ann].into(), &[].into()).await.unwrap();
    tx.commit().await.unwrap();
    // Before anything is evaluated anew.
    assert!(!shop.packed().await.iter().any(|packed| packed.windows(16).any(|part| part == bytes)));
    let after = shop.retention(&query).await.unwrap();
    assert_eq!(told(&after), told(&before));
}

fn pairs(query: &[(&str, &str)]) -> Vec<(String, String)> {
    query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_closed_period_is_frozen_and_compared_with_today() {
    let mut shop = Shop::open("Europe/Berlin", "EUR").await;
    shop.post("a", Some("instagram"), None, "[]").await;
    let a = shop.link(Some("a"), None, None).await;
    let (first, middle, last, today) = (ago(40), ago(30), ago(10), ago(0));
    let sale = Order { day: &middle, amount_minor: 10_000, touches: &[(Some(a), &first)], ..SALE };
    let order = shop.order(sale.clone()).await;
    shop.clicks(&first, a, 20, 0).await;
    shop.commit().await;
    let query = pairs(&[("by", "post"), ("from", &first), ("to", &last)]);
    let frozen = freeze(&shop.ledger, WORKSPACE, "then", &query, &settings()).await.unwrap();
    let unchanged = difference(&shop.ledger, &frozen, &settings()).await.unwrap();
    let moved = ["net_revenue_then", "net_revenue_now", "net_revenue_change", "cost_change", "clicks_change"];
    assert_eq!(
        sheet_rows(&unchanged, &moved),
        ["a: 100.00 100.00 0.00 0.00 0", "total: 100.00 100.00 0.00 0.00 0"]
    );

    // A late refund of 25.00, a late order without a match, and a cost.
    let later = frozen.as_of_ms + 1000;
    let refunds = [(middle.as_str(), 2_500)];
    shop.evaluate(order, &Order { refunds: &refunds, ..sale.clone() }, later).await;
    shop.commit().await;
    let mut tx = shop.ledger.begin().await.unwrap();
    let fact = format!(
        "INSERT INTO facts (source, order_id, hash, workspace, version_ms, says, delivery, received_ms)
         SELECT source, order_id, 'h', workspace, 0, '{{}}', 'd', {later} FROM conversions WHERE id = {order}"
    );
    sqlx::query(sqlx::AssertSqlSafe(fact)).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    shop.order(Order { touches: &[], status: "unattributed", reason: Some("no_match"), ..sale }).await;
    shop.commit().await;
    let mut tx = shop.ledger.begin().await.unwrap();
    let late = format!("UPDATE conversions SET received_ms = {later} WHERE id <> {order}");
    sqlx::query(sqlx::AssertSqlSafe(late)).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    shop.cost("post", "a", 1_000, "EUR", &first, &middle).await;
    shop.commit().await;
    let mut tx = shop.ledger.begin().await.unwrap();
    let booked = format!("UPDATE costs SET created_ms = {later}");
    sqlx::query(sqlx::AssertSqlSafe(booked)).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();

    let sheet = difference(&shop.ledger, &frozen, &settings()).await.unwrap();
    assert_eq!(
        sheet_rows(&sheet, &moved),
        ["a: 100.00 75.00 -25.00 10.00 0", "total: 100.00 75.00 -25.00 10.00 0"]
    );
    let foot: BTreeMap<&str, Value> = sheet.foot.iter().cloned().collect();
    assert_eq!(
        foot["why"],
        json!({"late_orders": 1, "late_orders_net_revenue": "100.00", "orders_changed_by_later_deliveries": 1,
            "orders_evaluated_again": 1, "costs_booked": 1, "settings_changed": false})
    );
    assert_eq!(
        foot["reconciliation"]["unattributed: no_match"],
        json!({"orders_change": 1, "net_revenue_change": "100.00", "refunds_change": "0.00"})
    );
    assert_eq!(
        foot["reconciliation"]["attributed"],
        json!({"orders_change": 0, "net_revenue_change": "-25.00", "refunds_change": "25.00"})
    );
    let mut changed = settings();
    changed.lookback_days = 30;
    let sheet = difference(&shop.ledger, &frozen, &changed).await.unwrap();
    assert_eq!(sheet.foot[0].1["settings_changed"], json!(true));

    // Open ends, and days that are not over.
    let tomorrow =
        day_date(local_day(now_ms(), &jiff::tz::TimeZone::get("Europe/Berlin").unwrap()) + 1).to_string();
    for (query, field) in [
        (pairs(&[("from", &first)]), "to"),
        (pairs(&[("to", &today)]), "from"),
        (pairs(&[("from", &first), ("to", &tomorrow)]), "to"),
    ] {
        match freeze(&shop.ledger, WORKSPACE, "no", &query, &settings()).await {
            Err(ReportError::Invalid { field: named, .. }) => assert_eq!(named, field, "{query:?}"),
            other => panic!("{query:?}: {other:?}"),
        }
    }
}
