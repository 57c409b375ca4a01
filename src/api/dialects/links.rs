//! Links as the dialects name and keep them.

use jiff::tz::TimeZone;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::fields::Fields;
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::error::{Answer, Kind, Problem};
use crate::ledger::links::{self, LinkFigures, LinkFilter, LinkRow};
use crate::ledger::workspaces;
use crate::links::domain_key;
use crate::links::issue::{Issued, LinkFields};

/// Where a short link stands; without a domain it is looked for wherever the workspace may have links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short {
    pub domain: Option<String>,
    pub slug: String,
}

impl Short {
    /// From a short URL, with or without its scheme, or from a slug alone.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let (has_scheme, rest) = match text.split_once("://") {
            Some((_, rest)) => (true, rest),
            None => (false, text),
        };
        let path_end = rest.find(['?', '#']).unwrap_or(rest.len());
        let path = rest[..path_end].trim_end_matches('/');
        let (domain, slug) = match path.split_once('/') {
            Some(("", slug)) => (None, slug),
            Some((domain, slug)) => (Some(domain), slug),
            None if has_scheme => (Some(path), ""),
            None => (None, path),
        };
        Self {
            domain: domain.map(|domain| domain_key(domain).into_owned()),
            slug: percent_decode_str(slug).decode_utf8_lossy().into_owned(),
        }
    }

    /// From a domain and a slug as clients send them: either may be a whole short URL. The names in `hosted`,
    /// by which a shortener's own service goes, stand for the default domain.
    pub fn of(domain: Option<&str>, slug: Option<&str>, hosted: &[&str]) -> Self {
        let of_domain = domain.map(|domain| Self::parse(&with_scheme(domain, "https")));
        let of_slug = slug.map(Self::parse);
        let slug = [&of_slug, &of_domain].into_iter().flatten().find(|short| !short.slug.is_empty());
        let slug = slug.map_or_else(String::new, |short| short.slug.clone());
        let domain = [of_domain, of_slug].into_iter().flatten().find_map(|short| short.domain);
        Self { domain: domain.filter(|domain| !hosted.contains(&domain.as_str())), slug }
    }
}

/// The link, unless it was archived, which other shorteners call deleted. A platform key that
/// names no workspace finds the links of all.
pub async fn find(api: &Api, caller: &Caller, short: &Short) -> Answer<LinkRow> {
    let domain = short.domain.as_deref().unwrap_or(api.issuer.public_domain());
    let mut found = links::read_by_slug(&api.ledger, domain, &short.slug).await?;
    if !found.as_ref().is_some_and(|link| is_there(caller, link)) && short.domain.is_none() {
        let workspace = caller.may_any(&crate::api::Scope::ALL)?;
        let mut everywhere = links::by_slug_anywhere(&api.ledger, workspace, &short.slug).await?;
        // Two of the name: which one is meant cannot be told.
        found = everywhere.pop().filter(|_| everywhere.is_empty());
    }
    found.filter(|link| is_there(caller, link)).ok_or_else(|| missing(&short.slug))
}

/// The same by the link's id.
pub async fn find_id(api: &Api, caller: &Caller, id: &str) -> Answer<LinkRow> {
    let Ok(parsed) = id.parse::<crate::domain::ids::LinkId>() else { return Err(missing(id)) };
    let found = links::read_by_id(&api.ledger, parsed.as_i64()).await?;
    found.filter(|link| is_there(caller, link)).ok_or_else(|| missing(id))
}

/// The same by the caller's own id of it, in the workspace that the caller acts for.
pub async fn find_external(api: &Api, workspace: &str, external_id: &str) -> Answer<LinkRow> {
    let filter = LinkFilter {
        workspace: workspace.to_owned(),
        external_id: Some(external_id.to_owned()),
        archived: Some(false),
        limit: 1,
        ..LinkFilter::default()
    };
    links::list(&api.ledger, &filter).await?.pop().ok_or_else(|| missing(external_id))
}

/// The newest link to a destination that is not archived, for dialects that ask for one to be used again.
pub async fn find_url(
    api: &Api,
    workspace: &str,
    url: &str,
    domain: Option<&str>,
) -> Answer<Option<LinkRow>> {
    let filter = LinkFilter {
        workspace: workspace.to_owned(),
        url: Some(url.trim().to_owned()),
        domain: domain.map(str::to_owned),
        archived: Some(false),
        limit: 1,
        ..LinkFilter::default()
    };
    Ok(links::list(&api.ledger, &filter).await?.pop())
}

fn is_there(caller: &Caller, link: &LinkRow) -> bool {
    link.archived_ms.is_none() && caller.sees(&link.workspace)
}

fn missing(name: &str) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no link {name}"))
}

/// What was saved. A hot copy that is late is no failure here: these clients cannot ask again for the same
/// link, many post "undefined" where its URL should stand, and the feeder brings the copy within a second
/// of the hot store's return.
pub fn saved<T>(issued: Issued<T>) -> T {
    issued.value
}

/// The zone by whose days a workspace's clicks are counted.
pub async fn workspace_zone(api: &Api, workspace: &str) -> Answer<TimeZone> {
    let row = workspaces::get(&api.ledger, workspace).await?;
    let row =
        row.ok_or_else(|| Problem::new(Kind::NotFound, format!("there is no workspace {workspace}")))?;
    TimeZone::get(&row.timezone).map_err(Problem::internal)
}

/// Each link with its figures.
pub async fn with_figures(api: &Api, rows: Vec<LinkRow>) -> Answer<Vec<(LinkRow, LinkFigures)>> {
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let figures = links::figures(&api.ledger, &ids).await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let of_link = figures.get(&row.id).copied().unwrap_or_default();
            (row, of_link)
        })
        .collect())
}

/// Takes the fields of utmost's own that any dialect understands beside those that it knows.
pub fn take_own(fields: &mut Fields, into: &mut LinkFields) {
    into.post = fields.nullable_text("post");
    into.network = fields.nullable_text("network");
    into.campaign = fields.nullable_text("campaign");
}

/// Takes texts that a dialect keeps with a link, without a meaning here.
pub fn take_kept_texts(fields: &mut Fields, names: &[&str], into: &mut LinkFields) {
    for name in names {
        let kept = fields.nullable_text(name);
        into.extra.extend(kept.map(|text| ((*name).to_owned(), text.map(Value::from))));
    }
}

/// An address as people write it, with the scheme that the dialect supposes where there is none.
pub fn with_scheme(url: &str, scheme: &str) -> String {
    let url = url.trim();
    let is_scheme = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c))
    };
    match url.split_once(':') {
        _ if url.is_empty() => String::new(),
        _ if url.starts_with("//") => format!("{scheme}:{url}"),
        // A colon before a digit is that of a port.
        Some((word, rest)) if is_scheme(word) && !rest.starts_with(|c: char| c.is_ascii_digit()) => {
            url.to_owned()
        }
        _ => format!("{scheme}://{url}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_links_are_named_in_many_ways() {
        let check = |domain: Option<&str>, slug: Option<&str>, expected: (Option<&str>, &str)| {
            let short = Short::of(domain, slug, &["dub.sh"]);
            assert_eq!((short.domain.as_deref(), short.slug.as_str()), expected, "{domain:?} {slug:?}");
        };
        check(Some("go.test"), Some("a"), (Some("go.test"), "a"));
        check(Some("GO.test:443"), Some("/a/"), (Some("go.test"), "a"));
        check(Some("https://go.test"), Some("a"), (Some("go.test"), "a"));
        check(Some("https://go.test:8080/a?b=c#d"), None, (Some("go.test:8080"), "a"));
        check(Some("go.test/a"), None, (Some("go.test"), "a"));
        check(Some("127.0.0.1:8080/a"), None, (Some("127.0.0.1:8080"), "a"));
        check(Some("dub.sh"), Some("a"), (None, "a"));
        check(Some("https://dub.sh/a"), None, (None, "a"));
        check(None, Some("a"), (None, "a"));
        check(None, Some("http://go.test/%C3%A4"), (Some("go.test"), "ä"));
        check(None, None, (None, ""));
        check(Some("go.test"), None, (Some("go.test"), ""));
    }

    #[test]
    fn schemes_are_supplied() {
        let check = |url: &str, expected: &str| assert_eq!(with_scheme(url, "https"), expected);
        check(" shop.test/a?b=c:d ", "https://shop.test/a?b=c:d");
        check("shop.test:8080/a", "https://shop.test:8080/a");
        check("//shop.test", "https://shop.test");
        check("http://shop.test", "http://shop.test");
        check("mailto:a@b.test", "mailto:a@b.test");
        check("", "");
    }
}
