//! Journeys: per visitor the clicks that may become touches. They live in the hot store and expire.

mod embedded;
mod redis;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use crate::domain::ids::{ClickId, LinkId, VisitorId};
use crate::ledger::Synchronous;

#[derive(Debug, thiserror::Error)]
pub enum JourneyError {
    #[error("journeys in SQLite failed: {0}")]
    Sqlite(#[from] sqlx::Error),
    #[error("journeys in Redis failed: {0}")]
    Redis(#[from] ::redis::RedisError),
    #[error("journeys were not added in Redis: {0}")]
    Added(#[from] crate::log::RedisError),
}

/// Whose clicks: a visitor, or (without a visitor) somebody told apart by a daily-salted hash, which
/// only serves to count and expires after two days.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Who {
    /// First, since by it two mostly differ.
    pub visitor: VisitorId,
    pub workspace: Arc<str>,
    pub anonymous: bool,
}

/// One click of a journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Step {
    pub click: ClickId,
    pub link: LinkId,
    /// ISO 3166 alpha-2; zeros where unknown.
    pub country: [u8; 2],
    /// Index in [`Device::ALL`](super::classify::Device::ALL).
    pub device: u8,
}

/// How long an anonymous key stays: the longest local day and its neighbours.
const ANONYMOUS_MS: i64 = 2 * 24 * 3_600_000;

impl Step {
    const BYTES: usize = 27;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(self.click.as_bytes());
        bytes[16..24].copy_from_slice(&self.link.to_bytes());
        bytes[24..26].copy_from_slice(&self.country);
        bytes[26] = self.device;
        bytes
    }

    /// None for what this program did not write.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        Some(Self {
            click: ClickId::from_bytes(bytes[..16].try_into().ok()?),
            link: LinkId::from_bytes(bytes[16..24].try_into().ok()?).ok()?,
            country: [bytes[24], bytes[25]],
            device: bytes[26],
        })
    }
}

/// Where journeys are kept.
#[derive(Clone)]
pub enum Journeys {
    Embedded(embedded::EmbeddedJourneys),
    Redis(redis::RedisJourneys),
}

impl Journeys {
    pub async fn open_embedded(path: &Path, synchronous: Synchronous) -> Result<Self, JourneyError> {
        Ok(Self::Embedded(embedded::EmbeddedJourneys::open(path, synchronous).await?))
    }

    pub async fn open_redis(url: &str, prefix: &str) -> Result<Self, JourneyError> {
        Ok(Self::Redis(redis::RedisJourneys::open(url, prefix).await?))
    }

    /// Adds steps; adding one again changes nothing. `retention_ms` is how long after now they stay.
    pub async fn add(
        &self,
        steps: &[(Who, Step)],
        now_ms: i64,
        retention_ms: i64,
    ) -> Result<(), JourneyError> {
        match self {
            Self::Embedded(journeys) => journeys.add(steps).await,
            Self::Redis(journeys) => journeys.add(steps, now_ms, retention_ms).await,
        }
    }

    /// The steps of each of `whose` from `from_ms` up to and including `to_ms`, in order of time.
    pub async fn read(
        &self,
        whose: &[Who],
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<Vec<Step>>, JourneyError> {
        match self {
            Self::Embedded(journeys) => journeys.read(whose, from_ms, to_ms).await,
            Self::Redis(journeys) => journeys.read(whose, from_ms, to_ms).await,
        }
    }

    /// A walk through the journeys of all visitors. What changes on the way may be in it or not.
    pub fn walk(&self) -> Walk<'_> {
        Walk { journeys: self, place: Some(Place::default()), met: HashSet::new() }
    }

    /// Forgets all of a visitor (a customer is erased).
    pub async fn erase(&self, who: &Who) -> Result<(), JourneyError> {
        match self {
            Self::Embedded(journeys) => journeys.erase(who).await,
            Self::Redis(journeys) => journeys.erase(who).await,
        }
    }

    /// Drops what is older than its retention. Redis does this by itself.
    pub async fn expire(&self, now_ms: i64, retention_ms: i64) -> Result<(), JourneyError> {
        match self {
            Self::Embedded(journeys) => journeys.expire(now_ms - ANONYMOUS_MS, now_ms - retention_ms).await,
            Self::Redis(_) => Ok(()),
        }
    }
}

/// Goes through the journeys of all visitors, page by page, each once.
pub struct Walk<'a> {
    journeys: &'a Journeys,
    /// None: at the end.
    place: Option<Place>,
    /// Redis may name a key twice.
    met: HashSet<u128>,
}

#[derive(Default)]
struct Place {
    embedded: Vec<u8>,
    redis: redis::Place,
}

impl Walk<'_> {
    /// None at the end; a page may be empty.
    pub async fn next(&mut self) -> Result<Option<Vec<(Who, Vec<Step>)>>, JourneyError> {
        let Some(place) = self.place.take() else { return Ok(None) };
        match self.journeys {
            Journeys::Embedded(journeys) => {
                let (page, last) = journeys.page(&place.embedded).await?;
                self.place = last.map(|embedded| Place { embedded, ..Place::default() });
                Ok(Some(page))
            }
            Journeys::Redis(journeys) => {
                let (mut page, next) = journeys.page(place.redis).await?;
                page.retain(|(who, _)| self.met.insert(fingerprint(who)));
                self.place = next.map(|redis| Place { redis, ..Place::default() });
                Ok(Some(page))
            }
        }
    }
}

/// Tells visitors apart in 16 bytes each, since there may be millions.
fn fingerprint(who: &Who) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(who.visitor.as_bytes()).update(who.workspace.as_bytes());
    let hash = hasher.finalize();
    let bytes: [u8; 16] = std::array::from_fn(|i| hash.as_bytes()[i]);
    u128::from_be_bytes(bytes)
}
