//! A report as a table for the terminal, at most 120 columns wide, with the reconciliation below.

use std::collections::BTreeMap;

use super::{COLUMNS, Figures, Line, Report};
use crate::ledger::reports::{Amounts, Credits, Key};

/// What fits; the JSON and the CSV have all columns. With models side by side their nets stand instead.
const SHOWN: [(&str, &str); 9] = [
    ("clicks", "clicks"),
    ("conversions", "conv."),
    ("revenue", "revenue"),
    ("refunds", "refunds"),
    ("net_revenue", "net"),
    ("cost", "cost"),
    ("roi_percent", "ROI %"),
    ("earnings_per_click", "per click"),
    ("assisted_conversions", "assisted"),
];

const WIDTH: usize = 120;

impl Report {
    pub fn to_table(&self) -> String {
        let titles: Vec<&str> = match self.models.is_empty() {
            true => SHOWN.iter().map(|(_, title)| *title).collect(),
            false => ["clicks"].into_iter().chain(self.models.iter().copied()).chain(["cost"]).collect(),
        };
        let titles = [self.by.name()].into_iter().chain(titles).map(str::to_owned);
        let mut lines = vec![titles.collect::<Vec<_>>()];
        for row in &self.rows {
            let name = match (&row.key, &row.label, &row.name) {
                (Key::None, ..) => "(none)".to_owned(),
                (_, Some(label), Some(name)) => format!("{name}  {label}"),
                (_, _, name) => name.clone().unwrap_or_default(),
            };
            lines.push(self.line(name, &row.figures, &row.by_model));
        }
        let body = lines.len();
        lines.push(self.line("total".to_owned(), &self.totals, &self.totals_by_model));

        let mut widths: Vec<usize> = (0..lines[0].len())
            .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
            .collect();
        let figures: usize = widths[1..].iter().map(|width| width + 2).sum();
        widths[0] = widths[0].min(WIDTH.saturating_sub(figures).max(12));
        let rule = "-".repeat(widths[0] + figures);

        let mut text = self.heading();
        for (i, line) in lines.iter().enumerate() {
            if i == 1 || i == body {
                text += &format!("{rule}\n");
            }
            text += &format!("{:<width$}", cut(&line[0], widths[0]), width = widths[0]);
            for (cell, width) in line[1..].iter().zip(&widths[1..]) {
                text += &format!("  {cell:>width$}");
            }
            text += "\n";
        }
        text + "\n" + &self.reconciliation_text()
    }

    fn line(&self, name: String, figures: &Figures, by_model: &[Credits]) -> Vec<String> {
        let cells = self.cells(figures);
        let shown = |column: &str| {
            let index = COLUMNS.iter().position(|name| *name == column).unwrap_or_default();
            match cells[index].to_string() {
                text if text.is_empty() => "–".to_owned(),
                // Fractions of conversions matter only where there are some.
                text if column == "conversions" => {
                    text.strip_suffix(".0000").map_or(text.clone(), str::to_owned)
                }
                text => text,
            }
        };
        let figures: Vec<String> = match self.models.is_empty() {
            true => SHOWN.iter().map(|(column, _)| shown(column)).collect(),
            false => {
                let nets = by_model.iter().map(|credits| self.money(credits.net_minor()));
                [shown("clicks")].into_iter().chain(nets).chain([shown("cost")]).collect()
            }
        };
        [name].into_iter().chain(figures).collect()
    }

    fn heading(&self) -> String {
        let filters: Vec<String> =
            self.filters.iter().map(|(d, value)| format!("{}={value}", d.name())).collect();
        let heading = format!(
            "{} to {} (exclusive), {}, {}, by {} clock, {} revenue in {}{}{}",
            self.from,
            self.to,
            self.timezone,
            self.model.name(),
            self.clock.name(),
            self.revenue_basis,
            self.currency,
            if filters.is_empty() { "" } else { ", only " },
            filters.join(", "),
        );
        wrapped(&heading) + "\n"
    }

    fn reconciliation_text(&self) -> String {
        let all = &self.reconciliation;
        let line = |label: &str, line: &Line| {
            format!("{label} {} ({} net)", line.orders, self.money(line.amounts.net_minor()))
        };
        let by_reason = |label: &str, lines: &BTreeMap<String, Line>| {
            let sum = lines.values().fold(Line::default(), |sum, line| Line {
                orders: sum.orders + line.orders,
                amounts: sum.amounts + line.amounts,
            });
            let reasons: Vec<String> = lines.iter().map(|(reason, each)| line(reason, each)).collect();
            match reasons.is_empty() {
                true => line(label, &sum),
                false => format!("{}: {}", line(label, &sum), reasons.join(", ")),
            }
        };
        let mut lines = vec![
            line("orders received", &all.received),
            line("= attributed", &all.attributed),
            by_reason("+ unattributed", &all.unattributed),
            by_reason("+ excluded", &all.excluded),
        ];
        let moved = [
            ("of the attributed, for clicks outside the period", all.to_totals.clicks_outside),
            ("attributed here, of orders outside the period", all.to_totals.orders_outside),
            ("attributed, but left out by the filters", all.to_totals.filtered_out),
        ];
        for (label, amounts) in moved.into_iter().filter(|(_, amounts)| *amounts != Amounts::default()) {
            lines.push(format!("{label}: {} net", self.money(amounts.net_minor())));
        }
        for problem in &self.problems {
            lines.push(format!("note ({}): {}", problem.code, problem.detail));
        }
        lines.iter().map(|line| wrapped(line)).collect()
    }
}

/// Lines of at most [`WIDTH`] characters, each ended, those after the first indented.
pub(super) fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > WIDTH {
            lines.push_str("\n   ");
            width = 3;
        }
        if width > 0 {
            lines.push(' ');
            width += 1;
        }
        lines.push_str(word);
        width += length;
    }
    lines + "\n"
}

pub(super) fn cut(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}
