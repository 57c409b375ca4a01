//! The event log in a SQLite file of its own. One row holds one batch, so a click costs a copy and a
//! share of one commit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row, SqliteConnection, SqlitePool};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::append::{Batch, Batcher};
use super::frames::unframe;
use super::record::{BadRecord, Click, Delivery, Record};
use super::{AppendError, Health, LogConfig, LogError, LogMetrics, Position, Stream};
use crate::ledger::Synchronous;

pub struct EmbeddedLog {
    batcher: Arc<Batcher>,
    /// The one connection that writes: appends, trims.
    connection: Arc<tokio::sync::Mutex<SqliteConnection>>,
    readers: SqlitePool,
    ends: Arc<Ends>,
    is_losing: Arc<AtomicBool>,
    writer: Mutex<Option<JoinHandle<()>>>,
    pub(super) metrics: LogMetrics,
}

/// The newest position of each stream, watched by readers that wait.
struct Ends {
    clicks: watch::Sender<Position>,
    conversions: watch::Sender<Position>,
}

impl Ends {
    fn of(&self, stream: Stream) -> &watch::Sender<Position> {
        match stream {
            Stream::Clicks => &self.clicks,
            Stream::Conversions => &self.conversions,
        }
    }
}

/// Rows deleted in one go, so that a trim holds up no append for long.
const TRIM_ROWS: i64 = 500;

impl EmbeddedLog {
    pub async fn open(config: &LogConfig, metrics: LogMetrics) -> Result<Arc<Self>, LogError> {
        std::fs::create_dir_all(&config.data_dir).map_err(LogError::DataDir)?;
        let options = SqliteConnectOptions::new()
            .filename(config.data_dir.join("log.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(match config.synchronous {
                Synchronous::Full => SqliteSynchronous::Full,
                Synchronous::Normal => SqliteSynchronous::Normal,
            })
            .busy_timeout(Duration::from_secs(10))
            // A trimmed log does not keep the room that its busiest day needed.
            .pragma("journal_size_limit", "67108864")
            .disable_statement_logging();
        let mut connection = options.connect().await?;
        for stream in [Stream::Clicks, Stream::Conversions] {
            let table = table(stream);
            let create = format!(
                "CREATE TABLE IF NOT EXISTS {table} (
                   seq   INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice, even after a trim
                   count INTEGER NOT NULL,                   -- records in this batch
                   body  BLOB NOT NULL                       -- packed records, each after its length
                 )"
            );
            sqlx::query(AssertSqlSafe(create)).execute(&mut connection).await?;
        }
        let ends = Arc::new(Ends {
            clicks: watch::Sender::new(stored_end(&mut connection, Stream::Clicks).await?),
            conversions: watch::Sender::new(stored_end(&mut connection, Stream::Conversions).await?),
        });
        let readers = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;

        let batcher = Arc::new(Batcher::new(config.batch_max_bytes));
        let connection = Arc::new(tokio::sync::Mutex::new(connection));
        let is_losing = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            batcher: Arc::clone(&batcher),
            connection: Arc::clone(&connection),
            ends: Arc::clone(&ends),
            is_losing: Arc::clone(&is_losing),
            metrics: metrics.clone(),
        };
        let writer = Mutex::new(Some(tokio::spawn(writer.run())));
        Ok(Arc::new(Self { batcher, connection, readers, ends, is_losing, writer, metrics }))
    }

    pub async fn append_click(&self, click: &Click<'_>) -> Result<(), AppendError> {
        self.batcher.append(|batch| batch.clicks.push(|out| click.pack(out))).await
    }

    pub async fn append_delivery(&self, delivery: &Delivery) -> Result<(), AppendError> {
        self.batcher.append(|batch| batch.deliveries.push(|out| delivery.pack(out))).await
    }

    pub async fn read(
        &self,
        stream: Stream,
        after: Position,
        max: usize,
    ) -> Result<Vec<(Position, Record)>, LogError> {
        let text = format!(
            "SELECT seq, count, body FROM {} WHERE seq >= $1 AND (seq > $1 OR count > $2 + 1)
             ORDER BY seq LIMIT $3",
            table(stream)
        );
        let mut entries = Vec::new();
        let mut from = after;
        // Few rows at a time, since a row may hold thousands of records or a single one.
        while entries.len() < max {
            let rows = sqlx::query(AssertSqlSafe(text.clone()))
                .bind(to_i64(from.major))
                .bind(to_i64(from.minor))
                .bind(8)
                .fetch_all(&self.readers)
                .await?;
            let Some(last) = rows.last() else { break };
            from = Position { major: last.get::<i64, _>(0).cast_unsigned(), minor: i64::MAX as u64 - 1 };
            for row in rows {
                let (seq, count, body): (i64, i64, &[u8]) = (row.get(0), row.get(1), row.get(2));
                take_row(&mut entries, stream, seq.cast_unsigned(), count.cast_unsigned(), body, after);
            }
        }
        entries.truncate(max);
        Ok(entries)
    }

    pub async fn wait(&self, stream: Stream, after: Position, timeout: Duration) -> bool {
        let mut end = self.ends.of(stream).subscribe();
        // The sender lives as long as self, so only the timeout ends this otherwise.
        tokio::time::timeout(timeout, end.wait_for(|end| *end > after)).await.is_ok()
    }

    pub fn end(&self, stream: Stream) -> Position {
        *self.ends.of(stream).borrow()
    }

    pub async fn trim(&self, stream: Stream, up_to: Position) -> Result<(), LogError> {
        let table = table(stream);
        let text = format!(
            "DELETE FROM {table} WHERE seq IN (
               SELECT seq FROM {table} WHERE seq < $1 OR (seq = $1 AND count <= $2 + 1) ORDER BY seq LIMIT $3
             )"
        );
        loop {
            let deleted = sqlx::query(AssertSqlSafe(text.clone()))
                .bind(to_i64(up_to.major))
                .bind(to_i64(up_to.minor))
                .bind(TRIM_ROWS)
                .execute(&mut *self.connection.lock().await)
                .await?
                .rows_affected();
            if deleted < TRIM_ROWS.cast_unsigned() {
                return Ok(());
            }
        }
    }

    pub async fn raise_above(&self, stream: Stream, committed: Position) -> Result<(), LogError> {
        let mut connection = self.connection.lock().await;
        // The next row has a higher number than the newest one, whatever that one holds.
        if self.end(stream).major >= committed.major {
            return Ok(());
        }
        // A row that is made and deleted at once leaves its number behind as the highest one.
        let mut transaction = connection.begin().await?;
        for text in ["INSERT INTO {} (seq, count, body) VALUES ($1, 0, x'')", "DELETE FROM {} WHERE seq = $1"]
        {
            sqlx::query(AssertSqlSafe(text.replace("{}", table(stream))))
                .bind(to_i64(committed.major))
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        self.ends.of(stream).send_replace(committed);
        Ok(())
    }

    pub fn health(&self) -> Health {
        if self.is_losing.load(Ordering::Relaxed) { Health::Losing } else { Health::Up }
    }

    pub async fn close(&self) {
        self.batcher.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && let Err(error) = writer.await
        {
            tracing::error!(%error, "the writer of the event log died");
        }
    }
}

/// Takes batch after batch and commits it.
struct Writer {
    batcher: Arc<Batcher>,
    connection: Arc<tokio::sync::Mutex<SqliteConnection>>,
    ends: Arc<Ends>,
    is_losing: Arc<AtomicBool>,
    metrics: LogMetrics,
}

impl Writer {
    async fn run(self) {
        while let Some(batch) = self.batcher.next().await {
            let started = Instant::now();
            let outcome = self.commit(&batch).await;
            self.metrics.append_seconds.observe(started.elapsed().as_secs_f64());
            self.metrics.batch_records.observe(batch.count().into());
            self.is_losing.store(outcome.is_err(), Ordering::Relaxed);
            match &outcome {
                Ok(()) => self.metrics.clicks_recorded("log", batch.clicks.count()),
                Err(error) => {
                    tracing::error!(%error, records = batch.count(), "the event log took no batch");
                    self.metrics.lost(batch.clicks.count(), batch.deliveries.count());
                }
            }
            batch.finish(outcome.is_ok());
        }
    }

    async fn commit(&self, batch: &Batch) -> Result<(), sqlx::Error> {
        let mut connection = self.connection.lock().await;
        // One statement is a transaction by itself.
        let (clicks, conversions) = match (batch.clicks.count(), batch.deliveries.count()) {
            (_, 0) => (Some(insert(&mut connection, Stream::Clicks, batch).await?), None),
            (0, _) => (None, Some(insert(&mut connection, Stream::Conversions, batch).await?)),
            _ => {
                let (clicks, conversions) = insert_both(&mut connection, batch).await?;
                (Some(clicks), Some(conversions))
            }
        };
        for (stream, end) in [(Stream::Clicks, clicks), (Stream::Conversions, conversions)] {
            if let Some(end) = end {
                self.ends.of(stream).send_replace(end);
            }
        }
        Ok(())
    }
}

/// Not by sqlx's transaction: SQLite ends one by itself when the disk fails it, and sqlx would then begin
/// no other on this connection. Nobody cancels this.
async fn insert_both(
    connection: &mut SqliteConnection,
    batch: &Batch,
) -> Result<(Position, Position), sqlx::Error> {
    let stored = async {
        connection.execute("BEGIN").await?;
        let clicks = insert(connection, Stream::Clicks, batch).await?;
        let conversions = insert(connection, Stream::Conversions, batch).await?;
        connection.execute("COMMIT").await?;
        Ok((clicks, conversions))
    }
    .await;
    if stored.is_err() {
        // Fails where there is nothing left to take back.
        let _ = connection.execute("ROLLBACK").await;
    }
    stored
}

/// Stores a batch's records of one stream as a row; answers the position of the last one.
async fn insert(
    connection: &mut SqliteConnection,
    stream: Stream,
    batch: &Batch,
) -> Result<Position, sqlx::Error> {
    let frames = match stream {
        Stream::Clicks => &batch.clicks,
        Stream::Conversions => &batch.deliveries,
    };
    let text = match stream {
        Stream::Clicks => "INSERT INTO clicks (count, body) VALUES ($1, $2)",
        Stream::Conversions => "INSERT INTO conversions (count, body) VALUES ($1, $2)",
    };
    let inserted = sqlx::query(text).bind(frames.count()).bind(frames.bytes()).execute(connection).await?;
    Ok(Position { major: inserted.last_insert_rowid().cast_unsigned(), minor: u64::from(frames.count()) - 1 })
}

async fn stored_end(connection: &mut SqliteConnection, stream: Stream) -> Result<Position, sqlx::Error> {
    let text = format!("SELECT seq, count FROM {} ORDER BY seq DESC LIMIT 1", table(stream));
    let last = sqlx::query(AssertSqlSafe(text)).fetch_optional(&mut *connection).await?;
    let highest: Option<i64> = sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = $1")
        .bind(table(stream))
        .fetch_optional(connection)
        .await?;
    let highest = highest.unwrap_or(0).cast_unsigned();
    Ok(match last.map(|row| (row.get::<i64, _>(0).cast_unsigned(), row.get::<i64, _>(1).cast_unsigned())) {
        Some((seq, count)) if seq >= highest => Position { major: seq, minor: count.saturating_sub(1) },
        // The newest rows are trimmed away; the next one comes after anything in them.
        _ if highest > 0 => Position { major: highest, minor: u64::from(u32::MAX) },
        _ => Position::START,
    })
}

/// Adds the records of a row that come after a position.
fn take_row(
    entries: &mut Vec<(Position, Record)>,
    stream: Stream,
    seq: u64,
    count: u64,
    body: &[u8],
    after: Position,
) {
    let mut minor = 0;
    for packed in unframe(body).take(usize::try_from(count).unwrap_or(usize::MAX)) {
        let record = match (packed, stream) {
            (Err(bad), _) => Err(bad),
            (Ok(packed), Stream::Clicks) => Click::unpack(packed).map(|c| Record::Click(c.into_owned())),
            (Ok(packed), Stream::Conversions) => Delivery::unpack(packed).map(Record::Delivery),
        };
        let position = Position { major: seq, minor };
        if position > after {
            entries.push((position, record.unwrap_or_else(Record::Unreadable)));
        }
        minor += 1;
    }
    if minor < count {
        // The row is damaged: its last position stands for all that cannot be read.
        let last = Position { major: seq, minor: count - 1 };
        entries.push((last, Record::Unreadable(BadRecord("damaged row"))));
    }
}

fn table(stream: Stream) -> &'static str {
    match stream {
        Stream::Clicks => "clicks",
        Stream::Conversions => "conversions",
    }
}

/// For SQLite; a position that does not fit is past everything.
fn to_i64(n: u64) -> i64 {
    // One less, so that a statement may add one.
    i64::try_from(n).unwrap_or(i64::MAX).min(i64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_row_never_panics_and_passes() {
        for body in [&b""[..], b"\x01", b"\xff\xff\xff\xff", b"\x01\0\0\0x", b"\0\0\0\0\x02\0\0\0a"] {
            let mut entries = Vec::new();
            take_row(&mut entries, Stream::Clicks, 3, 2, body, Position::START);
            assert!(entries.iter().all(|(_, record)| matches!(record, Record::Unreadable(_))), "{body:?}");
            assert_eq!(entries.last().map(|(p, _)| *p), Some(Position { major: 3, minor: 1 }), "{body:?}");
        }
    }
}
