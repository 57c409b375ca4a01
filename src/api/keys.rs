//! Keys: made with scopes, shown once, stored hashed.

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::{Caller, Scope, generate_key, hash_key};
use super::error::{Answer, Problem, Problems};
use super::extract::{Json, Query, Segment};
use super::idempotency::Repeat;
use super::page::{Page, Window};
use crate::domain::flaw::Flaws;
use crate::domain::time::{now_ms, rfc3339};
use crate::ledger::keys::{self, KeyRow};

const SCOPES: &str = "links, conversions, reports, admin, publishable";

pub fn routes() -> Router<Arc<Api>> {
    Router::new().route("/keys", post(create).get(list)).route("/keys/{id}", delete(revoke))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// For people: who uses the key.
    name: String,
    /// links, conversions, reports; admin means all of them and more. Or publishable alone, for a key that
    /// stands in a shop's pages for POST /api/v1/events.
    scopes: Vec<String>,
    /// A key of the platform, which acts for any workspace; only the platform's administration makes such.
    #[serde(default)]
    platform: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ShownKey {
    id: String,
    name: String,
    scopes: Vec<String>,
    /// null: a platform key.
    workspace: Option<String>,
    created_at: String,
    /// The key itself, only in the answer that made it: it is stored hashed and cannot be shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// For clients of YOURLS that sign with a timestamp; shown with the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_token: Option<String>,
}

fn show(row: KeyRow) -> ShownKey {
    ShownKey {
        id: row.id,
        name: row.name,
        scopes: row.scopes.split(' ').map(str::to_owned).collect(),
        workspace: row.workspace,
        created_at: rfc3339(row.created_ms),
        key: None,
        signature_token: None,
    }
}

/// Make a key.
///
/// The key is shown in this answer only. A repetition by `Idempotency-Key` gives the same answer
/// without it, since it is not stored.
#[utoipa::path(post, path = "/api/v1/keys", tag = "keys", request_body = NewKey,
    responses((status = 201, body = ShownKey), Problems))]
pub async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(new): Json<NewKey>,
) -> Answer<Response> {
    let workspace = caller.may(Scope::Admin)?;
    if new.platform {
        caller.must_be_platform_admin()?;
    }
    let mut flaws = Flaws::default();
    let name = flaws.text("name", Some(new.name), 100).unwrap_or_default();
    if name.is_empty() {
        flaws.add("name", "name must say who uses the key");
    }
    let mut scopes: Vec<&str> = Vec::new();
    for word in &new.scopes {
        match Scope::parse(word) {
            Some(scope) if !scopes.contains(&scope.word()) => scopes.push(scope.word()),
            Some(_) => {}
            None => flaws.add("scopes", format!("{word:?} is none of {SCOPES}")),
        }
    }
    if new.scopes.is_empty() {
        flaws.add("scopes", format!("name at least one of {SCOPES}"));
    }
    if scopes.contains(&Scope::Publishable.word()) && (scopes.len() > 1 || new.platform) {
        flaws.add("scopes", "a publishable key is known to all: it has no other scope and one workspace");
    }
    flaws.check()?;

    let key = generate_key();
    let row = KeyRow {
        id: format!("key_{}", uuid::Uuid::now_v7().simple()),
        workspace: (!new.platform).then(|| workspace.to_owned()),
        name,
        hash: hash_key(&key),
        scopes: scopes.join(" "),
        created_ms: now_ms(),
    };
    let mut tx = api.ledger.begin().await?;
    keys::insert(&mut tx, &row).await?;
    tx.commit().await?;
    api.keys.forget();

    let shown = show(row);
    let repeat = Repeat {
        status: StatusCode::CREATED,
        body: serde_json::to_string(&shown).map_err(Problem::internal)?,
        after_change: None,
    };
    let signature_token = Some(api.keys.signature_token(&shown.id));
    let shown = ShownKey { key: Some(key), signature_token, ..shown };
    let mut response = (StatusCode::CREATED, JsonAnswer(shown)).into_response();
    response.extensions_mut().insert(repeat);
    Ok(response)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListKeys {
    /// The platform's keys in place of the workspace's.
    #[serde(default)]
    platform: bool,
    /// 1 to 1000, 100 if absent.
    limit: Option<u32>,
    cursor: Option<String>,
}

/// The keys in use.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys", params(ListKeys),
    responses((status = 200, body = Page<ShownKey>), Problems))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<ListKeys>,
) -> Answer<JsonAnswer<Page<ShownKey>>> {
    let workspace = caller.may(Scope::Admin)?;
    if query.platform {
        caller.must_be_platform_admin()?;
    }
    let window = Window::new(query.limit, query.cursor.as_deref(), 1)?;
    let rows =
        keys::list(&api.ledger, (!query.platform).then_some(workspace), window.after_text(0), window.fetch())
            .await?;
    Ok(JsonAnswer(window.page(rows, |row| vec![row.id.clone()], show)))
}

/// Revoke a key. It stops working within seconds, everywhere.
#[utoipa::path(delete, path = "/api/v1/keys/{id}", tag = "keys", params(("id" = String, Path)),
    responses((status = 204), Problems))]
pub async fn revoke(State(api): State<Arc<Api>>, caller: Caller, Segment(id): Segment) -> Answer<StatusCode> {
    let workspace = caller.may(Scope::Admin)?;
    let mut tx = api.ledger.begin().await?;
    let now = now_ms();
    let mut revoked = keys::revoke(&mut tx, Some(workspace), &id, now).await?;
    if !revoked && caller.is_platform_admin() {
        revoked = keys::revoke(&mut tx, None, &id, now).await?;
    }
    tx.commit().await?;
    if !revoked {
        return Err(Problem::not_found("key", id));
    }
    api.keys.forget();
    Ok(StatusCode::NO_CONTENT)
}
