//! The event log: clicks and deliveries, durable before anybody is answered, read by the worker.
//!
//! Two stores behind one closed enum: files of its own, or Redis Streams with a spool for when
//! Redis is slow or gone. `tests/log_contract.rs` says what both do.

mod agent;
mod append;
mod embedded;
mod frames;
pub mod record;
mod redis;
mod segments;
mod spool;
mod text;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::ledger::Synchronous;
use embedded::EmbeddedLog;
use record::{Click, Delivery, Record};
pub use redis::RedisError;
use redis::RedisLog;
pub use spool::SpoolError;

/// Where the log is and what it may take.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// None: embedded.
    pub url: Option<String>,
    /// For the embedded log and the spool.
    pub data_dir: PathBuf,
    /// Of all Redis keys: `utmost`.
    pub prefix: String,
    /// Of each stream in Redis; the embedded log has one.
    pub partitions: u16,
    /// How long a batch may wait for Redis before the spool takes it.
    pub deadline: Duration,
    /// Bound of the spool on disk.
    pub spool_max_bytes: u64,
    /// Of the embedded log.
    pub synchronous: Synchronous,
    /// Bound of what waits in memory to be stored.
    pub batch_max_bytes: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            url: None,
            data_dir: PathBuf::from("data"),
            prefix: "utmost".into(),
            partitions: 1,
            deadline: Duration::from_millis(50),
            spool_max_bytes: 1 << 30,
            synchronous: Synchronous::Full,
            batch_max_bytes: 64 << 20,
        }
    }
}

/// What the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    Clicks,
    /// Deliveries of webhooks and conversion calls.
    Conversions,
}

/// A place in one partition of one stream; entries are read in its order. Text form `major-minor`, both
/// decimal: an entry id of Redis, or a batch of the embedded log and the index in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub major: u64,
    pub minor: u64,
}

impl Position {
    /// Before every entry.
    pub const START: Self = Self { major: 0, minor: 0 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.major, self.minor)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a position in the event log")]
pub struct InvalidPosition;

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (major, minor) = text.split_once('-').ok_or(InvalidPosition)?;
        let number = |text: &str| text.parse().map_err(|_| InvalidPosition);
        Ok(Self { major: number(major)?, minor: number(minor)? })
    }
}

/// Why a record is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("neither the event log nor the spool took the record")]
    Lost,
    #[error("too much is waiting for the event log")]
    Full,
    #[error("the event log is closed")]
    Closed,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("embedded event log: {0}")]
    Embedded(std::io::Error),
    #[error("data directory: {0}")]
    DataDir(std::io::Error),
    #[error("event log: {0}")]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("the event log has {stored} partitions but the configuration says {configured}")]
    Partitions { stored: u16, configured: u16 },
}

/// How the log is doing, for `/readyz`; the worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Records go where they should.
    Up,
    /// Records go into the spool.
    Spooling,
    /// The last batch was lost.
    Losing,
}

#[derive(Clone)]
pub enum Log {
    Embedded(Arc<EmbeddedLog>),
    Redis(Arc<RedisLog>),
}

impl Log {
    /// Opens the log and starts its writer.
    pub async fn open(config: &LogConfig, metrics: LogMetrics) -> Result<Self, LogError> {
        Ok(match &config.url {
            None => Self::Embedded(EmbeddedLog::open(config, metrics).await?),
            Some(url) => Self::Redis(RedisLog::open(config, url, metrics).await?),
        })
    }

    /// Resolves when the click is durable: now the visitor may go on.
    pub async fn append_click(&self, click: &Click<'_>) -> Result<(), AppendError> {
        let appended = match self {
            Self::Embedded(log) => log.append_click(click).await,
            Self::Redis(log) => log.append_click(click).await,
        };
        self.count_refusal(appended, 1, 0)
    }

    /// Resolves when the delivery is durable: now its sender may be answered 200.
    pub async fn append_delivery(&self, delivery: &Delivery) -> Result<(), AppendError> {
        let appended = match self {
            Self::Embedded(log) => log.append_delivery(delivery).await,
            Self::Redis(log) => log.append_delivery(delivery).await,
        };
        self.count_refusal(appended, 0, 1)
    }

    /// The writers count what they lose; what never got to them is counted here.
    fn count_refusal(
        &self,
        appended: Result<(), AppendError>,
        clicks: u32,
        deliveries: u32,
    ) -> Result<(), AppendError> {
        if let Err(AppendError::Full | AppendError::Closed) = appended {
            let metrics = match self {
                Self::Embedded(log) => &log.metrics,
                Self::Redis(log) => log.metrics(),
            };
            metrics.lost(clicks, deliveries);
            if appended == Err(AppendError::Full) {
                metrics.queue_full.inc();
            }
        }
        appended
    }

    /// How many partitions each stream has.
    pub fn partitions(&self) -> u16 {
        match self {
            Self::Embedded(_) => 1,
            Self::Redis(log) => log.partitions(),
        }
    }

    /// Whether a record may come a second time by way of the spool.
    pub fn can_repeat(&self) -> bool {
        match self {
            Self::Embedded(_) => false,
            Self::Redis(_) => true,
        }
    }

    /// At most `max` entries after a position, oldest first.
    pub async fn read(
        &self,
        stream: Stream,
        partition: u16,
        after: Position,
        max: usize,
    ) -> Result<Vec<(Position, Record)>, LogError> {
        debug_assert!(partition < self.partitions());
        match self {
            Self::Embedded(log) => log.read(stream, after, max).await,
            Self::Redis(log) => log.read(stream, partition, after, max).await,
        }
    }

    /// Begins a [`Log::read`] that will be the next one: Redis works on it meanwhile.
    pub async fn read_ahead(&self, stream: Stream, partition: u16, after: Position, max: usize) {
        match self {
            Self::Embedded(_) => {}
            Self::Redis(log) => log.read_ahead(stream, partition, after, max).await,
        }
    }

    /// Waits until there is an entry after a position, at most `timeout`; says whether there is one.
    pub async fn wait(
        &self,
        stream: Stream,
        partition: u16,
        after: Position,
        timeout: Duration,
    ) -> Result<bool, LogError> {
        debug_assert!(partition < self.partitions());
        match self {
            Self::Embedded(log) => Ok(log.wait(stream, after, timeout).await),
            Self::Redis(log) => log.wait(stream, partition, after, timeout).await,
        }
    }

    /// The position of the newest entry that ever was, trimmed or not.
    pub async fn end(&self, stream: Stream, partition: u16) -> Result<Position, LogError> {
        debug_assert!(partition < self.partitions());
        match self {
            Self::Embedded(log) => Ok(log.end(stream)),
            Self::Redis(log) => log.end(stream, partition).await,
        }
    }

    /// Deletes the entries up to a position. Only what the worker has committed may go.
    pub async fn trim(&self, stream: Stream, partition: u16, up_to: Position) -> Result<(), LogError> {
        debug_assert!(partition < self.partitions());
        match self {
            Self::Embedded(log) => log.trim(stream, up_to).await,
            Self::Redis(log) => log.trim(stream, partition, up_to).await,
        }
    }

    /// Makes every later entry come after a position, even if the store was put back to an older state.
    /// The worker calls it with what it has committed when it starts.
    pub async fn raise_above(
        &self,
        stream: Stream,
        partition: u16,
        committed: Position,
    ) -> Result<(), LogError> {
        debug_assert!(partition < self.partitions());
        match self {
            Self::Embedded(log) => log.raise_above(stream, committed).await,
            Self::Redis(log) => log.raise_above(stream, partition, committed).await,
        }
    }

    pub fn health(&self) -> Health {
        match self {
            Self::Embedded(log) => log.health(),
            Self::Redis(log) => log.health(),
        }
    }

    /// Takes nothing more, stores what is waiting and ends the writer.
    pub async fn close(&self) {
        match self {
            Self::Embedded(log) => log.close().await,
            Self::Redis(log) => log.close().await,
        }
    }
}

/// What the log counts.
#[derive(Debug, Clone)]
pub struct LogMetrics {
    recorded: Family<Vec<(&'static str, &'static str)>, Counter>,
    clicks_lost: Counter,
    deliveries_lost: Counter,
    queue_full: Counter,
    spool_full: Counter,
    spool_bytes: Gauge,
    batch_records: Histogram,
    append_seconds: Histogram,
}

impl Default for LogMetrics {
    fn default() -> Self {
        Self {
            recorded: Family::default(),
            clicks_lost: Counter::default(),
            deliveries_lost: Counter::default(),
            queue_full: Counter::default(),
            spool_full: Counter::default(),
            spool_bytes: Gauge::default(),
            batch_records: Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            append_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 15)),
        }
    }
}

impl LogMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "utmost_clicks_recorded",
            "Clicks made durable, by way: log or spool",
            self.recorded.clone(),
        );
        registry.register(
            "utmost_clicks_lost",
            "Clicks that neither the log nor the spool took",
            self.clicks_lost.clone(),
        );
        registry.register(
            "utmost_deliveries_lost",
            "Deliveries that neither the log nor the spool took; their senders were told to come again",
            self.deliveries_lost.clone(),
        );
        registry.register(
            "utmost_log_queue_full",
            "Records refused since hot.queue_max_bytes waited in memory",
            self.queue_full.clone(),
        );
        registry.register(
            "utmost_spool_full",
            "Batches refused since the spool had reached hot.spool_max_bytes",
            self.spool_full.clone(),
        );
        registry.register(
            "utmost_spool_bytes",
            "Bytes in the spool that wait for replay",
            self.spool_bytes.clone(),
        );
        registry.register("utmost_log_batch_records", "Records per batch", self.batch_records.clone());
        registry.register(
            "utmost_log_append_seconds",
            "Time to make a batch durable",
            self.append_seconds.clone(),
        );
    }

    fn clicks_recorded(&self, way: &'static str, count: u32) {
        self.recorded.get_or_create(&vec![("way", way)]).inc_by(count.into());
    }

    fn lost(&self, clicks: u32, deliveries: u32) {
        self.clicks_lost.inc_by(clicks.into());
        self.deliveries_lost.inc_by(deliveries.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_back_in_order() {
        let position = Position { major: 1_795_000_000_123, minor: 7 };
        assert_eq!(position.to_string(), "1795000000123-7");
        assert_eq!(position.to_string().parse(), Ok(position));
        assert!(Position::START < position && position < Position { major: position.major, minor: 10 });
        for text in ["", "1", "1-", "-1", "1-2-3", "x-1"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }
}
