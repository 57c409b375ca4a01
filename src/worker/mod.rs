//! The worker: read, derive, match, attribute, commit.
//!
//! Per partition of each stream one loop, and one loop that evaluates what is due. A loop reads, calls
//! what decides, and commits results and position together; when something it needs is away it waits
//! and goes on from the last commit.

pub mod classify;
mod clicks;
mod deliveries;
pub mod evaluate;
pub mod geo;
pub mod journeys;
mod landing;
mod metrics;
mod paths;
pub mod privacy;
pub mod rollup;
mod workspaces;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::config::Attribution;
use crate::domain::keys::KeyRing;
use crate::domain::time;
use crate::ledger::{
    Ledger, LedgerError, click_packs, facts, packs, rollups, workspaces as ledger_workspaces,
};
use crate::log::{Log, LogError, Position, Stream};
use clicks::ClickReader;
use deliveries::DeliveryReader;
use evaluate::{EvaluateError, evaluate_due};
use journeys::{JourneyError, Journeys};
pub use metrics::WorkerMetrics;
use workspaces::Workspaces;

/// Entries per batch of clicks: many, since a batch writes each page that its visitors' journeys lie in once.
/// Never to be lowered: see `ClickReader::read`.
const BATCH_MAX: usize = 50_000;
/// Entries that are read in one go.
const READ_MAX: usize = 1_000;
/// Due conversions per pair of transactions.
const EVALUATED_MAX: i64 = 100;
/// How long a loop waits for news before it looks again by itself.
const IDLE: Duration = Duration::from_millis(500);
/// After a failure: how long until the next try.
const RETRY: Duration = Duration::from_secs(1);
/// How often what reports read of conversions is packed, and how often to the last one.
const PACK_EVERY: Duration = Duration::from_secs(5);
const PACK_ALL_EVERY: Duration = Duration::from_secs(3600);
/// How often committed entries are trimmed and old rows are dropped.
const TRIM_EVERY: Duration = Duration::from_secs(5);
const EXPIRE_EVERY: Duration = Duration::from_secs(600);
/// How often journeys that have not converted are counted, then those that are old are dropped, and clicks are packed.
const FOLD_EVERY: Duration = Duration::from_secs(3600);

const DAY_MS: i64 = 24 * 3_600_000;

#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Journey(#[from] JourneyError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error(transparent)]
    Erase(#[from] privacy::EraseError),
    #[error("the stored position {0:?} is none of this log")]
    Position(String),
    #[error("another worker has moved {stream}:{partition} on")]
    Overtaken { stream: &'static str, partition: u16 },
    #[error("a fact cannot be written: {0}")]
    Fact(String),
}

/// What all loops share.
pub struct Worker {
    pub ledger: Ledger,
    pub log: Log,
    pub journeys: Journeys,
    pub keys: Arc<KeyRing>,
    /// Defaults; workspaces override them.
    pub attribution: Attribution,
    pub countries: geo::Countries,
    pub raw_days: u32,
    pub metrics: WorkerMetrics,
    /// Rung when conversions become due.
    pub due: Arc<Notify>,
}

impl Worker {
    /// Runs until `stop` becomes true; then every loop finishes its batch.
    pub async fn run(self: Arc<Self>, stop: watch::Receiver<bool>) {
        let mut loops = JoinSet::new();
        for partition in 0..self.log.partitions() {
            loops.spawn(read_clicks(Arc::clone(&self), partition, stop.clone()));
            loops.spawn(read_deliveries(Arc::clone(&self), partition, stop.clone()));
        }
        loops.spawn(evaluate(Arc::clone(&self), stop.clone()));
        loops.spawn(expire(Arc::clone(&self), stop));
        loops.join_all().await;
    }

    /// Counts the journeys that have not converted, as of `now_ms`; the worker does so every hour by itself.
    pub async fn fold_paths(&self, now_ms: i64) -> Result<(), WorkerError> {
        paths::fold(self, now_ms).await
    }

    /// Works off everything that is in the log now, and everything due. For tests, the demo and replays.
    pub async fn drain(&self) -> Result<(), WorkerError> {
        for partition in 0..self.log.partitions() {
            let mut clicks = ClickReader::open(self, partition).await?;
            while clicks.next(self).await? > 0 {}
            let mut deliveries = DeliveryReader::open(self, partition).await?;
            while deliveries.next(self).await? > 0 {}
        }
        let mut workspaces = Workspaces::new(self.attribution.clone());
        while evaluate_due(&self.ledger, &self.journeys, &mut workspaces, EVALUATED_MAX).await? > 0 {}
        packs::pack(&self.ledger, true).await?;
        click_packs::pack(&self.ledger, i64::MAX).await?;
        Ok(())
    }
}

async fn read_clicks(worker: Arc<Worker>, partition: u16, stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let result: Result<(), WorkerError> = async {
            let mut reader = ClickReader::open(&worker, partition).await?;
            let mut trimmed = Trimmer::new(Stream::Clicks, partition);
            while !*stop.borrow() {
                if reader.next(&worker).await? == 0 {
                    worker.log.wait(Stream::Clicks, partition, reader.position(), IDLE).await?;
                }
                trimmed.to(&worker, reader.position()).await?;
            }
            Ok(())
        }
        .await;
        failed("clicks", result, stop.clone()).await;
    }
}

async fn read_deliveries(worker: Arc<Worker>, partition: u16, stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let result: Result<(), WorkerError> = async {
            let mut reader = DeliveryReader::open(&worker, partition).await?;
            let mut trimmed = Trimmer::new(Stream::Conversions, partition);
            while !*stop.borrow() {
                if reader.next(&worker).await? == 0 {
                    worker.log.wait(Stream::Conversions, partition, reader.position(), IDLE).await?;
                }
                trimmed.to(&worker, reader.position()).await?;
            }
            Ok(())
        }
        .await;
        failed("deliveries", result, stop.clone()).await;
    }
}

/// Trims what is committed, now and then.
struct Trimmer {
    stream: Stream,
    partition: u16,
    last: Option<(tokio::time::Instant, Position)>,
}

impl Trimmer {
    fn new(stream: Stream, partition: u16) -> Self {
        Self { stream, partition, last: None }
    }

    async fn to(&mut self, worker: &Worker, committed: Position) -> Result<(), WorkerError> {
        let now = tokio::time::Instant::now();
        let due = self.last.is_none_or(|(at, position)| now - at >= TRIM_EVERY && position != committed);
        if due && committed != Position::START {
            worker.log.trim(self.stream, self.partition, committed).await?;
            self.last = Some((now, committed));
        }
        Ok(())
    }
}

/// Marks all conversions due where the configuration's rules are others than when it ran last.
async fn heed_new_rules(worker: &Worker) -> Result<(), WorkerError> {
    // How long journeys are kept changes no result.
    let rules = Attribution { journey_retention_days: 0, ..worker.attribution.clone() };
    let text = serde_json::to_vec(&rules).map_err(|e| WorkerError::Fact(e.to_string()))?;
    let mut tx = worker.ledger.begin_alone().await?;
    if ledger_workspaces::put_rules(&mut tx, &blake3::hash(&text).to_hex()).await? {
        let conversions = ledger_workspaces::mark_due(&mut tx, None).await?;
        tracing::info!(conversions, "the configuration's attribution rules are new: all are evaluated anew");
    }
    tx.commit().await?;
    Ok(())
}

async fn evaluate(worker: Arc<Worker>, mut stop: watch::Receiver<bool>) {
    while let Err(error) = heed_new_rules(&worker).await {
        failed("new rules", Err(error), stop.clone()).await;
        if *stop.borrow() {
            return;
        }
    }
    let mut workspaces = Workspaces::new(worker.attribution.clone());
    let mut packer = Packer::default();
    while !*stop.borrow() {
        failed("packing", packer.pack(&worker.ledger).await, stop.clone()).await;
        match evaluate_due(&worker.ledger, &worker.journeys, &mut workspaces, EVALUATED_MAX).await {
            Ok(0) => {
                tokio::select! {
                    () = worker.due.notified() => {}
                    _ = stop.changed() => {}
                    () = tokio::time::sleep(IDLE) => {}
                }
            }
            Ok(evaluated) => {
                worker.metrics.evaluated.inc_by(evaluated as u64);
                packer.has_news = true;
            }
            Err(error) => failed("evaluation", Err(error.into()), stop.clone()).await,
        }
    }
}

/// Packs conversions now and then; all of them when the worker begins.
#[derive(Default)]
struct Packer {
    has_news: bool,
    last: Option<tokio::time::Instant>,
    last_all: Option<tokio::time::Instant>,
}

impl Packer {
    async fn pack(&mut self, ledger: &Ledger) -> Result<(), WorkerError> {
        let is_due = |last: Option<tokio::time::Instant>, every| last.is_none_or(|at| at.elapsed() >= every);
        let all = is_due(self.last_all, PACK_ALL_EVERY);
        if all || self.has_news && is_due(self.last, PACK_EVERY) {
            packs::pack(ledger, all).await?;
            let now = Some(tokio::time::Instant::now());
            self.has_news = false;
            self.last = now;
            self.last_all = if all { now } else { self.last_all };
        }
        Ok(())
    }
}

async fn expire(worker: Arc<Worker>, mut stop: watch::Receiver<bool>) {
    let mut folded: Option<tokio::time::Instant> = None;
    while !*stop.borrow() {
        let result: Result<(), WorkerError> = async {
            let now_ms = time::now_ms();
            // What is to expire has been counted by then.
            if folded.is_none_or(|at| at.elapsed() >= FOLD_EVERY) {
                paths::fold(&worker, now_ms).await?;
                let retention_ms = i64::from(worker.attribution.journey_retention_days) * DAY_MS;
                worker.journeys.expire(now_ms, retention_ms).await?;
                // Whose zone it ever is, these days are over.
                click_packs::pack(&worker.ledger, now_ms / DAY_MS - 1).await?;
                folded = Some(tokio::time::Instant::now());
            }
            let mut tx = worker.ledger.begin().await?;
            rollups::drop_click_ids(&mut tx, now_ms - rollups::CLICK_IDS_KEPT_MS).await?;
            facts::erase_raw(&mut tx, now_ms - i64::from(worker.raw_days) * DAY_MS).await?;
            tx.commit().await?;
            Ok(())
        }
        .await;
        failed("expiry", result, stop.clone()).await;
        tokio::select! {
            _ = stop.changed() => {}
            () = tokio::time::sleep(EXPIRE_EVERY) => {}
        }
    }
}

/// Logs a loop's failure once and waits before the next try; the loop starts again from what is committed.
async fn failed(work: &'static str, result: Result<(), WorkerError>, mut stop: watch::Receiver<bool>) {
    if let Err(error) = result {
        tracing::error!(work, error = &error as &dyn std::error::Error, "the worker will try again");
        tokio::select! {
            _ = stop.changed() => {}
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}
