//! What journeys promise, over both hot stores.

mod support;

use std::sync::LazyLock;

use support::Redis;
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
