//! The journeys that conversions keep as text, for reports that look at touches in their order.
//!
//! Many come in a row of text: a row for each touch costs SQL more than reading a hundred of them here.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use indexmap::IndexSet;
use sqlx::Row;

use super::{Amounts, Dimension, Key, Query, Slice, key, tags_of};
use crate::ledger::{Ledger, LedgerError};

/// Bounded: PostgreSQL takes 65,535 parameters, SQLite 32,766.
const LINKS_PER_STATEMENT: usize = 1000;

/// One of our touches in a stored journey.
#[derive(Clone, Copy)]
pub(super) struct Touch<'a> {
    /// With its revision.
    pub link: (i64, i64),
    pub day: i64,
    pub country: &'a str,
    pub device: &'a str,
}

/// A touch of a stored journey: ours, or the channel of a rival's.
pub(super) enum Step<'a> {
    Ours(Touch<'a>),
    Rival(&'a str),
}

/// A journey, from `link.revision.day.country.device` for each of our touches and `-channel` for a rival's.
pub(super) fn steps(journey: &str) -> Result<Vec<Step<'_>>, LedgerError> {
    journey.split(' ').filter(|text| !text.is_empty()).map(step).collect()
}

fn step(text: &str) -> Result<Step<'_>, LedgerError> {
    if let Some(channel) = text.strip_prefix('-') {
        return Ok(Step::Rival(channel));
    }
    let damaged = || LedgerError::Damaged(format!("touch {text:?} of a journey"));
    let mut parts = text.split('.');
    let mut number = || parts.next().and_then(|part| part.parse::<i64>().ok()).ok_or_else(damaged);
    let (link, day) = ((number()?, number()?), number()?);
    let (country, device) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    Ok(Step::Ours(Touch { link, day, country, device }))
}

/// The links of some journeys.
pub(super) fn links_of<'a>(steps: impl Iterator<Item = &'a Step<'a>>) -> Vec<i64> {
    let links: HashSet<i64, RandomState> = steps
        .filter_map(|step| match step {
            Step::Ours(touch) => Some(touch.link.0),
            Step::Rival(_) => None,
        })
        .collect();
    let mut links: Vec<i64> = links.into_iter().collect();
    links.sort_unstable();
    links
}

/// What some journeys are looked at for: the keys of each revision of each link, and whether it passes the slice's
/// filters of links. Keys go by number: comparing and copying them for each touch would take most of the time.
pub(super) struct LinkKeys {
    /// By number.
    pub keys: IndexSet<Key>,
    links: HashMap<(i64, i64), (Vec<usize>, bool), RandomState>,
}

impl LinkKeys {
    pub async fn load(
        ledger: &Ledger,
        slice: &Slice,
        by: Dimension,
        links: &[i64],
    ) -> Result<Self, LedgerError> {
        let mut all = Self { keys: IndexSet::from([Key::None]), links: HashMap::default() };
        if !by.is_of_link() && !slice.filters_links() {
            return Ok(all);
        }
        let key_sql = match by {
            Dimension::Link => "r.link",
            _ => by.link_sql().unwrap_or("NULL"),
        };
        for links in links.chunks(LINKS_PER_STATEMENT) {
            let mut query = Query::new("SELECT r.link, r.revision, CASE WHEN 1 = 1");
            query.and_link_filters(slice, "r.link").push(&format!(
                " THEN 1 ELSE 0 END, {key_sql} FROM link_revisions r
                  LEFT JOIN posts p ON p.workspace = r.workspace AND p.id = r.post WHERE r.link IN ("
            ));
            for (i, link) in links.iter().enumerate() {
                query.push(if i == 0 { "" } else { "," }).number(*link);
            }
            query.push(")");
            for row in query.fetch(ledger).await? {
                let own = match by {
                    Dimension::Tag => match tags_of(&key(&row, 3, by)?)? {
                        tags if tags.is_empty() => vec![Key::None],
                        tags => tags.into_iter().map(Key::Text).collect(),
                    },
                    by if by.is_of_link() => vec![key(&row, 3, by)?],
                    _ => Vec::new(),
                };
                let own = own.into_iter().map(|key| all.keys.insert_full(key).0).collect();
                all.links.insert((row.try_get(0)?, row.try_get(1)?), (own, row.try_get::<i64, _>(2)? == 1));
            }
        }
        Ok(all)
    }

    pub fn passes(&self, slice: &Slice, touch: &Touch<'_>) -> bool {
        let is = |filter, value: &str| {
            slice.filter(filter).is_none_or(|wanted| matches!(wanted, Key::Text(text) if text == value))
        };
        is(Dimension::Country, touch.country)
            && is(Dimension::Device, touch.device)
            && (!slice.filters_links() || self.links.get(&touch.link).is_some_and(|(_, passes)| *passes))
    }

    /// By number. A link that is not known has no key.
    pub fn of(&self, touch: &Touch<'_>) -> &[usize] {
        self.links.get(&touch.link).map_or(&[0], |(keys, _)| keys)
    }
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
    let mut query = Query::new(
        "SELECT v.order_day, string_agg(v.gross_minor || ' ' || v.net_minor || ' ' || v.journey, '\n')
         FROM conversions v WHERE v.status = 'attributed' AND v.journey IS NOT NULL AND v.workspace = ",
    );
    query.text(&slice.workspace).push(" AND v.order_day >= ").number(slice.from_day);
    query.push(" AND v.order_day < ").number(slice.to_day).push(" AND v.event = ").text(&slice.event);
    if let Some(source) = slice.filter(Dimension::Source) {
        query.push(" AND v.source = ").key(source);
    }
    query.push(" GROUP BY v.order_day ORDER BY v.order_day");
    let rows = query.fetch(ledger).await?;
    let days: Vec<String> = rows.iter().map(|row| row.try_get(1)).collect::<Result<_, _>>()?;
    let mut read: Vec<(Amounts, Vec<Step<'_>>)> = Vec::new();
    for line in days.iter().flat_map(|day| day.split('\n')) {
        let damaged = || LedgerError::Damaged(format!("journey {line:?}"));
        let mut parts = line.splitn(3, ' ');
        let mut next = || parts.next().ok_or_else(damaged);
        let (gross, net, journey) = (next()?, next()?, next()?);
        let (revenue_minor, net_minor): (i64, i64) =
            (gross.parse().map_err(|_| damaged())?, net.parse().map_err(|_| damaged())?);
        let amounts = Amounts { revenue_minor, refunds_minor: revenue_minor - net_minor };
        read.push((amounts, steps(journey)?));
    }
    let links = links_of(read.iter().flat_map(|(_, steps)| steps));
    let keys = LinkKeys::load(ledger, slice, by, &links).await?;
    let key_of = |step: &Step<'_>| match step {
        Step::Ours(touch) => {
            PathKey::Ours(keys.of(touch).first().map_or(Key::None, |key| keys.keys[*key].clone()))
        }
        Step::Rival(channel) => PathKey::Rival((*channel).to_owned()),
    };
    let path = |(amounts, steps): (Amounts, Vec<Step<'_>>)| JourneyPath {
        keys: steps.iter().map(key_of).collect(),
        amounts,
    };
    Ok(read.into_iter().map(path).collect())
}
