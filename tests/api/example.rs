//! The worked example of docs/ATTRIBUTION.md, sent through the doors: every figure of its tables is what the program answers.

use serde_json::{Value, json as j};
use utmost::domain::time::parse_rfc3339;

use crate::server::Server;

const DOCUMENT: &str = include_str!("../../docs/ATTRIBUTION.md");

/// The rows of the tables under a heading, one list of cells for each row of each table, heads first.
fn tables(heading: &str) -> Vec<Vec<Vec<&'static str>>> {
    let section = DOCUMENT.split("\n### ").find(|section| section.lines().next() == Some(heading));
    let section = section.unwrap_or_else(|| panic!("the document has no {heading}"));
    let mut tables: Vec<Vec<Vec<&str>>> = Vec::new();
    let mut inside = false;
    for line in section.lines() {
        if !line.starts_with('|') {
            inside = false;
            continue;
        }
        if !inside {
            tables.push(Vec::new());
            inside = true;
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if !cells.iter().all(|cell| cell.starts_with("---")) {
            tables.last_mut().unwrap().push(cells);
        }
    }
    assert!(!tables.is_empty(), "{heading} has no table");
    tables
}

/// The only table under a heading: its head and its rows.
fn table(heading: &str) -> (Vec<&'static str>, Vec<Vec<&'static str>>) {
    let mut tables = tables(heading);
    assert_eq!(tables.len(), 1, "{heading}");
    let rows = tables.remove(0);
    (rows[0].clone(), rows[1..].to_vec())
}

/// Per model (of `conversion`'s touches in order) what it credits, as text.
fn credited(conversion: &Value, model: &str) -> Vec<String> {
    let touches = conversion["touches"].as_array().unwrap().iter();
    touches.map(|touch| touch["credits"][model]["net_revenue"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_figure_of_the_worked_example_is_what_the_program_answers() {
    let api = Server::start().await;
    let happened = tables("What happened");
    let (touches, money) = (&happened[0][1..], &happened[1][1..]);
    let (order, refund) = (&money[0], &money[1]);
    assert_eq!((touches.len(), order[0], refund[0]), (4, "order", "refund"));

    let ordered_ms = parse_rfc3339(order[1]).unwrap();
    let mut tokens = Vec::new();
    for touch in touches {
        let clicked_ms = parse_rfc3339(touch[1]).unwrap();
        assert_eq!(touch[4], ((ordered_ms - clicked_ms) / 86_400_000).to_string());
        let body = j!({"destination": "https://shop.test", "networks": [touch[3]]});
        let answer = api.put(&format!("/api/v1/posts/{}", touch[2]), body).await;
        let post = answer.expect(answer.status);
        tokens.push(api.click(&post["links"][0], clicked_ms).await);
    }
    let sale = j!({"id": "o1", "amount": order[2], "tax": order[3], "currency": "USD", "click_ids": tokens,
        "occurred_at": order[1]});
    api.post("/api/v1/conversions", sale).await.expect(202);
    api.work().await;
    let conversion = api.get("/api/v1/conversions/o1").await.expect(200);
    assert_eq!(conversion["revenue"], order[4]);

    let (_, weights) = table("Weights");
    let (_, sold) = table("The sale");
    assert_eq!((weights.len(), sold.len()), (5, 5));
    for row in &weights {
        for (touch, fraction) in conversion["touches"].as_array().unwrap().iter().zip(&row[1..5]) {
            let (part, whole) = fraction.split_once('/').unwrap_or((fraction, "1"));
            let exact = part.parse::<f64>().unwrap() / whole.parse::<f64>().unwrap();
            let weight = touch["credits"][row[0]]["weight"].as_f64().unwrap();
            assert!((weight - exact).abs() < 2e-9, "{}: {weight} is not {fraction}", row[0]);
        }
    }
    for row in &sold {
        assert_eq!(credited(&conversion, row[0]), row[1..5], "{}", row[0]);
        assert_eq!(row[5], order[4], "the sum of {}", row[0]);
    }

    let back = j!({"id": "r1", "amount": refund[2], "occurred_at": refund[1]});
    api.post("/api/v1/conversions/o1/refunds", back).await.expect(202);
    let cost =
        j!({"post": "guide", "amount": "20.00", "currency": "USD", "from": "2026-10-28", "kind": "spend"});
    api.post("/api/v1/costs", cost).await.expect(201);
    api.work().await;
    let conversion = api.get("/api/v1/conversions/o1").await.expect(200);
    assert_eq!(conversion["refunds"], refund[4]);
    let (_, after) = table("After the refund");
    assert_eq!(after.len(), 5);
    for row in &after {
        assert_eq!(credited(&conversion, row[0]), row[1..5], "{}", row[0]);
        assert_eq!(row[5], conversion["net_revenue"].as_str().unwrap(), "the sum of {}", row[0]);
    }

    let report = api.get("/api/v1/reports/attribution?by=post&model=all").await.expect(200);
    let by_post = tables("What each post brought in");
    for (table, column) in by_post.iter().zip(["net_revenue", "roi_percent"]) {
        for row in &table[1..] {
            let found = report["rows"].as_array().unwrap().iter().find(|it| it["key"] == row[0]);
            let figures = found.unwrap_or(&report["totals"]);
            assert_eq!(found.is_none(), row[0] == "total");
            for (model, cell) in table[0].iter().zip(row).skip(1) {
                let answered = match &figures["models"][model][column] {
                    Value::String(text) => text.clone(),
                    number => format!("{:.2}", number.as_f64().unwrap()),
                };
                assert_eq!(answered, *cell, "{} {model} {column}", row[0]);
            }
        }
    }
    assert_eq!(by_post.len(), 2);

    let (columns, by_clock) = table("Where it stands in time");
    let mut compared = 0;
    for clock in ["order", "click", "cash"] {
        let path = format!(
            "/api/v1/reports/attribution?by=month&model=linear&from=2026-10-01&to=2027-01-01&clock={clock}"
        );
        let report = api.get(&path).await.expect(200);
        let has_money = |row: &&Value| row["revenue"] != "0.00" || row["refunds"] != "0.00";
        let answered: Vec<&Value> = report["rows"].as_array().unwrap().iter().filter(has_money).collect();
        let told: Vec<_> = by_clock.iter().filter(|row| row[0] == clock).collect();
        assert_eq!(answered.len(), told.len(), "{clock}");
        for (answered, told) in answered.iter().zip(told) {
            assert_eq!(answered["key"], told[1], "{clock}");
            for (column, cell) in columns.iter().zip(told).skip(2) {
                assert_eq!(answered[column], *cell, "{clock} {column}");
            }
            compared += 1;
        }
    }
    assert_eq!(compared, by_clock.len());
}
