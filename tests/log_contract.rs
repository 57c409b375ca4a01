//! What every event log does, run over each store.

mod support;

use std::time::Duration;

use tempfile::TempDir;
use utmost::domain::ids::{ClickId, LinkId, VisitorId};
use utmost::log::record::{Click, ClientNetwork, Delivery, Record, Request};
use utmost::log::{AppendError, Health, Log, LogConfig, LogMetrics, Position, Stream};

/// Every test body runs over every store.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Store::embedded()).await;
            })*
        }

        mod redis {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Store::redis()).await;
            })*
        }
    };
}

contract! {
    what_is_appended_is_read,
    reading_goes_on_after_a_position,
    reading_ahead_changes_no_answer,
    both_streams_are_apart,
    positions_survive_trimming_and_restarts,
    a_trim_keeps_what_comes_after,
    a_reader_waits_for_the_next_entry,
    many_append_at_once,
    positions_can_be_raised,
    a_closed_log_takes_nothing,
}

struct Store {
    config: LogConfig,
    _data_dir: TempDir,
    _redis: Option<support::Redis>,
}

impl Store {
    fn embedded() -> Self {
        let data_dir = TempDir::new().unwrap();
        let config = LogConfig { data_dir: data_dir.path().into(), ..LogConfig::default() };
        Self { config, _data_dir: data_dir, _redis: None }
    }

    fn redis() -> Self {
        let redis = support::Redis::start(&[]);
        let mut store = Self::embedded();
        store.config.url = Some(redis.url());
        store._redis = Some(redis);
        store
    }

    async fn open(&self) -> Log {
        Log::open(&self.config, LogMetrics::default()).await.unwrap()
    }
}

fn click(n: u8) -> Click<'static> {
    Click {
        id: ClickId::from_bytes([n; 16]),
        link: LinkId::from_i64(i64::from(n)).unwrap(),
        visitor: n.is_multiple_of(2).then(|| VisitorId::from_bytes([n; 12])),
        is_new_visitor: n.is_multiple_of(3),
        request: [Request::Get, Request::Head, Request::Prefetch][usize::from(n % 3)],
        address: (n > 1).then(|| ClientNetwork::of([n, n, n, n].into())),
        user_agent: format!("Mozilla/5.0 (\"{n}\"\r\n ü)").into(),
        referrer: "https://l.example/\u{1F600}".into(),
        is_replayed: false,
    }
}

fn delivery(n: u8) -> Delivery {
    Delivery {
        id: format!("delivery-{n}"),
        workspace: "main".into(),
        source: "shop".into(),
        platform: "shopify".into(),
        received_ms: i64::from(n),
        is_verified: n.is_multiple_of(2),
        headers: vec![("x-shopify-topic".into(), "orders/create \"ü\"".into())],
        body: vec![n, 0, 255, b'\r', b'\n', n],
        is_replayed: false,
    }
}

async fn read(log: &Log, after: Position, max: usize) -> Vec<(Position, Record)> {
    log.read(Stream::Clicks, 0, after, max).await.unwrap()
}

fn clicks(entries: &[(Position, Record)]) -> Vec<Click<'static>> {
    let click = |(_, record): &(Position, Record)| match record {
        Record::Click(click) => click.clone(),
        other => panic!("not a click: {other:?}"),
    };
    entries.iter().map(click).collect()
}

async fn what_is_appended_is_read(store: Store) {
    let log = store.open().await;
    assert_eq!(log.health(), Health::Up);
    assert_eq!(read(&log, Position::START, 10).await, []);
    for n in 1..=5 {
        log.append_click(&click(n)).await.unwrap();
    }
    let entries = read(&log, Position::START, 10).await;
    assert_eq!(clicks(&entries), (1..=5).map(click).collect::<Vec<_>>());
    assert!(entries.is_sorted_by(|a, b| Position::START < a.0 && a.0 < b.0));
    assert_eq!(log.end(Stream::Clicks, 0).await.unwrap(), entries[4].0);
    log.close().await;
}

async fn reading_goes_on_after_a_position(store: Store) {
    let log = store.open().await;
    let all: Vec<_> = (1..=20).map(click).collect();
    let mut appends = tokio::task::JoinSet::new();
    for click in all.clone() {
        let log = log.clone();
        appends.spawn(async move { log.append_click(&click).await });
    }
    appends.join_all().await;
    let whole = read(&log, Position::START, 100).await;
    assert_eq!(whole.len(), all.len());
    let mut piecewise = Vec::new();
    while let Some(page) = Some(read(&log, piecewise.last().map_or(Position::START, |(p, _)| *p), 3).await)
        .filter(|p| !p.is_empty())
    {
        assert!(page.len() <= 3);
        piecewise.extend(page);
    }
    assert_eq!(piecewise, whole);
    log.close().await;
}

async fn reading_ahead_changes_no_answer(store: Store) {
    let log = store.open().await;
    for n in 1..=6 {
        log.append_click(&click(n)).await.unwrap();
    }
    let whole = read(&log, Position::START, 10).await;
    let ahead = |after| log.read_ahead(Stream::Clicks, 0, after, 2);
    let (first, last) = (whole[0].0, whole[5].0);
    ahead(first).await;
    assert_eq!(read(&log, first, 2).await, whole[1..3]);
    // Something else is read than was asked for.
    ahead(first).await;
    assert_eq!(read(&log, first, 3).await, whole[1..4]);
    ahead(first).await;
    assert!(!log.wait(Stream::Clicks, 0, last, Duration::from_millis(1)).await.unwrap());
    // What is asked for again is as new as the last question.
    ahead(last).await;
    log.append_click(&click(7)).await.unwrap();
    ahead(last).await;
    assert_eq!(clicks(&read(&log, last, 2).await), [click(7)]);
    log.close().await;
}

async fn both_streams_are_apart(store: Store) {
    let log = store.open().await;
    let (clicked, delivered) = (click(1), delivery(1));
    let (first, second) = tokio::join!(log.append_click(&clicked), log.append_delivery(&delivered));
    assert_eq!((first, second), (Ok(()), Ok(())));
    log.append_delivery(&delivery(2)).await.unwrap();
    assert_eq!(clicks(&read(&log, Position::START, 10).await), [clicked]);
    let deliveries = log.read(Stream::Conversions, 0, Position::START, 10).await.unwrap();
    let deliveries: Vec<_> = deliveries.into_iter().map(|(_, record)| record).collect();
    assert_eq!(deliveries, [Record::Delivery(delivered), Record::Delivery(delivery(2))]);
    log.close().await;
}

async fn positions_survive_trimming_and_restarts(store: Store) {
    let log = store.open().await;
    log.append_click(&click(1)).await.unwrap();
    let end = log.end(Stream::Clicks, 0).await.unwrap();
    log.trim(Stream::Clicks, 0, end).await.unwrap();
    log.close().await;
    drop(log);

    let log = store.open().await;
    assert_eq!(read(&log, Position::START, 10).await, []);
    assert!(log.end(Stream::Clicks, 0).await.unwrap() >= end);
    log.append_click(&click(2)).await.unwrap();
    assert_eq!(clicks(&read(&log, end, 10).await), [click(2)]);
    log.close().await;
}

async fn a_trim_keeps_what_comes_after(store: Store) {
    let log = store.open().await;
    for n in 1..=6 {
        log.append_click(&click(n)).await.unwrap();
    }
    let entries = read(&log, Position::START, 10).await;
    log.trim(Stream::Clicks, 0, entries[3].0).await.unwrap();
    assert_eq!(read(&log, Position::START, 10).await, entries[4..]);
    assert_eq!(read(&log, entries[3].0, 10).await, entries[4..]);
    log.trim(Stream::Clicks, 0, entries[3].0).await.unwrap();
    log.close().await;
}

async fn a_reader_waits_for_the_next_entry(store: Store) {
    let log = store.open().await;
    let wait = |after, ms| log.wait(Stream::Clicks, 0, after, Duration::from_millis(ms));
    assert!(!wait(Position::START, 10).await.unwrap());
    let clicked = click(1);
    let (came, appended) = tokio::join!(wait(Position::START, 60_000), log.append_click(&clicked));
    assert!(came.unwrap() && appended.is_ok());
    assert!(wait(Position::START, 60_000).await.unwrap());
    let end = log.end(Stream::Clicks, 0).await.unwrap();
    assert!(!wait(end, 10).await.unwrap());
    log.append_delivery(&delivery(1)).await.unwrap();
    assert!(!wait(end, 10).await.unwrap());
    log.close().await;
}

async fn many_append_at_once(store: Store) {
    let log = store.open().await;
    let mut appends = tokio::task::JoinSet::new();
    for task in 0..50u16 {
        let log = log.clone();
        appends.spawn(async move {
            for n in 0..40u16 {
                let mut id = [0; 16];
                id[..2].copy_from_slice(&task.to_be_bytes());
                id[2..4].copy_from_slice(&n.to_be_bytes());
                log.append_click(&Click { id: ClickId::from_bytes(id), ..click(1) }).await.unwrap();
            }
        });
    }
    appends.join_all().await;
    let entries = clicks(&read(&log, Position::START, 10_000).await);
    let mut ids: Vec<_> = entries.iter().map(|click| click.id).collect();
    // Of one task, the clicks are in the order in which it made them.
    let by_task = |task: u8| ids.iter().filter(move |id| id.as_bytes()[1] == task);
    assert!((0..50).all(|task| by_task(task).is_sorted()));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 2_000);
    log.close().await;
}

async fn positions_can_be_raised(store: Store) {
    let log = store.open().await;
    log.append_click(&click(1)).await.unwrap();
    let end = log.end(Stream::Clicks, 0).await.unwrap();
    // As if the store had been put back to an older state.
    let committed = Position { major: end.major + 1_000_000_000_000, minor: 5 };
    log.raise_above(Stream::Clicks, 0, Position::START).await.unwrap();
    assert_eq!(log.end(Stream::Clicks, 0).await.unwrap(), end);
    for _ in 0..2 {
        log.raise_above(Stream::Clicks, 0, committed).await.unwrap();
        log.append_click(&click(2)).await.unwrap();
    }
    assert_eq!(clicks(&read(&log, committed, 10).await), [click(2), click(2)]);
    assert_eq!(clicks(&read(&log, Position::START, 10).await), [click(1), click(2), click(2)]);
    log.raise_above(Stream::Conversions, 0, committed).await.unwrap();
    log.append_delivery(&delivery(1)).await.unwrap();
    assert_eq!(log.read(Stream::Conversions, 0, committed, 10).await.unwrap().len(), 1);
    log.close().await;
}

async fn a_closed_log_takes_nothing(store: Store) {
    let log = store.open().await;
    let clicked = click(1);
    let (appended, ()) = tokio::join!(log.append_click(&clicked), log.close());
    assert_eq!(appended, Ok(()));
    assert_eq!(log.append_click(&click(2)).await, Err(AppendError::Closed));
    assert_eq!(log.append_delivery(&delivery(2)).await, Err(AppendError::Closed));
    assert_eq!(clicks(&read(&log, Position::START, 10).await), [click(1)]);
}
