//! kill -9 under load: no click is lost whose redirect was received, no order whose webhook was answered,
//! and none counts twice.

use crate::load::{Load, Shop};
use crate::support::{Redis, Server};

async fn killed_under_load(env: &[(&str, &str)]) {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), env);
    let shop = Shop::open(&server).await;
    let visitors = 8;
    let load = Load::start(&shop, visitors);
    for _ in 0..3 {
        load.goes_on(150).await;
        server.kill();
        server.restart();
    }
    load.goes_on(150).await;
    let outcome = load.end().await;
    assert!(outcome.unanswered() <= 6 * (visitors as u64 + 1), "{} unanswered", outcome.unanswered());
    outcome.is_recorded(&shop, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn utmost_embedded() {
    killed_under_load(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn utmost_embedded_normal() {
    killed_under_load(&[("UTMOST_HOT__SYNCHRONOUS", "normal"), ("UTMOST_LEDGER__SYNCHRONOUS", "normal")])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn utmost_on_redis() {
    let redis = Redis::start(&["--maxmemory-policy", "noeviction"]);
    killed_under_load(&[("UTMOST_HOT__URL", &redis.url())]).await;
}

/// Redis dies and comes back with what it had made durable; the spool fills the gap.
async fn redis_killed(fsync: &str) {
    let mut redis =
        Redis::start(&["--maxmemory-policy", "noeviction", "--appendonly", "yes", "--appendfsync", fsync]);
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[("UTMOST_HOT__URL", &redis.url())]);
    let shop = Shop::open(&server).await;
    let load = Load::start(&shop, 8);
    for _ in 0..2 {
        load.goes_on(200).await;
        redis.kill();
        load.goes_on(200).await;
        redis.restart();
    }
    load.goes_on(200).await;
    let outcome = load.end().await;
    assert_eq!(outcome.unanswered(), 0);
    outcome.is_recorded(&shop, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_with_appendfsync_always() {
    redis_killed("always").await;
}

/// What Redis has written is with the kernel, which outlives it.
#[tokio::test(flavor = "multi_thread")]
async fn redis_with_appendfsync_everysec() {
    redis_killed("everysec").await;
}
