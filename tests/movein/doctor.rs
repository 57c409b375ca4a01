//! `utmost doctor --source ID`, as the guides describe it: a source to which nothing comes, one with the wrong
//! secret, one whose orders carry no clicks, and one that is well.

use http::{HeaderMap, Method};
use serde_json::{Value, json};
use utmost::cli::client::Client;
use utmost::domain::time::{now_ms, rfc3339};
use utmost::intake::{Platform, Secret, sign};

use crate::support::{Server, click, settled, token};
use crate::{Run, utmost};

async fn source(client: &Client, platform: &str, secret: Option<&str>) -> String {
    let body = json!({"platform": platform, "name": "Lamps", "secret": secret});
    let made = client.api(Method::POST, "/api/v1/sources", Some(body)).await.unwrap();
    made["id"].as_str().unwrap().to_owned()
}

/// A delivery signed with a secret; the status of the answer.
async fn deliver(
    client: &Client,
    source: &str,
    platform: Platform,
    topic: &str,
    secret: &str,
    body: &Value,
) -> u16 {
    let body = body.to_string();
    let mut headers = HeaderMap::new();
    headers.insert("x-shopify-topic", topic.parse().unwrap());
    for (name, value) in sign(platform, &Secret::new(secret), "msg_1", body.as_bytes(), now_ms()).unwrap() {
        headers.insert(name, value.parse().unwrap());
    }
    let path = format!("/hooks/{source}");
    client.send(Method::POST, &path, headers, body.into_bytes()).await.unwrap().status.as_u16()
}

fn order(id: u64, token: Option<&str>) -> Value {
    let now = rfc3339(now_ms());
    let note = token.map(|token| json!({"name": "um_click", "value": token}));
    json!({"id": id, "total_price": "20.00", "currency": "USD", "financial_status": "paid", "created_at": now,
        "updated_at": now, "note_attributes": Vec::from_iter(note)})
}

/// All that came is read, and its orders are evaluated.
async fn read(client: &Client, source: &str, count: usize) {
    let path = format!("/api/v1/sources/{source}/deliveries");
    let is_read = |list: &Value| {
        let all = list["data"].as_array().unwrap();
        let is_done = |it: &Value| it["result"] != "accepted" || it["conversion"].is_object();
        all.len() == count && all.iter().all(is_done)
    };
    settled(client, &path, is_read).await;
}

fn check(run: &Run, code: i32, lines: &[&str], never: &[&str]) {
    assert_eq!(run.code, code, "{} {}", run.out, run.err);
    for line in lines {
        assert!(run.out.contains(line), "{line:?} is not in: {}", run.out);
    }
    for line in never {
        assert!(!run.out.contains(line), "{line:?} is in: {}", run.out);
    }
}

#[tokio::test]
async fn a_source_is_told_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let client = server.client();
    let doctor = |source: &str| utmost(dir.path(), &[], &["doctor", "--source", source]);
    let link = json!({"url": "https://shop.example/", "post": "p1"});
    let link = client.api(Method::POST, "/api/v1/links", Some(link)).await.unwrap();
    let token = token(&click(&client, link["short_url"].as_str().unwrap(), None).await.unwrap());

    // Nothing comes.
    let silent = source(&client, "shopify", Some("hush")).await;
    let webhook_url = format!("paste webhook_url of GET /api/v1/sources/{silent}");
    check(
        &doctor(&silent),
        1,
        &[
            "ok       source: Lamps (shopify, of_record)",
            "ok       secret: 1 known",
            "WRONG    deliveries: nothing has come yet",
            &webhook_url,
        ],
        &["orders"],
    );

    // Another secret than the shop's: turned away at the door, and the source says so.
    assert_eq!(
        deliver(&client, &silent, Platform::Shopify, "orders/create", "other", &order(1, None)).await,
        401
    );
    check(
        &doctor(&silent),
        1,
        &["all was refused at the door for its signature", "last_refused there says"],
        &[],
    );
    let shown = client.api(Method::GET, &format!("/api/v1/sources/{silent}"), None).await.unwrap();
    assert!(shown["last_refused"]["problem"].as_str().unwrap().contains("fits no secret"), "{shown}");

    // No secret at first, then a wrong one: what came is kept and told, and the right one heals it.
    let late = source(&client, "shopify", None).await;
    assert_eq!(
        deliver(&client, &late, Platform::Shopify, "orders/create", "hush", &order(2, None)).await,
        200
    );
    read(&client, &late, 1).await;
    check(&doctor(&late), 1, &["WRONG    secret: none", "WRONG    deliveries: 1 are unverified"], &[]);
    let add = async |secret: &str| {
        let path = format!("/api/v1/sources/{late}/secrets");
        client.api(Method::POST, &path, Some(json!({"secret": secret}))).await.unwrap();
    };
    let path = format!("/api/v1/sources/{late}/deliveries");
    add("wrong").await;
    settled(&client, &path, |list| {
        list["data"][0]["problem"]
            .as_str()
            .is_some_and(|problem| problem.contains("no secret of this source signed it"))
    })
    .await;
    check(
        &doctor(&late),
        1,
        &[
            "1 are unverified: no secret of this source signed it",
            "add the right secret; they are read by themselves then",
        ],
        &["WRONG    secret"],
    );
    add("hush").await;
    settled(&client, &path, |list| list["data"][0]["conversion"].is_object()).await;
    check(
        &doctor(&late),
        0,
        &[
            "ok       orders: 1 in all: 0 attributed (by no method), 1 unattributed",
            "ok       reasons: 1 no_match",
        ],
        &["WRONG"],
    );

    // Orders without clicks: works, and a warning says what to add.
    check(
        &doctor(&late),
        0,
        &[
            "warning  click token: no order carries one",
            "-> put the script (/js/utmost.js) into the shop's pages",
        ],
        &["WRONG"],
    );

    // What cannot be read is named, with the way back.
    let mut broken = order(3, None);
    broken["total_price"] = json!("ten");
    assert_eq!(deliver(&client, &late, Platform::Shopify, "orders/create", "hush", &broken).await, 200);
    read(&client, &late, 2).await;
    check(
        &doctor(&late),
        1,
        &["WRONG    deliveries: 1 are dead: total_price: \"ten\" is not an amount", "`utmost replay`"],
        &[],
    );

    // All is well.
    let well = source(&client, "shopify", Some("hush")).await;
    assert_eq!(
        deliver(&client, &well, Platform::Shopify, "orders/create", "hush", &order(4, Some(&token))).await,
        200
    );
    assert_eq!(
        deliver(&client, &well, Platform::Shopify, "products/update", "hush", &json!({"id": 1})).await,
        200
    );
    read(&client, &well, 2).await;
    check(
        &doctor(&well),
        0,
        &[
            "ok       deliveries: the last 2: 1 accepted, 1 ignored",
            "ok       orders: 1 in all: 1 attributed (1 click_token), 0 unattributed, 0 excluded",
        ],
        &["WRONG", "warning"],
    );

    // BigCommerce sends no orders: without a token none can come.
    let store = source(&client, "bigcommerce", Some("hush")).await;
    let notice = json!({"scope": "store/order/created", "producer": "stores/abc123", "data": {"type": "order", "id": 7},
        "hash": "h"});
    assert_eq!(deliver(&client, &store, Platform::Bigcommerce, "", "hush", &notice).await, 200);
    read(&client, &store, 1).await;
    check(
        &doctor(&store),
        1,
        &[
            "WRONG    api_token: none",
            "WRONG    deliveries: 1 are dead: BigCommerce sends only the number of order 7",
        ],
        &[],
    );
}
