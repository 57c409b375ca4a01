//! Shlink's tags: here they are words that links carry, so a tag is there as long as a link has it.

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::short_urls::change_row;
use super::{Page, visits_summary};
use crate::api::Api;
use crate::api::auth::{Caller, Scope};
use crate::api::dialects::fields::Fields;
use crate::api::error::{Answer, Kind, Problem};
use crate::ledger::links::{self, LinkFilter};
use crate::links::issue::LinkFields;

const PAGE_MAX: i64 = 1000;
/// Names the tag that is to be renamed.
pub const OLD_NAME: &str = "oldName";
/// Links changed at a time.
const CHUNK: i64 = 500;

/// `GET /tags`
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    let (page, tags) = asked(&api, &caller, &mut fields).await?;
    let total = tags.len() as i64;
    let names = skip_to(page, tags).map(|(name, _)| name.into()).collect();
    Ok(JsonAnswer(json!({"tags": page.of(names, total)})))
}

/// `GET /tags/stats`
pub async fn stats(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?.to_owned();
    let (page, tags) = asked(&api, &caller, &mut fields).await?;
    let total = tags.len() as i64;
    let mut data = Vec::new();
    for (name, count) in skip_to(page, tags) {
        let (people, machines) = links::tag_clicks(&api.ledger, &workspace, &name).await?;
        let summary = visits_summary(people, machines);
        data.push(json!({"tag": name, "shortUrlsCount": count, "visitsSummary": summary}));
    }
    Ok(JsonAnswer(json!({"tags": page.of(data, total)})))
}

async fn asked(api: &Api, caller: &Caller, fields: &mut Fields) -> Answer<(Page, Vec<(String, i64)>)> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
    let page = Page::new(fields.number("page"), fields.number("itemsPerPage"), PAGE_MAX, PAGE_MAX);
    let search = fields.text("searchTerm").unwrap_or_default();
    fields.check()?;
    let mut tags: Vec<(String, i64)> = links::tags(&api.ledger, workspace).await?.into_iter().collect();
    tags.retain(|(name, _)| name.contains(&search));
    Ok((page, tags))
}

fn skip_to(page: Page, tags: Vec<(String, i64)>) -> impl Iterator<Item = (String, i64)> {
    let place = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
    tags.into_iter().skip(place(page.offset())).take(place(page.size))
}

/// `PUT /tags`: `{oldName, newName}`.
pub async fn rename(State(api): State<Arc<Api>>, caller: Caller, mut fields: Fields) -> Answer<StatusCode> {
    let workspace = caller.may(Scope::Links)?;
    let (old, new) = (fields.text(OLD_NAME), fields.text("newName"));
    let (Some(old), Some(new)) = (old, new) else {
        return Err(Problem::invalid("newName", "give oldName and newName"));
    };
    let count = replace(&api, workspace, &old, Some(&new)).await?;
    match count {
        0 => Err(Problem::field(Kind::NotFound, OLD_NAME, format!("no link has the tag {old}"))),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// `DELETE /tags?tags[]=`: tags that no link has are passed over, as Shlink does.
pub async fn delete(State(api): State<Arc<Api>>, caller: Caller, mut fields: Fields) -> Answer<StatusCode> {
    let workspace = caller.may(Scope::Links)?;
    for tag in fields.texts("tags").unwrap_or_default() {
        replace(&api, workspace, &tag, None).await?;
    }
    fields.check()?;
    Ok(StatusCode::NO_CONTENT)
}

/// Puts another tag, or none, in the place of one; the number of links that had it.
async fn replace(api: &Api, workspace: &str, old: &str, new: Option<&str>) -> Answer<u64> {
    if new == Some(old) {
        return Ok(1);
    }
    let filter = LinkFilter {
        workspace: workspace.to_owned(),
        tags: vec![old.to_owned()],
        archived: Some(false),
        limit: CHUNK,
        ..LinkFilter::default()
    };
    let mut count = 0;
    loop {
        // What was changed is no longer in the list.
        let rows = links::list(&api.ledger, &filter).await?;
        if rows.is_empty() {
            return Ok(count);
        }
        for row in rows {
            let mut tags: Vec<String> = Vec::with_capacity(row.tags.len());
            for tag in row.tags.iter().map(String::as_str) {
                let tag = if tag == old { new } else { Some(tag) };
                tags.extend(tag.filter(|tag| !tags.iter().any(|kept| kept == tag)).map(str::to_owned));
            }
            change_row(api, &row, LinkFields { tags: Some(tags), ..LinkFields::default() }).await?;
            count += 1;
        }
    }
}
