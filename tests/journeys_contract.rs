//! What journeys promise, over both hot stores.

mod support;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use support::{Cluster, Redis, eventually};
use utmost::domain::ids::{ClickId, LinkId, VisitorId};
use utmost::ledger::Synchronous;
use utmost::worker::journeys::{Journeys, Step, Who};

/// Redis expires keys by the real clock.
static NOW: LazyLock<i64> = LazyLock::new(utmost::domain::time::now_ms);
const HOUR_MS: i64 = 3_600_000;
const RETENTION_MS: i64 = 3650 * 24 * HOUR_MS;

fn who(workspace: &str, visitor: u8, anonymous: bool) -> Who {
    Who { workspace: workspace.into(), visitor: VisitorId::from_bytes([visitor; 12]), anonymous }
}

fn step(link: i64, at_ms: i64) -> Step {
    let link = LinkId::from_i64(link).unwrap();
    Step { click: ClickId::generate(at_ms), link, country: *b"PT", device: 2 }
}

async fn contract(journeys: &Journeys) {
    let ada = who("w", 1, false);
    let (first, second, later) = (step(1, *NOW), step(2, *NOW + 1), step(1, *NOW + HOUR_MS));
    let steps = [later, first, second].map(|step| (ada.clone(), step));
    let other = (who("other", 1, false), step(9, *NOW));
    let anonymous = (who("w", 1, true), step(8, *NOW));
    for _ in 0..2 {
        // Twice is once.
        journeys.add(&steps, *NOW, RETENTION_MS).await.unwrap();
    }
    journeys.add(&[other.clone(), anonymous.clone()], *NOW, RETENTION_MS).await.unwrap();
    journeys.add(&[], *NOW, RETENTION_MS).await.unwrap();

    let whose = [ada.clone(), who("w", 2, false), other.0.clone(), anonymous.0.clone()];
    let read = journeys.read(&whose, *NOW - HOUR_MS, *NOW + HOUR_MS).await.unwrap();
    assert_eq!(read, [vec![first, second, later], vec![], vec![other.1], vec![anonymous.1]]);
    let narrow = journeys.read(&whose[..1], *NOW + 1, *NOW + HOUR_MS - 1).await.unwrap();
    assert_eq!(narrow, [vec![second]]);

    journeys.erase(&ada).await.unwrap();
    let read = journeys.read(&whose, 0, i64::MAX).await.unwrap();
    assert_eq!(read.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 1, 1]);

    // More than fits into one statement or pipeline.
    let many: Vec<_> = (0..2_345).map(|n| (who("w", (n % 7) as u8 + 10, false), step(n, *NOW + n))).collect();
    journeys.add(&many, *NOW, RETENTION_MS).await.unwrap();
    let whose: Vec<Who> = (10..17).map(|n| who("w", n, false)).collect();
    let read = journeys.read(&whose, 0, i64::MAX).await.unwrap();
    assert_eq!(read.iter().map(Vec::len).sum::<usize>(), 2_345);
}

#[tokio::test]
async fn embedded() {
    let dir = tempfile::tempdir().unwrap();
    let journeys =
        Journeys::open_embedded(&dir.path().join("journeys.db"), Synchronous::Normal).await.unwrap();
    contract(&journeys).await;

    let (old, anonymous) = (who("w", 90, false), who("w", 90, true));
    let steps = [(old.clone(), step(1, *NOW)), (anonymous.clone(), step(1, *NOW))];
    journeys.add(&steps, *NOW, RETENTION_MS).await.unwrap();
    let left = async |now_ms| {
        journeys.expire(now_ms, 400 * 24 * HOUR_MS).await.unwrap();
        let read = journeys.read(&[old.clone(), anonymous.clone()], 0, i64::MAX).await.unwrap();
        (read[0].len(), read[1].len())
    };
    assert_eq!(left(*NOW + 47 * HOUR_MS).await, (1, 1));
    assert_eq!(left(*NOW + 49 * HOUR_MS).await, (1, 0));
    assert_eq!(left(*NOW + 401 * 24 * HOUR_MS).await, (0, 0));
}

#[tokio::test]
async fn redis() {
    let redis = Redis::start(&[]);
    let journeys = Journeys::open_redis(&redis.url(), "utmost").await.unwrap();
    contract(&journeys).await;
    let key = redis.cli(&["--scan", "--pattern", "utmost:1:journey:{other/*"]);
    let expires_s: i64 = redis.cli(&["TTL", key.trim()]).trim().parse().unwrap();
    assert!(expires_s > 0, "a journey expires, its key says {expires_s}");
}

/// All that a walk meets: how many steps each visitor has.
async fn met(journeys: &Journeys) -> BTreeMap<String, usize> {
    let mut met = BTreeMap::new();
    let mut walk = journeys.walk();
    while let Some(page) = walk.next().await.unwrap() {
        for (who, steps) in page {
            let before = met.insert(format!("{}/{}", who.workspace, who.visitor), steps.len());
            assert!(before.is_none(), "each visitor once");
        }
    }
    met
}

/// Journeys lie on all servers of a cluster: a walk goes from one to the next, and what is erased or has
/// expired is on none of them.
#[tokio::test(flavor = "multi_thread")]
async fn redis_cluster() {
    let mut cluster = Cluster::start(&[]);
    let journeys = Journeys::open_redis(&cluster.url(), "utmost").await.unwrap();
    contract(&journeys).await;
    let before = met(&journeys).await;
    // Of the contract: six of one, seven with a share of 2,345; those without a visitor are not walked through.
    assert_eq!(before.values().sum::<usize>(), 2_346);

    let visitor = |n: u32| {
        let mut bytes = [200; 12];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Who { workspace: "many".into(), visitor: VisitorId::from_bytes(bytes), anonymous: false }
    };
    let many: Vec<_> = (0..5_000).map(|n| (visitor(n), step(1, *NOW + i64::from(n)))).collect();
    journeys.add(&many, *NOW, RETENTION_MS).await.unwrap();
    let other = Journeys::open_redis(&cluster.url(), "other").await.unwrap();
    other.add(&many[..10], *NOW, RETENTION_MS).await.unwrap();
    let shares: Vec<usize> = cluster.keys("utmost:1:journey:{many/*").iter().map(Vec::len).collect();
    assert!(shares.iter().all(|share| *share > 1_000), "each server has its share: {shares:?}");
    assert_eq!(met(&journeys).await.len(), before.len() + 5_000);
    assert_eq!(met(&other).await.len(), 10);

    for n in (0..5_000).step_by(2) {
        journeys.erase(&visitor(n)).await.unwrap();
    }
    let left = met(&journeys).await;
    assert_eq!(left.len(), before.len() + 2_500);
    assert!((0..5_000).all(|n| left.contains_key(&format!("many/{}", visitor(n).visitor)) == (n % 2 == 1)));

    // What is added with little time left goes by itself, on each server.
    let expiring: Vec<_> = (10_000..10_300).map(|n| (visitor(n), step(1, *NOW))).collect();
    let now_ms = utmost::domain::time::now_ms();
    journeys.add(&expiring, now_ms, 1_500).await.unwrap();
    assert_eq!(met(&journeys).await.len(), left.len() + 300);
    let whose: Vec<Who> = expiring.iter().map(|(who, _)| who.clone()).collect();
    let seconds = Duration::from_secs(20);
    let end = std::time::Instant::now() + seconds;
    while journeys.read(&whose, 0, i64::MAX).await.unwrap().iter().any(|steps| !steps.is_empty()) {
        assert!(std::time::Instant::now() < end, "they do not expire");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(met(&journeys).await, left);

    // With a server away a walk fails as a whole: half the journeys would be a wrong count.
    cluster.nodes[1].kill();
    let walked = async {
        let mut walk = journeys.walk();
        while walk.next().await?.is_some() {}
        Ok::<(), utmost::worker::journeys::JourneyError>(())
    };
    assert!(walked.await.is_err());
    cluster.nodes[1].restart();
    eventually(seconds, || cluster.nodes[1].cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok"));
    cluster.is_whole();
}
