//! Pieces that several pages share.

use jiff::Span;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::chart::Point;
use super::view::{PERIODS, View};
use super::words::{self, count, money, money_text, phrase};
use super::{PageError, chart};
use crate::api::Api;
use crate::attribution::models::Model;
use crate::domain::money::Currency;
use crate::ledger::reports::{Clock, Dimension, Key};
use crate::ledger::workspaces::{self, WorkspaceRow};
use crate::reports::{
    Bound, COLUMNS, Cell, Figures, MODEL_NAMES, OneModel, Problem, Report, ReportModel, ReportRequest,
    attribution,
};

/// The workspace with what pages need of it.
pub struct Place {
    pub row: WorkspaceRow,
    pub zone: TimeZone,
    pub currency: Currency,
}

pub async fn place(api: &Api, workspace: &str) -> Result<Place, PageError> {
    let row = workspaces::get(&api.ledger, workspace).await?;
    let row = row.ok_or(PageError::NotFound("There is no such workspace."))?;
    let damaged = |_| PageError::NotFound("The workspace's settings are damaged; see the log.");
    Ok(Place {
        zone: TimeZone::get(&row.timezone).map_err(|_| damaged(()))?,
        currency: row.currency.parse().map_err(|_| damaged(()))?,
        row,
    })
}

pub async fn report(api: &Api, place: &Place, request: &ReportRequest) -> Result<Report, PageError> {
    Ok(attribution(&api.ledger, &place.row.id, request, &api.config.attribution).await?)
}

/// The cell of a column as people read it.
pub fn cell(report: &Report, figures: &Figures, column: &str) -> String {
    let index = COLUMNS.iter().position(|name| *name == column).unwrap_or_default();
    match &report.cells(figures)[index] {
        Cell::Null => "–".to_owned(),
        Cell::Count(n) => count(*n),
        Cell::Money(text) => money_text(text, report.currency),
        Cell::Number(text) if column == "roi_percent" => format!("{}\u{a0}%", words::grouped(text)),
        // Shares of conversions: two digits are enough to look at.
        Cell::Number(text) => {
            let rounded = format!("{:.2}", text.parse::<f64>().unwrap_or_default());
            words::grouped(rounded.trim_end_matches('0').trim_end_matches('.'))
        }
    }
}

/// ROI as a coloured figure.
pub fn roi(report: &Report, figures: &Figures) -> Markup {
    let class = match figures.roi() {
        None => "roi none",
        Some(percent) if percent < 0 => "roi loss",
        Some(_) => "roi gain",
    };
    html! { span class=(class) { (cell(report, figures, "roi_percent")) } }
}

pub fn network_badge(name: &str) -> Markup {
    let (spelled, class) = words::network(name);
    html! { span.network { span class={ "dot " (class) } aria-hidden="true" {} (spelled) } }
}

pub fn status_badge(status: &str, reason: Option<&str>) -> Markup {
    let class = match status {
        "attributed" => "status good",
        "unattributed" => "status open",
        _ => "status out",
    };
    html! { span class=(class) { (phrase(status)) @if let Some(reason) = reason { ": " (phrase(reason).to_lowercase()) } } }
}

/// The choice of period, and of the lists given.
pub fn controls(view: &View, path: &str, (from, to): (Date, Date), lists: &[Markup]) -> Markup {
    const DATES: [&str; 3] = ["from", "until", "period"];
    const LISTS: [&str; 4] = ["model", "clock", "network", "baseline"];
    const PLACE: [&str; 2] = ["page", "after"];
    let period = view.period();
    let last = to.saturating_sub(Span::new().days(1));
    let named = |name| {
        view.with(&[("period", Some(name)), ("from", None), ("until", None), ("page", None), ("after", None)])
    };
    html! {
        div.controls {
            nav.segments aria-label="Period" {
                @for (name, label, _) in PERIODS {
                    a href=(named(name).href(path)) aria-current=[(period == Some(name)).then_some("true")] { (label) }
                }
            }
            div.choices {
                form method="get" action=(path) {
                    (hidden(view, &[DATES.as_slice(), &PLACE].concat()))
                    label { span { "From" } input type="date" name="from" value=(from) max=(last); }
                    label { span { "Until" } input type="date" name="until" value=(last) min=(from); }
                    button.quiet.without-script { "Show" }
                }
                @if !lists.is_empty() {
                    form method="get" action=(path) {
                        (hidden(view, &[LISTS.as_slice(), &PLACE].concat()))
                        @for list in lists { (list) }
                        button.quiet.without-script { "Show" }
                    }
                }
            }
        }
    }
}

pub fn hidden(view: &View, but: &[&str]) -> Markup {
    html! { @for (name, value) in view.others(but) { input type="hidden" name=(name) value=(value); } }
}

pub fn list(name: &str, label: &str, chosen: &str, options: &[(String, String)]) -> Markup {
    html! {
        label.list {
            span { (label) }
            select name=(name) {
                @for (value, text) in options {
                    option value=(value) selected[value == chosen] { (text) }
                }
            }
        }
    }
}

/// The choice of model; those of a period only where the page has no filters of its own.
pub fn models(report: &Report, of_period: bool) -> Markup {
    let names = MODEL_NAMES.into_iter().filter(|name| of_period || name.parse::<Model>().is_ok());
    let text = |name: &str| if name == "all" { "All, compared".to_owned() } else { phrase(name) };
    let options: Vec<_> = names.map(|name| (name.to_owned(), text(name))).collect();
    list("model", "Model", report.model.name(), &options)
}

pub fn clocks(report: &Report) -> Markup {
    let text = |clock| match clock {
        Clock::Order => "Order day",
        Clock::Click => "Click day",
        Clock::Cash => "Cash day",
    };
    let options: Vec<_> =
        Clock::ALL.iter().map(|clock| (clock.name().to_owned(), text(*clock).to_owned())).collect();
    list("clock", "Dated by", report.clock.name(), &options)
}

/// What the figures are made of, in a line.
pub fn basis(report: &Report) -> Markup {
    let last = report.to.saturating_sub(Span::new().days(1));
    let revenue = match report.revenue_basis {
        "total" => "revenue with tax and shipping",
        "ex_tax" => "revenue without tax",
        _ => "revenue without tax and shipping",
    };
    html! {
        p.basis { (words::date(report.from)) " – " (words::date(last)) " · " (report.timezone) " · " (revenue) " in " (report.currency.code()) }
    }
}

pub fn problems(report: &Report) -> Markup {
    problem_list(&report.problems)
}

pub fn problem_list(problems: &[Problem]) -> Markup {
    html! {
        @if !problems.is_empty() {
            ul.problems { @for problem in problems { li { (phrase(&problem.detail)) "." } } }
        }
    }
}

/// Ways to look at the same thing, as values of one parameter.
pub fn tabs(view: &View, path: &str, name: &str, chosen: &str, all: &[(&str, String)]) -> Markup {
    html! {
        nav.tabs aria-label="Rows" {
            @for (value, title) in all {
                a href=(view.with(&[(name, Some(value)), ("page", None)]).href(path)) aria-current=[(*value == chosen).then_some("true")] { (title) }
            }
        }
    }
}

/// The chart of the same report over time.
pub async fn over_time(
    api: &Api,
    place: &Place,
    request: &ReportRequest,
    of: &Report,
) -> Result<Markup, PageError> {
    let days = (of.to - of.from).get_days();
    let (by, step) = match days {
        ..=100 => (Dimension::Day, "Day"),
        101..=740 => (Dimension::Week, "Week from"),
        _ => (Dimension::Month, "Month"),
    };
    let bounds = |date| Some(Bound::Day(date));
    // Models of a period have no days: the chart shows the last touch instead.
    let model = match request.model.main() {
        OneModel::Touches(model) => model,
        _ => Model::LastTouch,
    };
    let model = ReportModel::One(OneModel::Touches(model));
    let request = ReportRequest { by, model, from: bounds(of.from), to: bounds(of.to), ..request.clone() };
    let over_time = report(api, place, &request).await?;
    let mut figures: std::collections::BTreeMap<i64, &Figures> = std::collections::BTreeMap::new();
    for row in &over_time.rows {
        if let Key::Number(day) = row.key {
            figures.insert(day, &row.figures);
        }
    }
    let mut points = Vec::new();
    let mut date = match by {
        Dimension::Week => {
            let monday = of.from.weekday().to_monday_zero_offset();
            of.from.saturating_sub(Span::new().days(monday))
        }
        Dimension::Month => of.from.first_of_month(),
        _ => of.from,
    };
    while date < of.to {
        let row = figures.get(&i64::from(crate::domain::time::day_number(date)));
        let (label, short) = match by {
            Dimension::Month => (date.strftime("%b %Y").to_string(), date.strftime("%b %Y").to_string()),
            _ => (words::date(date), date.strftime("%-d %b").to_string()),
        };
        points.push(Point {
            label: if by == Dimension::Week { format!("Week from {label}") } else { label },
            short,
            net_minor: row.map_or(0, |figures| figures.net_minor()),
            clicks: row.and_then(|figures| figures.clicks).map_or(0, |clicks| clicks.human),
        });
        date = match by {
            Dimension::Week => date.saturating_add(Span::new().days(7)),
            Dimension::Month => date.saturating_add(Span::new().months(1)),
            _ => date.saturating_add(Span::new().days(1)),
        };
    }
    Ok(chart::chart(&points, of.currency, step))
}

/// The figures that matter most; `before` are those of the period before, to compare with.
pub fn cards(report: &Report, before: Option<&Report>) -> Markup {
    let now = &report.totals;
    let then = before.map(|report| &report.totals);
    let net = |figures: &Figures| Some(figures.net_minor() as f64);
    let cost = |figures: &Figures| figures.cost.map(|cost| cost.total_minor() as f64);
    let clicks = |figures: &Figures| figures.clicks.map(|clicks| clicks.human as f64);
    let conversions = |figures: &Figures| Some(figures.credits.weight as f64);
    let change = |of: &dyn Fn(&Figures) -> Option<f64>| then.and_then(|then| difference(of(now)?, of(then)?));
    let text = |column| cell(report, now, column);
    let card = |title: &str, figure: &Markup, fine: &str, change: Option<f64>, better_up: Option<bool>| {
        html! {
            div.card {
                h3 { (title) }
                p.figure { (figure) }
                p.fine { (fine) @if let Some(change) = change { (delta(change, better_up)) } }
            }
        }
    };
    let plain = |column| html! { (text(column)) };
    html! {
        section.cards aria-label="Totals" {
            (card("Net revenue", &plain("net_revenue"), &format!("{} refunded", text("refunds")), change(&net), Some(true)))
            (card("Cost", &plain("cost"), &format!("{} per click", text("cost_per_click")), change(&cost), None))
            (card("ROI", &roi(report, now), &format!("{} per conversion", text("cost_per_acquisition")), None, None))
            (card("Clicks", &plain("clicks"), &format!("{} each", text("earnings_per_click")), change(&clicks), Some(true)))
            (card("Conversions", &plain("conversions"), &format!("{} on average", text("average_order_value")), change(&conversions), Some(true)))
        }
    }
}

/// In percent; None where there was nothing to compare with.
fn difference(now: f64, then: f64) -> Option<f64> {
    (then > 0.0).then(|| (now - then) / then * 100.0)
}

fn delta(percent: f64, better_up: Option<bool>) -> Markup {
    let class = match better_up {
        Some(up) if percent.abs() >= 0.5 => {
            if up == (percent > 0.0) {
                "delta better"
            } else {
                "delta worse"
            }
        }
        _ => "delta",
    };
    let arrow = if percent >= 0.5 {
        "▲"
    } else if percent <= -0.5 {
        "▼"
    } else {
        "±"
    };
    html! { span class=(class) title="Against the period before" { (arrow) " " (format!("{:.0}\u{a0}%", percent.abs())) } }
}

/// Where every order went, with the way to the orders behind each number.
pub fn reconciliation(report: &Report, view: &View) -> Markup {
    let all = &report.reconciliation;
    let href = |status: Option<&str>, reason: Option<&str>| {
        view.frame().with(&[("status", status), ("reason", reason)]).href("/app/conversions")
    };
    let sum = |lines: &std::collections::BTreeMap<String, crate::reports::Line>| {
        lines
            .values()
            .fold((0, 0), |(orders, net), line| (orders + line.orders, net + line.amounts.net_minor()))
    };
    let groups = [
        ("attributed", "good", (all.attributed.orders, all.attributed.amounts.net_minor()), None),
        ("unattributed", "open", sum(&all.unattributed), Some(&all.unattributed)),
        ("excluded", "out", sum(&all.excluded), Some(&all.excluded)),
    ];
    let part = |orders: i64| orders as f64 * 1000.0 / all.received.orders.max(1) as f64;
    html! {
        section.panel.reconciliation aria-labelledby="reconciliation" {
            h2 #reconciliation { "Where every order went" }
            svg.share viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
                @for (i, (_, class, (orders, _), _)) in groups.iter().enumerate() {
                    @let before: i64 = groups[..i].iter().map(|(.., (orders, _), _)| orders).sum();
                    rect class=(class) x=(format!("{:.1}", part(before))) y="0" width=(format!("{:.1}", part(*orders))) height="10" {}
                }
            }
            dl.sums {
                div {
                    dt { a href=(href(None, None)) { "Received" } }
                    dd { strong { (count(all.received.orders)) } " " span { (money(all.received.amounts.net_minor(), report.currency)) } }
                }
                @for (status, class, (orders, net), lines) in groups {
                    div {
                        dt { span class={ "dot " (class) } aria-hidden="true" {} a href=(href(Some(status), None)) { (phrase(status)) } }
                        dd {
                            strong { (count(orders)) } " " span { (money(net, report.currency)) }
                            @if let Some(lines) = lines.filter(|lines| !lines.is_empty()) {
                                ul {
                                    @for (reason, line) in lines {
                                        li { a href=(href(Some(status), Some(reason))) { (phrase(reason)) } " " (count(line.orders)) " · " (money(line.amounts.net_minor(), report.currency)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
            @for (text, amounts) in [
                ("of it for clicks outside the period", all.to_totals.clicks_outside),
                ("more is credited here for orders outside the period", all.to_totals.orders_outside),
                ("of the attributed is left out by the filters", all.to_totals.filtered_out),
            ] {
                @if amounts.revenue_minor != 0 || amounts.refunds_minor != 0 {
                    p.fine { (money(amounts.net_minor(), report.currency)) " " (text) "." }
                }
            }
        }
    }
}
