//! What columns of other shorteners' exports mean. Sources of the shapes: Bitly's links export and
//! `GET /v4/groups/{guid}/bitlinks`; Dub's CSV export and `GET /links`; Shlink's web client and
//! `GET /rest/v3/short-urls`; Kutt's `GET /api/v2/links`; YOURLS's `action=stats`, its table `yourls_url` as CSV, and
//! its plug-in "Import Export". docs/MOVING-IN.md says which of them were seen.

use clap::ValueEnum;
use jiff::tz::TimeZone;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::cli::rows::{ITEM_SEPARATOR, Row, column_key};
use crate::domain::flaw::{Flaw, Flaws};
use crate::domain::time::{now_ms, parse_written};
use crate::domain::utm::UTM_PARAMS;
use crate::links::issue::LinkFields;

/// Stands in CSV for a text that was left empty on purpose: no such tag, no click token.
pub const NONE: &str = "(none)";
/// Under which the total of clicks elsewhere is kept with a link. They are no clicks of ours.
pub const IMPORTED_CLICKS: &str = "imported_clicks";
pub const IMPORTED_FROM: &str = "imported_from";

const TITLE_MAX_CHARS: usize = 500;
const DAY_MS: i64 = 24 * 3_600_000;

/// Whose export a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Origin {
    /// Columns called as `utmost links export` calls them, or mapped by --map
    Csv,
    Bitly,
    Dub,
    Shlink,
    Kutt,
    Yourls,
}

impl Origin {
    fn word(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Bitly => "bitly",
            Self::Dub => "dub",
            Self::Shlink => "shlink",
            Self::Kutt => "kutt",
            Self::Yourls => "yourls",
        }
    }

    /// Columns and their fields, besides those that are called as the field is.
    fn columns(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Csv => &[("destination url", "url"), ("long url", "url"), ("short link", "short_url")],
            Self::Bitly => &[
                ("long url", "url"),
                ("destination url", "url"),
                ("destination", "url"),
                ("link", "short_url"),
                ("bitlink", "short_url"),
                ("short link", "short_url"),
                ("id", "short_url"),
                ("custom bitlinks", "aliases"),
                ("custom link", "aliases"),
                ("custom bitlink", "aliases"),
                ("created", "created_at"),
                ("date created", "created_at"),
                ("creation date", "created_at"),
                ("total clicks", "clicks"),
                ("clicks all time", "clicks"),
                ("engagements", "clicks"),
                ("total engagements", "clicks"),
            ],
            Self::Dub => &[
                ("destination url", "url"),
                ("short link", "short_url"),
                ("link", "short_url"),
                ("key", "slug"),
                ("tag names", "tags"),
                ("comments", "comments"),
            ],
            Self::Shlink => &[
                ("long url", "url"),
                ("short code", "slug"),
                ("date created", "created_at"),
                ("visits", "clicks"),
                ("visits count", "clicks"),
                ("visitsSummary.total", "clicks"),
                ("meta.validSince", "starts_at"),
                ("valid since", "starts_at"),
                ("meta.validUntil", "expires_at"),
                ("valid until", "expires_at"),
                ("meta.maxVisits", "max_clicks"),
                ("max visits", "max_clicks"),
                ("has redirect rules", "rules"),
            ],
            Self::Kutt => &[
                ("target", "url"),
                ("address", "slug"),
                ("link", "short_url"),
                ("visit count", "clicks"),
                ("expire in", "expires_at"),
                ("description", "title"),
                ("banned", "archived"),
            ],
            Self::Yourls => &[
                ("keyword", "slug"),
                ("long url", "url"),
                ("timestamp", "created_at"),
                ("date", "created_at"),
                ("source", "short_url"),
                ("target", "url"),
                ("hits", "clicks"),
            ],
        }
    }
}

/// Fields that a column may stand for.
const FIELDS: [&str; 23] = [
    "url",
    "short_url",
    "domain",
    "slug",
    "aliases",
    "title",
    "post",
    "network",
    "campaign",
    "tags",
    "external_id",
    "created_at",
    "starts_at",
    "expires_at",
    "expired_url",
    "max_clicks",
    "forward_query",
    "click_param",
    "archived",
    "clicks",
    "password",
    "comments",
    "rules",
];

/// Which columns hold a field.
#[derive(Debug)]
pub struct Mapping {
    /// Field and column keys, the better first.
    fields: Vec<(&'static str, Vec<String>)>,
    origin: Origin,
}

impl Mapping {
    /// `given`: column and field as the caller wrote them.
    pub fn new(origin: Origin, given: &[(String, String)]) -> anyhow::Result<Self> {
        let known = || FIELDS.into_iter().chain(UTM_PARAMS);
        for (_, field) in given {
            anyhow::ensure!(
                known().any(|name| name == field),
                "--map: {field:?} is no field of a link; there are {}",
                known().collect::<Vec<_>>().join(", ")
            );
        }
        let given_as = |key: &str| given.iter().find(|(column, _)| column_key(column) == key);
        let keys_of = |field: &'static str| {
            let own = given.iter().filter(|(_, of)| of == field).map(|(column, _)| column.as_str());
            let usual = origin.columns().iter().filter(|(_, of)| *of == field).map(|(column, _)| *column);
            let mut keys: Vec<String> = own.chain(usual).chain([field]).map(column_key).collect();
            // A column that the caller gave another meaning has lost its own.
            keys.retain(|key| given_as(key).is_none_or(|(_, of)| of == field));
            (field, keys)
        };
        Ok(Self { fields: known().map(keys_of).collect(), origin })
    }

    pub fn keys(&self, field: &str) -> &[String] {
        self.fields.iter().find(|(name, _)| *name == field).map_or(&[], |(_, keys)| keys)
    }

    fn get<'a>(&self, row: &'a Row, field: &str) -> Option<&'a str> {
        self.keys(field).iter().find_map(|key| row.get(key))
    }
}

/// How rows are taken.
#[derive(Debug)]
pub struct Taking {
    pub mapping: Mapping,
    /// All links move to this domain.
    pub domain: Option<String>,
    /// Of times without one.
    pub zone: TimeZone,
    /// Whether destinations stay without the usual tags.
    pub bare: bool,
}

/// A link of a file: what is to be made.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub line: u64,
    pub fields: LinkFields,
}

impl Taking {
    /// The links of one row: one, and one more for each other name of it.
    pub fn read(&self, row: &Row) -> Result<Vec<Wanted>, Vec<Flaw>> {
        let mut flaws = Flaws::default();
        let get = |field: &str| self.mapping.get(row, field);
        let text = |field: &str| get(field).map(str::to_owned);
        if get("password").is_some_and(|text| flag(text) != Some(false)) {
            flaws.add("password", "the link asks for a password; here it would lead everybody on");
        }
        if get("rules").is_some_and(|text| flag(text) == Some(true)) {
            flaws.add("rules", "the link leads to different places by rules, which cannot be kept");
        }
        let clicks = self.number("clicks", row, &mut flaws);
        let starts_ms = self.time("starts_at", row, &mut flaws);
        if starts_ms.is_some_and(|at_ms| at_ms > now_ms()) {
            flaws.add("starts_at", "the link is to work only later; here it would work at once");
        }
        let created_ms = self.time("created_at", row, &mut flaws);
        if created_ms.is_some_and(|at_ms| at_ms > now_ms() + DAY_MS) {
            flaws.add("created_at", "created_at lies in the future");
        }
        let mut archived = self.flag("archived", row, &mut flaws);
        let mut max_clicks = self.number("max_clicks", row, &mut flaws);
        if self.mapping.origin != Origin::Csv
            && let Some(max) = &mut max_clicks
        {
            // Clicks from before count for the bound, though they are none of ours.
            *max -= clicks.unwrap_or(0);
            if *max < 1 {
                max_clicks = None;
                archived = Some(true);
            }
        }
        let mut utm: Vec<(&'static str, Option<String>)> = UTM_PARAMS
            .into_iter()
            .filter_map(|param| Some((param, Some(get(param)?))))
            .map(|(param, value)| {
                (param, value.map(|value| if value == NONE { "" } else { value }.to_owned()))
            })
            .collect();
        if self.bare {
            for param in ["utm_source", "utm_medium", "utm_campaign", "utm_content"] {
                if !utm.iter().any(|(known, _)| *known == param) {
                    utm.push((param, Some(String::new())));
                }
            }
        }
        let title = get("title").map(|title| title.chars().take(TITLE_MAX_CHARS).collect());
        let mut extra = vec![(IMPORTED_FROM.to_owned(), Some(json!(self.mapping.origin.word())))];
        extra.extend(
            clicks.filter(|clicks| *clicks > 0).map(|n| (IMPORTED_CLICKS.to_owned(), Some(json!(n)))),
        );
        extra.extend(text("comments").map(|text| ("comments".to_owned(), Some(Value::String(text)))));
        let place = self.place(row, get("short_url"), get("slug"), &mut flaws);
        let mut fields = LinkFields {
            url: text("url"),
            domain: place.as_ref().and_then(|place| place.0.clone()),
            slug: place.map(|place| place.1),
            post: text("post").map(Some),
            network: text("network").map(Some),
            campaign: text("campaign").map(Some),
            utm,
            tags: get("tags").map(|tags| self.list(tags)),
            title: title.map(Some),
            external_id: text("external_id").map(Some),
            expires_ms: self.time("expires_at", row, &mut flaws).map(Some),
            expired_url: text("expired_url").map(Some),
            max_clicks: max_clicks.map(Some),
            forward_query: self.flag("forward_query", row, &mut flaws),
            click_param: text("click_param")
                .map(|name| Some(if name == NONE { String::new() } else { name })),
            archived: archived.filter(|archived| *archived),
            created_ms,
            extra,
        };
        let aliases: Vec<_> = get("aliases").map(|text| self.list(text)).unwrap_or_default();
        let mut others = Vec::new();
        for alias in aliases {
            if let Some((domain, slug)) = self.place(row, Some(&alias), None, &mut flaws)
                && fields.slug.as_ref() != Some(&slug)
            {
                others.push((domain, slug));
            }
        }
        flaws.check()?;
        if fields.slug.is_none() && fields.external_id.is_none() {
            // By it the same row is known again when the file comes a second time.
            fields.external_id = Some(Some(format!("import-{}", &row.digest().to_hex()[..32])));
        }
        let others = others.into_iter().map(|(domain, slug)| LinkFields {
            domain,
            slug: Some(slug),
            external_id: None,
            ..fields.clone()
        });
        let others: Vec<LinkFields> = others.collect();
        let all = std::iter::once(fields).chain(others);
        Ok(all.map(|fields| Wanted { line: row.line, fields }).collect())
    }

    /// Domain and slug. None: neither a short URL nor a slug is given.
    fn place(
        &self,
        row: &Row,
        short_url: Option<&str>,
        slug: Option<&str>,
        flaws: &mut Flaws,
    ) -> Option<(Option<String>, String)> {
        let (mut domain, mut slug) =
            (self.mapping.get(row, "domain").map(str::to_owned), slug.map(str::to_owned));
        if let Some(url) = short_url {
            let bare = url.split_once("://").map_or(url, |(_, rest)| rest);
            let (authority, path) = bare.split_once('/').unwrap_or((bare, ""));
            let path = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
            // YOURLS and some exports give the bare keyword, or `/keyword/`.
            let (authority, path) = if path.is_empty() && !bare.contains(['/', '.']) {
                (None, bare)
            } else {
                (Some(authority).filter(|authority| !authority.is_empty()), path)
            };
            domain = authority.map(str::to_owned).or(domain);
            let decoded = percent_decode_str(path).decode_utf8_lossy().into_owned();
            slug = slug.or(Some(decoded).filter(|slug| !slug.is_empty()));
            if slug.is_none() {
                flaws.add("short_url", format!("{url:?} has no slug"));
            }
        }
        let slug = slug?;
        if self.mapping.origin == Origin::Dub && slug == "_root" {
            flaws.add("slug", "where the domain itself leads to is no link");
        }
        Some((self.domain.clone().or(domain), slug))
    }

    fn list(&self, text: &str) -> Vec<String> {
        let separator = match self.mapping.origin {
            _ if text.contains(ITEM_SEPARATOR) => ITEM_SEPARATOR,
            Origin::Shlink => '|',
            _ => [';', '|'].into_iter().find(|separator| text.contains(*separator)).unwrap_or(','),
        };
        text.split(separator).map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
    }

    fn time(&self, field: &str, row: &Row, flaws: &mut Flaws) -> Option<i64> {
        let text = self.mapping.get(row, field)?;
        let read = parse_written(text, &self.zone);
        if read.is_none() {
            flaws.add(field, format!("{field}: {text:?} is not a time such as 2026-01-31T17:05:00Z"));
        }
        read
    }

    fn number(&self, field: &str, row: &Row, flaws: &mut Flaws) -> Option<i64> {
        let text = self.mapping.get(row, field)?;
        let read = text.parse().ok().filter(|number: &i64| *number >= 0);
        if read.is_none() {
            flaws.add(field, format!("{field}: {text:?} is not a whole number"));
        }
        read
    }

    fn flag(&self, field: &str, row: &Row, flaws: &mut Flaws) -> Option<bool> {
        let text = self.mapping.get(row, field)?;
        let read = flag(text);
        if read.is_none() {
            flaws.add(field, format!("{field}: {text:?} is neither true nor false"));
        }
        read
    }
}

fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
        _ => None,
    }
}
