//! `/app/compare`: what each row gains or loses by model.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use maud::{Markup, html};

use super::session::Session;
use super::sheet::{self, SheetTable};
use super::view::View;
use super::words::phrase;
use super::{PageError, parts};
use crate::api::Api;
use crate::ledger::reports::Dimension;
use crate::reports::{CompareRequest, MODEL_NAMES, SheetRow, compare};

const PATH: &str = "/app/compare";
const GROUPS: [Dimension; 5] =
    [Dimension::Post, Dimension::Network, Dimension::Campaign, Dimension::Kind, Dimension::Link];

pub async fn page(
    State(api): State<Arc<Api>>,
    session: Session,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let view = View::read(query.as_deref()).with(&[("model", None), ("clock", None), ("network", None)]);
    let place = parts::place(&api, &session.workspace).await?;
    let baseline = view.get("baseline").unwrap_or("last_touch");
    let request = CompareRequest::over(view.request(&place.zone)?, None, baseline)?;
    let by = request.by();
    let sheet = compare(&api.ledger, &place.row.id, &request, &api.config.attribution).await?;
    if view.get("format") == Some("csv") {
        return sheet::csv(&format!("compare-by-{}", by.name()), &sheet);
    }
    let options: Vec<(String, String)> = MODEL_NAMES
        .iter()
        .filter(|name| **name != "all")
        .map(|name| ((*name).to_owned(), phrase(name)))
        .collect();
    let table = SheetTable {
        sheet: &sheet,
        currency: place.currency,
        of: &phrase(by.name()),
        name: |row: &SheetRow| row_name(by, row, &view),
        empty: "Nothing happened in this period. Choose other days.",
    };
    let content = html! {
        div.heading {
            h1 { "What another model would say" }
            p.basis { "Net revenue by " (phrase(baseline).to_lowercase()) ", and what each other model gives or takes" }
        }
        (parts::controls(&view, PATH, sheet::days(&sheet), &[parts::list("baseline", "Against", baseline, &options)]))
        (sheet::problems(&sheet))
        section.panel {
            div.row {
                (parts::tabs(&view, PATH, "by", by.name(), &GROUPS.map(|by| (by.name(), phrase(by.name())))))
                a.quiet href=(view.with(&[("format", Some("csv"))]).href(PATH)) { "CSV" }
            }
            (table.show())
        }
    };
    Ok(sheet::page(&session, &view, PATH, "Compare", &content))
}

/// A row by its title, its key or both, leading to the post where it is one.
pub fn row_name(by: Dimension, row: &SheetRow, view: &View) -> Markup {
    let Some(name) = row.name.as_deref() else { return html! { span.none { "None" } } };
    let shown = row.label.as_deref().unwrap_or(name);
    match (by, name) {
        (Dimension::Post, "unallocated") => html! { span.none { "Unallocated costs" } },
        (Dimension::Post, _) => {
            let id = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
            html! {
                a href=(view.frame().href(&format!("/app/posts/{id}"))) { (shown) }
                @if row.label.is_some() { div.under { span.id { (name) } } }
            }
        }
        (Dimension::Network, _) => parts::network_badge(name),
        _ => html! { span { (shown) } },
    }
}
