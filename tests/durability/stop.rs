//! SIGTERM under load: every request that was sent on a connection is answered, and every answer recorded.

use crate::load::{Load, Shop};
use crate::support::{Redis, Server};

async fn terminated_under_load(env: &[(&str, &str)]) {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), env);
    let shop = Shop::open(&server).await;
    let load = Load::start(&shop, 8);
    for _ in 0..2 {
        load.goes_on(150).await;
        assert!(server.terminate(), "a graceful stop ends well");
        server.restart();
    }
    load.goes_on(150).await;
    let outcome = load.end().await;
    assert_eq!(outcome.unanswered(), 0, "connections were reset under their requests");
    outcome.is_recorded(&shop, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded() {
    terminated_under_load(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_redis() {
    let redis = Redis::start(&["--maxmemory-policy", "noeviction"]);
    terminated_under_load(&[("UTMOST_HOT__URL", &redis.url())]).await;
}

/// Redis is away while utmost stops and starts: the spool keeps what it has, and is replayed later.
#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away() {
    let redis = Redis::start(&["--maxmemory-policy", "noeviction"]);
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[("UTMOST_HOT__URL", &redis.url())]);
    let shop = Shop::open(&server).await;
    let load = Load::start(&shop, 8);
    load.goes_on(150).await;
    redis.pause();
    load.goes_on(150).await;
    assert!(server.terminate());
    server.restart();
    load.goes_on(150).await;
    redis.resume();
    load.goes_on(150).await;
    let outcome = load.end().await;
    assert_eq!(outcome.unanswered(), 0, "connections were reset under their requests");
    outcome.is_recorded(&shop, 0).await;
}
