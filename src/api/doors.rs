//! The doors of sources: their secrets at hand, so that a webhook is judged without asking the ledger.
//!
//! The copy in memory is renewed within a second of a change in any process. Where the hot store is Redis a
//! second copy lies there, for a process that has not got the source yet while the ledger is away.

mod redis;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};

pub use redis::DoorCopies;

use crate::intake::{Platform, Secret};
use crate::ledger::sources::{self, SourceRow};
use crate::ledger::{Ledger, LedgerError};

const EVERY: Duration = Duration::from_secs(1);
/// Deliveries of a source without a secret that are kept; it should get its secret before it sends more.
const UNVERIFIED_MAX: u32 = 1000;

/// A source as its door knows it.
pub struct Door {
    pub source: String,
    pub workspace: String,
    pub platform: Platform,
    pub secrets: Vec<Secret>,
    texts: Vec<String>,
    seen: Arc<Seen>,
}

/// What a door saw since this process started.
#[derive(Default)]
struct Seen {
    unverified: AtomicU32,
    refused: Mutex<Option<Refusal>>,
}

/// The last delivery that was turned away.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub at_ms: i64,
    pub problem: String,
}

/// The form of the copy in Redis.
#[derive(Serialize, Deserialize)]
struct Copy {
    workspace: String,
    platform: Platform,
    secrets: Vec<String>,
}

impl Door {
    fn new(source: String, copy: Copy, seen: Arc<Seen>) -> Self {
        Self {
            source,
            workspace: copy.workspace,
            platform: copy.platform,
            secrets: copy.secrets.iter().map(Secret::new).collect(),
            texts: copy.secrets,
            seen,
        }
    }

    /// Whether one more delivery that nothing verifies may be kept.
    pub fn may_keep_unverified(&self) -> bool {
        self.seen.unverified.fetch_add(1, Ordering::Relaxed) < UNVERIFIED_MAX
    }

    pub fn refused(&self, at_ms: i64, problem: String) {
        *self.seen.refused.lock().expect("no holder panics") = Some(Refusal { at_ms, problem });
    }

    /// The last delivery that this process turned away.
    pub fn last_refusal(&self) -> Option<Refusal> {
        self.seen.refused.lock().expect("no holder panics").clone()
    }

    fn copy(&self) -> Copy {
        Copy { workspace: self.workspace.clone(), platform: self.platform, secrets: self.texts.clone() }
    }

    fn is_as(&self, other: &Self) -> bool {
        self.workspace == other.workspace && self.texts == other.texts
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("source", &self.source).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DoorsError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("hot copies of sources: {0}")]
    Redis(#[from] ::redis::RedisError),
}

/// All doors.
pub struct Doors {
    ledger: Ledger,
    copies: Option<DoorCopies>,
    doors: RwLock<HashMap<String, Arc<Door>>>,
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors").finish_non_exhaustive()
    }
}

impl Doors {
    /// `copies`: where the hot store is Redis. The doors are filled by `renew` or one by one by `find`.
    pub fn new(ledger: Ledger, copies: Option<DoorCopies>) -> Self {
        Self { ledger, copies, doors: RwLock::default() }
    }

    /// The door of a source, if there is such a source.
    pub async fn find(&self, id: &str) -> Result<Option<Arc<Door>>, DoorsError> {
        if let Some(door) = self.at_hand(id) {
            return Ok(Some(door));
        }
        // Our ids have one form; others need not trouble the ledger.
        if !id.starts_with("src_") || id.len() != 36 {
            return Ok(None);
        }
        let door = match (self.read(id).await, &self.copies) {
            (Ok(door), _) => door,
            (Err(error), None) => return Err(error.into()),
            (Err(_), Some(copies)) => {
                copies.get(id).await?.map(|copy| Door::new(id.to_owned(), copy, Arc::default()))
            }
        };
        Ok(door.map(|door| self.keep(door)))
    }

    /// Makes a change of a source known here and to the hot store at once.
    pub async fn changed(&self, id: &str) -> Result<(), DoorsError> {
        let door = self.read(id).await?.map(|door| self.keep(door));
        if door.is_none() {
            self.doors.write().expect("no holder panics").remove(id);
        }
        if let Some(copies) = &self.copies {
            copies.put(&[(id, door.as_deref().map(Door::copy))]).await?;
        }
        Ok(())
    }

    /// Runs until it is dropped: follows changes that other processes made.
    pub async fn renew(&self) {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        let mut failing = false;
        loop {
            tick.tick().await;
            match self.renew_since(&mut seen).await {
                Ok(()) => failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "changes of sources do not come through");
                    }
                }
            }
        }
    }

    async fn renew_since(&self, seen: &mut Option<i64>) -> Result<(), DoorsError> {
        let version = sources::version(&self.ledger).await?;
        if *seen == Some(version) {
            return Ok(());
        }
        let mut fresh = HashMap::new();
        for (source, secrets) in sources::all(&self.ledger).await? {
            let id = source.id.clone();
            fresh.extend(self.open(source, secrets)?.map(|door| (id, Arc::new(door))));
        }
        if let Some(copies) = &self.copies {
            let old = self.doors.read().expect("no holder panics").clone();
            let is_new =
                |door: &Door| seen.is_none() || old.get(&door.source).is_none_or(|old| !old.is_as(door));
            let put = fresh.values().filter(|door| is_new(door));
            let mut changes: Vec<(&str, Option<Copy>)> =
                put.map(|door| (door.source.as_str(), Some(door.copy()))).collect();
            let gone = old.keys().filter(|id| !fresh.contains_key(*id));
            changes.extend(gone.map(|id| (id.as_str(), None)));
            copies.put(&changes).await?;
        }
        *self.doors.write().expect("no holder panics") = fresh;
        *seen = Some(version);
        Ok(())
    }

    fn at_hand(&self, id: &str) -> Option<Arc<Door>> {
        self.doors.read().expect("no holder panics").get(id).cloned()
    }

    fn keep(&self, door: Door) -> Arc<Door> {
        let door = Arc::new(door);
        self.doors.write().expect("no holder panics").insert(door.source.clone(), Arc::clone(&door));
        door
    }

    async fn read(&self, id: &str) -> Result<Option<Door>, LedgerError> {
        let Some(source) = sources::any(&self.ledger, id).await? else { return Ok(None) };
        let secrets = sources::secrets(&self.ledger, id).await?;
        self.open(source, secrets.into_iter().map(|row| row.secret).collect())
    }

    /// None for what is built in: it has no door to the street.
    fn open(&self, source: SourceRow, secrets: Vec<String>) -> Result<Option<Door>, LedgerError> {
        let damaged = |error| LedgerError::Damaged(format!("source {}: {error}", source.id));
        let platform: Platform = source.platform.parse().map_err(damaged)?;
        if platform == Platform::Api {
            return Ok(None);
        }
        // A new secret is a new start for what could not be verified.
        let known = self.at_hand(&source.id).filter(|known| known.texts == secrets);
        let seen = known.map(|known| Arc::clone(&known.seen)).unwrap_or_default();
        Ok(Some(Door::new(source.id, Copy { workspace: source.workspace, platform, secrets }, seen)))
    }
}
