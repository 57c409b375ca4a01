//! Workspaces, their settings, and the short domains of their links.

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use iso_currency::Currency;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::{Caller, DEFAULT_WORKSPACE, Scope};
use super::error::{Answer, Kind, Problem, Problems};
use super::extract::{Json, Query, Segment};
use super::page::{Page, Window};
use crate::config::WorkspaceSettings;
use crate::domain::flaw::Flaws;
use crate::domain::time::{now_ms, rfc3339};
use crate::ledger::LedgerError;
use crate::ledger::workspaces::{self, DomainRow, WorkspaceRow};
use crate::links::domain_key;

pub fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/workspaces", post(create).get(list))
        .route("/workspaces/{id}", get(read).patch(change).delete(remove))
        .route("/workspaces/{id}/recompute", get(progress).post(recompute))
        .route("/domains", post(add_domain).get(list_domains))
        .route("/domains/{domain}", delete(remove_domain))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWorkspace {
    /// 1 to 64 of a-z, 0-9, - and _; made if absent.
    id: Option<String>,
    name: String,
    /// IANA name; the configured one if absent.
    timezone: Option<String>,
    /// ISO 4217, the currency of its reports; the configured one if absent.
    currency: Option<String>,
    #[serde(default)]
    settings: WorkspaceSettings,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceChange {
    name: Option<String>,
    /// Fixed once there are clicks.
    timezone: Option<String>,
    /// Fixed once there are conversions or costs.
    currency: Option<String>,
    /// Replaces all settings. If they differ, all conversions are evaluated anew by them, in the background:
    /// see GET /api/v1/workspaces/{id}/recompute.
    settings: Option<WorkspaceSettings>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Workspace {
    id: String,
    name: String,
    timezone: String,
    currency: String,
    settings: WorkspaceSettings,
    created_at: String,
}

fn show(row: WorkspaceRow) -> Answer<Workspace> {
    let settings = serde_json::from_str(&row.settings)
        .map_err(|error| LedgerError::Damaged(format!("settings of workspace {}: {error}", row.id)))?;
    Ok(Workspace {
        id: row.id,
        name: row.name,
        timezone: row.timezone,
        currency: row.currency,
        settings,
        created_at: rfc3339(row.created_ms),
    })
}

/// Make a workspace. Needs the platform's administration key.
#[utoipa::path(post, path = "/api/v1/workspaces", tag = "workspaces", request_body = NewWorkspace,
    responses((status = 201, body = Workspace), Problems))]
pub async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(new): Json<NewWorkspace>,
) -> Answer<(StatusCode, JsonAnswer<Workspace>)> {
    caller.must_be_platform_admin()?;
    let mut flaws = Flaws::default();
    let id = new.id.unwrap_or_else(|| format!("ws_{}", uuid::Uuid::now_v7().simple()));
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if id.is_empty() || id.len() > 64 || !id.bytes().all(is_word) {
        flaws.add("id", "id must have 1 to 64 of a-z, 0-9, - and _");
    }
    let row = WorkspaceRow {
        name: name(Some(new.name), &mut flaws).unwrap_or_default(),
        timezone: timezone(new.timezone, &mut flaws).unwrap_or_else(|| api.config.workspace_timezone.clone()),
        currency: currency(new.currency, &mut flaws).unwrap_or_else(|| api.config.workspace_currency.clone()),
        settings: settings(&api, &new.settings, &mut flaws)?,
        created_ms: now_ms(),
        id,
    };
    flaws.check()?;
    let mut tx = api.ledger.begin().await?;
    if !workspaces::insert(&mut tx, &row).await? {
        return Err(Problem::field(Kind::Conflict, "id", format!("there is a workspace {} already", row.id)));
    }
    tx.commit().await?;
    Ok((StatusCode::CREATED, JsonAnswer(show(row)?)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListPage {
    /// 1 to 1000, 100 if absent.
    limit: Option<u32>,
    cursor: Option<String>,
}

/// All workspaces; for a key of one workspace, that one.
#[utoipa::path(get, path = "/api/v1/workspaces", tag = "workspaces", params(ListPage),
    responses((status = 200, body = Page<Workspace>), Problems))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<ListPage>,
) -> Answer<JsonAnswer<Page<Workspace>>> {
    let own = caller.may_any(&Scope::ALL)?;
    let window = Window::new(query.limit, query.cursor.as_deref(), 1)?;
    let rows = match caller.is_platform_admin() {
        true => workspaces::list(&api.ledger, window.after_text(0), window.fetch()).await?,
        false => workspaces::get(&api.ledger, own).await?.into_iter().collect(),
    };
    let page = window.page(rows, |row| vec![row.id.clone()], show);
    let data = page.data.into_iter().collect::<Answer<_>>()?;
    Ok(JsonAnswer(Page { data, next_cursor: page.next_cursor }))
}

/// A workspace's id from the path, if the caller may see it.
fn visible(caller: &Caller, id: &str, scopes: &[Scope]) -> Answer<()> {
    let own = caller.may_any(scopes)?;
    match own == id || caller.is_platform_admin() {
        true => Ok(()),
        false => Err(Problem::new(Kind::NotFound, format!("there is no workspace {id} for this key"))),
    }
}

async fn existing(api: &Api, id: &str) -> Answer<WorkspaceRow> {
    workspaces::get(&api.ledger, id)
        .await?
        .ok_or_else(|| Problem::new(Kind::NotFound, format!("there is no workspace {id}")))
}

/// A workspace and its settings.
#[utoipa::path(get, path = "/api/v1/workspaces/{id}", tag = "workspaces", params(("id" = String, Path)),
    responses((status = 200, body = Workspace), Problems))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<JsonAnswer<Workspace>> {
    visible(&caller, &id, &Scope::ALL)?;
    Ok(JsonAnswer(show(existing(&api, &id).await?)?))
}

/// Change a workspace's name, zone, currency or settings.
#[utoipa::path(patch, path = "/api/v1/workspaces/{id}", tag = "workspaces", params(("id" = String, Path)),
    request_body = WorkspaceChange, responses((status = 200, body = Workspace), Problems))]
pub async fn change(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
    Json(change): Json<WorkspaceChange>,
) -> Answer<JsonAnswer<Workspace>> {
    visible(&caller, &id, &[Scope::Admin])?;
    existing(&api, &id).await?;
    let mut flaws = Flaws::default();
    let new_name = name(change.name, &mut flaws);
    let new_timezone = timezone(change.timezone, &mut flaws);
    let new_currency = currency(change.currency, &mut flaws);
    let new_settings = change.settings.map(|new| settings(&api, &new, &mut flaws)).transpose()?;
    flaws.check()?;

    let mut tx = api.ledger.begin_alone().await?;
    let mut row = existing(&api, &id).await?;
    let holds = workspaces::holds(&mut tx, &id).await?;
    if new_timezone.as_ref().is_some_and(|new| *new != row.timezone) && holds.clicks {
        let detail = "the zone is fixed, since clicks were counted by its days; make another workspace";
        return Err(Problem::field(Kind::Conflict, "timezone", detail));
    }
    if new_currency.as_ref().is_some_and(|new| *new != row.currency) && (holds.conversions || holds.costs) {
        let detail = "the currency is fixed, since amounts were converted to it; make another workspace";
        return Err(Problem::field(Kind::Conflict, "currency", detail));
    }
    row.name = new_name.unwrap_or(row.name);
    row.timezone = new_timezone.unwrap_or(row.timezone);
    row.currency = new_currency.unwrap_or(row.currency);
    let is_ruled_anew = new_settings.as_ref().is_some_and(|new| *new != row.settings);
    row.settings = new_settings.unwrap_or(row.settings);
    workspaces::update(&mut tx, &row).await?;
    if is_ruled_anew {
        workspaces::mark_due(&mut tx, Some(&id)).await?;
    }
    tx.commit().await?;
    Ok(JsonAnswer(show(row)?))
}

/// How far the workspace's conversions are evaluated by what is known and set now.
#[derive(Debug, Serialize, ToSchema)]
pub struct Recompute {
    /// Conversions that wait to be evaluated, for the first time or anew. 0: everything is up to date.
    pending: i64,
    /// All that there are.
    conversions: i64,
    /// 100 when nothing waits.
    done_percent: i64,
}

async fn recomputed(api: &Api, id: &str) -> Answer<JsonAnswer<Recompute>> {
    let (pending, conversions) = workspaces::progress(&api.ledger, id).await?;
    let done_percent = if pending == 0 { 100 } else { (conversions - pending) * 100 / conversions.max(1) };
    Ok(JsonAnswer(Recompute { pending, conversions, done_percent }))
}

/// How many conversions still wait to be evaluated (anew).
#[utoipa::path(get, path = "/api/v1/workspaces/{id}/recompute", tag = "workspaces",
    params(("id" = String, Path)), responses((status = 200, body = Recompute), Problems))]
pub async fn progress(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<JsonAnswer<Recompute>> {
    visible(&caller, &id, &[Scope::Admin, Scope::Reports])?;
    existing(&api, &id).await?;
    recomputed(&api, &id).await
}

/// Evaluate all conversions anew. Nobody has to: changed settings, rates, orders and clicks do it by themselves.
#[utoipa::path(post, path = "/api/v1/workspaces/{id}/recompute", tag = "workspaces",
    params(("id" = String, Path)), responses((status = 202, body = Recompute), Problems))]
pub async fn recompute(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<(StatusCode, JsonAnswer<Recompute>)> {
    visible(&caller, &id, &[Scope::Admin])?;
    existing(&api, &id).await?;
    let mut tx = api.ledger.begin_alone().await?;
    workspaces::mark_due(&mut tx, Some(&id)).await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, recomputed(&api, &id).await?))
}

/// Remove a workspace that holds nothing, with its keys and domains.
#[utoipa::path(delete, path = "/api/v1/workspaces/{id}", tag = "workspaces", params(("id" = String, Path)),
    responses((status = 204), Problems))]
pub async fn remove(State(api): State<Arc<Api>>, caller: Caller, Segment(id): Segment) -> Answer<StatusCode> {
    caller.must_be_platform_admin()?;
    if id == DEFAULT_WORKSPACE {
        return Err(Problem::new(Kind::Conflict, "the default workspace stays"));
    }
    let mut tx = api.ledger.begin().await?;
    let holds = workspaces::holds(&mut tx, &id).await?;
    if holds.clicks || holds.conversions || holds.costs || holds.links || holds.posts || holds.sources {
        let detail = "the workspace holds links, posts, sources, costs or orders, which reports need";
        return Err(Problem::new(Kind::Conflict, detail));
    }
    if !workspaces::delete(&mut tx, &id).await? {
        return Err(Problem::new(Kind::NotFound, format!("there is no workspace {id}")));
    }
    tx.commit().await?;
    api.keys.forget();
    api.keys.forget_workspace(&id);
    Ok(StatusCode::NO_CONTENT)
}

fn name(given: Option<String>, flaws: &mut Flaws) -> Option<String> {
    let was_given = given.is_some();
    let name = flaws.text("name", given, 100);
    if was_given && name.is_none() {
        flaws.add("name", "name must not be empty");
    }
    name
}

fn timezone(given: Option<String>, flaws: &mut Flaws) -> Option<String> {
    let zone = TimeZone::get(given.as_deref()?).ok();
    // Zones are found in any case; the name is kept as it is meant to be written.
    let name = zone.and_then(|zone| zone.iana_name().map(str::to_owned));
    if name.is_none() {
        flaws.add("timezone", "timezone must be an IANA name such as Europe/Berlin");
    }
    name
}

fn currency(given: Option<String>, flaws: &mut Flaws) -> Option<String> {
    if given.as_deref().is_some_and(|code| Currency::from_code(code).is_none()) {
        flaws.add("currency", "currency must be an ISO 4217 code such as EUR");
    }
    given
}

fn settings(api: &Api, given: &WorkspaceSettings, flaws: &mut Flaws) -> Answer<String> {
    given.check(&api.config.attribution, flaws);
    serde_json::to_string(given).map_err(Problem::internal)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDomain {
    /// Host, with a port if it is not that of http or https: go.example.com
    domain: String,
    /// For all workspaces; only the platform's administration may say so.
    #[serde(default)]
    shared: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Domain {
    domain: String,
    /// Whether all workspaces may use it.
    shared: bool,
    created_at: String,
}

fn show_domain(row: DomainRow) -> Domain {
    Domain { domain: row.domain, shared: row.workspace.is_none(), created_at: rfc3339(row.created_ms) }
}

/// Add a short domain for links. Point its DNS here first.
#[utoipa::path(post, path = "/api/v1/domains", tag = "workspaces", request_body = NewDomain,
    responses((status = 201, body = Domain), Problems))]
pub async fn add_domain(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(new): Json<NewDomain>,
) -> Answer<(StatusCode, JsonAnswer<Domain>)> {
    let workspace = caller.may(Scope::Admin)?;
    if new.shared {
        caller.must_be_platform_admin()?;
    }
    let given = new.domain.trim();
    let valid = url::Url::parse(&format!("http://{given}/")).ok().filter(|url| {
        url.path() == "/" && url.username().is_empty() && url.password().is_none() && given.len() <= 260
    });
    let Some(url) = valid.filter(|_| !given.contains(['/', '?', '#', '@', '\\'])) else {
        return Err(Problem::invalid(
            "domain",
            "give a host such as go.example.com, without scheme and path",
        ));
    };
    // The parsed host is in punycode, as browsers send it.
    let host = url.host_str().unwrap_or_default();
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let row = DomainRow {
        domain: domain_key(&authority).into_owned(),
        workspace: (!new.shared).then(|| workspace.to_owned()),
        created_ms: now_ms(),
    };
    let mut tx = api.ledger.begin().await?;
    if !workspaces::insert_domain(&mut tx, &row).await? {
        let detail = format!("the domain {} is in use already", row.domain);
        return Err(Problem::field(Kind::Conflict, "domain", detail));
    }
    tx.commit().await?;
    let domains = [row.domain.clone()];
    api.issuer.copies().add_domains(&domains).await?;
    Ok((StatusCode::CREATED, JsonAnswer(show_domain(row))))
}

/// The domains that the workspace's links may stand on.
#[utoipa::path(get, path = "/api/v1/domains", tag = "workspaces", params(ListPage),
    responses((status = 200, body = Page<Domain>), Problems))]
pub async fn list_domains(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<ListPage>,
) -> Answer<JsonAnswer<Page<Domain>>> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
    let window = Window::new(query.limit, query.cursor.as_deref(), 1)?;
    let rows = workspaces::list_domains(&api.ledger, workspace, window.after_text(0), window.fetch()).await?;
    Ok(JsonAnswer(window.page(rows, |row| vec![row.domain.clone()], show_domain)))
}

/// Remove a short domain that no link stands on.
#[utoipa::path(delete, path = "/api/v1/domains/{domain}", tag = "workspaces", params(("domain" = String, Path)),
    responses((status = 204), Problems))]
pub async fn remove_domain(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(domain): Segment,
) -> Answer<StatusCode> {
    let workspace = caller.may(Scope::Admin)?;
    let domain = domain_key(&domain).into_owned();
    if domain == api.issuer.public_domain() {
        return Err(Problem::new(Kind::Conflict, "this is the domain of server.public_url; it stays"));
    }
    let mut tx = api.ledger.begin().await?;
    if workspaces::domain_has_links(&mut tx, &domain).await? {
        return Err(Problem::new(Kind::Conflict, "links stand on this domain; it stays for them"));
    }
    let mut removed = workspaces::delete_domain(&mut tx, Some(workspace), &domain).await?;
    if !removed && caller.is_platform_admin() {
        removed = workspaces::delete_domain(&mut tx, None, &domain).await?;
    }
    tx.commit().await?;
    if !removed {
        return Err(Problem::not_found("domain", domain));
    }
    api.issuer.copies().remove_domain(&domain).await?;
    Ok(StatusCode::NO_CONTENT)
}
