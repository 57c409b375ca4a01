//! Dub's analytics, from the attribution report by last touch. Days are those of the workspace's zone.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::extract::State;
use jiff::Span;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{acting, links as dub_links, show};
use crate::api::Api;
use crate::api::auth::{Caller, Scope};
use crate::api::dialects::fields::Fields;
use crate::api::dialects::links::workspace_zone;
use crate::api::error::{Answer, Problem};
use crate::api::links::link_id;
use crate::domain::ids::LinkId;
use crate::domain::time::{day_date, day_number, local_day, now_ms};
use crate::ledger::links::{self, ClickKey, LinkRow};
use crate::reports::{self, Figures, Report, ReportRequest};

const EVENTS: [&str; 4] = ["clicks", "leads", "sales", "composite"];
/// Groups and the report's `by` that answers them.
const GROUPS: [(&str, &str); 10] = [
    ("count", "day"),
    ("timeseries", "day"),
    ("countries", "country"),
    ("devices", "device"),
    ("top_links", "link"),
    ("utm_sources", "utm_source"),
    ("utm_mediums", "utm_medium"),
    ("utm_campaigns", "utm_campaign"),
    ("utm_terms", "utm_term"),
    ("utm_contents", "utm_content"),
];
const REFERERS: &str = "referers";
/// Links shown by `top_links`.
const TOP_MAX: usize = 100;

/// `GET /analytics`
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    let (caller, tenant) = acting(&api, &caller, fields.peek_text("tenantId")).await?;
    let mut workspace = caller.may_any(&[Scope::Links, Scope::Reports])?.to_owned();
    let event = fields.text("event").unwrap_or_else(|| "clicks".to_owned());
    if !EVENTS.contains(&event.as_str()) {
        fields.refuse("event", format!("event must be one of {}", EVENTS.join(", ")));
    }
    let group = fields.text("groupBy").unwrap_or_else(|| "count".to_owned());
    let by = GROUPS.iter().find(|(name, _)| *name == group).map(|(_, by)| *by);
    if by.is_none() && group != REFERERS {
        let names: Vec<&str> = GROUPS.iter().map(|(name, _)| *name).chain([REFERERS]).collect();
        fields.refuse("groupBy", format!("groupBy must be one of {}", names.join(", ")));
    }
    let link = dub_links::asked(&api, &caller, &mut fields).await?;
    if tenant.is_some() && link.is_none() {
        let detail = "figures of a tenant need a workspace of its own: see dialects.dub_tenants";
        fields.refuse("tenantId", detail);
    }
    if let Some(link) = &link {
        workspace.clone_from(&link.workspace);
    }
    let zone = workspace_zone(&api, &workspace).await?;
    let (from, to) = take_period(&mut fields, &zone);
    let mut filters = take_filters(&mut fields);
    fields.check()?;

    if group == REFERERS {
        let link = link.map(|link| link.id);
        return Ok(JsonAnswer(referers(&api, &workspace, link, from, to, &event).await?));
    }
    filters.extend(link.map(|link| ("link", link_id(link.id))));
    filters.extend(from.map(|from| ("from", from.to_string())));
    filters.push(("to", to.to_string()));
    filters.push(("by", by.unwrap_or("day").to_owned()));
    let sales = report(&api, &workspace, &filters, "purchase").await?;
    let leads = match event.as_str() {
        "leads" | "composite" => Some(report(&api, &workspace, &filters, "lead").await?),
        _ => None,
    };
    let answer = match group.as_str() {
        "count" => figures(&event, &sales.totals, leads.as_ref().map(|report| &report.totals)),
        "timeseries" => timeseries(&event, &sales, leads.as_ref(), &zone),
        _ => rows(&api, &workspace, &group, &event, &sales, leads.as_ref()).await?,
    };
    Ok(JsonAnswer(answer))
}

/// The first day and the day after the last; no first day: from the beginning.
fn take_period(fields: &mut Fields, zone: &TimeZone) -> (Option<Date>, Date) {
    let today = day_date(local_day(now_ms(), zone));
    let next = |date: Date| date.saturating_add(Span::new().days(1));
    let date_of = |at_ms: Option<Option<i64>>| at_ms.flatten().map(|ms| day_date(local_day(ms, zone)));
    let start = date_of(fields.nullable_time("start"));
    let end = date_of(fields.nullable_time("end"));
    let ago = |span: Span| Some(today.saturating_sub(span));
    let months_back = |months: i8| ago(Span::new().months(months)).map(Date::first_of_month);
    // As Dub has it, the last day alone where nothing is said.
    let interval = fields.text("interval").unwrap_or_else(|| "24h".to_owned());
    let first = match interval.as_str() {
        "24h" => ago(Span::new().days(1)),
        "7d" => ago(Span::new().days(7)),
        "30d" => ago(Span::new().days(30)),
        "90d" => ago(Span::new().days(90)),
        "1y" => ago(Span::new().years(1)),
        "mtd" => months_back(0),
        "qtd" => months_back((today.month() - 1) % 3),
        "ytd" => months_back(today.month() - 1),
        "all" | "all_unfiltered" => None,
        other => {
            fields.refuse("interval", format!("{other:?} is no interval, such as 7d or all"));
            None
        }
    };
    match (start, end) {
        (None, None) => (first, next(today)),
        (start, end) => (start, next(end.unwrap_or(today).max(start.unwrap_or(Date::MIN)))),
    }
}

fn take_filters(fields: &mut Fields) -> Vec<(&'static str, String)> {
    let mut filters = Vec::new();
    for name in ["utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content", "country"] {
        filters.extend(fields.text(name).map(|value| (name, value)));
    }
    filters.extend(fields.text("device").map(|device| ("device", device.to_lowercase())));
    let tags = fields.texts("tagId").into_iter().chain(fields.texts("tagIds")).flatten();
    filters.extend(tags.map(|tag| ("tag", tag)));
    filters
}

async fn report(api: &Api, workspace: &str, filters: &[(&str, String)], event: &str) -> Answer<Report> {
    let pairs = filters.iter().map(|(name, value)| (*name, value.as_str())).chain([("event", event)]);
    let request = ReportRequest::parse(pairs)?;
    Ok(reports::attribution(&api.ledger, workspace, &request, &api.config.attribution).await?)
}

/// The figures that the event asks for. Amounts are net, in minor units of the workspace's currency.
fn figures(event: &str, sales: &Figures, leads: Option<&Figures>) -> Value {
    let conversions = |figures: &Figures| figures.credits.weight / 1_000_000_000;
    let net = sales.credits.revenue_minor - sales.credits.refunds_minor;
    let all = json!({
        "clicks": sales.clicks.map_or(0, |clicks| clicks.human),
        "leads": leads.map_or(0, conversions),
        "sales": conversions(sales),
        "saleAmount": net,
    });
    let names: &[&str] = match event {
        "clicks" => &["clicks"],
        "leads" => &["leads"],
        "sales" => &["sales", "saleAmount"],
        _ => return all,
    };
    names
        .iter()
        .map(|name| ((*name).to_owned(), all[*name].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Figures of each row by its name, joined over both reports.
fn joined<'r>(
    sales: &'r Report,
    leads: Option<&'r Report>,
) -> Vec<(Option<&'r str>, Figures, Option<&'r Figures>)> {
    let mut by_name: HashMap<Option<&str>, &Figures> = leads
        .into_iter()
        .flat_map(|report| &report.rows)
        .map(|row| (row.name.as_deref(), &row.figures))
        .collect();
    let mut rows: Vec<_> = sales
        .rows
        .iter()
        .map(|row| (row.name.as_deref(), row.figures, by_name.remove(&row.name.as_deref())))
        .collect();
    rows.extend(by_name.into_iter().map(|(name, figures)| {
        // Clicks are in both reports, so a row of leads alone has none.
        (name, Figures::default(), Some(figures))
    }));
    rows
}

fn timeseries(event: &str, sales: &Report, leads: Option<&Report>, zone: &TimeZone) -> Value {
    let by_day: HashMap<Option<&str>, (Figures, Option<&Figures>)> =
        joined(sales, leads).into_iter().map(|(day, sales, leads)| (day, (sales, leads))).collect();
    let days = day_number(sales.from)..day_number(sales.to);
    let days = days.map(|day| {
        let date = day_date(day);
        let (sales, leads) = by_day.get(&Some(date.to_string().as_str())).copied().unwrap_or_default();
        let mut figures = figures(event, &sales, leads);
        let start = zone.to_timestamp(date.at(0, 0, 0, 0)).map(|start| start.to_string());
        figures["start"] = start.unwrap_or_else(|_| date.to_string()).into();
        figures
    });
    days.collect()
}

async fn rows(
    api: &Api,
    workspace: &str,
    group: &str,
    event: &str,
    sales: &Report,
    leads: Option<&Report>,
) -> Answer<Value> {
    let mut rows = joined(sales, leads);
    rows.sort_by_key(|(name, sales, _)| (std::cmp::Reverse(sales.clicks.map_or(0, |c| c.human)), *name));
    let mut answer = Vec::new();
    for (name, sales, leads) in rows {
        let mut shown = figures(event, &sales, leads);
        if shown.as_object().is_some_and(|figures| figures.values().all(|figure| *figure == 0)) {
            continue;
        }
        match (group, name) {
            ("countries", name) => {
                shown["country"] = name.unwrap_or("Unknown").into();
                shown["region"] = "*".into();
                shown["city"] = "*".into();
            }
            ("devices", name) => shown["device"] = capitalized(name.unwrap_or("unknown")).into(),
            ("top_links", Some(id)) if answer.len() < TOP_MAX => {
                let Some(link) = link_named(api, workspace, id).await? else { continue };
                let about = show::link(api, &link, Default::default());
                for name in ["id", "domain", "key", "shortLink", "url", "title", "comments", "folderId"] {
                    shown[name] = about[name].clone();
                }
                shown["link"] = about["id"].clone();
                shown["partnerId"] = about["partnerId"].clone();
                shown["createdAt"] = about["createdAt"].clone();
            }
            ("top_links", _) | (_, None) => continue,
            // utm_sources is a list by utm_source.
            (group, Some(name)) => shown[group.trim_end_matches('s')] = name.into(),
        }
        answer.push(shown);
    }
    Ok(answer.into())
}

async fn link_named(api: &Api, workspace: &str, id: &str) -> Answer<Option<LinkRow>> {
    let id: LinkId = id.parse().map_err(Problem::internal)?;
    Ok(links::get(&api.ledger, workspace, id.as_i64()).await?)
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Clicks by the host that they came from; what they led to is not kept by it.
async fn referers(
    api: &Api,
    workspace: &str,
    link: Option<i64>,
    from: Option<Date>,
    to: Date,
    event: &str,
) -> Answer<Value> {
    let days = (from.map_or(i64::MIN, |from| day_number(from).into()), day_number(to).into());
    let clicks = links::clicks_by(&api.ledger, workspace, link, ClickKey::Referrer, days).await?;
    let counted = ["clicks", "composite"].contains(&event);
    let rows = clicks.into_iter().filter(|_| counted).map(|(referrer, clicks)| {
        let referrer = if referrer.is_empty() { "(direct)" } else { &referrer };
        json!({"referer": referrer, "clicks": clicks})
    });
    Ok(rows.collect())
}
