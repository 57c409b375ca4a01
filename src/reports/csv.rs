//! A report as CSV: one line per row, then the totals, with the very cells of the JSON.

use super::Report;

impl Report {
    /// Header, rows, and a last line whose key is `total`. Null is an empty field; the key of links
    /// without such a value is empty too.
    pub fn to_csv(&self) -> Result<String, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let named = ["key".to_owned(), "label".to_owned()];
        writer.write_record(named.into_iter().chain(self.columns()))?;
        let whole = [(Some("total"), None, &self.totals, &self.totals_by_model)];
        let rows = self
            .rows
            .iter()
            .map(|row| (row.name.as_deref(), row.label.as_deref(), &row.figures, &row.by_model));
        for (name, label, figures, by_model) in rows.chain(whole) {
            let cells = self.cells(figures).into_iter().chain(self.model_cells(figures, by_model).flatten());
            let texts = [name.unwrap_or_default().to_owned(), label.unwrap_or_default().to_owned()];
            writer.write_record(texts.into_iter().chain(cells.map(|cell| cell.to_string())))?;
        }
        let bytes = writer.into_inner().map_err(|error| error.into_error())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
