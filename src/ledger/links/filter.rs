//! Which links of a workspace to read, and in what order.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{COLUMNS, LinkRow, json, read};
use crate::ledger::{Ledger, LedgerError};

#[derive(Debug, Clone, Default)]
pub struct LinkFilter {
    pub workspace: String,
    pub post: Option<String>,
    pub network: Option<String>,
    pub campaign: Option<String>,
    /// Links with one of these, or with all of them.
    pub tags: Vec<String>,
    pub all_tags: bool,
    pub domain: Option<String>,
    pub slug: Option<String>,
    pub external_id: Option<String>,
    /// The destination as given.
    pub url: Option<String>,
    /// What slug, domain, destination, title and tags are searched for; the case of ASCII does not count.
    pub search: Option<String>,
    /// What `extra` holds, by name.
    pub extra: Vec<(&'static str, serde_json::Value)>,
    /// What `extra` does not hold.
    pub not_extra: Vec<(&'static str, serde_json::Value)>,
    pub created_from_ms: Option<i64>,
    /// Exclusive.
    pub created_to_ms: Option<i64>,
    /// Only links changed since then, in the order of their changes; else `order` counts.
    pub changed_since_ms: Option<i64>,
    /// None: both.
    pub archived: Option<bool>,
    pub order: LinkOrder,
    /// (updated_ms, id) of the last link seen; without `changed_since_ms` only the id counts, and only by
    /// `LinkOrder::Newest`.
    pub after: Option<(i64, i64)>,
    /// How many links to pass over, where there is no `after`.
    pub offset: i64,
    pub limit: i64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LinkOrder {
    #[default]
    Newest,
    Oldest,
    Slug,
    SlugDescending,
    Url,
    UrlDescending,
    Title,
    TitleDescending,
    /// By clicks of people.
    MostClicked,
    LeastClicked,
    Random,
}

impl LinkOrder {
    fn sql(self) -> String {
        const CLICKS: &str = "(SELECT COALESCE(SUM(human), 0) FROM clicks_by_day WHERE link = links.id)";
        match self {
            Self::Newest => "id DESC".to_owned(),
            Self::Oldest => "id".to_owned(),
            Self::Slug => "slug, id".to_owned(),
            Self::SlugDescending => "slug DESC, id DESC".to_owned(),
            Self::Url => "url, id".to_owned(),
            Self::UrlDescending => "url DESC, id DESC".to_owned(),
            Self::Title => "COALESCE(title, ''), id".to_owned(),
            Self::TitleDescending => "COALESCE(title, '') DESC, id DESC".to_owned(),
            Self::MostClicked => format!("{CLICKS} DESC, id DESC"),
            Self::LeastClicked => format!("{CLICKS}, id"),
            Self::Random => "RANDOM()".to_owned(),
        }
    }
}

pub async fn list(ledger: &Ledger, filter: &LinkFilter) -> Result<Vec<LinkRow>, LedgerError> {
    let mut asked = Asked::of(filter);
    let order = match (filter.changed_since_ms, filter.after) {
        (Some(_), Some((updated_ms, id))) => {
            let (updated, id) = (asked.number(updated_ms), asked.number(id));
            asked.conditions.push(format!("(updated_ms, id) > ({updated}, {id})"));
            "updated_ms, id".to_owned()
        }
        (Some(_), None) => "updated_ms, id".to_owned(),
        (None, Some((_, id))) => {
            let id = asked.number(id);
            asked.conditions.push(format!("id < {id}"));
            LinkOrder::Newest.sql()
        }
        (None, None) => filter.order.sql(),
    };
    let (limit, offset) = (asked.number(filter.limit), asked.number(filter.offset));
    let rows =
        asked.fetch(ledger, COLUMNS, &format!("ORDER BY {order} LIMIT {limit} OFFSET {offset}")).await?;
    rows.iter().map(read).collect()
}

/// How many links the filter lets through, whatever its order, place and limit.
pub async fn count(ledger: &Ledger, filter: &LinkFilter) -> Result<i64, LedgerError> {
    let rows = Asked::of(filter).fetch(ledger, "COUNT(*)", "").await?;
    rows.first().map_or(Ok(0), |row| Ok(row.try_get(0)?))
}

/// The tags of the workspace's links that are not archived, in their order, and how many links have each.
pub async fn tags(ledger: &Ledger, workspace: &str) -> Result<BTreeMap<String, i64>, LedgerError> {
    // Sets of tags are few, links are many.
    let rows = sqlx::query(
        "SELECT tags, COUNT(*) FROM links \
         WHERE workspace = $1 AND archived_ms IS NULL AND tags <> '[]' GROUP BY tags",
    )
    .bind(workspace)
    .fetch_all(&ledger.read)
    .await?;
    let mut counts = BTreeMap::new();
    for row in rows {
        let (text, links): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        let tags: Vec<String> = serde_json::from_str(&text)
            .map_err(|error| LedgerError::Damaged(format!("tags {text:?}: {error}")))?;
        for tag in tags {
            *counts.entry(tag).or_default() += links;
        }
    }
    Ok(counts)
}

/// Links of the workspace with this slug that are not archived, on whatever domain that it may use; two at most.
pub async fn by_slug_anywhere(
    ledger: &Ledger,
    workspace: &str,
    slug: &str,
) -> Result<Vec<LinkRow>, LedgerError> {
    let text = format!(
        "SELECT {COLUMNS} FROM links WHERE workspace = $1 AND slug = $2 AND archived_ms IS NULL AND domain IN \
         (SELECT domain FROM domains WHERE workspace = $1 OR workspace IS NULL) ORDER BY id LIMIT 2"
    );
    let rows = sqlx::query(AssertSqlSafe(text)).bind(workspace).bind(slug).fetch_all(&ledger.read).await?;
    rows.iter().map(read).collect()
}

/// The conditions of a filter, with what they are bound to.
struct Asked {
    conditions: Vec<String>,
    binds: Vec<Bind>,
}

enum Bind {
    Text(String),
    Number(i64),
}

impl Asked {
    fn of(filter: &LinkFilter) -> Self {
        let mut asked = Self { conditions: Vec::new(), binds: Vec::new() };
        for (column, value) in [
            ("workspace", Some(&filter.workspace)),
            ("post", filter.post.as_ref()),
            ("network", filter.network.as_ref()),
            ("campaign", filter.campaign.as_ref()),
            ("domain", filter.domain.as_ref()),
            ("slug", filter.slug.as_ref()),
            ("external_id", filter.external_id.as_ref()),
            ("url", filter.url.as_ref()),
        ] {
            if let Some(value) = value {
                let value = asked.text(value.clone());
                asked.conditions.push(format!("{column} = {value}"));
            }
        }
        let tags: Vec<String> = filter.tags.iter().map(|tag| asked.holds("tags", json(tag))).collect();
        if !tags.is_empty() {
            let and_or = if filter.all_tags { " AND " } else { " OR " };
            asked.conditions.push(format!("({})", tags.join(and_or)));
        }
        for (name, value) in &filter.extra {
            let condition = asked.holds("extra", format!("{}:{value}", json(name)));
            asked.conditions.push(condition);
        }
        for (name, value) in &filter.not_extra {
            let condition = asked.holds("extra", format!("{}:{value}", json(name)));
            asked.conditions.push(format!("NOT ({condition})"));
        }
        if let Some(search) = &filter.search {
            let term = asked.text(like(search));
            asked.conditions.push(format!(
                "LOWER(domain || '/' || slug || ' ' || url || ' ' || COALESCE(title, '') || ' ' || tags) \
                 LIKE {term} ESCAPE '\\'"
            ));
        }
        for (condition, value) in [
            ("created_ms >=", filter.created_from_ms),
            ("created_ms <", filter.created_to_ms),
            ("updated_ms >=", filter.changed_since_ms),
        ] {
            if let Some(value) = value {
                let value = asked.number(value);
                asked.conditions.push(format!("{condition} {value}"));
            }
        }
        match filter.archived {
            Some(true) => asked.conditions.push("archived_ms IS NOT NULL".to_owned()),
            Some(false) => asked.conditions.push("archived_ms IS NULL".to_owned()),
            None => {}
        }
        asked
    }

    /// Whether JSON in a column holds a piece of JSON text: both stores know REPLACE.
    fn holds(&mut self, column: &str, piece: String) -> String {
        let piece = self.text(piece);
        format!("REPLACE({column}, {piece}, '') <> {column}")
    }

    fn text(&mut self, value: String) -> String {
        self.binds.push(Bind::Text(value));
        format!("${}", self.binds.len())
    }

    fn number(&mut self, value: i64) -> String {
        self.binds.push(Bind::Number(value));
        format!("${}", self.binds.len())
    }

    async fn fetch(self, ledger: &Ledger, columns: &str, rest: &str) -> Result<Vec<AnyRow>, LedgerError> {
        let text = format!("SELECT {columns} FROM links WHERE {} {rest}", self.conditions.join(" AND "));
        let mut query = sqlx::query(AssertSqlSafe(text));
        for bind in self.binds {
            query = match bind {
                Bind::Text(text) => query.bind(text),
                Bind::Number(number) => query.bind(number),
            };
        }
        Ok(query.fetch_all(&ledger.read).await?)
    }
}

/// A pattern of LIKE, escaped by `\\`, for lower-case texts that hold this one.
fn like(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.to_lowercase().chars() {
        if matches!(c, '\\' | '%' | '_') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}
