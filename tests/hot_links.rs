//! Hot copies of links in a real Redis: redirectors read them and hear of changes.

mod support;

use std::time::{Duration, Instant};

use support::Redis;
use utmost::domain::ids::LinkId;
use utmost::domain::utm::{ClickParam, Utm, link_destination};
use utmost::links::HotLink;
use utmost::links::cache::{Found, LinkCache, LinkCacheMetrics, LinkSource, Located};
use utmost::links::follow::Follower;
use utmost::links::redis::HotLinks;

fn copy(revision: i64) -> HotLink {
    HotLink {
        id: LinkId::from_i64(1).unwrap(),
        workspace: "main".into(),
        destination: link_destination("https://s.test/#f", &Utm::default(), ClickParam::Default),
        forward_query: true,
        expires_at_ms: None,
        expired_url: None,
        closed: false,
        revision,
    }
}

fn links(redis: &Redis) -> HotLinks {
    HotLinks::new(&redis.url(), "utmost").unwrap()
}

fn cache(redis: &Redis) -> LinkCache {
    LinkCache::new(LinkSource::Redis(links(redis)), 1 << 20, LinkCacheMetrics::default())
}

async fn put(links: &HotLinks, key: &str, copy: Option<HotLink>) {
    links.put(&[(key.to_owned(), copy)]).await.unwrap();
}

async fn revision(cache: &LinkCache, key: &str) -> Option<i64> {
    // Far enough apart for remembered misses to have passed.
    match cache.find(key, i64::MAX - 10_000).await.unwrap() {
        Found::Link(link) => Some(link.revision),
        Found::NoLink | Found::UnknownDomain => None,
    }
}

/// Follows changes until the cache says what is expected.
async fn follows(follower: &mut Follower, cache: &LinkCache, key: &str, expected: Option<i64>) {
    let follow = async {
        let started = Instant::now();
        while revision(cache, key).await != expected {
            assert!(started.elapsed() < Duration::from_secs(20), "{key} did not become {expected:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = follower.run() => unreachable!("it runs until it is dropped"),
        () = follow => {}
    }
}

#[tokio::test]
async fn copies_are_found_and_old_ones_replace_none() {
    let redis = Redis::start(&[]);
    let links = links(&redis);
    assert!(matches!(links.locate("go.test/a").await.unwrap(), Located::UnknownDomain));
    links.add_domains(&["go.test".into()]).await.unwrap();
    assert!(matches!(links.locate("go.test/a").await.unwrap(), Located::NoLink));
    for (written, expected) in [(5, 5), (4, 5), (6, 6)] {
        put(&links, "go.test/a", Some(copy(written))).await;
        let Located::Link(found) = links.locate("go.test/a").await.unwrap() else { panic!("not found") };
        assert_eq!(found, copy(expected));
    }
    put(&links, "go.test/a", None).await;
    assert!(matches!(links.locate("go.test/a").await.unwrap(), Located::NoLink));
    let many: Vec<_> = (0..1_500).map(|n| (format!("go.test/{n}"), Some(copy(n)))).collect();
    links.put(&many).await.unwrap();
    assert!(matches!(links.locate("go.test/1499").await.unwrap(), Located::Link(_)));
    links.remove_domain("go.test").await.unwrap();
    assert!(matches!(links.locate("go.test/a").await.unwrap(), Located::UnknownDomain));
}

#[tokio::test]
async fn changes_come_through_and_a_gap_empties_the_cache() {
    let redis = Redis::start(&[]);
    let (links, cache) = (links(&redis), cache(&redis));
    let dir = tempfile::TempDir::new().unwrap();
    let mut follower =
        Follower::start(cache.clone(), dir.path().join("links.snapshot")).await.unwrap().unwrap();
    put(&links, "go.test/a", Some(copy(1))).await;
    assert_eq!(revision(&cache, "go.test/a").await, Some(1));
    put(&links, "go.test/b", Some(copy(1))).await;
    assert_eq!(revision(&cache, "go.test/b").await, Some(1));
    follows(&mut follower, &cache, "go.test/a", Some(1)).await;

    put(&links, "go.test/a", Some(copy(2))).await;
    follows(&mut follower, &cache, "go.test/a", Some(2)).await;

    assert_eq!(revision(&cache, "go.test/b").await, Some(1));
    // A change that nobody is told of is not seen, until the stream shows that something was lost.
    redis.cli(&["SET", "utmost:1:link:{go.test/b}", &serde_json::to_string(&copy(7)).unwrap()]);
    assert_eq!(revision(&cache, "go.test/b").await, Some(1));
    put(&links, "go.test/x", Some(copy(1))).await;
    put(&links, "go.test/y", Some(copy(1))).await;
    redis.cli(&["XTRIM", "utmost:1:link-changes", "MAXLEN", "0"]);
    follows(&mut follower, &cache, "go.test/b", Some(7)).await;

    redis.cli(&["SET", "utmost:1:link:{go.test/b}", &serde_json::to_string(&copy(8)).unwrap()]);
    redis.cli(&["DEL", "utmost:1:link-changes"]);
    follows(&mut follower, &cache, "go.test/b", Some(8)).await;
}

#[tokio::test]
async fn a_redirector_starts_from_its_snapshot_while_redis_is_away() {
    let mut redis = Redis::start(&["--appendonly", "yes"]);
    let dir = tempfile::TempDir::new().unwrap();
    let snapshot = dir.path().join("links.snapshot");
    {
        let (links, cache) = (links(&redis), cache(&redis));
        let mut follower = Follower::start(cache.clone(), snapshot.clone()).await.unwrap().unwrap();
        put(&links, "go.test/a", Some(copy(1))).await;
        put(&links, "go.test/b", Some(copy(1))).await;
        // Its first steps may empty the cache, since it has to begin somewhere.
        loop {
            follows(&mut follower, &cache, "go.test/a", Some(1)).await;
            follows(&mut follower, &cache, "go.test/b", Some(1)).await;
            follower.save().await;
            let saved = std::fs::read_to_string(&snapshot).unwrap();
            if saved.contains("go.test/a") && saved.contains("go.test/b") {
                break;
            }
        }
        put(&links, "go.test/a", Some(copy(2))).await;
    }
    redis.kill();

    let cache = cache(&redis);
    let mut follower = Follower::start(cache.clone(), snapshot).await.unwrap().unwrap();
    assert_eq!(revision(&cache, "go.test/a").await, Some(1));
    assert!(cache.find("go.test/unknown", 0).await.is_err());
    redis.restart();
    follows(&mut follower, &cache, "go.test/a", Some(2)).await;
    assert_eq!(revision(&cache, "go.test/b").await, Some(1));
}
