//! `utmost import orders` and `utmost doctor`.

use http::{HeaderMap, Method};
use serde_json::{Value, json};
use utmost::cli::client::Client;
use utmost::domain::time::now_ms;
use utmost::intake::{Platform, Secret, sign};

use crate::support::{Redis, Server, click, settled, token};
use crate::{fixture, utmost};

/// A source, and the file with the token of a click on a link.
async fn connected(client: &Client, dir: &std::path::Path, platform: &str) -> (String, String) {
    let link = json!({"url": "https://shop.example/", "post": "p1"});
    let link = client.api(Method::POST, "/api/v1/links", Some(link)).await.unwrap();
    let token = token(&click(client, link["short_url"].as_str().unwrap(), None).await.unwrap());
    let source = json!({"platform": platform, "name": "Lamps", "secret": "s3cret"});
    let source = client.api(Method::POST, "/api/v1/sources", Some(source)).await.unwrap();
    let file = with_token(dir, &format!("orders/{platform}.csv"), &token);
    (source["id"].as_str().unwrap().to_owned(), file)
}

/// A copy of a fixture with a token in it.
fn with_token(dir: &std::path::Path, name: &str, token: &str) -> String {
    let text = std::fs::read_to_string(fixture(name)).unwrap();
    let file = dir.join("orders.csv");
    std::fs::write(&file, text.replace("{token}", token)).unwrap();
    file.to_str().unwrap().to_owned()
}

/// The server's address for the commands.
fn listen(server: &Server) -> String {
    server.base.trim_start_matches("http://").to_owned()
}

async fn orders(client: &Client, count: usize) -> Vec<Value> {
    let all = |list: &Value| {
        let orders = list["data"].as_array().unwrap();
        orders.len() == count && orders.iter().all(|order| order["pending"] == false)
    };
    settled(client, "/api/v1/conversions", all).await["data"].as_array().unwrap().clone()
}

fn order<'a>(orders: &'a [Value], id: &str) -> &'a Value {
    orders.iter().find(|order| order["id"] == id).unwrap_or_else(|| panic!("{id}: {orders:#?}"))
}

#[tokio::test]
async fn a_shopify_export_is_the_same_orders_as_its_webhooks() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let client = server.client();
    let (source, file) = connected(&client, dir.path(), "shopify").await;
    let listen = listen(&server);
    let env = [("UTMOST_SERVER__LISTEN", listen.as_str())];
    let run = |more: &[&str]| {
        let given = ["import", "orders", &file, "--platform", "shopify", "--source", &source];
        utmost(dir.path(), &env, &[&given[..], more].concat())
    };
    let dry = run(&["--dry-run"]);
    assert!(dry.out.ends_with("3 orders could be taken, 2 refused\n"), "{} {}", dry.out, dry.err);
    for reason in ["line 7: Paid at: ", "line 8: total_price: "] {
        assert!(dry.out.contains(reason), "{}", dry.out);
    }
    let first = run(&[]);
    assert!(
        first.code == 1 && first.out.ends_with("3 orders taken, 2 refused\n"),
        "{} {}",
        first.out,
        first.err
    );
    let read = orders(&client, 3).await;
    let sale = order(&read, "5312345678901234567");
    assert_eq!((&sale["status"], &sale["match"]["method"]), (&json!("attributed"), &json!("click_token")));
    assert_eq!(
        (&sale["amount"], &sale["refunded"], &sale["net_revenue"]),
        (&json!("100.00"), &json!("25.00"), &json!("75.00"))
    );
    assert_eq!(sale["occurred_at"], "2026-03-01T15:00:00Z");
    assert_eq!(order(&read, "5312345678901234569")["net_revenue"], "0.00");

    // The same file again, then the shop's own webhook with the refund by its id: nothing counts twice.
    assert!(run(&[]).out.ends_with("3 orders taken, 2 refused\n"));
    let webhook = json!({
        "id": 5_312_345_678_901_234_567_u64, "name": "#1001", "currency": "USD", "total_price": "100.00", "total_tax": "0.00",
        "financial_status": "partially_refunded", "created_at": "2026-03-01T10:00:00-05:00", "updated_at": "2026-03-05T10:00:00-05:00",
        "refunds": [{"id": 77, "created_at": "2026-03-05T10:00:00-05:00",
                     "transactions": [{"kind": "refund", "status": "success", "amount": "25.00", "currency": "USD"}]}],
    });
    let body = webhook.to_string();
    let mut headers = HeaderMap::new();
    headers.insert("x-shopify-topic", "orders/updated".parse().unwrap());
    for (name, value) in
        sign(Platform::Shopify, &Secret::new("s3cret"), "1", body.as_bytes(), now_ms()).unwrap()
    {
        headers.insert(name, value.parse().unwrap());
    }
    let answer = client.send(Method::POST, &format!("/hooks/{source}"), headers, body).await.unwrap();
    assert_eq!(answer.status, 200);
    let path = format!("/api/v1/conversions/{source}:5312345678901234567");
    let told =
        |order: &Value| order["changes"].as_array().unwrap().iter().any(|change| change["refund"] == "77");
    let sale = settled(&client, &path, told).await;
    assert_eq!(
        (&sale["refunded"], &sale["net_revenue"], &sale["status"]),
        (&json!("25.00"), &json!("75.00"), &json!("attributed"))
    );
    assert_eq!(orders(&client, 3).await.len(), 3);

    let doctor = utmost(dir.path(), &env, &["doctor", "--source", &source, "--format", "json"]);
    assert_eq!(doctor.code, 0, "{} {}", doctor.out, doctor.err);
    let findings: Vec<Value> = serde_json::from_str(&doctor.out).unwrap();
    let found = |check: &str| {
        findings.iter().find(|finding| finding["check"] == check).unwrap()["detail"].to_string()
    };
    assert!(
        found("orders").contains("3 in all: 1 attributed (1 click_token), 2 unattributed")
            || found("orders").contains("3 in all: 1 attributed (1 click_token), 1 unattributed, 1 excluded"),
        "{}",
        found("orders")
    );
}

#[tokio::test]
async fn a_woocommerce_export_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[("UTMOST_WORKSPACE__CURRENCY", "EUR")]);
    let client = server.client();
    let (source, file) = connected(&client, dir.path(), "woocommerce").await;
    let listen = listen(&server);
    let given = [
        "import",
        "orders",
        &file,
        "--platform",
        "woocommerce",
        "--source",
        &source,
        "--timezone",
        "Europe/Berlin",
    ];
    for _ in 0..2 {
        let run = utmost(dir.path(), &[("UTMOST_SERVER__LISTEN", &listen)], &given);
        assert_eq!((run.code, run.out.as_str()), (0, "3 orders taken, 0 refused\n"), "{}", run.err);
    }
    let read = orders(&client, 3).await;
    let sale = order(&read, "71");
    assert_eq!((&sale["amount"], &sale["occurred_at"]), (&json!("80.00"), &json!("2026-03-01T09:00:00Z")));
    assert_eq!(sale["match"]["method"], "click_token");
    assert_eq!(order(&read, "72")["net_revenue"], "0.00");
    assert_eq!(order(&read, "73")["reason"], "unpaid");

    // Another plug-in's columns.
    let link = json!({"url": "https://shop.example/", "post": "p2"});
    let link = client.api(Method::POST, "/api/v1/links", Some(link)).await.unwrap();
    let token = token(&click(&client, link["short_url"].as_str().unwrap(), None).await.unwrap());
    with_token(dir.path(), "orders/woocommerce_webtoffee.csv", &token);
    let run = utmost(dir.path(), &[("UTMOST_SERVER__LISTEN", &listen)], &given);
    assert_eq!((run.code, run.out.as_str()), (0, "2 orders taken, 0 refused\n"), "{}", run.err);
    let read = orders(&client, 5).await;
    let sale = order(&read, "81");
    assert_eq!((&sale["amount"], &sale["occurred_at"]), (&json!("80.00"), &json!("2026-03-01T09:00:00Z")));
    assert_eq!(sale["match"]["method"], "click_token");
    assert_eq!(order(&read, "82")["reason"], "unpaid");
    let wrong = utmost(
        dir.path(),
        &[("UTMOST_SERVER__LISTEN", &listen)],
        &["import", "orders", &file, "--platform", "shopify", "--source", &source],
    );
    assert!(wrong.code == 1 && wrong.err.contains("woocommerce"), "{}", wrong.err);
}

#[tokio::test]
async fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let redis = Redis::start(&["--appendonly", "yes"]);
    let dir = tempfile::tempdir().unwrap();
    let hot = redis.url();
    let server = Server::start(dir.path(), &[("UTMOST_HOT__URL", &hot)]);
    let client = server.client();
    let listen = listen(&server);
    let env = [
        ("UTMOST_HOT__URL", hot.as_str()),
        ("UTMOST_SERVER__LISTEN", &listen),
        ("UTMOST_SERVER__PUBLIC_URL", "https://go.example"),
    ];
    let well = utmost(dir.path(), &env, &["doctor"]);
    assert_eq!(well.code, 0, "{} {}", well.out, well.err);
    for line in [
        "ok       ledger: SQLite answers, schema version",
        "ok       redis: Redis answers and throws nothing away",
        "ok       keys: there",
        "ok       server: it answers; log up",
    ] {
        assert!(well.out.contains(line), "{line}: {}", well.out);
    }
    assert!(well.out.contains("warning  trusted_proxies: none"), "{}", well.out);

    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let more = [&env[..], &[("UTMOST_HOT__PARTITIONS", "7")]].concat();
    let ill = utmost(dir.path(), &more, &["doctor", "--format", "json"]);
    assert_eq!(ill.code, 1, "{}", ill.out);
    assert!(ill.err.contains("2 things are wrong"), "{} {}", ill.err, ill.out);
    let findings: Vec<Value> = serde_json::from_str(&ill.out).unwrap();
    let wrong: Vec<&Value> = findings.iter().filter(|finding| finding["level"] == "wrong").collect();
    assert_eq!(
        (&wrong[0]["check"], &wrong[0]["fix"]),
        (&json!("redis"), &json!("set maxmemory-policy noeviction"))
    );
    assert!(wrong[1]["detail"].as_str().unwrap().contains("hot.partitions says 7"), "{wrong:?}");

    let source = json!({"platform": "stripe", "name": "Pay"});
    let source = client.api(Method::POST, "/api/v1/sources", Some(source)).await.unwrap();
    let id = source["id"].as_str().unwrap();
    let run = utmost(dir.path(), &env, &["doctor", "--source", id]);
    assert_eq!(run.code, 1);
    assert!(
        run.out.contains("WRONG    secret: none")
            && run.out.contains(&format!("/api/v1/sources/{id}/secrets")),
        "{}",
        run.out
    );
    assert!(run.out.contains("nothing has come yet"), "{}", run.out);
    let nobody = utmost(dir.path(), &env, &["doctor", "--source", "src_0"]);
    assert!(nobody.code == 1 && nobody.out.contains("there is no source src_0"), "{}", nobody.out);
}
