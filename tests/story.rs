//! The three users' stories over the real binary: a scheduler's link, a visitor's click, a shop's order,
//! a marketer's report. The same over the embedded store and over Redis.

mod support;

use http::{HeaderMap, HeaderName, Method};
use serde_json::{Value, json};
use support::{Redis, Server, click, settled, token};
use utmost::cli::client::{Answer, Client};
use utmost::domain::time;
use utmost::intake::{Platform, Secret, sign};

const SECRET: &str = "shpss_0123456789abcdef";

/// A Shopify order of 119.00 EUR with 19.00 tax.
fn order(id: u64, token: Option<&str>, version_s: i64) -> Value {
    let at = time::rfc3339(time::now_ms() / 1000 * 1000 + version_s * 1000);
    let attributes: Vec<Value> =
        token.iter().map(|token| json!({"name": "um_click", "value": token})).collect();
    json!({
        "id": id, "name": format!("#{id}"), "created_at": at, "processed_at": at, "updated_at": at,
        "financial_status": "paid", "test": false, "currency": "EUR", "total_price": "119.00",
        "total_tax": "19.00", "email": "Ada@Example.com", "note_attributes": attributes, "refunds": [],
    })
}

async fn deliver(client: &Client, source: &Value, topic: &str, body: &[u8], secret: &str) -> Answer {
    let mut headers = HeaderMap::new();
    for (name, value) in sign(Platform::Shopify, &Secret::new(secret), "1", body, time::now_ms()).unwrap() {
        headers.insert(HeaderName::from_static(name), value.parse().unwrap());
    }
    headers.insert("x-shopify-topic", topic.parse().unwrap());
    headers.insert("x-shopify-shop-domain", "a.myshopify.com".parse().unwrap());
    let url = source["webhook_url"].as_str().unwrap();
    client.send(Method::POST, url, headers, body.to_vec()).await.unwrap()
}

async fn story(env: &[(&str, &str)]) {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), env);
    let client = server.client();

    // The scheduler.
    let link = client
        .api(
            Method::POST,
            "/api/v1/links",
            Some(json!({
                "url": "https://shop.example/hat?color=red%20dark&list[]#top",
                "post": "post-1", "utm": {"source": "instagram", "campaign": "spring"}, "slug": "hat",
            })),
        )
        .await
        .unwrap();
    let short_url = link["short_url"].as_str().unwrap().to_owned();
    assert!(short_url.ends_with("/hat"), "{short_url}");

    // The visitor.
    let answer = click(&client, &short_url, None).await.unwrap();
    assert_eq!(answer.status, 302);
    assert_eq!(answer.headers["cache-control"], "private, no-store");
    assert_eq!(answer.headers["x-robots-tag"], "noindex");
    let location = answer.headers["location"].to_str().unwrap();
    assert!(
        location.starts_with("https://shop.example/hat?color=red%20dark&list[]&utm_source=instagram&utm_medium=social&utm_campaign=spring"),
        "{location}"
    );
    assert!(location.ends_with("#top"), "{location}");
    let first_token = token(&answer);
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let missing = click(&client, &format!("{}/nothing-here", server.base), None).await.unwrap();
    assert_eq!(missing.status, 404);

    // The shop: an order, the same again, a refund that came first, a wrong signature.
    let source = client
        .api(
            Method::POST,
            "/api/v1/sources",
            Some(json!({"platform": "shopify", "name": "Hats", "secret": SECRET})),
        )
        .await
        .unwrap();
    let id = 9_007_199_254_740_999;
    let refund = serde_json::to_vec(&json!({
        "id": 5, "order_id": id, "created_at": time::rfc3339(time::now_ms()),
        "transactions": [{"id": 1, "amount": "59.50", "currency": "EUR", "kind": "refund", "status": "success"}],
    }))
    .unwrap();
    assert_eq!(deliver(&client, &source, "refunds/create", &refund, SECRET).await.status, 200);
    let body = serde_json::to_vec(&order(id, Some(&first_token), 0)).unwrap();
    for _ in 0..2 {
        let answer = deliver(&client, &source, "orders/paid", &body, SECRET).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    }
    assert_eq!(deliver(&client, &source, "orders/paid", &body, "another-secret").await.status, 401);
    let mut unknown = order(id + 1, None, 0);
    unknown["email"] = json!("stranger@example.com");
    let unknown = serde_json::to_vec(&unknown).unwrap();
    assert_eq!(deliver(&client, &source, "orders/paid", &unknown, SECRET).await.status, 200);
    client
        .api(
            Method::POST,
            "/api/v1/costs",
            Some(json!({"post": "post-1", "amount": "10.00", "currency": "EUR", "from": "2026-01-01", "to": "2030-01-01", "kind": "ads"})),
        )
        .await
        .unwrap();

    // The marketer.
    let today = time::day_date(time::day_number(
        time::timestamp(time::now_ms()).to_zoned_datetime(jiff::tz::TimeZone::UTC).date(),
    ));
    let path = format!(
        "/api/v1/reports/attribution?by=post&model=last_touch&from={today}&to={}",
        today.tomorrow().unwrap()
    );
    let done = |report: &Value| {
        report["reconciliation"]["orders_received"] == 2
            && report["totals"]["refunds"] == "50.00"
            && report["totals"]["clicks"] == 1
    };
    let report = settled(&client, &path, done).await;
    let row = &report["rows"][0];
    assert_eq!(row["key"], "post-1", "{report:#}");
    assert_eq!(
        (&row["clicks"], &row["conversions"], &row["revenue"], &row["refunds"], &row["net_revenue"]),
        (&json!(1), &json!(1.0), &json!("100.00"), &json!("50.00"), &json!("50.00")),
        "{report:#}"
    );
    assert_eq!(report["reconciliation"]["attributed"], 1, "{report:#}");
    assert_eq!(report["reconciliation"]["unattributed"]["no_match"], 1, "{report:#}");
    let conversion = client.api(Method::GET, &format!("/api/v1/conversions/{id}"), None).await.unwrap();
    assert_eq!(conversion["match"]["method"], "click_token", "{conversion:#}");

    // All of it is still there after a graceful stop.
    assert!(server.terminate());
    server.restart();
    let again = server.client().api(Method::GET, &path, None).await.unwrap();
    assert_eq!((&again["rows"], &again["totals"]), (&report["rows"], &report["totals"]));
}

#[tokio::test]
async fn embedded() {
    story(&[("UTMOST_WORKSPACE__CURRENCY", "EUR")]).await;
}

#[tokio::test]
async fn redis() {
    let redis = Redis::start(&["--maxmemory-policy", "noeviction"]);
    story(&[("UTMOST_WORKSPACE__CURRENCY", "EUR"), ("UTMOST_HOT__URL", &redis.url())]).await;
}

#[tokio::test]
async fn a_click_is_one_readable_entry_of_a_stream() {
    let redis = Redis::start(&["--maxmemory-policy", "noeviction"]);
    let dir = tempfile::tempdir().unwrap();
    // No worker: it would trim what it has counted.
    let server =
        Server::start(dir.path(), &[("UTMOST_HOT__URL", &redis.url()), ("UTMOST_ROLES", "redirect,api")]);
    let client = server.client();
    let link = client
        .api(Method::POST, "/api/v1/links", Some(json!({"url": "https://shop.example/"})))
        .await
        .unwrap();
    let short_url = link["short_url"].as_str().unwrap();
    assert_eq!(click(&client, short_url, None).await.unwrap().status, 302);
    let entry = redis.cli(&["XRANGE", "utmost:1:clicks:{0}", "-", "+", "COUNT", "1"]);
    // docs/STREAMS.md: known phrases of user agents stand as words; the rest is as sent.
    for part in [link["id"].as_str().unwrap(), "agent", "18_6", "https://l.instagram.com/"] {
        assert!(entry.contains(part), "{part} is not in\n{entry}");
    }
}

#[tokio::test]
async fn bad_input_is_named_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let client = server.client();
    let source = client
        .api(
            Method::POST,
            "/api/v1/sources",
            Some(json!({"platform": "shopify", "name": "Hats", "secret": SECRET})),
        )
        .await
        .unwrap();
    let send = async |path: &str, body: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {}", support::ADMIN_KEY).parse().unwrap());
        headers.insert("content-type", "application/json".parse().unwrap());
        let answer = client.send(Method::POST, path, headers, body.as_bytes().to_vec()).await.unwrap();
        let problem: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        (answer.status.as_u16(), problem)
    };
    let conversion = |amount: &str, currency: &str| {
        json!({"id": "o1", "amount": amount, "currency": currency}).to_string()
    };
    let (status, problem) = send("/api/v1/conversions", &conversion("-5.00", "EUR")).await;
    assert!(status == 422 && problem.to_string().contains("amount"), "{status} {problem}");
    let (status, problem) = send("/api/v1/conversions", &conversion("5.00", "EURO")).await;
    assert!(status == 422 && problem.to_string().contains("currency"), "{status} {problem}");
    let (status, problem) = send("/api/v1/conversions", "{\"id\": \"o1\", ").await;
    assert!(status == 400, "{status} {problem}");
    let (status, problem) = send("/api/v1/links", r#"{"url": "ftp://x"}"#).await;
    assert!(status == 422 && problem.to_string().contains("url"), "{status} {problem}");
    let (status, problem) = send("/api/v1/links", &json!({"url": server.base}).to_string()).await;
    assert!(status == 422 && problem.to_string().contains("url"), "{status} {problem}");
    for expected in [201, 409] {
        let (status, problem) =
            send("/api/v1/links", r#"{"url": "https://a.example", "slug": "taken"}"#).await;
        assert_eq!(status, expected, "{problem}");
    }
    let huge = vec![b' '; 2 << 20];
    assert_eq!(deliver(&client, &source, "orders/paid", &huge, SECRET).await.status, 413);
    // Signed, but cut off: it is kept as a dead letter that says so.
    assert_eq!(deliver(&client, &source, "orders/paid", b"{\"id\": 1", SECRET).await.status, 200);
    let dead = settled(&client, "/api/v1/deliveries?result=dead", |list| {
        list["data"].as_array().is_some_and(|data| data.len() == 1)
    })
    .await;
    assert!(dead["data"][0]["problem"].as_str().unwrap().contains("cut off"), "{dead:#}");
    let command = |arguments: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_utmost"))
            .args(arguments)
            .env("UTMOST_SERVER__LISTEN", server.base.trim_start_matches("http://"))
            .env("UTMOST_AUTH__ADMIN_KEY", support::ADMIN_KEY)
            .current_dir(dir.path())
            .output()
            .unwrap()
    };
    // It can be fed again by the command line too, and stays dead, since nothing has changed.
    let replayed = command(&["replay", "--dead"]);
    assert!(String::from_utf8_lossy(&replayed.stdout).contains("1 deliveries"), "{replayed:?}");
    // So can exchange rates; a mistake in the file names its line.
    let file = dir.path().join("rates.csv");
    for (text, expected) in [
        ("Date, USD, JPY, \n23 November 2026, 1.05, 160.1, \n", "2 rates are stored"),
        ("Date,USD\n2026-11-23,1.05\nyesterday,1.05\n", "line 3"),
    ] {
        std::fs::write(&file, text).unwrap();
        let output = command(&["rates", "rates.csv"]);
        let said = [output.stdout, output.stderr].concat();
        assert!(String::from_utf8_lossy(&said).contains(expected), "{}", String::from_utf8_lossy(&said));
    }
    let links = client.api(Method::GET, "/api/v1/links", None).await.unwrap();
    assert_eq!(links["data"].as_array().unwrap().len(), 1, "{links:#}");
    let conversions = client.api(Method::GET, "/api/v1/conversions", None).await.unwrap();
    assert_eq!(conversions["data"].as_array().unwrap().len(), 0, "{conversions:#}");
}
