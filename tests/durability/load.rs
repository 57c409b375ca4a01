//! Visitors and shops that go on under faults and count what they were answered, and the comparison with
//! what utmost has afterwards.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, Method};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};
use tokio::task::JoinHandle;
use utmost::cli::client::Client;
use utmost::domain::time;
use utmost::intake::{Platform, Secret, sign};

use crate::support::{BROWSER, Server, metric, settled};

/// Enough that a click lost on one is not made up for by an unanswered one on the same.
const LINKS: usize = 100;
/// Whoever waits longer for anything waits in vain.
const PATIENCE: Duration = Duration::from_secs(120);
const SECRET: &str = "shpss_0123456789abcdef";

/// What clicks go to and orders come from.
#[derive(Clone)]
pub struct Shop {
    client: Client,
    address: String,
    links: Vec<Link>,
    webhook_url: String,
}

#[derive(Clone)]
struct Link {
    id: String,
    path: String,
}

impl Shop {
    pub async fn open(server: &Server) -> Self {
        let client = server.client();
        let links: Vec<Value> =
            (0..=LINKS).map(|n| json!({"url": "https://shop.example/", "slug": format!("l{n}")})).collect();
        let body = Some(json!({ "links": links }));
        let made = client.api(Method::POST, "/api/v1/links/bulk", body).await.unwrap();
        let link = |result: &Value| {
            let text = |name: &str| result["link"][name].as_str().expect("a link").to_owned();
            Link { id: text("id"), path: format!("/{}", text("slug")) }
        };
        let links = made["results"].as_array().unwrap().iter().map(link).collect();
        let source = json!({"platform": "shopify", "name": "Hats", "secret": SECRET});
        let source = client.api(Method::POST, "/api/v1/sources", Some(source)).await.unwrap();
        Self {
            address: server.base.trim_start_matches("http://").to_owned(),
            webhook_url: source["webhook_url"].as_str().unwrap().to_owned(),
            client,
            links,
        }
    }

    /// Sends an order; the status of the answer, if there was one.
    async fn order(&self, id: u64, token: &str) -> Option<u16> {
        let at = time::rfc3339(time::now_ms() / 1000 * 1000);
        let body = json!({
            "id": id, "name": format!("#{id}"), "created_at": at, "processed_at": at, "updated_at": at,
            "financial_status": "paid", "test": false, "currency": "USD", "total_price": "11.00",
            "total_tax": "1.00", "note_attributes": [{"name": "um_click", "value": token}], "refunds": [],
        });
        let body = serde_json::to_vec(&body).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in
            sign(Platform::Shopify, &Secret::new(SECRET), "1", &body, time::now_ms()).unwrap()
        {
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers.insert("x-shopify-topic", "orders/paid".parse().unwrap());
        let sent = self.client.send(Method::POST, &self.webhook_url, headers, body).await;
        sent.ok().map(|answer| answer.status.as_u16())
    }

    async fn report(&self, is_complete: impl Fn(&Value) -> bool) -> Value {
        settled(&self.client, "/api/v1/reports/attribution?by=link", is_complete).await
    }

    fn recorded(&self, report: &Value, link: usize) -> u64 {
        let id = &self.links[link].id;
        let rows = report["rows"].as_array().expect("rows");
        let row = rows.iter().find(|row| row["key"] == id.as_str());
        row.map_or(0, |row| row["recorded_clicks"].as_u64().expect("a number"))
    }
}

/// What came of a click.
enum Clicked {
    Redirected {
        token: String,
    },
    /// Nobody took the connection.
    NotAsked,
    /// The connection broke under the request: it may be recorded or not.
    Unanswered,
}

/// One visitor's connection; it is kept until the server says otherwise.
struct Visitor {
    address: String,
    connection: Option<BufReader<TcpStream>>,
}

impl Visitor {
    async fn click(&mut self, path: &str) -> Clicked {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => match TcpStream::connect(&self.address).await {
                Ok(stream) => BufReader::new(stream),
                Err(_) => return Clicked::NotAsked,
            },
        };
        match ask(&mut connection, &self.address, path).await {
            Ok((token, is_last)) => {
                self.connection = Some(connection).filter(|_| !is_last);
                Clicked::Redirected { token }
            }
            Err(_) => Clicked::Unanswered,
        }
    }
}

/// A click's token, and whether the server ends the connection.
async fn ask(connection: &mut BufReader<TcpStream>, host: &str, path: &str) -> io::Result<(String, bool)> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: {BROWSER}\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let (mut status, mut token, mut body_len, mut is_last) = (String::new(), None, 0, false);
    if connection.read_line(&mut status).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    assert!(status.starts_with("HTTP/1.1 302 "), "a redirect answered {status}");
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "location" => token = value.split_once("um_click=").map(|(_, token)| token.to_owned()),
            "content-length" => body_len = value.parse().expect("a length"),
            "connection" => is_last = value == "close",
            _ => {}
        }
    }
    connection.read_exact(&mut vec![0; body_len]).await?;
    Ok((token.expect("a token"), is_last))
}

/// Visitors and senders of webhooks, until they are told to stop.
pub struct Load {
    seen: Arc<Seen>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    is_over: AtomicBool,
    redirected: AtomicU64,
    unanswered: AtomicU64,
    /// By link: redirects received, and requests sent.
    clicks: Vec<(AtomicU64, AtomicU64)>,
    next_link: AtomicU64,
    /// Answered 200. A shop comes again until it is.
    orders: AtomicU64,
    /// Answers 503 to webhooks.
    refused: AtomicU64,
    waits: Mutex<Vec<(Instant, Duration)>>,
    /// Held for reading by whoever is at it.
    gate: Arc<RwLock<()>>,
}

impl Load {
    pub fn start(shop: &Shop, visitors: usize) -> Self {
        let clicks = (0..LINKS).map(|_| Default::default()).collect();
        let seen = Arc::new(Seen { clicks, ..Seen::default() });
        let visit = |_| tokio::spawn(visit(shop.clone(), Arc::clone(&seen)));
        let mut tasks: Vec<_> = (0..visitors).map(visit).collect();
        tasks.push(tokio::spawn(sell(shop.clone(), Arc::clone(&seen))));
        Self { seen, tasks }
    }

    pub fn redirected(&self) -> u64 {
        self.seen.redirected.load(Ordering::SeqCst)
    }

    /// Webhooks answered 503 so far.
    pub fn refused(&self) -> u64 {
        self.seen.refused.load(Ordering::SeqCst)
    }

    /// Waits until so many more redirects and one more webhook were answered.
    pub async fn goes_on(&self, redirects: u64) {
        let (redirected, orders) = (self.redirected(), self.seen.orders.load(Ordering::SeqCst));
        self.reaches(redirected + redirects).await;
        self.comes_to(|| self.seen.orders.load(Ordering::SeqCst) > orders).await;
    }

    pub async fn reaches(&self, redirected: u64) {
        self.comes_to(|| self.redirected() >= redirected).await;
    }

    /// Waits until all have their answers; they go on once the guard is dropped.
    pub async fn quiet(&self) -> OwnedRwLockWriteGuard<()> {
        let guard = tokio::time::timeout(PATIENCE, Arc::clone(&self.seen.gate).write_owned()).await;
        guard.expect("all are answered in the end")
    }

    async fn comes_to(&self, is_true: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_true() {
            assert!(!self.tasks.iter().any(JoinHandle::is_finished), "a client failed");
            assert!(Instant::now() < end, "the load does not go on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the reports have every click that was redirected.
    pub async fn is_counted(&self, shop: &Shop) {
        let redirected = self.redirected();
        shop.report(|report| report["totals"]["recorded_clicks"].as_u64() >= Some(redirected)).await;
    }

    /// How long redirects took that were answered since then, shortest first.
    pub fn waits_since(&self, since: Instant) -> Vec<Duration> {
        let waits = self.seen.waits.lock().unwrap();
        let mut waits: Vec<_> = waits.iter().filter(|(at, _)| *at >= since).map(|(_, wait)| *wait).collect();
        waits.sort_unstable();
        waits
    }

    /// Tells all to stop; what they have begun is still answered.
    pub async fn end(self) -> Outcome {
        self.seen.is_over.store(true, Ordering::SeqCst);
        for task in self.tasks {
            let ended = tokio::time::timeout(PATIENCE, task).await;
            ended.expect("all are answered in the end").expect("no client fails");
        }
        Outcome { seen: self.seen }
    }
}

async fn visit(shop: Shop, seen: Arc<Seen>) {
    let mut visitor = Visitor { address: shop.address.clone(), connection: None };
    while !seen.is_over.load(Ordering::SeqCst) {
        let _at_it = seen.gate.read().await;
        click(&shop, &seen, &mut visitor).await;
    }
}

/// A click and then its order, again and again.
async fn sell(shop: Shop, seen: Arc<Seen>) {
    let mut visitor = Visitor { address: shop.address.clone(), connection: None };
    let mut id = 1_000_000;
    while !seen.is_over.load(Ordering::SeqCst) {
        let _at_it = seen.gate.read().await;
        let Some(token) = click(&shop, &seen, &mut visitor).await else { continue };
        id += 1;
        loop {
            match shop.order(id, &token).await {
                Some(200) => break,
                Some(503) => {
                    seen.refused.fetch_add(1, Ordering::SeqCst);
                }
                Some(status) => panic!("a webhook was answered {status}"),
                None => {}
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        seen.orders.fetch_add(1, Ordering::SeqCst);
    }
}

/// One click on the next link; its token if it was answered.
async fn click(shop: &Shop, seen: &Seen, visitor: &mut Visitor) -> Option<String> {
    let n = seen.next_link.fetch_add(1, Ordering::SeqCst) as usize % LINKS;
    let started = Instant::now();
    let clicked = visitor.click(&shop.links[n].path).await;
    let (answered, asked) = &seen.clicks[n];
    match clicked {
        Clicked::Redirected { token } => {
            asked.fetch_add(1, Ordering::SeqCst);
            answered.fetch_add(1, Ordering::SeqCst);
            seen.redirected.fetch_add(1, Ordering::SeqCst);
            seen.waits.lock().unwrap().push((Instant::now(), started.elapsed()));
            return Some(token);
        }
        Clicked::Unanswered => {
            asked.fetch_add(1, Ordering::SeqCst);
            seen.unanswered.fetch_add(1, Ordering::SeqCst);
        }
        Clicked::NotAsked => tokio::time::sleep(Duration::from_millis(2)).await,
    }
    None
}

/// What clients were answered, once all of them are done.
pub struct Outcome {
    seen: Arc<Seen>,
}

impl Outcome {
    pub fn redirected(&self) -> u64 {
        self.seen.redirected.load(Ordering::SeqCst)
    }

    /// Requests whose connection broke.
    pub fn unanswered(&self) -> u64 {
        self.seen.unanswered.load(Ordering::SeqCst)
    }

    /// Every redirect was recorded once, and every webhook answered 200 is an order, attributed to its click.
    /// Of requests that were not answered, each may be recorded or not. `lost`: redirects of which
    /// `utmost_clicks_lost_total` says that they are not recorded.
    pub async fn is_recorded(&self, shop: &Shop, lost: u64) {
        let all = |report: &Value, count: fn(&Shop, &Value, usize) -> u64| -> u64 {
            (0..LINKS).map(|link| count(shop, report, link)).sum()
        };
        all_is_replayed(&shop.client).await;
        // What comes last in each stream is behind everything else.
        let mut visitor = Visitor { address: shop.address.clone(), connection: None };
        let Clicked::Redirected { token } = visitor.click(&shop.links[LINKS].path).await else {
            panic!("the server is there")
        };
        assert_eq!(shop.order(999_999, &token).await, Some(200));
        let orders = self.seen.orders.load(Ordering::SeqCst) + 1;
        let attributed = |report: &Value| report["reconciliation"]["attributed"].as_u64().unwrap_or(0);
        let report =
            shop.report(|report| shop.recorded(report, LINKS) > 0 && attributed(report) >= orders).await;

        assert_eq!(report["reconciliation"]["orders_received"], orders, "{}", report["reconciliation"]);
        assert_eq!(attributed(&report), orders, "{}", report["reconciliation"]);
        let recorded = all(&report, Shop::recorded);
        let redirected = self.redirected();
        for (n, (answered, asked)) in self.seen.clicks.iter().enumerate().filter(|_| lost == 0) {
            let (answered, asked) = (answered.load(Ordering::SeqCst), asked.load(Ordering::SeqCst));
            let recorded = shop.recorded(&report, n);
            assert!((answered..=asked).contains(&recorded), "{answered} <= {recorded} <= {asked}");
        }
        let range = redirected - lost..=redirected - lost + self.unanswered();
        assert!(range.contains(&recorded), "{redirected} redirected, {lost} lost, {recorded} recorded");
    }
}

/// Waits until the spool is empty and the log takes records.
pub async fn all_is_replayed(client: &Client) {
    settled(client, "/readyz", |ready| ready["log"] == "up").await;
    let end = Instant::now() + Duration::from_secs(30);
    while metric(client, "utmost_spool_bytes").await > 0 {
        assert!(Instant::now() < end, "the spool is not replayed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until `/readyz` says so of the log, whatever its status.
pub async fn log_becomes(client: &Client, health: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let answer =
            client.send(Method::GET, "/readyz", HeaderMap::new(), Vec::new()).await.expect("/readyz");
        let ready: Value = serde_json::from_slice(&answer.body).expect("JSON");
        if ready["log"] == health {
            return;
        }
        assert!(Instant::now() < end, "{ready} and not {health}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
