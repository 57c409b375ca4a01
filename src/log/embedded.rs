//! The event log in files of its own, `log/clicks` and `log/conversions` in `data_dir`. One frame holds one
//! batch, so a click costs a copy and a share of one write that waits for the disk.
//!
//! A frame is `| 8 number | 4 count | packed records, each after its length |`. Batches are numbered one after
//! the other and no number is used twice, even after a trim; a file is named by the first number in it, and
//! the newest file always stays.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::append::Batcher;
use super::frames::{Frames, unframe};
use super::record::{BadRecord, Click, Delivery, PackedClick, Record};
use super::segments::{self, Segment, Segments, push_frame};
use super::text::Texts;
use super::{AppendError, Health, LogConfig, LogError, LogMetrics, Position, Stream};
use crate::ledger::Synchronous;

pub struct EmbeddedLog {
    batcher: Arc<Batcher>,
    clicks: Arc<Numbered>,
    conversions: Arc<Numbered>,
    is_losing: Arc<AtomicBool>,
    writer: Mutex<Option<JoinHandle<()>>>,
    pub(super) metrics: LogMetrics,
}

impl EmbeddedLog {
    pub async fn open(config: &LogConfig, metrics: LogMetrics) -> Result<Arc<Self>, LogError> {
        let open = |stream: &str| {
            let dir = config.data_dir.join("log").join(stream);
            Numbered::open(&dir, config.synchronous).map(Arc::new).map_err(LogError::DataDir)
        };
        let (clicks, conversions) = (open("clicks")?, open("conversions")?);
        let batcher = Arc::new(Batcher::new(config.batch_max_bytes));
        let is_losing = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            batcher: Arc::clone(&batcher),
            clicks: Arc::clone(&clicks),
            conversions: Arc::clone(&conversions),
            is_losing: Arc::clone(&is_losing),
            metrics: metrics.clone(),
        };
        let writer = Mutex::new(Some(tokio::spawn(writer.run())));
        Ok(Arc::new(Self { batcher, clicks, conversions, is_losing, writer, metrics }))
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
        self.blocking(stream, move |files| files.read(stream, after, max)).await
    }

    pub async fn wait(&self, stream: Stream, after: Position, timeout: Duration) -> bool {
        let mut end = self.files(stream).end.subscribe();
        // The sender lives as long as self, so only the timeout ends this otherwise.
        tokio::time::timeout(timeout, end.wait_for(|end| *end > after)).await.is_ok()
    }

    pub fn end(&self, stream: Stream) -> Position {
        *self.files(stream).end.borrow()
    }

    pub async fn trim(&self, stream: Stream, up_to: Position) -> Result<(), LogError> {
        self.blocking(stream, move |files| files.trim(up_to)).await
    }

    pub async fn raise_above(&self, stream: Stream, committed: Position) -> Result<(), LogError> {
        self.blocking(stream, move |files| files.raise_above(committed)).await
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

    fn files(&self, stream: Stream) -> &Arc<Numbered> {
        match stream {
            Stream::Clicks => &self.clicks,
            Stream::Conversions => &self.conversions,
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        stream: Stream,
        work: impl FnOnce(&Numbered) -> io::Result<T> + Send + 'static,
    ) -> Result<T, LogError> {
        let files = Arc::clone(self.files(stream));
        let worked = tokio::task::spawn_blocking(move || work(&files)).await;
        worked.map_err(io::Error::other).flatten().map_err(LogError::Embedded)
    }
}

/// Takes batch after batch and stores it.
struct Writer {
    batcher: Arc<Batcher>,
    clicks: Arc<Numbered>,
    conversions: Arc<Numbered>,
    is_losing: Arc<AtomicBool>,
    metrics: LogMetrics,
}

impl Writer {
    async fn run(self) {
        while let Some(batch) = self.batcher.next().await {
            let started = Instant::now();
            let (clicks, conversions) = (Arc::clone(&self.clicks), Arc::clone(&self.conversions));
            let stored = tokio::task::spawn_blocking(move || {
                // Whoever sent a delivery that is stored although its batch is lost sends it again, and it
                // counts once; a visitor does not come again.
                let stored =
                    conversions.append(&batch.deliveries).and_then(|()| clicks.append(&batch.clicks));
                (batch, stored)
            });
            let (batch, outcome) = match stored.await {
                Ok(stored) => stored,
                Err(error) => {
                    tracing::error!(%error, "storing a batch panicked");
                    continue;
                }
            };
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
}

/// The files of one stream. Blocks.
struct Numbered {
    dir: PathBuf,
    state: Mutex<State>,
    /// The newest position, watched by readers that wait.
    end: watch::Sender<Position>,
    /// Where the last read ended: the next one mostly goes on there.
    place: Mutex<Option<Place>>,
}

struct State {
    segments: Segments,
    /// Number of the next batch.
    next: u64,
    /// Nobody wants what comes up to here.
    trimmed: Position,
    /// Reused for every batch.
    frame: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    position: Position,
    /// The file, and where in it the frame with the position begins.
    number: u64,
    offset: u64,
}

const FRAME_START_BYTES: usize = 12;

impl Numbered {
    fn open(dir: &Path, synchronous: Synchronous) -> io::Result<Self> {
        let segments = Segments::open(dir, synchronous)?;
        let mut end = Position::START;
        if let Some(newest) = segments.list().back() {
            // If nothing in it can be read, it says at least which numbers may have been used.
            end = Position { major: newest.number, minor: u64::from(u32::MAX) };
            let mut frames = segments::read(dir, *newest, 0)?;
            while let Some((number, count, _)) = frames.next()?.as_deref().and_then(split) {
                end = Position { major: number, minor: count.saturating_sub(1) };
            }
        }
        let state = State { segments, next: end.major + 1, trimmed: Position::START, frame: Vec::new() };
        let (state, end) = (Mutex::new(state), watch::Sender::new(end));
        Ok(Self { dir: dir.to_owned(), state, end, place: Mutex::default() })
    }

    fn append(&self, records: &Frames) -> io::Result<()> {
        if records.count() == 0 {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { segments, next, frame, .. } = &mut *state;
        let number = *next;
        // Whatever becomes of the batch, no other has its number.
        *next += 1;
        frame.clear();
        push_frame(frame, |out| {
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&records.count().to_le_bytes());
            out.extend_from_slice(records.bytes());
        });
        segments.append(number, frame)?;
        self.end.send_replace(Position { major: number, minor: u64::from(records.count()) - 1 });
        Ok(())
    }

    fn read(&self, stream: Stream, after: Position, max: usize) -> io::Result<Vec<(Position, Record)>> {
        let (files, after): (Vec<Segment>, _) = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            (state.segments.list().iter().copied().collect(), after.max(state.trimmed))
        };
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, offset) = match *place {
            Some(place) if place.position == after => (place.number, place.offset),
            _ => {
                (files.iter().rev().find(|file| file.number <= after.major).map_or(0, |file| file.number), 0)
            }
        };
        let (mut entries, mut texts) = (Vec::new(), Texts::default());
        for file in files.into_iter().filter(|file| file.number >= first) {
            let mut frames = segments::read(&self.dir, file, if file.number == first { offset } else { 0 })?;
            let mut start = frames.offset;
            while let Some(frame) = frames.next()? {
                let (Some((number, count, body)), offset) = (split(&frame), start) else { break };
                start = frames.offset;
                if number < after.major {
                    continue;
                }
                take_batch(&mut entries, &mut texts, stream, number, count, body, after);
                entries.truncate(max);
                let last = entries.last().map(|(position, _)| *position);
                *place = last.map(|position| Place { position, number: file.number, offset });
                if entries.len() == max {
                    return Ok(entries);
                }
            }
        }
        Ok(entries)
    }

    /// Deletes the files in which nothing comes after `up_to`. A new one is begun first, so that soon no
    /// file holds what was trimmed.
    fn trim(&self, up_to: Position) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { segments, next, trimmed, .. } = &mut *state;
        *trimmed = up_to.max(*trimmed);
        let is_reached =
            segments.list().back().is_some_and(|newest| newest.len > 0 && newest.number <= up_to.major);
        let begun = if is_reached { segments.begin(*next) } else { Ok(()) };
        if is_reached && begun.is_ok() {
            *next += 1;
        }
        // The first number of which something is wanted.
        let wanted = if up_to >= *self.end.borrow() { *next } else { up_to.major };
        while segments.list().get(1).is_some_and(|second| second.number <= wanted) {
            segments.drop_first()?;
        }
        // On a full disk the files before make room first.
        begun
    }

    fn raise_above(&self, committed: Position) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The next batch has a higher number than the newest one, whatever that one holds.
        if state.next > committed.major {
            return Ok(());
        }
        // A file that holds nothing says that the number was used.
        state.segments.begin(committed.major)?;
        state.next = committed.major + 1;
        self.end.send_replace(committed);
        Ok(())
    }
}

/// Number, count and records of a batch; None for what this program did not write.
fn split(frame: &[u8]) -> Option<(u64, u64, &[u8])> {
    let (start, body) = frame.split_first_chunk::<FRAME_START_BYTES>()?;
    let (number, count) = start.split_first_chunk::<8>()?;
    let count = u32::from_le_bytes(count.try_into().ok()?);
    Some((u64::from_le_bytes(*number), count.into(), body))
}

/// Adds the records of a batch that come after a position.
fn take_batch(
    entries: &mut Vec<(Position, Record)>,
    texts: &mut Texts,
    stream: Stream,
    number: u64,
    count: u64,
    body: &[u8],
    after: Position,
) {
    let mut minor = 0;
    for packed in unframe(body).take(usize::try_from(count).unwrap_or(usize::MAX)) {
        let position = Position { major: number, minor };
        minor += 1;
        if position <= after {
            continue;
        }
        let record = match (packed, stream) {
            (Err(bad), _) => Err(bad),
            (Ok(packed), Stream::Clicks) => {
                PackedClick::read(packed).map(|click| Record::Click(click.into_shared(texts)))
            }
            (Ok(packed), Stream::Conversions) => Delivery::unpack(packed).map(Record::Delivery),
        };
        entries.push((position, record.unwrap_or_else(Record::Unreadable)));
    }
    if minor < count {
        // Its last position stands for all that cannot be read.
        let last = Position { major: number, minor: count - 1 };
        entries.push((last, Record::Unreadable(BadRecord("damaged batch"))));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::domain::ids::{ClickId, LinkId};
    use crate::log::record::Request;

    fn open(dir: &TempDir) -> Numbered {
        Numbered::open(dir.path(), Synchronous::Full).unwrap()
    }

    /// So many clicks in one batch; answers its last position.
    fn append(log: &Numbered, count: usize) -> Position {
        let mut frames = Frames::default();
        for _ in 0..count {
            let click = Click {
                id: ClickId::generate(1),
                link: LinkId::from_i64(1).unwrap(),
                visitor: None,
                is_new_visitor: false,
                request: Request::Get,
                address: None,
                user_agent: "".into(),
                referrer: "".into(),
                is_replayed: false,
            };
            frames.push(|out| click.pack(out));
        }
        log.append(&frames).unwrap();
        *log.end.borrow()
    }

    fn positions(log: &Numbered, after: Position) -> Vec<Position> {
        let read = log.read(Stream::Clicks, after, 100).unwrap();
        assert!(read.iter().all(|(_, record)| matches!(record, Record::Click(_))));
        read.into_iter().map(|(position, _)| position).collect()
    }

    fn files(dir: &TempDir) -> Vec<std::path::PathBuf> {
        let mut files: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    #[test]
    fn no_number_is_used_twice() {
        let dir = TempDir::new().unwrap();
        let (log, mut newest) = (open(&dir), Position::START);
        let first = append(&log, 2);
        drop(log);
        for round in 0..12 {
            // Some end torn, some empty, some as they were.
            if round % 3 == 0
                && let Some(last) = files(&dir).last()
            {
                let len = fs::metadata(last).unwrap().len();
                fs::OpenOptions::new()
                    .write(true)
                    .open(last)
                    .unwrap()
                    .set_len(len.saturating_sub(1))
                    .unwrap();
            }
            let log = open(&dir);
            let known = *log.end.borrow();
            let appended = append(&log, 2);
            assert!(appended > known && appended.major > newest.major, "{appended} {known} {newest}");
            assert_eq!(positions(&log, newest).last(), Some(&appended));
            newest = appended;
            if round % 2 == 0 {
                log.trim(appended).unwrap();
                assert_eq!(files(&dir).len(), 1, "what was read is gone");
                assert_eq!(positions(&log, Position::START), []);
            }
        }
        assert!(newest.major > first.major);
    }

    #[test]
    fn reading_goes_on_within_batches_and_over_files() {
        let dir = TempDir::new().unwrap();
        let mut log = open(&dir);
        for count in [3, 1, 4] {
            append(&log, count);
            log = open(&dir);
        }
        let all = positions(&log, Position::START);
        assert_eq!((all.len(), files(&dir).len()), (8, 3));
        for max in 1..=8 {
            let mut after = Position::START;
            let mut piecewise = Vec::new();
            while let Some((last, _)) = log.read(Stream::Clicks, after, max).unwrap().last() {
                piecewise.extend(log.read(Stream::Clicks, after, max).unwrap().into_iter().map(|(p, _)| p));
                after = *last;
            }
            assert_eq!(piecewise, all, "{max}");
        }
        // In the middle of the second file, so that it stays.
        log.trim(all[5]).unwrap();
        assert_eq!(positions(&log, Position::START), all[6..]);
    }

    #[test]
    fn a_damaged_batch_never_panics_and_passes() {
        for body in [&b""[..], b"\x01", b"\xff\xff\xff\xff", b"\x01\0\0\0x", b"\0\0\0\0\x02\0\0\0a"] {
            let mut entries = Vec::new();
            take_batch(&mut entries, &mut Texts::default(), Stream::Clicks, 3, 2, body, Position::START);
            assert!(entries.iter().all(|(_, record)| matches!(record, Record::Unreadable(_))), "{body:?}");
            assert_eq!(entries.last().map(|(p, _)| *p), Some(Position { major: 3, minor: 1 }), "{body:?}");
        }
    }
}
