//! Dub's links: make, read, list, count, change, delete.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::show::{self, HIDDEN, KEPT_FLAGS, KEPT_TEXTS, WEBHOOKS};
use super::{HOSTED, acting, code};
use crate::api::Api;
use crate::api::auth::{Caller, Scope};
use crate::api::dialects::fields::Fields;
use crate::api::dialects::links::{
    Short, find, find_external, find_id, find_url, saved, take_kept_texts, take_own, with_figures,
    with_scheme,
};
use crate::api::dialects::whole_detail;
use crate::api::error::{Answer, Kind, Problem};
use crate::api::extract::{BULK_MAX_BYTES, Json, Segment};
use crate::domain::ids::LinkId;
use crate::ledger::links::{self, LinkFigures, LinkFilter, LinkOrder, LinkRow};
use crate::links::issue::{BULK_MAX, LinkFields};

/// What would change where visitors go or who may go there, and is not possible here. A link without it
/// would not be the one that was asked for.
const REFUSED: [&str; 7] = ["password", "ios", "android", "geo", "rewrite", "testVariants", "ref"];
const PAGE_DEFAULT: i64 = 100;
const PAGE_MAX: i64 = 1000;

/// Takes what is said of a link; the tenant comes apart, since it may name a workspace.
fn take_link(fields: &mut Fields) -> LinkFields {
    let mut link = LinkFields {
        url: fields.text("url").map(|url| with_scheme(&url, "https")),
        title: fields.nullable_text("title"),
        external_id: fields.nullable_text("externalId").map(|id| id.map(without_prefix)),
        expires_ms: fields.nullable_time("expiresAt"),
        expired_url: fields.nullable_text("expiredUrl"),
        ..LinkFields::default()
    };
    let short = Short::of(fields.text("domain").as_deref(), None, HOSTED);
    link.domain = short.domain;
    link.slug = fields.text("key").map(|key| key.trim_start_matches('/').to_owned());
    let tags = ["tagIds", "tagNames", "tagId"].map(|name| fields.texts(name));
    if tags.iter().any(Option::is_some) {
        link.tags = Some(tags.into_iter().flatten().flatten().collect());
    }
    for param in ["utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"] {
        link.utm.extend(fields.nullable_text(param).map(|value| (param, value)));
    }
    take_kept_texts(fields, &KEPT_TEXTS, &mut link);
    for (field, name) in KEPT_FLAGS.map(|name| (name, name)).into_iter().chain([("archived", HIDDEN)]) {
        link.extra.extend(fields.flag(field).map(|flag| (name.to_owned(), flag.then(|| true.into()))));
    }
    link.extra.extend(fields.texts(WEBHOOKS).map(|ids| (WEBHOOKS.to_owned(), Some(ids.into()))));
    take_own(fields, &mut link);
    for name in REFUSED {
        let says_nothing = |value: &Value| [json!(false), json!(""), json!([]), json!({})].contains(value);
        if fields.value(name).is_some_and(|value| !says_nothing(&value)) {
            fields.refuse(name, format!("{name} is not possible here; leave it out"));
        }
    }
    link
}

/// Dub writes external ids with a prefix wherever they stand in place of its own.
fn without_prefix(id: String) -> String {
    id.strip_prefix("ext_").map_or(id.clone(), str::to_owned)
}

async fn shown(api: &Api, row: LinkRow) -> Answer<JsonAnswer<Value>> {
    let figures = links::figures(&api.ledger, &[row.id]).await?;
    let figures = figures.get(&row.id).copied().unwrap_or_default();
    Ok(JsonAnswer(show::link(api, &row, figures)))
}

/// `POST /links`
pub async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    let (caller, _) = acting(&api, &caller, fields.peek_text("tenantId")).await?;
    let workspace = caller.may(Scope::Links)?;
    let link = take_link(&mut fields);
    fields.check()?;
    let row = saved(api.issuer.create(workspace, link).await?);
    Ok(JsonAnswer(show::link(&api, &row, LinkFigures::default())))
}

/// `POST /links/bulk`: a list of links, each answered by itself.
pub async fn create_many(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(items): Json<Vec<Map<String, Value>>, BULK_MAX_BYTES>,
) -> Answer<JsonAnswer<Vec<Value>>> {
    if items.is_empty() || items.len() > BULK_MAX {
        return Err(Problem::new(Kind::Invalid, format!("send 1 to {BULK_MAX} links")));
    }
    let mut answers = vec![Value::Null; items.len()];
    let mut by_workspace: BTreeMap<String, Vec<(usize, LinkFields)>> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        let mut fields = Fields::from(item.clone());
        let (caller, _) = acting(&api, &caller, fields.peek_text("tenantId")).await?;
        let workspace = caller.may(Scope::Links)?;
        let link = take_link(&mut fields);
        match fields.check() {
            Ok(()) => by_workspace.entry(workspace.to_owned()).or_default().push((index, link)),
            Err(flaws) => answers[index] = refusal(&flaws.into(), item),
        }
    }
    for (workspace, links) in by_workspace {
        let (indexes, links): (Vec<usize>, Vec<LinkFields>) = links.into_iter().unzip();
        let made = saved(api.issuer.create_many(&workspace, links).await?);
        for (index, made) in indexes.into_iter().zip(made) {
            answers[index] = match made {
                Ok(row) => show::link(&api, &row, LinkFigures::default()),
                Err(error) => refusal(&error.into(), &items[index]),
            };
        }
    }
    Ok(JsonAnswer(answers))
}

fn refusal(problem: &Problem, item: &Map<String, Value>) -> Value {
    problem.log();
    json!({"error": whole_detail(problem), "code": code(problem.kind()), "link": item})
}

/// `PUT /links/upsert`: the newest link to the same destination is changed, if there is one.
pub async fn upsert(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    let (caller, _) = acting(&api, &caller, fields.peek_text("tenantId")).await?;
    let workspace = caller.may(Scope::Links)?;
    let link = take_link(&mut fields);
    fields.check()?;
    let url = link.url.clone().unwrap_or_default();
    let row = match find_url(&api, workspace, &url, link.domain.as_deref()).await? {
        Some(row) => change_row(&api, &row, link).await?,
        None => saved(api.issuer.create(workspace, link).await?),
    };
    shown(&api, row).await
}

async fn change_row(api: &Api, row: &LinkRow, link: LinkFields) -> Answer<LinkRow> {
    let id = LinkId::from_i64(row.id).map_err(Problem::internal)?;
    Ok(saved(api.issuer.change(&row.workspace, id, link).await?))
}

/// The link that a path or a parameter names: `ext_` and an external id, or our id.
async fn named(api: &Api, caller: &Caller, id: &str) -> Answer<LinkRow> {
    match id.strip_prefix("ext_") {
        Some(external) => {
            find_external(api, caller.may_any(&[Scope::Links, Scope::Reports])?, external).await
        }
        None => find_id(api, caller, id).await,
    }
}

/// The link that a query names: by linkId, externalId, or domain and key.
pub async fn asked(api: &Api, caller: &Caller, fields: &mut Fields) -> Answer<Option<LinkRow>> {
    if let Some(id) = fields.text("linkId") {
        return named(api, caller, &id).await.map(Some);
    }
    if let Some(id) = fields.text("externalId") {
        let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
        return find_external(api, workspace, &without_prefix(id)).await.map(Some);
    }
    let (domain, key) = (fields.text("domain"), fields.text("key"));
    let short = Short::of(domain.as_deref(), key.as_deref(), HOSTED);
    match short.slug.is_empty() {
        true => Ok(None),
        false => find(api, caller, &short).await.map(Some),
    }
}

/// `GET /links/info`
pub async fn info(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    caller.may_any(&[Scope::Links, Scope::Reports])?;
    let (caller, _) = acting(&api, &caller, fields.peek_text("tenantId")).await?;
    let row = asked(&api, &caller, &mut fields).await?;
    fields.check()?;
    let row = row
        .ok_or_else(|| Problem::new(Kind::Invalid, "name the link: linkId, externalId, or domain and key"))?;
    shown(&api, row).await
}

/// `GET /links/{id}`
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<JsonAnswer<Value>> {
    caller.may_any(&[Scope::Links, Scope::Reports])?;
    shown(&api, named(&api, &caller, &id).await?).await
}

/// Takes the filters that lists and counts have in common.
async fn take_filter(api: &Api, caller: &Caller, fields: &mut Fields) -> Answer<LinkFilter> {
    let (caller, tenant) = acting(api, caller, fields.peek_text("tenantId")).await?;
    let mut filter = LinkFilter {
        workspace: caller.may_any(&[Scope::Links, Scope::Reports])?.to_owned(),
        domain: Short::of(fields.text("domain").as_deref(), None, HOSTED).domain,
        search: fields.text("search"),
        tags: ["tagIds", "tagNames", "tagId"].iter().flat_map(|name| fields.texts(name)).flatten().collect(),
        archived: Some(false),
        ..LinkFilter::default()
    };
    filter.extra.extend(tenant.map(|tenant| ("tenantId", tenant.into())));
    filter.extra.extend(fields.text("folderId").map(|folder| ("folderId", folder.into())));
    if fields.flag("showArchived") != Some(true) {
        filter.not_extra.push((HIDDEN, true.into()));
    }
    Ok(filter)
}

/// `GET /links`
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut fields: Fields,
) -> Answer<JsonAnswer<Vec<Value>>> {
    let mut filter = take_filter(&api, &caller, &mut fields).await?;
    filter.limit = fields.number("pageSize").unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let page = fields.number("page").unwrap_or(1).clamp(1, i64::from(u32::MAX));
    filter.offset = (page - 1) * filter.limit;
    if let Some(after) = fields.text("startingAfter") {
        let after = named(&api, &caller, &after).await?;
        filter.after = Some((after.updated_ms, after.id));
    }
    if fields.text("endingBefore").is_some() {
        fields.refuse("endingBefore", "endingBefore is not possible here; use startingAfter or page");
    }
    let by = fields.text("sortBy").or_else(|| fields.text("sort")).unwrap_or_default();
    let ascending = fields.text("sortOrder").is_some_and(|order| order.eq_ignore_ascii_case("asc"));
    filter.order = match (by.as_str(), ascending) {
        ("clicks", false) => LinkOrder::MostClicked,
        ("clicks", true) => LinkOrder::LeastClicked,
        (_, false) => LinkOrder::Newest,
        (_, true) => LinkOrder::Oldest,
    };
    fields.check()?;
    let rows = links::list(&api.ledger, &filter).await?;
    let rows = with_figures(&api, rows).await?;
    Ok(JsonAnswer(rows.iter().map(|(row, figures)| show::link(&api, row, *figures)).collect()))
}

/// `GET /links/count`
pub async fn count(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut fields: Fields,
) -> Answer<JsonAnswer<i64>> {
    let filter = take_filter(&api, &caller, &mut fields).await?;
    if fields.text("groupBy").is_some() {
        fields.refuse("groupBy", "groupBy is not possible here; count with a filter in its place");
    }
    fields.check()?;
    Ok(JsonAnswer(links::count(&api.ledger, &filter).await?))
}

/// `PATCH /links/{id}`
pub async fn change(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    let (caller, _) = acting(&api, &caller, fields.peek_text("tenantId")).await?;
    caller.may(Scope::Links)?;
    let row = named(&api, &caller, &id).await?;
    let link = take_link(&mut fields);
    fields.check()?;
    shown(&api, change_row(&api, &row, link).await?).await
}

/// `PATCH /links/bulk`: `{linkIds|externalIds, data}`.
pub async fn change_many(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut fields: Fields,
) -> Answer<JsonAnswer<Vec<Value>>> {
    caller.may(Scope::Links)?;
    let Some(Value::Object(data)) = fields.value("data") else {
        return Err(Problem::new(Kind::Invalid, "data must hold what is to be changed"));
    };
    let mut data = Fields::from(data);
    let link = take_link(&mut data);
    data.check()?;
    let mut rows = Vec::new();
    for row in take_many(&api, &caller, &mut fields).await? {
        rows.push(change_row(&api, &row, link.clone()).await?);
    }
    let rows = with_figures(&api, rows).await?;
    Ok(JsonAnswer(rows.iter().map(|(row, figures)| show::link(&api, row, *figures)).collect()))
}

/// The links that a bulk request names; those that are not there are passed over, as Dub does.
async fn take_many(api: &Api, caller: &Caller, fields: &mut Fields) -> Answer<Vec<LinkRow>> {
    let external = fields.texts("externalIds").unwrap_or_default();
    let external = external.into_iter().map(|id| format!("ext_{}", without_prefix(id)));
    let ids: Vec<String> = fields.texts("linkIds").unwrap_or_default().into_iter().chain(external).collect();
    fields.check()?;
    if ids.is_empty() || ids.len() > BULK_MAX {
        return Err(Problem::new(Kind::Invalid, format!("name 1 to {BULK_MAX} links in linkIds")));
    }
    let mut rows: Vec<LinkRow> = Vec::with_capacity(ids.len());
    for id in ids {
        match named(api, caller, &id).await {
            Ok(row) if rows.iter().any(|seen| seen.id == row.id) => {}
            Ok(row) => rows.push(row),
            Err(problem) if problem.kind() == Kind::NotFound => {}
            Err(problem) => return Err(problem),
        }
    }
    Ok(rows)
}

fn archived() -> LinkFields {
    LinkFields { archived: Some(true), ..LinkFields::default() }
}

/// `DELETE /links/{id}`: the link answers 410 from then on, and its history stays in reports.
pub async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(id): Segment,
) -> Answer<JsonAnswer<Value>> {
    caller.may(Scope::Links)?;
    let row = named(&api, &caller, &id).await?;
    change_row(&api, &row, archived()).await?;
    Ok(JsonAnswer(json!({"id": crate::api::links::link_id(row.id)})))
}

/// `DELETE /links/bulk?linkIds=`
pub async fn delete_many(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    caller.may(Scope::Links)?;
    let rows = take_many(&api, &caller, &mut fields).await?;
    for row in &rows {
        change_row(&api, row, archived()).await?;
    }
    Ok(JsonAnswer(json!({"deletedCount": rows.len()})))
}
