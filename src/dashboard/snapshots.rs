//! `/app/snapshots`: closed periods as they were, and as they are now.

use std::sync::Arc;

use axum::Form;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};
use jiff::Span;
use jiff::civil::Date;
use maud::{Markup, html};
use serde_json::Value;

use super::compare::row_name;
use super::session::Session;
use super::sheet::{self, SheetTable};
use super::view::{View, today};
use super::words::{self, moment, phrase};
use super::{PageError, parts};
use crate::api::Api;
use crate::ledger::reports::Dimension;
use crate::ledger::snapshots::{self, SnapshotRow};
use crate::reports::{MODEL_NAMES, SheetRow, difference, freeze};

const PATH: &str = "/app/snapshots";
/// As many as a page shows; the API lists them all.
const LISTED: i64 = 100;
const NAME_MAX: usize = 200;

pub async fn list(
    State(api): State<Arc<Api>>,
    session: Session,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let view = View::read(query.as_deref());
    let place = parts::place(&api, &session.workspace).await?;
    let rows = snapshots::list(&api.ledger, &place.row.id, None, LISTED).await?;
    let content = html! {
        div.heading {
            h1 { "Closed periods" }
            p.basis { "A snapshot keeps a report as it is now. Later it shows which figures moved since, and why." }
        }
        (form(&view, today(&place.zone)))
        section.panel {
            div.scroll {
                table.report {
                    thead { tr { th scope="col" { "Snapshot" } th scope="col" { "Period" } th scope="col" { "Frozen" } } }
                    tbody {
                        @for row in &rows {
                            tr {
                                th scope="row" { div.name { a href=(view.frame().href(&format!("{PATH}/{}", row.id))) { (row.name) } } }
                                td data-title="Period" { (words::day(row.from_day)) " – " (words::day(row.to_day - 1)) }
                                td data-title="Frozen" { (moment(row.as_of_ms, &place.zone)) }
                            }
                        }
                        @if rows.is_empty() { tr { td.empty colspan="3" { "Nothing is frozen yet." } } }
                    }
                }
            }
        }
    };
    Ok(sheet::page(&session, &view, PATH, "Snapshots", &content))
}

/// The month before this one is what people close.
fn form(view: &View, today: Date) -> Markup {
    let this_month = today.first_of_month();
    let last = this_month.saturating_sub(Span::new().days(1));
    let from = last.first_of_month();
    let names =
        |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), phrase(name))).collect::<Vec<_>>();
    html! {
        section.panel {
            h2 { "Freeze a report" }
            form.choices method="post" action=(view.frame().href(PATH)) {
                label { span { "Name" } input type="text" name="name" required maxlength=(NAME_MAX) value=(from.strftime("%B %Y")); }
                label { span { "From" } input type="date" name="from" required value=(from); }
                label { span { "Until" } input type="date" name="until" required value=(last) max=(today.saturating_sub(Span::new().days(1))); }
                (parts::list("by", "Rows", "post", &names(&["post", "network", "campaign", "day"])))
                (parts::list("model", "Model", "last_touch", &names(&MODEL_NAMES)))
                button.main { "Freeze" }
            }
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    name: String,
    from: String,
    until: String,
    by: String,
    model: String,
}

/// The session's cookie comes from our own pages only (SameSite=Strict), so no other site freezes anything.
pub async fn create(
    State(api): State<Arc<Api>>,
    session: Session,
    RawQuery(query): RawQuery,
    Form(wanted): Form<Wanted>,
) -> Result<Response, PageError> {
    let view = View::read(query.as_deref());
    let name = wanted.name.trim();
    if name.is_empty() || name.chars().count() > NAME_MAX {
        return Err(PageError::Invalid(format!("A snapshot needs a name of at most {NAME_MAX} characters.")));
    }
    let until: Date =
        wanted.until.parse().map_err(|_| PageError::Invalid(format!("{:?} is no date.", wanted.until)))?;
    let pairs = [
        ("by", wanted.by),
        ("model", wanted.model),
        ("from", wanted.from),
        ("to", until.saturating_add(Span::new().days(1)).to_string()),
    ];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value));
    let row = freeze(&api.ledger, &session.workspace, name, &pairs, &api.config.attribution).await?;
    Ok(Redirect::to(&view.frame().href(&format!("{PATH}/{}", row.id))).into_response())
}

/// A snapshot against today.
pub async fn page(
    State(api): State<Arc<Api>>,
    session: Session,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let view = View::read(query.as_deref());
    let place = parts::place(&api, &session.workspace).await?;
    let found = snapshots::get(&api.ledger, &place.row.id, &id).await?;
    let row = found.ok_or(PageError::NotFound("There is no such snapshot."))?;
    let sheet = difference(&api.ledger, &row, &api.config.attribution).await?;
    if view.get("format") == Some("csv") {
        return sheet::csv(&format!("snapshot-{id}"), &sheet);
    }
    let said = |name: &str| {
        sheet.head.iter().find(|(known, _)| *known == name).map_or("", |(_, v)| v.as_str().unwrap_or(""))
    };
    let by = Dimension::from_name(said("by")).unwrap_or(Dimension::Post);
    let table = SheetTable {
        sheet: &sheet,
        currency: place.currency,
        of: &phrase(by.name()),
        name: |row: &SheetRow| row_name(by, row, &view),
        empty: "The report has no rows, then and now.",
    };
    let content = html! {
        p.crumbs { a href=(view.frame().href(PATH)) { "Closed periods" } }
        div.heading {
            h1 { (row.name) }
            p.basis { (words::day(row.from_day)) " – " (words::day(row.to_day - 1)) " · " (phrase(said("model"))) " · frozen " (moment(row.as_of_ms, &place.zone)) }
        }
        (sheet::problems(&sheet))
        section.panel {
            h2 { "Why figures moved" }
            (why(&sheet.foot, &row))
        }
        section.panel {
            div.row { h2 { "Then and now" } a.quiet href=(view.with(&[("format", Some("csv"))]).href(&format!("{PATH}/{id}"))) { "CSV" } }
            (table.show())
        }
    };
    Ok(sheet::page(&session, &view, PATH, &row.name, &content))
}

fn why(foot: &[(&'static str, Value)], row: &SnapshotRow) -> Markup {
    let part = |name: &str| foot.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
    let facts = part("why").and_then(Value::as_object).into_iter().flatten();
    let moved =
        part("reconciliation").and_then(Value::as_object).into_iter().flatten().filter(|(_, line)| {
            line["orders_change"] != 0
                || [&line["net_revenue_change"], &line["refunds_change"]].iter().any(|money| {
                    money.as_str().is_some_and(|text| text.contains(|c: char| ('1'..='9').contains(&c)))
                })
        });
    let text = |value: &Value| match value {
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    html! {
        dl.facts {
            @for (name, value) in facts { dt { (phrase(name)) } dd { (text(value)) } }
            dt { "Settings then" } dd { (row.settings_hash) }
        }
        @let moved: Vec<_> = moved.collect();
        @if !moved.is_empty() {
            div.scroll {
                table.plain {
                    thead { tr { th scope="col" { "Orders that are" } th.num scope="col" { "Number" } th.num scope="col" { "Net" } th.num scope="col" { "Refunds" } } }
                    tbody {
                        @for (name, line) in moved {
                            tr {
                                th scope="row" { (phrase(name)) }
                                td.num { (text(&line["orders_change"])) }
                                td.num { (text(&line["net_revenue_change"])) }
                                td.num { (text(&line["refunds_change"])) }
                            }
                        }
                    }
                }
            }
        }
    }
}
