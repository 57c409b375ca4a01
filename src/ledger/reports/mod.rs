//! What reports ask of the ledger: sums of clicks and conversions by one key, and what costs need.
//!
//! SQL text is put together here from closed enums; what users wrote is always bound.

mod amounts;
mod clicks;
mod costs;
mod extras;
mod link_keys;
mod null_paths;
mod orders;
mod retention;
mod tally;

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Ledger, LedgerError, Store};
use crate::domain::ids::LinkId;

pub use amounts::{Amounts, Credits, Goods, ReceivedOrders};
pub use clicks::{ClickSums, Clicks, rows_of};
pub use costs::{Atom, Booking, DayClicks, bookings, day_clicks, members};
pub use extras::{Engagement, MissingRate, clicks_of_networks, engagement, missing_rates, published};
pub use null_paths::add_null_paths;
pub use orders::{
    Order, OrderChange, OrderDelivery, OrderFilter, OrderLine, OrderTouch, PostCard, networks,
    networks_of_posts, order, orders, post,
};
pub use retention::{Purchase, Purchases, Touched, link_keys, purchases};
pub use tally::{Journeys, Outcome, PathKey, Question, Tally, TallyRow, sum_up};

/// What rows can stand for and what can be filtered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    Post,
    Network,
    Campaign,
    Link,
    UtmSource,
    UtmMedium,
    UtmCampaign,
    UtmTerm,
    UtmContent,
    Tag,
    Kind,
    Source,
    Country,
    Device,
    Day,
    /// Keyed by its Monday.
    Week,
    /// Keyed by its first day.
    Month,
    HourOfWeek,
    /// When the post was published.
    PublishedHour,
}

impl Dimension {
    pub const ALL: [Self; 19] = [
        Self::Post,
        Self::Network,
        Self::Campaign,
        Self::Link,
        Self::UtmSource,
        Self::UtmMedium,
        Self::UtmCampaign,
        Self::UtmTerm,
        Self::UtmContent,
        Self::Tag,
        Self::Kind,
        Self::Source,
        Self::Country,
        Self::Device,
        Self::Day,
        Self::Week,
        Self::Month,
        Self::HourOfWeek,
        Self::PublishedHour,
    ];

    /// The name in requests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Post => "post",
            Self::Network => "network",
            Self::Campaign => "campaign",
            Self::Link => "link",
            Self::UtmSource => "utm_source",
            Self::UtmMedium => "utm_medium",
            Self::UtmCampaign => "utm_campaign",
            Self::UtmTerm => "utm_term",
            Self::UtmContent => "utm_content",
            Self::Tag => "tag",
            Self::Kind => "kind",
            Self::Source => "source",
            Self::Country => "country",
            Self::Device => "device",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::HourOfWeek => "hour_of_week",
            Self::PublishedHour => "published_hour_of_week",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dimension| dimension.name() == name)
    }

    pub fn is_time(self) -> bool {
        matches!(self, Self::Day | Self::Week | Self::Month | Self::HourOfWeek | Self::PublishedHour)
    }

    /// Whether it is known from the click's link alone.
    pub fn is_of_link(self) -> bool {
        !self.is_time() && !matches!(self, Self::Source | Self::Country | Self::Device)
    }

    /// The SQL of a link's key, over `link_revisions r` and `posts p`. None where it is no text of them.
    fn link_sql(self) -> Option<&'static str> {
        Some(match self {
            Self::Post => "r.post",
            Self::Network => "COALESCE(r.network, p.network)",
            Self::Campaign => "COALESCE(r.campaign, p.campaign)",
            Self::UtmSource => "r.utm_source",
            Self::UtmMedium => "r.utm_medium",
            Self::UtmCampaign => "r.utm_campaign",
            Self::UtmTerm => "r.utm_term",
            Self::UtmContent => "r.utm_content",
            // Two JSON arrays side by side; `tags_of` reads them.
            Self::Tag => "COALESCE(r.tags, '[]') || COALESCE(p.tags, '[]')",
            Self::Kind => "p.kind",
            _ => return None,
        })
    }

    fn needs_posts(self) -> bool {
        matches!(self, Self::Network | Self::Campaign | Self::Tag | Self::Kind)
    }
}

/// What dates a conversion's money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Clock {
    /// An order and its refunds on the order's day.
    Order,
    /// On the credited click's day.
    Click,
    /// Refunds on their own day.
    Cash,
}

impl Clock {
    pub const ALL: [Self; 3] = [Self::Order, Self::Click, Self::Cash];

    pub fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Click => "click",
            Self::Cash => "cash",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|clock| clock.name() == name)
    }
}

/// A row's key as stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    Text(String),
    /// A link's id, a day, or an hour of the week.
    Number(i64),
    /// The link has no such value.
    None,
    /// Costs with nothing under them.
    Unallocated,
}

/// The part of the ledger that a report looks at. Days are the workspace's, `to_day` exclusive.
#[derive(Debug, Clone)]
pub struct Slice {
    pub workspace: String,
    pub from_day: i64,
    pub to_day: i64,
    pub clock: Clock,
    pub event: String,
    /// All must hold. At most one per dimension.
    pub filters: Vec<(Dimension, Key)>,
}

impl Slice {
    pub fn filter(&self, dimension: Dimension) -> Option<&Key> {
        self.filters.iter().find(|(d, _)| *d == dimension).map(|(_, key)| key)
    }

    pub fn filters_links(&self) -> bool {
        self.filters.iter().any(|(dimension, _)| dimension.is_of_link())
    }
}

/// The single tags in a tag key.
pub fn tags_of(key: &Key) -> Result<Vec<String>, LedgerError> {
    let Key::Text(text) = key else { return Ok(Vec::new()) };
    let arrays = serde_json::Deserializer::from_str(text).into_iter::<Vec<String>>();
    let mut tags = Vec::new();
    for array in arrays {
        tags.extend(array.map_err(|error| LedgerError::Damaged(format!("tags {text:?}: {error}")))?);
    }
    tags.sort();
    tags.dedup();
    Ok(tags)
}

/// The first and the last day on which anything happened, None in an empty workspace.
pub async fn days(ledger: &Ledger, workspace: &str) -> Result<Option<(i64, i64)>, LedgerError> {
    let row = sqlx::query(
        // One end at a time: SQLite finds either in an index, and both together in all the rows.
        "SELECT MIN(first), MAX(last) FROM (
           SELECT (SELECT MIN(day) FROM clicks_by_day WHERE workspace = $1) AS first,
                  (SELECT MAX(day) FROM clicks_by_day WHERE workspace = $1) AS last
           UNION ALL SELECT (SELECT MIN(order_day) FROM conversions WHERE workspace = $1),
                            (SELECT MAX(order_day) FROM conversions WHERE workspace = $1)
           UNION ALL SELECT MIN(from_day), MAX(to_day) - 1 FROM costs WHERE workspace = $1
         ) AS spans",
    )
    .bind(workspace)
    .fetch_one(&ledger.read)
    .await?;
    let (first, last): (Option<i64>, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
    Ok(first.zip(last))
}

/// Conversions that were received and never evaluated yet: they are in no report.
pub async fn pending(ledger: &Ledger, workspace: &str) -> Result<i64, LedgerError> {
    let row = sqlx::query(
        "SELECT COUNT(*) FROM conversions WHERE due > 0 AND evaluated_ms IS NULL AND workspace = $1",
    )
    .bind(workspace)
    .fetch_one(&ledger.read)
    .await?;
    Ok(row.try_get(0)?)
}

/// What people call the keys: titles of posts, short URLs of links (without scheme), names of sources.
pub async fn labels(
    ledger: &Ledger,
    workspace: &str,
    dimension: Dimension,
    keys: &[Key],
) -> Result<Vec<(Key, String)>, LedgerError> {
    let (column, table, label) = match dimension {
        Dimension::Post => ("id", "posts", "title"),
        Dimension::Link => ("id", "links", "domain || '/' || slug"),
        Dimension::Source => ("id", "sources", "name"),
        _ => return Ok(Vec::new()),
    };
    let mut labels = Vec::new();
    // Bounded: PostgreSQL takes 65,535 parameters, SQLite 32,766.
    for keys in keys.chunks(1000) {
        let mut query = Query::new(&format!("SELECT {column}, {label} FROM {table} WHERE workspace = "));
        query.text(workspace).push(&format!(" AND {label} IS NOT NULL AND {column} IN ("));
        for (i, key) in keys.iter().filter(|key| matches!(key, Key::Text(_) | Key::Number(_))).enumerate() {
            query.push(if i == 0 { "" } else { "," }).key(key);
        }
        if query.binds.len() == 1 {
            continue;
        }
        query.push(")");
        for row in query.fetch(ledger).await? {
            labels.push((key(&row, 0, dimension)?, row.try_get(1)?));
        }
    }
    Ok(labels)
}

/// The key in a column of a row.
fn key(row: &AnyRow, column: usize, dimension: Dimension) -> Result<Key, LedgerError> {
    Ok(if dimension == Dimension::Link || dimension.is_time() {
        row.try_get::<Option<i64>, _>(column)?.map_or(Key::None, Key::Number)
    } else {
        let text: Option<String> = row.try_get(column)?;
        text.filter(|text| !text.is_empty()).map_or(Key::None, Key::Text)
    })
}

enum Bind {
    Text(String),
    Number(i64),
}

/// SQL text with its bound values, numbered as they come.
struct Query {
    sql: String,
    binds: Vec<Bind>,
}

impl Query {
    fn new(sql: &str) -> Self {
        Self { sql: sql.to_owned(), binds: Vec::new() }
    }

    fn push(&mut self, sql: &str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    fn text(&mut self, value: &str) -> &mut Self {
        self.bind(Bind::Text(value.to_owned()))
    }

    fn number(&mut self, value: i64) -> &mut Self {
        self.bind(Bind::Number(value))
    }

    fn key(&mut self, key: &Key) -> &mut Self {
        match key {
            Key::Text(text) => self.text(text),
            Key::Number(number) => self.number(*number),
            Key::None | Key::Unallocated => self.push("NULL"),
        }
    }

    fn bind(&mut self, value: Bind) -> &mut Self {
        self.binds.push(value);
        let number = self.binds.len();
        self.sql.push_str(&format!("${number}"));
        self
    }

    /// ` AND` the filters that a link answers, over `link_column`, `link_revisions r` and `posts p`.
    fn and_link_filters(&mut self, slice: &Slice, link_column: &str) -> &mut Self {
        for (dimension, key) in &slice.filters {
            if dimension.is_of_link() {
                self.push(" AND ").condition(*dimension, key, link_column);
            }
        }
        self
    }

    fn condition(&mut self, dimension: Dimension, key: &Key, link_column: &str) -> &mut Self {
        match (dimension, key) {
            (Dimension::Tag, Key::Text(tag)) => {
                // In JSON a tag stands between quotes, so its quoted form cannot match a part of another.
                let quoted = serde_json::Value::from(tag.as_str()).to_string();
                let tags = Dimension::Tag.link_sql().expect("tags belong to links");
                self.push(&format!("REPLACE({tags}, ")).text(&quoted).push(&format!(", '') <> {tags}"))
            }
            (dimension, key) => self.push(dimension.link_sql().unwrap_or(link_column)).push(" = ").key(key),
        }
    }

    async fn fetch(self, ledger: &Ledger) -> Result<Vec<AnyRow>, LedgerError> {
        let text = match ledger.store {
            Store::Sqlite => unnumbered(&self.sql),
            Store::Postgres => self.sql,
        };
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

/// `$1`, `$2` ... as `?`, which is right where each is used once and in order. To SQLite `$1` is a name that it
/// looks up among all of them: a thousand take it longer than what they ask for.
fn unnumbered(sql: &str) -> String {
    let mut parts = sql.split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push('?');
        text.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    text
}

/// `CASE` over a day column that gives the first day of its month, for the months of a slice.
fn month_sql(column: &str, slice: &Slice) -> String {
    use crate::domain::time::{day_date, day_number};
    let mut sql = String::from("CASE");
    let date = |day: i64| day_date(i32::try_from(day).unwrap_or(i32::MAX));
    let mut month = date(slice.from_day).first_of_month();
    let last = date(slice.to_day);
    while month < last {
        let next = month.saturating_add(jiff::Span::new().months(1));
        sql.push_str(&format!(" WHEN {column} < {} THEN {}", day_number(next), day_number(month)));
        if next == month {
            break;
        }
        month = next;
    }
    sql.push_str(" END");
    sql
}

/// The whole months in a span of days: the first day of the first one, and the day after the last one. The
/// same day twice where there is none.
fn whole_months(from_day: i64, to_day: i64) -> (i64, i64) {
    use crate::domain::time::{day_date, day_number};
    let month_of = |day: i64| day_date(i32::try_from(day).unwrap_or(i32::MAX)).first_of_month();
    let first_day = |date| i64::from(day_number(date));
    let mut first = month_of(from_day);
    if first_day(first) < from_day {
        first = first.saturating_add(jiff::Span::new().months(1));
    }
    let first = first_day(first);
    let end = first_day(month_of(to_day));
    if first < end { (first, end) } else { (to_day, to_day) }
}

/// The time key of a day; an hour is its own.
pub fn day_key(dimension: Dimension, day: i64) -> Result<i64, LedgerError> {
    use crate::domain::time::{day_date, day_number};
    Ok(match dimension {
        // Day 0 is a Thursday, so its Monday is day -3.
        Dimension::Week => (day + 3).div_euclid(7) * 7 - 3,
        Dimension::Month => {
            let day = i32::try_from(day).map_err(|_| LedgerError::Damaged(format!("day {day}")))?;
            day_number(day_date(day).first_of_month()).into()
        }
        _ => day,
    })
}

/// The SQL of a time key over a day column. None for what no day answers.
fn day_sql(dimension: Dimension, column: &str, slice: &Slice) -> Option<String> {
    match dimension {
        Dimension::Day => Some(column.to_owned()),
        // Day 0 is a Thursday, so its Monday is day -3.
        Dimension::Week => Some(format!("({column} + 3) / 7 * 7 - 3")),
        Dimension::Month => Some(month_sql(column, slice)),
        _ => None,
    }
}

/// A link filter's value from its text form.
pub fn link_key(text: &str) -> Option<Key> {
    text.parse::<LinkId>().ok().map(|id| Key::Number(id.as_i64()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::day_number;

    #[test]
    fn whole_months_lie_inside_the_span() {
        let check = |from: &str, to: &str, expected: (&str, &str)| {
            let day = |text: &str| i64::from(day_number(text.parse().unwrap()));
            let expected = (day(expected.0), day(expected.1));
            assert_eq!(whole_months(day(from), day(to)), expected, "{from} to {to}");
        };
        check("2026-01-01", "2027-01-01", ("2026-01-01", "2027-01-01"));
        check("2026-01-02", "2026-12-31", ("2026-02-01", "2026-12-01"));
        check("2026-02-01", "2026-03-01", ("2026-02-01", "2026-03-01"));
        // None: all of it counts by days.
        check("2026-02-02", "2026-03-01", ("2026-03-01", "2026-03-01"));
        check("2026-02-01", "2026-02-28", ("2026-02-28", "2026-02-28"));
        check("2026-01-20", "2026-02-11", ("2026-02-11", "2026-02-11"));
    }
}
