//! The event log in Redis Streams, as `docs/STREAMS.md` describes it. All commands stand here and in the
//! connection's greeting.

mod lane;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::append::Batcher;
use super::record::{CLICK_FIELDS, Click, ClientNetwork, DELIVERY_FIELDS, Delivery, PackedClick, Record};
use super::spool::Spool;
use super::text::Texts;
use super::{AppendError, Health, LogConfig, LogError, LogMetrics, Position, Stream};
pub use crate::hot::resp::RedisError;
use crate::hot::resp::{Connection, Reply, Token, digits, push_bulk, push_header};
use crate::hot::servers::Kind;
use crate::hot::target::Target;
use lane::Lane;

pub struct RedisLog {
    store: Arc<Store>,
    /// One; in a cluster one per partition, since each may live on another server.
    lanes: Vec<Writer>,
    /// By partition and stream: connections for reading, each of which may block.
    readers: Vec<Slot>,
    /// By partition: for everything else.
    controls: Vec<Slot>,
}

type Slot = Mutex<Option<Connection>>;

struct Writer {
    batcher: Arc<Batcher>,
    health: Arc<AtomicU8>,
    task: std::sync::Mutex<Option<JoinHandle<()>>>,
}

/// What everybody needs to know about the store.
struct Store {
    target: Target,
    /// Of the number of partitions.
    partitions_key: String,
    partitions: u16,
    /// Of the streams: by partition, clicks before conversions.
    keys: Vec<String>,
    /// By key: what begins the commands that add to it.
    xadd: Vec<Vec<u8>>,
    deadline: Duration,
    metrics: LogMetrics,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Redis blocks a waiting reader no longer than this in one go.
const BLOCK_MAX: Duration = Duration::from_secs(1);

impl RedisLog {
    pub async fn open(config: &LogConfig, url: &str, metrics: LogMetrics) -> Result<Arc<Self>, LogError> {
        let partitions = config.partitions.max(1);
        let target = Target::parse(url)?;
        let lane_count = if target.kind == Kind::Cluster { partitions } else { 1 };
        let prefix = &config.prefix;
        let keys = |p| [format!("{prefix}:1:clicks:{{{p}}}"), format!("{prefix}:1:conversions:{{{p}}}")];
        let keys: Vec<String> = (0..partitions).flat_map(keys).collect();
        let xadd = |[clicks, conversions]: &[String; 2]| {
            [xadd(clicks, CLICK_FIELDS.len()), xadd(conversions, DELIVERY_FIELDS.len())]
        };
        let store = Arc::new(Store {
            target,
            partitions_key: format!("{prefix}:1:partitions"),
            partitions,
            xadd: keys.as_chunks().0.iter().flat_map(xadd).collect(),
            keys,
            deadline: config.deadline,
            metrics,
        });
        let mut lanes = Vec::new();
        for n in 0..lane_count {
            let home = key_index(Stream::Clicks, n);
            let connection = match lane::connect(&store, home, None, &[]).await {
                Ok(connection) => Some(connection),
                Err(error @ LogError::Partitions { .. }) => return Err(error),
                // Redirects go on from the spool until Redis is there.
                Err(error) => {
                    tracing::warn!(%error, "started without Redis");
                    None
                }
            };
            if n == 0 && connection.is_some() {
                store.warn_of_eviction().await;
            }
            let dir = config.data_dir.join("spool").join(n.to_string());
            let spool = Spool::open(&dir, config.spool_max_bytes / u64::from(lane_count))?;
            let batcher = Arc::new(Batcher::new(config.batch_max_bytes));
            let lane = Lane::new(home, Arc::clone(&store), Arc::clone(&batcher), spool, connection);
            let health = Arc::clone(&lane.health);
            let task = std::sync::Mutex::new(Some(tokio::spawn(lane.run())));
            lanes.push(Writer { batcher, health, task });
        }
        let slots = |count: u16| (0..count).map(|_| Slot::default()).collect();
        Ok(Arc::new(Self { store, lanes, readers: slots(2 * partitions), controls: slots(partitions) }))
    }

    pub fn partitions(&self) -> u16 {
        self.store.partitions
    }

    pub(super) fn metrics(&self) -> &LogMetrics {
        &self.store.metrics
    }

    pub async fn append_click(&self, click: &Click<'_>) -> Result<(), AppendError> {
        let lane = self.lane(self.store.key_of_click(click, || Cow::Borrowed(&*click.user_agent)));
        lane.batcher.append(|batch| batch.clicks.push(|out| click.pack(out))).await
    }

    pub async fn append_delivery(&self, delivery: &Delivery) -> Result<(), AppendError> {
        let lane = self.lane(self.store.key_of_delivery(delivery));
        lane.batcher.append(|batch| batch.deliveries.push(|out| delivery.pack(out))).await
    }

    pub async fn read(
        &self,
        stream: Stream,
        partition: u16,
        after: Position,
        max: usize,
    ) -> Result<Vec<(Position, Record)>, LogError> {
        let key = &self.store.keys[key_index(stream, partition)];
        let (from, count) = (format!("({after}"), max.to_string());
        let command = xrange(key, &from, &count);
        let entries = |reply: Reply<'_>| read_entries(stream, reply);
        Ok(self.ask(self.reader(stream, partition), key, ANSWER_TIMEOUT, &command, entries).await?)
    }

    pub async fn read_ahead(&self, stream: Stream, partition: u16, after: Position, max: usize) {
        let key = &self.store.keys[key_index(stream, partition)];
        let mut slot = self.reader(stream, partition).lock().await;
        let Some(mut connection) = slot.take() else { return };
        let (from, count) = (format!("({after}"), max.to_string());
        let command = xrange(key, &from, &count);
        let written = tokio::time::timeout(ANSWER_TIMEOUT, connection.write_ahead(&command)).await;
        // Whatever went wrong shows when it is read.
        if let Ok(Ok(())) = written {
            *slot = Some(connection);
        }
    }

    pub async fn wait(
        &self,
        stream: Stream,
        partition: u16,
        after: Position,
        timeout: Duration,
    ) -> Result<bool, LogError> {
        let key = &self.store.keys[key_index(stream, partition)];
        let after = after.to_string();
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            // 0 would block for ever.
            let block_ms = left.min(BLOCK_MAX).as_millis().max(1).to_string();
            let command = ["XREAD", "COUNT", "1", "BLOCK", &block_ms, "STREAMS", key, &after];
            let is_some = |mut reply: Reply<'_>| Ok(reply.next()? != Token::Null);
            let slot = self.reader(stream, partition);
            if self.ask(slot, key, BLOCK_MAX + ANSWER_TIMEOUT, &command, is_some).await? {
                return Ok(true);
            }
            if left <= BLOCK_MAX {
                return Ok(false);
            }
        }
    }

    pub async fn end(&self, stream: Stream, partition: u16) -> Result<Position, LogError> {
        let key = &self.store.keys[key_index(stream, partition)];
        let command = ["XINFO", "STREAM", key];
        let slot = self.control(partition);
        match self.ask(slot, key, ANSWER_TIMEOUT, &command, read_last_id).await {
            Err(RedisError::Refused(text)) if is_missing(&text) => Ok(Position::START),
            answer => Ok(answer?),
        }
    }

    pub async fn trim(&self, stream: Stream, partition: u16, up_to: Position) -> Result<(), LogError> {
        let key = &self.store.keys[key_index(stream, partition)];
        let first_kept = Position { minor: up_to.minor.saturating_add(1), ..up_to }.to_string();
        let command = ["XTRIM", key, "MINID", "=", &first_kept];
        Ok(self.ask(self.control(partition), key, ANSWER_TIMEOUT, &command, |_| Ok(())).await?)
    }

    pub async fn raise_above(
        &self,
        stream: Stream,
        partition: u16,
        committed: Position,
    ) -> Result<(), LogError> {
        let key = &self.store.keys[key_index(stream, partition)];
        let mut slot = self.control(partition).lock().await;
        // Taken out while in use: if this is cancelled, nobody reads a reply that is not his.
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => Connection::open(&self.store.target, key, CONNECT_TIMEOUT).await?,
        };
        tokio::time::timeout(ANSWER_TIMEOUT, raise_above(&mut connection, key, committed))
            .await
            .map_err(|_| RedisError::Timeout)??;
        *slot = Some(connection);
        Ok(())
    }

    /// The worst of its lanes.
    pub fn health(&self) -> Health {
        self.lanes
            .iter()
            .map(|lane| lane::health(lane.health.load(Ordering::Relaxed)))
            .max()
            .unwrap_or(Health::Up)
    }

    pub async fn close(&self) {
        for lane in &self.lanes {
            lane.batcher.close();
        }
        for lane in &self.lanes {
            let task = lane.task.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(task) = task
                && let Err(error) = task.await
            {
                tracing::error!(%error, "a writer of the event log died");
            }
        }
    }

    fn lane(&self, key: usize) -> &Writer {
        &self.lanes[key / 2 % self.lanes.len()]
    }

    fn reader(&self, stream: Stream, partition: u16) -> &Slot {
        &self.readers[key_index(stream, partition)]
    }

    fn control(&self, partition: u16) -> &Slot {
        &self.controls[usize::from(partition)]
    }

    /// One command that may be repeated, on the slot's connection; a connection that went stale while
    /// nobody used it is replaced once.
    async fn ask<T>(
        &self,
        slot: &Slot,
        key: &str,
        timeout: Duration,
        command: &[&str],
        read: impl Fn(Reply<'_>) -> Result<T, RedisError>,
    ) -> Result<T, RedisError> {
        let mut slot = slot.lock().await;
        loop {
            // Taken out while in use: if this is cancelled, nobody reads a reply that is not his.
            let (mut connection, is_fresh) = match slot.take() {
                Some(connection) => (connection, false),
                None => (Connection::open(&self.store.target, key, CONNECT_TIMEOUT).await?, true),
            };
            let called = tokio::time::timeout(timeout, connection.call(command)).await;
            match called.map_err(|_| RedisError::Timeout)?.and_then(&read) {
                Ok(value) => {
                    *slot = Some(connection);
                    return Ok(value);
                }
                Err(RedisError::Io(_)) if !is_fresh => {}
                Err(RedisError::Refused(text)) if is_missing(&text) => {
                    *slot = Some(connection);
                    return Err(RedisError::Refused(text));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Store {
    /// A person's clicks are in one partition, so that one reader counts them one after the other: by the
    /// visitor, or by what tells people without one apart, their network and browser, which `agent` says.
    fn key_of_click<'a>(&self, click: &Click<'_>, agent: impl FnOnce() -> Cow<'a, str>) -> usize {
        let spread = match &click.visitor {
            Some(visitor) => {
                u32::from_be_bytes(visitor.as_bytes()[..4].try_into().expect("a visitor has 12 bytes"))
            }
            None => {
                let mut hasher = crc32fast::Hasher::new();
                match click.address.map(ClientNetwork::address) {
                    Some(IpAddr::V4(address)) => hasher.update(&address.octets()),
                    Some(IpAddr::V6(address)) => hasher.update(&address.octets()),
                    None => {}
                }
                hasher.update(agent().as_bytes());
                hasher.finalize()
            }
        };
        key_index(Stream::Clicks, self.partition(spread))
    }

    fn key_of_delivery(&self, delivery: &Delivery) -> usize {
        key_index(Stream::Conversions, self.partition(crc32fast::hash(delivery.source.as_bytes())))
    }

    fn partition(&self, spread: u32) -> u16 {
        (spread % u32::from(self.partitions)) as u16
    }

    /// The number of partitions is stored by whoever comes first; it proves as well that Redis takes
    /// writes.
    async fn check_partitions(&self) -> Result<(), LogError> {
        let key = &self.partitions_key;
        let check = async {
            let mut connection = Connection::open(&self.target, key, CONNECT_TIMEOUT).await?;
            connection.call(&["SET", key, &self.partitions.to_string(), "NX"]).await?;
            let stored = connection.call(&["GET", key]).await?.bulk()?;
            std::str::from_utf8(stored).ok().and_then(|text| text.parse().ok()).ok_or(RedisError::Protocol)
        };
        let stored: u16 =
            tokio::time::timeout(ANSWER_TIMEOUT, check).await.map_err(|_| RedisError::Timeout)??;
        if stored == self.partitions {
            Ok(())
        } else {
            Err(LogError::Partitions { stored, configured: self.partitions })
        }
    }

    /// Journeys and the log must not be evicted; the operator hears of it at start.
    async fn warn_of_eviction(&self) {
        let ask = async {
            let mut connection =
                Connection::open(&self.target, &self.partitions_key, CONNECT_TIMEOUT).await?;
            let mut reply = connection.call(&["CONFIG", "GET", "maxmemory-policy"]).await?;
            let _name = match reply.array()? {
                0 => return Ok(None),
                _ => reply.bulk()?,
            };
            Ok::<_, RedisError>(Some(String::from_utf8_lossy(reply.bulk()?).into_owned()))
        };
        // Hosted servers may not tell.
        if let Ok(Ok(Some(policy))) = tokio::time::timeout(ANSWER_TIMEOUT, ask).await
            && policy != "noeviction"
        {
            tracing::warn!(policy, "Redis may evict journeys and clicks: set maxmemory-policy noeviction");
        }
    }
}

/// Of a stream's key among all keys.
fn key_index(stream: Stream, partition: u16) -> usize {
    usize::from(partition) * 2 + usize::from(stream == Stream::Conversions)
}

/// Appends the fields of a click to the beginning of its command.
fn push_click(out: &mut Vec<u8>, click: &PackedClick<'_>) {
    click.fields(|name, value| {
        push_bulk(out, name.as_bytes());
        push_bulk(out, value);
    });
}

fn push_delivery(out: &mut Vec<u8>, delivery: &Delivery) {
    delivery.fields(|name, value| {
        push_bulk(out, name.as_bytes());
        push_bulk(out, value);
    });
}

fn xrange<'a>(key: &'a str, from: &'a str, count: &'a str) -> [&'a str; 6] {
    ["XRANGE", key, from, "+", "COUNT", count]
}

/// What begins every command that adds to a key; `*` lets Redis number the entry.
fn xadd(key: &str, fields: usize) -> Vec<u8> {
    let mut out = Vec::new();
    push_header(&mut out, 3 + 2 * fields);
    push_bulk(&mut out, b"XADD");
    push_bulk(&mut out, key.as_bytes());
    push_bulk(&mut out, b"*");
    out
}

/// Makes later entries come after a position, even on a server that fell behind in a failover.
async fn raise_above(connection: &mut Connection, key: &str, position: Position) -> Result<(), RedisError> {
    let last = match connection.call(&["XINFO", "STREAM", key]).await {
        Err(RedisError::Refused(text)) if is_missing(&text) => Position::START,
        reply => read_last_id(reply?)?,
    };
    if last >= position {
        return Ok(());
    }
    tracing::warn!(%last, %position, key, "a stream fell behind; its ids are raised");
    // An entry that is deleted at once leaves its id behind as the newest one.
    match connection.call(&["XADD", key, &position.to_string(), "raised", "1"]).await {
        // Somebody else was faster.
        Err(RedisError::Refused(text)) if text.contains("equal or smaller") => return Ok(()),
        reply => reply?,
    };
    connection.call(&["XDEL", key, &position.to_string()]).await?;
    Ok(())
}

/// Ends what an old connection may still have in Redis' hands.
async fn kill(connection: &mut Connection, client_id: i64) -> Result<(), RedisError> {
    connection.call(&["CLIENT", "KILL", "ID", &client_id.to_string(), "TYPE", "normal"]).await?;
    Ok(())
}

/// `XRANGE`: an array of `[id, [name, value, ...]]`.
fn read_entries(stream: Stream, mut reply: Reply<'_>) -> Result<Vec<(Position, Record)>, RedisError> {
    let count = reply.array()?;
    let mut entries = Vec::with_capacity(count.min(1 << 16));
    let mut texts = Texts::default();
    let mut fields: Vec<(&[u8], &[u8])> = Vec::new();
    for _ in 0..count {
        reply.array()?;
        let position = read_id(reply.bulk()?)?;
        fields.clear();
        for _ in 0..reply.array()? / 2 {
            fields.push((reply.bulk()?, reply.bulk()?));
        }
        let record = match stream {
            Stream::Clicks => Click::from_fields(fields.iter().copied(), &mut texts).map(Record::Click),
            Stream::Conversions => Delivery::from_fields(fields.iter().copied()).map(Record::Delivery),
        };
        entries.push((position, record.unwrap_or_else(Record::Unreadable)));
    }
    Ok(entries)
}

/// `XINFO STREAM`: names and values in turn.
fn read_last_id(mut reply: Reply<'_>) -> Result<Position, RedisError> {
    for _ in 0..reply.array()? / 2 {
        if reply.bulk()? == b"last-generated-id" {
            return read_id(reply.bulk()?);
        }
        reply.skip()?;
    }
    Err(RedisError::Protocol)
}

fn read_id(id: &[u8]) -> Result<Position, RedisError> {
    let dash = id.iter().position(|byte| *byte == b'-');
    match dash.map(|dash| (digits(&id[..dash]), digits(&id[dash + 1..]))) {
        Some((Some(major), Some(minor))) => Ok(Position { major, minor }),
        _ => Err(RedisError::Protocol),
    }
}

fn is_missing(refusal: &str) -> bool {
    refusal.contains("no such key")
}
