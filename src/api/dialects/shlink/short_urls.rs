//! Shlink's short URLs: make, read, list, change, delete.

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Page, visits_summary};
use crate::api::Api;
use crate::api::auth::{Caller, Scope};
use crate::api::dialects::fields::Fields;
use crate::api::dialects::links::{
    Short, find, find_url, saved, take_kept_texts, take_own, with_figures, with_scheme,
};
use crate::api::error::{Answer, Problem};
use crate::api::extract::Segment;
use crate::domain::ids::LinkId;
use crate::domain::time::{now_ms, rfc3339};
use crate::ledger::links::{self, LinkFigures, LinkFilter, LinkOrder, LinkRow};
use crate::links::issue::LinkFields;

const PAGE_DEFAULT: i64 = 10;
const PAGE_MAX: i64 = 1000;
/// Kept and shown again.
const VALID_SINCE: &str = "validSince";
const CRAWLABLE: &str = "crawlable";
/// Filters that nothing here answers: a list without them would not be the one asked for.
const REFUSED_FILTERS: [&str; 4] =
    ["excludeMaxVisitsReached", "excludePastValidUntil", "excludeTags", "apiKeyName"];

fn shown(api: &Api, link: &LinkRow, figures: LinkFigures) -> Value {
    let domain = Some(&link.domain).filter(|domain| *domain != api.issuer.public_domain());
    json!({
        "shortCode": link.slug,
        "shortUrl": api.issuer.short_url(link),
        "longUrl": link.url,
        "dateCreated": rfc3339(link.created_ms),
        "visitsSummary": visits_summary(figures.clicks, figures.bot_clicks),
        "tags": link.tags,
        "meta": {
            "validSince": link.extra.get(VALID_SINCE),
            "validUntil": link.expires_ms.map(rfc3339),
            "maxVisits": link.max_clicks,
        },
        "domain": domain,
        "title": link.title,
        "crawlable": link.extra.contains_key(CRAWLABLE),
        "forwardQuery": link.forward_query,
        "hasRedirectRules": false,
    })
}

async fn shown_with_figures(api: &Api, link: &LinkRow) -> Answer<JsonAnswer<Value>> {
    let figures = links::figures(&api.ledger, &[link.id]).await?;
    Ok(JsonAnswer(shown(api, link, figures.get(&link.id).copied().unwrap_or_default())))
}

/// The domain that a query or a body names; DEFAULT is the default one.
pub fn take_domain(api: &Api, fields: &mut Fields) -> Option<String> {
    let domain = fields.text("domain")?;
    match domain.as_str() {
        "DEFAULT" => Some(api.issuer.public_domain().to_owned()),
        _ => Short::of(Some(&domain), None, &[]).domain,
    }
}

/// What can be said of a link when it is made and when it is changed.
fn take_link(fields: &mut Fields) -> LinkFields {
    let mut link = LinkFields {
        url: fields.text("longUrl").map(|url| with_scheme(&url, "https")),
        title: fields.nullable_text("title"),
        tags: fields.texts("tags"),
        expires_ms: fields.nullable_time("validUntil"),
        max_clicks: fields.nullable_number("maxVisits"),
        forward_query: fields.flag("forwardQuery"),
        external_id: fields.nullable_text("externalId"),
        ..LinkFields::default()
    };
    if let Some(since) = fields.nullable_time(VALID_SINCE) {
        if since.is_some_and(|since_ms| since_ms > now_ms()) {
            fields.refuse(VALID_SINCE, "a link is valid from now on; leave validSince out");
        }
        link.extra.push((VALID_SINCE.to_owned(), since.map(|since_ms| rfc3339(since_ms).into())));
    }
    link.extra.extend(fields.flag(CRAWLABLE).map(|flag| (CRAWLABLE.to_owned(), flag.then(|| true.into()))));
    let devices = fields.value("deviceLongUrls");
    if devices.is_some_and(|devices| devices.as_object().is_some_and(|devices| !devices.is_empty())) {
        fields.refuse("deviceLongUrls", "deviceLongUrls is not possible here; leave it out");
    }
    take_kept_texts(fields, &["pathPrefix"], &mut link);
    take_own(fields, &mut link);
    link
}

/// `POST /short-urls`
pub async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    let workspace = caller.may(Scope::Links)?;
    let find_if_exists = fields.flag("findIfExists") == Some(true);
    let mut link = take_link(&mut fields);
    link.domain = take_domain(&api, &mut fields);
    link.slug = fields.text("customSlug");
    fields.check()?;
    if find_if_exists
        && let Some(url) = &link.url
        && let Some(row) = find_url(&api, workspace, url, link.domain.as_deref()).await?
        && is_such(&row, &link)
    {
        return shown_with_figures(&api, &row).await;
    }
    let row = saved(api.issuer.create(workspace, link).await?);
    Ok(JsonAnswer(shown(&api, &row, LinkFigures::default())))
}

/// Whether a link is what would be made anew, as far as anything was said; a link of another post is not.
fn is_such(row: &LinkRow, link: &LinkFields) -> bool {
    let same_tags = link
        .tags
        .as_ref()
        .is_none_or(|tags| tags.len() == row.tags.len() && tags.iter().all(|tag| row.tags.contains(tag)));
    same_tags
        && link.slug.as_ref().is_none_or(|slug| *slug == row.slug)
        && link.title.as_ref().is_none_or(|title| *title == row.title)
        && link.post.as_ref().is_none_or(|post| *post == row.post)
        && link.external_id.as_ref().is_none_or(|id| *id == row.external_id)
        && link.expires_ms.is_none_or(|at| at == row.expires_ms)
        && link.max_clicks.is_none_or(|max| max == row.max_clicks)
}

/// The link that a path and a query name.
pub async fn named(api: &Api, caller: &Caller, code: &str, fields: &mut Fields) -> Answer<LinkRow> {
    let short = Short { domain: take_domain(api, fields), slug: code.to_owned() };
    find(api, caller, &short).await
}

/// `GET /short-urls/{code}?domain=`
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(code): Segment,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    caller.may_any(&[Scope::Links, Scope::Reports])?;
    shown_with_figures(&api, &named(&api, &caller, &code, &mut fields).await?).await
}

/// `GET /short-urls`
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    let page = Page::new(fields.number("page"), fields.number("itemsPerPage"), PAGE_DEFAULT, PAGE_MAX);
    let filter = LinkFilter {
        workspace: caller.may_any(&[Scope::Links, Scope::Reports])?.to_owned(),
        domain: take_domain(&api, &mut fields),
        search: fields.text("searchTerm"),
        tags: fields.texts("tags").unwrap_or_default(),
        all_tags: fields.text("tagsMode").as_deref() == Some("all"),
        created_from_ms: fields.nullable_time("startDate").flatten(),
        // Inclusive there, exclusive here.
        created_to_ms: fields.nullable_time("endDate").flatten().map(|end_ms| end_ms + 1),
        archived: Some(false),
        order: take_order(&mut fields),
        offset: page.offset(),
        limit: page.size,
        ..LinkFilter::default()
    };
    for name in REFUSED_FILTERS {
        if fields.value(name).is_some_and(|value| value != "false" && value != false) {
            fields.refuse(name, format!("{name} is not possible here; leave it out"));
        }
    }
    fields.check()?;
    let total = links::count(&api.ledger, &filter).await?;
    let rows = with_figures(&api, links::list(&api.ledger, &filter).await?).await?;
    let data = rows.iter().map(|(row, figures)| shown(&api, row, *figures)).collect();
    Ok(JsonAnswer(json!({"shortUrls": page.of(data, total)})))
}

fn take_order(fields: &mut Fields) -> LinkOrder {
    let text = fields.text("orderBy").unwrap_or_default();
    let (field, direction) = text.split_once('-').unwrap_or((&text, "ASC"));
    match (field, direction.eq_ignore_ascii_case("desc")) {
        ("", _) | ("dateCreated", true) => LinkOrder::Newest,
        ("dateCreated", false) => LinkOrder::Oldest,
        ("shortCode", false) => LinkOrder::Slug,
        ("shortCode", true) => LinkOrder::SlugDescending,
        ("longUrl", false) => LinkOrder::Url,
        ("longUrl", true) => LinkOrder::UrlDescending,
        ("title", false) => LinkOrder::Title,
        ("title", true) => LinkOrder::TitleDescending,
        ("visits" | "nonBotVisits", false) => LinkOrder::LeastClicked,
        ("visits" | "nonBotVisits", true) => LinkOrder::MostClicked,
        (other, _) => {
            let detail =
                format!("orderBy knows no {other:?}, but dateCreated, shortCode, longUrl, title, visits");
            fields.refuse("orderBy", detail);
            LinkOrder::Newest
        }
    }
}

pub async fn change_row(api: &Api, row: &LinkRow, link: LinkFields) -> Answer<LinkRow> {
    let id = LinkId::from_i64(row.id).map_err(Problem::internal)?;
    Ok(saved(api.issuer.change(&row.workspace, id, link).await?))
}

/// `PATCH /short-urls/{code}?domain=`
pub async fn change(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(code): Segment,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    caller.may(Scope::Links)?;
    let row = named(&api, &caller, &code, &mut fields).await?;
    let link = take_link(&mut fields);
    fields.check()?;
    shown_with_figures(&api, &change_row(&api, &row, link).await?).await
}

/// `DELETE /short-urls/{code}?domain=`: the link answers 410 from then on, and its history stays in reports.
pub async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(code): Segment,
    mut fields: Fields,
) -> Answer<StatusCode> {
    caller.may(Scope::Links)?;
    let row = named(&api, &caller, &code, &mut fields).await?;
    change_row(&api, &row, LinkFields { archived: Some(true), ..LinkFields::default() }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /short-urls/{code}/redirect-rules`: there are none here.
pub async fn rules(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(code): Segment,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    caller.may_any(&[Scope::Links, Scope::Reports])?;
    let row = named(&api, &caller, &code, &mut fields).await?;
    Ok(JsonAnswer(json!({"defaultLongUrl": row.url, "redirectRules": []})))
}
