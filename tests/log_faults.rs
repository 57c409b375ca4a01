//! The log while Redis fails around it: what was acknowledged is there afterwards, and counts once.

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::Redis;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use utmost::domain::ids::{ClickId, LinkId, VisitorId};
use utmost::log::record::{Click, Delivery, Record, Request};
use utmost::log::{AppendError, Health, Log, LogConfig, LogError, LogMetrics, Position, Stream};

/// What a redirect may take beyond the deadline, on a busy machine with a slow disk.
const A_LITTLE: Duration = Duration::from_secs(2);

fn config(redis: &Redis, dir: &TempDir) -> LogConfig {
    LogConfig { url: Some(redis.url()), data_dir: dir.path().into(), ..LogConfig::default() }
}

async fn open(config: &LogConfig) -> Log {
    Log::open(config, LogMetrics::default()).await.unwrap()
}

fn click() -> Click<'static> {
    Click {
        id: ClickId::from_bytes(rand::random()),
        link: LinkId::from_i64(7).unwrap(),
        visitor: Some(VisitorId::from_bytes(rand::random())),
        is_new_visitor: false,
        request: Request::Get,
        address: None,
        user_agent: "Mozilla/5.0".into(),
        referrer: "".into(),
        is_replayed: false,
    }
}

fn delivery() -> Delivery {
    Delivery {
        id: ClickId::from_bytes(rand::random()).to_string(),
        workspace: "main".into(),
        source: "shop".into(),
        platform: "shopify".into(),
        received_ms: 1,
        is_verified: true,
        headers: Vec::new(),
        body: vec![b'x'; 2_000],
        is_replayed: false,
    }
}

/// Clicks and deliveries that go on until told otherwise.
struct Load {
    is_over: Arc<AtomicBool>,
    tasks: JoinSet<(Vec<String>, Duration)>,
}

impl Load {
    fn start(log: &Log) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for task in 0..16 {
            let (log, is_over) = (log.clone(), Arc::clone(&is_over));
            tasks.spawn(async move {
                let (mut acknowledged, mut slowest) = (Vec::new(), Duration::ZERO);
                while !is_over.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    let (click, delivery) = (click(), delivery());
                    if task == 0 {
                        log.append_delivery(&delivery).await.unwrap();
                        acknowledged.push(delivery.id);
                    } else {
                        log.append_click(&click).await.unwrap();
                        acknowledged.push(click.id.to_string());
                    }
                    slowest = slowest.max(started.elapsed());
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                (acknowledged, slowest)
            });
        }
        Self { is_over, tasks }
    }

    /// All that was acknowledged, and the longest that anybody waited.
    async fn finish(self) -> (HashSet<String>, Duration) {
        self.is_over.store(true, Ordering::Relaxed);
        let all = self.tasks.join_all().await;
        let slowest = all.iter().map(|(_, slowest)| *slowest).max().unwrap();
        (all.into_iter().flat_map(|(ids, _)| ids).collect(), slowest)
    }
}

/// What counts: an entry as it comes, but a marked one only if its id was not there before.
async fn counted(log: &Log) -> Vec<String> {
    let (mut seen, mut counted) = (HashSet::new(), Vec::new());
    for stream in [Stream::Clicks, Stream::Conversions] {
        for partition in 0..log.partitions() {
            let mut after = Position::START;
            loop {
                let entries = log.read(stream, partition, after, 1_000).await.unwrap();
                let Some((last, _)) = entries.last() else { break };
                after = *last;
                for (_, record) in entries {
                    let (id, is_replayed) = match record {
                        Record::Click(click) => (click.id.to_string(), click.is_replayed),
                        Record::Delivery(delivery) => (delivery.id, delivery.is_replayed),
                        Record::Unreadable(_) => continue,
                    };
                    if seen.insert(id.clone()) || !is_replayed {
                        counted.push(id);
                    }
                }
            }
        }
    }
    counted
}

/// Waits for the spool to be replayed: then everything acknowledged counts once, and nothing else.
async fn all_count_once(log: &Log, acknowledged: &HashSet<String>) {
    let started = Instant::now();
    loop {
        let counted = counted(log).await;
        let distinct: HashSet<String> = counted.iter().cloned().collect();
        assert_eq!(distinct.len(), counted.len(), "something counts twice");
        if distinct.is_superset(acknowledged) && log.health() == Health::Up {
            assert_eq!(distinct.len(), acknowledged.len(), "something counts that was not acknowledged");
            return;
        }
        let missing = acknowledged.difference(&distinct).count();
        assert!(started.elapsed() < Duration::from_secs(60), "{missing} of {} missing", acknowledged.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn health_becomes(log: &Log, health: Health) {
    let started = Instant::now();
    while log.health() != health {
        assert!(started.elapsed() < Duration::from_secs(60), "{:?} and not {health:?}", log.health());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn for_a_while() {
    tokio::time::sleep(Duration::from_millis(400)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_dies_and_comes_back() {
    let mut redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let dir = TempDir::new().unwrap();
    let log = open(&config(&redis, &dir)).await;
    let load = Load::start(&log);
    for _ in 0..3 {
        for_a_while().await;
        redis.kill();
        health_becomes(&log, Health::Spooling).await;
        for_a_while().await;
        redis.restart();
        health_becomes(&log, Health::Up).await;
    }
    let (acknowledged, slowest) = load.finish().await;
    assert!(slowest < A_LITTLE, "{slowest:?}");
    all_count_once(&log, &acknowledged).await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_stops_for_a_time_and_runs_what_it_had() {
    let redis = Redis::start(&[]);
    let dir = TempDir::new().unwrap();
    let log = open(&config(&redis, &dir)).await;
    let load = Load::start(&log);
    // Shorter and longer than it takes to give the old connection up.
    for seconds in [1, 7] {
        for_a_while().await;
        redis.pause();
        health_becomes(&log, Health::Spooling).await;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        redis.resume();
        health_becomes(&log, Health::Up).await;
    }
    let (acknowledged, slowest) = load.finish().await;
    assert!(slowest < A_LITTLE, "{slowest:?}");
    all_count_once(&log, &acknowledged).await;
    log.close().await;
}

/// A network between us and Redis that can hold back what older connections send.
struct Proxy {
    url: String,
    /// Connections with a lower number are held.
    held: watch::Sender<usize>,
    opened: Arc<AtomicUsize>,
}

impl Proxy {
    async fn start(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let (held, watched) = watch::channel(0);
        let opened = Arc::new(AtomicUsize::new(0));
        let (upstream, numbers) = (redis.port, Arc::clone(&opened));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = numbers.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect(("127.0.0.1", upstream)).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let mut watched = watched.clone();
                tokio::spawn(async move {
                    let mut buffer = vec![0; 1 << 16];
                    while let Ok(read) = from_client.read(&mut buffer).await {
                        let _ = watched.wait_for(|held| number >= *held).await;
                        if read == 0 || to_server.write_all(&buffer[..read]).await.is_err() {
                            break;
                        }
                    }
                });
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
                });
            }
        });
        Self { url, held, opened }
    }

    fn hold(&self) {
        self.held.send_replace(self.opened.load(Ordering::SeqCst));
    }

    fn release(&self) {
        self.held.send_replace(0);
    }
}

#[tokio::test]
async fn a_late_command_never_comes_after_its_copy() {
    // Released while the old connection is still waited for, or only after it was given up.
    for held_for in [Duration::from_secs(1), Duration::from_secs(8)] {
        let redis = Redis::start(&[]);
        let (dir, proxy) = (TempDir::new().unwrap(), Proxy::start(&redis).await);
        let log = open(&LogConfig { url: Some(proxy.url.clone()), ..config(&redis, &dir) }).await;
        let mut acknowledged = HashSet::new();
        for is_held in [false, true, true] {
            if is_held {
                proxy.hold();
            }
            let click = click();
            log.append_click(&click).await.unwrap();
            acknowledged.insert(click.id.to_string());
        }
        tokio::time::sleep(held_for).await;
        proxy.release();
        all_count_once(&log, &acknowledged).await;
        // What was held has arrived by now, if it ever does.
        for_a_while().await;
        all_count_once(&log, &acknowledged).await;
        log.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_refuses_writes() {
    let redis = Redis::start(&[]);
    let refusals: [(&[&str], &[&str]); 4] = [
        (&["CONFIG", "SET", "maxmemory", "1000"], &["CONFIG", "SET", "maxmemory", "0"]),
        (&["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"]),
        (&["CONFIG", "SET", "min-replicas-to-write", "1"], &["CONFIG", "SET", "min-replicas-to-write", "0"]),
        (&["ACL", "SETUSER", "default", "-xadd"], &["ACL", "SETUSER", "default", "+xadd"]),
    ];
    let dir = TempDir::new().unwrap();
    let log = open(&config(&redis, &dir)).await;
    let load = Load::start(&log);
    for (refuse, relent) in refusals {
        for_a_while().await;
        redis.cli(refuse);
        health_becomes(&log, Health::Spooling).await;
        for_a_while().await;
        redis.cli(relent);
        health_becomes(&log, Health::Up).await;
    }
    let (acknowledged, slowest) = load.finish().await;
    assert!(slowest < A_LITTLE, "{slowest:?}");
    all_count_once(&log, &acknowledged).await;
    log.close().await;
}

#[tokio::test]
async fn a_start_without_redis_spools_and_a_restart_goes_on() {
    let mut redis = Redis::start(&["--appendonly", "yes"]);
    let dir = TempDir::new().unwrap();
    let config = LogConfig { partitions: 3, ..config(&redis, &dir) };
    open(&config).await.close().await;
    redis.kill();

    let (mut acknowledged, mut order) = (HashSet::new(), Vec::new());
    for _ in 0..3 {
        let log = open(&config).await;
        assert_eq!(log.health(), Health::Spooling);
        for _ in 0..50 {
            let click = click();
            log.append_click(&click).await.unwrap();
            acknowledged.insert(click.id.to_string());
            order.push(click.id);
        }
        let delivery = delivery();
        log.append_delivery(&delivery).await.unwrap();
        acknowledged.insert(delivery.id);
        assert!(log.read(Stream::Clicks, 0, Position::START, 1).await.is_err());
        log.close().await;
    }
    redis.restart();
    let log = open(&config).await;
    all_count_once(&log, &acknowledged).await;
    // In the order in which they came.
    let place = |record: &Record| match record {
        Record::Click(click) => order.iter().position(|id| *id == click.id).unwrap(),
        other => panic!("not a click: {other:?}"),
    };
    let mut replayed = 0;
    for partition in 0..3 {
        let entries = log.read(Stream::Clicks, partition, Position::START, 1_000).await.unwrap();
        // On a busy machine a part of the replay may time out and come again.
        let mut seen = HashSet::new();
        let places: Vec<usize> =
            entries.iter().map(|(_, record)| place(record)).filter(|place| seen.insert(*place)).collect();
        assert!(!places.is_empty() && places.is_sorted(), "{places:?}");
        replayed += places.len();
    }
    assert_eq!(replayed, 150);
    log.close().await;
}

#[tokio::test]
async fn a_full_spool_says_so_and_recovers() {
    let mut redis = Redis::start(&[]);
    let dir = TempDir::new().unwrap();
    let log = open(&LogConfig { spool_max_bytes: 10_000, ..config(&redis, &dir) }).await;
    redis.kill();
    let mut acknowledged = HashSet::new();
    let refusal = loop {
        let delivery = delivery();
        match log.append_delivery(&delivery).await {
            Ok(()) => acknowledged.insert(delivery.id),
            Err(error) => break error,
        };
        assert!(acknowledged.len() < 10);
    };
    assert_eq!((refusal, log.health()), (AppendError::Lost, Health::Losing));
    redis.restart();
    all_count_once(&log, &acknowledged).await;
    let delivery = delivery();
    log.append_delivery(&delivery).await.unwrap();
    acknowledged.insert(delivery.id);
    all_count_once(&log, &acknowledged).await;
    log.close().await;
}

#[tokio::test]
async fn a_server_that_fell_behind_issues_no_lower_ids() {
    let mut redis = Redis::start(&[]);
    let dir = TempDir::new().unwrap();
    let log = open(&config(&redis, &dir)).await;
    // The clock of this server is far ahead; the one that takes over is not.
    redis.cli(&["XADD", "utmost:1:clicks:{0}", "9999999999999-0", "id", "none"]);
    log.append_click(&click()).await.unwrap();
    let end = log.end(Stream::Clicks, 0).await.unwrap();
    assert!(end.major >= 9_999_999_999_999);
    redis.kill();
    redis.restart();
    let click = click();
    log.append_click(&click).await.unwrap();
    all_count_once(&log, &HashSet::from([click.id.to_string()])).await;
    assert!(log.end(Stream::Clicks, 0).await.unwrap() > end);
    assert!(log.wait(Stream::Clicks, 0, end, Duration::ZERO).await.unwrap());
    log.close().await;
}

#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    let redis = Redis::start(&[]);
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    open(&LogConfig { partitions: 2, ..config(&redis, &first) }).await.close().await;
    let refused =
        Log::open(&LogConfig { partitions: 3, ..config(&redis, &second) }, LogMetrics::default()).await;
    assert!(matches!(refused, Err(LogError::Partitions { stored: 2, configured: 3 })));
    let in_use = open(&LogConfig { partitions: 2, ..config(&redis, &first) }).await;
    let again =
        Log::open(&LogConfig { partitions: 2, ..config(&redis, &first) }, LogMetrics::default()).await;
    assert!(matches!(again, Err(LogError::Spool(_))));
    in_use.close().await;
}
