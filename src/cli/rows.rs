//! Rows of an export file, CSV or JSON, one at a time: a file of any length takes the same memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use tokio::sync::mpsc;

/// Rows that were read ahead.
const AHEAD: usize = 2_000;
const COLUMNS_MAX: usize = 500;
/// How deep objects in JSON are looked into.
const DEPTH_MAX: usize = 4;
/// Where JSON exports keep their records.
const LISTS: [&str; 5] = ["data", "links", "shortUrls", "results", "urls"];
/// Stands between the items of a list in JSON, since any other character may be part of an item.
pub const ITEM_SEPARATOR: char = '\u{1f}';

/// A row of CSV, or a record of JSON whose objects are flattened: `meta.validUntil`.
#[derive(Debug, Clone)]
pub struct Row {
    /// Line of the file in CSV, number of the record in JSON; from 1.
    pub line: u64,
    /// As [`column_key`] makes them.
    names: Arc<[String]>,
    values: Vec<String>,
}

impl Row {
    /// The trimmed value under a column key. None: no such column, or nothing in it.
    pub fn get(&self, key: &str) -> Option<&str> {
        let mut found = self.names.iter().zip(&self.values).filter(|(name, _)| *name == key);
        found.find_map(|(_, value)| Some(value.trim()).filter(|value| !value.is_empty()))
    }

    /// Whether the file has such a column, whatever stands in it.
    pub fn has(&self, key: &str) -> bool {
        self.names.iter().any(|name| name == key)
    }

    /// All that it says, for telling rows apart.
    pub fn digest(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for (name, value) in self.names.iter().zip(&self.values) {
            hasher.update(name.as_bytes()).update(&[0]).update(value.as_bytes()).update(&[0]);
        }
        hasher.finalize()
    }
}

/// The one form in which column names are compared: `Short link`, `short_link` and `shortLink` are the same.
pub fn column_key(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric() || *c == '.').flat_map(char::to_lowercase).collect()
}

/// A row, or its line and what is wrong with it.
pub type Reading = Result<Row, (u64, String)>;

/// Rows of a file, read by a thread of their own.
pub struct Rows {
    receiver: mpsc::Receiver<Reading>,
    reader: tokio::task::JoinHandle<anyhow::Result<()>>,
    pub bar: ProgressBar,
}

impl Rows {
    /// Opens a file. `needed`: column keys, each a list of alternatives, of which CSV must have one. JSON
    /// is told by its first character.
    pub fn open(path: &Path, needed: &[(&str, &[String])]) -> anyhow::Result<Self> {
        let shown = || path.display().to_string();
        let mut file = File::open(path).with_context(shown)?;
        let bytes = file.metadata().with_context(shown)?.len();
        let mut head = [0; 4096];
        let read = file.read(&mut head).with_context(shown)?;
        file.rewind().with_context(shown)?;
        let head = head[..read].strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head[..read]);
        let first = head.iter().find(|byte| !byte.is_ascii_whitespace());
        let is_json = match first {
            None => bail!("{}: the file is empty", shown()),
            Some(byte) => matches!(byte, b'{' | b'['),
        };
        let style = ProgressStyle::with_template("{bar:40} {percent:>3} % {msg} {elapsed} (left: {eta})")?;
        // Nothing is drawn where nobody looks.
        let bar = ProgressBar::new(bytes).with_style(style);
        let file = BufReader::with_capacity(1 << 16, bar.wrap_read(file));
        let (sender, receiver) = mpsc::channel(AHEAD);
        let reader = match is_json {
            true => tokio::task::spawn_blocking(move || read_json(file, &sender)),
            false => {
                let csv = Csv::open(file).with_context(shown)?;
                for (field, keys) in needed {
                    let has = csv.names.iter().any(|name| keys.contains(name));
                    ensure!(
                        has,
                        "{}: there is no column for {field}; name it by --map COLUMN={field}",
                        shown()
                    );
                }
                tokio::task::spawn_blocking(move || {
                    csv.read(&sender);
                    Ok(())
                })
            }
        };
        Ok(Self { receiver, reader, bar })
    }

    /// Up to `max` rows; empty at the end of the file.
    ///
    /// Errors: the file cannot be read on, or is no JSON from some place on.
    pub async fn next(&mut self, max: usize) -> anyhow::Result<Vec<Reading>> {
        let mut rows = Vec::with_capacity(max);
        if self.receiver.recv_many(&mut rows, max).await == 0 {
            (&mut self.reader).await??;
        }
        Ok(rows)
    }
}

struct Csv<R> {
    reader: csv::Reader<R>,
    names: Arc<[String]>,
}

impl<R: BufRead> Csv<R> {
    fn open(mut file: R) -> anyhow::Result<Self> {
        let head = file.fill_buf()?;
        let marked = head.starts_with(b"\xef\xbb\xbf");
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let count = |delimiter: u8| line.iter().filter(|byte| **byte == delimiter).count();
        let delimiter = [b',', b';', b'\t'].into_iter().rev().max_by_key(|byte| count(*byte)).unwrap_or(b',');
        if marked {
            file.consume(3);
        }
        let mut reader =
            csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).has_headers(true).from_reader(file);
        let names: Vec<String> = reader.headers()?.iter().map(column_key).collect();
        ensure!(names.len() <= COLUMNS_MAX, "more than {COLUMNS_MAX} columns");
        Ok(Self { reader, names: names.into() })
    }

    fn read(mut self, sender: &mpsc::Sender<Reading>) {
        let mut record = csv::StringRecord::new();
        loop {
            let line = self.reader.position().line();
            let reading = match self.reader.read_record(&mut record) {
                Ok(false) => break,
                Ok(true) => {
                    let line = record.position().map_or(line, csv::Position::line);
                    match record.len() > self.names.len() {
                        true => {
                            Err((line, format!("{} values, but {} columns", record.len(), self.names.len())))
                        }
                        false => {
                            let values = record.iter().map(str::to_owned).collect();
                            Ok(Row { line, names: Arc::clone(&self.names), values })
                        }
                    }
                }
                Err(error) if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) => {
                    Err((line, "the line is not UTF-8".to_owned()))
                }
                Err(error) => {
                    let _ = sender.blocking_send(Err((line, error.to_string())));
                    break;
                }
            };
            if sender.blocking_send(reading).is_err() {
                break;
            }
        }
    }
}

fn read_json(mut file: impl BufRead, sender: &mpsc::Sender<Reading>) -> anyhow::Result<()> {
    if file.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        file.consume(3);
    }
    let mut count = 0;
    let mut json = serde_json::Deserializer::from_reader(file);
    // Pages of an API that were written one after another are as good as one list.
    while json.end().is_err() {
        let mut emit = |record: Value| {
            count += 1;
            sender.blocking_send(flatten(count, record)).is_ok()
        };
        Records { emit: &mut emit }.deserialize(&mut json).context("the JSON cannot be read")?;
    }
    Ok(())
}

fn flatten(line: u64, record: Value) -> Reading {
    let Value::Object(record) = record else { return Err((line, "not an object".to_owned())) };
    let (mut names, mut values) = (Vec::new(), Vec::new());
    let mut add = |name: String, value: String| {
        names.push(name);
        values.push(value);
    };
    let mut open: Vec<(String, Value, usize)> =
        record.into_iter().rev().map(|(name, value)| (column_key(&name), value, 0)).collect();
    while let Some((name, value, depth)) = open.pop() {
        match value {
            Value::Null => {}
            Value::String(text) => add(name, text),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().filter_map(item).collect();
                add(name, items.join(&ITEM_SEPARATOR.to_string()));
            }
            Value::Object(object) if depth < DEPTH_MAX => {
                let inner = object.into_iter().rev();
                open.extend(
                    inner.map(|(key, value)| (format!("{name}.{}", column_key(&key)), value, depth + 1)),
                );
            }
            other => add(name, other.to_string()),
        }
    }
    Ok(Row { line, names: names.into(), values })
}

/// An item of a list: a text, or the name of an object.
fn item(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(object) => Some(object.get("name").or(object.get("tag"))?.as_str()?.to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Finds the records in an export's JSON, without holding more than one.
struct Records<'a> {
    /// False: nobody wants more.
    emit: &'a mut dyn FnMut(Value) -> bool,
}

impl<'de> DeserializeSeed<'de> for Records<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Records<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of records, or an object that holds one")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<(), A::Error> {
        while let Some(record) = records.next_element()? {
            if !(self.emit)(record) {
                return Err(A::Error::custom("nobody reads on"));
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if LISTS.contains(&key.as_str()) {
                map.next_value_seed(Records { emit: &mut *self.emit })?;
            } else if key.starts_with("link_") {
                // YOURLS numbers its records: link_1, link_2, ...
                let record = map.next_value()?;
                if !(self.emit)(record) {
                    return Err(A::Error::custom("nobody reads on"));
                }
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &str) -> Vec<Reading> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, text).unwrap();
        let mut rows = Rows::open(&path, &[]).unwrap();
        let mut all = Vec::new();
        loop {
            let some = rows.next(2).await.unwrap();
            if some.is_empty() {
                return all;
            }
            all.extend(some);
        }
    }

    #[tokio::test]
    async fn delimiters_marks_and_broken_lines_are_borne() {
        for delimiter in [",", ";", "\t"] {
            let text = "\u{feff}Short Link,Long_URL\na,\"b\nc\"\nd,e,f\ng\n".replace(',', delimiter);
            let rows = read(&text).await;
            let first = rows[0].as_ref().unwrap();
            assert_eq!(
                (first.line, first.get("shortlink"), first.get("longurl")),
                (2, Some("a"), Some("b\nc"))
            );
            assert_eq!(rows[1].as_ref().unwrap_err(), &(4, "3 values, but 2 columns".to_owned()));
            let last = rows[2].as_ref().unwrap();
            assert_eq!((last.line, last.get("shortlink"), last.get("longurl")), (5, Some("g"), None));
            assert_eq!(rows.len(), 3);
        }
    }

    #[tokio::test]
    async fn records_are_found_in_every_shape() {
        let check = async |text: &str| {
            let rows = read(text).await;
            let slugs: Vec<&str> = rows.iter().filter_map(|row| row.as_ref().unwrap().get("slug")).collect();
            assert_eq!(slugs, ["a", "b"], "{text}");
        };
        check(r#"[{"slug":"a"},{"slug":"b"}]"#).await;
        check(r#"{"total":2,"data":[{"slug":"a"},{"slug":"b"}]}"#).await;
        check(r#"{"shortUrls":{"data":[{"slug":"a"},{"slug":"b"}],"pagination":{"data":1}}}"#).await;
        check(r#"{"links":{"link_1":{"slug":"a"},"link_2":{"slug":"b"}},"stats":{"total_links":"2"}}"#).await;
        check("{\"links\":[{\"slug\":\"a\"}]}\n{\"links\":[{\"slug\":\"b\"}]}\n").await;

        let rows = read(r#"[{"a":{"b":{"c":1}},"tags":["x,y",{"name":"z"}],"n":null,"t":true}, 5]"#).await;
        let row = rows[0].as_ref().unwrap();
        let of = |key| row.get(key);
        assert_eq!(
            (of("a.b.c"), of("tags"), of("n"), of("t")),
            (Some("1"), Some("x,y\u{1f}z"), None, Some("true"))
        );
        assert_eq!(rows[1].as_ref().unwrap_err(), &(2, "not an object".to_owned()));
    }

    #[tokio::test]
    async fn what_is_no_json_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, r#"[{"slug":"a"},{"slug":"#).unwrap();
        let mut rows = Rows::open(&path, &[]).unwrap();
        assert_eq!(rows.next(10).await.unwrap().len(), 1);
        assert!(rows.next(10).await.unwrap_err().to_string().contains("cannot be read"));
        std::fs::write(&path, " \n").unwrap();
        assert!(Rows::open(&path, &[]).is_err());
    }
}
