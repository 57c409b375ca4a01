//! Append-only files, one after the other, for what must be on disk before anybody is answered.
//!
//! A file is named by a number and holds frames of `| 4 length | 4 CRC-32 of the rest | rest |`, numbers little
//! endian. What a process that died left unfinished ends its file: nobody was told that it was stored. All of
//! this blocks; call it off the runtime.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take, Write};
use std::path::{Path, PathBuf};

use crate::ledger::Synchronous;

/// A file that has reached this size gets no more frames.
const SEGMENT_BYTES: u64 = 64 << 20;
const FRAME_HEAD_BYTES: usize = 8;

pub(super) struct Segments {
    dir: PathBuf,
    synchronous: Synchronous,
    /// Oldest first; the last one may be the one that is written to.
    list: VecDeque<Segment>,
    /// The last of `list`, open for appending. Never one that an earlier process wrote to.
    writer: Option<File>,
}

/// A file: its number and how much of it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub number: u64,
    pub len: u64,
}

impl Segments {
    pub fn open(dir: &Path, synchronous: Synchronous) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut list = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if let Some(number) = number_of(&entry.path()) {
                list.push(Segment { number, len: entry.metadata()?.len() });
            }
        }
        list.sort_by_key(|segment| segment.number);
        Ok(Self { dir: dir.to_owned(), synchronous, list: list.into(), writer: None })
    }

    /// Oldest first.
    pub fn list(&self) -> &VecDeque<Segment> {
        &self.list
    }

    pub fn bytes(&self) -> u64 {
        self.list.iter().map(|segment| segment.len).sum()
    }

    /// Appends whole frames and waits until the disk has them. If a new file has to begin, it gets `number`,
    /// higher than all before. After an error none of the frames counts.
    pub fn append(&mut self, number: u64, frames: &[u8]) -> io::Result<()> {
        if self.list.back().is_none_or(|segment| segment.len >= SEGMENT_BYTES) {
            self.writer = None;
        }
        if self.writer.is_none() {
            self.begin(number)?;
        }
        let (Some(file), Some(segment)) = (&mut self.writer, self.list.back_mut()) else {
            unreachable!("a file was just begun");
        };
        let written = file.write_all(frames).and_then(|()| match self.synchronous {
            Synchronous::Full => file.sync_data(),
            Synchronous::Normal => Ok(()),
        });
        if written.is_ok() {
            segment.len += frames.len() as u64;
        } else {
            // Should this fail as well, what got through stands beyond what counts.
            let _ = file.set_len(segment.len);
            self.writer = None;
            if segment.len == 0 {
                let _ = fs::remove_file(path(&self.dir, segment.number));
                self.list.pop_back();
            }
        }
        written
    }

    /// Begins a new file, so that those before it can be dropped.
    pub fn begin(&mut self, number: u64) -> io::Result<()> {
        if let Some(file) = self.writer.take() {
            // Without effect if every append has waited.
            file.sync_data()?;
        }
        let path = path(&self.dir, number);
        let file = OpenOptions::new().append(true).create_new(true).open(&path)?;
        // The file's name must survive as well as what is in it.
        if let Err(error) = File::open(&self.dir).and_then(|dir| dir.sync_all()) {
            // Or the next try would find it in its way.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        self.list.push_back(Segment { number, len: 0 });
        self.writer = Some(file);
        Ok(())
    }

    /// Deletes the oldest file.
    pub fn drop_first(&mut self) -> io::Result<()> {
        let Some(first) = self.list.front() else { return Ok(()) };
        fs::remove_file(path(&self.dir, first.number))?;
        self.list.pop_front();
        if self.list.is_empty() {
            self.writer = None;
        }
        Ok(())
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Reads the frames of a file from an offset on.
pub(super) struct FrameReader {
    reader: BufReader<Take<File>>,
    /// Where the next one begins.
    pub offset: u64,
    end: u64,
}

/// Begins to read a file.
pub(super) fn read(dir: &Path, segment: Segment, offset: u64) -> io::Result<FrameReader> {
    let mut file = File::open(path(dir, segment.number))?;
    file.seek(SeekFrom::Start(offset))?;
    let left = segment.len.saturating_sub(offset);
    Ok(FrameReader { reader: BufReader::with_capacity(1 << 16, file.take(left)), offset, end: segment.len })
}

impl FrameReader {
    /// None at the end, and where a frame is not what was written: nothing after it counts.
    pub fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let body = self.read()?;
        match &body {
            Some(body) => self.offset += (FRAME_HEAD_BYTES + body.len()) as u64,
            None if self.offset < self.end => {
                let torn_bytes = self.end - self.offset;
                tracing::warn!(torn_bytes, "skipped the torn end of a file");
                self.offset = self.end;
            }
            None => {}
        }
        Ok(body)
    }

    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut head = [0; FRAME_HEAD_BYTES];
        if !fill(&mut self.reader, &mut head)? {
            return Ok(None);
        }
        let [l0, l1, l2, l3, c0, c1, c2, c3] = head;
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        if u64::from(len) > self.end - self.offset {
            return Ok(None);
        }
        let mut body = vec![0; len as usize];
        let is_whole = fill(&mut self.reader, &mut body)?;
        let crc = u32::from_le_bytes([c0, c1, c2, c3]);
        Ok(Some(body).filter(|body| is_whole && crc32fast::hash(body) == crc))
    }
}

/// Appends a frame of what `write` appends.
pub(super) fn push_frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
    write(out);
    let body = &out[start + FRAME_HEAD_BYTES..];
    let (len, crc) = (body.len() as u32, crc32fast::hash(body));
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..start + FRAME_HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// Whether there were enough bytes.
pub(super) fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:012}.log"))
}

fn number_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".log")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn all(segments: &Segments) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for segment in segments.list() {
            let mut frames = read(segments.dir(), *segment, 0).unwrap();
            while let Some(body) = frames.next().unwrap() {
                all.push(body);
            }
        }
        all
    }

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        push_frame(&mut frame, |out| out.extend_from_slice(body));
        frame
    }

    #[test]
    fn a_torn_or_damaged_end_is_skipped() {
        let dir = TempDir::new().unwrap();
        let open = || Segments::open(dir.path(), Synchronous::Full).unwrap();
        let whole = {
            let mut segments = open();
            segments.append(1, &frame(b"first")).unwrap();
            segments.append(2, &frame(b"second")).unwrap();
            fs::read(path(dir.path(), 1)).unwrap()
        };
        for cut in 0..whole.len() {
            for segment in open().list() {
                fs::remove_file(path(dir.path(), segment.number)).unwrap();
            }
            let mut damaged = whole[..cut].to_vec();
            if cut % 2 == 0
                && let Some(last) = damaged.last_mut()
            {
                *last ^= 1;
            }
            fs::write(path(dir.path(), 1), damaged).unwrap();
            let mut segments = open();
            segments.append(2, &frame(b"after")).unwrap();
            let read = all(&segments);
            assert_eq!(read.last().unwrap(), b"after");
            assert!(read.len() <= 2 && (read.len() == 1 || read[0] == b"first"), "{cut}: {read:?}");
        }
    }

    #[test]
    fn files_begin_and_go() {
        let dir = TempDir::new().unwrap();
        let mut segments = Segments::open(dir.path(), Synchronous::Normal).unwrap();
        segments.append(7, &frame(b"a")).unwrap();
        segments.begin(9).unwrap();
        segments.append(10, &frame(b"")).unwrap();
        assert_eq!(segments.list(), &[Segment { number: 7, len: 9 }, Segment { number: 9, len: 8 }]);
        assert_eq!(all(&segments), [&b"a"[..], b""]);
        segments.drop_first().unwrap();
        drop(segments);
        let mut segments = Segments::open(dir.path(), Synchronous::Normal).unwrap();
        assert_eq!((all(&segments), segments.bytes()), (vec![Vec::new()], 8));
        // Nothing is appended to the file of another process.
        segments.append(11, &frame(b"b")).unwrap();
        assert_eq!(segments.list().len(), 2);
        segments.drop_first().unwrap();
        segments.drop_first().unwrap();
        segments.drop_first().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        segments.append(12, &frame(b"c")).unwrap();
        assert_eq!(all(&segments), [b"c"]);
    }
}
