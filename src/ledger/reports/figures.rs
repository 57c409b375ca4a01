//! Sums of clicks and credits by one key.

use sqlx::Row;

use super::{Clock, Dimension, Key, Query, Slice, day_sql, key, whole_months};
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
    let filters: Vec<Dimension> =
        slice.filters.iter().map(|(filter, _)| *filter).filter(|f| *f != Dimension::Source).collect();
    let query = match *filters {
        [] | [Dimension::Country | Dimension::Device] if !by.is_of_link() => clicks_in_all(slice, by),
        _ if !by.is_time() || by == Dimension::Month => clicks_of_months(slice, by),
        _ => clicks_of_days(slice, by),
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

/// Which counts a key and the filters ask for: of all clicks, by country or by device.
fn part_of(slice: &Slice, by: Dimension) -> &'static str {
    let is_asked = |dimension| by == dimension || slice.filter(dimension).is_some();
    match by {
        _ if is_asked(Dimension::Country) => "country",
        _ if is_asked(Dimension::Device) => "device",
        Dimension::HourOfWeek => "hour",
        _ => "all",
    }
}

/// The value that a filter wants of the part.
fn wanted<'a>(slice: &'a Slice, part: &str) -> Option<&'a Key> {
    match part {
        "country" => slice.filter(Dimension::Country),
        "device" => slice.filter(Dimension::Device),
        _ => None,
    }
}

/// Where no link matters, a few rows a day hold everything.
fn clicks_in_all(slice: &Slice, by: Dimension) -> Query {
    let part = part_of(slice, by);
    let key = match by {
        Dimension::Country | Dimension::Device => "g.value".to_owned(),
        Dimension::HourOfWeek => "CAST(g.value AS BIGINT)".to_owned(),
        _ => day_sql(by, "g.day", slice).unwrap_or_default(),
    };
    let mut query = Query::new(&format!("SELECT {key}, {SUMS} FROM clicks_in_all g WHERE g.workspace = "));
    query.text(&slice.workspace).push(&format!(" AND g.part = '{part}' AND g.day >= "));
    query.number(slice.from_day).push(" AND g.day < ").number(slice.to_day);
    if let Some(value) = wanted(slice, part) {
        query.push(" AND g.value = ").key(value);
    }
    query.push(" GROUP BY 1");
    query
}

/// Where days need not be told apart, whole months count as such and only the rest by days.
fn clicks_of_months(slice: &Slice, by: Dimension) -> Query {
    let (first_month, end_month) = whole_months(slice.from_day, slice.to_day);
    let mut spans = vec![("clicks_by_month", first_month, end_month)];
    let days = ClickTable::of(slice, by).name;
    spans.extend([(days, slice.from_day, first_month), (days, end_month, slice.to_day)]);
    spans.retain(|(_, from_day, to_day)| from_day < to_day);
    let key = match by {
        Dimension::Link => Some("g.link"),
        _ => by.link_sql(),
    };
    let links_first = slice.filters_links();
    let mut query = if links_first {
        Query::new(&format!("SELECT g.row_key, {SUMS} FROM ("))
    } else {
        // Without a filter of links only keys of links come here, and links are fewer than their months.
        Query::new(&format!(
            "SELECT {}, {SUMS} FROM (
               SELECT u.link, u.revision, SUM(u.human) AS human, SUM(u.uniques) AS uniques, SUM(u.bots) AS bots,
                 SUM(u.recorded) AS recorded FROM (",
            key.unwrap_or("g.link")
        ))
    };
    for (n, (table, from_day, to_day)) in spans.into_iter().enumerate() {
        let table = ClickTable::named(table, slice, by);
        query.push(if n == 0 { "SELECT " } else { " UNION ALL SELECT " });
        match links_first {
            true => query.push(key.unwrap_or(&table.key_sql)).push(" AS row_key"),
            false => query.push("g.link, g.revision"),
        };
        query.push(&format!(
            ", g.human, g.uniques, {} AS bots, {} AS recorded",
            table.bots(),
            table.recorded()
        ));
        if links_first {
            table.after_links(&mut query, slice, (from_day, to_day));
            query.and_link_filters(slice, "g.link");
        } else {
            query.push(&format!(" FROM {} g WHERE g.workspace = ", table.name)).text(&slice.workspace);
            table.and_slice(&mut query, slice, (from_day, to_day));
        }
    }
    if links_first {
        query.push(") AS g");
    } else {
        query.push(") AS u GROUP BY u.link, u.revision) AS g");
        join_links(&mut query, slice, by);
    }
    query.push(" GROUP BY 1");
    query
}

/// By day, week or hour of the week, of some links.
fn clicks_of_days(slice: &Slice, by: Dimension) -> Query {
    let table = ClickTable::of(slice, by);
    let mut query = Query::new(&format!(
        "SELECT {}, CAST(SUM(g.human) AS BIGINT), CAST(SUM(g.uniques) AS BIGINT),
           CAST(SUM({}) AS BIGINT), CAST(SUM({}) AS BIGINT)",
        table.key_sql,
        table.bots(),
        table.recorded()
    ));
    table.after_links(&mut query, slice, (slice.from_day, slice.to_day));
    query.and_link_filters(slice, "g.link").push(" GROUP BY 1");
    query
}

/// Where clicks are counted by link and what a key and the filters ask besides: by month, by day, by day and country
/// or device, or by month and hour.
pub(super) struct ClickTable {
    pub name: &'static str,
    /// The key in it.
    pub key_sql: String,
    day: &'static str,
    part: &'static str,
}

impl ClickTable {
    pub fn of(slice: &Slice, by: Dimension) -> Self {
        let name = match (by, part_of(slice, by)) {
            (Dimension::HourOfWeek, _) => "clicks_by_hour",
            (_, "country") => "clicks_by_country",
            (_, "device") => "clicks_by_device",
            _ => "clicks_by_day",
        };
        Self::named(name, slice, by)
    }

    fn named(name: &'static str, slice: &Slice, by: Dimension) -> Self {
        let is_by_month = name == "clicks_by_month";
        let day = if is_by_month || name == "clicks_by_hour" { "g.month" } else { "g.day" };
        let key_sql = match by {
            Dimension::Link => "g.link".to_owned(),
            Dimension::Country | Dimension::Device if is_by_month => "g.value".to_owned(),
            Dimension::Month if is_by_month => "g.month".to_owned(),
            Dimension::Country => "g.country".to_owned(),
            Dimension::Device => "g.device".to_owned(),
            Dimension::HourOfWeek => "g.hour".to_owned(),
            _ => by.link_sql().map(str::to_owned).or_else(|| day_sql(by, day, slice)).unwrap_or_default(),
        };
        Self { name, key_sql, day, part: part_of(slice, by) }
    }

    fn bots(&self) -> &'static str {
        if self.name == "clicks_by_day" { "g.bot + g.preview + g.prefetch" } else { "g.bots" }
    }

    fn recorded(&self) -> &'static str {
        match self.name {
            "clicks_by_day" => "g.human + g.duplicate + g.bot + g.preview + g.prefetch",
            _ => "g.recorded",
        }
    }

    /// Which of its rows, as `g`: workspace, time, country and device.
    pub fn where_slice(&self, query: &mut Query, slice: &Slice) {
        query.push(" WHERE g.workspace = ").text(&slice.workspace);
        self.and_slice(query, slice, (slice.from_day, slice.to_day));
    }

    fn and_slice(&self, query: &mut Query, slice: &Slice, (from_day, to_day): (i64, i64)) {
        query.push(&format!(" AND {} >= ", self.day)).number(from_day);
        query.push(&format!(" AND {} < ", self.day)).number(to_day);
        let column = match self.name {
            "clicks_by_month" => {
                query.push(&format!(" AND g.part = '{}'", self.part));
                "value"
            }
            _ => self.part,
        };
        if let Some(wanted) = wanted(slice, self.part) {
            query.push(&format!(" AND g.{column} = ")).key(wanted);
        }
    }

    /// `FROM` the workspace's links, as `r` and `p`, and only then their clicks: where a filter leaves few of many
    /// links. SQLite keeps the order of a cross join.
    fn after_links(&self, query: &mut Query, slice: &Slice, days: (i64, i64)) {
        query.push(FROM_LINKS);
        let is_by_day = self.day == "g.day";
        match self.name {
            "clicks_by_day" => {
                query.push(" CROSS JOIN clicks_by_day g WHERE g.link = r.link AND g.revision = r.revision");
            }
            // These are in order of days, and the counts by day say which days a link has.
            name if is_by_day => {
                query.push(&format!(
                    " CROSS JOIN clicks_by_day d CROSS JOIN {name} g WHERE d.link = r.link AND d.revision = r.revision
                      AND g.workspace = d.workspace AND g.day = d.day AND g.link = d.link AND g.revision = d.revision"
                ));
                query.push(" AND d.day >= ").number(days.0).push(" AND d.day < ").number(days.1);
            }
            name => {
                query.push(&format!(
                    " CROSS JOIN {name} g WHERE g.workspace = r.workspace AND g.link = r.link AND g.revision = r.revision"
                ));
            }
        }
        query.push(" AND r.workspace = ").text(&slice.workspace);
        self.and_slice(query, slice, days);
    }
}

const FROM_LINKS: &str =
    " FROM link_revisions r LEFT JOIN posts p ON p.workspace = r.workspace AND p.id = r.post";

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
    let query = match Groups::of(slice, by) {
        Some(groups) => credits_in_groups(ledger, slice, by, models, groups).await?,
        None => credits_singly(slice, by, models),
    };
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

/// Revenue, refunds and weights by some models, of the rows of `credits g`.
fn credit_sums(models: &[&'static str]) -> Vec<String> {
    let of_model = |model: &&str| {
        [
            format!("SUM(CASE WHEN g.kind = 'revenue' THEN g.{model} ELSE 0 END)"),
            format!("SUM(CASE WHEN g.kind = 'revenue' THEN 0 ELSE -g.{model} END)"),
            format!("SUM(g.{model}_weight)"),
        ]
    };
    models.iter().flat_map(of_model).collect()
}

fn credits_singly(slice: &Slice, by: Dimension, models: &[&'static str]) -> Query {
    let mut query = Query::new(&format!("SELECT {}", credit_key_sql(slice, by)));
    for sum in credit_sums(models) {
        query.push(&format!(", CAST({sum} AS BIGINT)"));
    }
    if slice.filters_links() {
        // The links first, where a filter leaves few of many. A plus keeps SQLite from going by day.
        query.push(FROM_LINKS).push(" CROSS JOIN credits g");
        join_touches(&mut query, slice, by);
        and_credits_of_days(&mut query, slice, &format!("+g.{}", slice.clock.column()));
        query.and_link_filters(slice, "g.link").push(" AND r.workspace = ").text(&slice.workspace);
        query.push(" AND g.link = r.link AND g.revision = r.revision");
    } else {
        query.push(" FROM credits g");
        join_credits(&mut query, slice, by);
        and_credits(&mut query, slice);
    }
    query.push(" AND g.event = ").text(&slice.event).push(" GROUP BY 1");
    query
}

/// What credits are summed by in the order of an index, before the few sums are summed by key: so that no row
/// is sorted or looks for its link.
#[derive(Clone, Copy)]
enum Groups {
    Links,
    Days(Clock),
}

impl Groups {
    /// None where the key needs more than either knows.
    fn of(slice: &Slice, by: Dimension) -> Option<Self> {
        let asked = || slice.filters.iter().map(|(filter, _)| *filter).chain([by]);
        let of_index = |d: Dimension| matches!(d, Dimension::Source | Dimension::Country | Dimension::Device);
        let of_day = matches!(by, Dimension::Day | Dimension::Week | Dimension::Month);
        let filters_links = slice.filters_links();
        if filters_links {
            None
        } else if by.is_of_link() && asked().all(|d| d.is_of_link() || of_index(d)) {
            Some(Self::Links)
        } else if of_day || of_index(by) {
            Some(Self::Days(slice.clock))
        } else {
            None
        }
    }

    fn columns(self) -> String {
        match self {
            Self::Links => "g.link, g.revision".to_owned(),
            Self::Days(clock) => format!("g.{}, g.source, g.country, g.device", clock.column()),
        }
    }
}

async fn credits_in_groups(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
    models: &[&'static str],
    groups: Groups,
) -> Result<Query, LedgerError> {
    let sums = credit_sums(models);
    let mut query = Query::new(&format!("SELECT {}", credit_key_sql(slice, by)));
    for n in 0..sums.len() {
        query.push(&format!(", CAST(SUM(g.sum{n}) AS BIGINT)"));
    }
    query.push(&format!(" FROM (SELECT {}", groups.columns()));
    for (n, sum) in sums.iter().enumerate() {
        query.push(&format!(", {sum} AS sum{n}"));
    }
    query.push(" FROM credits g");
    // By link all of the workspace's days are read: worth it if most of them are asked for.
    let whole = matches!(groups, Groups::Links) && is_most_of_all(ledger, slice).await?;
    let day = slice.clock.column();
    // A plus keeps SQLite from going by day.
    and_credits_of_days(&mut query, slice, &if whole { format!("+g.{day}") } else { format!("g.{day}") });
    query.push(" AND g.event = ").text(&slice.event);
    query.push(&format!(" GROUP BY {}) AS g", groups.columns()));
    join_links(&mut query, slice, by);
    query.push(" GROUP BY 1");
    Ok(query)
}

/// Whether the slice covers a third of the days with orders.
async fn is_most_of_all(ledger: &Ledger, slice: &Slice) -> Result<bool, LedgerError> {
    let mut query = Query::new("SELECT (SELECT MIN(order_day) FROM conversions WHERE workspace = ");
    query.text(&slice.workspace).push("), (SELECT MAX(order_day) FROM conversions WHERE workspace = ");
    query.text(&slice.workspace).push(")");
    let rows = query.fetch(ledger).await?;
    let days: (Option<i64>, Option<i64>) = match rows.first() {
        Some(row) => (row.try_get(0)?, row.try_get(1)?),
        None => (None, None),
    };
    let (Some(first), Some(last)) = days else { return Ok(false) };
    Ok((slice.to_day.min(last + 1) - slice.from_day.max(first)) * 3 >= last + 1 - first)
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
    let mut any =
        Query::new("SELECT id FROM conversions WHERE assigned_value_minor IS NOT NULL AND workspace = ");
    any.text(&slice.workspace).push(" LIMIT 1");
    if any.fetch(ledger).await?.is_empty() {
        return Ok(Vec::new());
    }
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

pub(super) fn credit_key_sql(slice: &Slice, by: Dimension) -> String {
    match by {
        Dimension::Link => "g.link".to_owned(),
        Dimension::Source => "g.source".to_owned(),
        Dimension::Country => "g.country".to_owned(),
        Dimension::Device => "g.device".to_owned(),
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
    join_touches(query, slice, by);
}

/// What the hour of a credit needs.
fn join_touches(query: &mut Query, slice: &Slice, by: Dimension) {
    let hour = by == Dimension::HourOfWeek;
    if hour && slice.clock == Clock::Click {
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
    and_credits_of_days(query, slice, &format!("g.{}", slice.clock.column()));
    query.and_link_filters(slice, "g.link");
}

/// All that a row of credits tells by itself.
fn and_credits_of_days(query: &mut Query, slice: &Slice, day: &str) {
    query.push(" WHERE g.workspace = ").text(&slice.workspace);
    query.push(&format!(" AND {day} >= ")).number(slice.from_day);
    query.push(&format!(" AND {day} < ")).number(slice.to_day);
    query.push(" AND g.link IS NOT NULL");
    if slice.clock != Clock::Cash {
        query.push(" AND g.kind <> 'fx'");
    }
    let columns =
        [(Dimension::Source, "g.source"), (Dimension::Country, "g.country"), (Dimension::Device, "g.device")];
    for (dimension, column) in columns {
        if let Some(wanted) = slice.filter(dimension) {
            query.push(&format!(" AND {column} = ")).key(wanted);
        }
    }
}
