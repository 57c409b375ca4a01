//! Where records wait while Redis is slow or gone: append-only files, replayed in order.
//!
//! A file holds frames of `| 4 length | 4 CRC-32 of the rest | 1 stream | packed record |`, numbers little
//! endian. `position` holds how far the replay has come. All of this blocks; call it off the runtime.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::Stream;

/// A file that has reached this size gets no more records.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Larger frames are damage.
const FRAME_MAX_BYTES: usize = 64 << 20;
const FRAME_HEAD_BYTES: usize = 8;

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
    dir: PathBuf,
    max_bytes: u64,
    /// Oldest first; the last one may be the one that is written to.
    segments: VecDeque<Segment>,
    /// The last of `segments`, open for appending. Never one that an earlier process wrote to.
    writer: Option<File>,
    next_number: u64,
    /// How much of the first segment is replayed.
    replayed: u64,
    position: File,
    /// Held as long as the spool is open.
    _lock: File,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    number: u64,
    len: u64,
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

        let mut segments = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if let Some(number) = segment_number(&entry.path()) {
                segments.push(Segment { number, len: entry.metadata()?.len() });
            }
        }
        segments.sort_by_key(|segment| segment.number);
        let next_number = segments.last().map_or(number, |last| last.number.max(number)) + 1;
        let mut spool = Self {
            dir: dir.to_owned(),
            max_bytes,
            segments: segments.into(),
            writer: None,
            next_number,
            replayed: 0,
            position,
            _lock: lock,
        };
        spool.forget_before((number, offset))?;
        Ok(spool)
    }

    /// Bytes that wait for replay.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum::<u64>() - self.replayed
    }

    /// Appends records and waits until the disk has them. After an error none of them is in the spool.
    pub fn append<'a>(
        &mut self,
        records: impl Iterator<Item = (Stream, &'a [u8])>,
    ) -> Result<(), SpoolError> {
        let mut frames = Vec::new();
        for (stream, packed) in records {
            push_frame(&mut frames, stream, packed);
        }
        if self.bytes() + frames.len() as u64 > self.max_bytes {
            return Err(SpoolError::Full(self.max_bytes));
        }
        if self.segments.back().is_none_or(|segment| segment.len >= SEGMENT_BYTES) {
            self.writer = None;
        }
        if self.writer.is_none() {
            self.begin_segment()?;
        }
        let (Some(file), Some(segment)) = (&mut self.writer, self.segments.back_mut()) else {
            unreachable!("a segment was just begun");
        };
        match file.write_all(&frames).and_then(|()| file.sync_data()) {
            Ok(()) => {
                segment.len += frames.len() as u64;
                Ok(())
            }
            Err(error) => {
                // What got through goes again; should that fail as well, the checksum or, at worst,
                // the mark of replayed records keeps it from counting twice.
                let _ = file.set_len(segment.len);
                self.writer = None;
                if segment.len == 0 {
                    let _ = fs::remove_file(segment_path(&self.dir, segment.number));
                    self.segments.pop_back();
                }
                Err(error.into())
            }
        }
    }

    /// The oldest records, about `max_bytes` of them and at least one; None if nothing waits.
    pub fn oldest(&mut self, max_bytes: usize) -> Result<Option<Chunk>, SpoolError> {
        while let Some(&segment) = self.segments.front() {
            let mut file = File::open(segment_path(&self.dir, segment.number))?;
            file.seek(SeekFrom::Start(self.replayed))?;
            let mut reader = BufReader::with_capacity(1 << 16, file.take(segment.len - self.replayed));
            let mut records = Vec::new();
            let mut read_bytes = 0;
            while read_bytes < max_bytes {
                let Some(record) = read_frame(&mut reader)? else { break };
                read_bytes += FRAME_HEAD_BYTES + 1 + record.1.len();
                records.push(record);
            }
            if !records.is_empty() {
                let end = (segment.number, self.replayed + read_bytes as u64);
                return Ok(Some(Chunk { records, end }));
            }
            let torn_bytes = segment.len - self.replayed;
            if torn_bytes > 0 {
                // The process died while it wrote; nobody was told that these were recorded.
                tracing::warn!(torn_bytes, "skipped the torn end of a spool file");
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
        while let Some(&first) = self.segments.front() {
            if first.number > number || (first.number == number && offset < first.len) {
                break;
            }
            fs::remove_file(segment_path(&self.dir, first.number))?;
            self.segments.pop_front();
        }
        if self.segments.is_empty() {
            self.writer = None;
        }
        self.replayed = match self.segments.front() {
            Some(first) if first.number == number => offset,
            _ => 0,
        };
        Ok(())
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let number = self.next_number;
        let path = segment_path(&self.dir, number);
        let file = OpenOptions::new().append(true).create_new(true).open(&path)?;
        self.next_number += 1;
        // The file's name must survive as well as what is in it.
        File::open(&self.dir)?.sync_all()?;
        self.segments.push_back(Segment { number, len: 0 });
        self.writer = Some(file);
        Ok(())
    }
}

fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:012}.spool"))
}

fn segment_number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".spool")?.parse().ok()
}

fn push_frame(out: &mut Vec<u8>, stream: Stream, packed: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&(packed.len() as u32 + 1).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.push(match stream {
        Stream::Clicks => 0,
        Stream::Conversions => 1,
    });
    out.extend_from_slice(packed);
    let crc = crc32fast::hash(&out[start + FRAME_HEAD_BYTES..]);
    out[start + 4..start + FRAME_HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// None at the end, and where a frame is not what was written.
fn read_frame(reader: &mut impl Read) -> io::Result<Option<(Stream, Vec<u8>)>> {
    let mut head = [0; FRAME_HEAD_BYTES];
    if !fill(reader, &mut head)? {
        return Ok(None);
    }
    let [l0, l1, l2, l3, c0, c1, c2, c3] = head;
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if !(1..=FRAME_MAX_BYTES).contains(&len) {
        return Ok(None);
    }
    let mut body = vec![0; len];
    if !fill(reader, &mut body)? || crc32fast::hash(&body) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Ok(None);
    }
    let stream = match body.remove(0) {
        0 => Stream::Clicks,
        1 => Stream::Conversions,
        _ => return Ok(None),
    };
    Ok(Some((stream, body)))
}

/// Whether there were enough bytes.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
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
        assert!(spool.segments.is_empty() && spool.bytes() == 0);
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
    fn a_torn_or_damaged_end_is_skipped() {
        let dir = TempDir::new().unwrap();
        let whole = {
            let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
            append(&mut spool, b"first").unwrap();
            append(&mut spool, b"second").unwrap();
            fs::read(segment_path(dir.path(), 1)).unwrap()
        };
        for cut in 0..whole.len() {
            fs::remove_file(dir.path().join("position")).unwrap();
            for entry in fs::read_dir(dir.path()).unwrap() {
                let path = entry.unwrap().path();
                if segment_number(&path).is_some() {
                    fs::remove_file(path).unwrap();
                }
            }
            let mut damaged = whole[..cut].to_vec();
            if cut % 2 == 0
                && let Some(last) = damaged.last_mut()
            {
                *last ^= 1;
            }
            fs::write(segment_path(dir.path(), 1), damaged).unwrap();
            let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
            append(&mut spool, b"after").unwrap();
            let read = drain(&mut spool);
            assert_eq!(read.last().unwrap(), b"after");
            assert!(read.len() <= 2 && (read.len() == 1 || read[0] == b"first"), "{cut}: {read:?}");
        }
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
