//! `/app/conversions`: the orders behind the figures.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use maud::{Markup, html};

use super::session::Session;
use super::view::View;
use super::words::{machine, moment, money, phrase};
use super::{Page, layout, parts};
use crate::api::Api;
use crate::attribution::models::Model;
use crate::ledger::reports::{self as sums, OrderFilter, OrderLine};

const PAGE_ROWS: i64 = 100;

pub async fn page(State(api): State<Arc<Api>>, session: Session, RawQuery(query): RawQuery) -> Page {
    let view = View::read(query.as_deref()).with(&[("by", None), ("network", None)]);
    let place = parts::place(&api, &session.workspace).await?;
    let report = parts::report(&api, &place, &view.request(&place.zone)?).await?;
    let filter = OrderFilter {
        status: view.get("status").map(str::to_owned),
        reason: view.get("reason").map(str::to_owned),
        after: view.get("after").and_then(|after| {
            let (day, id) = after.split_once('.')?;
            Some((day.parse().ok()?, id.parse().ok()?))
        }),
    };
    let slice = report.slice(&place.row.id, Vec::new());
    let mut orders = sums::orders(&api.ledger, &slice, Model::LastTouch, &filter, PAGE_ROWS + 1).await?;
    let more = orders.len() as i64 > PAGE_ROWS;
    orders.truncate(PAGE_ROWS as usize);
    let after = orders.last().filter(|_| more).map(|last| format!("{}.{}", last.order_day, last.id));
    let tabs = [
        (None, "All"),
        (Some("attributed"), "Attributed"),
        (Some("unattributed"), "Unattributed"),
        (Some("excluded"), "Excluded"),
    ];
    let content = html! {
        div.heading {
            h1 { "Orders" }
            (parts::basis(&report))
        }
        (parts::controls(&view, "/app/conversions", (report.from, report.to), &[]))
        section.panel {
            div.row {
                nav.tabs aria-label="Status" {
                    @for (status, name) in tabs {
                        a href=(view.with(&[("status", status), ("reason", None), ("after", None)]).href("/app/conversions"))
                            aria-current=[(view.get("status") == status).then_some("true")] { (name) }
                    }
                }
                @if let Some(reason) = view.get("reason") {
                    ul.chips { li { "Reason: " strong { (phrase(reason)) } a href=(view.with(&[("reason", None), ("after", None)]).href("/app/conversions")) aria-label="Lift the filter reason" { "×" } } }
                }
            }
            (order_table(&orders, &view, &place, false))
            @if let Some(after) = after {
                nav.pages aria-label="Pages of orders" { a href=(view.with(&[("after", Some(&after))]).href("/app/conversions")) rel="next" { "Older →" } }
            }
        }
        (parts::reconciliation(&report, &view))
    };
    Ok(layout::page(&session, &view, "/app/conversions", "Orders", &content))
}

/// Orders as rows; `credited` adds what the page's post gets of each.
pub fn order_table(orders: &[OrderLine], view: &View, place: &parts::Place, credited: bool) -> Markup {
    let amount = |minor: Option<i64>| minor.map_or("–".to_owned(), |minor| money(minor, place.currency));
    html! {
        div.scroll {
            table.report.orders {
                thead {
                    tr {
                        th scope="col" { "Order" }
                        th scope="col" { "When" }
                        th scope="col" { "Status" }
                        th.wide scope="col" { "Matched by" }
                        th.num.wide scope="col" { "Gross" }
                        th.num.wide scope="col" { "Refunds" }
                        th.num scope="col" { "Net" }
                        @if credited { th.num scope="col" { "Credited" } }
                    }
                }
                tbody {
                    @for order in orders {
                        tr {
                            th scope="row" {
                                div.name {
                                    a href=(view.frame().href(&format!("/app/conversions/{}", order.id))) { (order.order_id) }
                                    div.under { span.id { (order.source_name.as_deref().unwrap_or(&order.source)) } @if order.event != "purchase" { span { (phrase(&order.event)) } } }
                                }
                            }
                            td data-title="When" { time datetime=(machine(order.occurred_ms)) { (moment(order.occurred_ms, &place.zone)) } }
                            td data-title="Status" { (parts::status_badge(&order.status, order.reason.as_deref())) }
                            td.wide { (order.match_method.as_deref().map_or("–".to_owned(), phrase)) }
                            td.num.wide { (amount(order.gross_minor)) }
                            td.num.wide { (amount(order.refunds_minor)) }
                            td.num data-title="Net" { (amount(order.net_minor)) }
                            @if credited { td.num data-title="Credited" { (amount(order.credited_minor)) } }
                        }
                    }
                    @if orders.is_empty() { tr { td.empty colspan="8" { "No orders here." } } }
                }
            }
        }
    }
}
