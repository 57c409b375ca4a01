//! YOURLS (https://yourls.org/readme.html#API): one door, `/yourls-api.php`, which n8n, WordPress plugins and
//! the `yourls` package know. Everything comes in the query or in a form, by GET or POST.

mod sign;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Map, Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::fields::Fields;
use super::links::{Short, find, saved, take_own, with_scheme};
use super::whole_detail;
use crate::api::Api;
use crate::api::auth::{Caller, Scope, admit, admit_key, bearer};
use crate::api::error::{Answer, Kind, Problem};
use crate::domain::time::{now_ms, timestamp};
use crate::ledger::links::{self, LinkFilter, LinkOrder, LinkRow};
use crate::ledger::workspaces;
use crate::links::issue::LinkFields;
use sign::Signed;
use write::Format;

/// The version whose answers these are.
const VERSION: &str = "1.10.1";
const STATS_MAX: i64 = 1000;
const NEEDS_STRUCTURE: &str = "Need either XML or JSON format for stats";

pub fn routes() -> Router<Arc<Api>> {
    Router::new().route("/yourls-api.php", get(serve).post(serve))
}

/// What an action answers.
struct Reply {
    status: StatusCode,
    answer: Value,
    simple: String,
}

impl Reply {
    fn success(mut answer: Value, simple: impl Into<String>) -> Self {
        answer["statusCode"] = "200".into();
        if answer.get("message").is_none() {
            answer["message"] = "success".into();
        }
        Self { status: StatusCode::OK, answer, simple: simple.into() }
    }

    fn failure(status: StatusCode, message: &str, more: Value) -> Self {
        let mut answer = json!({"message": message});
        answer["errorCode"] = status.as_u16().to_string().into();
        answer["statusCode"] = answer["errorCode"].clone();
        if let (Value::Object(answer), Value::Object(more)) = (&mut answer, more) {
            answer.extend(more);
        }
        Self { status, answer, simple: message.to_owned() }
    }
}

async fn serve(State(api): State<Arc<Api>>, request: Request) -> Response {
    let headers = request.headers().clone();
    let (format, reply) = match Fields::from_request(request, &()).await {
        Ok(mut fields) => {
            let format = Format::from_fields(fields.text("format").as_deref(), fields.text("callback"));
            (format, act(&api, &headers, fields).await.unwrap_or_else(|problem| refusal(&problem)))
        }
        Err(problem) => (Format::Xml, refusal(&problem)),
    };
    format.write(reply.status, &reply.answer, &reply.simple)
}

fn refusal(problem: &Problem) -> Reply {
    problem.log();
    match problem.kind() {
        // YOURLS has no other words for all that.
        Kind::Unauthorized => Reply::failure(StatusCode::FORBIDDEN, "Please log in", Value::Null),
        // Clients post what `simple` says as it is: better nothing than an excuse.
        kind => Reply {
            simple: String::new(),
            ..Reply::failure(kind.status(), &whole_detail(problem), Value::Null)
        },
    }
}

async fn act(api: &Api, headers: &HeaderMap, mut fields: Fields) -> Answer<Reply> {
    let (caller, _permit) = sign_in(api, headers, &mut fields).await?;
    let action = fields.text("action").unwrap_or_default();
    match action.as_str() {
        "shorturl" => shorten(api, &caller, fields).await,
        "expand" => expand(api, &caller, fields).await,
        "url-stats" => url_stats(api, &caller, fields).await,
        "stats" => stats(api, &caller, fields).await,
        "db-stats" => {
            let db_stats = db_stats(api, caller.may_any(&[Scope::Links, Scope::Reports])?).await?;
            Ok(Reply::success(json!({"db-stats": db_stats}), NEEDS_STRUCTURE))
        }
        "version" => Ok(Reply::success(json!({"version": VERSION}), VERSION)),
        _ => {
            let message = "Unknown or missing \"action\" parameter";
            Ok(Reply::failure(StatusCode::BAD_REQUEST, message, Value::Null))
        }
    }
}

/// YOURLS' three ways, and a bearer key for those who can send one: the key itself as the signature or as the
/// password of whatever user, or a hash of the key's signature token and a timestamp.
async fn sign_in(
    api: &Api,
    headers: &HeaderMap,
    fields: &mut Fields,
) -> Answer<(Caller, OwnedSemaphorePermit)> {
    let (signature, password) = (fields.text("signature"), fields.text("password"));
    if let (Some(timestamp), Some(signature)) = (fields.text("timestamp"), &signature) {
        let signed = Signed::new(&timestamp, signature, fields.text("hash").as_deref(), now_ms());
        let key = match signed {
            Some(signed) => api.keys.find_by_token(|token| signed.fits(token)).await?,
            None => None,
        };
        return admit_key(api, key, headers).await;
    }
    let sent = signature.as_deref().or(password.as_deref()).or_else(|| bearer(headers));
    admit(api, sent, headers).await
}

async fn shorten(api: &Api, caller: &Caller, mut fields: Fields) -> Answer<Reply> {
    let workspace = caller.may(Scope::Links)?;
    let mut link = LinkFields {
        url: fields.text("url").map(|url| with_scheme(&url, "http")),
        slug: fields.text("keyword").map(|keyword| keyword.trim().to_owned()),
        title: fields.nullable_text("title"),
        ..LinkFields::default()
    };
    take_own(&mut fields, &mut link);
    fields.check()?;
    let url = link.url.clone().unwrap_or_default();
    let row = match api.issuer.create(workspace, link).await {
        Ok(issued) => saved(issued),
        Err(error) => return refuse_link(api, error.into(), &url).await,
    };
    let short_url = api.issuer.short_url(&row);
    let answer = json!({
        "status": "success",
        "message": format!("{} added to database", row.url),
        "title": title(&row),
        "shorturl": short_url,
        "url": {
            "keyword": row.slug,
            "url": row.url,
            "title": title(&row),
            "date": made_at(&row),
            "ip": "",
        },
    });
    Ok(Reply::success(answer, short_url))
}

/// What YOURLS calls the mistakes that a link can have.
async fn refuse_link(api: &Api, problem: Problem, url: &str) -> Answer<Reply> {
    let field = problem.body().field.unwrap_or_default();
    let code = match (problem.kind(), field.as_str()) {
        (Kind::SlugTaken, _) | (Kind::Invalid, "slug") => "error:keyword",
        (Kind::Invalid, "url") => {
            let domain = Short::parse(url).domain.unwrap_or_default();
            match workspaces::is_domain(&api.ledger, &domain).await? {
                true => "error:noloop",
                false => "error:nourl",
            }
        }
        (Kind::Invalid, _) => "error:invalid",
        _ => return Err(problem),
    };
    let more = json!({"status": "fail", "code": code});
    let reply = Reply::failure(StatusCode::BAD_REQUEST, &whole_detail(&problem), more);
    Ok(Reply { simple: String::new(), ..reply })
}

async fn expand(api: &Api, caller: &Caller, mut fields: Fields) -> Answer<Reply> {
    let Some(row) = find_short(api, caller, &mut fields).await? else { return Ok(not_found()) };
    let answer = json!({
        "keyword": row.slug,
        "shorturl": api.issuer.short_url(&row),
        "longurl": row.url,
        "title": title(&row),
    });
    Ok(Reply::success(answer, row.url.as_str()))
}

async fn url_stats(api: &Api, caller: &Caller, mut fields: Fields) -> Answer<Reply> {
    let Some(row) = find_short(api, caller, &mut fields).await? else { return Ok(not_found()) };
    let clicks = links::human_clicks(&api.ledger, &[row.id]).await?;
    let clicks = clicks.get(&row.id).copied().unwrap_or_default();
    Ok(Reply::success(json!({"link": shown(api, &row, clicks)}), NEEDS_STRUCTURE))
}

/// `shorturl` is a short URL or a keyword.
async fn find_short(api: &Api, caller: &Caller, fields: &mut Fields) -> Answer<Option<LinkRow>> {
    caller.may_any(&[Scope::Links, Scope::Reports])?;
    let short = Short::parse(&fields.text("shorturl").unwrap_or_default());
    match find(api, caller, &short).await {
        Ok(row) => Ok(Some(row)),
        Err(problem) if problem.kind() == Kind::NotFound => Ok(None),
        Err(problem) => Err(problem),
    }
}

fn not_found() -> Reply {
    let reply = Reply::failure(StatusCode::NOT_FOUND, "Error: short URL not found", Value::Null);
    Reply { simple: "not found".to_owned(), ..reply }
}

async fn stats(api: &Api, caller: &Caller, mut fields: Fields) -> Answer<Reply> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
    let filter = LinkFilter {
        workspace: workspace.to_owned(),
        archived: Some(false),
        order: match fields.text("filter").as_deref() {
            Some("bottom") => LinkOrder::LeastClicked,
            Some("last") => LinkOrder::Newest,
            Some("rand" | "random") => LinkOrder::Random,
            _ => LinkOrder::MostClicked,
        },
        limit: fields.number("limit").unwrap_or(0).clamp(0, STATS_MAX),
        offset: fields.number("start").unwrap_or(0).max(0),
        ..LinkFilter::default()
    };
    fields.check()?;
    let mut answer = json!({"stats": db_stats(api, workspace).await?});
    if filter.limit > 0 {
        let rows = links::list(&api.ledger, &filter).await?;
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let clicks = links::human_clicks(&api.ledger, &ids).await?;
        let clicks_of = |row: &LinkRow| clicks.get(&row.id).copied().unwrap_or_default();
        let links = rows.iter().enumerate();
        let links: Map<String, Value> =
            links.map(|(i, row)| (format!("link_{}", i + 1), shown(api, row, clicks_of(row)))).collect();
        answer["links"] = links.into();
    }
    Ok(Reply::success(answer, NEEDS_STRUCTURE))
}

async fn db_stats(api: &Api, workspace: &str) -> Answer<Value> {
    let filter =
        LinkFilter { workspace: workspace.to_owned(), archived: Some(false), ..LinkFilter::default() };
    let links = links::count(&api.ledger, &filter).await?;
    let (clicks, _) = links::workspace_clicks(&api.ledger, workspace).await?;
    Ok(json!({"total_links": links.to_string(), "total_clicks": clicks.to_string()}))
}

/// A link and its clicks; numbers are texts. No address of who made it is kept.
fn shown(api: &Api, row: &LinkRow, clicks: i64) -> Value {
    json!({
        "shorturl": api.issuer.short_url(row),
        "url": row.url,
        "title": title(row),
        "timestamp": made_at(row),
        "ip": "",
        "clicks": clicks.to_string(),
    })
}

fn made_at(row: &LinkRow) -> String {
    timestamp(row.created_ms).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// As in YOURLS, a link without a title goes by its destination.
fn title(row: &LinkRow) -> &str {
    row.title.as_deref().unwrap_or(&row.url)
}
