//! Reports over ledgers made by hand, with figures computed by hand.

mod agreement;
mod extras;
mod postgres;
mod sheets;
mod shop;
#[path = "../support/mod.rs"]
mod support;

use serde_json::json;
use shop::{Order, SALE, Shop, rows};
use utmost::domain::ids::LinkId;
use utmost::reports::ReportError;
use utmost::worker::rollup::{Counts, Part, Rollups};

const MONEY: [&str; 4] = ["conversions", "revenue", "refunds", "net_revenue"];

/// Two posts on two networks, a link without a post, and orders of every kind in November.
async fn november() -> Shop {
    november_in(Shop::open("Europe/Berlin", "EUR").await).await
}

async fn november_in(mut shop: Shop) -> Shop {
    shop.post("a", Some("instagram"), Some("launch"), r#"["sale","new"]"#).await;
    shop.post("b", Some("tiktok"), Some("launch"), "[]").await;
    let a_insta = shop.link(Some("a"), Some("instagram"), Some("launch")).await;
    let a_tiktok = shop.link(Some("a"), Some("tiktok"), Some("launch")).await;
    let b = shop.link(Some("b"), None, None).await;
    let alone = shop.link(None, Some("x"), None).await;
    shop.clicks("2026-11-01", a_insta, 30, 3).await;
    shop.clicks("2026-11-02", a_insta, 10, 0).await;
    shop.clicks("2026-11-02", a_tiktok, 20, 0).await;
    shop.clicks("2026-11-05", b, 40, 1).await;
    shop.clicks("2026-11-06", alone, 5, 0).await;
    shop.clicks("2026-10-31", a_insta, 100, 0).await;
    // One touch; partly refunded in December.
    shop.order(Order {
        amount_minor: 10_000,
        touches: &[(Some(a_insta), "2026-11-01")],
        refunds: &[("2026-12-03", 2_500)],
        ..SALE
    })
    .await;
    // Three touches: b twice, a last.
    shop.order(Order {
        amount_minor: 10_000,
        touches: &[(Some(b), "2026-10-30"), (Some(b), "2026-11-05"), (Some(a_tiktok), "2026-11-06")],
        ..SALE
    })
    .await;
    // A rival touch was last.
    shop.order(Order {
        amount_minor: 3_001,
        touches: &[(Some(alone), "2026-11-06"), (None, "2026-11-10")],
        ..SALE
    })
    .await;
    shop.order(Order {
        amount_minor: 4_000,
        status: "unattributed",
        reason: Some("no_match"),
        basis: "total",
        ..SALE
    })
    .await;
    shop.order(Order {
        amount_minor: 700,
        status: "unattributed",
        reason: Some("other_channel"),
        touches: &[(None, "2026-11-10")],
        ..SALE
    })
    .await;
    shop.order(Order { amount_minor: 99_900, status: "excluded", reason: Some("test"), ..SALE }).await;
    // In December, from a click in November.
    shop.order(Order { day: "2026-12-01", amount_minor: 5_000, touches: &[(Some(b), "2026-11-05")], ..SALE })
        .await;
    // A lead.
    shop.order(Order {
        event: "lead",
        assigned_value_minor: Some(300),
        touches: &[(Some(a_insta), "2026-11-01"), (Some(b), "2026-11-05")],
        ..SALE
    })
    .await;
    shop
}

const IN_NOVEMBER: &str = "from=2026-11-01&to=2026-12-01";

#[tokio::test]
async fn clicks_count_on_their_day_and_rows_add_up() {
    let mut shop = november().await;
    let clicks = ["clicks", "unique_clicks", "bot_clicks", "recorded_clicks"];
    let mut check = async |query: &str, expected: &[&str]| {
        let report = shop.report(&format!("{IN_NOVEMBER}&{query}")).await.unwrap();
        assert_eq!(rows(&report, &clicks), expected, "{query}");
    };
    check("by=post", &["a: 60 60 6 69", "b: 40 40 4 45", "-: 5 5 0 5", "total: 105 105 10 119"]).await;
    check(
        "by=network",
        &["tiktok: 60 60 6 67", "instagram: 40 40 4 47", "x: 5 5 0 5", "total: 105 105 10 119"],
    )
    .await;
    check("by=network&post=a", &["tiktok: 20 20 2 22", "instagram: 40 40 4 47", "total: 60 60 6 69"]).await;
    check(
        "by=week",
        &["2026-10-26: 30 30 3 36", "2026-11-02: 75 75 7 83", "2026-11-09: 0 0 0 0", "total: 105 105 10 119"],
    )
    .await;
    check("by=month&network=instagram", &["2026-11-01: 40 40 4 47", "total: 40 40 4 47"]).await;
    check("by=tag", &["new: 60 60 6 69", "sale: 105 105 10 119", "total: 105 105 10 119"]).await;
    check("by=country&post=b", &["DE: 40 40 4 45", "total: 40 40 4 45"]).await;
    check("by=source", &["shop: null null null null", "total: null null null null"]).await;
    // Part of a month, and a whole one with a day before it.
    for (span, alone) in
        [("from=2026-10-31&to=2026-11-06", ""), ("from=2026-10-31&to=2026-12-01", "-: 5 5 0 5")]
    {
        let report = shop.report(&format!("{span}&by=post")).await.unwrap();
        let mut expected = vec!["a: 160 160 16 179", "b: 40 40 4 45", alone];
        expected.retain(|row| !row.is_empty());
        assert_eq!(rows(&report, &clicks)[..expected.len()], expected, "{span}");
    }
}

#[tokio::test]
async fn every_model_and_clock_credits_as_computed_by_hand() {
    let mut shop = november().await;
    let mut check = async |query: &str, expected: &[&str]| {
        let report = shop.report(query).await.unwrap();
        assert_eq!(rows(&report, &MONEY), expected, "{query}");
        assert!(
            report.problems.iter().all(|problem| problem.code == "basis_fallback"),
            "{:?}",
            report.problems
        );
    };
    check(
        &format!("{IN_NOVEMBER}&by=post&model=last_touch"),
        &[
            "a: 2.0000 200.00 25.00 175.00",
            "b: 0.0000 0.00 0.00 0.00",
            "-: 0.0000 0.00 0.00 0.00",
            "total: 2.0000 200.00 25.00 175.00",
        ],
    )
    .await;
    check(
        &format!("{IN_NOVEMBER}&by=post&model=linear"),
        &[
            "a: 1.3333 133.33 25.00 108.33",
            "b: 0.6667 66.67 0.00 66.67",
            "-: 0.5000 15.01 0.00 15.01",
            "total: 2.5000 215.01 25.00 190.01",
        ],
    )
    .await;
    // Refunds on their own day: December has only that.
    check(
        &format!("{IN_NOVEMBER}&by=post&model=first_touch&clock=cash"),
        &[
            "a: 1.0000 100.00 0.00 100.00",
            "b: 1.0000 100.00 0.00 100.00",
            "-: 1.0000 30.01 0.00 30.01",
            "total: 3.0000 230.01 0.00 230.01",
        ],
    )
    .await;
    check(
        "from=2026-12-01&to=2027-01-01&by=post&model=first_touch&clock=cash",
        &["b: 1.0000 50.00 0.00 50.00", "a: 0.0000 0.00 25.00 -25.00", "total: 1.0000 50.00 25.00 25.00"],
    )
    .await;
    // By the click's day: the order of December counts, the touch of October does not.
    check(
        &format!("{IN_NOVEMBER}&by=post&model=linear&clock=click"),
        &[
            "a: 1.3333 133.33 25.00 108.33",
            "b: 1.3333 83.33 0.00 83.33",
            "-: 0.5000 15.01 0.00 15.01",
            "total: 3.1667 231.67 25.00 206.67",
        ],
    )
    .await;
    check(
        &format!("{IN_NOVEMBER}&by=day&model=linear"),
        &[
            "2026-11-01: 0.0000 0.00 0.00 0.00",
            "2026-11-02: 0.0000 0.00 0.00 0.00",
            "2026-11-05: 0.0000 0.00 0.00 0.00",
            "2026-11-06: 0.0000 0.00 0.00 0.00",
            "2026-11-10: 2.5000 215.01 25.00 190.01",
            "total: 2.5000 215.01 25.00 190.01",
        ],
    )
    .await;
}

#[tokio::test]
async fn orders_are_reconciled_in_number_and_money() {
    let mut shop = november().await;
    let mut check = async |query: &str, expected: serde_json::Value| {
        let report = shop.report(&format!("{IN_NOVEMBER}&by=post&{query}")).await.unwrap();
        let mut json = serde_json::to_value(&report).unwrap()["reconciliation"].clone();
        let details = json.as_object_mut().unwrap().remove("details").unwrap();
        assert_eq!(
            details["unattributed"]["no_match"],
            "/api/v1/conversions?event=purchase&from=2026-11-01&to=2026-12-01&status=unattributed&reason=no_match"
        );
        assert_eq!(json, expected, "{query}\n{json:#}");
    };
    let money = |revenue: &str, refunds: &str, net: &str| json!({"revenue": revenue, "refunds": refunds, "net_revenue": net});
    let zero = || money("0.00", "0.00", "0.00");
    let counts = |amounts| {
        json!({
            "orders_received": 6,
            "attributed": 3,
            "unattributed": {"no_match": 1, "other_channel": 1},
            "excluded": {"test": 1},
            "amounts": amounts,
        })
    };
    // Linear: the rival takes 15.00 of 30.01, which move to other_channel beside the order of 7.00.
    check(
        "model=linear",
        counts(json!({
            "orders_received": money("1276.01", "25.00", "1251.01"),
            "attributed": money("215.01", "25.00", "190.01"),
            "unattributed": {"no_match": money("40.00", "0.00", "40.00"), "other_channel": money("22.00", "0.00", "22.00")},
            "excluded": {"test": money("999.00", "0.00", "999.00")},
            "attributed_to_clicks_outside": zero(),
            "attributed_from_orders_outside": zero(),
            "attributed_outside_filters": zero(),
        })),
    )
    .await;
    check(
        "model=first_touch&clock=cash&network=instagram",
        counts(json!({
            "orders_received": money("1276.01", "0.00", "1276.01"),
            "attributed": money("230.01", "0.00", "230.01"),
            "unattributed": {"no_match": money("40.00", "0.00", "40.00"), "other_channel": money("7.00", "0.00", "7.00")},
            "excluded": {"test": money("999.00", "0.00", "999.00")},
            "attributed_to_clicks_outside": zero(),
            "attributed_from_orders_outside": zero(),
            "attributed_outside_filters": money("130.01", "0.00", "130.01"),
        })),
    )
    .await;
    // 33.34 of the second order go to October's click; December's order has its click in November.
    check(
        "model=linear&clock=click",
        counts(json!({
            "orders_received": money("1276.01", "25.00", "1251.01"),
            "attributed": money("215.01", "25.00", "190.01"),
            "unattributed": {"no_match": money("40.00", "0.00", "40.00"), "other_channel": money("22.00", "0.00", "22.00")},
            "excluded": {"test": money("999.00", "0.00", "999.00")},
            "attributed_to_clicks_outside": money("33.34", "0.00", "33.34"),
            "attributed_from_orders_outside": money("50.00", "0.00", "50.00"),
            "attributed_outside_filters": zero(),
        })),
    )
    .await;
}

#[tokio::test]
async fn assisted_conversions_and_assigned_values() {
    let mut shop = november().await;
    let mut check = async |query: &str, expected: &[&str]| {
        let report = shop.report(&format!("{IN_NOVEMBER}&{query}")).await.unwrap();
        assert_eq!(rows(&report, &["assisted_conversions", "assigned_value"]), expected, "{query}");
    };
    // b twice before a; the lone link before a rival. The lead is worth 3.00, and b was its last touch.
    check("by=post&model=linear", &["a: 0 1.50", "b: 1 1.50", "-: 1 0.00", "total: 1 3.00"]).await;
    check("by=post&event=lead", &["a: 1 0.00", "b: 0 3.00", "-: 0 0.00", "total: 0 3.00"]).await;
    check("by=network&network=tiktok", &["tiktok: 0 3.00", "total: 0 3.00"]).await;
    check("by=tag&model=linear", &["sale: 1 3.00", "new: 0 1.50", "total: 1 3.00"]).await;
    check("by=country", &["DE: 1 3.00", "total: 1 3.00"]).await;
    check(
        "by=day&clock=click",
        &[
            "2026-11-01: 0 0.00",
            "2026-11-02: 0 0.00",
            "2026-11-05: 1 3.00",
            "2026-11-06: 1 0.00",
            "total: 1 3.00",
        ],
    )
    .await;
}

const COSTS: [&str; 4] = ["cost_direct", "cost_shared", "cost", "roi_percent"];

#[tokio::test]
async fn costs_spread_over_days_and_posts() {
    let mut shop = november().await;
    // November's two thirds of 90.00 over 30 days from 11 November are 60.00.
    shop.cost("post", "a", 9_000, "EUR", "2026-11-11", "2026-12-11").await;
    // Per day 10.00: on the 1st all to a; on the 2nd too; on the 3rd nobody clicked: equally.
    shop.cost("campaign", "launch", 3_000, "EUR", "2026-11-01", "2026-11-04").await;
    // tiktok: a has 20 clicks of it on the 2nd, b has 40 on the 5th; 1.00 a day.
    shop.cost("network", "tiktok", 500, "EUR", "2026-11-01", "2026-11-06").await;
    shop.cost("network", "pinterest", 700, "EUR", "2026-11-01", "2026-11-08").await;
    shop.cost("link", "1002", 100, "EUR", "2026-11-01", "2026-11-02").await;
    let mut check = async |query: &str, expected: &[&str]| {
        let report = shop.report(&format!("{IN_NOVEMBER}&model=linear&{query}")).await.unwrap();
        assert_eq!(rows(&report, &COSTS), expected, "{query}");
    };
    // tiktok's cost: 1st, 3rd and 4th without clicks: 0.50 each; 2nd to a; 5th to b.
    check(
        "by=post",
        &[
            "a: 61.00 27.50 88.50 22.41",
            "b: 0.00 7.50 7.50 788.93",
            "-: 0.00 0.00 0.00 null",
            "unallocated: 0.00 7.00 7.00 -100.00",
            "total: 61.00 42.00 103.00 84.48",
        ],
    )
    .await;
    check(
        "by=day&post=b",
        &[
            "2026-11-01: 0.00 0.50 0.50 -100.00",
            "2026-11-03: 0.00 5.50 5.50 -100.00",
            "2026-11-04: 0.00 0.50 0.50 -100.00",
            "2026-11-05: 0.00 1.00 1.00 -100.00",
            "2026-11-10: 0.00 0.00 0.00 null",
            "total: 0.00 7.50 7.50 788.93",
        ],
    )
    .await;
    // The campaign: the 1st to instagram, of the 2nd two thirds to tiktok, of the 3rd a's half equally
    // over its two links and b's half to tiktok. a's own cost: nobody clicks after the 10th: equally.
    check(
        "by=network",
        &[
            "tiktok: 36.00 14.17 50.17 99.32",
            "instagram: 30.00 15.83 45.83 63.65",
            "x: 0.00 0.00 0.00 null",
            "pinterest: 7.00 0.00 7.00 -100.00",
            "total: 73.00 30.00 103.00 84.48",
        ],
    )
    .await;
    check(
        "by=campaign&campaign=launch",
        &["launch: 91.00 5.00 96.00 82.29", "total: 91.00 5.00 96.00 82.29"],
    )
    .await;
    check("by=country", &["DE: null null null null", "total: null null null null"]).await;
    check("by=day&country=DE&post=nobody", &["total: null null null null"]).await;
}

#[tokio::test]
async fn foreign_costs_convert_at_each_days_rate_or_say_so() {
    let mut shop = november().await;
    shop.rate("EUR", "USD", "2026-11-01", "1.25").await;
    shop.rate("EUR", "USD", "2026-11-02", "2").await;
    // 10.00 a day: 8.00, then 5.00; the last rate holds for a week, then two days have none.
    shop.cost("post", "a", 10_000, "USD", "2026-11-01", "2026-11-11").await;
    let report = shop.report(&format!("{IN_NOVEMBER}&by=post&post=a&model=linear")).await.unwrap();
    assert_eq!(rows(&report, &COSTS), ["a: 43.00 0.00 43.00 151.93", "total: 43.00 0.00 43.00 151.93"]);
    let missing: Vec<&str> =
        report.problems.iter().filter(|p| p.code == "missing_rate").map(|p| p.detail.as_str()).collect();
    assert_eq!(missing.len(), 1);
    assert!(
        missing[0].ends_with("no rate from USD to EUR on 2026-11-09 to 2026-11-10; these days are left out")
    );
}

#[tokio::test]
async fn hours_of_the_week_are_the_workspaces() {
    let mut shop = Shop::open("Asia/Kathmandu", "EUR").await;
    let link = shop.link(None, None, None).await;
    // 2026-11-09 is a Monday; noon UTC is 17:45 in Kathmandu.
    shop.order(Order {
        day: "2026-11-09",
        amount_minor: 500,
        touches: &[(Some(link), "2026-11-08")],
        ..SALE
    })
    .await;
    let month = i32::try_from(shop::day("2026-11-01")).unwrap();
    let counts = Counts { human: 9, uniques: 8, ..Counts::default() };
    shop.add(&Rollups {
        by_hour: [((shop::WORKSPACE, month, LinkId::from_i64(link).unwrap(), 1, 161), counts)].into(),
        in_all: [((shop::WORKSPACE, month, Part::Hour(161)), counts)].into(),
        ..Rollups::default()
    })
    .await;
    let mut check = async |query: &str, expected: &[&str]| {
        let report = shop.report(&format!("{IN_NOVEMBER}&by=hour_of_week&{query}")).await.unwrap();
        assert_eq!(rows(&report, &["clicks", "revenue", "cost"]), expected, "{query}");
    };
    check("", &["17: 0 5.00 null", "161: 9 0.00 null", "total: 9 5.00 null"]).await;
    check("clock=click", &["161: 9 5.00 null", "total: 9 5.00 null"]).await;
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_by_name() {
    let mut shop = Shop::open("Europe/Berlin", "EUR").await;
    let mut check = async |query: &str, expected: &str| {
        let refused = shop.report(query).await.unwrap_err();
        assert!(matches!(refused, ReportError::Invalid { .. }), "{query}");
        assert!(refused.to_string().starts_with(expected), "{query}: {refused}");
    };
    check("by=colour", "by: \"colour\" is none of post, network").await;
    check("model=magic", "model: \"magic\" is none of first_touch").await;
    check("model=markov&order=4", "order: \"4\" is no order: 1 to 3").await;
    check("model=linear&order=2", "order: does not belong to the model linear").await;
    check("model=shapley&transform=x", "transform: \"x\" is none of unique").await;
    check("model=markov&by=day", "by: markov and shapley credit the keys of journeys").await;
    check("model=markov&clock=click", "clock: markov and shapley look at the orders of a period").await;
    check("model=shapley&network=x", "model: markov and shapley look at whole journeys").await;
    check("clock=sun", "clock: \"sun\" is none of order, click, cash").await;
    check("from=yesterday", "from: \"yesterday\" is neither a date (2026-11-23) nor RFC 3339").await;
    check("from=2026-11-02&to=2026-11-02", "to: must be after `from`").await;
    check("from=1850-01-01", "from: must not be before 1970").await;
    check("from=1970-01-01&to=2070-01-01", "from: the period is longer").await;
    check("colour=red", "colour: is no parameter of this report").await;
    check("day=2026-11-01", "day: is no parameter of this report").await;
    check("post=a&post=b", "post: given twice").await;
    check("link=7", "link: \"7\" is no link id").await;
    check("by=country&device=mobile", "device: country and device do not combine").await;
    check("by=hour_of_week&country=DE", "by: hour_of_week combines with neither").await;
    check("by=hour_of_week&from=2026-11-02", "from: hours of the week are counted by month").await;
    check(
        "from=2026-11-01T00:00:00Z",
        "from: clicks are counted by day: expected the start of a day in Europe/Berlin",
    )
    .await;

    // The same moments, said in two ways; the zone was ahead of UTC by one hour.
    let report = shop.report("from=2026-10-31T23:00:00Z&to=2026-11-03T00:00:00%2B01:00").await;
    assert!(report.is_err(), "the caller decodes: %2B is no plus");
    let report = shop.report("from=2026-10-31T23:00:00Z&to=2026-11-03T00:00:00+01:00").await.unwrap();
    assert_eq!((report.from.to_string(), report.to.to_string()), ("2026-11-01".into(), "2026-11-03".into()));
}

#[tokio::test]
async fn json_and_csv_agree_and_say_what_they_are() {
    let mut shop = november().await;
    shop.cost("post", "a", 9_000, "EUR", "2026-11-11", "2026-12-11").await;
    let report = shop
        .report(&format!("{IN_NOVEMBER}&by=link&model=linear&clock=click&utm_medium=Social"))
        .await
        .unwrap();
    let text = serde_json::to_string(&report).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (field, expected) in [
        ("by", "link"),
        ("model", "linear"),
        ("from", "2026-11-01"),
        ("to", "2026-12-01"),
        ("timezone", "Europe/Berlin"),
        ("currency", "EUR"),
        ("clock", "click"),
        ("event", "purchase"),
        ("revenue_basis", "ex_tax"),
    ] {
        assert_eq!(json[field], expected);
    }
    assert_eq!(json["filters"], json!({"utm_medium": "social"}));
    assert_eq!(json["settings_hash"].as_str().unwrap().len(), 16);
    assert_eq!(json["problems"][0]["code"], "basis_fallback");

    let csv = report.to_csv().unwrap();
    let mut lines = csv.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let header = lines.next().unwrap();
    assert_eq!(header[2..], utmost::reports::COLUMNS);
    let totals = json!({"key": "total", "label": null}).as_object().unwrap().clone();
    let whole: serde_json::Map<String, serde_json::Value> =
        totals.into_iter().chain(json["totals"].as_object().unwrap().clone()).collect();
    let rows = json["rows"].as_array().unwrap().iter().map(|row| row.as_object().unwrap().clone());
    for (row, line) in rows.chain([whole]).zip(lines.by_ref()) {
        for (column, text) in header.iter().zip(line) {
            match &row[column] {
                serde_json::Value::Null => assert_eq!(text, "", "{column}"),
                serde_json::Value::String(value) => assert_eq!(&text, value, "{column}"),
                number => assert_eq!(text.parse::<f64>().unwrap(), number.as_f64().unwrap(), "{column}"),
            }
        }
    }
    assert_eq!(lines.next(), None);
}

#[tokio::test]
async fn the_table_fits_a_terminal_and_ends_with_the_reconciliation() {
    let mut shop = november().await;
    shop.cost("post", "a", 9_000, "EUR", "2026-11-11", "2026-12-11").await;
    let report = shop.report(&format!("{IN_NOVEMBER}&by=post&model=linear&network=instagram")).await.unwrap();
    let table = report.to_table();
    assert!(table.lines().all(|line| line.chars().count() <= 120), "{table}");
    insta::assert_snapshot!(table);
}

#[tokio::test]
async fn models_of_the_period_share_out_what_the_orders_brought() {
    let mut shop = november().await;
    let mut check = async |query: &str, expected: &[&str]| {
        let report = shop.report(&format!("{IN_NOVEMBER}&{query}")).await.unwrap();
        assert_eq!(rows(&report, &MONEY), expected, "{query}");
        assert!(
            report.problems.iter().all(|problem| problem.code != "not_reconciled"),
            "{:?}",
            report.problems
        );
        report
    };
    // Three paths: a (100.00, of which 25.00 went back), b b a (100.00), alone and a rival (30.01).
    check(
        "by=post&model=shapley",
        &[
            "a: 1.5000 150.00 25.00 125.00",
            "b: 0.5000 50.00 0.00 50.00",
            "-: 0.5000 15.01 0.00 15.01",
            "total: 2.5000 215.01 25.00 190.01",
        ],
    )
    .await;
    // Without a two of three conversions are lost, without b one of those two (half of a's journeys came
    // through b), without the lone link or its rival the third: 2, 1, 1, 1 of 5. Of the net they lose 175.00,
    // half of that, 30.01 and 30.01, of the refunds 25.00 and half of that.
    check(
        "by=post&model=markov",
        &[
            "a: 1.2000 127.91 16.67 111.24",
            "b: 0.6000 63.95 8.33 55.62",
            "-: 0.6000 19.08 0.00 19.08",
            "total: 2.4000 210.94 25.00 185.94",
        ],
    )
    .await;
    let report = check(
        "by=network&model=all",
        &[
            "tiktok: 1.0000 100.00 0.00 100.00",
            "instagram: 1.0000 100.00 25.00 75.00",
            "x: 0.0000 0.00 0.00 0.00",
            "total: 2.0000 200.00 25.00 175.00",
        ],
    )
    .await;
    let json = serde_json::to_value(&report).unwrap();
    let linear = &json["rows"][0]["models"]["linear"];
    assert_eq!(
        linear,
        &json!({"conversions": 1.0, "revenue": "100.00", "refunds": "0.00", "net_revenue": "100.00",
            "roi_percent": null, "net_revenue_change": "0.00"})
    );
    let x = &json["rows"][2]["models"];
    assert_eq!(x["first_touch"]["net_revenue"], "30.01");
    assert_eq!(x["first_touch"]["net_revenue_change"], "30.01");
    assert_eq!(x["shapley"]["net_revenue"], "15.01");
    assert_eq!(json["totals"]["models"]["first_touch"]["net_revenue"], "205.01");
    insta::assert_snapshot!(report.to_table());
}
