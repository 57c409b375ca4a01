//! `/app/customers`: whom social brought, and whether they come back.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use maud::html;

use super::compare::row_name;
use super::session::Session;
use super::sheet::{self, SheetTable};
use super::view::View;
use super::{PageError, parts};
use crate::api::Api;
use crate::ledger::reports::Dimension;
use crate::reports::{RetentionRequest, SheetRow, retention};

const PATH: &str = "/app/customers";
const GROUPS: [(&str, &str); 5] = [
    ("all", "Social and others"),
    ("network", "Network"),
    ("post", "Post"),
    ("campaign", "Campaign"),
    ("kind", "Kind"),
];

pub async fn page(
    State(api): State<Arc<Api>>,
    session: Session,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let view = View::read(query.as_deref());
    let place = parts::place(&api, &session.workspace).await?;
    let by = view.get("by").unwrap_or("all");
    let days = view.with(&[("by", None), ("model", None), ("clock", None)]).request(&place.zone)?;
    let request = RetentionRequest::over(by, days.from, days.to)?;
    let sheet = retention(&api.ledger, &place.row.id, &request, &api.config.attribution).await?;
    if view.get("format") == Some("csv") {
        return sheet::csv(&format!("customers-by-{by}"), &sheet);
    }
    let dimension = Dimension::from_name(by);
    let table = SheetTable {
        sheet: &sheet,
        currency: place.currency,
        of: "Brought by",
        name: |row: &SheetRow| match (row.name.as_deref(), dimension) {
            (Some("others"), _) => html! { span.none { "All other customers" } },
            (Some("social"), None) => html! { span { "Social posts" } },
            (_, dimension) => row_name(dimension.unwrap_or(Dimension::Kind), row, &view),
        },
        empty: "Nobody bought for the first time in this period. Choose other days.",
    };
    let content = html! {
        div.heading {
            h1 { "Customers that social brought" }
            p.basis { "By the first purchase, which lies in the period. Revenue per customer after so many days counts only customers who bought that long ago." }
        }
        (parts::controls(&view, PATH, sheet::days(&sheet), &[]))
        (sheet::problems(&sheet))
        section.panel {
            div.row {
                (parts::tabs(&view, PATH, "by", by, &GROUPS.map(|(name, title)| (name, title.to_owned()))))
                a.quiet href=(view.with(&[("format", Some("csv"))]).href(PATH)) { "CSV" }
            }
            (table.show())
        }
    };
    Ok(sheet::page(&session, &view, PATH, "Customers", &content))
}
