//! Kutt (https://docs.kutt.it): links as JSON or as a form, and their figures by day. A client is told of
//! `.../api/v2` or, where it asks for the host alone, of the host.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, patch};
use jiff::Span;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use uuid::Uuid;

use super::fields::Fields;
use super::links::{
    Short, find, find_id, find_url, saved, take_kept_texts, take_own, with_scheme, workspace_zone,
};
use super::{Door, whole_detail};
use crate::api::Api;
use crate::api::auth::{Caller, Scope, bearer};
use crate::api::error::{Answer, Kind, Problem};
use crate::api::extract::Segment;
use crate::domain::ids::LinkId;
use crate::domain::time::{day_date, day_number, local_day, now_ms, rfc3339, timestamp};
use crate::ledger::links::{self, ClickKey, LinkFilter, LinkRow};
use crate::ledger::workspaces;
use crate::links::issue::LinkFields;

const DOOR: Door = Door { key: sent_key, say, content_type: "application/json" };
/// By this name goes Kutt's own service.
const HOSTED: &[&str] = &["kutt.it", "kutt.to"];
const DESCRIPTION: &str = "description";
const LIMIT_DEFAULT: i64 = 10;
const LIMIT_MAX: i64 = 50;
/// Domains shown at most.
const DOMAINS_MAX: i64 = 100;

pub fn routes(api: &Arc<Api>) -> Router<Arc<Api>> {
    let routes = Router::new()
        .route("/links", get(list).post(create))
        .route("/links/{id}", patch(change).put(change).delete(delete).get(read))
        // The `kutt` package of npm asks by DELETE, which deletes nothing.
        .route("/links/{id}/stats", get(stats).delete(stats))
        .route("/users", get(user));
    let open = DOOR.open(Router::new().route("/health", get(|| async { "OK" })));
    let routes = DOOR.guard(api, routes).merge(open);
    Router::new().nest("/api/v2", routes.clone()).nest("/kutt/api/v2", routes)
}

fn sent_key(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-api-key").and_then(|value| value.to_str().ok()).or_else(|| bearer(headers))
}

/// Kutt answers 400 to every mistake of a caller.
fn say(problem: &Problem) -> (StatusCode, Value) {
    let status = match problem.kind() {
        Kind::Invalid | Kind::SlugTaken | Kind::Conflict => StatusCode::BAD_REQUEST,
        kind => kind.status(),
    };
    (status, json!({"error": whole_detail(problem)}))
}

/// A link's id as Kutt's clients expect one: a UUID (version 8), made of ours alone.
fn link_uuid(id: i64) -> Uuid {
    let [head @ .., seventh, eighth] = id.to_be_bytes();
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&head);
    bytes[14] = seventh;
    bytes[15] = eighth;
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn id_of(uuid: Uuid) -> i64 {
    let bytes = uuid.as_bytes();
    let mut id = [0; 8];
    id[..6].copy_from_slice(&bytes[..6]);
    id[6..].copy_from_slice(&bytes[14..]);
    i64::from_be_bytes(id)
}

/// The link that a path names: by its UUID, by its slug or by our id.
async fn named(api: &Api, caller: &Caller, name: &str) -> Answer<LinkRow> {
    if let Ok(uuid) = name.parse::<Uuid>() {
        let id = LinkId::from_i64(id_of(uuid)).map_or_else(|_| name.to_owned(), |id| id.to_string());
        return find_id(api, caller, &id).await;
    }
    match find(api, caller, &Short::of(None, Some(name), HOSTED)).await {
        Err(problem) if problem.kind() == Kind::NotFound => find_id(api, caller, name).await,
        found => found,
    }
}

fn shown(api: &Api, link: &LinkRow, clicks: i64) -> Value {
    let domain = Some(&link.domain).filter(|domain| *domain != api.issuer.public_domain());
    json!({
        "id": link_uuid(link.id),
        "address": link.slug,
        "link": api.issuer.short_url(link),
        "target": link.url,
        "domain": domain,
        "description": link.extra.get(DESCRIPTION),
        "visit_count": clicks,
        "banned": false,
        "password": false,
        "expire_in": link.expires_ms.map(rfc3339),
        "created_at": rfc3339(link.created_ms),
        "updated_at": rfc3339(link.updated_ms),
    })
}

async fn shown_with_clicks(api: &Api, link: &LinkRow) -> Answer<JsonAnswer<Value>> {
    let clicks = links::human_clicks(&api.ledger, &[link.id]).await?;
    Ok(JsonAnswer(shown(api, link, clicks.get(&link.id).copied().unwrap_or_default())))
}

fn take_link(fields: &mut Fields) -> LinkFields {
    let mut link = LinkFields {
        url: fields.text("target").map(|url| with_scheme(&url, "http")),
        slug: fields.text("customurl").or_else(|| fields.text("address")),
        domain: Short::of(fields.text("domain").as_deref(), None, HOSTED).domain,
        ..LinkFields::default()
    };
    if let Some(span) = fields.nullable_text("expire_in") {
        link.expires_ms = Some(span.and_then(|span| take_span(fields, &span)));
    }
    take_kept_texts(fields, &[DESCRIPTION], &mut link);
    take_own(fields, &mut link);
    link.external_id = fields.nullable_text("external_id");
    link.tags = fields.texts("tags");
    if fields.text("password").is_some() {
        fields.refuse("password", "password is not possible here; leave it out");
    }
    link
}

/// `2 hours`, `30m`, `7 days`, from now on.
fn take_span(fields: &mut Fields, text: &str) -> Option<i64> {
    let after = |span: Span| {
        let at = TimeZone::UTC.to_datetime(timestamp(now_ms())).checked_add(span).ok()?;
        TimeZone::UTC.to_timestamp(at).ok()
    };
    let at = text.trim().to_lowercase().parse().ok().filter(Span::is_positive).and_then(after);
    if at.is_none() {
        fields.refuse("expire_in", "expire_in must be a span such as \"2 hours\" or \"7 days\"");
    }
    at.map(|at| at.as_millisecond())
}

/// `POST /links`: 201, or 200 where `reuse` found one.
async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut fields: Fields,
) -> Answer<(StatusCode, JsonAnswer<Value>)> {
    let workspace = caller.may(Scope::Links)?;
    let reuse = fields.flag("reuse") == Some(true);
    let link = take_link(&mut fields);
    fields.check()?;
    if reuse && let Some(url) = &link.url {
        // A link of another post would credit that one.
        let found = find_url(&api, workspace, url, link.domain.as_deref()).await?;
        let found = found.filter(|row| link.post.as_ref().is_none_or(|post| *post == row.post));
        if let Some(row) = found {
            return Ok((StatusCode::OK, shown_with_clicks(&api, &row).await?));
        }
    }
    let row = saved(api.issuer.create(workspace, link).await?);
    Ok((StatusCode::CREATED, JsonAnswer(shown(&api, &row, 0))))
}

/// `GET /links`
async fn list(State(api): State<Arc<Api>>, caller: Caller, mut fields: Fields) -> Answer<JsonAnswer<Value>> {
    let (limit, skip) = (fields.number("limit"), fields.number("skip"));
    let filter = LinkFilter {
        workspace: caller.may_any(&[Scope::Links, Scope::Reports])?.to_owned(),
        search: fields.text("search"),
        archived: Some(false),
        limit: limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX),
        offset: skip.unwrap_or(0).max(0),
        ..LinkFilter::default()
    };
    fields.check()?;
    let rows = links::list(&api.ledger, &filter).await?;
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let clicks = links::human_clicks(&api.ledger, &ids).await?;
    let clicks_of = |row: &LinkRow| clicks.get(&row.id).copied().unwrap_or_default();
    Ok(JsonAnswer(json!({
        "total": links::count(&api.ledger, &filter).await?,
        "limit": filter.limit,
        "skip": filter.offset,
        "data": rows.iter().map(|row| shown(&api, row, clicks_of(row))).collect::<Vec<_>>(),
    })))
}

/// `GET /links/{id}`
async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<JsonAnswer<Value>> {
    caller.may_any(&[Scope::Links, Scope::Reports])?;
    shown_with_clicks(&api, &named(&api, &caller, &id).await?).await
}

async fn change_row(api: &Api, row: &LinkRow, link: LinkFields) -> Answer<LinkRow> {
    let id = LinkId::from_i64(row.id).map_err(Problem::internal)?;
    Ok(saved(api.issuer.change(&row.workspace, id, link).await?))
}

/// `PATCH /links/{id}`
async fn change(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    caller.may(Scope::Links)?;
    let row = named(&api, &caller, &id).await?;
    let link = take_link(&mut fields);
    fields.check()?;
    shown_with_clicks(&api, &change_row(&api, &row, link).await?).await
}

/// `DELETE /links/{id}`: the link answers 410 from then on, and its history stays in reports.
async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<JsonAnswer<Value>> {
    caller.may(Scope::Links)?;
    let row = named(&api, &caller, &id).await?;
    change_row(&api, &row, LinkFields { archived: Some(true), ..LinkFields::default() }).await?;
    Ok(JsonAnswer(json!({"message": "Link has been deleted successfully."})))
}

/// `GET /links/{id}/stats`. Clicks are counted by day, so those of the last day stand in its last hour; by
/// browser and system they are not counted.
async fn stats(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<JsonAnswer<Value>> {
    caller.may_any(&[Scope::Links, Scope::Reports])?;
    let row = named(&api, &caller, &id).await?;
    let JsonAnswer(mut answer) = shown_with_clicks(&api, &row).await?;
    let zone = workspace_zone(&api, &row.workspace).await?;
    let today = local_day(now_ms(), &zone);
    let tomorrow = today + 1;
    let first_month = day_date(today).first_of_month().saturating_sub(Span::new().months(11));
    let year_day = day_number(first_month);
    let by_day = links::clicks_by_day(&api.ledger, row.id, (year_day.into(), tomorrow.into())).await?;
    let by_day: HashMap<i32, i64> =
        by_day.into_iter().filter_map(|(day, clicks)| Some((i32::try_from(day).ok()?, clicks))).collect();
    let on = |day: i32| by_day.get(&day).copied().unwrap_or_default();
    let days = |count: i32| (tomorrow - count..tomorrow).map(on).collect::<Vec<i64>>();
    let month = |back: i32| {
        let start = day_date(today).first_of_month().saturating_sub(Span::new().months(back));
        (day_number(start)..day_number(start.last_of_month()) + 1).map(on).sum::<i64>()
    };
    let mut hours = vec![0; 24];
    hours[23] = on(today);
    let periods = [
        ("lastDay", today, hours),
        ("lastWeek", tomorrow - 7, days(7)),
        ("lastMonth", tomorrow - 30, days(30)),
        ("lastYear", year_day, (0..12).rev().map(month).collect()),
    ];
    for (name, from, views) in periods {
        let stats = by_keys(&api, &row, (from.into(), tomorrow.into())).await?;
        answer[name] = json!({"stats": stats, "views": views, "total": views.iter().sum::<i64>()});
    }
    answer["updatedAt"] = rfc3339(now_ms()).into();
    Ok(JsonAnswer(answer))
}

async fn by_keys(api: &Api, row: &LinkRow, days: (i64, i64)) -> Answer<Value> {
    let named = async |by: ClickKey, unknown: &str| -> Answer<Value> {
        let clicks = links::clicks_by(&api.ledger, &row.workspace, Some(row.id), by, days).await?;
        let name = |key: String| if key.is_empty() { unknown.to_owned() } else { key };
        Ok(clicks.into_iter().map(|(key, value)| json!({"name": name(key), "value": value})).collect())
    };
    Ok(json!({
        "browser": [],
        "os": [],
        "country": named(ClickKey::Country, "unknown").await?,
        "referrer": named(ClickKey::Referrer, "Direct").await?,
    }))
}

/// `GET /users`: the key's domains; whose it is stays untold.
async fn user(State(api): State<Arc<Api>>, caller: Caller) -> Answer<JsonAnswer<Value>> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
    let domains = workspaces::list_domains(&api.ledger, workspace, "", DOMAINS_MAX).await?;
    let domains = domains.iter().map(|row| {
        let made = rfc3339(row.created_ms);
        json!({"id": row.domain, "address": row.domain, "banned": false, "homepage": null, "created_at": made,
            "updated_at": made})
    });
    Ok(JsonAnswer(json!({"apikey": null, "email": "", "domains": domains.collect::<Vec<_>>()})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_uuids_and_back() {
        for id in [1, 255, 65_536, 7_190_000_000_000_000_123, i64::MAX] {
            let uuid = link_uuid(id);
            assert_eq!((id_of(uuid), uuid.get_version_num()), (id, 8));
        }
    }
}
