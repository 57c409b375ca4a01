//! Whatever happened in a shop: rows of every kind add up to the same totals, and every order is accounted for.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use utmost::reports::{COLUMNS, Report};

use crate::shop::{Order, SALE, Shop};

/// An order as drawn, before it stands in the ledger.
type DrawnOrder = (u8, u16, Vec<(u8, u8)>, (u16, u8), u8);

/// Numbers from which a shop is made; whatever they are, it is a possible one.
#[derive(Debug, Clone)]
struct Plan {
    /// (post, network, campaign), each with a way of being absent.
    links: Vec<(u8, u8, u8)>,
    /// (link, day, clicks).
    clicks: Vec<(u8, u8, u8)>,
    /// (day, amount, touches as (link, days before, 7: a rival), (refund, days later), kind).
    orders: Vec<DrawnOrder>,
    /// (scope, target, amount, from day, days).
    costs: Vec<(u8, u8, u16, u8, u8)>,
}

fn plans() -> impl Strategy<Value = Plan> {
    let links = prop::collection::vec((0u8..4, 0u8..4, 0u8..3), 1..6);
    let clicks = prop::collection::vec((0u8..6, 0u8..40, 0u8..50), 0..12);
    let touches = prop::collection::vec((0u8..8, 0u8..9), 0..4);
    let orders = prop::collection::vec((0u8..40, 0u16..9_999, touches, (0u16..9_999, 0u8..9), 0u8..12), 0..8);
    let costs = prop::collection::vec((0u8..4, 0u8..4, 0u16..9_999, 0u8..40, 1u8..30), 0..5);
    (links, clicks, orders, costs).prop_map(|(links, clicks, orders, costs)| Plan {
        links,
        clicks,
        orders,
        costs,
    })
}

/// Days from 20 October on.
fn date(day: u8) -> String {
    utmost::domain::time::day_date(20_746 + i32::from(day)).to_string()
}

async fn shop_of(plan: &Plan) -> Shop {
    const NAMES: [&str; 4] = ["one", "two", "three", "four"];
    let named = |n: u8| NAMES.get(n as usize).copied();
    let mut shop = Shop::open("Asia/Kathmandu", "EUR").await;
    // The third post has links and costs, but nobody has said anything of it.
    shop.post("one", Some("one"), Some("one"), "[\"t\"]").await;
    shop.post("two", None, None, "[]").await;
    let mut links = Vec::new();
    for (post, network, campaign) in &plan.links {
        links.push(shop.link(named(*post).filter(|_| *post < 3), named(*network), named(*campaign)).await);
    }
    let link = |n: u8| links[n as usize % links.len()];
    let mut counted = std::collections::BTreeSet::new();
    for (n, day, human) in &plan.clicks {
        if counted.insert((link(*n), *day)) {
            shop.clicks(&date(*day), link(*n), i64::from(*human), 1).await;
        }
    }
    for (day, amount, touches, (refund, later), kind) in &plan.orders {
        let mut touched: Vec<(Option<i64>, String)> = touches
            .iter()
            .map(|(n, before)| ((*n < 7).then(|| link(*n)), date(day.saturating_sub(*before))))
            .collect();
        touched.sort_by(|a, b| a.1.cmp(&b.1));
        let touches: Vec<(Option<i64>, &str)> =
            touched.iter().map(|(link, day)| (*link, day.as_str())).collect();
        let (ordered, refunded) = (date(*day), date(day + later));
        let refunds = [(refunded.as_str(), i64::from((*refund).min(*amount)))];
        let ours = touches.iter().any(|(link, _)| link.is_some());
        let order = Order {
            day: &ordered,
            amount_minor: i64::from(*amount),
            refunds: if kind % 3 == 0 { &refunds } else { &[] },
            fx_minor: if kind % 6 == 0 { 7 } else { 0 },
            source: if kind % 2 == 0 { "shop" } else { "other" },
            ..SALE
        };
        let order = match (kind, ours) {
            (11, _) => Order { status: "excluded", reason: Some("test"), ..order },
            (10, _) => Order {
                event: "lead",
                amount_minor: 0,
                refunds: &[],
                fx_minor: 0,
                assigned_value_minor: Some(333),
                touches: &touches,
                ..order
            },
            (_, true) => Order { touches: &touches, ..order },
            (_, false) if touches.is_empty() => {
                Order { status: "unattributed", reason: Some("no_match"), ..order }
            }
            (_, false) => {
                Order { status: "unattributed", reason: Some("other_channel"), touches: &touches, ..order }
            }
        };
        shop.order(order).await;
    }
    for (scope, target, amount, from, days) in &plan.costs {
        let (from, to) = (date(*from), date(from + days));
        let link_target = link(*target).to_string();
        let (scope, target) = match scope {
            0 => ("link", link_target.as_str()),
            1 => ("post", NAMES[*target as usize]),
            2 => ("campaign", NAMES[*target as usize]),
            _ => ("network", NAMES[*target as usize]),
        };
        shop.cost(scope, target, i64::from(*amount), "EUR", &from, &to).await;
    }
    shop
}

/// A column as a number of its smallest units; rounded columns are not asked for.
fn units(report: &Report, cell: usize, figures: &utmost::reports::Figures) -> Option<i64> {
    report.cells(figures)[cell].to_string().replace('.', "").parse().ok()
}

fn check(report: &Report, plan: &Plan) -> Result<Vec<Option<i64>>, TestCaseError> {
    const ADD_UP: [&str; 11] = [
        "clicks",
        "unique_clicks",
        "bot_clicks",
        "recorded_clicks",
        "revenue",
        "refunds",
        "net_revenue",
        "cost_direct",
        "cost_shared",
        "cost",
        "conversions",
    ];
    let what = format!("by {} {} {:?} {plan:?}", report.by.name(), report.model.name(), report.clock);
    let mut totals = Vec::new();
    for column in ADD_UP {
        let cell = COLUMNS.iter().position(|name| *name == column).unwrap();
        let total = units(report, cell, &report.totals);
        let sum: Option<i64> = report.rows.iter().map(|row| units(report, cell, &row.figures)).sum();
        match (column, sum, total) {
            // Shown in ten-thousandths, so each row may be half of one off.
            ("conversions", Some(sum), Some(total)) => {
                prop_assert!((sum - total).abs() <= report.rows.len() as i64, "{column} {what}");
            }
            _ if report.rows.is_empty() => {}
            _ => prop_assert_eq!(sum, total, "{} {}", column, &what),
        }
        totals.push(total);
    }
    prop_assert!(report.problems.is_empty(), "{:?} {what}", report.problems);
    let all = &report.reconciliation;
    let parts = all.unattributed.values().chain(all.excluded.values()).chain([&all.attributed]);
    let (orders, amounts) =
        parts.fold((0, Default::default()), |(n, sum), line| (n + line.orders, sum + line.amounts));
    prop_assert_eq!((orders, amounts), (all.received.orders, all.received.amounts), "{}", &what);
    Ok(totals)
}

#[test]
fn rows_of_every_kind_add_up_to_the_same_totals() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 24, ..Config::default() });
    let run = |plan: Plan| {
        runtime.block_on(async {
            let mut shop = shop_of(&plan).await;
            for (clock, model) in [("order", "linear"), ("click", "first_touch"), ("cash", "last_touch")] {
                let mut known: Option<Vec<Option<i64>>> = None;
                for by in
                    ["post", "network", "campaign", "link", "utm_source", "kind", "day", "week", "month"]
                {
                    let query = format!("from=2026-10-25&to=2026-11-20&by={by}&clock={clock}&model={model}");
                    let mut totals = check(&shop.report(&query).await.unwrap(), &plan)?;
                    // What is direct depends on the rows.
                    totals[7] = None;
                    totals[8] = None;
                    prop_assert_eq!(
                        known.get_or_insert_with(|| totals.clone()),
                        &totals,
                        "{} {:?}",
                        query,
                        &plan
                    );
                }
            }
            // Filters leave the same of every kind of rows, whichever counts answer them.
            for filter in ["network=one", "country=DE", "campaign=two&country=DE", "post=one&device=mobile"] {
                let mut known: Option<Vec<Option<i64>>> = None;
                for by in ["post", "link", "network", "country", "device", "day", "week", "month"] {
                    if filter.contains("country") && by == "device"
                        || filter.contains("device") && by == "country"
                    {
                        continue;
                    }
                    let query = format!("from=2026-10-25&to=2026-12-03&by={by}&clock=click&{filter}");
                    let mut totals = check(&shop.report(&query).await.unwrap(), &plan)?;
                    // What costs is not known by all of these.
                    totals[7..10].fill(None);
                    let expected = known.get_or_insert_with(|| totals.clone());
                    prop_assert_eq!(expected, &totals, "{} {:?}", query, &plan);
                }
            }
            // Everything that was booked is somewhere.
            let report = shop.report("from=2026-10-01&to=2027-02-01&by=network").await.unwrap();
            let booked: i64 = plan.costs.iter().map(|(_, _, amount, ..)| i64::from(*amount)).sum();
            let spread = units(&report, 11, &report.totals);
            prop_assert_eq!(spread, Some(booked), "{:?}", &plan);
            Ok(())
        })
    };
    runner.run(&plans(), run).unwrap();
}

/// Every cell of the CSV is what the JSON says.
fn csv_is_json(report: &Report) -> Result<(), TestCaseError> {
    let json = serde_json::to_value(report).unwrap();
    let text = report.to_csv().unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns = reader.headers().unwrap().clone();
    let mut lines = 0;
    for (i, record) in reader.records().enumerate() {
        let record = record.unwrap();
        let row = json["rows"].get(i).unwrap_or(&json["totals"]);
        for (column, text) in columns.iter().zip(&record).skip(2) {
            let value = match &row[column] {
                serde_json::Value::Null => String::new(),
                serde_json::Value::String(text) => text.clone(),
                number => number.to_string(),
            };
            prop_assert_eq!(text.parse::<f64>().ok(), value.parse::<f64>().ok(), "{} of row {}", column, i);
        }
        lines += 1;
    }
    prop_assert_eq!(lines, report.rows.len() + 1);
    Ok(())
}

#[test]
fn csv_and_json_agree_whatever_happened() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 12, ..Config::default() });
    let run = |plan: Plan| {
        runtime.block_on(async {
            let mut shop = shop_of(&plan).await;
            for by in ["post", "network", "day", "tag", "published_hour_of_week"] {
                csv_is_json(&shop.report(&format!("by={by}&model=linear&clock=click")).await.unwrap())?;
            }
            Ok(())
        })
    };
    runner.run(&plans(), run).unwrap();
}
