//! Sources: shop accounts that send webhooks, and their secrets, which are never shown again.

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::routing::{delete, get, post};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::{Caller, Scope};
use super::error::{Answer, Kind, Problem, Problems};
use super::examples;
use super::extract::{Json, Query, Segment, nullable};
use super::hooks::{Received, take};
use super::page::{Page, Window};
use super::source_api::{self, Said};
use crate::domain::flaw::Flaws;
use crate::domain::time::{now_ms, rfc3339};
use crate::intake::{self, Platform, Secret, SignatureError};
use crate::ledger::sources::{self, ApiAccess, SecretRow, SourceRow};
use crate::ledger::{LedgerError, deliveries, fetches};

/// A rotation needs two; more is forgotten tidying.
const SECRETS_MAX: usize = 10;

pub fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/sources", post(create).get(list))
        .route("/sources/{id}", get(read).patch(change).delete(remove))
        .route("/sources/{id}/secrets", post(add_secret))
        .route("/sources/{id}/secrets/{secret}", delete(remove_secret))
        .route("/sources/{id}/test", post(test))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSource {
    /// shopify, woocommerce, stripe, standard, bigcommerce, paddle, lemonsqueezy, paypal, segment or rudderstack.
    platform: String,
    /// For people: which shop it is.
    name: String,
    /// What the platform signs with. May come later: until then deliveries are kept, but count for nothing.
    secret: Option<String>,
    /// of_record (its money counts; the default) or evidence (it only helps to match).
    role: Option<String>,
    /// bigcommerce: the access token of an API account of the store, by which the orders are fetched that its
    /// webhooks only name. Never shown again.
    api_token: Option<String>,
    /// bigcommerce: another address of its API.
    api_url: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceChange {
    name: Option<String>,
    /// of_record or evidence.
    role: Option<String>,
    /// As when it is made; null removes it. What had come in vain for want of it is fetched then.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    api_token: Said,
    /// As when it is made; null stands for the platform's own. Without a new token it removes the former one.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    api_url: Said,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Source {
    id: String,
    platform: String,
    name: String,
    role: String,
    /// Paste it into the platform's webhook settings.
    webhook_url: String,
    /// Without their values.
    secrets: Vec<ShownSecret>,
    /// Whether orders can be fetched that its webhooks only name (bigcommerce).
    has_api_token: bool,
    api_url: Option<String>,
    /// The last delivery that was turned away since the program started.
    last_refused: Option<Refused>,
    created_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ShownSecret {
    id: String,
    created_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Refused {
    at: String,
    problem: String,
}

async fn show(api: &Api, row: SourceRow) -> Answer<Source> {
    let secrets = sources::secrets(&api.ledger, &row.id).await?;
    let ApiAccess { token, url } = sources::api_access(&api.ledger, &row.id).await?;
    let door = api.doors.find(&row.id).await?;
    let refusal = door.and_then(|door| door.last_refusal());
    Ok(Source {
        webhook_url: format!("{}hooks/{}", api.issuer.public_url(), row.id),
        id: row.id,
        platform: row.platform,
        name: row.name,
        role: row.role,
        secrets: secrets.into_iter().map(show_secret).collect(),
        has_api_token: token.is_some(),
        api_url: url,
        last_refused: refusal.map(|it| Refused { at: rfc3339(it.at_ms), problem: it.problem }),
        created_at: rfc3339(row.created_ms),
    })
}

fn show_secret(row: SecretRow) -> ShownSecret {
    ShownSecret { id: row.id, created_at: rfc3339(row.created_ms) }
}

fn role(given: &str, flaws: &mut Flaws) {
    if given != "of_record" && given != "evidence" {
        flaws.add("role", "role must be of_record or evidence");
    }
}

fn name(given: String, flaws: &mut Flaws) -> String {
    let name = flaws.text("name", Some(given), 100);
    if name.is_none() {
        flaws.add("name", "name must say which shop it is");
    }
    name.unwrap_or_default()
}

/// Refuses what the platform could not have signed with.
fn secret(platform: Platform, given: &str, flaws: &mut Flaws) {
    let text = given.trim();
    if text.is_empty() || text.len() > 16_384 {
        flaws.add("secret", "secret must have 1 to 16384 bytes");
    } else if let Err(SignatureError::UnusableSecret(expected)) =
        intake::sign(platform, &Secret::new(text), "id", b"", 0)
        // What PayPal's deliveries are verified with cannot sign.
        && platform != Platform::Paypal
    {
        flaws.add("secret", format!("secret cannot be used: expected {expected}"));
    }
}

fn new_secret(text: &str) -> SecretRow {
    SecretRow {
        id: format!("sec_{}", uuid::Uuid::now_v7().simple()),
        secret: text.trim().to_owned(),
        created_ms: now_ms(),
    }
}

/// Connect a shop account.
///
/// Paste `webhook_url` into the platform's settings. A platform that shows its secret only afterwards
/// (Stripe) gets it by POST /api/v1/sources/{id}/secrets.
#[utoipa::path(post, path = "/api/v1/sources", tag = "sources", request_body = NewSource,
    responses((status = 201, body = Source), Problems))]
pub async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(new): Json<NewSource>,
) -> Answer<(StatusCode, JsonAnswer<Source>)> {
    let workspace = caller.may(Scope::Admin)?;
    let mut flaws = Flaws::default();
    let platform = flaws.note("platform", new.platform.parse::<Platform>());
    if platform == Some(Platform::Api) {
        flaws.add("platform", "api is built in: send conversions to POST /api/v1/conversions");
    }
    let name = name(new.name, &mut flaws);
    let given_role = new.role.unwrap_or_else(|| "of_record".to_owned());
    role(&given_role, &mut flaws);
    if let (Some(platform), Some(text)) = (platform, &new.secret) {
        secret(platform, text, &mut flaws);
    }
    let access = platform.map(|platform| {
        let (token, url) = (new.api_token.map(Some), new.api_url.map(Some));
        source_api::changed(&api, platform, ApiAccess::default(), token, url, &mut flaws)
    });
    flaws.check()?;
    let Some((platform, access)) = platform.zip(access) else {
        return Err(Problem::internal("a checked source lacks a platform"));
    };
    let row = SourceRow {
        id: format!("src_{}", uuid::Uuid::now_v7().simple()),
        workspace: workspace.to_owned(),
        platform: platform.as_str().to_owned(),
        name,
        role: given_role,
        created_ms: now_ms(),
    };
    let mut tx = api.ledger.begin().await?;
    sources::insert(&mut tx, &row).await?;
    if let Some(text) = &new.secret {
        sources::add_secret(&mut tx, &row.id, &new_secret(text)).await?;
    }
    sources::put_api_access(&mut tx, &row.id, &access).await?;
    tx.commit().await?;
    api.doors.changed(&row.id).await?;
    Ok((StatusCode::CREATED, JsonAnswer(show(&api, row).await?)))
}

async fn existing(api: &Api, workspace: &str, id: &str) -> Answer<(SourceRow, Platform)> {
    let row = sources::get(&api.ledger, workspace, id).await?;
    let row = row.filter(|row| row.platform != Platform::Api.as_str());
    let row = row.ok_or_else(|| Problem::not_found("source", id))?;
    let damaged = |_| LedgerError::Damaged(format!("platform of source {id}"));
    let platform = row.platform.parse().map_err(damaged)?;
    Ok((row, platform))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListSources {
    /// 1 to 1000, 100 if absent.
    limit: Option<u32>,
    cursor: Option<String>,
}

/// The workspace's sources.
#[utoipa::path(get, path = "/api/v1/sources", tag = "sources", params(ListSources),
    responses((status = 200, body = Page<Source>), Problems))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<ListSources>,
) -> Answer<JsonAnswer<Page<Source>>> {
    let workspace = caller.may_any(&[Scope::Conversions, Scope::Reports])?;
    let window = Window::new(query.limit, query.cursor.as_deref(), 1)?;
    let rows = sources::list(&api.ledger, workspace, window.after_text(0), window.fetch()).await?;
    let page = window.page(rows, |row| vec![row.id.clone()], |row| row);
    let mut data = Vec::with_capacity(page.data.len());
    for row in page.data {
        data.push(show(&api, row).await?);
    }
    Ok(JsonAnswer(Page { data, next_cursor: page.next_cursor }))
}

/// A source.
#[utoipa::path(get, path = "/api/v1/sources/{id}", tag = "sources", params(("id" = String, Path)),
    responses((status = 200, body = Source), Problems))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<JsonAnswer<Source>> {
    let workspace = caller.may_any(&[Scope::Conversions, Scope::Reports])?;
    let (row, _) = existing(&api, workspace, &id).await?;
    Ok(JsonAnswer(show(&api, row).await?))
}

/// Rename a source, say whether its money counts, or how its orders are fetched.
#[utoipa::path(patch, path = "/api/v1/sources/{id}", tag = "sources", params(("id" = String, Path)),
    request_body = SourceChange, responses((status = 200, body = Source), Problems))]
pub async fn change(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
    Json(change): Json<SourceChange>,
) -> Answer<JsonAnswer<Source>> {
    let workspace = caller.may(Scope::Admin)?;
    let (mut row, platform) = existing(&api, workspace, &id).await?;
    let mut flaws = Flaws::default();
    let before = sources::api_access(&api.ledger, &id).await?;
    let has_new_token = matches!(change.api_token, Some(Some(_)));
    let access = source_api::changed(&api, platform, before, change.api_token, change.api_url, &mut flaws);
    if let Some(given) = change.name {
        row.name = name(given, &mut flaws);
    }
    if let Some(given) = change.role {
        role(&given, &mut flaws);
        row.role = given;
    }
    flaws.check()?;
    let mut tx = api.ledger.begin_alone().await?;
    sources::update(&mut tx, &row).await?;
    sources::put_api_access(&mut tx, &id, &access).await?;
    if has_new_token {
        fetches::want_again(&mut tx, &id, now_ms()).await?;
    }
    tx.commit().await?;
    Ok(JsonAnswer(show(&api, row).await?))
}

/// Disconnect a source: its door answers 404 from then on. Its orders stay.
#[utoipa::path(delete, path = "/api/v1/sources/{id}", tag = "sources", params(("id" = String, Path)),
    responses((status = 204), Problems))]
pub async fn remove(State(api): State<Arc<Api>>, caller: Caller, Segment(id): Segment) -> Answer<StatusCode> {
    let workspace = caller.may(Scope::Admin)?;
    existing(&api, workspace, &id).await?;
    let mut tx = api.ledger.begin().await?;
    sources::delete(&mut tx, workspace, &id, now_ms()).await?;
    tx.commit().await?;
    api.doors.changed(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSecret {
    secret: String,
}

/// Add a secret; several hold at once, so that they can be rotated.
///
/// Deliveries that came before the source had this secret are judged again and counted.
#[utoipa::path(post, path = "/api/v1/sources/{id}/secrets", tag = "sources", params(("id" = String, Path)),
    request_body = NewSecret, responses((status = 201, body = ShownSecret), Problems))]
pub async fn add_secret(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
    Json(new): Json<NewSecret>,
) -> Answer<(StatusCode, JsonAnswer<ShownSecret>)> {
    let workspace = caller.may(Scope::Admin)?;
    let (_, platform) = existing(&api, workspace, &id).await?;
    let mut flaws = Flaws::default();
    secret(platform, &new.secret, &mut flaws);
    flaws.check()?;
    let held = sources::secrets(&api.ledger, &id).await?;
    if held.len() >= SECRETS_MAX {
        let detail = format!("a source has at most {SECRETS_MAX} secrets; remove an old one first");
        return Err(Problem::field(Kind::Conflict, "secret", detail));
    }
    let row = new_secret(&new.secret);
    let mut tx = api.ledger.begin().await?;
    sources::add_secret(&mut tx, &id, &row).await?;
    deliveries::try_again(&mut tx, &id).await?;
    tx.commit().await?;
    api.doors.changed(&id).await?;
    api.secret_added.notify_one();
    Ok((StatusCode::CREATED, JsonAnswer(show_secret(row))))
}

/// Remove a secret; what it signs is refused from then on.
#[utoipa::path(delete, path = "/api/v1/sources/{id}/secrets/{secret}", tag = "sources",
    params(("id" = String, Path), ("secret" = String, Path, description = "Id of the secret")),
    responses((status = 204), Problems))]
pub async fn remove_secret(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment((id, secret)): Segment<(String, String)>,
) -> Answer<StatusCode> {
    let workspace = caller.may(Scope::Admin)?;
    existing(&api, workspace, &id).await?;
    let mut tx = api.ledger.begin().await?;
    let removed = sources::remove_secret(&mut tx, &id, &secret).await?;
    tx.commit().await?;
    if !removed {
        return Err(Problem::not_found("secret", secret));
    }
    api.doors.changed(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Tested {
    /// Look it up with GET /api/v1/deliveries/{id}.
    delivery: String,
    topic: &'static str,
}

/// Send a signed example through the source's own door.
///
/// The example is a test order or an event of no interest, so it never counts as revenue.
#[utoipa::path(post, path = "/api/v1/sources/{id}/test", tag = "sources", params(("id" = String, Path)),
    responses((status = 202, body = Tested), Problems))]
pub async fn test(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<(StatusCode, JsonAnswer<Tested>)> {
    let workspace = caller.may(Scope::Admin)?;
    let (_, platform) = existing(&api, workspace, &id).await?;
    let secrets = sources::secrets(&api.ledger, &id).await?;
    let missing = || Problem::new(Kind::Conflict, "the source has no secret to sign an example with");
    let secret = Secret::new(&secrets.last().ok_or_else(missing)?.secret);
    let now_ms = now_ms();
    let example = examples::of(platform, now_ms);
    let signed = intake::sign(platform, &secret, "utmost-test", example.body.as_bytes(), now_ms);
    let signed = signed.map_err(|error| {
        Problem::new(Kind::Conflict, format!("an example cannot be signed for this platform: {error}"))
    })?;
    let mut headers = HeaderMap::new();
    for (name, value) in example.headers.into_iter().chain(signed) {
        let value = HeaderValue::from_str(&value).map_err(Problem::internal)?;
        headers.insert(HeaderName::from_static(name), value);
    }
    match take(&api, &id, &headers, example.body.as_bytes()).await? {
        Received::Kept { delivery, .. } => {
            Ok((StatusCode::ACCEPTED, JsonAnswer(Tested { delivery, topic: example.topic })))
        }
        Received::Ping => Err(Problem::internal("an example was taken for a ping")),
    }
}
