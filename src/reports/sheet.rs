//! A report in its plainest form: what it says of itself, columns, rows and totals. JSON, CSV and the table
//! for the terminal are written from the same cells.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::table::{cut, wrapped};
use super::{Cell, Problem};

/// The widest name of a row on the terminal.
const NAME_WIDTH: usize = 34;

#[derive(Debug, Clone, Default)]
pub struct Sheet {
    /// What comes before the rows, by name: the request, `as_of`, the settings' hash.
    pub head: Vec<(&'static str, Value)>,
    pub columns: Vec<String>,
    /// What a table for the eye shows: columns with their titles, all if there are none.
    pub shown: Vec<(String, String)>,
    pub rows: Vec<SheetRow>,
    /// In the order of the columns. None where rows do not add up to anything.
    pub totals: Option<Vec<Cell>>,
    /// What comes after the rows, by name.
    pub foot: Vec<(&'static str, Value)>,
    pub problems: Vec<Problem>,
}

#[derive(Debug, Clone)]
pub struct SheetRow {
    /// None: the links have no such value.
    pub name: Option<String>,
    pub label: Option<String>,
    /// In the order of the columns.
    pub cells: Vec<Cell>,
}

impl Sheet {
    /// A cell by the row's and the column's name; `total` is the name of the totals.
    pub fn cell(&self, row: &str, column: &str) -> Option<&Cell> {
        let place = self.columns.iter().position(|name| name == column)?;
        let of_row = self.rows.iter().find(|known| known.name.as_deref() == Some(row));
        match (of_row, row) {
            (Some(row), _) => row.cells.get(place),
            (None, "total") => self.totals.as_ref()?.get(place),
            (None, _) => None,
        }
    }

    /// Header, rows, and the totals, whose key is `total`. Null is an empty field.
    pub fn to_csv(&self) -> Result<String, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["key", "label"].into_iter().chain(self.columns.iter().map(String::as_str)))?;
        for (name, label, cells) in self.lines() {
            let texts = [name.unwrap_or_default().to_owned(), label.unwrap_or_default().to_owned()];
            writer.write_record(texts.into_iter().chain(cells.iter().map(ToString::to_string)))?;
        }
        let bytes = writer.into_inner().map_err(|error| error.into_error())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The places and titles of what a table for the eye shows.
    pub fn shown(&self) -> Vec<(usize, String)> {
        if self.shown.is_empty() {
            return self.columns.iter().map(|name| name.replace('_', " ")).enumerate().collect();
        }
        let place = |name: &String| self.columns.iter().position(|column| column == name);
        self.shown.iter().filter_map(|(name, title)| Some((place(name)?, title.clone()))).collect()
    }

    /// For the terminal.
    pub fn to_table(&self) -> String {
        let shown = self.shown();
        let titles = shown.iter().map(|(_, title)| title.clone());
        let mut lines = vec![[String::new()].into_iter().chain(titles).collect::<Vec<_>>()];
        for (name, label, cells) in self.lines() {
            let name = match (name, label) {
                (None, _) => "(none)".to_owned(),
                (Some(name), Some(label)) => cut(&format!("{name}  {label}"), NAME_WIDTH),
                (Some(name), None) => cut(name, NAME_WIDTH),
            };
            let text = |(place, _): &(usize, String)| match &cells[*place] {
                Cell::Null => "–".to_owned(),
                cell => cell.to_string(),
            };
            lines.push([name].into_iter().chain(shown.iter().map(text)).collect());
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..=shown.len()).map(width).collect();
        let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * shown.len());
        let mut text = self.head_text();
        for (i, line) in lines.iter().enumerate() {
            if i == 1 || self.totals.is_some() && i > 1 && i + 1 == lines.len() {
                text += &format!("{rule}\n");
            }
            text += &format!("{:<width$}", line[0], width = widths[0]);
            for (cell, width) in line[1..].iter().zip(&widths[1..]) {
                text += &format!("  {cell:>width$}");
            }
            text += "\n";
        }
        for (name, value) in &self.foot {
            text += &wrapped(&format!("{}: {}", name.replace('_', " "), plain(value)));
        }
        for problem in &self.problems {
            text += &wrapped(&format!("note ({}): {}", problem.code, problem.detail));
        }
        text
    }

    fn head_text(&self) -> String {
        const FOR_MACHINES: [&str; 2] = ["as_of", "settings_hash"];
        let shown = self.head.iter().filter(|(name, value)| !FOR_MACHINES.contains(name) && !is_empty(value));
        let parts: Vec<String> =
            shown.map(|(name, value)| format!("{} {}", name.replace('_', " "), plain(value))).collect();
        wrapped(&parts.join(", ")) + "\n"
    }

    fn lines(&self) -> impl Iterator<Item = (Option<&str>, Option<&str>, &[Cell])> {
        let rows =
            self.rows.iter().map(|row| (row.name.as_deref(), row.label.as_deref(), row.cells.as_slice()));
        rows.chain(self.totals.iter().map(|cells| (Some("total"), None, cells.as_slice())))
    }
}

/// As text within a line: objects as `name value`, lists by commas.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(entries) => {
            let entry =
                |(name, value): (&String, &Value)| format!("{} {}", name.replace('_', " "), plain(value));
            entries.iter().map(entry).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

impl Serialize for Sheet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.head {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("problems", &self.problems)?;
        let rows: Vec<_> = self.rows.iter().map(|row| JsonRow { sheet: self, row }).collect();
        map.serialize_entry("rows", &rows)?;
        if let Some(cells) = &self.totals {
            map.serialize_entry("totals", &JsonCells { sheet: self, cells })?;
        }
        for (name, value) in &self.foot {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

struct JsonRow<'a> {
    sheet: &'a Sheet,
    row: &'a SheetRow,
}

impl Serialize for JsonRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("key", &self.row.name)?;
        map.serialize_entry("label", &self.row.label)?;
        cells(&mut map, self.sheet, &self.row.cells)?;
        map.end()
    }
}

struct JsonCells<'a> {
    sheet: &'a Sheet,
    cells: &'a [Cell],
}

impl Serialize for JsonCells<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        cells(&mut map, self.sheet, self.cells)?;
        map.end()
    }
}

fn cells<M: SerializeMap>(map: &mut M, sheet: &Sheet, cells: &[Cell]) -> Result<(), M::Error> {
    sheet.columns.iter().zip(cells).try_for_each(|(name, cell)| map.serialize_entry(name, cell))
}
