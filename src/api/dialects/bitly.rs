//! Bitly, version 4 (https://dev.bitly.com/api-reference). Its clients mostly hold the host fixed; those that
//! take another one (`api_url`) are told of `.../v4`. Unlike Bitly's, a destination makes a new link each time;
//! a group is a workspace, and the key says which.

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use jiff::Span;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::fields::Fields;
use super::links::{Short, find, saved, take_own, with_scheme, workspace_zone};
use super::{Door, whole_detail};
use crate::api::Api;
use crate::api::auth::{Caller, Scope, bearer};
use crate::api::error::{Answer, Kind, Problem};
use crate::api::extract::Segment;
use crate::domain::ids::LinkId;
use crate::domain::time::{day_date, day_number, local_day, now_ms, timestamp};
use crate::ledger::links::{self, ClickKey, LinkFilter, LinkRow};
use crate::links::issue::LinkFields;

const DOOR: Door = Door { key: bearer, say, content_type: "application/json" };
/// By this name goes Bitly's own service: the default of clients that were not told a domain.
const HOSTED: &[&str] = &["bit.ly", "j.mp", "bitly.com"];
const DEEPLINKS: &str = "deeplinks";
const PAGE_DEFAULT: i64 = 50;
const PAGE_MAX: i64 = 100;
/// Spans of time in one answer.
const UNITS_MAX: i64 = 1000;

pub fn routes(api: &Arc<Api>) -> Router<Arc<Api>> {
    let routes = Router::new()
        .route("/shorten", post(shorten))
        .route("/expand", post(expand))
        .route("/bitlinks", post(create))
        .route("/bitlinks/{domain}/{code}", get(read).patch(change).delete(delete))
        .route("/bitlinks/{domain}/{code}/clicks", get(clicks))
        .route("/bitlinks/{domain}/{code}/clicks/summary", get(summary))
        .route("/bitlinks/{domain}/{code}/countries", get(countries))
        .route("/bitlinks/{domain}/{code}/referrers", get(referrers))
        .route("/custom_bitlinks", post(name))
        .route("/user", get(user))
        .route("/groups", get(groups))
        .route("/groups/{group}", get(group))
        .route("/groups/{group}/bitlinks", get(list));
    let routes = DOOR.guard(api, routes);
    Router::new().nest("/v4", routes.clone()).nest("/bitly/v4", routes)
}

fn say(problem: &Problem) -> (StatusCode, Value) {
    let (status, message) = match problem.kind() {
        Kind::Malformed | Kind::Invalid => (StatusCode::BAD_REQUEST, "INVALID_ARG"),
        Kind::SlugTaken | Kind::Conflict | Kind::IdempotencyKeyReused => {
            (StatusCode::CONFLICT, "ALREADY_EXISTS")
        }
        // Bitly says so to a key that it does not know.
        Kind::Unauthorized | Kind::BadSignature | Kind::Forbidden => (StatusCode::FORBIDDEN, "FORBIDDEN"),
        Kind::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND"),
        Kind::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT_EXCEEDED"),
        kind => (kind.status(), "INTERNAL_ERROR"),
    };
    let body = problem.body();
    let named = |field: &str| if field == "url" { "long_url".to_owned() } else { field.to_owned() };
    let errors = body.errors.iter().map(|error| (named(&error.field), error.detail.clone()));
    let errors = errors.chain(body.field.as_deref().map(|field| (named(field), body.detail.clone())));
    let mut errors: Vec<(String, String)> = errors.collect();
    errors.dedup();
    let errors = errors
        .into_iter()
        .map(|(field, message)| json!({"field": field, "error_code": "invalid", "message": message}));
    let errors: Vec<Value> = errors.collect();
    let said = json!({"message": message, "description": whole_detail(problem), "resource": "bitlinks",
        "errors": errors});
    (status, said)
}

/// A moment as Bitly writes times: in UTC, without a colon in the zone.
fn moment(at_ms: i64) -> String {
    timestamp(at_ms).strftime("%Y-%m-%dT%H:%M:%S+0000").to_string()
}

fn shown(api: &Api, link: &LinkRow) -> Value {
    let group = format!("{}v4/groups/{}", api.issuer.public_url(), link.workspace);
    json!({
        "id": format!("{}/{}", link.domain, link.slug),
        "link": api.issuer.short_url(link),
        "long_url": link.url,
        "title": link.title,
        "archived": link.archived_ms.is_some(),
        "created_at": moment(link.created_ms),
        "created_by": "utmost",
        "client_id": "utmost",
        "custom_bitlinks": [],
        "tags": link.tags,
        "launchpad_ids": [],
        DEEPLINKS: [],
        "references": {"group": group},
    })
}

/// The link that a path names.
async fn named(api: &Api, caller: &Caller, domain: &str, code: &str) -> Answer<LinkRow> {
    find(api, caller, &Short::of(Some(domain), Some(code), HOSTED)).await
}

fn take_link(fields: &mut Fields) -> LinkFields {
    let mut link = LinkFields {
        url: fields.text("long_url").map(|url| with_scheme(&url, "http")),
        domain: Short::of(fields.text("domain").as_deref(), None, HOSTED).domain,
        slug: fields.text("keyword"),
        title: fields.nullable_text("title"),
        tags: fields.texts("tags"),
        external_id: fields.nullable_text("external_id"),
        expires_ms: fields.nullable_time("expiration_at"),
        ..LinkFields::default()
    };
    if fields.value(DEEPLINKS).is_some_and(|links| links.as_array().is_none_or(|links| !links.is_empty())) {
        fields.refuse(DEEPLINKS, "deeplinks are not possible here; leave them out");
    }
    take_own(fields, &mut link);
    link
}

type Made = (StatusCode, JsonAnswer<Value>);

async fn make(api: &Api, caller: &Caller, mut fields: Fields) -> Answer<LinkRow> {
    let workspace = caller.may(Scope::Links)?;
    let link = take_link(&mut fields);
    fields.check()?;
    Ok(saved(api.issuer.create(workspace, link).await?))
}

/// `POST /shorten`
async fn shorten(State(api): State<Arc<Api>>, caller: Caller, fields: Fields) -> Answer<Made> {
    let row = make(&api, &caller, fields).await?;
    Ok((StatusCode::CREATED, JsonAnswer(shown(&api, &row))))
}

/// `POST /bitlinks`: the same, with a title, tags and more.
async fn create(state: State<Arc<Api>>, caller: Caller, fields: Fields) -> Answer<Made> {
    shorten(state, caller, fields).await
}

/// `POST /expand`: `{bitlink_id}`.
async fn expand(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    caller.may_any(&[Scope::Links, Scope::Reports])?;
    let id = fields.text("bitlink_id");
    let id = id.ok_or_else(|| Problem::invalid("bitlink_id", "bitlink_id is missing, such as bit.ly/abc"))?;
    let row = find(&api, &caller, &Short::of(Some(&id), None, HOSTED)).await?;
    Ok(JsonAnswer(json!({
        "id": format!("{}/{}", row.domain, row.slug),
        "link": api.issuer.short_url(&row),
        "long_url": row.url,
        "created_at": moment(row.created_ms),
    })))
}

/// `GET /bitlinks/{domain}/{code}`
async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment((domain, code)): Segment<(String, String)>,
) -> Answer<JsonAnswer<Value>> {
    caller.may_any(&[Scope::Links, Scope::Reports])?;
    Ok(JsonAnswer(shown(&api, &named(&api, &caller, &domain, &code).await?)))
}

async fn change_row(api: &Api, row: &LinkRow, link: LinkFields) -> Answer<LinkRow> {
    let id = LinkId::from_i64(row.id).map_err(Problem::internal)?;
    Ok(saved(api.issuer.change(&row.workspace, id, link).await?))
}

/// `PATCH /bitlinks/{domain}/{code}`
async fn change(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment((domain, code)): Segment<(String, String)>,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    caller.may(Scope::Links)?;
    let row = named(&api, &caller, &domain, &code).await?;
    let mut link = take_link(&mut fields);
    link.archived = fields.flag("archived");
    fields.check()?;
    Ok(JsonAnswer(shown(&api, &change_row(&api, &row, link).await?)))
}

/// `DELETE /bitlinks/{domain}/{code}`: the link answers 410 from then on.
async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment((domain, code)): Segment<(String, String)>,
) -> Answer<JsonAnswer<Value>> {
    caller.may(Scope::Links)?;
    let row = named(&api, &caller, &domain, &code).await?;
    change_row(&api, &row, LinkFields { archived: Some(true), ..LinkFields::default() }).await?;
    Ok(JsonAnswer(json!({"links_deleted": [{"id": format!("{}/{}", row.domain, row.slug)}]})))
}

/// `POST /custom_bitlinks`: `{bitlink_id, custom_bitlink}` gives a link another name.
async fn name(State(api): State<Arc<Api>>, caller: Caller, mut fields: Fields) -> Answer<JsonAnswer<Value>> {
    caller.may(Scope::Links)?;
    let (Some(id), Some(custom)) = (fields.text("bitlink_id"), fields.text("custom_bitlink")) else {
        return Err(Problem::invalid("custom_bitlink", "give bitlink_id and custom_bitlink"));
    };
    let row = find(&api, &caller, &Short::of(Some(&id), None, HOSTED)).await?;
    let short = Short::of(Some(&custom), None, HOSTED);
    let link = LinkFields { slug: Some(short.slug), domain: short.domain, ..LinkFields::default() };
    let row = change_row(&api, &row, link).await?;
    Ok(JsonAnswer(json!({"custom_bitlink": api.issuer.short_url(&row), "bitlink": shown(&api, &row)})))
}

/// A span of time in whole units, the last one being that of `unit_reference`.
struct Asked {
    unit: String,
    units: i64,
    reference_ms: i64,
    /// The first day of each unit, oldest first, and the day after the last one.
    starts: Vec<Date>,
    end: Date,
}

impl Asked {
    /// `first`: where there can have been clicks from, for `units=-1`.
    fn take(fields: &mut Fields, first: Date, zone: &TimeZone) -> Self {
        let unit = fields.text("unit").unwrap_or_else(|| "day".to_owned());
        let units = fields.number("units").unwrap_or(-1);
        let reference_ms = fields.nullable_time("unit_reference").flatten().unwrap_or_else(now_ms);
        let last = day_date(local_day(reference_ms, zone));
        let (last, step) = match unit.as_str() {
            "week" => {
                let since_monday = Span::new().days(last.weekday().to_monday_zero_offset());
                (last.saturating_sub(since_monday), Span::new().weeks(1))
            }
            "month" => (last.first_of_month(), Span::new().months(1)),
            "day" => (last, Span::new().days(1)),
            _ => {
                fields.refuse("unit", "clicks are counted by day: unit must be day, week or month");
                (last, Span::new().days(1))
            }
        };
        let mut starts = vec![last];
        let wanted = if units == -1 { UNITS_MAX } else { units.clamp(1, UNITS_MAX) };
        while (starts.len() as i64) < wanted {
            let oldest = starts[starts.len() - 1];
            if units == -1 && oldest <= first {
                break;
            }
            starts.push(oldest.saturating_sub(step));
        }
        starts.reverse();
        Self { unit, units, reference_ms, starts, end: last.saturating_add(step) }
    }

    fn days(&self) -> (i64, i64) {
        (day_number(self.starts[0]).into(), day_number(self.end).into())
    }

    /// What answers say again.
    fn said(&self) -> Value {
        json!({"unit": self.unit, "units": self.units, "unit_reference": moment(self.reference_ms)})
    }
}

async fn asked(
    api: &Api,
    caller: &Caller,
    (domain, code): (&str, &str),
    fields: &mut Fields,
) -> Answer<(LinkRow, Asked)> {
    caller.may_any(&[Scope::Links, Scope::Reports])?;
    let row = named(api, caller, domain, code).await?;
    let zone = workspace_zone(api, &row.workspace).await?;
    let asked = Asked::take(fields, day_date(local_day(row.created_ms, &zone)), &zone);
    fields.check()?;
    Ok((row, asked))
}

/// `GET /bitlinks/{domain}/{code}/clicks`: by day, week or month of the workspace's zone, the newest first.
async fn clicks(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment((domain, code)): Segment<(String, String)>,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    let (row, asked) = asked(&api, &caller, (&domain, &code), &mut fields).await?;
    let by_day = links::clicks_by_day(&api.ledger, row.id, asked.days()).await?;
    let ends = asked.starts.iter().skip(1).chain([&asked.end]);
    let units: Vec<Value> = asked
        .starts
        .iter()
        .zip(ends)
        .map(|(start, end)| {
            let days = i64::from(day_number(*start))..day_number(*end).into();
            let clicks: i64 =
                by_day.iter().filter(|(day, _)| days.contains(day)).map(|(_, clicks)| clicks).sum();
            json!({"date": format!("{start}T00:00:00+0000"), "clicks": clicks})
        })
        .collect();
    let mut answer = asked.said();
    answer["link_clicks"] = units.into_iter().rev().collect();
    Ok(JsonAnswer(answer))
}

/// `GET /bitlinks/{domain}/{code}/clicks/summary`
async fn summary(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment((domain, code)): Segment<(String, String)>,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    let (row, asked) = asked(&api, &caller, (&domain, &code), &mut fields).await?;
    let by_day = links::clicks_by_day(&api.ledger, row.id, asked.days()).await?;
    let mut answer = asked.said();
    answer["total_clicks"] = by_day.iter().map(|(_, clicks)| clicks).sum::<i64>().into();
    Ok(JsonAnswer(answer))
}

/// `GET /bitlinks/{domain}/{code}/countries`
async fn countries(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment((domain, code)): Segment<(String, String)>,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    let (row, asked) = asked(&api, &caller, (&domain, &code), &mut fields).await?;
    metrics(&api, &row, &asked, ClickKey::Country, "countries").await
}

/// `GET /bitlinks/{domain}/{code}/referrers`
async fn referrers(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment((domain, code)): Segment<(String, String)>,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    let (row, asked) = asked(&api, &caller, (&domain, &code), &mut fields).await?;
    metrics(&api, &row, &asked, ClickKey::Referrer, "referrers").await
}

async fn metrics(
    api: &Api,
    row: &LinkRow,
    asked: &Asked,
    by: ClickKey,
    facet: &str,
) -> Answer<JsonAnswer<Value>> {
    let clicks = links::clicks_by(&api.ledger, &row.workspace, Some(row.id), by, asked.days()).await?;
    let unknown = if by == ClickKey::Referrer { "direct" } else { "" };
    let mut answer = asked.said();
    answer["facet"] = facet.into();
    let metrics = clicks.into_iter().map(|(value, clicks)| {
        let value = if value.is_empty() { unknown.to_owned() } else { value };
        json!({"value": value, "clicks": clicks})
    });
    answer["metrics"] = metrics.collect();
    Ok(JsonAnswer(answer))
}

/// `GET /user`: the key, since people have no accounts here.
async fn user(caller: Caller) -> Answer<JsonAnswer<Value>> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
    let made = moment(0);
    Ok(JsonAnswer(json!({"login": "utmost", "name": "utmost", "is_active": true, "is_sso_user": false,
        "is_2fa_enabled": false, "emails": [], "default_group_guid": workspace, "created": made,
        "modified": made})))
}

fn group_of(api: &Api, workspace: &str) -> Value {
    let made = moment(0);
    json!({"guid": workspace, "name": workspace, "organization_guid": "utmost", "is_active": true, "role": "admin",
        "bsds": [], "created": made, "modified": made,
        "references": {"organization": format!("{}v4/organizations/utmost", api.issuer.public_url())}})
}

/// `GET /groups`: the key's workspace.
async fn groups(State(api): State<Arc<Api>>, caller: Caller) -> Answer<JsonAnswer<Value>> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
    Ok(JsonAnswer(json!({"groups": [group_of(&api, workspace)]})))
}

/// The workspace that a group is, if it is the caller's.
fn own_group<'c>(caller: &'c Caller, group: &str) -> Answer<&'c str> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
    match workspace == group {
        true => Ok(workspace),
        false => Err(Problem::new(Kind::NotFound, format!("this key has no group {group}"))),
    }
}

/// `GET /groups/{group}`
async fn group(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(group): Segment,
) -> Answer<JsonAnswer<Value>> {
    Ok(JsonAnswer(group_of(&api, own_group(&caller, &group)?)))
}

/// `GET /groups/{group}/bitlinks`
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(group): Segment,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    let size = fields.number("size").unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let page = fields.number("page").unwrap_or(1).clamp(1, i64::from(u32::MAX));
    let filter = LinkFilter {
        workspace: own_group(&caller, &group)?.to_owned(),
        search: fields.text("query"),
        tags: fields.texts("tags").unwrap_or_default(),
        archived: match fields.text("archived").as_deref() {
            Some("on") => Some(true),
            Some("both") => None,
            _ => Some(false),
        },
        offset: (page - 1) * size,
        limit: size,
        ..LinkFilter::default()
    };
    fields.check()?;
    let rows = links::list(&api.ledger, &filter).await?;
    let total = links::count(&api.ledger, &filter).await?;
    let base = format!("{}v4/groups/{group}/bitlinks", api.issuer.public_url());
    let at = |page: i64| format!("{base}?page={page}&size={size}");
    let next = if page * size < total { at(page + 1) } else { String::new() };
    let prev = if page > 1 { at(page - 1) } else { String::new() };
    Ok(JsonAnswer(json!({
        "links": rows.iter().map(|row| shown(&api, row)).collect::<Vec<_>>(),
        "pagination": {"page": page, "size": size, "total": total, "next": next, "prev": prev},
    })))
}
