//! Where records wait while Redis is slow or gone: append-only files, replayed in order.
//!
//! Each frame is of one record: `| 1 stream | packed record |`. `position` holds how far the replay has come.
//! All of this blocks; call it off the runtime.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::Stream;
use super::segments::{self, Segments, fill, push_frame};
use crate::ledger::Synchronous;

#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("the spool has reached its bound of {0} bytes")]
    Full(u64),
    #[error("another process uses the spool in {0}")]
    InUse(PathBuf),
    #[error("spool: {0}")]
    Io(#[from] io::Error),
}

pub(super) struct Spool {
    max_bytes: u64,
    segments: Segments,
    /// Of the next append, should it begin a file.
    next_number: u64,
    /// How much of the first file is replayed.
    replayed: u64,
    position: File,
    /// Held as long as the spool is open.
    _lock: File,
}

/// Records to replay, and where the replay goes on once they are in the log.
pub(super) struct Chunk {
    pub records: Vec<(Stream, Vec<u8>)>,
    end: (u64, u64),
}

impl Spool {
    pub fn open(dir: &Path, max_bytes: u64) -> Result<Self, SpoolError> {
        fs::create_dir_all(dir)?;
        let open = |name: &str| {
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join(name))
        };
        let lock = open("lock")?;
        lock.try_lock().map_err(|_| SpoolError::InUse(dir.to_owned()))?;
        let mut position = open("position")?;
        let (number, offset) = read_position(&mut position)?;

        let segments = Segments::open(dir, Synchronous::Full)?;
        let next_number = segments.list().back().map_or(number, |last| last.number.max(number)) + 1;
        let mut spool = Self { max_bytes, segments, next_number, replayed: 0, position, _lock: lock };
        spool.forget_before((number, offset))?;
        Ok(spool)
    }

    /// Bytes that wait for replay.
    pub fn bytes(&self) -> u64 {
        self.segments.bytes() - self.replayed
    }

    /// Appends records and waits until the disk has them. After an error none of them is in the spool.
    pub fn append<'a>(
        &mut self,
        records: impl Iterator<Item = (Stream, &'a [u8])>,
    ) -> Result<(), SpoolError> {
        let mut frames = Vec::new();
        for (stream, packed) in records {
            push_frame(&mut frames, |out| {
                out.push(match stream {
                    Stream::Clicks => 0,
                    Stream::Conversions => 1,
                });
                out.extend_from_slice(packed);
            });
        }
        if self.bytes() + frames.len() as u64 > self.max_bytes {
            return Err(SpoolError::Full(self.max_bytes));
        }
        // What fails may be appended again: should its bytes stand in a file all the same, the mark of
        // replayed records keeps it from counting twice.
        let number = self.next_number;
        self.next_number += 1;
        Ok(self.segments.append(number, &frames)?)
    }

    /// The oldest records, about `max_bytes` of them and at least one; None if nothing waits.
    pub fn oldest(&mut self, max_bytes: usize) -> Result<Option<Chunk>, SpoolError> {
        while let Some(&segment) = self.segments.list().front() {
            let mut frames = segments::read(self.segments.dir(), segment, self.replayed)?;
            let mut records = Vec::new();
            let max_offset = self.replayed + max_bytes as u64;
            while frames.offset < max_offset
                && let Some(record) = frames.next()?.and_then(record)
            {
                records.push(record);
            }
            if !records.is_empty() {
                return Ok(Some(Chunk { records, end: (segment.number, frames.offset) }));
            }
            self.forget_before((segment.number + 1, 0))?;
        }
        Ok(None)
    }

    /// Notes durably that a chunk is in the log, and deletes what is no longer needed.
    pub fn done(&mut self, chunk: &Chunk) -> Result<(), SpoolError> {
        self.forget_before(chunk.end)
    }

    fn forget_before(&mut self, (number, offset): (u64, u64)) -> Result<(), SpoolError> {
        write_position(&mut self.position, number, offset)?;
        while let Some(first) = self.segments.list().front() {
            if first.number > number || (first.number == number && offset < first.len) {
                break;
            }
            self.segments.drop_first()?;
        }
        self.replayed = match self.segments.list().front() {
            Some(first) if first.number == number => offset,
            _ => 0,
        };
        Ok(())
    }
}

/// None for what this program did not write.
fn record(mut frame: Vec<u8>) -> Option<(Stream, Vec<u8>)> {
    let stream = match frame.first()? {
        0 => Stream::Clicks,
        1 => Stream::Conversions,
        _ => return None,
    };
    frame.remove(0);
    Some((stream, frame))
}

/// Segment and offset, with a checksum; a damaged position only means that the replay begins anew.
fn write_position(file: &mut File, number: u64, offset: u64) -> io::Result<()> {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes[8..16].copy_from_slice(&offset.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..16]);
    bytes[16..].copy_from_slice(&crc.to_le_bytes());
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&bytes)?;
    file.sync_data()
}

fn read_position(file: &mut File) -> io::Result<(u64, u64)> {
    let mut bytes = [0; 20];
    file.seek(SeekFrom::Start(0))?;
    if !fill(file, &mut bytes)? {
        return Ok((0, 0));
    }
    let (numbers, crc) = bytes.split_at(16);
    let crc_fits = crc32fast::hash(numbers).to_le_bytes() == crc;
    let number = |at: usize| u64::from_le_bytes(numbers[at..at + 8].try_into().expect("8 bytes"));
    Ok(if crc_fits { (number(0), number(8)) } else { (0, 0) })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn append(spool: &mut Spool, bytes: &[u8]) -> Result<(), SpoolError> {
        spool.append([(Stream::Clicks, bytes)].into_iter())
    }

    fn drain(spool: &mut Spool) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(chunk) = spool.oldest(1).unwrap() {
            all.extend(chunk.records.iter().map(|(_, packed)| packed.clone()));
            spool.done(&chunk).unwrap();
        }
        all
    }

    #[test]
    fn records_come_back_in_order_and_once() {
        let dir = TempDir::new().unwrap();
        let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
        assert!(spool.bytes() == 0 && spool.oldest(100).unwrap().is_none());
        append(&mut spool, b"a").unwrap();
        spool.append([(Stream::Conversions, &b"b"[..]), (Stream::Clicks, b"")].into_iter()).unwrap();
        let chunk = spool.oldest(100).unwrap().unwrap();
        assert_eq!(
            chunk.records,
            [
                (Stream::Clicks, b"a".to_vec()),
                (Stream::Conversions, b"b".to_vec()),
                (Stream::Clicks, Vec::new())
            ]
        );
        append(&mut spool, b"c").unwrap();
        spool.done(&chunk).unwrap();
        assert_eq!(spool.bytes(), 10);
        assert_eq!(drain(&mut spool), [b"c"]);
        assert!(spool.segments.list().is_empty() && spool.bytes() == 0);
        append(&mut spool, b"d").unwrap();
        assert_eq!(drain(&mut spool), [b"d"]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "only lock and position stay");
    }

    #[test]
    fn a_restart_goes_on_where_the_replay_was() {
        let dir = TempDir::new().unwrap();
        let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
        for record in [b"a", b"b", b"c"] {
            append(&mut spool, record).unwrap();
        }
        let chunk = spool.oldest(1).unwrap().unwrap();
        spool.done(&chunk).unwrap();
        // Peeked but not done: comes again.
        spool.oldest(1).unwrap().unwrap();
        assert!(matches!(Spool::open(dir.path(), 1 << 20), Err(SpoolError::InUse(_))));
        drop(spool);

        let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
        append(&mut spool, b"d").unwrap();
        assert_eq!(drain(&mut spool), [b"b", b"c", b"d"]);
        drop(spool);
        assert_eq!(Spool::open(dir.path(), 1 << 20).unwrap().bytes(), 0);
    }

    #[test]
    fn the_bound_holds_and_ends_with_the_replay() {
        let dir = TempDir::new().unwrap();
        let mut spool = Spool::open(dir.path(), 100).unwrap();
        append(&mut spool, &[1; 60]).unwrap();
        assert!(matches!(append(&mut spool, &[2; 60]), Err(SpoolError::Full(100))));
        assert_eq!(drain(&mut spool), [[1; 60]]);
        append(&mut spool, &[3; 60]).unwrap();
        assert_eq!(drain(&mut spool), [[3; 60]]);
    }
}
