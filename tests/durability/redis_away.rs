//! Redis is silent, refuses or is still loading: redirects and webhooks go on from the spool, and what was
//! spooled is counted once when Redis is back.

use std::time::{Duration, Instant};

use crate::load::{Load, Shop, log_becomes};
use crate::support::{Redis, Server, eventually};

/// The default of `hot.deadline_ms`.
const DEADLINE: Duration = Duration::from_millis(50);
/// For the spool's fsync and for a machine that has other work too.
const A_LITTLE: Duration = Duration::from_millis(100);
const AT_MOST: Duration = Duration::from_secs(2);

struct Stage {
    redis: Redis,
    server: Server,
    shop: Shop,
    load: Load,
    _dir: tempfile::TempDir,
}

async fn stage() -> Stage {
    let redis = Redis::start(&["--maxmemory-policy", "noeviction"]);
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[("UTMOST_HOT__URL", &redis.url())]);
    let shop = Shop::open(&server).await;
    let load = Load::start(&shop, 8);
    // All links are at hand afterwards.
    load.goes_on(200).await;
    Stage { redis, server, shop, load, _dir: dir }
}

impl Stage {
    /// Redirects and webhooks go on for a time while Redis takes nothing.
    async fn goes_on_spooling(&self, at_least: Duration) {
        let since = Instant::now();
        log_becomes(&self.server.client(), "spooling").await;
        while since.elapsed() < at_least {
            self.load.goes_on(20).await;
        }
        self.load.goes_on(200).await;
        let waits = self.load.waits_since(since);
        let (median, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
        assert!(median <= DEADLINE + A_LITTLE && longest <= AT_MOST, "{median:?}, {longest:?}");
    }

    async fn ends_well(self) {
        log_becomes(&self.server.client(), "up").await;
        self.load.goes_on(100).await;
        let outcome = self.load.end().await;
        assert_eq!(outcome.unanswered(), 0);
        outcome.is_recorded(&self.shop, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_for_ten_seconds() {
    let stage = stage().await;
    stage.redis.pause();
    stage.goes_on_spooling(Duration::from_secs(10)).await;
    stage.redis.resume();
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_memory_and_read_only() {
    let stage = stage().await;
    for (refuse, relent) in [
        (&["CONFIG", "SET", "maxmemory", "1000"][..], &["CONFIG", "SET", "maxmemory", "0"][..]),
        (&["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"]),
    ] {
        stage.redis.cli(refuse);
        let refusal = stage.redis.cli(&["SET", "a", "b"]);
        assert!(refusal.starts_with("OOM") || refusal.starts_with("READONLY"), "{refusal}");
        stage.goes_on_spooling(Duration::ZERO).await;
        stage.redis.cli(relent);
        log_becomes(&stage.server.client(), "up").await;
    }
    stage.ends_well().await;
}

/// Redis is restarted from a snapshot that it takes a while to load.
#[tokio::test(flavor = "multi_thread")]
async fn loading() {
    let mut stage = stage().await;
    let fill = "for n = 1, 3000 do redis.call('SET', 'filler' .. n, n) end";
    stage.redis.cli(&["EVAL", fill, "0"]);
    stage.redis.save_and_end();
    // 1 ms for each key, and clients are answered in between.
    stage.redis.restart_loading(&[
        "--key-load-delay",
        "1000",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    eventually(Duration::from_secs(10), || stage.redis.cli(&["SET", "a", "b"]).starts_with("LOADING"));
    stage.goes_on_spooling(Duration::ZERO).await;
    assert!(stage.redis.cli(&["SET", "a", "b"]).starts_with("LOADING"), "it should still be loading");
    stage.ends_well().await;
}
