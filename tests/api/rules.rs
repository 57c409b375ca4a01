//! A workspace's own rules: what another lookback would change, that a change recomputes everything, and how far
//! that has come.

use std::process::Command;

use serde_json::{Value, json as j};
use utmost::domain::time::now_ms;

use crate::server::{Server, fields, json};

const DAY_MS: i64 = 24 * 3_600_000;

/// An order that names a click on post `old` of 40 days ago and one on post `new` of 5 days ago.
async fn order_of_two_touches(api: &Server) {
    let mut tokens = Vec::new();
    for (post, days) in [("old", 40), ("new", 5)] {
        let body = j!({"url": "https://shop.test", "post": post});
        let link = api.post("/api/v1/links", body).await.expect(201);
        tokens.push(api.click(&link, now_ms() - days * DAY_MS).await);
    }
    let order = j!({"id": "o1", "amount": "100.00", "currency": "USD", "click_ids": tokens});
    api.post("/api/v1/conversions", order).await.expect(202);
    let lead = j!({"id": "l1", "event": "lead", "click_ids": tokens});
    api.post("/api/v1/conversions", lead).await.expect(202);
    api.work().await;
}

/// Net by post under linear, as a report says it.
async fn nets(api: &Server) -> Vec<(Value, Value)> {
    let report = api.get("/api/v1/reports/attribution?by=post&model=linear").await.expect(200);
    let rows = report["rows"].as_array().unwrap().iter();
    let mut nets: Vec<_> = rows.map(|row| (row["key"].clone(), row["net_revenue"].clone())).collect();
    nets.sort_by_key(|(key, _)| key.to_string());
    nets
}

/// `utmost replay --dry-run` on the ledger of the server.
fn dry_run(api: &Server, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_utmost"))
        .args(["replay", "--dry-run"])
        .args(arguments)
        .current_dir(api.dir())
        .env("UTMOST_DATA_DIR", api.dir())
        .output()
        .expect("the binary runs");
    let text = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn rules_can_be_tried_before_they_recompute_everything() {
    let api = Server::start().await;
    order_of_two_touches(&api).await;
    assert_eq!(nets(&api).await, [(j!("new"), j!("50.00")), (j!("old"), j!("50.00"))]);
    let progress = "/api/v1/workspaces/default/recompute";
    let done = j!({"pending": 0, "conversions": 2, "done_percent": 100});
    assert_eq!(api.get(progress).await.expect(200), done);

    // What would change, before it does.
    let arguments = ["--set", "lookback_days=30", "--model", "linear", "--format", "json"];
    let (_, text) = dry_run(&api, &arguments);
    let tried = json(&text);
    assert_eq!((&tried["conversions"], &tried["changed"], &tried["pending"]), (&j!(1), &j!(1), &j!(0)));
    assert_eq!(tried["settings"], j!({"lookback_days": 30}));
    let row = |post: &str| {
        let rows = tried["rows"].as_array().unwrap().iter();
        let row = rows.into_iter().find(|row| row["post"] == post).unwrap();
        ["net_before", "net_after", "net_change", "conversions_after"].map(|name| row[name].clone())
    };
    assert_eq!(row("old"), [j!("50.00"), j!("0.00"), j!("-50.00"), j!("0.0000")]);
    assert_eq!(row("new"), [j!("50.00"), j!("100.00"), j!("50.00"), j!("1.0000")]);
    let (_, csv) = dry_run(&api, &["--set", "lookback_days=30", "--format", "csv"]);
    assert_eq!(csv.lines().count(), 1 + 2 * 5, "{csv}");
    assert!(csv.contains("\nold,first_touch,1.0000,0.0000,100.00,0.00,-100.00\n"), "{csv}");
    let (_, table) = dry_run(&api, &["--set", "half_life_days=1"]);
    assert!(table.contains("1 of 1 conversions would change."), "{table}");
    assert!(table.contains("linear 0.00, time_decay 6.06"), "{table}");
    let (ok, mistakes) = dry_run(&api, &["--set", "lookback_days=0", "--set", "lead.rival_touches=x"]);
    assert!(!ok && mistakes.contains("lookback_days must be") && mistakes.contains("rival_touches must be"));
    let (ok, mistakes) = dry_run(&api, &["--set", "look_back=3"]);
    assert!(!ok && mistakes.contains("look_back"), "{mistakes}");
    assert_eq!(api.get(progress).await.expect(200), done, "nothing was written");
    assert_eq!(nets(&api).await[0].1, j!("50.00"));

    // The same settings again are no change; others recompute by themselves, and the progress shows.
    let workspace = "/api/v1/workspaces/default";
    api.patch(workspace, j!({"settings": {}})).await.expect(200);
    assert_eq!(api.get(progress).await.expect(200), done);
    api.patch(workspace, j!({"settings": {"lookback_days": 30}})).await.expect(200);
    let waiting = j!({"pending": 2, "conversions": 2, "done_percent": 0});
    assert_eq!(api.get(progress).await.expect(200), waiting);
    api.work().await;
    assert_eq!(api.get(progress).await.expect(200), done);
    assert_eq!(nets(&api).await, [(j!("new"), j!("100.00")), (j!("old"), j!("0.00"))]);

    // By kind of event: the lead reaches back further than the purchase.
    let settings = j!({"lookback_days": 30, "events": {"lead": {"lookback_days": 60}}});
    api.patch(workspace, j!({"settings": settings})).await.expect(200);
    api.work().await;
    let touches = async |id: &str| {
        let read = api.get(&format!("/api/v1/conversions/{id}")).await.expect(200);
        let touches = read["touches"].as_array().unwrap().clone();
        touches.iter().filter(|touch| touch["counted"] == j!(true)).count()
    };
    assert_eq!((touches("o1").await, touches("l1").await), (1, 2));

    assert_eq!(api.post(progress, j!({})).await.expect(202), waiting);
    api.work().await;
    assert_eq!(api.get(progress).await.expect(200), done);
    let wrong = j!({"settings": {"events": {"lead": {"duplicate_touches": "all"}}}});
    let refused = api.patch(workspace, wrong).await.expect(422);
    assert_eq!(fields(&refused), ["settings.events.lead.duplicate_touches"]);
    let key = api.post("/api/v1/keys", j!({"name": "x", "scopes": ["links"]})).await.expect(201);
    let other = api.with_key(key["key"].as_str().unwrap());
    other.post(progress, j!({})).await.expect(403);
}

#[tokio::test]
async fn duplicate_clicks_are_touches_only_where_that_is_set() {
    let api = Server::start().await;
    let link = api.post("/api/v1/links", j!({"url": "https://shop.test", "post": "p"})).await.expect(201);
    // Both in one span of ten seconds, whatever the time is.
    let at_ms = (now_ms() - DAY_MS).div_euclid(10_000) * 10_000;
    let tokens = api.clicks_of_one(&link, &[at_ms, at_ms + 4_000]).await;
    let order = j!({"id": "o1", "amount": "100.00", "currency": "USD", "click_ids": tokens});
    api.post("/api/v1/conversions", order).await.expect(202);
    api.work().await;
    let counted = async || {
        let read = api.get("/api/v1/conversions/o1").await.expect(200);
        read["touches"].as_array().unwrap().iter().filter(|touch| touch["counted"] == j!(true)).count()
    };
    assert_eq!(counted().await, 1);
    let settings = j!({"settings": {"duplicate_touches": "count"}});
    api.patch("/api/v1/workspaces/default", settings).await.expect(200);
    api.work().await;
    assert_eq!(counted().await, 2);
}
