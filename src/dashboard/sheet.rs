//! The table of a sheet: models compared, customers, a snapshot against today.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::civil::Date;
use maud::{Markup, html};

use super::words::{self, count, grouped, money_text};
use super::{PageError, layout, parts};
use crate::api::Problem;
use crate::domain::money::Currency;
use crate::reports::{Cell, Sheet, SheetRow};

/// A sheet with the name of its first column, what a row is called, and what to say if there is none.
pub struct SheetTable<'a, F: Fn(&SheetRow) -> Markup> {
    pub sheet: &'a Sheet,
    pub currency: Currency,
    pub of: &'a str,
    pub name: F,
    pub empty: &'a str,
}

impl<F: Fn(&SheetRow) -> Markup> SheetTable<'_, F> {
    pub fn show(&self) -> Markup {
        let shown = self.sheet.shown();
        html! {
            div.scroll {
                table.report.sheet {
                    caption.hidden { (self.of) }
                    thead {
                        tr {
                            th scope="col" { (self.of) }
                            @for (_, title) in &shown { th.num scope="col" { (words::phrase(title)) } }
                        }
                    }
                    tbody {
                        @for row in &self.sheet.rows {
                            tr { th scope="row" { div.name { ((self.name)(row)) } } (self.cells(&shown, &row.cells)) }
                        }
                        @if self.sheet.rows.is_empty() { tr { td.empty colspan=(shown.len() + 1) { (self.empty) } } }
                    }
                    @if let Some(totals) = self.sheet.totals.as_ref().filter(|_| !self.sheet.rows.is_empty()) {
                        tfoot { tr { th scope="row" { "Total" } (self.cells(&shown, totals)) } }
                    }
                }
            }
        }
    }

    fn cells(&self, shown: &[(usize, String)], cells: &[Cell]) -> Markup {
        html! {
            @for (place, title) in shown {
                @let column = &self.sheet.columns[*place];
                @let is_change = column.ends_with("change") || column.ends_with("change_percent");
                td class={ "num " (if is_change { sign(&cells[*place]) } else { "" }) } data-title=(words::phrase(title)) {
                    (self.cell(column, &cells[*place], is_change))
                }
            }
        }
    }

    fn cell(&self, column: &str, cell: &Cell, is_change: bool) -> String {
        let plus = if is_change && sign(cell) == "better" { "+" } else { "" };
        match cell {
            Cell::Null => "–".to_owned(),
            Cell::Count(n) => format!("{plus}{}", count(*n)),
            Cell::Money(text) => format!("{plus}{}", money_text(text, self.currency)),
            Cell::Number(text) if column.ends_with("percent") => format!("{plus}{}\u{a0}%", grouped(text)),
            Cell::Number(text) if column.ends_with("rate") => {
                format!("{:.0}\u{a0}%", text.parse::<f64>().unwrap_or_default() * 100.0)
            }
            Cell::Number(text) => format!("{plus}{}", grouped(text)),
        }
    }
}

/// The colour of a change.
fn sign(cell: &Cell) -> &'static str {
    let text = cell.to_string();
    let is_zero = !text.contains(|c: char| ('1'..='9').contains(&c));
    match (is_zero, text.starts_with('-')) {
        (true, _) => "",
        (false, true) => "worse",
        (false, false) => "better",
    }
}

/// The first day and the day after the last, as the sheet says them.
pub fn days(sheet: &Sheet) -> (Date, Date) {
    let said = |name| {
        let value = sheet.head.iter().find(|(known, _)| *known == name).and_then(|(_, value)| value.as_str());
        value.and_then(|text| text.parse().ok()).unwrap_or_default()
    };
    (said("from"), said("to"))
}

pub fn problems(sheet: &Sheet) -> Markup {
    parts::problem_list(&sheet.problems)
}

/// The sheet as a file.
pub fn csv(name: &str, sheet: &Sheet) -> Result<Response, PageError> {
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.csv\"")),
    ];
    Ok((headers, sheet.to_csv().map_err(Problem::internal)?).into_response())
}

/// A page around a sheet's parts.
pub fn page(
    session: &super::session::Session,
    view: &super::view::View,
    here: &str,
    title: &str,
    content: &Markup,
) -> Response {
    layout::page(session, view, here, title, content).into_response()
}
