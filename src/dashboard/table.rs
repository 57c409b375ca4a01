//! The table of a report's rows.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::parts::{cell, network_badge, roi};
use super::view::View;
use super::words::{self, phrase};
use crate::domain::ids::LinkId;
use crate::ledger::reports::{Credits, Dimension, Key};
use crate::reports::{COLUMNS, Cell, Figures, Report, Row};

/// Columns shown, their titles, and whether a narrow screen has room for them.
const SHOWN: [(&str, &str, &str); 9] = [
    ("clicks", "Clicks", ""),
    ("conversions", "Conv.", ""),
    ("revenue", "Revenue", "wide"),
    ("refunds", "Refunds", "wide"),
    ("net_revenue", "Net", ""),
    ("cost", "Cost", ""),
    ("roi_percent", "ROI", ""),
    ("earnings_per_click", "Per click", "wide"),
    ("assisted_conversions", "Assisted", "wide"),
];
const PAGE_ROWS: usize = 100;

pub struct Table<'a> {
    pub report: &'a Report,
    pub view: &'a View,
    pub path: &'a str,
    /// The networks of posts, for rows that are posts.
    pub networks: BTreeMap<Key, Vec<String>>,
}

/// Columns that only some reports have anything for.
const OPTIONAL: [(&str, &str, &str); 3] =
    [("profit", "Profit", ""), ("click_value", "Ad value", "wide"), ("reach", "Reach", "wide")];

impl Table<'_> {
    fn columns(&self) -> Vec<(&'static str, &'static str, &'static str)> {
        let totals = self.report.cells(&self.report.totals);
        let has = |column: &str| {
            COLUMNS.iter().zip(&totals).any(|(name, cell)| *name == column && *cell != Cell::Null)
        };
        SHOWN.into_iter().chain(OPTIONAL.into_iter().filter(|(column, ..)| has(column))).collect()
    }

    pub fn show(&self) -> Markup {
        let report = self.report;
        let side_by_side = !report.models.is_empty();
        let rows = self.sorted();
        let pages = rows.len().div_ceil(PAGE_ROWS).max(1);
        let page = self.view.get("page").and_then(|page| page.parse().ok()).unwrap_or(1).clamp(1, pages);
        let first = (page - 1) * PAGE_ROWS;
        let most = rows.iter().map(|row| row.figures.net_minor()).max().unwrap_or(0).max(1);
        html! {
            div.scroll {
                table.report {
                    caption.hidden { (phrase(report.by.name())) " by " (phrase(report.model.name())) }
                    thead {
                        tr {
                            th scope="col" { (phrase(report.by.name())) }
                            @if side_by_side { (self.model_headings()) }
                            @else { @for (column, title, class) in self.columns() { (self.heading(column, title, class)) } }
                        }
                    }
                    tbody {
                        @for row in rows.iter().skip(first).take(PAGE_ROWS) {
                            tr {
                                th scope="row" { (self.name(row)) }
                                @if side_by_side { (self.model_cells(&row.figures, &row.by_model)) }
                                @else { (self.cells(&row.figures, Some(most))) }
                            }
                        }
                        @if rows.is_empty() {
                            tr { td.empty colspan=(self.columns().len() + 1) { "Nothing happened in this period. Share a link, or choose other days." } }
                        }
                    }
                    @if !rows.is_empty() {
                        tfoot {
                            tr {
                                th scope="row" { "Total" }
                                @if side_by_side { (self.model_cells(&report.totals, &report.totals_by_model)) }
                                @else { (self.cells(&report.totals, None)) }
                            }
                        }
                    }
                }
            }
            @if pages > 1 {
                nav.pages aria-label="Pages of rows" {
                    @if page > 1 { a href=(self.page_href(page - 1)) rel="prev" { "← Before" } }
                    span { "Rows " (first + 1) " to " (rows.len().min(first + PAGE_ROWS)) " of " (words::count(rows.len() as i64)) }
                    @if page < pages { a href=(self.page_href(page + 1)) rel="next" { "Next →" } }
                }
            }
        }
    }

    /// The figures of a row; `most` is the largest net, to draw its part of it.
    fn cells(&self, figures: &Figures, most: Option<i64>) -> Markup {
        html! {
            @for (column, title, class) in self.columns() {
                td class={ "num " (class) " c-" (column) } data-title=(title) {
                    @match (column, most) {
                        ("roi_percent", _) => (roi(self.report, figures)),
                        ("net_revenue", Some(most)) => { (cell(self.report, figures, column)) (bar(figures.net_minor(), most)) },
                        _ => (cell(self.report, figures, column)),
                    }
                }
            }
        }
    }

    fn model_headings(&self) -> Markup {
        html! {
            (self.heading("clicks", "Clicks", ""))
            @for model in &self.report.models { (self.heading(model, &phrase(model), "")) }
        }
    }

    /// What each model credits, and how that differs from the last touch.
    fn model_cells(&self, figures: &Figures, by_model: &[Credits]) -> Markup {
        let currency = self.report.currency;
        html! {
            td.num data-title="Clicks" { (cell(self.report, figures, "clicks")) }
            @for (model, credits) in self.report.models.iter().zip(by_model) {
                @let change = credits.net_minor() - figures.net_minor();
                td.num data-title=(phrase(model)) {
                    (words::money(credits.net_minor(), currency))
                    @if change != 0 {
                        span class={ "change " (if change > 0 { "better" } else { "worse" }) } {
                            @if change > 0 { "+" } (words::money(change, currency))
                        }
                    }
                }
            }
        }
    }

    fn page_href(&self, page: usize) -> String {
        self.view.with(&[("page", Some(&page.to_string()))]).href(self.path)
    }

    fn sorting(&self) -> Option<(&str, bool)> {
        let known = |name: &&str| COLUMNS.contains(name) || self.report.models.contains(name);
        let column = self.view.get("sort").filter(known)?;
        Some((column, self.view.get("dir") == Some("up")))
    }

    fn sorted(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.report.rows.iter().collect();
        if let Some((column, up)) = self.sorting() {
            let index = COLUMNS.iter().position(|name| *name == column);
            let model = self.report.models.iter().position(|name| *name == column);
            // What cannot be told comes last either way.
            let value = |row: &Row| match (index, model) {
                (_, Some(model)) => Some(row.by_model[model].net_minor() as f64),
                (Some(index), None) => match &self.report.cells(&row.figures)[index] {
                    Cell::Null => None,
                    Cell::Count(n) => Some(*n as f64),
                    Cell::Money(text) | Cell::Number(text) => text.parse().ok(),
                },
                (None, None) => None,
            };
            rows.sort_by(|a, b| match (value(a), value(b)) {
                (Some(a), Some(b)) if up => f64::total_cmp(&a, &b),
                (Some(a), Some(b)) => f64::total_cmp(&b, &a),
                (a, b) => b.is_some().cmp(&a.is_some()),
            });
        }
        rows
    }

    fn heading(&self, column: &str, title: &str, class: &str) -> Markup {
        let sorted = self.sorting().filter(|(name, _)| *name == column).map(|(_, up)| up);
        let next = if sorted == Some(false) { Some("up") } else { None };
        let href = self.view.with(&[("sort", Some(column)), ("dir", next), ("page", None)]).href(self.path);
        let aria = sorted.map(|up| if up { "ascending" } else { "descending" });
        html! {
            th class={ "num " (class) } scope="col" aria-sort=[aria] {
                a href=(href) { (title) @if let Some(up) = sorted { span.arrow aria-hidden="true" { (if up { "↑" } else { "↓" }) } } }
            }
        }
    }

    fn name(&self, row: &Row) -> Markup {
        let text = match &row.key {
            Key::None => html! { span.none { "None" } },
            Key::Unallocated => {
                html! { span.none title="Costs with no post under them" { "Unallocated costs" } }
            }
            key => self.key_name(key, row),
        };
        let fine = row.label.as_ref().and(row.name.as_ref()).filter(|name| Some(*name) != row.label.as_ref());
        html! {
            div.name {
                (text)
                @if fine.is_some() || self.networks.contains_key(&row.key) {
                    div.under {
                        @for network in self.networks.get(&row.key).into_iter().flatten() { (network_badge(network)) }
                        @if let Some(id) = fine.filter(|_| self.report.by != Dimension::Link) { span.id { (id) } }
                    }
                }
            }
        }
    }

    fn key_name(&self, key: &Key, row: &Row) -> Markup {
        let name = row.name.as_deref().unwrap_or_default();
        let shown = row.label.as_deref().unwrap_or(name);
        let by = self.report.by;
        let filtered = |by_next: &str| {
            self.view
                .with(&[
                    (by.name(), Some(name)),
                    ("by", Some(by_next)),
                    ("sort", None),
                    ("dir", None),
                    ("page", None),
                ])
                .href("/app")
        };
        match (by, key) {
            (Dimension::Post, _) => {
                let path = format!(
                    "/app/posts/{}",
                    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC)
                );
                html! { a href=(self.view.frame().href(&path)) { (shown) } }
            }
            (Dimension::Network, _) => html! { a href=(filtered("post")) { (network_badge(name)) } },
            (Dimension::Link, Key::Number(id)) => {
                let id = LinkId::from_i64(*id).map(|id| id.to_string()).unwrap_or_default();
                html! { a href=(self.view.with(&[("link", Some(&id)), ("by", Some("day")), ("sort", None), ("page", None)]).href("/app")) { (shown) } }
            }
            (Dimension::HourOfWeek | Dimension::PublishedHour, Key::Number(hour)) => {
                html! { (hour_name(*hour)) }
            }
            (by, Key::Number(day)) if by.is_time() => html! { (words::day(*day)) },
            _ => html! { a href=(filtered("post")) { (shown) } },
        }
    }
}

fn hour_name(hour: i64) -> String {
    const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let day = DAYS[usize::try_from(hour / 24).unwrap_or_default() % 7];
    format!("{day} {:02}:00", hour % 24)
}

/// A thin bar under a figure: its part of the largest.
fn bar(part: i64, most: i64) -> Markup {
    let width = part.max(0) as f64 / most as f64 * 100.0;
    html! { svg.bar viewBox="0 0 100 3" preserveAspectRatio="none" aria-hidden="true" { rect width=(format!("{width:.1}")) height="3" {} } }
}
