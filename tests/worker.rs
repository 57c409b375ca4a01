//! The worker on real stores: one story whose figures are computed by hand.

use std::sync::Arc;

use sqlx::Row;
use tokio::sync::Notify;
use utmost::config::Config;
use utmost::domain::ids::{ClickId, LinkId, VisitorId};
use utmost::domain::keys::KeyRing;
use utmost::domain::time;
use utmost::ledger::{Ledger, Synchronous};
use utmost::log::record::{Click, Delivery, Request};
use utmost::log::{Log, LogConfig, LogMetrics};
use utmost::worker::geo::Countries;
use utmost::worker::journeys::Journeys;
use utmost::worker::{Worker, WorkerMetrics};

const BROWSER: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36";
const DAY_MS: i64 = 24 * 3_600_000;

async fn worker(dir: &std::path::Path) -> Worker {
    let ledger = Ledger::open_sqlite(&dir.join("ledger.db"), Synchronous::Normal).await.unwrap();
    let config = LogConfig { data_dir: dir.to_path_buf(), ..LogConfig::default() };
    let log = Log::open(&config, LogMetrics::default()).await.unwrap();
    let journeys = Journeys::open_embedded(&dir.join("journeys.db"), Synchronous::Normal).await.unwrap();
    Worker {
        ledger,
        log,
        journeys,
        keys: Arc::new(KeyRing::generate(0)),
        attribution: Config::from_layers(None, std::iter::empty()).unwrap().attribution,
        countries: Countries::open(None).unwrap(),
        raw_days: 30,
        metrics: WorkerMetrics::default(),
        due: Arc::new(Notify::new()),
    }
}

async fn execute(ledger: &Ledger, sql: &'static str) {
    let mut tx = ledger.begin().await.unwrap();
    sqlx::query(sql).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_sale_is_split_over_its_journey_and_its_refund_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let worker = worker(dir.path()).await;
    execute(&worker.ledger, "INSERT INTO workspaces (id, name, timezone, currency, settings, created_ms) VALUES ('w', 'W', 'UTC', 'EUR', '{}', 0)").await;
    execute(&worker.ledger, "INSERT INTO sources (id, workspace, platform, name, role, settings, created_ms) VALUES ('api.w', 'w', 'api', 'API', 'of_record', '{}', 0)").await;
    execute(&worker.ledger, "INSERT INTO link_revisions (link, revision, from_ms, workspace, post, tags) VALUES (1, 1, 0, 'w', 'a', '[]'), (2, 1, 0, 'w', 'b', '[]')").await;
    execute(&worker.ledger, "INSERT INTO links (id, workspace, domain, slug, url, utm, tags, forward_query, extra, created_ms, updated_ms, version) VALUES (1, 'w', 'd', 'a', 'https://s', '{}', '[]', 1, '{}', 0, 0, 0), (2, 'w', 'd', 'b', 'https://s', '{}', '[]', 1, '{}', 0, 0, 0)").await;

    let now_ms = time::now_ms();
    let visitor = VisitorId::from_bytes([5; 12]);
    let click = |link: i64, at_ms| Click {
        id: ClickId::generate(at_ms),
        link: LinkId::from_i64(link).unwrap(),
        visitor: Some(visitor),
        is_new_visitor: false,
        request: Request::Get,
        address: None,
        user_agent: BROWSER.into(),
        referrer: "".into(),
        is_replayed: false,
    };
    let (first, second) = (click(1, now_ms - 8 * DAY_MS), click(2, now_ms - DAY_MS));
    let token = worker.keys.token.mint(second.id, second.link, Some(visitor));
    let delivery = |id: &str, body: serde_json::Value| Delivery {
        id: uuid::Uuid::now_v7().to_string(),
        workspace: "w".into(),
        source: "api.w".into(),
        platform: "api".into(),
        received_ms: now_ms,
        is_verified: true,
        headers: vec![("x".into(), id.into())],
        body: serde_json::to_vec(&body).unwrap(),
        is_replayed: false,
    };
    let order = delivery(
        "o",
        serde_json::json!({"type": "conversion", "data": {
            "id": "o1", "amount": "100.01", "currency": "EUR", "occurred_at": time::rfc3339(now_ms),
            "click_id": std::str::from_utf8(&token).unwrap(), "customer": {"email": "A@b.example"},
        }}),
    );
    // The sale overtakes its first click.
    worker.log.append_click(&second).await.unwrap();
    worker.log.append_delivery(&order).await.unwrap();
    worker.drain().await.unwrap();
    worker.log.append_click(&first).await.unwrap();
    worker.log.append_delivery(&order).await.unwrap();
    worker.drain().await.unwrap();

    let rows = sqlx::query("SELECT link, first_touch, last_touch, linear, time_decay, position_based, linear_weight FROM credits ORDER BY n")
        .fetch_all(&worker.ledger.read).await.unwrap();
    let credits: Vec<Vec<i64>> = rows.iter().map(|row| (0..7).map(|i| row.get(i)).collect()).collect();
    assert_eq!(
        credits,
        [
            [1, 10001, 0, 5001, 3334, 5001, 500_000_000].to_vec(),
            [2, 0, 10001, 5000, 6667, 5000, 500_000_000].to_vec(),
        ]
    );
    let row = sqlx::query("SELECT status, match_method, due, net_minor FROM conversions")
        .fetch_one(&worker.ledger.read)
        .await
        .unwrap();
    let found: (String, String, bool, i64) = (row.get(0), row.get(1), row.get::<i64, _>(2) > 0, row.get(3));
    assert_eq!(found, ("attributed".into(), "click_token".into(), false, 10001));
    let row =
        sqlx::query("SELECT CAST(SUM(human) AS BIGINT), CAST(SUM(uniques) AS BIGINT) FROM clicks_by_day")
            .fetch_one(&worker.ledger.read)
            .await
            .unwrap();
    assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1)), (2, 2));
}
