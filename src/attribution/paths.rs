//! Paths: the keys (posts, networks, campaigns ...) that journeys of a period went through, how often
//! that led to a conversion, and how often not. Read from the CSV that attribution packages share.

use std::hash::Hash;
use std::io::{self, BufRead, Read};

use foldhash::fast::RandomState;
use indexmap::IndexSet;

/// All journeys of a period that went through the same keys in the same order.
#[derive(Debug, Clone, PartialEq)]
pub struct Path<K = String> {
    pub keys: Vec<K>,
    /// How many conversions these journeys had; fractions are fine.
    pub conversions: f64,
    /// What these conversions were worth together.
    pub value: f64,
    /// How many of these journeys ended without one.
    pub nulls: f64,
}

/// What one key gets of all the conversions of a period, by any model. Not money: reports scale it to
/// the attributed net.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyCredit<K = String> {
    pub key: K,
    pub conversions: f64,
    pub value: f64,
    /// Only from models that take keys away.
    pub removal_effect: Option<RemovalEffect>,
}

impl<K: Clone> KeyCredit<K> {
    /// A credit of nothing for each key.
    pub(super) fn none_each(keys: &[&K]) -> Vec<Self> {
        let none =
            |key: &&K| Self { key: (*key).clone(), conversions: 0.0, value: 0.0, removal_effect: None };
        keys.iter().map(none).collect()
    }
}

/// The share (0 to 1) of all conversions, and of all value, that is lost when a key is taken away.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RemovalEffect {
    pub conversions: f64,
    pub value: f64,
}

/// What becomes of keys that a path repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// Every touch is its own: the path as it is.
    Unique,
    /// Neighbours that are alike are one touch: A > A > B > A becomes A > B > A.
    Exposure,
    /// Only the first touch of each key stays: A > B > A becomes A > B.
    First,
}

impl Transform {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unique => "unique",
            Self::Exposure => "exposure",
            Self::First => "first",
        }
    }

    /// The same paths with their keys transformed, in the same order.
    pub fn apply<K: Eq + Hash>(self, mut paths: Vec<Path<K>>) -> Vec<Path<K>> {
        for path in &mut paths {
            match self {
                Self::Unique => {}
                Self::Exposure => path.keys.dedup(),
                Self::First => {
                    let seen: IndexSet<K> = std::mem::take(&mut path.keys).into_iter().collect();
                    path.keys = seen.into_iter().collect();
                }
            }
        }
        paths
    }
}

/// More than this is refused rather than read into memory.
pub const MAX_PATHS: usize = 5_000_000;
pub const MAX_KEYS_PER_PATH: usize = 1_000;
/// The largest count or value in a cell: up to here a float still tells whole numbers apart.
pub const MAX_NUMBER: f64 = 9_007_199_254_740_992.0;

const SEPARATOR: &str = " > ";
const PATH: &str = "path";
const CONVERSIONS: &str = "total_conversions";
const VALUE: &str = "total_conversion_value";
const NULLS: &str = "total_null";
const MAX_HEADER_BYTES: u64 = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    #[error("could not read the paths")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Csv(#[from] csv::Error),
    #[error(
        "line 1: there is no column `{0}`; expected are path, total_conversions and perhaps total_conversion_value, total_null"
    )]
    NoColumn(&'static str),
    #[error("line 1: there are two columns `{0}`")]
    TwoColumns(&'static str),
    #[error("line {line}, column {column}: {problem}")]
    Cell { line: u64, column: &'static str, problem: String },
    #[error("line {0}: more than {MAX_PATHS} paths")]
    TooManyPaths(u64),
}

/// Reads paths from CSV. The first line names the columns, in any order: `path` (keys with ` > ` between
/// them), `total_conversions`, and if they are there `total_conversion_value` and `total_null`; any
/// others are passed over. Cells are separated by commas or semicolons, whichever the first line has more of.
///
/// Errors name the line (from 1) and the column.
pub fn read_paths(mut input: impl BufRead) -> Result<Vec<Path>, PathsError> {
    let mut header = Vec::new();
    input.by_ref().take(MAX_HEADER_BYTES).read_until(b'\n', &mut header)?;
    let count = |byte| header.iter().filter(|b| **b == byte).count();
    let delimiter = if count(b';') > count(b',') { b';' } else { b',' };
    let mut csv = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .trim(csv::Trim::All)
        .from_reader(io::Cursor::new(&header).chain(input));

    let columns = Columns::find(csv.headers()?)?;
    let mut paths = Vec::new();
    let mut record = csv::StringRecord::new();
    while csv.read_record(&mut record)? {
        let line = record.position().map_or(0, csv::Position::line);
        if paths.len() == MAX_PATHS {
            return Err(PathsError::TooManyPaths(line));
        }
        paths.push(columns.read(&record, line)?);
    }
    Ok(paths)
}

/// The distinct keys in order of first appearance, and each path as positions in that list.
pub(super) fn number_keys<K: Eq + Hash>(paths: &[Path<K>]) -> (Vec<&K>, Vec<Vec<usize>>) {
    let mut keys = IndexSet::with_hasher(RandomState::default());
    let numbered =
        paths.iter().map(|path| path.keys.iter().map(|key| keys.insert_full(key).0).collect()).collect();
    (keys.into_iter().collect(), numbered)
}

/// Where in a record each column stands.
struct Columns {
    path: usize,
    conversions: usize,
    value: Option<usize>,
    nulls: Option<usize>,
}

impl Columns {
    fn find(header: &csv::StringRecord) -> Result<Self, PathsError> {
        let find = |name| {
            let mut places = header.iter().enumerate().filter(|(_, cell)| *cell == name).map(|(i, _)| i);
            match (places.next(), places.next()) {
                (_, Some(_)) => Err(PathsError::TwoColumns(name)),
                (place, None) => Ok(place),
            }
        };
        Ok(Self {
            path: find(PATH)?.ok_or(PathsError::NoColumn(PATH))?,
            conversions: find(CONVERSIONS)?.ok_or(PathsError::NoColumn(CONVERSIONS))?,
            value: find(VALUE)?,
            nulls: find(NULLS)?,
        })
    }

    fn read(&self, record: &csv::StringRecord, line: u64) -> Result<Path, PathsError> {
        let refuse = |column, problem| PathsError::Cell { line, column, problem };
        let number = |column: &'static str, place: Option<usize>| match place {
            None => Ok(0.0),
            Some(place) => read_number(&record[place]).map_err(|problem| refuse(column, problem)),
        };
        let path = Path {
            keys: read_keys(&record[self.path]).map_err(|problem| refuse(PATH, problem))?,
            conversions: number(CONVERSIONS, Some(self.conversions))?,
            value: number(VALUE, self.value)?,
            nulls: number(NULLS, self.nulls)?,
        };
        if path.value > 0.0 && path.conversions == 0.0 {
            return Err(refuse(VALUE, "there is value but no conversion".to_owned()));
        }
        Ok(path)
    }
}

fn read_keys(cell: &str) -> Result<Vec<String>, String> {
    let keys: Vec<String> = cell.split(SEPARATOR).map(|key| key.trim().to_owned()).collect();
    if keys.len() > MAX_KEYS_PER_PATH {
        return Err(format!("{} keys; up to {MAX_KEYS_PER_PATH} are read", keys.len()));
    }
    for key in &keys {
        if key.is_empty() {
            return Err("a key is empty".to_owned());
        }
        // Most likely "A>B" or "A > > B": as one key it would silently give other results.
        if key.contains('>') {
            return Err(format!(
                "`{key}` has a `>` that does not stand between two keys with a space on either side"
            ));
        }
    }
    Ok(keys)
}

fn read_number(cell: &str) -> Result<f64, String> {
    match cell.parse::<f64>() {
        Ok(number) if (0.0..=MAX_NUMBER).contains(&number) => Ok(number),
        Ok(_) => Err(format!("`{cell}` is not a number from 0 to {MAX_NUMBER}")),
        Err(_) => Err(format!("`{cell}` is not a number (as in 1234.5)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(keys: &[&str], conversions: f64, value: f64, nulls: f64) -> Path {
        Path { keys: keys.iter().map(ToString::to_string).collect(), conversions, value, nulls }
    }

    #[test]
    fn paths_are_read_by_column_name() {
        let check = |csv: &str, expected: &[Path]| {
            assert_eq!(read_paths(csv.as_bytes()).unwrap(), expected, "{csv}");
        };
        let full = [path(&["A", "B"], 2.0, 30.5, 4.0), path(&["C"], 0.0, 0.0, 1.0)];
        check("path,total_conversions,total_conversion_value,total_null\nA > B,2,30.5,4\nC,0,0,1\n", &full);
        check("total_null;path;total_conversion_value;total_conversions\r\n4;A > B;30.5;2\r\n1;C;0;0", &full);
        check("\u{feff}path;note;total_conversions\nA > B;x,y;2\n", &[path(&["A", "B"], 2.0, 0.0, 0.0)]);
        check("path,total_conversions\n\"a, b  >  c\", 0.25\n", &[path(&["a, b", "c"], 0.25, 0.0, 0.0)]);
        check("path,total_conversions\n", &[]);
    }

    #[test]
    fn errors_name_line_and_column() {
        let check = |csv: &str, expected: &str| {
            let error = read_paths(csv.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{csv:?}: {error}");
        };
        check("", "no column `path`");
        check("path,conversions\nA,1\n", "no column `total_conversions`");
        check("path,total_conversions,path\nA,1,B\n", "two columns `path`");
        check("path,total_conversions\nA,1\nA > ,1\n", "line 3, column path: ");
        check("path,total_conversions\n,1\n", "line 2, column path: a key is empty");
        check("path,total_conversions\nA >  > B,1\n", "line 2, column path: a key is empty");
        check("path,total_conversions\nA>B,1\n", "line 2, column path: `A>B`");
        check("path;total_conversions\nA;1,5\n", "line 2, column total_conversions: `1,5` is not a number");
        check("path,total_conversions\nA,\n", "line 2, column total_conversions: ``");
        check("path,total_conversions\nA,-1\n", "from 0");
        check("path,total_conversions\nA,NaN\n", "from 0");
        check("path,total_conversions,total_null\nA,1,inf\n", "line 2, column total_null: `inf`");
        check(
            "path,total_conversions,total_conversion_value\nA,0,5\n",
            "column total_conversion_value: there is value",
        );
        check("path,total_conversions\nA,1\nB\n", "line: 3");
        let long = vec!["A"; MAX_KEYS_PER_PATH + 1].join(SEPARATOR);
        check(&format!("path,total_conversions\n{long},1\n"), "1001 keys");
    }

    #[test]
    fn transforms_treat_repeats() {
        let check = |transform: Transform, keys: &[&str], expected: &[&str]| {
            assert_eq!(transform.apply(vec![path(keys, 1.0, 2.0, 3.0)]), [path(expected, 1.0, 2.0, 3.0)]);
        };
        let repeats = ["A", "A", "B", "B", "A"];
        check(Transform::Unique, &repeats, &repeats);
        check(Transform::Exposure, &repeats, &["A", "B", "A"]);
        check(Transform::First, &repeats, &["A", "B"]);
        check(Transform::First, &[], &[]);
    }
}
