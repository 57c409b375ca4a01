//! The writer of the log in Redis: batch after batch, and the way round by the spool.
//!
//! While Redis answers, batches are written, two at once on their way, and their replies are awaited until
//! the deadline of each: Redis works on one while the next fills. What is not acknowledged by then goes into
//! the spool, and everything that follows too, until the old connection has settled and a new one takes
//! writes. Then new clicks go straight to Redis again and the spool is replayed between them; a click's own
//! id says when it happened, so the order of arrival does not matter.
//!
//! A timed-out command may still have run, or run later. Hence two rules: every replayed record is marked,
//! and nothing is replayed before the old connection can run nothing more, so that the marked copy never
//! comes first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use super::{ANSWER_TIMEOUT, CONNECT_TIMEOUT, Store, kill, push_click, push_delivery, raise_above};
use crate::hot::resp::{Connection, RedisError};
use crate::log::append::{Batch, Batcher};
use crate::log::frames::unframe;
use crate::log::record::{Delivery, PackedClick};
use crate::log::spool::{Spool, SpoolError};
use crate::log::{Health, LogError, Position, Stream};

pub(super) struct Lane {
    /// The key by which its server is found.
    home: usize,
    store: Arc<Store>,
    batcher: Arc<Batcher>,
    spool: Arc<Mutex<Spool>>,
    spool_bytes: u64,
    /// None while Redis is away; then a task waits for it.
    connection: Option<Connection>,
    recovery: Option<JoinHandle<Connection>>,
    /// Batches that Redis has been sent, oldest first. None without a connection.
    sent: VecDeque<(Batch, Sent)>,
    /// Times in a row that Redis took nothing.
    failures: u32,
    /// Bytes replayed in one go: fewer after a failure, so that a slow Redis gets on.
    replay_bytes: usize,
    /// By key: the newest id that Redis has given us.
    newest: Vec<Position>,
    /// Commands; reused for every batch.
    commands: Vec<u8>,
    pub health: Arc<AtomicU8>,
}

/// Commands that add one record each, on their way to Redis and back.
struct Sent {
    at: Instant,
    deadline: Instant,
    /// Of each record.
    keys: Vec<usize>,
    answered: usize,
    /// The places of those that Redis refused, in order, and what it said last.
    refused: Vec<usize>,
    refusal: Option<RedisError>,
}

/// Why Redis has not acknowledged some records.
struct Failure {
    /// Redis may still have commands of this connection to run.
    is_open: bool,
    error: RedisError,
}

/// Batches on their way at once: while one waits, another is made. More would be smaller.
const SENT_MAX: usize = 2;

const REPLAY_BYTES_MIN: usize = 1 << 10;
const REPLAY_BYTES_MAX: usize = 1 << 18;
/// How long a silent connection may take to settle before it is killed from a new one.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

impl Lane {
    /// Without a connection it begins with the spool.
    pub fn new(
        home: usize,
        store: Arc<Store>,
        batcher: Arc<Batcher>,
        spool: Spool,
        connection: Option<Connection>,
    ) -> Self {
        let spool_bytes = spool.bytes();
        store.metrics.spool_bytes.inc_by(spool_bytes.cast_signed());
        let mut lane = Self {
            home,
            batcher,
            spool: Arc::new(Mutex::new(spool)),
            spool_bytes,
            connection,
            recovery: None,
            sent: VecDeque::new(),
            failures: 0,
            replay_bytes: REPLAY_BYTES_MAX,
            newest: vec![Position::START; store.keys.len()],
            commands: Vec::new(),
            health: Arc::new(AtomicU8::new(Health::Up as u8)),
            store,
        };
        if lane.connection.is_none() {
            lane.go_down(None);
        }
        lane
    }

    pub async fn run(mut self) {
        loop {
            // Replays come in between where nothing else is on its way.
            let sent_max = if self.spool_bytes > 0 { 1 } else { SENT_MAX };
            let may_replay = self.connection.is_some() && self.spool_bytes > 0 && self.sent.is_empty();
            tokio::select! {
                batch = self.batcher.next(), if self.sent.len() < sent_max => match batch {
                    Some(batch) => self.send(batch).await,
                    None => break,
                },
                answered = answered(&mut self.connection, &mut self.sent, &mut self.newest) => {
                    self.settle(answered).await;
                }
                connection = recovered(&mut self.recovery) => match connection {
                    Ok(connection) => {
                        tracing::info!(spool_bytes = self.spool_bytes, "Redis takes records");
                        self.set_health(Health::Up);
                        self.recovery = None;
                        self.connection = Some(connection);
                    }
                    Err(error) => {
                        tracing::error!(%error, "waiting for Redis failed");
                        self.go_down(None);
                    }
                },
                () = std::future::ready(()), if may_replay => self.replay().await,
            }
        }
        while !self.sent.is_empty() {
            let answered = answered(&mut self.connection, &mut self.sent, &mut self.newest).await;
            self.settle(answered).await;
        }
        if let Some(recovery) = self.recovery {
            recovery.abort();
        }
    }

    /// Sends a batch to Redis, or puts it into the spool while Redis is away.
    async fn send(&mut self, batch: Batch) {
        let Some(connection) = &mut self.connection else {
            let missing = (0..batch.count() as usize).collect();
            return self.finish(batch, missing, Instant::now()).await;
        };
        self.commands.clear();
        let keys = records(&batch)
            .filter_map(|(stream, packed)| push(&mut self.commands, &self.store, stream, packed, false))
            .collect();
        let sent = Sent::new(keys, self.store.deadline);
        let written = sent.write(connection, &self.commands).await;
        self.sent.push_back((batch, sent));
        if written.is_err() {
            self.settle(written).await;
        }
    }

    /// The oldest batch on its way is answered, or never will be: it is finished, or all of them are.
    async fn settle(&mut self, mut answered: Result<(), RedisError>) {
        let is_refused = self.sent.front().is_some_and(|(_, sent)| sent.refusal.is_some());
        if answered.is_ok()
            && !is_refused
            && let Some((batch, sent)) = self.sent.pop_front()
        {
            self.failures = 0;
            return self.finish(batch, Vec::new(), sent.at).await;
        }
        // A refusal leaves the answers to the others to be read.
        if let Some(connection) = &mut self.connection {
            for (_, sent) in &mut self.sent {
                if answered.is_ok() {
                    answered = sent.answers(connection, &mut self.newest).await;
                }
            }
        }
        let refusal = self.sent.iter_mut().find_map(|(_, sent)| sent.refusal.take());
        self.go_down(failure(answered, refusal));
        for (batch, sent) in std::mem::take(&mut self.sent) {
            let at = sent.at;
            self.finish(batch, sent.missing(), at).await;
        }
    }

    /// Wakes those who wait for a batch, once the spool has what Redis has not.
    async fn finish(&mut self, batch: Batch, missing: Vec<usize>, started: Instant) {
        let metrics = &self.store.metrics;
        metrics.batch_records.observe(batch.count().into());
        let clicks = batch.clicks.count();
        let missing_clicks = missing.iter().filter(|n| **n < clicks as usize).count() as u32;
        metrics.clicks_recorded("log", clicks - missing_clicks);
        if missing.is_empty() {
            metrics.append_seconds.observe(started.elapsed().as_secs_f64());
            return batch.finish(true);
        }

        let missing_deliveries = missing.len() as u32 - missing_clicks;
        let (batch, spooled) = self
            .with_spool(move |spool| {
                let numbered = records(&batch).enumerate();
                let missing = numbered.filter(|(n, _)| missing.binary_search(n).is_ok());
                let spooled = spool.append(missing.map(|(_, record)| record));
                (batch, spooled)
            })
            .await;
        let metrics = &self.store.metrics;
        metrics.append_seconds.observe(started.elapsed().as_secs_f64());
        match &spooled {
            Ok(()) => {
                metrics.clicks_recorded("spool", missing_clicks);
                self.set_health(Health::Spooling);
            }
            Err(error) => {
                metrics.lost(missing_clicks, missing_deliveries);
                if matches!(error, SpoolError::Full(_)) {
                    metrics.spool_full.inc();
                }
                if self.health.swap(Health::Losing as u8, Ordering::Relaxed) != Health::Losing as u8 {
                    tracing::error!(%error, "the spool takes nothing: records are lost");
                }
            }
        }
        batch.finish(spooled.is_ok());
    }

    /// Puts the oldest records of the spool into Redis.
    async fn replay(&mut self) {
        let max_bytes = self.replay_bytes;
        let chunk = match self.with_spool(move |spool| spool.oldest(max_bytes)).await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "the spool cannot be read");
                return self.go_down(None);
            }
        };
        let Some(connection) = &mut self.connection else { return };
        self.commands.clear();
        let keys = chunk
            .records
            .iter()
            .filter_map(|(stream, packed)| push(&mut self.commands, &self.store, *stream, packed, true))
            .collect();
        let mut sent = Sent::new(keys, self.store.deadline);
        let mut answered = sent.write(connection, &self.commands).await;
        if answered.is_ok() {
            answered = sent.answers(connection, &mut self.newest).await;
        }
        match failure(answered, sent.refusal) {
            None => {
                self.failures = 0;
                self.replay_bytes = (max_bytes * 2).min(REPLAY_BYTES_MAX);
                if let Err(error) = self.with_spool(move |spool| spool.done(&chunk)).await {
                    tracing::error!(%error, "the place of the replay cannot be written");
                    self.go_down(None);
                }
            }
            failure => {
                self.replay_bytes = (max_bytes / 2).max(REPLAY_BYTES_MIN);
                self.go_down(failure);
            }
        }
    }

    /// Lets go of the connection and begins to wait for a better one.
    fn go_down(&mut self, failure: Option<Failure>) {
        let is_open = failure.as_ref().is_some_and(|failure| failure.is_open);
        if let Some(failure) = failure {
            tracing::warn!(error = %failure.error, "Redis takes no records: the spool does");
        }
        let old = self.connection.take().filter(|_| is_open);
        let recovery = recover(Arc::clone(&self.store), self.home, old, self.failures, self.newest.clone());
        self.recovery = Some(tokio::spawn(recovery));
        self.failures += 1;
        self.set_health(Health::Spooling);
    }

    fn set_health(&self, health: Health) {
        self.health.store(health as u8, Ordering::Relaxed);
    }

    /// Works on the spool where blocking is allowed.
    async fn with_spool<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Spool) -> T + Send + 'static,
    ) -> T {
        let spool = Arc::clone(&self.spool);
        let (result, bytes) = tokio::task::spawn_blocking(move || {
            let mut spool = spool.lock().unwrap_or_else(PoisonError::into_inner);
            (work(&mut spool), spool.bytes())
        })
        .await
        .expect("the spool does not panic");
        self.store.metrics.spool_bytes.inc_by(bytes.cast_signed() - self.spool_bytes.cast_signed());
        self.spool_bytes = bytes;
        result
    }
}

pub(super) fn health(stored: u8) -> Health {
    [Health::Up, Health::Spooling].into_iter().find(|h| *h as u8 == stored).unwrap_or(Health::Losing)
}

impl Sent {
    fn new(keys: Vec<usize>, deadline: Duration) -> Self {
        let at = Instant::now();
        Self { at, deadline: at + deadline, keys, answered: 0, refused: Vec::new(), refusal: None }
    }

    async fn write(&self, connection: &mut Connection, commands: &[u8]) -> Result<(), RedisError> {
        match tokio::time::timeout_at(self.deadline, connection.write(commands)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(RedisError::Timeout),
        }
    }

    /// Reads every answer until the deadline. Cancelling loses nothing.
    async fn answers(
        &mut self,
        connection: &mut Connection,
        newest: &mut [Position],
    ) -> Result<(), RedisError> {
        let read = async {
            while let Some(key) = self.keys.get(self.answered) {
                match connection.reply().await?.ok() {
                    Ok(mut id) => newest[*key] = super::read_id(id.bulk()?)?,
                    Err(refusal) => {
                        self.refused.push(self.answered);
                        self.refusal = Some(refusal);
                    }
                }
                self.answered += 1;
            }
            Ok(())
        };
        tokio::time::timeout_at(self.deadline, read).await.unwrap_or(Err(RedisError::Timeout))
    }

    /// The places of the records that are not acknowledged, in order.
    fn missing(self) -> Vec<usize> {
        let mut missing = self.refused;
        missing.extend(self.answered..self.keys.len());
        missing
    }
}

fn failure(answered: Result<(), RedisError>, refusal: Option<RedisError>) -> Option<Failure> {
    match answered {
        Ok(()) => refusal.map(|error| Failure { is_open: false, error }),
        // The other end is closed and runs nothing more.
        Err(error @ RedisError::Io(_)) => Some(Failure { is_open: false, error }),
        Err(error) => Some(Failure { is_open: true, error }),
    }
}

/// Reads the answers to the oldest batch on its way; for ever, if there is none.
async fn answered(
    connection: &mut Option<Connection>,
    sent: &mut VecDeque<(Batch, Sent)>,
    newest: &mut [Position],
) -> Result<(), RedisError> {
    match (connection, sent.front_mut()) {
        (Some(connection), Some((_, sent))) => sent.answers(connection, newest).await,
        _ => std::future::pending().await,
    }
}

/// Appends the command that adds a record; answers the record's key.
fn push(
    commands: &mut Vec<u8>,
    store: &Store,
    stream: Stream,
    packed: &[u8],
    is_replayed: bool,
) -> Option<usize> {
    let added = match stream {
        Stream::Clicks => PackedClick::read(packed).map(|mut packed| {
            packed.click.is_replayed = is_replayed;
            let key = store.key_of_click(&packed.click, || packed.agent());
            commands.extend_from_slice(&store.xadd[key]);
            push_click(commands, &packed);
            key
        }),
        Stream::Conversions => Delivery::unpack(packed).map(|mut delivery| {
            delivery.is_replayed = is_replayed;
            let key = store.key_of_delivery(&delivery);
            commands.extend_from_slice(&store.xadd[key]);
            push_delivery(commands, &delivery);
            key
        }),
    };
    // Only a spool of another version could hold one that cannot be read.
    added.inspect_err(|error| tracing::error!(%error, "a spooled record was left out")).ok()
}

/// The records of a batch in the order in which they are sent and counted: clicks first.
fn records(batch: &Batch) -> impl Iterator<Item = (Stream, &[u8])> {
    let packed =
        |stream: Stream, frames| unframe(frames).map_while(Result::ok).map(move |packed| (stream, packed));
    packed(Stream::Clicks, batch.clicks.bytes()).chain(packed(Stream::Conversions, batch.deliveries.bytes()))
}

async fn recovered(recovery: &mut Option<JoinHandle<Connection>>) -> Result<Connection, JoinError> {
    match recovery {
        Some(recovery) => recovery.await,
        None => std::future::pending().await,
    }
}

/// Waits until what was sent before has run or never will, and until Redis takes writes again.
async fn recover(
    store: Arc<Store>,
    home: usize,
    old: Option<Connection>,
    mut failures: u32,
    newest: Vec<Position>,
) -> Connection {
    let mut to_kill = None;
    if let Some(old) = old {
        let client_id = old.client_id;
        // However it ends in time, the other end has closed.
        if tokio::time::timeout(SETTLE_TIMEOUT, old.settle()).await.is_err() {
            to_kill = Some(client_id);
        }
    }
    loop {
        if failures > 0 {
            let factor = 1 << (failures - 1).min(10);
            tokio::time::sleep((BACKOFF_MIN * factor).min(BACKOFF_MAX)).await;
        }
        failures += 1;
        match connect(&store, home, to_kill, &newest).await {
            Ok(connection) => return connection,
            Err(error @ LogError::Partitions { .. }) => {
                tracing::error!(%error, "Redis is of another installation")
            }
            Err(error) => tracing::debug!(%error, "Redis is still away"),
        }
    }
}

/// A connection to a server that takes writes and issues no id that it has issued before.
pub(super) async fn connect(
    store: &Store,
    home: usize,
    to_kill: Option<i64>,
    newest: &[Position],
) -> Result<Connection, LogError> {
    store.check_partitions().await?;
    let mut connection = Connection::open(&store.target, &store.keys[home], CONNECT_TIMEOUT).await?;
    let prepare = async {
        if let Some(client_id) = to_kill
            && let Err(error) = kill(&mut connection, client_id).await
        {
            tracing::warn!(%error, "an old connection cannot be killed: its clicks may count twice");
        }
        for (key, newest) in store.keys.iter().zip(newest).filter(|(_, newest)| **newest > Position::START) {
            raise_above(&mut connection, key, *newest).await?;
        }
        Ok::<_, RedisError>(())
    };
    tokio::time::timeout(ANSWER_TIMEOUT, prepare).await.map_err(|_| RedisError::Timeout)??;
    Ok(connection)
}
