//! Links: make, make many, read, list, change, archive.

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::{Caller, Scope};
use super::error::{Answer, Problem, ProblemBody, Problems};
use super::extract::{BULK_MAX_BYTES, Json, Query, Segment, nullable, parse_list, parse_value};
use super::fields;
use super::idempotency::Repeat;
use super::page::{Page, Window};
use crate::domain::flaw::{Flaw, Flaws};
use crate::domain::ids::LinkId;
use crate::domain::time::rfc3339;
use crate::domain::utm::Utm;
use crate::ledger::links::{self, LinkFilter, LinkRow};
use crate::links::domain_key;
use crate::links::issue::{BULK_MAX, IssueError, LinkFields, NotFed, shown_destination};

pub fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/links", post(create).get(list))
        .route("/links/bulk", post(create_many))
        .route("/links/by-external-id/{external_id}", put(upsert).get(read_external))
        .route("/links/{id}", get(read).patch(change).delete(archive))
}

/// What a link is to be. In a change, a field left out stays as it is and null takes it away.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkInput {
    /// Where it leads to, http or https. Needed when a link is made.
    url: Option<String>,
    /// Drawn at random if absent; case counts.
    slug: Option<String>,
    /// One of the workspace's domains; that of server.public_url if absent.
    domain: Option<String>,
    /// Id of the post that carries the link; made if there is no such post yet.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    post: Option<Option<String>>,
    /// facebook, instagram, ...; that of the post, or of utm.source, if absent.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    network: Option<Option<String>>,
    /// That of the post, or utm.campaign, if absent.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    campaign: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<UtmInput>)]
    utm: Option<Option<UtmInput>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Vec<String>>)]
    tags: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    title: Option<Option<String>>,
    /// Your own id of the link, unique in the workspace.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    external_id: Option<Option<String>>,
    /// From then on the link answers 410, or leads to expired_url.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    expired_url: Option<Option<String>>,
    /// Clicks of people after which the link counts as expired; may overshoot a little.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<i64>)]
    max_clicks: Option<Option<i64>>,
    /// Whether the query that the short URL is called with goes on to the destination; true if absent.
    forward_query: Option<bool>,
    /// Name of the query parameter with the click token; empty for none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    click_param: Option<Option<String>>,
    /// An archived link answers 410.
    archived: Option<bool>,
}

/// UTM tags. A tag left out gets its default: medium social, source the network, campaign the campaign,
/// content the link's id. An empty text means no such tag. Tags of the destination itself always stay.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UtmInput {
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    source: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    medium: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    campaign: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    term: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    content: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    id: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    source_platform: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    creative_format: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    marketing_tactic: Option<Option<String>>,
}

impl UtmInput {
    fn into_changes(self) -> [(&'static str, Option<Option<String>>); 9] {
        [
            ("utm_source", self.source),
            ("utm_medium", self.medium),
            ("utm_campaign", self.campaign),
            ("utm_term", self.term),
            ("utm_content", self.content),
            ("utm_id", self.id),
            ("utm_source_platform", self.source_platform),
            ("utm_creative_format", self.creative_format),
            ("utm_marketing_tactic", self.marketing_tactic),
        ]
    }
}

impl LinkInput {
    pub(super) fn into_fields(self) -> Result<LinkFields, Vec<Flaw>> {
        let mut flaws = Flaws::default();
        let utm = match self.utm {
            None => Vec::new(),
            // Null gives all defaults back.
            Some(None) => {
                UtmInput::default().into_changes().into_iter().map(|(param, _)| (param, None)).collect()
            }
            Some(Some(utm)) => {
                let changes = utm.into_changes().into_iter();
                changes.filter_map(|(param, value)| Some((param, value?))).collect()
            }
        };
        let fields = LinkFields {
            url: self.url,
            domain: self.domain,
            slug: self.slug,
            post: self.post,
            network: self.network,
            campaign: self.campaign,
            utm,
            tags: self.tags.map(Option::unwrap_or_default),
            title: self.title,
            external_id: self.external_id,
            expires_ms: self.expires_at.map(|at| fields::time("expires_at", at.as_deref(), &mut flaws)),
            expired_url: self.expired_url,
            max_clicks: self.max_clicks,
            forward_query: self.forward_query,
            click_param: self.click_param,
            archived: self.archived,
            created_ms: None,
            extra: Vec::new(),
        };
        flaws.check()?;
        Ok(fields)
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Link {
    id: String,
    short_url: String,
    domain: String,
    slug: String,
    /// As given.
    url: String,
    /// Where clicks go: the url with the link's tags. A click adds its token.
    destination: String,
    post: Option<String>,
    network: Option<String>,
    campaign: Option<String>,
    /// The link's own tags, defaults included.
    #[schema(value_type = UtmTags)]
    utm: Utm,
    tags: Vec<String>,
    title: Option<String>,
    external_id: Option<String>,
    expires_at: Option<String>,
    expired_url: Option<String>,
    max_clicks: Option<i64>,
    forward_query: bool,
    click_param: Option<String>,
    archived_at: Option<String>,
    /// Clicks of people.
    clicks: i64,
    created_at: String,
    updated_at: String,
    /// What other tools may trip over, such as upper case or spaces in UTM tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// Tags that are set.
#[derive(Debug, Serialize, ToSchema)]
pub struct UtmTags {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    medium: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    creative_format: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    marketing_tactic: Option<String>,
}

pub(super) fn show(api: &Api, row: LinkRow, clicks: i64) -> Link {
    let untidy = row.utm.untidy();
    let warnings = untidy
        .map(|param| format!("{param} has upper case or spaces, which split reports in other tools"))
        .collect();
    Link {
        id: link_id(row.id),
        short_url: api.issuer.short_url(&row),
        destination: shown_destination(&row),
        domain: row.domain,
        slug: row.slug,
        url: row.url,
        post: row.post,
        network: row.network,
        campaign: row.campaign,
        utm: row.utm,
        tags: row.tags,
        title: row.title,
        external_id: row.external_id,
        expires_at: row.expires_ms.map(rfc3339),
        expired_url: row.expired_url,
        max_clicks: row.max_clicks,
        forward_query: row.forward_query,
        click_param: row.click_param,
        archived_at: row.archived_ms.map(rfc3339),
        clicks,
        created_at: rfc3339(row.created_ms),
        updated_at: rfc3339(row.updated_ms),
        warnings,
    }
}

/// The text form of a stored link id.
pub(super) fn link_id(stored: i64) -> String {
    LinkId::from_i64(stored).map_or_else(|_| stored.to_string(), |id| id.to_string())
}

pub(super) async fn show_with_clicks(api: &Api, row: LinkRow) -> Answer<Link> {
    let clicks = links::human_clicks(&api.ledger, &[row.id]).await?;
    let clicks = clicks.get(&row.id).copied().unwrap_or(0);
    Ok(show(api, row, clicks))
}

/// Answers with `body`. Where it is saved but hot copies are not in place, answers 503, and a repetition by
/// `Idempotency-Key` gives `body` once they are.
pub(super) fn saved<T: Serialize>(fed: Result<(), NotFed>, status: StatusCode, body: &T) -> Answer<Response> {
    let Err(not_fed) = fed else { return Ok((status, JsonAnswer(body)).into_response()) };
    let repeat = Repeat {
        status,
        body: serde_json::to_string(body).map_err(Problem::internal)?,
        after_change: Some(not_fed.change),
    };
    let mut response = Problem::from(IssueError::from(not_fed)).into_response();
    response.extensions_mut().insert(repeat);
    Ok(response)
}

/// Make a link.
///
/// 201 means that the short URL works. 503 with Retry-After means that the link is saved, but redirects do
/// not know it yet: send the same request again with the same Idempotency-Key.
#[utoipa::path(post, path = "/api/v1/links", tag = "links", request_body = LinkInput,
    responses((status = 201, body = Link), Problems))]
pub async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(input): Json<LinkInput>,
) -> Answer<Response> {
    let workspace = caller.may(Scope::Links)?;
    let made = api.issuer.create(workspace, input.into_fields()?).await?;
    saved(made.fed, StatusCode::CREATED, &show(&api, made.value, 0))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct BulkResults {
    results: Vec<BulkResult>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct BulkResult {
    /// Place in the request, from 0.
    index: usize,
    /// What this link alone would have been answered.
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ProblemBody>,
}

/// Make up to 1,000 links at once: a list, or an object with the list in `links`.
///
/// Each is answered by itself; one that cannot be made keeps none of the others from being made.
#[utoipa::path(post, path = "/api/v1/links/bulk", tag = "links", request_body = Vec<LinkInput>,
    responses((status = 200, body = BulkResults), Problems))]
pub async fn create_many(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(input): Json<Value, BULK_MAX_BYTES>,
) -> Answer<Response> {
    let workspace = caller.may(Scope::Links)?;
    let items: Vec<Value> = parse_list(input, "links")?;
    if items.is_empty() || items.len() > BULK_MAX {
        return Err(Problem::invalid("links", format!("send 1 to {BULK_MAX} links")));
    }
    let mut problems = Vec::with_capacity(items.len());
    let mut readable = Vec::with_capacity(items.len());
    for item in items {
        let fields = parse_value::<LinkInput>(item).and_then(|input| Ok(input.into_fields()?));
        problems.push(fields.map(|fields| readable.push(fields)).err());
    }
    let made = api.issuer.create_many(workspace, readable).await?;
    let mut rows = made.value.into_iter();
    let mut results = Vec::with_capacity(problems.len());
    for (index, problem) in problems.into_iter().enumerate() {
        let result = match problem {
            Some(problem) => Err(problem),
            None => match rows.next() {
                Some(row) => row.map_err(Problem::from),
                None => return Err(Problem::internal("a link of the request was lost")),
            },
        };
        results.push(match result {
            Ok(row) => BulkResult { index, status: 201, link: Some(show(&api, row, 0)), problem: None },
            Err(problem) => {
                problem.log();
                let body = problem.body();
                BulkResult { index, status: body.status, link: None, problem: Some(body) }
            }
        });
    }
    saved(made.fed, StatusCode::OK, &BulkResults { results })
}

/// Make or change the link with your own id.
///
/// Fields left out stay as they are. Repeating the call gives the same link.
#[utoipa::path(put, path = "/api/v1/links/by-external-id/{external_id}", tag = "links",
    params(("external_id" = String, Path)), request_body = LinkInput,
    responses((status = 200, body = Link), (status = 201, body = Link), Problems))]
pub async fn upsert(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(external_id): Segment,
    Json(input): Json<LinkInput>,
) -> Answer<Response> {
    let workspace = caller.may(Scope::Links)?;
    let issued = api.issuer.upsert(workspace, external_id.trim(), input.into_fields()?).await?;
    let (row, new) = issued.value;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    saved(issued.fed, status, &show_with_clicks(&api, row).await?)
}

/// The link with your own id.
#[utoipa::path(get, path = "/api/v1/links/by-external-id/{external_id}", tag = "links",
    params(("external_id" = String, Path)), responses((status = 200, body = Link), Problems))]
pub async fn read_external(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(external_id): Segment,
) -> Answer<JsonAnswer<Link>> {
    let filter = LinkFilter {
        workspace: caller.may_any(&[Scope::Links, Scope::Reports])?.to_owned(),
        external_id: Some(external_id.trim().to_owned()),
        limit: 1,
        ..LinkFilter::default()
    };
    let row = links::list(&api.ledger, &filter).await?.pop();
    let row = row.ok_or_else(|| Problem::not_found("link with external id", external_id))?;
    Ok(JsonAnswer(show_with_clicks(&api, row).await?))
}

fn parse_id(text: &str) -> Answer<LinkId> {
    text.parse().map_err(|_| Problem::not_found("link", text))
}

/// A link.
#[utoipa::path(get, path = "/api/v1/links/{id}", tag = "links", params(("id" = String, Path)),
    responses((status = 200, body = Link), Problems))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<JsonAnswer<Link>> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
    let row = links::get(&api.ledger, workspace, parse_id(&id)?.as_i64()).await?;
    let row = row.ok_or_else(|| Problem::not_found("link", id))?;
    Ok(JsonAnswer(show_with_clicks(&api, row).await?))
}

/// Change a link. Clicks and orders until now stay with what the link stood for when they happened.
#[utoipa::path(patch, path = "/api/v1/links/{id}", tag = "links", params(("id" = String, Path)),
    request_body = LinkInput, responses((status = 200, body = Link), Problems))]
pub async fn change(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
    Json(input): Json<LinkInput>,
) -> Answer<Response> {
    let workspace = caller.may(Scope::Links)?;
    let issued = api.issuer.change(workspace, parse_id(&id)?, input.into_fields()?).await?;
    saved(issued.fed, StatusCode::OK, &show_with_clicks(&api, issued.value).await?)
}

/// Archive a link: it answers 410 from then on. Its slug stays taken and its history stays in reports.
#[utoipa::path(delete, path = "/api/v1/links/{id}", tag = "links", params(("id" = String, Path)),
    responses((status = 204), Problems))]
pub async fn archive(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<StatusCode> {
    let workspace = caller.may(Scope::Links)?;
    let archived = LinkFields { archived: Some(true), ..LinkFields::default() };
    let issued = api.issuer.change(workspace, parse_id(&id)?, archived).await?;
    issued.fed.map_err(IssueError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListLinks {
    post: Option<String>,
    network: Option<String>,
    campaign: Option<String>,
    tag: Option<String>,
    domain: Option<String>,
    slug: Option<String>,
    external_id: Option<String>,
    /// Links changed since then, oldest change first; without it the newest links come first.
    #[param(format = DateTime)]
    changed_since: Option<String>,
    /// true: archived links only; absent: those that are not, or with changed_since both.
    archived: Option<bool>,
    /// 1 to 1000, 100 if absent.
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Links, filtered.
#[utoipa::path(get, path = "/api/v1/links", tag = "links", params(ListLinks),
    responses((status = 200, body = Page<Link>), Problems))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<ListLinks>,
) -> Answer<JsonAnswer<Page<Link>>> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
    let window = Window::new(query.limit, query.cursor.as_deref(), 2)?;
    let mut flaws = Flaws::default();
    let changed_since_ms = fields::time("changed_since", query.changed_since.as_deref(), &mut flaws);
    flaws.check()?;
    let filter = LinkFilter {
        workspace: workspace.to_owned(),
        post: query.post,
        network: query.network.map(|network| network.to_lowercase()),
        campaign: query.campaign,
        tags: query.tag.into_iter().collect(),
        domain: query.domain.map(|domain| domain_key(&domain).into_owned()),
        slug: query.slug,
        external_id: query.external_id,
        changed_since_ms,
        archived: query.archived.or(changed_since_ms.is_none().then_some(false)),
        after: window.after_number(0)?.zip(window.after_number(1)?),
        limit: window.fetch(),
        ..LinkFilter::default()
    };
    let rows = links::list(&api.ledger, &filter).await?;
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let clicks = links::human_clicks(&api.ledger, &ids).await?;
    let key = |row: &LinkRow| vec![row.updated_ms.to_string(), row.id.to_string()];
    Ok(JsonAnswer(window.page(rows, key, |row| {
        let clicks = clicks.get(&row.id).copied().unwrap_or(0);
        show(&api, row, clicks)
    })))
}
