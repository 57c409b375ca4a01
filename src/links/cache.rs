//! The links that a redirector has at hand.
//!
//! A miss asks the source once, however many wait for it; what is not there is remembered for a moment,
//! apart, so that guessed slugs push out no link. A change outdates what is at hand: the source is asked
//! again, and only while it is away the outdated serves on, since an old destination is better than none.

use std::collections::HashSet;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Weighter};

use super::HotLink;
use super::live::Link;
use super::redis::HotLinks;
use crate::domain::time;
use crate::ledger::{Ledger, LedgerError};

/// How long a slug that was not there is believed not to be.
const MISS_MS: i64 = 2_000;
/// Misses remembered at once.
const MISSES_MAX: usize = 50_000;
/// A source that takes longer is taken to be away.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(2);
/// A source that failed is not asked again for so long about what is at hand, if outdated.
const AWAY_MS: i64 = 1_000;
/// Rough size of a link, to lay out the cache.
const LINK_BYTES_EXPECTED: u64 = 350;

/// Where links come from when they are not at hand.
pub enum LinkSource {
    /// The same process issues the links.
    Ledger(Ledger),
    /// Hot copies.
    Redis(HotLinks),
    #[cfg(test)]
    Test(Arc<tests::TestSource>),
}

/// What a source knows of `domain/slug`.
#[derive(Debug, Clone)]
pub enum Located {
    Link(HotLink),
    /// The domain is one of ours, but no such link stands on it.
    NoLink,
    /// Not a domain of ours.
    UnknownDomain,
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("links in Redis: {0}")]
    Redis(#[from] redis::RedisError),
    #[error("the hot copy of a link is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    #[error("links did not come in time")]
    Timeout,
    #[error("links did not come a moment ago")]
    Away,
}

/// The same, as a redirect gets it.
#[derive(Debug, Clone)]
pub enum Found {
    Link(Arc<Link>),
    NoLink,
    UnknownDomain,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct LinkCache(Arc<Inner>);

struct Inner {
    source: LinkSource,
    links: Cache<Box<str>, Arc<Link>, LinkWeight>,
    /// By `domain/slug`, or by domain alone if it is not ours.
    misses: Cache<Box<str>, Miss>,
    /// By hash of the key.
    places: [Place; 256],
    hasher: DefaultHashBuilder,
    /// When the source last failed to answer.
    failed_at_ms: AtomicI64,
    /// One copy of every name in use.
    workspaces: Mutex<HashSet<Arc<str>>>,
    metrics: LinkCacheMetrics,
}

/// What keys of one hash share.
#[derive(Default)]
struct Place {
    /// Counts changes, so that an answer that was on its way meanwhile is known to be old.
    epoch: AtomicU64,
    /// Held by the one who asks, while others wait for what it learns.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Copy)]
struct Miss {
    until_ms: i64,
    /// Of the key's place when the source was asked.
    epoch: u64,
}

#[derive(Clone)]
struct LinkWeight;

impl Weighter<Box<str>, Arc<Link>> for LinkWeight {
    fn weight(&self, key: &Box<str>, link: &Arc<Link>) -> u64 {
        // 64: the cache's own entry.
        (key.len() + link.size_bytes() + 64) as u64
    }
}

impl LinkCache {
    /// `max_bytes` bounds the links at hand.
    pub fn new(source: LinkSource, max_bytes: u64, metrics: LinkCacheMetrics) -> Self {
        let items = usize::try_from(max_bytes / LINK_BYTES_EXPECTED).unwrap_or(usize::MAX).max(1);
        Self(Arc::new(Inner {
            source,
            links: Cache::with_weighter(items, max_bytes, LinkWeight),
            misses: Cache::new(MISSES_MAX),
            places: std::array::from_fn(|_| Place::default()),
            hasher: DefaultHashBuilder::default(),
            failed_at_ms: AtomicI64::new(i64::MIN),
            workspaces: Mutex::default(),
            metrics,
        }))
    }

    /// What is at hand of `domain/slug`; None if the source has to be asked.
    pub fn peek(&self, key: &str, now_ms: i64) -> Option<Found> {
        match self.0.links.get(key) {
            Some(link) if !link.is_outdated() => Some(Found::Link(link)),
            _ if self.0.is_missing(key, now_ms) => Some(Found::NoLink),
            _ => None,
        }
    }

    /// The link of `domain/slug`, asking the source for what is not at hand.
    pub async fn find(&self, key: &str, now_ms: i64) -> Result<Found, SourceError> {
        let inner = &*self.0;
        let known = || {
            let is_unknown_domain = inner.is_missing(domain(key), now_ms);
            self.peek(key, now_ms).or(is_unknown_domain.then_some(Found::UnknownDomain))
        };
        if let Some(found) = known() {
            return Ok(found);
        }
        let place = inner.place(key);
        let _asking = place.asking.lock().await;
        if let Some(found) = known() {
            return Ok(found);
        }
        let outdated = inner.outdated(key);
        let failed_at_ms = inner.failed_at_ms.load(Ordering::Relaxed);
        // Whoever waited here meanwhile would wait for one look-up more each.
        if now_ms <= failed_at_ms || (outdated.is_some() && now_ms - AWAY_MS < failed_at_ms) {
            return outdated.ok_or(SourceError::Away);
        }
        let epoch = place.epoch.load(Ordering::SeqCst);
        let domain_epoch = inner.place(domain(key)).epoch.load(Ordering::SeqCst);
        let located = tokio::time::timeout(SOURCE_TIMEOUT, inner.source.locate(key)).await;
        let located = located.unwrap_or(Err(SourceError::Timeout));
        inner.metrics.asked(&located);
        let until_ms = now_ms + MISS_MS;
        match located {
            Ok(Located::Link(copy)) => {
                let link = Arc::new(inner.live(&copy));
                inner.links.insert(key.into(), Arc::clone(&link));
                // Whoever outdates counts first and looks for the link then.
                if place.epoch.load(Ordering::SeqCst) != epoch {
                    link.outdate();
                }
                Ok(Found::Link(link))
            }
            Ok(Located::NoLink) => {
                inner.links.remove(key);
                inner.misses.insert(key.into(), Miss { until_ms, epoch });
                Ok(Found::NoLink)
            }
            Ok(Located::UnknownDomain) => {
                inner.links.remove(key);
                inner.misses.insert(domain(key).into(), Miss { until_ms, epoch: domain_epoch });
                Ok(Found::UnknownDomain)
            }
            Err(error) => {
                inner.failed_at_ms.store(time::now_ms(), Ordering::Relaxed);
                outdated.ok_or(error)
            }
        }
    }

    /// Outdates what is at hand of `domain/slug`, since it changed.
    pub fn invalidate(&self, key: &str) {
        self.0.place(key).epoch.fetch_add(1, Ordering::SeqCst);
        self.0.place(domain(key)).epoch.fetch_add(1, Ordering::SeqCst);
        if let Some(link) = self.0.links.get(key) {
            link.outdate();
        }
        self.0.metrics.invalidated.inc();
    }

    /// Outdates everything, since changes may have been missed.
    pub fn clear(&self) {
        for place in &self.0.places {
            place.epoch.fetch_add(1, Ordering::SeqCst);
        }
        for (_, link) in self.0.links.iter() {
            link.outdate();
        }
    }

    /// Puts a link at hand without asking the source, as a snapshot does.
    pub fn put(&self, key: &str, copy: &HotLink) {
        self.0.links.insert(key.into(), Arc::new(self.0.live(copy)));
    }

    /// All links at hand that are not outdated, by `domain/slug`.
    pub fn links(&self) -> impl Iterator<Item = (Box<str>, Arc<Link>)> {
        self.0.links.iter().filter(|(_, link)| !link.is_outdated())
    }

    /// The hot copies behind this cache, if it is fed by Redis.
    pub fn copies(&self) -> Option<&HotLinks> {
        match &self.0.source {
            LinkSource::Redis(copies) => Some(copies),
            _ => None,
        }
    }

    /// Brings the gauges up to date, before they are read.
    pub fn observe(&self) {
        self.0.metrics.bytes.set(self.0.links.weight().cast_signed());
        self.0.metrics.links.set(self.0.links.len().cast_signed() as i64);
    }
}

impl Inner {
    /// `key`: `domain/slug` or a domain.
    fn is_missing(&self, key: &str, now_ms: i64) -> bool {
        let miss = self.misses.get(key);
        miss.is_some_and(|miss| {
            now_ms < miss.until_ms && miss.epoch == self.place(key).epoch.load(Ordering::SeqCst)
        })
    }

    /// What was known before: a link, or that its domain is not ours.
    fn outdated(&self, key: &str) -> Option<Found> {
        let is_unknown_domain = || self.misses.get(domain(key)).is_some();
        let link = self.links.get(key).map(Found::Link);
        link.or_else(|| is_unknown_domain().then_some(Found::UnknownDomain))
    }

    fn place(&self, key: &str) -> &Place {
        &self.places[self.hasher.hash_one(key) as usize % self.places.len()]
    }

    fn live(&self, copy: &HotLink) -> Link {
        let mut workspaces = self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        let workspace = match workspaces.get(copy.workspace.as_str()) {
            Some(known) => Arc::clone(known),
            None => {
                let new: Arc<str> = copy.workspace.as_str().into();
                workspaces.insert(Arc::clone(&new));
                new
            }
        };
        drop(workspaces);
        Link::new(copy, workspace)
    }
}

/// The domain of `domain/slug`.
fn domain(key: &str) -> &str {
    key.split('/').next().unwrap_or_default()
}

impl LinkSource {
    async fn locate(&self, key: &str) -> Result<Located, SourceError> {
        match self {
            Self::Ledger(ledger) => super::issue::locate(ledger, key).await,
            Self::Redis(copies) => copies.locate(key).await,
            #[cfg(test)]
            Self::Test(source) => source.locate(key).await,
        }
    }
}

/// What the cache counts.
#[derive(Debug, Clone, Default)]
pub struct LinkCacheMetrics {
    asked: Family<Vec<(&'static str, &'static str)>, Counter>,
    invalidated: Counter,
    links: Gauge,
    bytes: Gauge,
}

impl LinkCacheMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "utmost_link_lookups",
            "Links that were not at hand, by what their source answered",
            self.asked.clone(),
        );
        registry.register(
            "utmost_links_invalidated",
            "Links dropped since they changed",
            self.invalidated.clone(),
        );
        registry.register("utmost_links_cached", "Links at hand", self.links.clone());
        registry.register("utmost_links_cached_bytes", "Memory of the links at hand", self.bytes.clone());
    }

    fn asked(&self, answer: &Result<Located, SourceError>) {
        let result = match answer {
            Ok(Located::Link(_)) => "found",
            Ok(Located::NoLink) => "missing",
            Ok(Located::UnknownDomain) => "unknown_domain",
            Err(_) => "error",
        };
        self.asked.get_or_create(&vec![("result", result)]).inc();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;
    use crate::domain::ids::LinkId;
    use crate::domain::utm::{ClickParam, Utm, link_destination};

    /// Answers one question per permit; closed, it is away.
    pub struct TestSource {
        pub permits: Semaphore,
        pub asked: AtomicU64,
        pub answer: Mutex<Located>,
    }

    impl TestSource {
        pub async fn locate(&self, _key: &str) -> Result<Located, SourceError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let answer = self.answer.lock().unwrap().clone();
            self.permits.acquire().await.map_err(|_| SourceError::Timeout)?.forget();
            Ok(answer)
        }
    }

    fn copy(revision: i64) -> HotLink {
        HotLink {
            id: LinkId::from_i64(1).unwrap(),
            workspace: "main".into(),
            destination: link_destination("https://s.test/", &Utm::default(), ClickParam::Default),
            forward_query: true,
            expires_at_ms: None,
            expired_url: None,
            closed: false,
            revision,
        }
    }

    fn cache(answer: Located, permits: usize, max_bytes: u64) -> (LinkCache, Arc<TestSource>) {
        let source = Arc::new(TestSource {
            permits: Semaphore::new(permits),
            asked: AtomicU64::new(0),
            answer: Mutex::new(answer),
        });
        let cache =
            LinkCache::new(LinkSource::Test(Arc::clone(&source)), max_bytes, LinkCacheMetrics::default());
        (cache, source)
    }

    fn revision(found: &Found) -> i64 {
        match found {
            Found::Link(link) => link.revision,
            _ => panic!("not found"),
        }
    }

    #[tokio::test]
    async fn a_miss_asks_once_for_all() {
        let (cache, source) = cache(Located::Link(copy(1)), 0, 1 << 20);
        let many: Vec<_> = (0..20)
            .map(|_| {
                let cache = cache.clone();
                tokio::spawn(async move { revision(&cache.find("d/s", 0).await.unwrap()) })
            })
            .collect();
        source.permits.add_permits(1);
        for one in many {
            assert_eq!(one.await.unwrap(), 1);
        }
        assert_eq!(source.asked.load(Ordering::SeqCst), 1);
        assert_eq!(revision(&cache.peek("d/s", i64::MAX).unwrap()), 1);
    }

    #[tokio::test]
    async fn what_was_at_hand_serves_on_while_the_source_is_away() {
        let (cache, source) = cache(Located::Link(copy(1)), 2, 1 << 20);
        cache.find("d/s", 0).await.unwrap();
        source.permits.close();
        cache.invalidate("d/s");
        assert_eq!(revision(&cache.find("d/s", 0).await.unwrap()), 1);
        cache.put("d/t", &copy(2));
        cache.clear();
        assert_eq!(revision(&cache.find("d/t", 0).await.unwrap()), 2);
        assert!(cache.find("d/other", 0).await.is_err());
        // One asked in vain for all; a moment later another one does.
        assert_eq!(source.asked.load(Ordering::SeqCst), 2);
        let later_ms = time::now_ms() + AWAY_MS;
        assert_eq!(revision(&cache.find("d/t", later_ms).await.unwrap()), 2);
        assert_eq!(source.asked.load(Ordering::SeqCst), 3);
    }

    /// Whoever calls a short domain by another name is answered from the default one, outage or not.
    #[tokio::test]
    async fn a_domain_that_is_not_ours_stays_so_while_the_source_is_away() {
        let (cache, source) = cache(Located::UnknownDomain, 1, 1 << 20);
        let is_unknown = |found| matches!(found, Some(Found::UnknownDomain));
        assert!(is_unknown(cache.find("d/s", 0).await.ok()));
        assert!(is_unknown(cache.find("d/other", MISS_MS - 1).await.ok()));
        assert_eq!(source.asked.load(Ordering::SeqCst), 1);
        source.permits.close();
        cache.clear();
        assert!(is_unknown(cache.find("d/other", MISS_MS).await.ok()));
        assert_eq!(source.asked.load(Ordering::SeqCst), 2);
        assert!(cache.find("e/s", MISS_MS).await.is_err());
    }

    #[tokio::test]
    async fn a_domain_is_ours_once_a_link_is_made_there() {
        let (cache, source) = cache(Located::UnknownDomain, 2, 1 << 20);
        cache.find("d/s", 0).await.unwrap();
        *source.answer.lock().unwrap() = Located::Link(copy(1));
        cache.invalidate("d/new");
        assert_eq!(revision(&cache.find("d/s", 0).await.unwrap()), 1);
    }

    #[tokio::test]
    async fn misses_are_believed_for_a_moment() {
        for (answer, is_own) in [(Located::NoLink, true), (Located::UnknownDomain, false)] {
            let (cache, source) = cache(answer, 10, 1 << 20);
            let is_own_now = |found: Found| {
                matches!((found, is_own), (Found::NoLink, true) | (Found::UnknownDomain, false))
            };
            assert!(is_own_now(cache.find("d/s", 1_000).await.unwrap()));
            assert!(is_own_now(cache.find("d/s", 2_999).await.unwrap()));
            assert!(cache.peek("d/s", 3_000).is_none());
            assert_eq!(source.asked.load(Ordering::SeqCst), 1);
            // Once the link is made, its miss goes.
            *source.answer.lock().unwrap() = Located::Link(copy(1));
            cache.invalidate("d/s");
            assert_eq!(revision(&cache.find("d/s", 2_000).await.unwrap()), 1);
        }
    }

    #[tokio::test]
    async fn an_answer_older_than_a_change_is_not_kept() {
        for clear_all in [false, true] {
            let (cache, source) = cache(Located::Link(copy(1)), 0, 1 << 20);
            let change = async {
                while source.asked.load(Ordering::SeqCst) == 0 {
                    tokio::task::yield_now().await;
                }
                if clear_all {
                    cache.clear()
                } else {
                    cache.invalidate("d/s")
                }
                *source.answer.lock().unwrap() = Located::Link(copy(2));
                source.permits.add_permits(2);
            };
            let (late, ()) = tokio::join!(cache.find("d/s", 0), change);
            assert_eq!(revision(&late.unwrap()), 1);
            assert!(cache.peek("d/s", 0).is_none());
            assert_eq!(revision(&cache.find("d/s", 0).await.unwrap()), 2);
        }
    }

    #[tokio::test]
    async fn the_bound_holds() {
        let (cache, _) = cache(Located::NoLink, 0, 100_000);
        for n in 0..10_000 {
            cache.put(&format!("go.test/{n}"), &copy(n));
        }
        cache.observe();
        assert!((1..=100_000).contains(&cache.0.metrics.bytes.get()));
        assert!(cache.links().count() < 1_000);
    }
}
