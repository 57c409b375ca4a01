//! Webhooks out, by the real binary to a real receiver: each fact is told once, whatever fails.

mod receiver;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use http::Method;
use receiver::{Received, Receiver};
use serde_json::{Value, json};
use support::postgres::Postgres;
use support::{Redis, Server, click, settled, token};
use utmost::cli::client::Client;

const LOCAL: (&str, &str) = ("UTMOST_WEBHOOKS__ALLOW_NETWORKS", "127.0.0.0/8");
const QUICK: (&str, &str) = ("UTMOST_WEBHOOKS__FIRST_RETRY_MS", "50");
const IMPATIENT: (&str, &str) = ("UTMOST_WEBHOOKS__TIMEOUT_MS", "500");
const ALL: [&str; 3] = ["link.clicked", "conversion.attributed", "conversion.refunded"];

async fn subscribe(client: &Client, url: &str, events: &[&str]) -> (String, String) {
    let body = json!({"url": url, "events": events});
    let made = client.api(Method::POST, "/api/v1/webhooks", Some(body)).await.unwrap();
    (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

/// A link, a click on it, and the click's token.
async fn clicked(client: &Client) -> (Value, String) {
    let link = json!({"url": "https://shop.example/", "post": "p1", "network": "instagram"});
    let link = client.api(Method::POST, "/api/v1/links", Some(link)).await.unwrap();
    let answer = click(client, link["short_url"].as_str().unwrap(), None).await.unwrap();
    (link, token(&answer))
}

async fn order(client: &Client, id: &str, token: &str) {
    let order = json!({"id": id, "amount": "50.00", "currency": "USD", "click_id": token});
    client.api(Method::POST, "/api/v1/conversions", Some(order)).await.unwrap();
}

async fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_true() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// All that lies in the outbox with a result.
async fn told(client: &Client, webhook: &str, result: &str) -> Vec<Value> {
    let path = format!("/api/v1/webhooks/{webhook}/deliveries?limit=1000&result={result}");
    client.api(Method::GET, &path, None).await.unwrap()["data"].as_array().unwrap().clone()
}

/// Nothing waits any more.
async fn quiet(client: &Client, webhook: &str) {
    let path = format!("/api/v1/webhooks/{webhook}/deliveries?result=waiting");
    settled(client, &path, |list| list["data"].as_array().unwrap().is_empty()).await;
}

/// What was received, each message once: by id. The same message is the same at every attempt.
fn messages(received: &[Received]) -> BTreeMap<String, Received> {
    let mut messages: BTreeMap<String, Received> = BTreeMap::new();
    for one in received {
        let first = messages.entry(one.id.clone()).or_insert_with(|| one.clone());
        assert_eq!(first.body, one.body, "a message has one body");
    }
    messages
}

fn of_event<'a>(messages: &'a BTreeMap<String, Received>, event: &str) -> Vec<&'a Received> {
    messages.values().filter(|message| message.event() == event).collect()
}

/// A sale and its refund are told, once each, though the receiver fails at first and the shop repeats itself.
async fn facts_are_told_once(env: &[(&str, &str)]) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[env, &[LOCAL, QUICK]].concat());
    let client = server.client();
    let receiver = Receiver::start().await;
    receiver.answer(&[500, 503, 429, 302]);
    let (webhook, secret) = subscribe(&client, &receiver.url("127.0.0.1"), &ALL).await;
    let (link, token) = clicked(&client).await;
    order(&client, "A-1", &token).await;
    order(&client, "A-1", &token).await;
    settled(&client, "/api/v1/conversions", |list| list["data"][0]["status"] == "attributed").await;
    let refund = json!({"id": "R-1", "amount": "20.00"});
    for _ in 0..2 {
        let path = "/api/v1/conversions/A-1/refunds";
        client.api(Method::POST, path, Some(refund.clone())).await.unwrap();
    }
    settled(&client, "/api/v1/conversions", |list| list["data"][0]["net_revenue"] == "30.00").await;
    until("three messages", || messages(&receiver.received()).len() >= 3).await;
    quiet(&client, &webhook).await;

    let received = receiver.received();
    let messages = messages(&received);
    assert!(received.len() >= messages.len() + 4, "what failed came again");
    assert!(received.iter().all(|one| one.is_signed_by(&secret) && one.path == "/hook"));
    assert!(!received[0].is_signed_by("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));

    let [clicks] = of_event(&messages, "link.clicked")[..] else { panic!("{messages:?}") };
    let clicks = clicks.json();
    let told_click = &clicks["data"]["clicks"][0];
    assert_eq!(clicks["data"]["clicks"].as_array().unwrap().len(), 1);
    assert_eq!((&told_click["link"], &told_click["post"]), (&link["id"], &json!("p1")));
    assert_eq!((&told_click["class"], &told_click["device"]), (&json!("human"), &json!("mobile")));

    let [attributed] = of_event(&messages, "conversion.attributed")[..] else { panic!("{messages:?}") };
    let sale = attributed.json()["data"].clone();
    assert_eq!(
        (&sale["conversion"]["id"], &sale["conversion"]["match"]),
        (&json!("A-1"), &json!("click_token"))
    );
    assert_eq!(
        (&sale["conversion"]["revenue"], &sale["conversion"]["currency"]),
        (&json!("50.00"), &json!("USD"))
    );
    let touch = &sale["touches"][0];
    assert_eq!(
        (&touch["link"], &touch["post"], &touch["network"]),
        (&link["id"], &json!("p1"), &json!("instagram"))
    );
    assert_eq!(touch["credits"]["linear"], json!({"weight": 1.0, "net_revenue": "50.00"}));
    assert_eq!(touch["click_id"], told_click["id"]);

    let [refunded] = of_event(&messages, "conversion.refunded")[..] else { panic!("{messages:?}") };
    let back = refunded.json()["data"].clone();
    assert_eq!((&back["refund"]["id"], &back["refund"]["amount"]), (&json!("R-1"), &json!("20.00")));
    assert_eq!(back["conversion"]["net_revenue"], "30.00");

    let delivered = told(&client, &webhook, "delivered").await;
    assert_eq!(delivered.len(), 3);
    assert!(delivered.iter().all(|message| message["status"] == 204 && message["problem"].is_null()));
    let attempts: i64 = delivered.iter().map(|message| message["attempts"].as_i64().unwrap()).sum();
    assert_eq!(attempts as usize, received.len());
}

#[tokio::test]
async fn facts_are_told_once_embedded() {
    facts_are_told_once(&[]).await;
}

#[tokio::test]
async fn facts_are_told_once_with_redis_and_postgres() {
    let (redis, postgres) = (Redis::start(&[]), Postgres::start());
    let (hot, ledger) = (redis.url(), postgres.url("postgres"));
    facts_are_told_once(&[("UTMOST_HOT__URL", &hot), ("UTMOST_LEDGER__URL", &ledger)]).await;
}

/// kill -9 while messages are committed and not taken, and while the receiver thinks about one.
#[tokio::test]
async fn nothing_is_lost_when_either_side_dies() {
    const ORDERS: usize = 20;
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[LOCAL, QUICK, IMPATIENT]);
    let mut receiver = Receiver::start().await;
    receiver.delay(Duration::from_millis(200));
    let (webhook, secret) = subscribe(&server.client(), &receiver.url("localhost"), &ALL[1..]).await;
    let (_, token) = clicked(&server.client()).await;
    for n in 0..ORDERS {
        order(&server.client(), &format!("A-{n}"), &token).await;
    }
    until("a first message", || !receiver.received().is_empty()).await;
    server.kill();
    receiver.die().await;
    server.restart();
    let client = server.client();
    let attributed = |list: &Value| {
        let orders = list["data"].as_array().unwrap();
        orders.len() == ORDERS && orders.iter().all(|order| order["status"] == "attributed")
    };
    settled(&client, "/api/v1/conversions", attributed).await;
    settled(&client, &format!("/api/v1/webhooks/{webhook}"), |it| it["failing_since"].is_string()).await;
    receiver.delay(Duration::ZERO);
    receiver.revive().await;
    quiet(&client, &webhook).await;

    let received = receiver.received();
    assert!(received.iter().all(|one| one.is_signed_by(&secret)));
    let messages = messages(&received);
    let orders: BTreeSet<String> = messages
        .values()
        .map(|message| message.json()["data"]["conversion"]["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((messages.len(), orders.len()), (ORDERS, ORDERS), "each once");
    assert!(receiver.at_once_max() <= 4, "{}", receiver.at_once_max());
    let webhook = client.api(Method::GET, &format!("/api/v1/webhooks/{webhook}"), None).await.unwrap();
    assert!(webhook["failing_since"].is_null() && webhook["enabled"] == true && webhook["secret"].is_null());
}

#[tokio::test]
async fn a_webhook_that_takes_nothing_is_disabled_and_its_dead_letters_are_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let give_up = ("UTMOST_WEBHOOKS__GIVE_UP_SECONDS", "1");
    let parallel = ("UTMOST_WEBHOOKS__PARALLEL", "2");
    let server = Server::start(dir.path(), &[LOCAL, QUICK, IMPATIENT, give_up, parallel]);
    let client = server.client();
    let receiver = Receiver::start().await;
    // Slower than it may be: every attempt ends without an answer.
    receiver.delay(Duration::from_secs(60));
    let (webhook, _) = subscribe(&client, &receiver.url("127.0.0.1"), &ALL[1..2]).await;
    let path = format!("/api/v1/webhooks/{webhook}");
    let (_, token) = clicked(&client).await;
    for n in 0..6 {
        order(&client, &format!("A-{n}"), &token).await;
    }
    let disabled = settled(&client, &path, |webhook| webhook["enabled"] == false).await;
    let reason = disabled["disabled_reason"].as_str().unwrap();
    assert!(
        reason.contains("nothing was taken since") && reason.contains("no answer within 500ms"),
        "{reason}"
    );
    assert_eq!(receiver.at_once_max(), 2, "as many at once as it may have");
    quiet(&client, &webhook).await;
    let dead = told(&client, &webhook, "dead").await;
    assert!(!dead.is_empty());

    // A disabled one is told nothing, and nothing piles up for it.
    order(&client, "B-1", &token).await;
    settled(&client, "/api/v1/conversions", |list| {
        list["data"][0]["id"] == "B-1" && list["data"][0]["status"] == "attributed"
    })
    .await;
    assert!(told(&client, &webhook, "waiting").await.is_empty());
    let refused = client.api(Method::POST, &format!("{path}/replay"), None).await.unwrap_err();
    assert!(refused.to_string().contains("enable it by PATCH first"), "{refused}");

    receiver.delay(Duration::ZERO);
    let before: BTreeSet<String> = receiver.received().iter().map(|one| one.id.clone()).collect();
    client.api(Method::PATCH, &path, Some(json!({"enabled": true}))).await.unwrap();
    let one = dead[0]["id"].as_str().unwrap();
    client.api(Method::POST, &format!("{path}/deliveries/{one}/replay"), None).await.unwrap();
    let rest = client.api(Method::POST, &format!("{path}/replay"), None).await.unwrap();
    assert!(rest["messages"].as_u64().unwrap() < dead.len() as u64);
    quiet(&client, &webhook).await;
    let delivered = told(&client, &webhook, "delivered").await;
    let ids = |messages: &[Value]| messages.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
    let (delivered, dead): (BTreeSet<String>, BTreeSet<String>) = (ids(&delivered), ids(&dead));
    assert_eq!(delivered, dead, "by their own ids");
    assert!(before.is_subset(&dead));
}

#[tokio::test]
async fn no_private_address_is_called_and_no_redirect_followed() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    {
        let server = Server::start(dir.path(), &[QUICK]);
        let client = server.client();
        for host in ["127.0.0.1", "[::1]", "169.254.169.254", "2130706433", "0x7f.1"] {
            let body = json!({"url": receiver.url(host), "events": ALL});
            let refused =
                client.api(Method::POST, "/api/v1/webhooks", Some(body)).await.unwrap_err().to_string();
            assert!(refused.contains("422") && refused.contains("public address"), "{host}: {refused}");
        }
        // A name is looked up when it is called, every time.
        let (webhook, _) = subscribe(&client, &receiver.url("localhost"), &ALL).await;
        client.api(Method::POST, &format!("/api/v1/webhooks/{webhook}/test"), None).await.unwrap();
        let path = format!("/api/v1/webhooks/{webhook}/deliveries?result=waiting");
        let tried = |list: &Value| list["data"][0]["attempts"].as_i64() >= Some(1);
        let waiting = settled(&client, &path, tried).await;
        let problem = waiting["data"][0]["problem"].as_str().unwrap();
        assert!(problem.contains("is no public address"), "{problem}");
        assert!(receiver.received().is_empty());
    }
    // The same webhook, allowed: a redirect is an answer like another, and is not followed.
    receiver.answer(&[307]);
    let server = Server::start(dir.path(), &[QUICK, LOCAL]);
    let client = server.client();
    until("two attempts", || receiver.received().len() >= 2).await;
    let received = receiver.received();
    assert_eq!((received[0].answered, received[0].event().as_str()), (307, "webhook.test"));
    assert!(received.iter().all(|one| one.path == "/hook" && one.id == received[0].id));

    // A rotated secret: the former one verifies for a while as well.
    let list = client.api(Method::GET, "/api/v1/webhooks", None).await.unwrap();
    let webhook = list["data"][0]["id"].as_str().unwrap();
    let first = client.api(Method::POST, &format!("/api/v1/webhooks/{webhook}/secret"), None).await.unwrap();
    let second = client.api(Method::POST, &format!("/api/v1/webhooks/{webhook}/secret"), None).await.unwrap();
    client.api(Method::POST, &format!("/api/v1/webhooks/{webhook}/test"), None).await.unwrap();
    until("a third attempt", || receiver.received().len() >= 3).await;
    let last = receiver.received().pop().unwrap();
    assert!([first, second].iter().all(|made| last.is_signed_by(made["secret"].as_str().unwrap())));
    // 410 says that nobody wants these any more.
    receiver.answer(&[410]);
    client.api(Method::POST, &format!("/api/v1/webhooks/{webhook}/test"), None).await.unwrap();
    let path = format!("/api/v1/webhooks/{webhook}");
    let gone = settled(&client, &path, |webhook| webhook["enabled"] == false).await;
    assert!(gone["disabled_reason"].as_str().unwrap().contains("410"));
    client.api(Method::DELETE, &path, None).await.unwrap();
    assert!(client.api(Method::GET, &path, None).await.is_err());
}
