//! `/app/posts/{id}`: one post, its links, its days and its orders.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use maud::{Markup, html};

use super::conversions::order_table;
use super::session::Session;
use super::table::Table;
use super::view::View;
use super::{Page, layout, parts, words};
use crate::api::Api;
use crate::attribution::models::Model;
use crate::ledger::reports::{self as sums, Dimension, Key, OrderFilter, PostCard};
use crate::reports::{OneModel, ReportRequest};

const ORDERS: i64 = 50;

pub async fn page(
    State(api): State<Arc<Api>>,
    session: Session,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Page {
    let mut view = View::read(query.as_deref()).with(&[("post", None), ("by", None), ("network", None)]);
    // The models of a period know no single post.
    if matches!(view.get("model"), Some("markov" | "shapley" | "all")) {
        view = view.with(&[("model", None), ("order", None), ("transform", None)]);
    }
    let place = parts::place(&api, &session.workspace).await?;
    let own = [(Dimension::Post, Key::Text(id.clone()))];
    let request = ReportRequest { by: Dimension::Link, filters: own.to_vec(), ..view.request(&place.zone)? };
    let report = parts::report(&api, &place, &request).await?;
    let card = sums::post(&api.ledger, &place.row.id, &id).await?;
    let networks = sums::networks_of_posts(&api.ledger, &place.row.id, &[Key::Text(id.clone())]).await?;
    let slice = report.slice(&place.row.id, own.to_vec());
    let model = match report.model.main() {
        OneModel::Touches(model) => model,
        _ => Model::LastTouch,
    };
    let orders = sums::orders(&api.ledger, &slice, model, &OrderFilter::default(), ORDERS).await?;
    let path = format!(
        "/app/posts/{}",
        percent_encoding::utf8_percent_encode(&id, percent_encoding::NON_ALPHANUMERIC)
    );
    let title = card.as_ref().and_then(|card| card.title.clone()).unwrap_or_else(|| id.clone());
    let content = html! {
        div.heading {
            p.crumbs { a href=(view.frame().href("/app")) { "Report" } " / Post" }
            h1 { (title) }
            div.under {
                @for network in networks.values().flatten() { (parts::network_badge(network)) }
                (about(&id, card.as_ref(), &place))
            }
            (parts::basis(&report))
        }
        (parts::controls(&view, &path, (report.from, report.to), &[parts::models(&report, false), parts::clocks(&report)]))
        (parts::problems(&report))
        (parts::cards(&report, None))
        section.panel { h2 { "Over time" } (parts::over_time(&api, &place, &request, &report).await?) }
        section.panel {
            h2 { "Links" }
            (Table { report: &report, view: &view, path: &path, networks: Default::default() }.show())
        }
        section.panel {
            h2 { "Orders" }
            p.fine { "With a click on this post among their touches, the latest first; credited by " (words::phrase(model.as_str()).to_lowercase()) "." }
            (order_table(&orders, &view, &place, true))
        }
    };
    Ok(layout::page(&session, &view, "/app/posts", &title, &content))
}

fn about(id: &str, card: Option<&PostCard>, place: &parts::Place) -> Markup {
    html! {
        span.id { (id) }
        @if let Some(card) = card {
            @if let Some(kind) = &card.kind { span { (words::phrase(kind)) } }
            @if let Some(campaign) = &card.campaign { span { "Campaign " (campaign) } }
            @if let Some(at_ms) = card.published_ms { span { "Published " (words::moment(at_ms, &place.zone)) } }
            // Only what can be followed safely becomes a link.
            @if let Some(url) = card.url.as_deref().filter(|url| url.starts_with("https://") || url.starts_with("http://")) {
                a href=(url) rel="noopener noreferrer" { "Open the post" }
            }
        }
    }
}
