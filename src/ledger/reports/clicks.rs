//! Sums of clicks by one key.

use sqlx::Row;

use super::{Dimension, Key, Query, Slice, day_sql, key, whole_months};
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
        if by.link_sql().is_some() {
            query.push(" LEFT JOIN link_revisions r ON r.link = g.link AND r.revision = g.revision");
        }
        if by.needs_posts() {
            query.push(" LEFT JOIN posts p ON p.workspace = r.workspace AND p.id = r.post");
        }
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
