//! The worker is killed at random points while clicks and deliveries arrive: the ledger ends as that of a
//! worker that was left alone.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use http::Method;
use rand::RngExt as _;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};
use utmost::config::data_dir::DataDir;
use utmost::domain::ids::{ClickId, LinkId, VisitorId};
use utmost::domain::keys::KeyRing;
use utmost::domain::time;
use utmost::ledger::{Ledger, Synchronous, click_packs, packs};
use utmost::log::record::{Click, Delivery, Request};
use utmost::log::{Log, LogConfig, LogMetrics, Stream};

use crate::support::{BROWSER, Redis, Server};

const KILLS: usize = 50;
/// Long enough that about half of them commit something, where nothing else is going on.
const LIFE_MAX_US: u64 = 400_000;
const CLICKS: usize = 3_000;
const ORDERS: usize = 300;

enum Record {
    Click(Click<'static>),
    Delivery(Delivery),
    /// The last click comes a second time, marked, by way of the spool.
    Again,
}

const REPEAT: &str = "local entry = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1][2]
    entry[#entry] = '1'
    redis.call('XADD', KEYS[1], '*', unpack(entry))";

/// Clicks of visitors that come again, orders with their tokens and customers, changes, refunds,
/// redeliveries and replayed entries, in one order of arrival.
fn records(keys: &KeyRing, links: &[LinkId], source: &str) -> Vec<Record> {
    let mut random = rand::rng();
    let start_ms = time::now_ms() - 20 * 24 * 3_600_000;
    let mut records = Vec::new();
    let mut clicks: Vec<Click<'static>> = Vec::new();
    let mut known = HashSet::new();
    for n in 0..CLICKS {
        let visitor = VisitorId::from_bytes([random.random_range(0..200); 12]);
        let click = Click {
            id: ClickId::generate(start_ms + n as i64 * 60_000 + random.random_range(0..60_000)),
            link: links[random.random_range(0..links.len())],
            visitor: random.random_bool(0.9).then_some(visitor),
            is_new_visitor: known.insert(visitor),
            request: Request::Get,
            address: None,
            user_agent: (if random.random_bool(0.1) { "curl/8.5.0" } else { BROWSER }).into(),
            referrer: "https://l.instagram.com/".into(),
            is_replayed: false,
        };
        clicks.push(click.clone());
        records.push(Record::Click(click));
        if n % 50 == 0 {
            records.push(Record::Again);
        }
    }
    for id in 1..=ORDERS {
        let click = &clicks[random.random_range(0..clicks.len())];
        let token = keys.token.mint(click.id, click.link, click.visitor);
        let at = |hours: i64| time::rfc3339(start_ms + (25 * 24 + hours) * 3_600_000);
        let order = |total: &str, hours: i64| {
            json!({
                "id": id, "name": format!("#{id}"), "created_at": at(0), "processed_at": at(0),
                "updated_at": at(hours), "financial_status": "paid", "test": false, "currency": "USD",
                "total_price": total, "total_tax": "1.00", "email": format!("c{}@example.com", id % 70),
                "note_attributes": [{"name": "um_click", "value": std::str::from_utf8(&token).unwrap()}],
                "refunds": [],
            })
        };
        let mut bodies = vec![("orders/paid", order("11.00", 0))];
        if id % 3 == 0 {
            bodies.push(("orders/updated", order("9.37", 1)));
        }
        if id % 4 == 0 {
            let refund = json!({
                "id": 1_000_000 + id, "order_id": id, "created_at": at(2),
                "transactions": [{"id": 1, "amount": "3.33", "currency": "USD", "kind": "refund", "status": "success"}],
            });
            bodies.push(("refunds/create", refund));
        }
        if id % 5 == 0 {
            bodies.push(bodies[0].clone());
        }
        for (topic, body) in bodies {
            let delivery = Delivery {
                id: uuid::Uuid::now_v7().to_string(),
                workspace: "default".into(),
                source: source.into(),
                platform: "shopify".into(),
                received_ms: start_ms,
                is_verified: true,
                headers: vec![("x-shopify-topic".into(), topic.into())],
                body: serde_json::to_vec(&body).unwrap(),
                is_replayed: false,
            };
            records.insert(random.random_range(0..=records.len()), Record::Delivery(delivery));
        }
    }
    records
}

async fn append(log: &Log, redis: &Redis, prefix: &str, records: &[Record]) {
    for record in records {
        match record {
            Record::Click(click) => log.append_click(click).await.unwrap(),
            Record::Delivery(delivery) => log.append_delivery(delivery).await.unwrap(),
            Record::Again => {
                redis.cli(&["EVAL", REPEAT, "1", &format!("{prefix}:1:clicks:{{0}}")]);
            }
        }
    }
}

/// A log that this process writes and the worker reads.
async fn log(redis: &Redis, dir: &Path, prefix: &str) -> Log {
    let config = LogConfig {
        url: Some(redis.url()),
        data_dir: dir.join(prefix),
        prefix: prefix.into(),
        // The machine may be busy, and in one order the records are to come.
        deadline: Duration::from_secs(20),
        ..LogConfig::default()
    };
    Log::open(&config, LogMetrics::default()).await.unwrap()
}

fn worker(redis: &Redis, dir: &Path, prefix: &str, roles: &str) -> Server {
    let env = [("UTMOST_HOT__URL", &*redis.url()), ("UTMOST_HOT__PREFIX", prefix), ("UTMOST_ROLES", roles)];
    Server::start(dir, &env)
}

/// Waits until all that is in the log is committed and evaluated, and shows the whole ledger.
async fn finished(log: &Log, dir: &Path) -> Vec<String> {
    let ledger = Ledger::open_sqlite(&dir.join("data/ledger.db"), Synchronous::Normal).await.unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    for (stream, name) in [(Stream::Clicks, "clicks"), (Stream::Conversions, "conversions")] {
        let last = log.end(stream, 0).await.unwrap().to_string();
        loop {
            let text = format!("SELECT position FROM positions WHERE stream = '{name}' AND partition = 0");
            if rows(&ledger, &text).await.first() == Some(&last) {
                break;
            }
            assert!(Instant::now() < end, "{name} are not committed up to {last}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    while rows(&ledger, "SELECT CAST(COUNT(*) AS TEXT) FROM conversions WHERE due > 0").await != ["0"] {
        assert!(Instant::now() < end, "conversions are still due");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let shown = dump(&ledger).await;
    ledger.close().await;
    shown
}

/// How many batches of clicks there were.
async fn batches(dir: &Path) -> usize {
    let ledger = Ledger::open_sqlite(&dir.join("data/ledger.db"), Synchronous::Normal).await.unwrap();
    let lives = rows(&ledger, "SELECT position FROM click_ids").await.len();
    ledger.close().await;
    lives
}

async fn blobs(ledger: &Ledger, text: &str) -> Vec<Vec<u8>> {
    let rows = sqlx::query(AssertSqlSafe(text.to_owned())).fetch_all(&ledger.read).await.expect(text);
    rows.iter().map(|row| row.get(0)).collect()
}

async fn rows(ledger: &Ledger, text: &str) -> Vec<String> {
    let rows = sqlx::query(AssertSqlSafe(text.to_owned())).fetch_all(&ledger.read).await.expect(text);
    rows.iter().map(|row| row.get(0)).collect()
}

/// Every row of every table as text, but for what depends on when and in which batch it was worked on (counts of
/// journeys without conversion are taken anew every now and then, and may not have been taken yet). Packs hold
/// conversions by number, so they are compared with the conversions themselves.
async fn dump(ledger: &Ledger) -> Vec<String> {
    packs::pack(ledger, true).await.unwrap();
    click_packs::pack(ledger, i64::MAX).await.unwrap();
    let packed =
        "SELECT event || ' ' || order_day FROM conversions WHERE packed IS NOT NULL GROUP BY 1 ORDER BY 1";
    assert_eq!(
        rows(ledger, "SELECT event || ' ' || order_day FROM packs ORDER BY 1").await,
        rows(ledger, packed).await
    );
    for place in rows(ledger, packed).await {
        let (event, day) = place.split_once(' ').unwrap();
        let place = format!("event = '{event}' AND order_day = {day}");
        let records =
            blobs(ledger, &format!("SELECT packed FROM conversions WHERE {place} ORDER BY id")).await;
        let pack = blobs(ledger, &format!("SELECT conversions FROM packs WHERE {place}")).await;
        assert_eq!(pack, [packs::pack_of(records.iter().map(Vec::as_slice))], "{place}");
    }
    let mut all = Vec::new();
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
                  AND name NOT IN ('click_ids', 'positions', 'meta', 'link_changes', 'domains', 'path_counts', 'path_months', 'packs', 'click_months')
                  ORDER BY name";
    for table in rows(ledger, tables).await {
        let columns = rows(ledger, &format!("SELECT name FROM pragma_table_info('{table}')")).await;
        let shown: Vec<String> = columns
            .iter()
            .filter(|column| match (table.as_str(), column.as_str()) {
                ("conversions", "id" | "evaluated_ms" | "due" | "packed") => false,
                (_, column) => column != "body",
            })
            .map(|column| {
                match column.as_str() {
                    // Conversions are numbered as they come.
                    "conversion" => {
                        "(SELECT source || '/' || order_id FROM conversions c WHERE c.id = conversion)"
                    }
                    "clicks" => "hex(clicks)",
                    column => column,
                }
                .to_owned()
            })
            .collect();
        let text = format!("SELECT json_array({}) FROM {table} ORDER BY 1", shown.join(", "));
        all.extend(rows(ledger, &text).await.into_iter().map(|row| format!("{table} {row}")));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_fifty_times() {
    let redis = Redis::start(&["--maxmemory-policy", "noeviction"]);
    let (killed, alone) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut server = worker(&redis, killed.path(), "killed", "api");
    let client = server.client();
    let links: Vec<Value> =
        (0..20).map(|n| json!({"url": "https://s.example/", "post": format!("p{n}")})).collect();
    let made = client.api(Method::POST, "/api/v1/links/bulk", Some(json!({ "links": links }))).await.unwrap();
    let id = |result: &Value| result["link"]["id"].as_str().unwrap().parse().unwrap();
    let links: Vec<LinkId> = made["results"].as_array().unwrap().iter().map(id).collect();
    let source = json!({"platform": "shopify", "name": "Hats", "secret": "shpss_0123456789abcdef"});
    let source = client.api(Method::POST, "/api/v1/sources", Some(source)).await.unwrap();
    assert!(server.terminate());
    // Both begin with the same ledger and the same keys.
    let copied =
        std::process::Command::new("cp").arg("-r").arg(killed.path().join("data")).arg(alone.path()).status();
    assert!(copied.unwrap().success());
    let keys = DataDir::hold(&killed.path().join("data")).unwrap().key_ring().unwrap();
    let records = records(&keys, &links, source["id"].as_str().unwrap());

    let spools = tempfile::tempdir().unwrap();
    let to_killed = log(&redis, spools.path(), "killed").await;
    let mut server = worker(&redis, killed.path(), "killed", "worker");
    for (life, part) in records.chunks(records.len().div_ceil(KILLS)).enumerate() {
        let appended = append(&to_killed, &redis, "killed", part);
        // On a busy machine too some lives are long enough.
        let commits_first = life % 4 == 0;
        let before = if commits_first { batches(killed.path()).await } else { 0 };
        let dies = async {
            if commits_first {
                let commits = async {
                    while batches(killed.path()).await == before {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                };
                tokio::time::timeout(Duration::from_secs(30), commits).await.expect("a batch is committed");
            }
            tokio::time::sleep(Duration::from_micros(rand::rng().random_range(0..LIFE_MAX_US))).await;
            server.kill();
            server.restart();
        };
        tokio::join!(appended, dies);
    }
    let found = finished(&to_killed, killed.path()).await;

    let committed = batches(killed.path()).await;
    assert!(committed >= 10, "only {committed} batches were committed between kills");

    let to_alone = log(&redis, spools.path(), "alone").await;
    append(&to_alone, &redis, "alone", &records).await;
    let _undisturbed = worker(&redis, alone.path(), "alone", "worker");
    let expected = finished(&to_alone, alone.path()).await;

    assert!(expected.iter().filter(|row| row.starts_with("conversions ")).count() == ORDERS);
    let only = |a: &[String], b: &[String]| -> Vec<String> {
        a.iter().filter(|row| !b.contains(row)).cloned().collect()
    };
    let (lacking, foreign) = (only(&expected, &found), only(&found, &expected));
    assert!(lacking.is_empty() && foreign.is_empty(), "expected {lacking:#?}\nfound {foreign:#?}");
    assert_eq!(found.len(), expected.len());
    to_killed.close().await;
    to_alone.close().await;
}
