//! Markov over a past period stays what it was when its journeys have expired, on both hot stores and
//! both ledgers.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use sqlx::Row;
use support::Redis;
use support::postgres::Postgres;
use tempfile::TempDir;
use tokio::sync::Notify;
use utmost::attribution::markov::markov;
use utmost::attribution::paths;
use utmost::config::{Attribution, Config};
use utmost::domain::ids::{ClickId, LinkId, VisitorId};
use utmost::domain::keys::KeyRing;
use utmost::domain::time;
use utmost::ledger::paths::PathCounts;
use utmost::ledger::{Ledger, Synchronous};
use utmost::log::record::{Click, Delivery, Request};
use utmost::log::{Log, LogConfig, LogMetrics};
use utmost::reports::{ReportRequest, attribution};
use utmost::worker::geo::Countries;
use utmost::worker::journeys::Journeys;
use utmost::worker::{Worker, WorkerMetrics};

const DAY_MS: i64 = 24 * 3_600_000;
const HOUR_MS: i64 = 3_600_000;
const RETENTION_DAYS: i64 = 400;

struct Stage {
    worker: Worker,
    now_ms: i64,
    _dir: TempDir,
}

impl Stage {
    async fn open(redis: Option<&Redis>, postgres: Option<&Postgres>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = redis.map(Redis::url);
        let log = LogConfig {
            url: url.clone(),
            data_dir: dir.path().to_owned(),
            prefix: "t".into(),
            partitions: 1,
            ..LogConfig::default()
        };
        let worker = Worker {
            ledger: ledger(dir.path(), postgres).await,
            log: Log::open(&log, LogMetrics::default()).await.unwrap(),
            journeys: match url {
                Some(url) => Journeys::open_redis(&url, "t").await.unwrap(),
                None => {
                    let path = dir.path().join("journeys.db");
                    Journeys::open_embedded(&path, Synchronous::Normal).await.unwrap()
                }
            },
            keys: Arc::new(KeyRing::generate(0)),
            attribution: defaults(),
            countries: Countries::open(None).unwrap(),
            raw_days: 30,
            metrics: WorkerMetrics::default(),
            due: Arc::new(Notify::new()),
        };
        Self { worker, now_ms: time::now_ms(), _dir: dir }
    }

    /// A visitor clicks links some hours apart, the last `days` ago; the tokens.
    async fn journey(&self, visitor: u8, days: i64, links: &[i64]) -> Vec<String> {
        let visitor = VisitorId::from_bytes([visitor; 12]);
        let mut tokens = Vec::new();
        for (n, link) in (1..).zip(links) {
            let at_ms = self.now_ms - days * DAY_MS - (links.len() as i64 - n) * HOUR_MS;
            let click = Click {
                id: ClickId::generate(at_ms),
                link: LinkId::from_i64(*link).unwrap(),
                visitor: Some(visitor),
                is_new_visitor: false,
                request: Request::Get,
                address: None,
                user_agent: support::BROWSER.into(),
                referrer: "".into(),
                is_replayed: false,
            };
            self.worker.log.append_click(&click).await.unwrap();
            let token = self.worker.keys.token.mint(click.id, click.link, Some(visitor));
            tokens.push(String::from_utf8(token.to_vec()).unwrap());
        }
        tokens
    }

    async fn order(&self, id: &str, days: i64, token: &str) {
        let body = json!({"type": "conversion", "data": {"id": id, "amount": "100.00", "currency": "EUR",
            "occurred_at": time::rfc3339(self.now_ms - days * DAY_MS + HOUR_MS), "click_id": token}});
        let delivery = Delivery {
            id: uuid::Uuid::now_v7().to_string(),
            workspace: "w".into(),
            source: "s".into(),
            platform: "api".into(),
            received_ms: self.now_ms,
            is_verified: true,
            headers: Vec::new(),
            body: serde_json::to_vec(&body).unwrap(),
            is_replayed: false,
        };
        self.worker.log.append_delivery(&delivery).await.unwrap();
    }

    async fn fold(&self) {
        self.worker.fold_paths(self.now_ms).await.unwrap();
    }

    /// Null paths that are counted, by their keys.
    async fn nulls(&self) -> Vec<(String, i64)> {
        let text = "SELECT paths FROM path_counts WHERE event = 'purchase'";
        let rows = sqlx::query(text).fetch_all(&self.worker.ledger.read).await.unwrap();
        let mut nulls: BTreeMap<String, i64> = BTreeMap::new();
        for row in rows {
            let day = PathCounts::from_bytes(row.get(0)).unwrap();
            for counted in day.paths() {
                let (count, path) = counted.unwrap();
                let keys = path.iter().map(|place| day.links[*place as usize]);
                let keys: Vec<String> = keys.map(|(link, revision)| format!("{link}.{revision}")).collect();
                *nulls.entry(keys.join(" ")).or_default() += count;
            }
        }
        nulls.into_iter().collect()
    }

    /// Net and conversions by post under markov, for orders from `from` days ago up to `to` days ago.
    async fn markov(&self, from: i64, to: i64) -> Vec<(String, String, String)> {
        let day = |days: i64| time::rfc3339(self.now_ms - days * DAY_MS)[..10].to_owned();
        let (from, to) = (day(from), day(to));
        let pairs = [("by", "post"), ("model", "markov"), ("from", &from), ("to", &to)];
        let request = ReportRequest::parse(pairs).unwrap();
        let report = attribution(&self.worker.ledger, "w", &request, &defaults()).await.unwrap();
        let report = serde_json::to_value(&report).unwrap();
        let text = |value: &serde_json::Value| value.as_str().map_or(value.to_string(), str::to_owned);
        let rows = report["rows"].as_array().unwrap().iter();
        rows.map(|row| (text(&row["key"]), text(&row["net_revenue"]), text(&row["conversions"]))).collect()
    }
}

fn defaults() -> Attribution {
    Config::from_layers(None, std::iter::empty()).unwrap().attribution
}

async fn ledger(dir: &Path, postgres: Option<&Postgres>) -> Ledger {
    let ledger = match postgres {
        Some(postgres) => Ledger::open_postgres(&postgres.url("postgres")).await,
        None => Ledger::open_sqlite(&dir.join("ledger.db"), Synchronous::Normal).await,
    };
    let ledger = ledger.unwrap();
    let mut tx = ledger.begin().await.unwrap();
    for text in [
        "INSERT INTO workspaces (id, name, timezone, currency, settings, created_ms) VALUES ('w', 'W', 'UTC', 'EUR', '{}', 0)",
        "INSERT INTO sources (id, workspace, platform, name, role, settings, created_ms) VALUES ('s', 'w', 'api', 'S', 'of_record', '{}', 0)",
        "INSERT INTO link_revisions (link, revision, from_ms, workspace, post, tags) VALUES (1, 1, 0, 'w', 'a', '[]'), (2, 1, 0, 'w', 'b', '[]'), (3, 1, 0, 'w', 'c', '[]')",
        "INSERT INTO links (id, workspace, domain, slug, url, utm, tags, forward_query, extra, created_ms, updated_ms, version)
         VALUES (1, 'w', 'd', 'a', 'https://s', '{}', '[]', 1, '{}', 0, 0, 0), (2, 'w', 'd', 'b', 'https://s', '{}', '[]', 1, '{}', 0, 0, 0), (3, 'w', 'd', 'c', 'https://s', '{}', '[]', 1, '{}', 0, 0, 0)",
    ] {
        sqlx::query(text).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    ledger
}

/// `expire` lets all journeys of the stage go, as time would.
async fn the_past_stays(stage: &Stage, expire: impl AsyncFn()) {
    // Long ago: a > b and c sold, a alone twice and b > c did not.
    let bought = stage.journey(1, 320, &[1, 2]).await;
    stage.order("o1", 320, &bought[1]).await;
    let bought = stage.journey(2, 321, &[3]).await;
    stage.order("o2", 321, &bought[0]).await;
    stage.journey(3, 320, &[1]).await;
    stage.journey(4, 322, &[1]).await;
    stage.journey(5, 320, &[2, 3]).await;
    // Of late: one that did not convert yet, and the second journey of somebody who had bought.
    let open = stage.journey(6, 20, &[1, 3]).await;
    stage.journey(1, 10, &[3]).await;
    stage.worker.drain().await.unwrap();
    stage.fold().await;
    let nulls = [("1.1", 2), ("1.1 3.1", 1), ("2.1 3.1", 1), ("3.1", 1)].map(|(p, n)| (p.to_owned(), n));
    assert_eq!(stage.nulls().await, nulls);

    // By hand: the model on the same paths, its shares scaled to the two orders.
    let csv = "path,total_conversions,total_conversion_value,total_null\na > b,1,100,0\nc,1,100,0\na,0,0,2\nb > c,0,0,1\n";
    let credits = markov(&paths::read_paths(csv.as_bytes()).unwrap(), 1).unwrap();
    let whole: f64 = credits.iter().map(|credit| credit.value).sum();
    let figures = stage.markov(330, 310).await;
    assert_eq!(figures.len(), 3, "{figures:?}");
    for (post, net, _) in &figures {
        let credit = credits.iter().find(|credit| credit.key == *post).unwrap();
        let expected = 200.0 * credit.value / whole;
        assert!((net.parse::<f64>().unwrap() - expected).abs() < 0.011, "{post} {net} {expected}");
    }
    // Without null paths a > b would give both the same.
    assert_ne!(figures[0].1, figures[1].1, "{figures:?}");

    // Once is as good as twice, and as by two workers at once.
    stage.fold().await;
    let (one, two) =
        tokio::join!(stage.worker.fold_paths(stage.now_ms), stage.worker.fold_paths(stage.now_ms));
    one.unwrap();
    two.unwrap();
    assert_eq!(stage.nulls().await, nulls);

    // What is not settled yet follows what becomes of it.
    stage.order("o3", 15, &open[1]).await;
    stage.worker.drain().await.unwrap();
    stage.fold().await;
    let nulls = [("1.1", 2), ("2.1 3.1", 1), ("3.1", 1)].map(|(path, n)| (path.to_owned(), n));
    assert_eq!(stage.nulls().await, nulls);
    let lately = stage.markov(30, 5).await;

    // Time passes: the old journeys go, and then all of them.
    let later_ms = stage.now_ms + 100 * DAY_MS;
    stage.worker.journeys.expire(later_ms, RETENTION_DAYS * DAY_MS).await.unwrap();
    stage.fold().await;
    assert_eq!(stage.markov(330, 310).await, figures);
    // In time the rest is settled too; then it no longer needs its journeys.
    stage.worker.fold_paths(stage.now_ms + 320 * DAY_MS).await.unwrap();
    expire().await;
    assert_eq!(stage.worker.journeys.walk().next().await.unwrap().unwrap(), []);
    stage.worker.fold_paths(stage.now_ms + 321 * DAY_MS).await.unwrap();
    assert_eq!(stage.nulls().await, nulls);
    assert_eq!(stage.markov(330, 310).await, figures);
    assert_eq!(stage.markov(30, 5).await, lately);
}

#[tokio::test]
async fn the_past_stays_when_embedded_journeys_expire() {
    let stage = Stage::open(None, None).await;
    the_past_stays(&stage, async || {
        let later_ms = stage.now_ms + RETENTION_DAYS * DAY_MS;
        stage.worker.journeys.expire(later_ms, RETENTION_DAYS * DAY_MS).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_past_stays_when_journeys_expire_in_redis() {
    let (redis, postgres) = (Redis::start(&[]), Postgres::start());
    let stage = Stage::open(Some(&redis), Some(&postgres)).await;
    the_past_stays(&stage, async || {
        let script =
            "for _, key in ipairs(redis.call('KEYS', 't:1:journey:*')) do redis.call('PEXPIRE', key, 0) end";
        redis.cli(&["EVAL", script, "0"]);
    })
    .await;
}

/// More journeys than fit into a page, and one longer than a page.
async fn walked(journeys: &Journeys) {
    use utmost::worker::journeys::{Step, Who};
    let now_ms = time::now_ms();
    let who = |n: u16| {
        let mut id = [7; 12];
        id[..2].copy_from_slice(&n.to_be_bytes());
        Who { workspace: "w*".into(), visitor: VisitorId::from_bytes(id), anonymous: n == 9 }
    };
    let step = |at_ms| Step {
        click: ClickId::generate(at_ms),
        link: LinkId::from_i64(1).unwrap(),
        country: [0; 2],
        device: 0,
    };
    let mut steps: Vec<(Who, Step)> = Vec::new();
    for n in 0..3_000 {
        let count = if n == 5 { 11_000 } else { 4 };
        steps.extend((0..count).map(|i| (who(n), step(now_ms - i))));
    }
    journeys.add(&steps, now_ms, DAY_MS).await.unwrap();
    let mut walk = journeys.walk();
    let mut met: Vec<(Who, usize)> = Vec::new();
    while let Some(page) = walk.next().await.unwrap() {
        met.extend(page.into_iter().map(|(who, steps)| (who, steps.len())));
    }
    met.sort();
    // Of nobody without a visitor.
    let expected = (0..3_000).filter(|n| *n != 9).map(|n| (who(n), if n == 5 { 11_000 } else { 4 }));
    assert_eq!(met, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_walk_meets_every_journey_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journeys.db");
    walked(&Journeys::open_embedded(&path, Synchronous::Normal).await.unwrap()).await;
    let redis = Redis::start(&[]);
    walked(&Journeys::open_redis(&redis.url(), "a[b]*?").await.unwrap()).await;
}
