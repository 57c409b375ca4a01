//! What links brought so far.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, Row};

use crate::ledger::{Ledger, LedgerError, sql};

/// Keys of one answer at most; the rest is rarely looked at.
const KEYS_MAX: i64 = 1000;

/// Sums over all days; money and conversions by last touch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkFigures {
    /// Clicks of people.
    pub clicks: i64,
    /// Clicks of machines: bots, link previews and prefetches.
    pub bot_clicks: i64,
    pub leads: i64,
    pub purchases: i64,
    /// Revenue of the purchases less refunds, in minor units of the workspace's currency.
    pub net_minor: i64,
}

/// The figures of those links that have any.
pub async fn figures(ledger: &Ledger, links: &[i64]) -> Result<HashMap<i64, LinkFigures>, LedgerError> {
    let mut figures: HashMap<i64, LinkFigures> = HashMap::new();
    for links in links.chunks(1000) {
        let list = sql::list_from(1, links.len());
        let clicks = format!(
            "SELECT link, CAST(SUM(human) AS BIGINT), CAST(SUM(bot + preview + prefetch) AS BIGINT)
             FROM clicks_by_day WHERE link IN ({list}) GROUP BY link"
        );
        let query = links.iter().fold(sqlx::query(AssertSqlSafe(clicks)), |query, link| query.bind(*link));
        for row in query.fetch_all(&ledger.read).await? {
            let of_link = figures.entry(row.try_get(0)?).or_default();
            of_link.clicks = row.try_get(1)?;
            of_link.bot_clicks = row.try_get(2)?;
        }
        // Change 0 alone has weights, so a refund counts no second time.
        let credits = format!(
            "SELECT k.link, k.event, CAST(SUM(k.last_touch_weight) AS BIGINT), CAST(SUM(k.last_touch) AS BIGINT)
             FROM links l CROSS JOIN credits k
             WHERE l.id IN ({list}) AND k.workspace = l.workspace AND k.link = l.id
               AND k.event IN ('purchase', 'lead') AND k.kind <> 'fx'
             GROUP BY k.link, k.event"
        );
        let query = links.iter().fold(sqlx::query(AssertSqlSafe(credits)), |query, link| query.bind(*link));
        for row in query.fetch_all(&ledger.read).await? {
            let of_link = figures.entry(row.try_get(0)?).or_default();
            let (event, billionths): (String, i64) = (row.try_get(1)?, row.try_get(2)?);
            let conversions = billionths / 1_000_000_000;
            match event.as_str() {
                "lead" => of_link.leads = conversions,
                _ => {
                    of_link.purchases = conversions;
                    of_link.net_minor = row.try_get(3)?;
                }
            }
        }
    }
    Ok(figures)
}

/// Clicks of people and of machines in a workspace, over all days.
pub async fn workspace_clicks(ledger: &Ledger, workspace: &str) -> Result<(i64, i64), LedgerError> {
    let row = sqlx::query(
        "SELECT CAST(COALESCE(SUM(human), 0) AS BIGINT), CAST(COALESCE(SUM(bot + preview + prefetch), 0) AS BIGINT)
         FROM clicks_by_day WHERE workspace = $1",
    )
    .bind(workspace)
    .fetch_one(&ledger.read)
    .await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// What clicks are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClickKey {
    /// ISO 3166 alpha-2, empty where unknown.
    Country,
    /// mobile, tablet, desktop, tv, other.
    Device,
    /// Its host, empty where there was none.
    Referrer,
}

/// Clicks of people by key from a day on (in days since 1970, in the workspace's zone) up to another,
/// exclusive, the most clicked first; of one link or of all.
pub async fn clicks_by(
    ledger: &Ledger,
    workspace: &str,
    link: Option<i64>,
    by: ClickKey,
    (from_day, to_day): (i64, i64),
) -> Result<Vec<(String, i64)>, LedgerError> {
    let (table, column) = match by {
        ClickKey::Country => ("clicks_by_country", "country"),
        ClickKey::Device => ("clicks_by_device", "device"),
        ClickKey::Referrer => ("clicks_by_referrer", "referrer"),
    };
    let of_link = if link.is_some() { "AND link = $5" } else { "" };
    let text = format!(
        "SELECT {column}, CAST(SUM(human) AS BIGINT) FROM {table}
         WHERE workspace = $1 AND day >= $2 AND day < $3 {of_link}
         GROUP BY {column} HAVING SUM(human) > 0 ORDER BY 2 DESC, 1 LIMIT $4"
    );
    let query = sqlx::query(AssertSqlSafe(text)).bind(workspace).bind(from_day).bind(to_day).bind(KEYS_MAX);
    let query = match link {
        Some(link) => query.bind(link),
        None => query,
    };
    let rows = query.fetch_all(&ledger.read).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Clicks of people on a link by day, from a day on up to another, exclusive; days without any are left out.
pub async fn clicks_by_day(
    ledger: &Ledger,
    link: i64,
    (from_day, to_day): (i64, i64),
) -> Result<Vec<(i64, i64)>, LedgerError> {
    let rows = sqlx::query(
        "SELECT day, CAST(SUM(human) AS BIGINT) FROM clicks_by_day
         WHERE link = $1 AND day >= $2 AND day < $3 GROUP BY day HAVING SUM(human) > 0 ORDER BY day",
    )
    .bind(link)
    .bind(from_day)
    .bind(to_day)
    .fetch_all(&ledger.read)
    .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Whose clicks to sum up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClicksOf {
    All,
    Link(i64),
    /// Links that have it now and are not archived.
    Tag(String),
    Domain(String),
}

/// Clicks of a day that came from one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayClicks {
    /// Days since 1970 in the workspace's zone.
    pub day: i64,
    /// Empty where there was none.
    pub referrer: String,
    pub people: i64,
    pub machines: i64,
}

/// Sums in one answer at most; older days fall out.
const DAYS_MAX: i64 = 100_000;

/// Clicks by day and referrer, from a day on up to another, exclusive; the newest day first.
pub async fn day_clicks(
    ledger: &Ledger,
    workspace: &str,
    of: &ClicksOf,
    (from_day, to_day): (i64, i64),
) -> Result<Vec<DayClicks>, LedgerError> {
    let text = format!(
        "SELECT day, referrer, CAST(SUM(human) AS BIGINT), CAST(SUM(bots) AS BIGINT) FROM clicks_by_referrer
         WHERE workspace = $1 AND day >= $2 AND day < $3 {}
         GROUP BY day, referrer ORDER BY day DESC, referrer LIMIT $4",
        chosen(of, "$5")
    );
    let query = sqlx::query(AssertSqlSafe(text)).bind(workspace).bind(from_day).bind(to_day).bind(DAYS_MAX);
    let rows = match of {
        ClicksOf::All => query,
        ClicksOf::Link(link) => query.bind(*link),
        ClicksOf::Tag(tag) => query.bind(super::json(tag)),
        ClicksOf::Domain(domain) => query.bind(domain.clone()),
    };
    let rows = rows.fetch_all(&ledger.read).await?;
    let read = |row: &sqlx::any::AnyRow| {
        Ok(DayClicks {
            day: row.try_get(0)?,
            referrer: row.try_get(1)?,
            people: row.try_get(2)?,
            machines: row.try_get(3)?,
        })
    };
    rows.iter().map(read).collect()
}

fn chosen(of: &ClicksOf, place: &str) -> String {
    match of {
        ClicksOf::All => String::new(),
        ClicksOf::Link(_) => format!("AND link = {place}"),
        ClicksOf::Tag(_) => format!(
            "AND link IN (SELECT id FROM links WHERE workspace = $1 AND archived_ms IS NULL \
             AND REPLACE(tags, {place}, '') <> tags)"
        ),
        ClicksOf::Domain(_) => {
            format!("AND link IN (SELECT id FROM links WHERE workspace = $1 AND domain = {place})")
        }
    }
}

/// Clicks of people and of machines on the links that have a tag, over all days.
pub async fn tag_clicks(ledger: &Ledger, workspace: &str, tag: &str) -> Result<(i64, i64), LedgerError> {
    let text = format!(
        "SELECT CAST(COALESCE(SUM(human), 0) AS BIGINT), CAST(COALESCE(SUM(bot + preview + prefetch), 0) AS BIGINT)
         FROM clicks_by_day WHERE workspace = $1 {}",
        chosen(&ClicksOf::Tag(tag.to_owned()), "$2")
    );
    let query = sqlx::query(AssertSqlSafe(text)).bind(workspace).bind(super::json(&tag));
    let row = query.fetch_one(&ledger.read).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}
