//! Statistics of many links at once.

use serde_json::{Value, json as j};
use utmost::domain::time::{now_ms, rfc3339};

use crate::server::Server;

const DAY_MS: i64 = 24 * 3_600_000;
const PATH: &str = "/api/v1/links/stats";

async fn links(api: &Server, names: &[&str]) -> Vec<Value> {
    let mut made = Vec::new();
    for name in names {
        let link = j!({"url": format!("https://s.test/{name}"), "external_id": name, "post": "p1"});
        made.push(api.post("/api/v1/links", link).await.expect(201));
    }
    made
}

/// The external ids of the links in an answer.
async fn names(api: &Server, question: Value) -> Vec<String> {
    let answer = api.post(PATH, question).await.expect(200);
    let data = answer["data"].as_array().unwrap();
    data.iter().map(|row| row["external_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn many_links_are_read_at_once() {
    let api = Server::start().await;
    let made = links(&api, &["a", "b", "c"]).await;
    let now_ms = now_ms();
    let token = api.click(&made[0], now_ms - 1000).await;
    api.click(&made[0], now_ms - 1000).await;
    let sale = j!({"id": "o1", "amount": "19.99", "currency": "USD", "click_id": token});
    api.post("/api/v1/conversions", sale).await.expect(202);
    api.post("/api/v1/conversions", j!({"id": "l1", "event": "lead", "click_id": token})).await.expect(202);
    api.post("/api/v1/conversions/o1/refunds", j!({"id": "r1", "amount": "4.99"})).await.expect(202);
    api.work().await;

    let (a, b) = (&made[0]["id"], &made[1]["id"]);
    let answer = api.post(PATH, j!({"ids": [b, a, "none"], "external_ids": ["a", "none"]})).await.expect(200);
    let expected = j!({"id": a, "external_id": "a", "post": "p1", "clicks": 2, "bot_clicks": 0, "leads": 1,
        "conversions": 1, "net_revenue": "15.00", "currency": "USD"});
    assert_eq!(answer["data"][0], expected);
    assert_eq!(
        (&answer["data"][1]["external_id"], &answer["data"][1]["net_revenue"]),
        (&j!("b"), &j!("0.00"))
    );
    assert_eq!((answer["data"].as_array().unwrap().len(), &answer["next_cursor"]), (2, &Value::Null));

    let first = api.post(PATH, j!({"external_ids": ["a", "b", "c"], "limit": 2})).await.expect(200);
    let rest = j!({"external_ids": ["a", "b", "c"], "limit": 2, "cursor": first["next_cursor"]});
    assert_eq!(names(&api, rest).await, ["c"]);
    assert_eq!(names(&api, j!({"ids": ["none"]})).await, Vec::<String>::new());

    let fields = |answer: &Value| answer["errors"][0]["field"].clone();
    assert_eq!(fields(&api.post(PATH, j!({})).await.expect(422)), "ids");
    assert_eq!(fields(&api.post(PATH, j!({"ids": vec!["x"; 1001]})).await.expect(422)), "ids");
    assert_eq!(fields(&api.post(PATH, j!({"changed_since": "monday"})).await.expect(422)), "changed_since");
}

#[tokio::test]
async fn links_that_something_happened_to_are_found() {
    let api = Server::start().await;
    let made = links(&api, &["old", "sold", "clicked", "none"]).await;
    let now_ms = now_ms();
    let since = |days: i64| rfc3339(now_ms - days * DAY_MS);
    let old = api.click(&made[0], now_ms - 40 * DAY_MS).await;
    let sold = api.click(&made[1], now_ms - 40 * DAY_MS).await;
    api.click(&made[2], now_ms - 2 * DAY_MS).await;
    for (id, token, days) in [("o1", old, 39), ("o2", sold, 3)] {
        let sale = j!({"id": id, "amount": "10.00", "currency": "USD", "click_id": token, "occurred_at": since(days)});
        api.post("/api/v1/conversions", sale).await.expect(202);
    }
    api.work().await;
    assert_eq!(names(&api, j!({"changed_since": since(1)})).await, Vec::<String>::new());
    assert_eq!(names(&api, j!({"changed_since": since(2)})).await, ["clicked"]);
    assert_eq!(names(&api, j!({"changed_since": since(3)})).await, ["sold", "clicked"]);
    assert_eq!(names(&api, j!({"changed_since": since(40)})).await, ["old", "sold", "clicked"]);
    let among = j!({"changed_since": since(3), "external_ids": ["old", "sold", "none"]});
    assert_eq!(names(&api, among).await, ["sold"]);

    let refund = j!({"id": "r1", "amount": "1.00", "occurred_at": since(0)});
    api.post("/api/v1/conversions/o1/refunds", refund).await.expect(202);
    api.work().await;
    assert_eq!(names(&api, j!({"changed_since": since(1)})).await, ["old"]);
}

#[tokio::test]
async fn links_of_others_are_not_seen() {
    let api = Server::start().await;
    let made = links(&api, &["a"]).await;
    api.click(&made[0], now_ms()).await;
    api.work().await;
    api.post("/api/v1/workspaces", j!({"id": "acme", "name": "Acme"})).await.expect(201);
    let other = api.with_header("utmost-workspace", "acme");
    let all = j!({"ids": [made[0]["id"]], "external_ids": ["a"]});
    assert_eq!(names(&other, all).await, Vec::<String>::new());
    assert_eq!(names(&other, j!({"changed_since": rfc3339(now_ms() - DAY_MS)})).await, Vec::<String>::new());
}
