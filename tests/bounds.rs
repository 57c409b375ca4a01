//! Every bound of the configuration is hit by the real binary, holds, and is counted on `/metrics`; slow
//! clients hold nobody else.

mod support;

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;
use support::{Redis, Server, click, metric};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use utmost::cli::client::Client;

struct Site {
    server: Server,
    client: Client,
    short_url: String,
    _dir: TempDir,
}

impl Site {
    async fn start(env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path(), env);
        let client = server.client();
        let body = json!({"url": "https://shop.example/", "slug": "a"});
        let link = client.api(Method::POST, "/api/v1/links", Some(body)).await.unwrap();
        let short_url = link["short_url"].as_str().unwrap().to_owned();
        let site = Self { server, client, short_url, _dir: dir };
        site.redirects().await;
        site
    }

    async fn redirects(&self) {
        assert_eq!(click(&self.client, &self.short_url, None).await.unwrap().status, 302);
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.server.base.trim_start_matches("http://")).await.unwrap()
    }

    /// Waits until a metric says so.
    async fn counts(&self, name: &str, at_least: u64) {
        let end = Instant::now() + Duration::from_secs(20);
        while metric(&self.client, name).await < at_least {
            assert!(Instant::now() < end, "{name} is {} yet", metric(&self.client, name).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What is left to read until the server closes.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut all)).await;
    // A reset is an end as well.
    let _ = read.expect("the server closes");
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_send_a_byte_now_and_then() {
    let site = Site::start(&[("UTMOST_SERVER__HEADER_TIMEOUT_MS", "1000")]).await;
    let mut slow = JoinSet::new();
    for _ in 0..300 {
        let mut stream = site.connect().await;
        slow.spawn(async move {
            let request =
                b"GET /a HTTP/1.1\r\nhost: go.test\r\nx-padding: ".iter().chain(std::iter::repeat(&b'x'));
            for byte in request {
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
    // Others are served meanwhile.
    for _ in 0..20 {
        let started = Instant::now();
        site.redirects().await;
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }
    site.counts("utmost_requests_timed_out_total", 300).await;
    let ended = async { while slow.join_next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("all are disconnected");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections() {
    let site =
        Site::start(&[("UTMOST_SERVER__MAX_CONNECTIONS", "3"), ("UTMOST_SERVER__HEADER_TIMEOUT_MS", "1000")])
            .await;
    // They take all places; the next waits in the kernel's queue until they have had their time.
    let _silent = [site.connect().await, site.connect().await, site.connect().await];
    let waits = site.server.client();
    assert_eq!(click(&waits, &site.short_url, None).await.unwrap().status, 302);
    site.counts("utmost_connections_limited_total", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads() {
    let site = Site::start(&[("UTMOST_SERVER__MAX_HEADER_BYTES", "8192")]).await;
    let mut stream = site.connect().await;
    let head = format!("GET /a HTTP/1.1\r\nhost: go.test\r\nx-padding: {}\r\n\r\n", "x".repeat(9_000));
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&answer));
    site.counts("utmost_requests_too_large_total", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_in_memory() {
    let redis = Redis::start(&["--maxmemory-policy", "noeviction"]);
    let url = redis.url();
    let env = [
        ("UTMOST_HOT__URL", &*url),
        ("UTMOST_HOT__DEADLINE_MS", "3000"),
        ("UTMOST_HOT__QUEUE_MAX_BYTES", "4096"),
    ];
    let site = Site::start(&env).await;
    redis.pause();
    let mut clicks = JoinSet::new();
    for _ in 0..150 {
        let (client, short_url) = (site.client.clone(), site.short_url.clone());
        clicks.spawn(async move { click(&client, &short_url, None).await.unwrap().status });
    }
    assert!(clicks.join_all().await.iter().all(|status| *status == 302));
    let full = metric(&site.client, "utmost_log_queue_full_total").await;
    assert!(full > 0 && full == metric(&site.client, "utmost_clicks_lost_total").await, "{full}");
    redis.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn links_at_hand() {
    let site = Site::start(&[("UTMOST_HOT__LINK_CACHE_BYTES", "1048576")]).await;
    site.counts("utmost_links_cached", 1).await;
    // About 2,000 bytes each.
    let long = |n: u64| json!({"url": format!("https://shop.example/{n}?{}", "x".repeat(1_700))});
    let links: Vec<_> = (0..1_000).map(long).collect();
    let made =
        site.client.api(Method::POST, "/api/v1/links/bulk", Some(json!({ "links": links }))).await.unwrap();
    for result in made["results"].as_array().unwrap() {
        let short_url = result["link"]["short_url"].as_str().unwrap();
        assert_eq!(click(&site.client, short_url, None).await.unwrap().status, 302);
    }
    let links = metric(&site.client, "utmost_links_cached").await;
    assert!((100..1_000).contains(&links), "{links}");
    let bytes = metric(&site.client, "utmost_links_cached_bytes").await;
    assert!((100_000..=1_048_576).contains(&bytes), "{bytes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn spool() {
    let mut redis = Redis::start(&["--maxmemory-policy", "noeviction"]);
    let url = redis.url();
    let site = Site::start(&[("UTMOST_HOT__URL", &url), ("UTMOST_HOT__SPOOL_MAX_BYTES", "65536")]).await;
    redis.kill();
    let end = Instant::now() + Duration::from_secs(60);
    while metric(&site.client, "utmost_spool_full_total").await == 0 {
        assert!(Instant::now() < end);
        let clicks: JoinSet<_> = (0..50)
            .map(|_| {
                let (client, short_url) = (site.client.clone(), site.short_url.clone());
                async move { click(&client, &short_url, None).await.unwrap().status }
            })
            .collect();
        let statuses = clicks.join_all().await;
        assert!(statuses.iter().all(|status| *status == 302), "{statuses:?}");
    }
    let bytes = metric(&site.client, "utmost_spool_bytes").await;
    assert!((40_000..=65_536).contains(&bytes), "{bytes}");
}

/// A frame of HTTP/2: <https://www.rfc-editor.org/rfc/rfc9113#name-frame-format>.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The kinds and error codes of the frames in what a server sent.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(9) {
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(len) else { break };
        frames.push((head[3], payload.to_vec()));
        bytes = rest;
    }
    frames
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// `GET http://go.test/nothing-here`, most of it as indexes of the static table.
fn request(stream: u32) -> Vec<u8> {
    let mut block = vec![0x82, 0x86];
    for (name, value) in [(0x04, "/nothing-here"), (0x01, "go.test")] {
        block.extend([name, value.len() as u8]);
        block.extend(value.as_bytes());
    }
    frame(HEADERS, 0x5, stream, &block)
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_streams_and_floods_of_resets() {
    let site = Site::start(&[("UTMOST_SERVER__HTTP2_STREAMS", "7")]).await;
    let mut stream = site.connect().await;
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(SETTINGS, 0, 0, &[]));
    for n in 0..5_000 {
        sent.extend(request(2 * n + 1));
        sent.extend(frame(RST_STREAM, 0, 2 * n + 1, &8_u32.to_be_bytes()));
    }
    // It may close before it has read all.
    let _ = stream.write_all(&sent).await;
    let answer = frames(&rest(&mut stream).await);
    let settings = &answer.iter().find(|(kind, _)| *kind == SETTINGS).expect("its settings").1;
    let streams = settings.chunks(6).find(|setting| setting[..2] == [0, 3]).expect("a bound of streams");
    assert_eq!(streams[2..], 7_u32.to_be_bytes());
    if let Some((_, goaway)) = answer.iter().find(|(kind, _)| *kind == GOAWAY) {
        // ENHANCE_YOUR_CALM
        assert_eq!(goaway[4..8], 11_u32.to_be_bytes());
    }
    site.counts("utmost_http2_refused_total", 1).await;
    site.redirects().await;
}
