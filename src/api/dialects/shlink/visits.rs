//! Shlink's visits. Clicks are kept in sums by day and referrer, so a visit is shown with the day that it
//! came on and where it came from, and without its minute, browser or place.

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::extract::State;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::short_urls::{named, take_domain};
use super::{Page, visits_summary};
use crate::api::Api;
use crate::api::auth::{Caller, Scope};
use crate::api::dialects::fields::Fields;
use crate::api::dialects::links::workspace_zone;
use crate::api::error::Answer;
use crate::api::extract::Segment;
use crate::domain::time::{day_date, local_day};
use crate::ledger::links::{self, ClicksOf, DayClicks};

const PAGE_MAX: i64 = 5000;
/// As Shlink has it, all visits where no size is given.
const PAGE_DEFAULT: i64 = PAGE_MAX;

/// `GET /visits`
pub async fn overview(State(api): State<Arc<Api>>, caller: Caller) -> Answer<JsonAnswer<Value>> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
    let (people, machines) = links::workspace_clicks(&api.ledger, workspace).await?;
    let visits = json!({
        "nonOrphanVisits": visits_summary(people, machines),
        "orphanVisits": visits_summary(0, 0),
        "visitsCount": people + machines,
        "orphanVisitsCount": 0,
    });
    Ok(JsonAnswer(json!({"visits": visits})))
}

/// `GET /short-urls/{code}/visits`
pub async fn of_link(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(code): Segment,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    caller.may_any(&[Scope::Links, Scope::Reports])?;
    let link = named(&api, &caller, &code, &mut fields).await?;
    page_of(&api, &link.workspace, ClicksOf::Link(link.id), fields).await
}

/// `GET /tags/{tag}/visits`
pub async fn of_tag(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(tag): Segment,
    fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
    page_of(&api, workspace, ClicksOf::Tag(tag), fields).await
}

/// `GET /domains/{domain}/visits`
pub async fn of_domain(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(domain): Segment,
    fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
    let of_path = serde_json::Map::from_iter([("domain".to_owned(), Value::from(domain))]);
    let domain = take_domain(&api, &mut Fields::from(of_path)).unwrap_or_default();
    page_of(&api, workspace, ClicksOf::Domain(domain), fields).await
}

/// `GET /visits/non-orphan`
pub async fn of_all(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
    let of = take_domain(&api, &mut fields).map_or(ClicksOf::All, ClicksOf::Domain);
    page_of(&api, workspace, of, fields).await
}

/// `GET /visits/orphan`: what leads to no link is not counted.
pub async fn orphan(caller: Caller, mut fields: Fields) -> Answer<JsonAnswer<Value>> {
    caller.may_any(&[Scope::Links, Scope::Reports])?;
    let page = take_page(&mut fields);
    Ok(JsonAnswer(json!({"visits": page.of(Vec::new(), 0)})))
}

fn take_page(fields: &mut Fields) -> Page {
    Page::new(fields.number("page"), fields.number("itemsPerPage"), PAGE_DEFAULT, PAGE_MAX)
}

async fn page_of(api: &Api, workspace: &str, of: ClicksOf, mut fields: Fields) -> Answer<JsonAnswer<Value>> {
    let page = take_page(&mut fields);
    let zone = workspace_zone(api, workspace).await?;
    let mut day_of = |name: &str| {
        let at_ms = fields.nullable_time(name).flatten();
        at_ms.map(|at_ms| i64::from(local_day(at_ms, &zone)))
    };
    let from = day_of("startDate").unwrap_or(i64::MIN);
    let to = day_of("endDate").map_or(i64::MAX, |day| day + 1);
    let without_bots = fields.flag("excludeBots") == Some(true);
    fields.check()?;
    let mut clicks = links::day_clicks(&api.ledger, workspace, &of, (from, to)).await?;
    if without_bots {
        clicks.iter_mut().for_each(|row| row.machines = 0);
    }
    let total = clicks.iter().map(|row| row.people + row.machines).sum();
    let data = visits(&clicks, page, &zone);
    Ok(JsonAnswer(json!({"visits": page.of(data, total)})))
}

/// The visits of a page: as many as were counted, the newest day first.
fn visits(clicks: &[DayClicks], page: Page, zone: &TimeZone) -> Vec<Value> {
    let mut to_skip = page.offset();
    let mut shown = Vec::new();
    for row in clicks {
        for (count, potential_bot) in [(row.people, false), (row.machines, true)] {
            let skipped = count.min(to_skip);
            to_skip -= skipped;
            let room = page.size - shown.len() as i64;
            if room == 0 {
                return shown;
            }
            let date = day_date(i32::try_from(row.day).unwrap_or_default());
            let date =
                zone.to_timestamp(date.at(0, 0, 0, 0)).map_or_else(|_| date.to_string(), |at| at.to_string());
            let visit = json!({"referer": row.referrer, "date": date, "userAgent": "", "visitLocation": null,
                "potentialBot": potential_bot, "visitedUrl": "", "redirectUrl": null});
            shown.extend((0..(count - skipped).min(room)).map(|_| visit.clone()));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_every_visit_once() {
        let row = |day: i64, referrer: &str, people: i64, machines: i64| DayClicks {
            day,
            referrer: referrer.into(),
            people,
            machines,
        };
        let clicks = [row(20_001, "a", 3, 1), row(20_000, "", 0, 2)];
        let check = |number: i64, size: i64, expected: &[(&str, bool)]| {
            let shown = visits(&clicks, Page { number, size }, &TimeZone::UTC);
            let shown: Vec<(&str, bool)> = shown
                .iter()
                .map(|visit| (visit["referer"].as_str().unwrap(), visit["potentialBot"].as_bool().unwrap()))
                .collect();
            assert_eq!(shown, expected, "{number} {size}");
        };
        check(1, 2, &[("a", false), ("a", false)]);
        check(2, 2, &[("a", false), ("a", true)]);
        check(3, 2, &[("", true), ("", true)]);
        check(4, 2, &[]);
        check(1, 100, &[("a", false), ("a", false), ("a", false), ("a", true), ("", true), ("", true)]);
    }
}
