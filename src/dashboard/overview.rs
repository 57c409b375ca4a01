//! `/app`: the report.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Span;
use maud::{Markup, html};

use super::parts::{self, Place};
use super::session::Session;
use super::table::Table;
use super::view::View;
use super::words::phrase;
use super::{Page, PageError, layout};
use crate::api::{Api, Problem};
use crate::ledger::reports::{self as sums, Dimension, Key};
use crate::reports::{Bound, Report, ReportRequest};

/// Ways to group the rows, the common ones first.
const GROUPS: [Dimension; 13] = [
    Dimension::Post,
    Dimension::Network,
    Dimension::Campaign,
    Dimension::Link,
    Dimension::Tag,
    Dimension::Kind,
    Dimension::UtmContent,
    Dimension::Country,
    Dimension::Device,
    Dimension::Source,
    Dimension::Day,
    Dimension::HourOfWeek,
    Dimension::PublishedHour,
];

pub async fn page(State(api): State<Arc<Api>>, session: Session, RawQuery(query): RawQuery) -> Page {
    let view = View::read(query.as_deref()).settled();
    let place = parts::place(&api, &session.workspace).await?;
    let request = view.request(&place.zone)?;
    let of_period = request.model.main().is_of_period();
    let report = parts::report(&api, &place, &request).await?;
    let before = before(&api, &place, &request, &report).await?;
    let chart = match request.by == Dimension::HourOfWeek {
        true => html! {},
        false => {
            html! { section.panel { h2 { "Over time" } (parts::over_time(&api, &place, &request, &report).await?) } }
        }
    };
    let networks = sums::networks(&api.ledger, &place.row.id).await?;
    let keys: Vec<Key> =
        report.rows.iter().map(|row| row.key.clone()).filter(|key| matches!(key, Key::Text(_))).collect();
    let table = Table {
        report: &report,
        view: &view,
        path: "/app",
        networks: match report.by {
            Dimension::Post => sums::networks_of_posts(&api.ledger, &place.row.id, &keys).await?,
            _ => Default::default(),
        },
    };
    let mut lists = vec![parts::models(&report, true)];
    if !of_period {
        lists.extend([parts::clocks(&report), network_list(&view, &networks)]);
    }
    let content = html! {
        div.heading {
            h1 { "What social brought in" }
            (parts::basis(&report))
        }
        (parts::controls(&view, "/app", (report.from, report.to), &lists))
        (chips(&view, &report))
        (parts::problems(&report))
        (parts::cards(&report, before.as_ref()))
        (chart)
        section.panel {
            div.row {
                nav.tabs aria-label="Rows" {
                    @for by in GROUPS.into_iter().filter(|by| !of_period || by.is_of_link() && *by != Dimension::Tag) {
                        a href=(view.with(&[("by", Some(by.name())), ("sort", None), ("dir", None), ("page", None)]).href("/app"))
                            aria-current=[(by == report.by).then_some("true")] { (group_name(by)) }
                    }
                }
                a.quiet href=(view.href("/app/report.csv")) { "CSV" }
            }
            (table.show())
        }
        (parts::reconciliation(&report, &view))
        p.fine.made { "As of " (super::words::moment(crate::domain::time::now_ms(), &place.zone)) " · settings " (report.settings_hash) }
    };
    Ok(layout::page(&session, &view, "/app", "Report", &content))
}

/// `/app/report.csv`: the same rows with all columns.
pub async fn csv(
    State(api): State<Arc<Api>>,
    session: Session,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let place = parts::place(&api, &session.workspace).await?;
    let request = View::read(query.as_deref()).settled().request(&place.zone)?;
    let report = parts::report(&api, &place, &request).await?;
    let name = format!("attachment; filename=\"{}-{}-{}.csv\"", report.by.name(), report.from, report.to);
    let headers =
        [(header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, name)];
    let text = report.to_csv().map_err(Problem::internal)?;
    Ok((headers, text).into_response())
}

fn group_name(by: Dimension) -> String {
    match by {
        Dimension::UtmContent => "UTM content".to_owned(),
        Dimension::HourOfWeek => "Hour".to_owned(),
        Dimension::PublishedHour => "Published".to_owned(),
        by => phrase(by.name()),
    }
}

/// The same report over as many days before, unless everything is shown.
async fn before(
    api: &Api,
    place: &Place,
    request: &ReportRequest,
    report: &Report,
) -> Result<Option<Report>, PageError> {
    if request.from.is_none() || request.by == Dimension::HourOfWeek {
        return Ok(None);
    }
    let days = Span::new().days((report.to - report.from).get_days());
    let from = report.from.saturating_sub(days);
    if from.year() < 1970 {
        return Ok(None);
    }
    let request =
        ReportRequest { from: Some(Bound::Day(from)), to: Some(Bound::Day(report.from)), ..request.clone() };
    parts::report(api, place, &request).await.map(Some)
}

fn network_list(view: &View, networks: &[String]) -> Markup {
    let all = ("".to_owned(), "All".to_owned());
    let named = networks.iter().map(|name| (name.clone(), super::words::network(name).0));
    let options: Vec<_> = [all].into_iter().chain(named).collect();
    parts::list("network", "Network", view.get("network").unwrap_or_default(), &options)
}

/// The filters in force, each with a way to lift it.
fn chips(view: &View, report: &Report) -> Markup {
    let filters: Vec<_> = report.filters.iter().filter(|(by, _)| *by != Dimension::Network).collect();
    html! {
        @if !filters.is_empty() {
            ul.chips aria-label="Only" {
                @for (by, value) in filters {
                    li {
                        (group_name(*by)) ": " strong { (value) }
                        a href=(view.with(&[(by.name(), None), ("page", None)]).href("/app")) aria-label={ "Lift the filter " (by.name()) } { "×" }
                    }
                }
            }
        }
    }
}
