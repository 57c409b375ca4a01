//! Sums of clicks and credits by one key.

use sqlx::Row;

use super::{Amounts, Clock, Dimension, Key, Query, Slice, day_sql, key, whole_months};
use crate::ledger::{Ledger, LedgerError};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clicks {
    pub human: i64,
    pub uniques: i64,
    /// All machines: bots, link previews and prefetches.
    pub bots: i64,
    /// All classes together.
    pub recorded: i64,
}

impl Clicks {
    pub fn add(&mut self, other: Self) {
        self.human += other.human;
        self.uniques += other.uniques;
        self.bots += other.bots;
        self.recorded += other.recorded;
    }
}

/// Clicks by key, on their own days. A source has no clicks: by source there are no rows.
pub async fn clicks(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
) -> Result<Vec<(Key, Clicks)>, LedgerError> {
    if by == Dimension::Source {
        return Ok(Vec::new());
    }
    // No click belongs to a source, so such a filter leaves them all.
    let filters = || slice.filters.iter().map(|(filter, _)| *filter).filter(|f| *f != Dimension::Source);
    let query = if filters().next().is_none() && !by.is_of_link() {
        clicks_in_all(slice, by)
    } else if filters().chain([by]).all(Dimension::is_of_link) {
        clicks_of_links(slice, by)
    } else {
        clicks_of_days(slice, by)
    };
    let mut sums = Vec::new();
    for row in query.fetch(ledger).await? {
        let clicks = Clicks {
            human: row.try_get(1)?,
            uniques: row.try_get(2)?,
            bots: row.try_get(3)?,
            recorded: row.try_get(4)?,
        };
        sums.push((key(&row, 0, by)?, clicks));
    }
    Ok(sums)
}

const SUMS: &str = "CAST(SUM(g.human) AS BIGINT), CAST(SUM(g.uniques) AS BIGINT),
  CAST(SUM(g.bots) AS BIGINT), CAST(SUM(g.recorded) AS BIGINT)";

/// Where no link matters, a few rows a day hold everything.
fn clicks_in_all(slice: &Slice, by: Dimension) -> Query {
    let (part, key) = match by {
        Dimension::Country => ("country", "g.value".to_owned()),
        Dimension::Device => ("device", "g.value".to_owned()),
        Dimension::HourOfWeek => ("hour", "CAST(g.value AS BIGINT)".to_owned()),
        _ => ("all", day_sql(by, "g.day", slice).unwrap_or_default()),
    };
    let mut query = Query::new(&format!("SELECT {key}, {SUMS} FROM clicks_in_all g WHERE g.workspace = "));
    query.text(&slice.workspace).push(&format!(" AND g.part = '{part}' AND g.day >= "));
    query.number(slice.from_day).push(" AND g.day < ").number(slice.to_day).push(" GROUP BY 1");
    query
}

/// Where only links matter, whole months count as such and only the rest by days.
fn clicks_of_links(slice: &Slice, by: Dimension) -> Query {
    let (first_month, end_month) = whole_months(slice.from_day, slice.to_day);
    let key = match by {
        Dimension::Link => "g.link",
        _ => by.link_sql().unwrap_or_default(),
    };
    let mut query = Query::new(&format!(
        "SELECT {key}, {SUMS} FROM (
           SELECT u.link, u.revision, SUM(u.human) AS human, SUM(u.uniques) AS uniques, SUM(u.bots) AS bots,
             SUM(u.recorded) AS recorded FROM (
               SELECT link, revision, human, uniques, bots, recorded FROM clicks_by_month WHERE workspace = "
    ));
    query.text(&slice.workspace).push(" AND month >= ").number(first_month);
    query.push(" AND month < ").number(end_month);
    for (from_day, to_day) in [(slice.from_day, first_month), (end_month, slice.to_day)] {
        if from_day < to_day {
            query.push(&format!(
                " UNION ALL SELECT link, revision, human, uniques, {BOTS_OF_DAY}, {RECORDED_OF_DAY}
                  FROM clicks_by_day WHERE workspace = "
            ));
            query.text(&slice.workspace).push(" AND day >= ").number(from_day);
            query.push(" AND day < ").number(to_day);
        }
    }
    query.push(") AS u GROUP BY u.link, u.revision) AS g");
    join_links(&mut query, slice, by);
    query.push(" WHERE 1 = 1").and_link_filters(slice, "g.link").push(" GROUP BY 1");
    query
}

const BOTS_OF_DAY: &str = "bot + preview + prefetch";
const RECORDED_OF_DAY: &str = "human + duplicate + bot + preview + prefetch";

/// Everything else, by links.
fn clicks_of_days(slice: &Slice, by: Dimension) -> Query {
    let table = ClickTable::of(slice, by);
    let (bots, recorded) = match table.name {
        "clicks_by_day" => (BOTS_OF_DAY, RECORDED_OF_DAY),
        _ => ("g.bots", "g.recorded"),
    };
    let mut query = Query::new(&format!(
        "SELECT {}, CAST(SUM(g.human) AS BIGINT), CAST(SUM(g.uniques) AS BIGINT),
           CAST(SUM({bots}) AS BIGINT), CAST(SUM({recorded}) AS BIGINT)
         FROM {} g",
        table.key_sql, table.name
    ));
    join_links(&mut query, slice, by);
    table.where_slice(&mut query, slice);
    query.and_link_filters(slice, "g.link").push(" GROUP BY 1");
    query
}

/// Where clicks are counted by link and what a key and the filters ask besides: by day, by day and country or
/// device, or by month and hour.
pub(super) struct ClickTable {
    pub name: &'static str,
    /// The key in it.
    pub key_sql: String,
    day: &'static str,
}

impl ClickTable {
    pub fn of(slice: &Slice, by: Dimension) -> Self {
        let is_asked = |dimension| by == dimension || slice.filter(dimension).is_some();
        let (name, day) = match by {
            Dimension::HourOfWeek => ("clicks_by_hour", "g.month"),
            _ if is_asked(Dimension::Country) => ("clicks_by_country", "g.day"),
            _ if is_asked(Dimension::Device) => ("clicks_by_device", "g.day"),
            _ => ("clicks_by_day", "g.day"),
        };
        let key_sql = match by {
            Dimension::Link => "g.link".to_owned(),
            Dimension::Country => "g.country".to_owned(),
            Dimension::Device => "g.device".to_owned(),
            Dimension::HourOfWeek => "g.hour".to_owned(),
            _ => by.link_sql().map(str::to_owned).or_else(|| day_sql(by, day, slice)).unwrap_or_default(),
        };
        Self { name, key_sql, day }
    }

    /// Which of its rows, as `g`: workspace, time, country and device.
    pub fn where_slice(&self, query: &mut Query, slice: &Slice) {
        query.push(" WHERE g.workspace = ").text(&slice.workspace);
        query.push(&format!(" AND {} >= ", self.day)).number(slice.from_day);
        query.push(&format!(" AND {} < ", self.day)).number(slice.to_day);
        for (dimension, column) in [(Dimension::Country, "g.country"), (Dimension::Device, "g.device")] {
            if let Some(wanted) = slice.filter(dimension) {
                query.push(&format!(" AND {column} = ")).key(wanted);
            }
        }
    }
}

/// What one model credits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Credits {
    pub revenue_minor: i64,
    /// What went back, positive: refunds, cancellations and, by the cash clock, exchange differences.
    pub refunds_minor: i64,
    /// Billionths of a conversion.
    pub weight: i64,
}

impl Credits {
    pub fn add(&mut self, other: Self) {
        self.revenue_minor += other.revenue_minor;
        self.refunds_minor += other.refunds_minor;
        self.weight += other.weight;
    }

    pub fn net_minor(self) -> i64 {
        self.revenue_minor - self.refunds_minor
    }
}

/// Credits of the slice's event by key, one [`Credits`] per model. Rival touches are left out.
/// By hour of the week the key is the quarter of an hour, counted from 1970: all zones keep to quarters.
pub async fn credits(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
    models: &[&'static str],
) -> Result<Vec<(Key, Vec<Credits>)>, LedgerError> {
    let mut query = Query::new(&format!("SELECT {}", credit_key_sql(slice, by)));
    for model in models {
        query.push(&format!(
            ", CAST(SUM(CASE WHEN g.kind = 'revenue' THEN g.{model} ELSE 0 END) AS BIGINT)
             , CAST(SUM(CASE WHEN g.kind = 'revenue' THEN 0 ELSE -g.{model} END) AS BIGINT)
             , CAST(SUM(g.{model}_weight) AS BIGINT)"
        ));
    }
    query.push(" FROM credits g");
    join_credits(&mut query, slice, by);
    and_credits(&mut query, slice);
    query.push(" AND g.event = ").text(&slice.event);
    query.push(" GROUP BY 1");
    let mut sums = Vec::new();
    for row in query.fetch(ledger).await? {
        let mut all = Vec::with_capacity(models.len());
        for i in 0..models.len() {
            all.push(Credits {
                revenue_minor: row.try_get(1 + 3 * i)?,
                refunds_minor: row.try_get(2 + 3 * i)?,
                weight: row.try_get(3 + 3 * i)?,
            });
        }
        sums.push((key(&row, 0, by)?, all));
    }
    Ok(sums)
}

/// The credited weight of actions of one assigned value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigned {
    pub value_minor: i64,
    /// Billionths of an action.
    pub weight: i64,
}

/// Assigned values by key: of the slice's event, or of all others where that is `purchase`.
pub async fn assigned(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
    model: &'static str,
) -> Result<Vec<(Key, Assigned)>, LedgerError> {
    let mut query = Query::new(&format!(
        "SELECT {}, v.assigned_value_minor, CAST(SUM(g.{model}_weight) AS BIGINT)
         FROM credits g JOIN conversions v ON v.id = g.conversion",
        credit_key_sql(slice, by)
    ));
    join_credits(&mut query, slice, by);
    and_credits(&mut query, slice);
    let same = if slice.event == "purchase" { "<>" } else { "=" };
    query.push(&format!(" AND v.assigned_value_minor IS NOT NULL AND g.event {same} ")).text(&slice.event);
    query.push(" GROUP BY 1, 2");
    let mut sums = Vec::new();
    for row in query.fetch(ledger).await? {
        let assigned = Assigned { value_minor: row.try_get(1)?, weight: row.try_get(2)? };
        sums.push((key(&row, 0, by)?, assigned));
    }
    Ok(sums)
}

/// Distinct conversions that a key touched without being their last touch; None is the key of all
/// touches together. By tag each set of tags comes with its conversions instead, since sets overlap.
pub async fn assisted(
    ledger: &Ledger,
    slice: &Slice,
    by: Option<Dimension>,
) -> Result<Vec<(Key, i64)>, LedgerError> {
    let key_sql = |dimension| credit_key_sql(slice, dimension);
    // The inner query has the same aliases, so its key is the same text.
    let same_key =
        by.map_or(String::new(), |by| format!("AND {} IS NOT DISTINCT FROM touched.k", key_sql(by)));
    let by_key = by.unwrap_or(Dimension::Day);
    let mut query = Query::new(&format!(
        "SELECT touched.k, COUNT(*) FROM (SELECT DISTINCT {} AS k, g.conversion AS conversion FROM credits g",
        by.map_or("CAST(NULL AS BIGINT)".to_owned(), key_sql)
    ));
    join_credits(&mut query, slice, by_key);
    and_credits(&mut query, slice);
    query.push(" AND g.change_no = 0 AND g.is_last = 0 AND g.event = ").text(&slice.event);
    query.push(") AS touched WHERE NOT EXISTS (SELECT 1 FROM credits g");
    join_credits(&mut query, slice, by_key);
    query.push(" WHERE g.conversion = touched.conversion AND g.change_no = 0 AND g.is_last = 1 AND g.link IS NOT NULL ");
    query.push(&same_key);
    and_touch_filters(&mut query, slice);
    query.push(") GROUP BY 1");
    let mut sums = Vec::new();
    for row in query.fetch(ledger).await? {
        sums.push((key(&row, 0, by_key)?, row.try_get(1)?));
    }
    Ok(sums)
}

/// Every touch of the conversions with more than one: (conversion, key, whether it was the last).
/// For keys that overlap, such as tags.
pub async fn touches(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
) -> Result<Vec<(i64, Key, bool)>, LedgerError> {
    let mut query =
        Query::new(&format!("SELECT {}, g.conversion, g.is_last FROM credits g", credit_key_sql(slice, by)));
    join_credits(&mut query, slice, by);
    and_credits(&mut query, slice);
    query.push(" AND g.change_no = 0 AND g.event = ").text(&slice.event);
    query.push(
        " AND (g.is_last = 0 OR EXISTS (SELECT 1 FROM credits o
            WHERE o.conversion = g.conversion AND o.change_no = 0 AND o.is_last = 0))",
    );
    let mut touches = Vec::new();
    for row in query.fetch(ledger).await? {
        touches.push((row.try_get(1)?, key(&row, 0, by)?, row.try_get::<i64, _>(2)? == 1));
    }
    Ok(touches)
}

/// A key in the path of a journey.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathKey {
    Ours(Key),
    /// A rival touch, by its channel.
    Rival(String),
}

/// The touches of one attributed conversion, in order, and its money.
#[derive(Debug, Clone)]
pub struct JourneyPath {
    pub keys: Vec<PathKey>,
    pub amounts: Amounts,
}

/// The journeys of the slice's attributed conversions, by the order's day.
pub async fn journeys(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
) -> Result<Vec<JourneyPath>, LedgerError> {
    let mut query = Query::new(&format!(
        "SELECT {}, g.conversion, g.link, t.channel, v.gross_minor, v.net_minor
         FROM credits g JOIN conversions v ON v.id = g.conversion
           LEFT JOIN touches t ON t.conversion = g.conversion AND t.n = g.n AND g.link IS NULL",
        credit_key_sql(slice, by)
    ));
    join_links(&mut query, slice, by);
    query.push(" WHERE g.workspace = ").text(&slice.workspace);
    query
        .push(" AND g.order_day >= ")
        .number(slice.from_day)
        .push(" AND g.order_day < ")
        .number(slice.to_day);
    query.push(" AND g.change_no = 0 AND v.status = 'attributed' AND g.event = ").text(&slice.event);
    if let Some(source) = slice.filter(Dimension::Source) {
        query.push(" AND g.source = ").key(source);
    }
    query.push(" ORDER BY g.conversion, g.n");
    let mut journeys: Vec<JourneyPath> = Vec::new();
    let mut current = None;
    for row in query.fetch(ledger).await? {
        let conversion: i64 = row.try_get(1)?;
        let key = match row.try_get::<Option<i64>, _>(2)? {
            Some(_) => PathKey::Ours(key(&row, 0, by)?),
            None => PathKey::Rival(row.try_get::<Option<String>, _>(3)?.unwrap_or_default()),
        };
        if current != Some(conversion) {
            current = Some(conversion);
            let (revenue_minor, net_minor): (i64, i64) = (row.try_get(4)?, row.try_get(5)?);
            let amounts = Amounts { revenue_minor, refunds_minor: revenue_minor - net_minor };
            journeys.push(JourneyPath { keys: Vec::new(), amounts });
        }
        if let Some(journey) = journeys.last_mut() {
            journey.keys.push(key);
        }
    }
    Ok(journeys)
}

pub(super) fn credit_key_sql(slice: &Slice, by: Dimension) -> String {
    match by {
        Dimension::Link => "g.link".to_owned(),
        Dimension::Source => "g.source".to_owned(),
        Dimension::Country => "t.country".to_owned(),
        Dimension::Device => "t.device".to_owned(),
        Dimension::HourOfWeek => match slice.clock {
            Clock::Order => "o.occurred_ms / 900000",
            Clock::Click => "t.at_ms / 900000",
            Clock::Cash => "x.at_ms / 900000",
        }
        .to_owned(),
        _ => by
            .link_sql()
            .map(str::to_owned)
            .or_else(|| day_sql(by, &format!("g.{}", slice.clock.column()), slice))
            .unwrap_or_default(),
    }
}

fn join_links(query: &mut Query, slice: &Slice, by: Dimension) {
    let used = || slice.filters.iter().map(|(dimension, _)| *dimension).chain([by]);
    if used().any(|dimension| dimension.link_sql().is_some()) {
        query.push(" LEFT JOIN link_revisions r ON r.link = g.link AND r.revision = g.revision");
    }
    if used().any(Dimension::needs_posts) {
        query.push(" LEFT JOIN posts p ON p.workspace = r.workspace AND p.id = r.post");
    }
}

pub(super) fn join_credits(query: &mut Query, slice: &Slice, by: Dimension) {
    join_links(query, slice, by);
    let of_touch = |dimension: &Dimension| matches!(dimension, Dimension::Country | Dimension::Device);
    let hour = by == Dimension::HourOfWeek;
    if of_touch(&by)
        || slice.filters.iter().any(|(dimension, _)| of_touch(dimension))
        || hour && slice.clock == Clock::Click
    {
        query.push(" LEFT JOIN touches t ON t.conversion = g.conversion AND t.n = g.n");
    }
    if hour && slice.clock == Clock::Order {
        query.push(" LEFT JOIN conversions o ON o.id = g.conversion");
    }
    if hour && slice.clock == Clock::Cash {
        query.push(" LEFT JOIN changes x ON x.conversion = g.conversion AND x.change_no = g.change_no");
    }
}

pub(super) fn and_credits(query: &mut Query, slice: &Slice) {
    let day = slice.clock.column();
    query.push(" WHERE g.workspace = ").text(&slice.workspace);
    query.push(&format!(" AND g.{day} >= ")).number(slice.from_day);
    query.push(&format!(" AND g.{day} < ")).number(slice.to_day);
    query.push(" AND g.link IS NOT NULL");
    if slice.clock != Clock::Cash {
        query.push(" AND g.kind <> 'fx'");
    }
    and_touch_filters(query, slice);
}

fn and_touch_filters(query: &mut Query, slice: &Slice) {
    let columns =
        [(Dimension::Source, "g.source"), (Dimension::Country, "t.country"), (Dimension::Device, "t.device")];
    for (dimension, column) in columns {
        if let Some(wanted) = slice.filter(dimension) {
            query.push(&format!(" AND {column} = ")).key(wanted);
        }
    }
    query.and_link_filters(slice, "g.link");
}
