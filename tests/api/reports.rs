//! Reports over HTTP: models compared, customers kept, periods frozen, days of every zone, and the way from a
//! number to the raw delivery.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json as j};
use utmost::domain::time::{now_ms, parse_rfc3339, rfc3339};

use crate::server::{Server, fields};

const DAY_MS: i64 = 24 * 3_600_000;

fn date(at_ms: i64) -> String {
    rfc3339(at_ms)[..10].to_owned()
}

/// Two posts; an order of both, one of nobody, a test, one in a currency without a rate.
pub async fn shop(api: &Server) {
    let then_ms = now_ms() - 20 * DAY_MS;
    let mut tokens = Vec::new();
    for (post, network, days) in [("p1", "instagram", 5), ("p2", "tiktok", 2)] {
        let body = j!({"destination": "https://shop.test", "networks": [network], "kind": "video"});
        let post = api.put(&format!("/api/v1/posts/{post}"), body).await.expect(201);
        tokens.push(api.click(&post["links"][0], then_ms - days * DAY_MS).await);
    }
    let at = rfc3339(then_ms);
    for order in [
        j!({"id": "o1", "amount": "100.00", "currency": "USD", "click_ids": tokens, "occurred_at": at,
            "customer": {"id": "ann"}, "cost_of_goods": "40.00"}),
        j!({"id": "o2", "amount": "30.00", "currency": "USD", "occurred_at": at, "customer": {"id": "bob"}}),
        j!({"id": "o3", "amount": "30.00", "currency": "CHF", "occurred_at": at}),
    ] {
        api.post("/api/v1/conversions", order).await.expect(202);
    }
    api.work().await;
}

fn period() -> String {
    format!("from={}&to={}", date(now_ms() - 40 * DAY_MS), date(now_ms() - DAY_MS))
}

#[tokio::test]
async fn models_are_compared_and_customers_counted_over_http() {
    let api = Server::start().await;
    shop(&api).await;
    let compare = format!("/api/v1/reports/compare?by=network&models=linear,first_touch&{}", period());
    let report = api.get(&compare).await.expect(200);
    assert_eq!(report["baseline"], "last_touch");
    assert_eq!(report["models"], j!(["linear", "first_touch"]));
    let tiktok = report["rows"].as_array().unwrap().iter().find(|row| row["key"] == "tiktok").unwrap();
    assert_eq!(
        (&tiktok["net_revenue"], &tiktok["linear_change"], &tiktok["linear_change_percent"]),
        (&j!("100.00"), &j!("-50.00"), &j!(-50.0))
    );
    assert_eq!(report["totals"]["first_touch_change"], "0.00");
    let csv = api.get(&format!("{compare}&format=csv")).await;
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    assert!(csv.body.starts_with("key,label,conversions,net_revenue,linear_conversions,"), "{}", csv.body);
    let refused = api.get("/api/v1/reports/compare?baseline=x").await.expect(422);
    assert_eq!(fields(&refused), ["baseline"]);

    let report = api.get(&format!("/api/v1/reports/retention?{}", period())).await.expect(200);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!((&rows[0]["key"], &rows[0]["new_customers"]), (&j!("social"), &j!(1)));
    assert_eq!((&rows[1]["key"], &rows[1]["net_revenue"]), (&j!("others"), &j!("30.00")));
    assert_eq!(rows[0]["median_days_to_close"], j!(5.0));
    assert_eq!(fields(&api.get("/api/v1/reports/retention?by=day").await.expect(422)), ["by"]);

    // The program's own words say the same.
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_utmost"))
            .arg("report")
            .args(arguments)
            .current_dir(api.dir())
            .env("UTMOST_DATA_DIR", api.dir())
            .output()
            .expect("the binary runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let (from, to) = (date(now_ms() - 40 * DAY_MS), date(now_ms() - DAY_MS));
    let days = ["--from", &from, "--to", &to, "--format", "csv"];
    let printed =
        run(&[["compare", "--by", "network", "--models", "linear,first_touch"].as_slice(), &days].concat());
    assert_eq!(printed, csv.body);
    let printed = run(&[["retention"].as_slice(), &days].concat());
    assert!(printed.contains("\nsocial,,1,0,1,1.00,0.0000,100.00,"), "{printed}");
    let printed = run(&["attribution", "--model", "markov", "--order", "2", "--transform", "unique"]);
    assert!(printed.contains("markov"), "{printed}");
}

#[tokio::test]
async fn what_goods_cost_makes_profit() {
    let api = Server::start().await;
    shop(&api).await;
    let cost = j!({"post": "p2", "amount": "10.00", "currency": "USD", "from": date(now_ms() - 22 * DAY_MS), "kind": "spend"});
    api.post("/api/v1/costs", cost).await.expect(201);
    let query = format!("/api/v1/reports/attribution?by=post&model=linear&{}", period());
    let report = api.get(&query).await.expect(200);
    let row = |key: &str| report["rows"].as_array().unwrap().iter().find(|row| row["key"] == key).unwrap();
    let profit =
        |row: &Value| ["cost_of_goods", "profit", "profit_roi_percent"].map(|column| row[column].clone());
    assert_eq!(profit(row("p1")), [j!("20.00"), j!("30.00"), Value::Null]);
    assert_eq!(profit(row("p2")), [j!("20.00"), j!("20.00"), j!(200.0)]);
    assert_eq!(profit(&report["totals"]), [j!("40.00"), j!("50.00"), j!(500.0)]);
}

#[tokio::test]
async fn every_number_leads_to_its_orders_and_to_what_was_sent() {
    let api = Server::start().await;
    shop(&api).await;
    let report = api.get(&format!("/api/v1/reports/attribution?{}", period())).await.expect(200);
    let all = &report["reconciliation"];
    assert_eq!(
        (&all["orders_received"], &all["attributed"], &all["unattributed"], &all["excluded"]),
        (&j!(3), &j!(1), &j!({"no_match": 1}), &j!({"missing_rate": 1}))
    );
    let problems: Vec<&str> =
        report["problems"].as_array().unwrap().iter().map(|it| it["detail"].as_str().unwrap()).collect();
    assert!(
        problems
            .iter()
            .any(|it| it.starts_with("orders in CHF excluded for want of an exchange rate: 1, on 1 days")),
        "{problems:?}"
    );
    let details = &all["details"];
    let mut counted = 0;
    for (list, number) in [
        (&details["orders_received"], &all["orders_received"]),
        (&details["attributed"], &all["attributed"]),
        (&details["unattributed"]["no_match"], &all["unattributed"]["no_match"]),
        (&details["excluded"]["missing_rate"], &all["excluded"]["missing_rate"]),
    ] {
        let orders = api.get(list.as_str().unwrap()).await.expect(200);
        let orders = orders["data"].as_array().unwrap();
        assert_eq!(j!(orders.len()), *number, "{list}");
        for order in orders {
            let id = order["id"].as_str().unwrap();
            let order = api.get(&format!("/api/v1/conversions/{id}")).await.expect(200);
            let delivery = order["deliveries"][0]["id"].as_str().unwrap();
            let delivery = api.get(&format!("/api/v1/deliveries/{delivery}")).await.expect(200);
            assert_eq!(delivery["order_id"], *id);
            counted += 1;
        }
    }
    assert_eq!(counted, 6);

    // The rate arrives: the order counts, and nothing is excluded any more.
    let day = date(now_ms() - 20 * DAY_MS);
    let rates = j!([{"base": "CHF", "date": day, "rates": {"USD": "1.10"}}]);
    api.put("/api/v1/rates", rates).await.expect(200);
    api.work().await;
    let report = api.get(&format!("/api/v1/reports/attribution?{}", period())).await.expect(200);
    assert_eq!(report["reconciliation"]["excluded"], j!({}));
    assert_eq!(report["reconciliation"]["amounts"]["orders_received"]["net_revenue"], "163.00");
    assert!(report["problems"].as_array().unwrap().iter().all(|it| it["code"] != "missing_rate"));
}

#[tokio::test]
async fn a_period_is_frozen_listed_and_compared() {
    let api = Server::start().await;
    shop(&api).await;
    let (from, to) = (date(now_ms() - 40 * DAY_MS), date(now_ms() - DAY_MS));
    let body = j!({"name": "then", "query": {"by": "post", "model": "linear", "from": from, "to": to}});
    let made = api.post("/api/v1/reports/snapshots", body.clone()).await.expect(201);
    assert_eq!(made["report"]["totals"]["net_revenue"], "100.00");
    assert_eq!((&made["from"], &made["to"], &made["query"]["model"]), (&j!(from), &j!(to), &j!("linear")));
    let path = format!("/api/v1/reports/snapshots/{}", made["id"].as_str().unwrap());
    assert_eq!(api.get(&path).await.expect(200), made);
    let second = api.post("/api/v1/reports/snapshots", body).await.expect(201);
    let first_page = api.get("/api/v1/reports/snapshots?limit=1").await.expect(200);
    assert_eq!((&first_page["data"][0]["id"], first_page["data"][0].get("report")), (&second["id"], None));
    let cursor = first_page["next_cursor"].as_str().unwrap();
    let rest = api.get(&format!("/api/v1/reports/snapshots?limit=1&cursor={cursor}")).await.expect(200);
    assert_eq!((&rest["data"][0]["id"], &rest["next_cursor"]), (&made["id"], &Value::Null));

    // A late refund.
    api.post("/api/v1/conversions/o1/refunds", j!({"id": "r1", "amount": "20.00"})).await.expect(202);
    api.work().await;
    let compared = api.get(&format!("{path}/compare")).await.expect(200);
    let totals = &compared["totals"];
    assert_eq!(
        (&totals["net_revenue_then"], &totals["net_revenue_now"], &totals["net_revenue_change"]),
        (&j!("100.00"), &j!("80.00"), &j!("-20.00"))
    );
    let rows: BTreeMap<&str, &Value> = compared["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["key"].as_str().unwrap(), &row["refunds_change"]))
        .collect();
    assert_eq!(rows, BTreeMap::from([("p1", &j!("10.00")), ("p2", &j!("10.00"))]));
    assert_eq!(compared["why"]["orders_changed_by_later_deliveries"], 1);
    assert_eq!(compared["why"]["late_orders"], 0);
    let csv = api.get(&format!("{path}/compare?format=csv")).await;
    assert!(
        csv.body.contains("\ntotal,,2,2,0,1.0000,1.0000,0.0000,100.00,100.00,0.00,0.00,20.00,20.00,"),
        "{}",
        csv.body
    );

    // What cannot be frozen, and what is not there.
    for (body, field) in [
        (j!({"name": "", "query": {"from": from, "to": to}}), "name"),
        (j!({"name": "n", "query": {"from": from}}), "to"),
        (j!({"name": "n", "query": {"from": from, "to": date(now_ms() + 2 * DAY_MS)}}), "to"),
        (j!({"name": "n", "query": {"from": from, "to": to, "by": "colour"}}), "by"),
    ] {
        let problem = api.post("/api/v1/reports/snapshots", body).await.expect(422);
        assert_eq!(fields(&problem), [field]);
    }
    api.get("/api/v1/reports/snapshots/none").await.expect(404);
    api.post("/api/v1/workspaces", j!({"id": "acme", "name": "Acme"})).await.expect(201);
    api.with_header("utmost-workspace", "acme").get(&path).await.expect(404);
}

/// Around midnight, and around the hours that clocks skip or repeat.
#[tokio::test]
async fn days_and_hours_are_those_of_the_workspaces_zone() {
    let api = Server::start().await;
    // Zone; click, order and refund; their local days; hours of the week of click, order and refund.
    let cases = [
        // +05:30: midnight is 18:30 UTC.
        (
            "Asia/Kolkata",
            ["2026-06-01T18:29:59Z", "2026-06-01T18:30:00Z", "2026-06-03T18:29:59Z"],
            ["2026-06-01", "2026-06-02", "2026-06-03"],
            [23, 24, 71],
        ),
        // +05:45.
        (
            "Asia/Kathmandu",
            ["2026-06-01T18:14:59Z", "2026-06-01T18:15:00Z", "2026-06-07T18:15:00Z"],
            ["2026-06-01", "2026-06-02", "2026-06-08"],
            [23, 24, 0],
        ),
        // 29 March has 23 hours: 01:59:59 is followed by 03:00.
        (
            "Europe/Berlin",
            ["2026-03-28T23:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T22:00:00Z"],
            ["2026-03-29", "2026-03-29", "2026-03-30"],
            [144, 147, 0],
        ),
        // 1 November has 25 hours in New York: 05:59:59 UTC and 06:00 UTC are both in the hour from 01:00.
        (
            "America/New_York",
            ["2026-11-01T05:59:59Z", "2026-11-01T06:00:00Z", "2026-11-02T04:59:59Z"],
            ["2026-11-01", "2026-11-01", "2026-11-01"],
            [145, 145, 167],
        ),
    ];
    for (i, (zone, [click, order, refund], days, hours)) in cases.into_iter().enumerate() {
        let id = format!("w{i}");
        let body = j!({"id": id, "name": zone, "timezone": zone, "currency": "USD"});
        api.post("/api/v1/workspaces", body).await.expect(201);
        let api = api.with_header("utmost-workspace", &id);
        let link = api.post("/api/v1/links", j!({"url": "https://shop.test"})).await.expect(201);
        let token = api.click(&link, parse_rfc3339(click).unwrap()).await;
        let sale =
            j!({"id": "o1", "amount": "10.00", "currency": "USD", "click_id": token, "occurred_at": order});
        api.post("/api/v1/conversions", sale).await.expect(202);
        let back = j!({"id": "r1", "amount": "4.00", "occurred_at": refund});
        api.post("/api/v1/conversions/o1/refunds", back).await.expect(202);
        api.work().await;

        for (by, key_of) in [("day", 0), ("week", 1), ("month", 2), ("hour_of_week", 3)] {
            let key = |touch: usize| {
                let day: jiff::civil::Date = days[touch].parse().unwrap();
                match key_of {
                    0 => days[touch].to_owned(),
                    1 => (day - jiff::Span::new().days(day.weekday().to_monday_zero_offset())).to_string(),
                    2 => day.first_of_month().to_string(),
                    _ => hours[touch].to_string(),
                }
            };
            for (clock, sale, refund) in [("order", 1, 1), ("click", 0, 0), ("cash", 1, 2)] {
                let mut expected: BTreeMap<String, (i64, i64, i64)> = BTreeMap::new();
                expected.entry(key(0)).or_default().0 += 1;
                expected.entry(key(sale)).or_default().1 += 1000;
                expected.entry(key(refund)).or_default().2 += 400;
                let path = format!("/api/v1/reports/attribution?by={by}&clock={clock}");
                let report = api.get(&path).await.expect(200);
                let minor = |value: &Value| value.as_str().unwrap().replace('.', "").parse::<i64>().unwrap();
                let rows: BTreeMap<String, (i64, i64, i64)> = report["rows"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|row| {
                        let figures =
                            (row["clicks"].as_i64().unwrap(), minor(&row["revenue"]), minor(&row["refunds"]));
                        (row["key"].as_str().unwrap().to_owned(), figures)
                    })
                    .collect();
                assert_eq!(rows, expected, "{zone} {path}");
            }
        }
        // Half-open: the order's day alone has it, and the day before has not.
        let day: jiff::civil::Date = days[1].parse().unwrap();
        let next = day + jiff::Span::new().days(1);
        let before = day - jiff::Span::new().days(1);
        for (from, to, orders) in
            [(day, next, 1), (before, day, 0), (next, next + jiff::Span::new().days(1), 0)]
        {
            let path = format!("/api/v1/reports/attribution?from={from}&to={to}");
            let report = api.get(&path).await.expect(200);
            assert_eq!(report["reconciliation"]["orders_received"], orders, "{zone} {path}");
        }
    }
}

/// WooCommerce deletes a refund: the order then states none, and every report is as if it had never been.
#[tokio::test]
async fn a_refund_that_is_taken_back_leaves_nothing_in_any_report() {
    let api = Server::start().await;
    shop(&api).await;
    let read = async || {
        let mut all = Vec::new();
        for query in [
            "by=post&model=linear",
            "by=day&model=time_decay&clock=cash",
            "by=network&model=all",
            "by=link&clock=click",
        ] {
            let report =
                api.get(&format!("/api/v1/reports/attribution?{query}&{}", period())).await.expect(200);
            all.extend([report["rows"].clone(), report["totals"].clone(), report["reconciliation"].clone()]);
        }
        all
    };
    let before = read().await;
    api.post("/api/v1/conversions/o1/refunds", j!({"id": "r1", "amount": "33.33"})).await.expect(202);
    api.work().await;
    assert_ne!(read().await, before);
    api.post("/api/v1/conversions/o1/refunds", j!({"id": "r1", "amount": "0.00"})).await.expect(202);
    api.work().await;
    assert_eq!(read().await, before);
}
