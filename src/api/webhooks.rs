//! Webhooks out: who is told what, with which secret, and what became of every message.

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::{Host, Url};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::{Caller, Scope};
use super::error::{Answer, Kind, Problem, Problems};
use super::extract::{Json, Query, Segment, nullable};
use super::page::{Page, Window};
use crate::domain::flaw::Flaws;
use crate::domain::time::{now_ms, rfc3339};
use crate::ledger::webhooks::{self, MessageRow, SigningSecret, WebhookRow};
use crate::webhooks::address::may_be_called;
use crate::webhooks::{EVENTS, generate_secret, outbox};

/// Of one workspace.
const WEBHOOKS_MAX: i64 = 20;
const URL_MAX_BYTES: usize = 2048;
/// After a rotation the former secret signs as well for so long.
const OVERLAP_MS: i64 = 24 * 3_600_000;
const RESULTS: [&str; 3] = ["waiting", "delivered", "dead"];

pub fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/webhooks", post(create).get(list))
        .route("/webhooks/{id}", get(read).patch(change).delete(remove))
        .route("/webhooks/{id}/secret", post(rotate))
        .route("/webhooks/{id}/test", post(test))
        .route("/webhooks/{id}/deliveries", get(messages))
        .route("/webhooks/{id}/replay", post(replay_dead))
        .route("/webhooks/{id}/deliveries/{message}/replay", post(replay))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// Where messages are posted, http or https. No private address unless the configuration allows it.
    url: String,
    /// conversion.attributed, conversion.refunded, link.clicked (many clicks in one message).
    events: Vec<String>,
    /// For people.
    description: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookChange {
    url: Option<String>,
    events: Option<Vec<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    /// true: send again after it was disabled; false: send nothing.
    enabled: Option<bool>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Webhook {
    id: String,
    url: String,
    events: Vec<String>,
    description: Option<String>,
    /// What messages are signed with (Standard Webhooks). Shown when it is made and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    enabled: bool,
    disabled_at: Option<String>,
    /// Why nothing is sent any more.
    disabled_reason: Option<String>,
    /// Since when every attempt has failed; null where the last one did not.
    failing_since: Option<String>,
    created_at: String,
}

fn show(row: WebhookRow, secret: Option<String>) -> Webhook {
    Webhook {
        id: row.id,
        url: row.url,
        events: row.events,
        description: row.description,
        secret,
        enabled: row.disabled_ms.is_none(),
        disabled_at: row.disabled_ms.map(rfc3339),
        disabled_reason: row.disabled_reason,
        failing_since: row.failing_ms.map(rfc3339),
        created_at: rfc3339(row.created_ms),
    }
}

/// A URL that is to be called.
pub(super) fn check_url(api: &Api, field: &'static str, given: &str, flaws: &mut Flaws) -> String {
    let given = given.trim();
    let url = Url::parse(given).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(url) = url.filter(|_| given.len() <= URL_MAX_BYTES) else {
        let detail = format!("{field} must be http:// or https:// and have at most {URL_MAX_BYTES} bytes");
        flaws.add(field, detail);
        return String::new();
    };
    if !url.username().is_empty() || url.password().is_some() {
        flaws.add(field, format!("{field} must hold no user and no password"));
    }
    let literal = match url.host() {
        Some(Host::Ipv4(address)) => Some(address.into()),
        Some(Host::Ipv6(address)) => Some(address.into()),
        _ => None,
    };
    if literal.is_some_and(|address| !may_be_called(address, &api.config.webhooks.allow_networks)) {
        let detail = format!(
            "{field} must lead to a public address; webhooks.allow_networks in the configuration allows others"
        );
        flaws.add(field, detail);
    }
    url.into()
}

fn check_events(mut given: Vec<String>, flaws: &mut Flaws) -> Vec<String> {
    given.sort();
    given.dedup();
    if given.is_empty() || given.iter().any(|event| !EVENTS.contains(&event.as_str())) {
        flaws.add("events", format!("events must be some of {}", EVENTS.join(", ")));
    }
    given
}

/// Be told of what happens.
///
/// Messages are signed as Standard Webhooks says, with the `secret` of this answer, which is shown only here.
/// Answer 2xx within the configured time; anything else is tried again, less and less often.
#[utoipa::path(post, path = "/api/v1/webhooks", tag = "webhooks", request_body = NewWebhook,
    responses((status = 201, body = Webhook), Problems))]
pub async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(new): Json<NewWebhook>,
) -> Answer<(StatusCode, JsonAnswer<Webhook>)> {
    let workspace = caller.may(Scope::Admin)?;
    let mut flaws = Flaws::default();
    let url = check_url(&api, "url", &new.url, &mut flaws);
    let events = check_events(new.events, &mut flaws);
    let description = flaws.text("description", new.description, 200);
    flaws.check()?;
    if webhooks::list(&api.ledger, workspace, "", WEBHOOKS_MAX).await?.len() as i64 >= WEBHOOKS_MAX {
        let detail = format!("a workspace has at most {WEBHOOKS_MAX} webhooks; remove one first");
        return Err(Problem::new(Kind::Conflict, detail));
    }
    let secret = generate_secret();
    let row = WebhookRow {
        id: format!("wh_{}", uuid::Uuid::now_v7().simple()),
        workspace: workspace.to_owned(),
        url,
        events,
        description,
        secrets: vec![SigningSecret { secret: secret.clone(), until_ms: None }],
        failing_ms: None,
        disabled_ms: None,
        disabled_reason: None,
        created_ms: now_ms(),
    };
    let mut tx = api.ledger.begin().await?;
    webhooks::put(&mut tx, &row).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, JsonAnswer(show(row, Some(secret)))))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListWebhooks {
    /// 1 to 1000, 100 if absent.
    limit: Option<u32>,
    cursor: Option<String>,
}

/// The workspace's webhooks.
#[utoipa::path(get, path = "/api/v1/webhooks", tag = "webhooks", params(ListWebhooks),
    responses((status = 200, body = Page<Webhook>), Problems))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<ListWebhooks>,
) -> Answer<JsonAnswer<Page<Webhook>>> {
    let workspace = caller.may(Scope::Admin)?;
    let window = Window::new(query.limit, query.cursor.as_deref(), 1)?;
    let rows = webhooks::list(&api.ledger, workspace, window.after_text(0), window.fetch()).await?;
    Ok(JsonAnswer(window.page(rows, |row| vec![row.id.clone()], |row| show(row, None))))
}

async fn existing(api: &Api, workspace: &str, id: &str) -> Answer<WebhookRow> {
    let row = webhooks::get(&api.ledger, workspace, id).await?;
    row.ok_or_else(|| Problem::not_found("webhook", id))
}

/// A webhook.
#[utoipa::path(get, path = "/api/v1/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 200, body = Webhook), Problems))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<JsonAnswer<Webhook>> {
    let workspace = caller.may(Scope::Admin)?;
    Ok(JsonAnswer(show(existing(&api, workspace, &id).await?, None)))
}

/// Change a webhook, or enable it again.
#[utoipa::path(patch, path = "/api/v1/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)),
    request_body = WebhookChange, responses((status = 200, body = Webhook), Problems))]
pub async fn change(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
    Json(change): Json<WebhookChange>,
) -> Answer<JsonAnswer<Webhook>> {
    let workspace = caller.may(Scope::Admin)?;
    let mut flaws = Flaws::default();
    let url = change.url.map(|url| check_url(&api, "url", &url, &mut flaws));
    let events = change.events.map(|events| check_events(events, &mut flaws));
    let description = change.description.map(|text| flaws.text("description", text, 200));
    flaws.check()?;
    let mut tx = api.ledger.begin().await?;
    let row = webhooks::lock(&api.ledger, &mut tx, workspace, &id).await?;
    let mut row = row.ok_or_else(|| Problem::not_found("webhook", id))?;
    row.url = url.unwrap_or(row.url);
    row.events = events.unwrap_or(row.events);
    row.description = description.unwrap_or(row.description);
    match change.enabled {
        Some(true) => (row.disabled_ms, row.disabled_reason, row.failing_ms) = (None, None, None),
        Some(false) if row.disabled_ms.is_none() => {
            row.disabled_ms = Some(now_ms());
            row.disabled_reason = Some("by request".to_owned());
        }
        _ => {}
    }
    webhooks::put(&mut tx, &row).await?;
    tx.commit().await?;
    Ok(JsonAnswer(show(row, None)))
}

/// Remove a webhook, with all that it was still to be told.
#[utoipa::path(delete, path = "/api/v1/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 204), Problems))]
pub async fn remove(State(api): State<Arc<Api>>, caller: Caller, Segment(id): Segment) -> Answer<StatusCode> {
    let workspace = caller.may(Scope::Admin)?;
    let mut tx = api.ledger.begin().await?;
    if !webhooks::delete(&mut tx, workspace, &id).await? {
        return Err(Problem::not_found("webhook", id));
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give a webhook a new secret, which is shown only here. The former one signs as well for a day.
#[utoipa::path(post, path = "/api/v1/webhooks/{id}/secret", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 200, body = Webhook), Problems))]
pub async fn rotate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<JsonAnswer<Webhook>> {
    let workspace = caller.may(Scope::Admin)?;
    let now_ms = now_ms();
    let mut tx = api.ledger.begin().await?;
    let row = webhooks::lock(&api.ledger, &mut tx, workspace, &id).await?;
    let mut row = row.ok_or_else(|| Problem::not_found("webhook", id))?;
    let secret = generate_secret();
    // Two sign at once, not more: who rotates twice in a day has given the first one up.
    row.secrets.truncate(1);
    for former in &mut row.secrets {
        former.until_ms = Some(now_ms + OVERLAP_MS);
    }
    row.secrets.insert(0, SigningSecret { secret: secret.clone(), until_ms: None });
    webhooks::put(&mut tx, &row).await?;
    tx.commit().await?;
    Ok(JsonAnswer(show(row, Some(secret))))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TestMessage {
    /// As in the header webhook-id.
    id: String,
}

/// Send a message of the type webhook.test.
#[utoipa::path(post, path = "/api/v1/webhooks/{id}/test", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 202, body = TestMessage), Problems))]
pub async fn test(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<(StatusCode, JsonAnswer<TestMessage>)> {
    let workspace = caller.may(Scope::Admin)?;
    let row = existing(&api, workspace, &id).await?;
    if row.disabled_ms.is_some() {
        return Err(Problem::new(Kind::Conflict, "the webhook is disabled; enable it by PATCH first"));
    }
    let mut tx = api.ledger.begin().await?;
    let id = outbox::tell_test(&mut tx, &row, now_ms()).await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, JsonAnswer(TestMessage { id })))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookMessage {
    /// As in the header webhook-id: the same at every attempt.
    id: String,
    event: String,
    /// waiting, delivered or dead.
    result: String,
    attempts: i64,
    /// Of the last attempt; null where there was no answer.
    status: Option<i64>,
    problem: Option<String>,
    created_at: String,
    /// When it is tried next, while it waits.
    next_at: Option<String>,
    settled_at: Option<String>,
    /// As it was sent.
    #[schema(value_type = Object)]
    body: Value,
}

fn show_message(row: MessageRow) -> WebhookMessage {
    WebhookMessage {
        next_at: (row.result == "waiting").then(|| rfc3339(row.next_ms)),
        id: row.id,
        event: row.event,
        result: row.result,
        attempts: row.attempts,
        status: row.status,
        problem: row.problem,
        created_at: rfc3339(row.created_ms),
        settled_at: row.settled_ms.map(rfc3339),
        body: serde_json::from_str(&row.body).unwrap_or(Value::Null),
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListMessages {
    /// waiting, delivered or dead.
    result: Option<String>,
    /// 1 to 1000, 100 if absent.
    limit: Option<u32>,
    cursor: Option<String>,
}

/// What a webhook was told or is to be told, newest first: `?result=dead` is what it never took.
#[utoipa::path(get, path = "/api/v1/webhooks/{id}/deliveries", tag = "webhooks",
    params(("id" = String, Path), ListMessages), responses((status = 200, body = Page<WebhookMessage>), Problems))]
pub async fn messages(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
    Query(query): Query<ListMessages>,
) -> Answer<JsonAnswer<Page<WebhookMessage>>> {
    let workspace = caller.may(Scope::Admin)?;
    let result = query.result.as_deref();
    if result.is_some_and(|result| !RESULTS.contains(&result)) {
        return Err(Problem::invalid("result", format!("result must be one of {}", RESULTS.join(", "))));
    }
    let window = Window::new(query.limit, query.cursor.as_deref(), 1)?;
    let row = existing(&api, workspace, &id).await?;
    let before = window.after.as_ref().map(|key| key[0].as_str());
    let rows = webhooks::messages(&api.ledger, &row.id, result, before, window.fetch()).await?;
    Ok(JsonAnswer(window.page(rows, |row| vec![row.id.clone()], show_message)))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ReplayedMessages {
    /// How many are sent again.
    messages: u64,
}

/// Send a dead message again.
#[utoipa::path(post, path = "/api/v1/webhooks/{id}/deliveries/{message}/replay", tag = "webhooks",
    params(("id" = String, Path), ("message" = String, Path)),
    responses((status = 202, body = ReplayedMessages), Problems))]
pub async fn replay(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment((id, message)): Segment<(String, String)>,
) -> Answer<(StatusCode, JsonAnswer<ReplayedMessages>)> {
    let workspace = caller.may(Scope::Admin)?;
    let replayed = replay_in(&api, workspace, &id, Some(&message)).await?;
    if replayed.messages == 0 {
        return Err(Problem::not_found("dead message", message));
    }
    Ok((StatusCode::ACCEPTED, JsonAnswer(replayed)))
}

/// Send all dead messages again.
#[utoipa::path(post, path = "/api/v1/webhooks/{id}/replay", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 202, body = ReplayedMessages), Problems))]
pub async fn replay_dead(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<(StatusCode, JsonAnswer<ReplayedMessages>)> {
    let workspace = caller.may(Scope::Admin)?;
    Ok((StatusCode::ACCEPTED, JsonAnswer(replay_in(&api, workspace, &id, None).await?)))
}

async fn replay_in(api: &Api, workspace: &str, id: &str, message: Option<&str>) -> Answer<ReplayedMessages> {
    let row = existing(api, workspace, id).await?;
    if row.disabled_ms.is_some() {
        return Err(Problem::new(Kind::Conflict, "the webhook is disabled; enable it by PATCH first"));
    }
    let mut tx = api.ledger.begin().await?;
    let messages = webhooks::replay(&mut tx, &row.id, message, now_ms()).await?;
    tx.commit().await?;
    Ok(ReplayedMessages { messages })
}
