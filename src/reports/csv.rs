//! A report as CSV: one line per row, then the totals, with the very cells of the JSON.

use super::{COLUMNS, Report};

impl Report {
    /// Header, rows, and a last line whose key is `total`. Null is an empty field; the key of links
    /// without such a value is empty too.
    pub fn to_csv(&self) -> Result<String, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["key", "label"].iter().chain(&COLUMNS))?;
        let whole = [(Some("total"), None, &self.totals)];
        let rows = self.rows.iter().map(|row| (row.name.as_deref(), row.label.as_deref(), &row.figures));
        for (name, label, figures) in rows.chain(whole) {
            let cells = self.cells(figures);
            let texts = [name.unwrap_or_default().to_owned(), label.unwrap_or_default().to_owned()];
            writer.write_record(texts.into_iter().chain(cells.iter().map(ToString::to_string)))?;
        }
        let bytes = writer.into_inner().map_err(|error| error.into_error())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
