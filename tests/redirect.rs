//! The redirect over real connections, with the embedded log behind it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use utmost::domain::ids::LinkId;
use utmost::domain::keys::KeyRing;
use utmost::domain::utm::{ClickParam, Utm, link_destination};
use utmost::ledger::{Ledger, Synchronous};
use utmost::links::HotLink;
use utmost::links::cache::{LinkCache, LinkCacheMetrics, LinkSource};
use utmost::log::record::{Click, Record, Request};
use utmost::log::{Log, LogConfig, LogMetrics, Position, Stream};
use utmost::redirect::accept::{AcceptConfig, AcceptMetrics, serve};
use utmost::redirect::{Redirect, RedirectConfig, RedirectMetrics};

/// A server with a few links on `go.test`.
struct Site {
    address: SocketAddr,
    log: Log,
    keys: Arc<KeyRing>,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
    _dir: TempDir,
}

fn accept_config() -> AcceptConfig {
    AcceptConfig {
        max_connections: 100,
        header_timeout: Duration::from_secs(20),
        max_header_bytes: 16 * 1024,
        request_timeout: Duration::from_secs(20),
        write_timeout: Duration::from_secs(20),
        http2_streams: 100,
        shutdown: Duration::from_secs(20),
    }
}

fn copy(url: &str) -> HotLink {
    HotLink {
        id: LinkId::from_i64(7).unwrap(),
        workspace: "main".into(),
        destination: link_destination(url, &Utm::from_query("utm_source=x"), ClickParam::Default),
        forward_query: true,
        expires_at_ms: None,
        expired_url: None,
        closed: false,
        revision: 1,
    }
}

impl Site {
    async fn start(accept: AcceptConfig) -> Self {
        let dir = TempDir::new().unwrap();
        let ledger = Ledger::open_sqlite(&dir.path().join("ledger.db"), Synchronous::Normal).await.unwrap();
        let links = LinkCache::new(LinkSource::Ledger(ledger), 1 << 20, LinkCacheMetrics::default());
        links.put("go.test/a", &copy("https://s.test/p#f"));
        links.put("go.test/лето", &copy("https://s.test/summer"));
        links.put("go.test/gone", &HotLink { closed: true, ..copy("https://s.test/") });
        let elsewhere = Some("https://s.test/over".into());
        links.put("go.test/over", &HotLink { expires_at_ms: Some(1), expired_url: elsewhere, ..copy("u") });
        links.put("other.test/a", &copy("https://other.test/"));

        let config = LogConfig { data_dir: dir.path().into(), ..LogConfig::default() };
        let log = Log::open(&config, LogMetrics::default()).await.unwrap();
        let keys = Arc::new(KeyRing::generate(0));
        let config = RedirectConfig {
            default_domain: "go.test".into(),
            is_https: false,
            is_strict: false,
            trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
        };
        let redirect =
            Redirect::new(links, log.clone(), Arc::clone(&keys), config, &RedirectMetrics::default());
        let router = Router::new().fallback(|| async { "router" });

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(
            listener,
            Some(Arc::new(redirect)),
            router,
            accept,
            AcceptMetrics::default(),
            async {
                let _ = stopped.await;
            },
        ));
        Self { address, log, keys, stop: Some(stop), server, _dir: dir }
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Asks on a connection of its own.
    async fn ask(&self, head: &str) -> Answer {
        self.connect().await.ask(head).await
    }

    async fn clicks(&self) -> Vec<Click<'static>> {
        let entries = self.log.read(Stream::Clicks, 0, Position::START, 1_000).await.unwrap();
        let click = |(_, record)| match record {
            Record::Click(click) => click,
            other => panic!("{other:?}"),
        };
        entries.into_iter().map(click).collect()
    }
}

struct Client(TcpStream);

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Client {
    async fn ask(&mut self, head: &str) -> Answer {
        self.0.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
        self.read(head.starts_with("HEAD")).await
    }

    async fn read(&mut self, is_head: bool) -> Answer {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            text.push(self.0.read_u8().await.expect("a whole head"));
        }
        let text = String::from_utf8(text).unwrap();
        let mut lines = text.trim_end().lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: HeaderMap = lines
            .map(|line| {
                let (name, value) = line.split_once(": ").unwrap();
                (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap())
            })
            .collect();
        let length = headers.get("content-length").map_or(0, |n| n.to_str().unwrap().parse().unwrap());
        let mut body = vec![0; if is_head { 0 } else { length }];
        self.0.read_exact(&mut body).await.unwrap();
        Answer { status, headers, body: String::from_utf8(body).unwrap() }
    }

    /// Whether the server closes without another word.
    async fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]).await, Ok(0))
    }
}

#[tokio::test]
async fn a_click_is_recorded_and_sent_on() {
    let site = Site::start(accept_config()).await;
    let head = "GET /a?b=%20&utm_source=Y HTTP/1.1\r\nhost: GO.test\r\nuser-agent: Mozilla/5.0\r\n\
                referer: https://l.example/x\r\nx-forwarded-for: 203.0.113.77\r\nx-forwarded-proto: https";
    let answer = site.ask(head).await;
    assert_eq!((answer.status, answer.body.as_str()), (302, ""));
    assert_eq!(answer.header("cache-control"), "private, no-store");
    assert_eq!(answer.header("x-robots-tag"), "noindex");
    assert_eq!(answer.header("content-length"), "0");
    let location = answer.header("location");
    let token = location.strip_prefix("https://s.test/p?utm_source=Y&b=%20&um_click=").expect(location);
    let token = site.keys.token.verify(token.strip_suffix("#f").expect(location)).unwrap();
    let cookie = answer.header("set-cookie");
    assert!(cookie.contains("HttpOnly; SameSite=Lax; Secure"), "{cookie}");

    let [click] = site.clicks().await.try_into().unwrap();
    assert_eq!((click.id, click.link, click.visitor), (token.click, token.link, token.visitor));
    assert!(click.visitor.is_some() && click.is_new_visitor);
    assert_eq!(click.request, Request::Get);
    assert_eq!(click.address.unwrap().to_string(), "203.0.113.0");
    assert_eq!((&*click.user_agent, &*click.referrer), ("Mozilla/5.0", "https://l.example/x"));

    let cookie = cookie.split(';').next().unwrap();
    let again = site.ask(&format!("GET /a HTTP/1.1\r\nhost: go.test\r\ncookie: x=y; {cookie}")).await;
    assert_eq!(again.header("set-cookie"), "");
    assert_eq!(site.clicks().await[1].visitor, click.visitor);
}

#[tokio::test]
async fn each_request_gets_its_answer() {
    let site = Site::start(accept_config()).await;
    let check = async |line: &str, headers: &str, status: u16, words: &str| {
        let answer = site.ask(&format!("{line} HTTP/1.1\r\nhost: go.test{headers}")).await;
        assert_eq!(answer.status, status, "{line}");
        let said = format!("{} {} {}", answer.header("location"), answer.header("allow"), answer.body);
        assert!(said.contains(words), "{line}: {said}");
    };
    check("GET /a", "", 302, "https://s.test/p?utm_source=x&um_click=").await;
    check("GET /a/", "", 302, "https://s.test/p").await;
    check("GET /%D0%BB%D0%B5%D1%82%D0%BE", "", 302, "https://s.test/summer").await;
    check("GET /a", "\r\nsec-purpose: prefetch", 302, "https://s.test/p").await;
    check("GET /a", "\r\nsec-gpc: 1", 302, "https://s.test/p").await;
    check("HEAD /a", "", 302, "https://s.test/p").await;
    check("GET /over", "", 302, "https://s.test/over").await;
    check("GET /gone", "", 410, "has ended").await;
    check("GET /A", "", 404, "leads nowhere").await;
    check("GET /%FF", "", 404, "leads nowhere").await;
    check("HEAD /nothing", "", 404, "").await;
    check("POST /a", "\r\ncontent-length: 0", 405, "GET, HEAD").await;
    check("GET /", "", 200, "router").await;
    check("GET /api", "", 200, "router").await;
    check("GET /api/v1/links", "", 200, "router").await;
    check("POST /hooks/x", "\r\ncontent-length: 2\r\n\r\n{}", 200, "router").await;

    let requests: Vec<_> = site.clicks().await.iter().map(|c| (c.request, c.visitor.is_some())).collect();
    let get = (Request::Get, true);
    let expected = [get, get, get, (Request::Prefetch, true), (Request::Get, false), (Request::Head, true)];
    assert_eq!(requests, expected);
}

#[tokio::test]
async fn hosts_choose_the_domain() {
    let site = Site::start(accept_config()).await;
    for (host, expected) in [
        ("other.test", "https://other.test/"),
        ("Other.Test.:80", "https://other.test/"),
        ("unknown.test", "https://s.test/p"),
        ("127.0.0.1:8080", "https://s.test/p"),
    ] {
        let answer = site.ask(&format!("GET /a HTTP/1.1\r\nhost: {host}")).await;
        assert!(answer.header("location").starts_with(expected), "{host}");
    }
    assert_eq!(site.ask("GET /a HTTP/1.0").await.status, 302);
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let site = Site::start(accept_config()).await;
    let mut client = site.connect().await;
    for n in 1..=20 {
        assert_eq!(client.ask("GET /a HTTP/1.1\r\nhost: go.test").await.status, 302);
        assert_eq!(site.clicks().await.len(), n);
    }
    // Two at once, answered in order.
    client
        .0
        .write_all(b"GET /a HTTP/1.1\r\nhost: go.test\r\n\r\nGET /b HTTP/1.1\r\nhost: go.test\r\n\r\n")
        .await
        .unwrap();
    assert_eq!((client.read(false).await.status, client.read(false).await.status), (302, 404));
}

#[tokio::test]
async fn http2_is_spoken_without_tls() {
    let site = Site::start(accept_config()).await;
    let io = TokioIo::new(TcpStream::connect(site.address).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Empty<bytes::Bytes>>(TokioExecutor::new(), io)
            .await
            .unwrap();
    tokio::spawn(connection);
    for (path, status) in
        [("/a", StatusCode::FOUND), ("/none", StatusCode::NOT_FOUND), ("/api", StatusCode::OK)]
    {
        let request = http::Request::get(format!("http://go.test{path}")).body(Empty::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        response.into_body().collect().await.unwrap();
    }
    assert_eq!(site.clicks().await.len(), 1);
}

#[tokio::test]
async fn slow_and_oversized_clients_are_let_go() {
    let quick = AcceptConfig { header_timeout: Duration::from_millis(100), ..accept_config() };
    let site = Site::start(quick).await;
    let mut silent = site.connect().await;
    assert!(silent.is_closed().await);
    let mut slow = site.connect().await;
    slow.0.write_all(b"GET /a HTTP/1.1\r\nhost: go").await.unwrap();
    assert!(slow.is_closed().await);
    let mut idle = site.connect().await;
    assert_eq!(idle.ask("GET /a HTTP/1.1\r\nhost: go.test").await.status, 302);
    assert!(idle.is_closed().await);

    let long = "x".repeat(20_000);
    assert_eq!(site.ask(&format!("GET /a HTTP/1.1\r\nhost: go.test\r\nx: {long}")).await.status, 431);
    assert_eq!(site.ask("GET /a HTTP/1.1\r\nhost: go.test").await.status, 302);
}

#[tokio::test]
async fn connections_beyond_the_bound_wait() {
    let site = Site::start(AcceptConfig { max_connections: 2, ..accept_config() }).await;
    let (mut first, mut second) = (site.connect().await, site.connect().await);
    for client in [&mut first, &mut second] {
        assert_eq!(client.ask("GET /a HTTP/1.1\r\nhost: go.test").await.status, 302);
    }
    let mut third = site.connect().await;
    third.0.write_all(b"GET /a HTTP/1.1\r\nhost: go.test\r\n\r\n").await.unwrap();
    // The others are served meanwhile, and it is not.
    assert_eq!(first.ask("GET /a HTTP/1.1\r\nhost: go.test").await.status, 302);
    assert_eq!(site.clicks().await.len(), 3);
    drop(second);
    assert_eq!(third.read(false).await.status, 302);
}

#[tokio::test]
async fn a_stop_lets_everybody_finish() {
    let mut site = Site::start(accept_config()).await;
    let mut busy = site.connect().await;
    assert_eq!(busy.ask("GET /a HTTP/1.1\r\nhost: go.test").await.header("connection"), "");
    let mut begun = site.connect().await;
    begun.0.write_all(b"GET /a HTTP/1.1\r\n").await.unwrap();
    let mut queued = site.connect().await;
    queued.0.write_all(b"GET /a HTTP/1.1\r\nhost: go.test\r\n\r\n").await.unwrap();

    site.stop.take().unwrap().send(()).unwrap();
    assert_eq!(queued.read(false).await.status, 302);
    begun.0.write_all(b"host: go.test\r\n\r\n").await.unwrap();
    let last = begun.read(false).await;
    assert_eq!((last.status, last.header("connection")), (302, "close"));
    assert!(begun.is_closed().await);
    assert!(busy.is_closed().await);
    site.server.await.unwrap();
    assert!(TcpStream::connect(site.address).await.is_err());
    site.log.close().await;
    let entries = site.log.read(Stream::Clicks, 0, Position::START, 100).await.unwrap();
    assert_eq!(entries.len(), 3);
}
