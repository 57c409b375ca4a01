//! `/app/conversions/{id}`: one order, its journey, and what every model makes of it.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use maud::{Markup, html};

use super::parts::{self, Place};
use super::session::Session;
use super::view::View;
use super::words::{machine, moment, money, phrase, span};
use super::{Page, PageError, layout};
use crate::api::Api;
use crate::attribution::models::Model;
use crate::ledger::reports::{self as sums, Order, OrderTouch};

pub async fn page(
    State(api): State<Arc<Api>>,
    session: Session,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Page {
    const MISSING: &str = "There is no such order in this workspace.";
    let view = View::read(query.as_deref());
    let place = parts::place(&api, &session.workspace).await?;
    let id = id.parse().map_err(|_| PageError::NotFound(MISSING))?;
    let order = sums::order(&api.ledger, &place.row.id, id).await?.ok_or(PageError::NotFound(MISSING))?;
    let title = format!("Order {}", order.line.order_id);
    let content = html! {
        div.heading {
            p.crumbs { a href=(view.frame().href("/app/conversions")) { "Orders" } " / " (order.line.source_name.as_deref().unwrap_or(&order.line.source)) }
            h1 { (title) }
            div.under {
                (parts::status_badge(&order.line.status, order.line.reason.as_deref()))
                span { time datetime=(machine(order.line.occurred_ms)) { (moment(order.line.occurred_ms, &place.zone)) } }
                @if order.line.event != "purchase" { span { (phrase(&order.line.event)) } }
            }
        }
        (money_cards(&order, &place))
        div.columns {
            section.panel { h2 { "Journey" } (journey(&order, &place, &view)) }
            section.panel { h2 { "Where the money went" } (changes(&order, &place)) (match_facts(&order)) }
        }
        section.panel { h2 { "Credit by model" } (credits(&order, &place)) }
        @if !order.deliveries.is_empty() { section.panel { h2 { "Deliveries" } (deliveries(&order, &place)) } }
    };
    Ok(layout::page(&session, &view, "/app/conversions", &title, &content))
}

fn money_cards(order: &Order, place: &Place) -> Markup {
    let amount = |minor: Option<i64>| minor.map_or("–".to_owned(), |minor| money(minor, place.currency));
    let original = order.currency.as_deref().and_then(|code| code.parse().ok()).zip(order.total_minor);
    let basis = match order.basis.as_deref() {
        Some("total") => "with tax and shipping",
        Some("ex_tax") => "without tax",
        Some(_) => "without tax and shipping",
        None => "",
    };
    html! {
        section.cards aria-label="Amounts" {
            div.card {
                h3 { "Charged" }
                p.figure { (original.map_or("–".to_owned(), |(currency, minor)| money(minor, currency))) }
                p.fine {
                    @if let Some((currency, _)) = original {
                        (order.tax_minor.map_or("tax not stated".to_owned(), |minor| format!("{} tax", money(minor, currency))))
                        @if let Some(minor) = order.shipping_minor { ", " (money(minor, currency)) " shipping" }
                    }
                }
            }
            div.card {
                h3 { "Revenue" }
                p.figure { (amount(order.line.gross_minor)) }
                p.fine { (basis) @if let Some(rate) = order.rate.as_deref().filter(|rate| *rate != "1") { ", at a rate of " (rate) } }
            }
            div.card { h3 { "Refunds" } p.figure { (amount(order.line.refunds_minor)) } p.fine { "and cancellations" } }
            div.card { h3 { "Net" } p.figure { (amount(order.line.net_minor)) } p.fine { "what the models share out" } }
            @if let Some(minor) = order.assigned_value_minor {
                div.card { h3 { "Assigned value" } p.figure { (money(minor, place.currency)) } p.fine { "never part of revenue" } }
            }
        }
    }
}

fn journey(order: &Order, place: &Place, view: &View) -> Markup {
    html! {
        ol.journey {
            @for touch in &order.touches {
                li.ignored[!touch.counted] {
                    div.when { time datetime=(machine(touch.at_ms)) { (moment(touch.at_ms, &place.zone)) } span { (span(order.t_ms - touch.at_ms)) " before" } }
                    div.what {
                        (touch_name(touch, view))
                        div.under {
                            @if let Some(network) = &touch.network { (parts::network_badge(network)) }
                            span { (phrase(&touch.via)) }
                            @if let Some(device) = &touch.device { span { (phrase(device)) } }
                            @if let Some(country) = touch.country.as_deref().filter(|country| !country.is_empty()) { span { (country) } }
                            @if let Some(url) = &touch.short_url { span.id { (url) } }
                            @if !touch.counted { span { "Not counted: outside the window or a duplicate" } }
                        }
                    }
                }
            }
            @if order.touches.is_empty() { li.none { div.when {} div.what { "No touch was found." } } }
            li.sale {
                div.when { time datetime=(machine(order.line.occurred_ms)) { (moment(order.line.occurred_ms, &place.zone)) } }
                div.what { strong { (if order.line.event == "purchase" { "Order".to_owned() } else { phrase(&order.line.event) }) } " " @if let Some(minor) = order.line.gross_minor { (money(minor, place.currency)) } }
            }
        }
    }
}

fn touch_name(touch: &OrderTouch, view: &View) -> Markup {
    html! {
        @match (&touch.post, &touch.channel) {
            (Some(post), _) => {
                @let path = format!("/app/posts/{}", percent_encoding::utf8_percent_encode(post, percent_encoding::NON_ALPHANUMERIC));
                a href=(view.frame().href(&path)) { (touch.title.as_deref().unwrap_or(post)) }
            }
            (None, Some(channel)) => span.rival { "Other channel: " (phrase(channel).to_lowercase()) },
            (None, None) => span { (touch.short_url.as_deref().unwrap_or("A link")) },
        }
    }
}

fn changes(order: &Order, place: &Place) -> Markup {
    let name = |kind: &str| match kind {
        "revenue" => "Sale".to_owned(),
        "fx" => "Exchange difference (cash clock only)".to_owned(),
        kind => phrase(kind),
    };
    html! {
        table.plain {
            thead { tr { th scope="col" { "What" } th scope="col" { "When" } th.num scope="col" { "Amount" } } }
            tbody {
                @for change in &order.changes {
                    tr {
                        th scope="row" { (name(&change.kind)) @if let Some(id) = &change.refund_id { " " span.id { (id) } } }
                        td { time datetime=(machine(change.at_ms)) { (moment(change.at_ms, &place.zone)) } }
                        td.num { (money(change.amount_minor, place.currency)) }
                    }
                }
                @if order.changes.is_empty() { tr { td.empty colspan="3" { "Nothing: its amount could not be converted." } } }
            }
        }
    }
}

fn match_facts(order: &Order) -> Markup {
    let others: Vec<String> =
        order.runners_up.as_deref().and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    html! {
        dl.facts {
            dt { "Matched by" } dd { (order.line.match_method.as_deref().map_or("nothing".to_owned(), |method| phrase(method).to_lowercase())) }
            @if !others.is_empty() { dt { "Also spoke for it" } dd { (others.iter().map(|m| phrase(m).to_lowercase()).collect::<Vec<_>>().join(", ")) } }
            @if let Some(first) = &order.renews { dt { "Renews" } dd { (first) } }
        }
    }
}

fn credits(order: &Order, place: &Place) -> Markup {
    let touches: Vec<&OrderTouch> = order.touches.iter().filter(|touch| touch.counted).collect();
    html! {
        @if touches.is_empty() { p.fine { "Nobody is credited." } }
        @else {
            div.scroll {
                table.report {
                    thead { tr { th scope="col" { "Touch" } @for model in Model::ALL { th.num scope="col" { (phrase(model.as_str())) } } } }
                    tbody {
                        @for touch in &touches {
                            tr {
                                th scope="row" {
                                    div.name {
                                        span { (touch.title.as_deref().or(touch.post.as_deref()).or(touch.short_url.as_deref()).unwrap_or("Other channel")) }
                                        div.under { @if let Some(network) = &touch.network { (parts::network_badge(network)) } span { (moment(touch.at_ms, &place.zone)) } }
                                    }
                                }
                                @for ((minor, weight), model) in touch.credits.into_iter().zip(Model::ALL) {
                                    td.num data-title=(phrase(model.as_str())) { @if weight == 0 && minor == 0 { span.none { "–" } } @else { (money(minor, place.currency)) span.weight { (format!("{:.1}\u{a0}%", weight as f64 / 1e7)) } } }
                                }
                            }
                        }
                    }
                    tfoot {
                        tr {
                            th scope="row" { "Net" }
                            @for (i, model) in Model::ALL.iter().enumerate() { td.num data-title=(phrase(model.as_str())) { (money(touches.iter().map(|touch| touch.credits[i].0).sum(), place.currency)) } }
                        }
                    }
                }
            }
        }
    }
}

fn deliveries(order: &Order, place: &Place) -> Markup {
    html! {
        div.scroll {
            table.plain {
                thead { tr { th scope="col" { "Received" } th scope="col" { "Topic" } th scope="col" { "Result" } th scope="col" { "Delivery" } } }
                tbody {
                    @for delivery in &order.deliveries {
                        tr {
                            td { time datetime=(machine(delivery.received_ms)) { (moment(delivery.received_ms, &place.zone)) } }
                            td { (delivery.topic.as_deref().unwrap_or("–")) }
                            td { (phrase(&delivery.result)) }
                            td { span.id { (delivery.id) } }
                        }
                    }
                }
            }
        }
    }
}
