//! Sums of clicks by one key.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::link_keys::LinkKeys;
use super::{Dimension, Key, Query, Slice, day_key, day_sql, key, tags_of};
use crate::domain::time::month_of;
use crate::ledger::click_packs::{self, ClickPack, Count, Part};
use crate::ledger::{Ledger, LedgerError, blocking};

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

/// Clicks by the keys of rows, and all of them together: a click may count in several rows by tag.
#[derive(Debug, Default)]
pub struct ClickSums {
    pub rows: Vec<(Key, Clicks)>,
    pub whole: Clicks,
}

/// Links up to so many are looked up one by one, and their months are not read for them.
const FEW_LINKS: i64 = 100;

/// What of a slice's clicks has been read before it is known what links stand for.
pub(super) enum Begun {
    /// By source there are none.
    Nothing,
    /// Where no link matters.
    InAll(Vec<AnyRow>),
    Packs(Vec<ClickPack>),
}

impl Begun {
    pub async fn load(ledger: &Ledger, slice: &Slice, by: Dimension) -> Result<Self, LedgerError> {
        if by == Dimension::Source {
            return Ok(Self::Nothing);
        }
        // No click belongs to a source, so such a filter leaves them all.
        let filters: Vec<Dimension> =
            slice.filters.iter().map(|(filter, _)| *filter).filter(|f| *f != Dimension::Source).collect();
        if matches!(*filters, [] | [Dimension::Country | Dimension::Device]) && !by.is_of_link() {
            return Ok(Self::InAll(clicks_in_all(slice, by).fetch(ledger).await?));
        }
        let is_quick = has_few_links(ledger, slice).await?;
        Ok(Self::Packs(if is_quick { Vec::new() } else { packs(ledger, slice, by).await? }))
    }

    pub fn add_links(&self, links: &mut BTreeSet<i64>) -> Result<(), LedgerError> {
        let Self::Packs(packs) = self else { return Ok(()) };
        for pack in packs {
            for link in pack.links()? {
                links.insert(link?.0.0);
            }
        }
        Ok(())
    }

    /// Clicks by key, on their own days.
    pub async fn sum(
        self,
        ledger: &Ledger,
        slice: &Slice,
        by: Dimension,
        links: LinkKeys,
    ) -> Result<ClickSums, LedgerError> {
        let mut adding = Adding::new(by, links);
        let packs = match self {
            Self::Nothing => return Ok(ClickSums::default()),
            Self::InAll(rows) => {
                adding.rows(rows)?;
                return Ok(adding.end());
            }
            Self::Packs(packs) => packs,
        };
        let unpacked = unpacked_spans(slice, packs.iter().map(|pack| (pack.month, pack.to_day)));
        // Many counts, in a large workspace: others are not to wait for them.
        let of_packs = slice.clone();
        let added = blocking(move || {
            packs.iter().try_for_each(|pack| adding.pack(&of_packs, pack))?;
            Ok::<_, LedgerError>(adding)
        });
        let of_days = async {
            let mut rows = Vec::new();
            for days in unpacked {
                rows.extend(clicks_of_days(slice, by, days).fetch(ledger).await?);
            }
            Ok(rows)
        };
        let (mut adding, rows) = tokio::try_join!(added, of_days)?;
        adding.rows(rows)?;
        Ok(adding.end())
    }
}

async fn has_few_links(ledger: &Ledger, slice: &Slice) -> Result<bool, LedgerError> {
    if !slice.filters_links() {
        return Ok(false);
    }
    let mut query =
        Query::new(&format!("SELECT COUNT(*) FROM (SELECT r.link{FROM_LINKS} WHERE r.workspace = "));
    query.text(&slice.workspace).and_link_filters(slice, "r.link");
    query.push(&format!(" LIMIT {}) AS links", FEW_LINKS + 1));
    Ok(query.fetch(ledger).await?[0].try_get::<i64, _>(0)? <= FEW_LINKS)
}

/// What is packed of the slice's clicks.
async fn packs(ledger: &Ledger, slice: &Slice, by: Dimension) -> Result<Vec<ClickPack>, LedgerError> {
    let (from_day, to_day) = (slice.from_day, slice.to_day);
    // The first month may begin before the slice, and the last one end after it.
    let months = (month_of(from_day), to_day);
    let part = match (by, part_of(slice, by)) {
        (_, "hour") => Part::Hour,
        (_, "country") => Part::Country,
        (_, "device") => Part::Device,
        (Dimension::Day | Dimension::Week, _) => Part::Day,
        _ => Part::All,
    };
    let mut packs = click_packs::load(ledger, &slice.workspace, part, months).await?;
    let reaches_out = |pack: &ClickPack| pack.month < from_day || pack.to_day > to_day;
    if part == Part::All && packs.iter().any(reaches_out) {
        // Of these months only some days are of the slice.
        let by_day = click_packs::load(ledger, &slice.workspace, Part::Day, months).await?;
        packs.retain(|pack| !reaches_out(pack));
        packs.extend(by_day.into_iter().filter(reaches_out));
    }
    if matches!(part, Part::Country | Part::Device) {
        packs.retain(|pack| !reaches_out(pack));
    }
    if part == Part::Hour {
        // Of hours a month that begins in the slice counts whole.
        packs.retain(|pack| pack.month >= from_day);
    }
    Ok(packs)
}

/// The slice's days that lie in none of these spans.
pub(super) fn unpacked_spans(slice: &Slice, packed: impl Iterator<Item = (i64, i64)>) -> Vec<(i64, i64)> {
    let packed: BTreeSet<(i64, i64)> = packed.collect();
    let mut spans = Vec::new();
    let mut from_day = slice.from_day;
    for (first, end) in packed {
        spans.push((from_day, first));
        from_day = from_day.max(end);
    }
    spans.push((from_day, slice.to_day));
    spans.retain(|(from, to)| from < to);
    spans
}

/// Sums by the numbers of keys.
struct Adding {
    by: Dimension,
    links: LinkKeys,
    sums: Vec<Clicks>,
    whole: Clicks,
    /// Numbers of the keys of days and hours.
    times: HashMap<i64, usize, RandomState>,
}

impl Adding {
    fn new(by: Dimension, links: LinkKeys) -> Self {
        Self { by, links, sums: Vec::new(), whole: Clicks::default(), times: HashMap::default() }
    }

    /// Rows of a key and its sums.
    fn rows(&mut self, rows: Vec<AnyRow>) -> Result<(), LedgerError> {
        for row in rows {
            let clicks = Clicks {
                human: row.try_get(1)?,
                uniques: row.try_get(2)?,
                bots: row.try_get(3)?,
                recorded: row.try_get(4)?,
            };
            for key in rows_of(self.by, key(&row, 0, self.by)?)? {
                let number = self.links.keys.insert_full(key).0;
                self.add(number, clicks);
            }
            self.whole.add(clicks);
        }
        Ok(())
    }

    fn pack(&mut self, slice: &Slice, pack: &ClickPack) -> Result<(), LedgerError> {
        let values = pack.values()?;
        let wanted = match pack.part {
            Part::Country => slice.filter(Dimension::Country),
            Part::Device => slice.filter(Dimension::Device),
            Part::All | Part::Day | Part::Hour => None,
        };
        let is_wanted = |value: u32| {
            wanted.is_none_or(|wanted| matches!(wanted, Key::Text(text) if values.get(value as usize) == Some(&text.as_str())))
        };
        let by_value = matches!(self.by, Dimension::Country | Dimension::Device);
        let mut numbers: Vec<usize> = Vec::new();
        for value in values.iter().filter(|_| by_value) {
            let key = if value.is_empty() { Key::None } else { Key::Text((*value).to_owned()) };
            numbers.push(self.links.keys.insert_full(key).0);
        }
        for link in pack.links()? {
            let (link, bytes) = link?;
            if !self.links.of(link).passes {
                continue;
            }
            for count in click_packs::counts(bytes) {
                let count = count?;
                let day = if pack.part == Part::Day { i64::from(count.value) } else { pack.month };
                if !is_wanted(count.value)
                    || pack.part == Part::Day && !(slice.from_day..slice.to_day).contains(&day)
                {
                    continue;
                }
                let Count { human, uniques, bots, recorded, .. } = count;
                let clicks = Clicks { human, uniques, bots, recorded };
                self.whole.add(clicks);
                if self.by.is_of_link() {
                    for n in 0..self.links.of(link).keys.len() {
                        let number = self.links.of(link).keys[n];
                        self.add(number, clicks);
                    }
                    continue;
                }
                let number = match self.by {
                    Dimension::Country | Dimension::Device => {
                        let damaged =
                            || LedgerError::Damaged(format!("a value of the clicks of month {}", pack.month));
                        *numbers.get(count.value as usize).ok_or_else(damaged)?
                    }
                    Dimension::HourOfWeek => self.time(count.value.into())?,
                    _ => self.time(day)?,
                };
                self.add(number, clicks);
            }
        }
        Ok(())
    }

    fn time(&mut self, time: i64) -> Result<usize, LedgerError> {
        if let Some(number) = self.times.get(&time) {
            return Ok(*number);
        }
        let number = self.links.keys.insert_full(Key::Number(day_key(self.by, time)?)).0;
        self.times.insert(time, number);
        Ok(number)
    }

    fn add(&mut self, number: usize, clicks: Clicks) {
        if self.sums.len() <= number {
            self.sums.resize(self.links.keys.len(), Clicks::default());
        }
        self.sums[number].add(clicks);
    }

    fn end(self) -> ClickSums {
        // All clicks that are counted are recorded.
        let rows = self.links.keys.into_iter().zip(self.sums).filter(|(_, clicks)| clicks.recorded != 0);
        ClickSums { rows: rows.collect(), whole: self.whole }
    }
}

/// The rows that a key stands for: a set of tags is many.
pub fn rows_of(by: Dimension, key: Key) -> Result<Vec<Key>, LedgerError> {
    Ok(match by {
        Dimension::Tag => match tags_of(&key)? {
            tags if tags.is_empty() => vec![Key::None],
            tags => tags.into_iter().map(Key::Text).collect(),
        },
        _ => vec![key],
    })
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

/// Of some days, from the rollups themselves.
fn clicks_of_days(slice: &Slice, by: Dimension, days: (i64, i64)) -> Query {
    let table = ClickTable::of(slice, by);
    let (bots, recorded) = (table.bots(), table.recorded());
    if slice.filters_links() || !by.is_of_link() {
        let mut query = Query::new(&format!(
            "SELECT {}, CAST(SUM(g.human) AS BIGINT), CAST(SUM(g.uniques) AS BIGINT),
               CAST(SUM({bots}) AS BIGINT), CAST(SUM({recorded}) AS BIGINT)",
            table.key_sql
        ));
        table.after_links(&mut query, slice, days);
        query.and_link_filters(slice, "g.link").push(" GROUP BY 1");
        return query;
    }
    // Links are fewer than their days.
    let key = if by == Dimension::Link { "g.link" } else { by.link_sql().unwrap_or("g.link") };
    let mut query = Query::new(&format!(
        "SELECT {key}, {SUMS} FROM (SELECT g.link, g.revision, SUM(g.human) AS human, SUM(g.uniques) AS uniques,
           SUM({bots}) AS bots, SUM({recorded}) AS recorded FROM {} g WHERE g.workspace = ",
        table.name
    ));
    query.text(&slice.workspace);
    table.and_slice(&mut query, slice, days);
    query.push(" GROUP BY g.link, g.revision) AS g");
    if by.link_sql().is_some() {
        query.push(" LEFT JOIN link_revisions r ON r.link = g.link AND r.revision = g.revision");
    }
    if by.needs_posts() {
        query.push(" LEFT JOIN posts p ON p.workspace = r.workspace AND p.id = r.post");
    }
    query.push(" GROUP BY 1");
    query
}

/// Where clicks are counted by link and what a key and the filters ask besides: by day, by day and country or
/// device, or by month and hour.
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
        let day = if name == "clicks_by_hour" { "g.month" } else { "g.day" };
        let key_sql = match by {
            Dimension::Link => "g.link".to_owned(),
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
        if let Some(wanted) = wanted(slice, self.part) {
            query.push(&format!(" AND g.{} = ", self.part)).key(wanted);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::month_after;
    use crate::ledger::reports::Clock;

    #[test]
    fn what_months_leave_is_read_by_days() {
        let check = |days: (i64, i64), packed: &[i64], expected: &[(i64, i64)]| {
            let slice = Slice {
                workspace: String::new(),
                from_day: days.0,
                to_day: days.1,
                clock: Clock::Order,
                event: String::new(),
                filters: Vec::new(),
            };
            let packed = packed.iter().map(|month| (*month, month_after(*month)));
            assert_eq!(unpacked_spans(&slice, packed), expected, "{days:?}");
        };
        // January, February, March and April 2026.
        let months @ [january, february, march, april] = [20_454, 20_485, 20_513, 20_544];
        check((january, april), &months[..3], &[]);
        check((january, april), &[], &[(january, april)]);
        check((january, april), &[february], &[(january, february), (march, april)]);
        check((january + 5, march + 5), &[february, january, march], &[]);
        check((january + 5, march + 5), &[february], &[(january + 5, february), (march, march + 5)]);
    }
}
