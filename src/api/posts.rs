//! Posts: one tracked link per network, and what the networks report of them.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, put};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::{Caller, Scope};
use super::error::{Answer, Problem, Problems};
use super::extract::{Json, Query, Segment, nullable, parse_list};
use super::fields;
use super::links::{Link, saved, show as show_link};
use super::page::{Page, Window};
use crate::domain::flaw::Flaws;
use crate::domain::time::{day_date, now_ms, rfc3339};
use crate::ledger::links::{self, LinkRow};
use crate::ledger::posts::{self, MetricRow, PostFilter, PostRow};
use crate::ledger::workspaces;
use crate::links::issue::{Batch, IssueError, LinkFields};

const NETWORKS_MAX: usize = 50;
/// More than there are people; sums over days and posts stay far below 2^63.
const METRIC_MAX: i64 = 1_000_000_000_000;
const METRIC_DAYS_MAX: usize = 1000;
/// Among a link's extras: the network for which a post made it.
const MADE_FOR: &str = "made_for_network";

pub fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/posts", get(list))
        .route("/posts/{id}", put(upsert).get(read))
        .route("/posts/{id}/metrics", put(put_metrics).get(metrics))
}

/// A field left out stays as it is, null takes it away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostInput {
    /// facebook, instagram, ...
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    network: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    title: Option<Option<String>>,
    /// Where the post itself stands.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    url: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, format = DateTime)]
    published_at: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    campaign: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Vec<String>>)]
    tags: Option<Option<Vec<String>>>,
    /// image, video, story, ... Your word.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    kind: Option<Option<String>>,
    /// Where the post's links lead to.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    destination: Option<Option<String>>,
    /// Makes one tracked link to the destination for each of these; the post's own network if absent.
    networks: Option<Vec<String>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Post {
    id: String,
    network: Option<String>,
    title: Option<String>,
    url: Option<String>,
    published_at: Option<String>,
    campaign: Option<String>,
    tags: Vec<String>,
    kind: Option<String>,
    destination: Option<String>,
    created_at: String,
    updated_at: String,
    /// In the answer to PUT those of the networks asked for, else all that are not archived; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<Vec<Link>>,
}

fn show(row: PostRow, links: Option<Vec<Link>>) -> Post {
    Post {
        id: row.id,
        network: row.network,
        title: row.title,
        url: row.url,
        published_at: row.published_ms.map(rfc3339),
        campaign: row.campaign,
        tags: row.tags,
        kind: row.kind,
        destination: row.destination,
        created_at: rfc3339(row.created_ms),
        updated_at: rfc3339(row.updated_ms),
        links,
    }
}

impl PostInput {
    /// The post as it is to be, and the networks that get a link each.
    fn apply(self, mut post: PostRow, now_ms: i64) -> Answer<(PostRow, Vec<String>)> {
        let mut flaws = Flaws::default();
        post.id = flaws.id("id", &post.id);
        let lower = |network: String| network.to_lowercase();
        if let Some(network) = self.network {
            post.network = flaws.text("network", network, 50).map(lower);
        }
        if let Some(title) = self.title {
            post.title = flaws.text("title", title, 500);
        }
        if let Some(url) = self.url {
            post.url = flaws.text("url", url, 2000);
            let is_http =
                |url: &str| url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
            if post.url.as_deref().is_some_and(|url| !is_http(url)) {
                flaws.add("url", "url must begin with http:// or https://: where the post itself stands");
            }
        }
        if let Some(published_at) = self.published_at {
            post.published_ms = fields::time("published_at", published_at.as_deref(), &mut flaws);
        }
        if let Some(campaign) = self.campaign {
            post.campaign = flaws.text("campaign", campaign, 200);
        }
        if let Some(tags) = self.tags {
            post.tags = flaws.tags("tags", tags.unwrap_or_default());
        }
        if let Some(kind) = self.kind {
            post.kind = flaws.text("kind", kind, 50);
        }
        if let Some(destination) = self.destination {
            post.destination = destination;
        }
        let mut networks: Vec<String> = Vec::new();
        for network in self.networks.iter().flatten().cloned() {
            match flaws.text("networks", Some(network), 50).map(lower) {
                Some(network) if !networks.contains(&network) => networks.push(network),
                Some(_) => {}
                None => flaws.add("networks", "a network must not be empty"),
            }
        }
        if networks.len() > NETWORKS_MAX {
            flaws.add("networks", format!("name at most {NETWORKS_MAX} networks"));
        }
        if post.destination.is_none() && !networks.is_empty() {
            flaws.add("destination", "destination is missing: where the links of the networks lead to");
        }
        if self.networks.is_none() && post.destination.is_some() {
            networks.extend(post.network.clone());
        }
        flaws.check()?;
        post.updated_ms = now_ms;
        Ok((post, networks))
    }
}

/// Make or change a post, and get one tracked link per network for it.
///
/// With `destination` and `networks` each network has a link of its own in `links`; repeating the call gives the
/// same links. A new destination, network or campaign goes over to the post's links from now on.
#[utoipa::path(put, path = "/api/v1/posts/{id}", tag = "posts", params(("id" = String, Path)),
    request_body = PostInput,
    responses((status = 200, body = Post), (status = 201, body = Post), Problems))]
pub async fn upsert(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
    Json(input): Json<PostInput>,
) -> Answer<Response> {
    let workspace = caller.may(Scope::Links)?;
    let now_ms = now_ms();
    let mut tx = api.ledger.begin().await?;
    let id = id.trim();
    // Made first, so that of two calls for one new post the second waits here.
    posts::ensure(&mut tx, workspace, &[id], now_ms).await?;
    let old = posts::lock(&api.ledger, &mut tx, workspace, id).await?;
    let new = old.created_ms == now_ms && old.updated_ms == now_ms;
    let (post, networks) = input.apply(old.clone(), now_ms)?;
    posts::upsert(&mut tx, &post).await?;

    let mut batch = Batch::default();
    let mut of_network: HashMap<String, LinkRow> = HashMap::new();
    for link in links::of_post(&mut tx, workspace, &post.id).await? {
        let made_for = link.extra.get(MADE_FOR).and_then(|network| network.as_str()).map(str::to_owned);
        let wanted = made_for.as_ref().is_some_and(|network| networks.contains(network));
        let follows = |now: &Option<String>, before: &Option<String>, held: &Option<String>| {
            (now != before && held == before).then(|| now.clone())
        };
        let fields = LinkFields {
            url: post.destination.clone().filter(|_| made_for.is_some()),
            network: follows(&post.network, &old.network, &link.network).filter(|_| made_for.is_none()),
            campaign: follows(&post.campaign, &old.campaign, &link.campaign),
            archived: wanted.then_some(false),
            ..LinkFields::default()
        };
        let link = api.issuer.change_in(&mut tx, link, fields, &mut batch).await.map_err(in_post)?;
        of_network.extend(made_for.map(|network| (network, link)));
    }
    let missing: Vec<LinkFields> = networks
        .iter()
        .filter(|network| !of_network.contains_key(*network))
        .map(|network| LinkFields {
            url: post.destination.clone(),
            post: Some(Some(post.id.clone())),
            network: Some(Some(network.clone())),
            extra: vec![(MADE_FOR.to_owned(), Some(network.clone().into()))],
            ..LinkFields::default()
        })
        .collect();
    let made = api.issuer.create_in(&mut tx, workspace, missing, &mut batch).await?;
    for link in made {
        let link = link.map_err(in_post)?;
        of_network.extend(link.network.clone().map(|network| (network, link)));
    }
    tx.commit().await?;
    let fed = api.issuer.put_copies(batch).await;

    let rows = networks.iter().filter_map(|network| of_network.remove(network)).collect();
    let shown = show(post, Some(show_links(&api, rows).await?));
    saved(fed, if new { StatusCode::CREATED } else { StatusCode::OK }, &shown)
}

/// What is wrong with a link's url is wrong with the post's destination.
fn in_post(error: IssueError) -> Problem {
    match error {
        IssueError::Invalid(mut flaws) => {
            for flaw in &mut flaws {
                if flaw.field == "url" {
                    flaw.field = "destination".to_owned();
                    flaw.detail = flaw.detail.replacen("url", "destination", 1);
                }
            }
            flaws.into()
        }
        error => error.into(),
    }
}

async fn show_links(api: &Api, rows: Vec<LinkRow>) -> Answer<Vec<Link>> {
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let clicks = links::human_clicks(&api.ledger, &ids).await?;
    let show = |row: LinkRow| {
        let clicks = clicks.get(&row.id).copied().unwrap_or(0);
        show_link(api, row, clicks)
    };
    Ok(rows.into_iter().map(show).collect())
}

/// A post with its links.
#[utoipa::path(get, path = "/api/v1/posts/{id}", tag = "posts", params(("id" = String, Path)),
    responses((status = 200, body = Post), Problems))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<JsonAnswer<Post>> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
    let post = posts::get(&api.ledger, workspace, &id).await?;
    let post = post.ok_or_else(|| Problem::not_found("post", id))?;
    let filter = links::LinkFilter {
        workspace: workspace.to_owned(),
        post: Some(post.id.clone()),
        archived: Some(false),
        limit: 1000,
        ..links::LinkFilter::default()
    };
    let rows = links::list(&api.ledger, &filter).await?;
    Ok(JsonAnswer(show(post, Some(show_links(&api, rows).await?))))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListPosts {
    network: Option<String>,
    campaign: Option<String>,
    kind: Option<String>,
    tag: Option<String>,
    /// 1 to 1000, 100 if absent.
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Posts, filtered.
#[utoipa::path(get, path = "/api/v1/posts", tag = "posts", params(ListPosts),
    responses((status = 200, body = Page<Post>), Problems))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<ListPosts>,
) -> Answer<JsonAnswer<Page<Post>>> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
    let window = Window::new(query.limit, query.cursor.as_deref(), 1)?;
    let filter = PostFilter {
        workspace: workspace.to_owned(),
        network: query.network.map(|network| network.to_lowercase()),
        campaign: query.campaign,
        kind: query.kind,
        tag: query.tag,
        after: window.after_text(0).to_owned(),
        limit: window.fetch(),
    };
    let rows = posts::list(&api.ledger, &filter).await?;
    Ok(JsonAnswer(window.page(rows, |row| vec![row.id.clone()], |row| show(row, None))))
}

/// What the network says of a post on one day, not up to that day; what is left out stays as it was.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DayMetrics {
    #[schema(format = Date)]
    day: String,
    reach: Option<i64>,
    likes: Option<i64>,
    shares: Option<i64>,
    comments: Option<i64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Metrics {
    data: Vec<DayMetrics>,
}

/// Tell what a network reports of a post, by day: a list of days, or one.
#[utoipa::path(put, path = "/api/v1/posts/{id}/metrics", tag = "posts", params(("id" = String, Path)),
    request_body = Vec<DayMetrics>, responses((status = 200, body = Metrics), Problems))]
pub async fn put_metrics(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
    Json(input): Json<Value>,
) -> Answer<JsonAnswer<Metrics>> {
    let workspace = caller.may(Scope::Links)?;
    let days: Vec<DayMetrics> = parse_list(input, "metrics")?;
    let mut flaws = Flaws::default();
    let id = flaws.id("id", &id);
    if days.len() > METRIC_DAYS_MAX {
        flaws.add("metrics", format!("send at most {METRIC_DAYS_MAX} days"));
    }
    let zone = workspaces::zone(&api.ledger, workspace).await?;
    let mut rows = Vec::with_capacity(days.len());
    for metrics in &days {
        let DayMetrics { day, reach, likes, shares, comments } = metrics;
        for (field, value) in [("reach", reach), ("likes", likes), ("shares", shares), ("comments", comments)]
        {
            if value.is_some_and(|value| !(0..=METRIC_MAX).contains(&value)) {
                flaws.add(field, format!("{field} must be from 0 to {METRIC_MAX}"));
            }
        }
        if let Some(day) = fields::day("day", day, &zone, &mut flaws) {
            rows.push(MetricRow { day, reach: *reach, likes: *likes, shares: *shares, comments: *comments });
        }
    }
    flaws.check()?;
    let mut tx = api.ledger.begin().await?;
    posts::ensure(&mut tx, workspace, &[&id], now_ms()).await?;
    posts::put_metrics(&mut tx, workspace, &id, &rows).await?;
    tx.commit().await?;
    read_metrics(&api, workspace, &id).await
}

/// What a network reported of a post, by day.
#[utoipa::path(get, path = "/api/v1/posts/{id}/metrics", tag = "posts", params(("id" = String, Path)),
    responses((status = 200, body = Metrics), Problems))]
pub async fn metrics(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<JsonAnswer<Metrics>> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
    if posts::get(&api.ledger, workspace, &id).await?.is_none() {
        return Err(Problem::not_found("post", id));
    }
    read_metrics(&api, workspace, &id).await
}

async fn read_metrics(api: &Api, workspace: &str, post: &str) -> Answer<JsonAnswer<Metrics>> {
    let rows = posts::metrics(&api.ledger, workspace, post, METRIC_DAYS_MAX as i64).await?;
    let show = |row: MetricRow| DayMetrics {
        day: day_date(i32::try_from(row.day).unwrap_or(i32::MAX)).to_string(),
        reach: row.reach,
        likes: row.likes,
        shares: row.shares,
        comments: row.comments,
    };
    Ok(JsonAnswer(Metrics { data: rows.into_iter().map(show).collect() }))
}
