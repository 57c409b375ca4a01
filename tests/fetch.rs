//! Orders that BigCommerce's webhooks only name, fetched by the real binary from a real HTTP server that can
//! refuse, dawdle and go away.

#[path = "support/mod.rs"]
mod support;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, HeaderName, Method};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use support::postgres::Postgres;
use support::{Redis, Server, settled};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use utmost::cli::client::Client;
use utmost::domain::time::now_ms;
use utmost::intake::{Platform, Secret, sign};

const LOCAL: (&str, &str) = ("UTMOST_WEBHOOKS__ALLOW_NETWORKS", "127.0.0.0/8");
const QUICK: (&str, &str) = ("UTMOST_WEBHOOKS__FIRST_RETRY_MS", "50");
const IMPATIENT: (&str, &str) = ("UTMOST_WEBHOOKS__TIMEOUT_MS", "500");
const TOKEN: &str = "store-token-0123456789";
const CLIENT_SECRET: &str = "hush";

/// What the store answers to one request.
#[derive(Debug, Clone)]
enum Says {
    Status(u16, Vec<(&'static str, &'static str)>, String),
    /// Longer than anybody waits.
    Nothing,
}

fn status(status: u16) -> Says {
    Says::Status(status, Vec::new(), String::new())
}

#[derive(Debug, Clone)]
struct Asked {
    path: String,
    token: String,
    at: Instant,
}

struct StoreState {
    /// Orders as the API has them, by number, with their coupons and refunds.
    orders: Mutex<Vec<Value>>,
    /// Of the next requests; then the order.
    says: Mutex<VecDeque<Says>>,
    asked: Mutex<Vec<Asked>>,
    token: Mutex<&'static str>,
}

/// A store's API.
struct Store {
    address: SocketAddr,
    state: Arc<StoreState>,
    serving: Option<JoinHandle<()>>,
}

impl Store {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = Arc::new(StoreState {
            orders: Mutex::default(),
            says: Mutex::default(),
            asked: Mutex::default(),
            token: Mutex::new(TOKEN),
        });
        let address = listener.local_addr().unwrap();
        let serving = Some(serve(listener, Arc::clone(&state)));
        Self { address, state, serving }
    }

    fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/api", self.address.port())
    }

    /// Puts an order in the place of the one with its number.
    fn put(&self, order: Value) {
        let mut orders = self.state.orders.lock().unwrap();
        orders.retain(|known| known["order"]["id"] != order["order"]["id"]);
        orders.push(order);
    }

    fn says(&self, says: &[Says]) {
        *self.state.says.lock().unwrap() = says.iter().cloned().collect();
    }

    fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }

    async fn die(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }

    async fn revive(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serving = Some(serve(listener, Arc::clone(&self.state)));
    }
}

fn serve(listener: TcpListener, state: Arc<StoreState>) -> JoinHandle<()> {
    let router = axum::Router::new().fallback(answer).with_state(state);
    tokio::spawn(async move {
        // They end with it.
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(router.clone());
            connections.spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                // A caller that waits no longer hangs up.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

async fn answer(State(store): State<Arc<StoreState>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let token = request.headers()["x-auth-token"].to_str().unwrap().to_owned();
    store.asked.lock().unwrap().push(Asked { path: path.clone(), token: token.clone(), at: Instant::now() });
    let next = store.says.lock().unwrap().pop_front();
    let (status, headers, body) = match next {
        Some(Says::Status(status, headers, body)) => (status, headers, body),
        Some(Says::Nothing) => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            (200, Vec::new(), String::new())
        }
        None if token != *store.token.lock().unwrap() => (401, Vec::new(), String::new()),
        None => match resource(&store.orders.lock().unwrap(), &path) {
            None => (404, Vec::new(), String::new()),
            Some(Value::Null) => (204, Vec::new(), String::new()),
            Some(found) => (200, Vec::new(), found.to_string()),
        },
    };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap()
}

/// As BigCommerce's paths go.
fn resource(orders: &[Value], path: &str) -> Option<Value> {
    let of_store = path.strip_prefix("/api/stores/abc123/")?;
    let (version, rest) = of_store.split_once("/orders/")?;
    let (id, part) = rest.split_once('/').unwrap_or((rest, ""));
    let order = orders.iter().find(|order| order["order"]["id"].as_u64() == id.parse().ok())?;
    match (version, part) {
        ("v2", "") => Some(order["order"].clone()),
        ("v2", "coupons") => Some(order["coupons"].clone()),
        ("v3", "payment_actions/refunds") => Some(json!({"data": order["refunds"], "meta": {}})),
        _ => None,
    }
}

/// The order of the fixture under another number, with a coupon.
fn order(id: u64, coupon: &str) -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/webhooks/bigcommerce_order.json");
    let mut order: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    order["order"]["id"] = json!(id);
    order["order"]["default_currency_code"] = json!("USD");
    order["order"]["cart_id"] = json!(format!("cart-{id}"));
    order["order"]["payment_provider_id"] = json!(null);
    order["coupons"][0]["code"] = json!(coupon);
    order["refunds"] = json!([]);
    order
}

async fn source(client: &Client, token: Option<&str>, url: &str) -> String {
    let body = json!({"platform": "bigcommerce", "name": "Store", "secret": CLIENT_SECRET, "api_token": token,
        "api_url": url});
    let made = client.api(Method::POST, "/api/v1/sources", Some(body)).await.unwrap();
    assert_eq!(made["has_api_token"], token.is_some());
    made["id"].as_str().unwrap().to_owned()
}

/// A signed notice, as BigCommerce sends it.
async fn notice(client: &Client, source: &str, order: u64, scope: &str) {
    let at_ms = now_ms();
    let body = json!({"scope": scope, "store_id": "1", "data": {"type": "order", "id": order},
        "hash": format!("{order}-{at_ms}"), "created_at": at_ms / 1000, "producer": "stores/abc123"})
    .to_string();
    let id = format!("msg_{order}_{at_ms}");
    let signed =
        sign(Platform::Bigcommerce, &Secret::new(CLIENT_SECRET), &id, body.as_bytes(), at_ms).unwrap();
    let headers: HeaderMap = signed
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
        .collect();
    let path = format!("/hooks/{source}");
    let answer = client.send(Method::POST, &path, headers, body.into_bytes()).await.unwrap();
    assert_eq!(answer.status, 200);
}

/// The newest delivery of a source about an order that is a notice, once it says what is expected.
async fn told(client: &Client, source: &str, order: u64, result: &str) -> Value {
    let path = format!("/api/v1/sources/{source}/deliveries?order_id={order}");
    let of_notice = |list: &Value| {
        let all = list["data"].as_array().unwrap();
        all.iter().find(|it| it["topic"] != "order").cloned()
    };
    let list = settled(client, &path, |list| of_notice(list).is_some_and(|it| it["result"] == result)).await;
    of_notice(&list).unwrap()
}

async fn replay(client: &Client, delivery: &Value) {
    let path = format!("/api/v1/deliveries/{}/replay", delivery["id"].as_str().unwrap());
    client.api(Method::POST, &path, None).await.unwrap();
}

async fn conversion(client: &Client, order: u64, check: impl Fn(&Value) -> bool) -> Value {
    let id = order.to_string();
    let is_it = |it: &&Value| it["id"].as_str() == Some(&id) && check(it);
    let find = |list: &Value| list["data"].as_array().unwrap().iter().find(is_it).cloned();
    let list = settled(client, "/api/v1/conversions?limit=1000", |list| find(list).is_some()).await;
    find(&list).unwrap()
}

/// A post with a link, and a coupon that stands for it.
async fn coupon(client: &Client, code: &str) {
    let link = json!({"url": "https://shop.example/", "post": "p1"});
    client.api(Method::POST, "/api/v1/links", Some(link)).await.unwrap();
    let path = format!("/api/v1/coupons/{code}");
    client.api(Method::PUT, &path, Some(json!({"post": "p1"}))).await.unwrap();
}

/// From the notice to the credit, and the refund back; what was said twice counts once.
async fn orders_are_fetched(env: &[(&str, &str)]) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[env, &[LOCAL, QUICK]].concat());
    let client = server.client();
    let store = Store::start().await;
    let source = source(&client, Some(TOKEN), &store.url("127.0.0.1")).await;
    coupon(&client, "SPRING10").await;
    // More than a float can tell apart.
    let id = 9_007_199_254_740_993;
    store.put(order(id, "spring10"));
    notice(&client, &source, id, "store/order/created").await;
    let sold = conversion(&client, id, |it| it["status"] == "attributed").await;
    assert_eq!((&sold["id"], &sold["match"]["method"]), (&json!(id.to_string()), &json!("coupon")));
    assert_eq!((&sold["net_revenue"], &sold["currency"]), (&json!("42.01"), &json!("USD")));
    let notice_row = told(&client, &source, id, "accepted").await;
    let paths: Vec<String> = store.asked().iter().map(|asked| asked.path.clone()).collect();
    let base = format!("/api/stores/abc123/v2/orders/{id}");
    assert_eq!(paths, [base.clone(), format!("{base}/coupons")]);
    assert!(store.asked().iter().all(|asked| asked.token == TOKEN));

    // The order is a delivery of its own, which can be looked at.
    let path = format!("/api/v1/sources/{source}/deliveries?order_id={id}");
    let list = client.api(Method::GET, &path, None).await.unwrap();
    let fetched = &list["data"].as_array().unwrap().iter().find(|it| it["topic"] == "order").unwrap();
    assert!(notice_row["problem"].as_str().unwrap().contains(fetched["id"].as_str().unwrap()));
    let path = format!("/api/v1/deliveries/{}", fetched["id"].as_str().unwrap());
    let raw = client.api(Method::GET, &path, None).await.unwrap();
    assert!(raw["body"].as_str().unwrap().contains("\"total_inc_tax\":\"49.9900\""));

    // Nothing new.
    notice(&client, &source, id, "store/order/statusUpdated").await;
    settled(&client, "/api/v1/deliveries?result=duplicate", |list| {
        list["data"].as_array().unwrap().len() == 1
    })
    .await;

    // Half of it comes back.
    let mut refunded = order(id, "spring10");
    refunded["order"]["date_modified"] = json!("Sat, 21 Nov 2026 10:00:00 +0000");
    refunded["order"]["payment_status"] = json!("partially refunded");
    refunded["refunds"] = json!([{"id": 1, "order_id": id, "created": "2026-11-21T10:00:00+00:00",
        "total_amount": 24.99, "items": []}]);
    store.put(refunded);
    notice(&client, &source, id, "store/order/refund/created").await;
    let back = conversion(&client, id, |it| it["refunds"] != "0.00").await;
    assert_eq!((&back["revenue"], &back["net_revenue"]), (&json!("42.01"), &json!("21.01")));
    let shown = client.api(Method::GET, &format!("/api/v1/sources/{source}"), None).await.unwrap();
    assert_eq!(
        (&shown["has_api_token"], &shown["api_url"]),
        (&json!(true), &json!(store.url("127.0.0.1") + "/"))
    );
    for text in [shown.to_string(), list.to_string(), raw.to_string()] {
        assert!(!text.contains(TOKEN), "{text}");
    }
}

#[tokio::test]
async fn orders_are_fetched_embedded() {
    orders_are_fetched(&[]).await;
}

#[tokio::test]
async fn orders_are_fetched_with_redis_and_postgres() {
    let (redis, postgres) = (Redis::start(&[]), Postgres::start());
    let (hot, ledger) = (redis.url(), postgres.url("postgres"));
    orders_are_fetched(&[("UTMOST_HOT__URL", &hot), ("UTMOST_LEDGER__URL", &ledger)]).await;
}

/// What cannot succeed is a dead letter at once that says what to do; a replay, or a better token, mends it.
#[tokio::test]
async fn what_is_refused_is_a_dead_letter_until_it_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[LOCAL, QUICK, IMPATIENT]);
    let client = server.client();
    let store = Store::start().await;
    let source = source(&client, Some(TOKEN), &store.url("127.0.0.1")).await;
    let moved = Says::Status(302, vec![("location", "/elsewhere")], String::new());
    let another = Says::Status(200, Vec::new(), order(999, "X").to_string());
    for (n, (says, expected)) in (1..).zip([
        (status(404), "answered 404: store abc123 has no order 1 (any more)"),
        (status(410), "answered 410: store abc123 has no order 2 (any more)"),
        (moved, "answered 302; redirects are not followed"),
        (status(400), "answered 400"),
        (another, "the answer is not order 5"),
    ]) {
        store.says(&[says]);
        let before = store.asked().len();
        notice(&client, &source, n, "store/order/created").await;
        let dead = told(&client, &source, n, "dead").await;
        let problem = dead["problem"].as_str().unwrap();
        assert!(problem.contains(expected), "{problem}");
        assert_eq!(store.asked().len(), before + 1, "asked once: {problem}");
        store.put(order(n, "NONE"));
        replay(&client, &dead).await;
        told(&client, &source, n, "accepted").await;
        conversion(&client, n, |it| it["status"] == "unattributed").await;
    }

    // A token that is refused: setting another fetches what had been refused, and nothing else.
    *store.state.token.lock().unwrap() = "another-token";
    for n in [6, 7] {
        store.put(order(n, "NONE"));
        notice(&client, &source, n, "store/order/updated").await;
        let problem = told(&client, &source, n, "dead").await["problem"].as_str().unwrap().to_owned();
        assert!(problem.contains("answered 401: it refuses api_token for store abc123"), "{problem}");
        assert!(!problem.contains(TOKEN));
    }
    let before = store.asked().len();
    let path = format!("/api/v1/sources/{source}");
    client.api(Method::PATCH, &path, Some(json!({"api_token": "another-token"}))).await.unwrap();
    for n in [6, 7] {
        told(&client, &source, n, "accepted").await;
        conversion(&client, n, |_| true).await;
    }
    assert_eq!(store.asked().len(), before + 4);
}

/// What may pass is tried again, not before the store says so, and the notice tells meanwhile what is wrong.
#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[LOCAL, QUICK, IMPATIENT]);
    let mut store = Store::start().await;
    let source = source(&server.client(), Some(TOKEN), &store.url("127.0.0.1")).await;
    for n in 1..=6 {
        store.put(order(n, "NONE"));
    }
    let quota = |name, value| Says::Status(429, vec![(name, value)], String::new());
    for (n, says) in (1..).zip([
        vec![status(503), status(500), status(408)],
        vec![quota("x-rate-limit-time-reset-ms", "1500")],
        vec![quota("retry-after", "2")],
        vec![Says::Nothing],
        // The order is there, and its coupons are not: all of it is asked for again.
        vec![Says::Status(200, Vec::new(), order(5, "NONE")["order"].to_string()), status(502)],
    ]) {
        let failures = says.len();
        store.says(&says);
        let before = store.asked().len();
        notice(&server.client(), &source, n, "store/order/created").await;
        told(&server.client(), &source, n, "accepted").await;
        let asked = store.asked()[before..].to_vec();
        assert_eq!(asked.len(), failures + 2, "{asked:?}");
        let waited = asked[1].at - asked[0].at;
        match n {
            2 => assert!(waited >= Duration::from_millis(1500), "{waited:?}"),
            3 => assert!(waited >= Duration::from_secs(2), "{waited:?}"),
            4 => assert!(waited >= Duration::from_millis(500), "{waited:?}"),
            _ => {}
        }
        conversion(&server.client(), n, |_| true).await;
    }

    // The store is away, this server dies, and both come back.
    store.die().await;
    notice(&server.client(), &source, 6, "store/order/created").await;
    let path = format!("/api/v1/sources/{source}/deliveries?order_id=6");
    let trying = settled(&server.client(), &path, |list| {
        list["data"][0]["problem"].as_str().is_some_and(|problem| problem.contains("the last attempt"))
    })
    .await;
    assert_eq!(trying["data"][0]["result"], "pending");
    server.kill();
    store.revive().await;
    server.restart();
    told(&server.client(), &source, 6, "accepted").await;
    conversion(&server.client(), 6, |_| true).await;
}

#[tokio::test]
async fn a_store_that_stays_away_is_given_up_and_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    // Long enough that a machine which stands still for a moment does not give up on all before the last is asked for.
    let give_up = ("UTMOST_WEBHOOKS__GIVE_UP_SECONDS", "10");
    let server = Server::start(dir.path(), &[LOCAL, QUICK, IMPATIENT, give_up]);
    let client = server.client();
    let (slow, quick) = (Store::start().await, Store::start().await);
    let slow_source = source(&client, Some(TOKEN), &slow.url("127.0.0.1")).await;
    let quick_source = source(&client, Some(TOKEN), &quick.url("127.0.0.1")).await;
    slow.says(&vec![Says::Nothing; 1000]);
    for n in 1..=20 {
        slow.put(order(n, "NONE"));
        notice(&client, &slow_source, n, "store/order/created").await;
    }
    quick.put(order(100, "NONE"));
    let began = Instant::now();
    notice(&client, &quick_source, 100, "store/order/created").await;
    told(&client, &quick_source, 100, "accepted").await;
    conversion(&client, 100, |_| true).await;
    let path = format!("/api/v1/sources/{slow_source}/deliveries?result=pending");
    let waiting = client.api(Method::GET, &path, None).await.unwrap();
    assert!(
        !waiting["data"].as_array().unwrap().is_empty(),
        "fetched after {:?}, before the others",
        began.elapsed()
    );

    let dead = told(&client, &slow_source, 1, "dead").await;
    let problem = dead["problem"].as_str().unwrap();
    assert!(problem.contains("given up") && problem.contains("no answer within 500ms"), "{problem}");
    slow.says(&[]);
    replay(&client, &dead).await;
    told(&client, &slow_source, 1, "accepted").await;
}

#[tokio::test]
async fn without_a_token_or_a_public_address_nothing_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[QUICK]);
    let client = server.client();
    let store = Store::start().await;
    let refused = |body: Value| client.api(Method::POST, "/api/v1/sources", Some(body));
    let private = json!({"platform": "bigcommerce", "name": "S", "api_url": store.url("127.0.0.1")});
    let error = refused(private).await.unwrap_err().to_string();
    assert!(error.contains("api_url must lead to a public address"), "{error}");
    let other = json!({"platform": "shopify", "name": "S", "api_token": TOKEN});
    let error = refused(other).await.unwrap_err().to_string();
    assert!(error.contains("api_token is for bigcommerce alone") && !error.contains(TOKEN), "{error}");
    let odd = json!({"platform": "bigcommerce", "name": "S", "api_token": "a\nb"});
    let error = refused(odd).await.unwrap_err().to_string();
    assert!(error.contains("api_token must have 1 to 1024 visible ASCII characters"), "{error}");

    let source = source(&client, None, &store.url("localhost")).await;
    notice(&client, &source, 1, "store/order/created").await;
    let dead = told(&client, &source, 1, "dead").await;
    let problem = dead["problem"].as_str().unwrap();
    assert!(
        problem.contains("BigCommerce sends only the number of order 1; give the source the token"),
        "{problem}"
    );
    // A name is looked up when it is called.
    let path = format!("/api/v1/sources/{source}");
    let changed = client.api(Method::PATCH, &path, Some(json!({"api_token": TOKEN}))).await.unwrap();
    assert_eq!(changed["has_api_token"], true);
    let no_public = |list: &Value| {
        list["data"][0]["problem"].as_str().is_some_and(|problem| problem.contains("is no public address"))
    };
    let of_order = format!("{path}/deliveries?order_id=1");
    assert_eq!(settled(&client, &of_order, no_public).await["data"][0]["result"], "dead");
    assert!(store.asked().is_empty());

    // Another address does not get the token that was given for this one.
    let elsewhere = json!({"api_url": "https://elsewhere.example"});
    let changed = client.api(Method::PATCH, &path, Some(elsewhere)).await.unwrap();
    assert_eq!(
        (&changed["has_api_token"], &changed["api_url"]),
        (&json!(false), &json!("https://elsewhere.example/"))
    );
    replay(&client, &dead).await;
    settled(&client, &of_order, |list| {
        list["data"][0]["problem"]
            .as_str()
            .is_some_and(|problem| problem.contains("give the source the token"))
    })
    .await;
}
