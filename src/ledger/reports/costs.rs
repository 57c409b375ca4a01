//! What the spreading of costs needs: bookings, what stands under them, clicks by day, rates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Dimension, Key, Query, Slice, key, link_key};
use crate::domain::money::Currency;
use crate::ledger::{Ledger, LedgerError};

/// A cost as booked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booking {
    pub id: String,
    /// Post, link, campaign or network.
    pub scope: Dimension,
    pub target: Key,
    /// Minor units of `currency`.
    pub amount_minor: i64,
    pub currency: Currency,
    pub from_day: i64,
    pub to_day: i64,
}

/// The costs with a day in the slice.
pub async fn bookings(ledger: &Ledger, slice: &Slice) -> Result<Vec<Booking>, LedgerError> {
    let mut query = Query::new(
        "SELECT id, scope, target, amount_minor, currency, from_day, to_day FROM costs WHERE workspace = ",
    );
    query.text(&slice.workspace).push(" AND from_day < ").number(slice.to_day);
    query.push(" AND to_day > ").number(slice.from_day).push(" ORDER BY id");
    query.fetch(ledger).await?.iter().map(booking).collect()
}

fn booking(row: &AnyRow) -> Result<Booking, LedgerError> {
    let (id, scope, target): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let damaged = || LedgerError::Damaged(format!("cost {id}: {scope} {target}"));
    let scope = match scope.as_str() {
        "post" => Dimension::Post,
        "link" => Dimension::Link,
        "campaign" => Dimension::Campaign,
        "network" => Dimension::Network,
        _ => return Err(damaged()),
    };
    let target = match scope {
        Dimension::Link => link_key(&target).ok_or_else(damaged)?,
        _ => Key::Text(target.clone()),
    };
    Ok(Booking {
        scope,
        target,
        amount_minor: row.try_get(3)?,
        currency: row.try_get::<String, _>(4)?.parse().map_err(|_| damaged())?,
        from_day: row.try_get(5)?,
        to_day: row.try_get(6)?,
        id,
    })
}

/// The smallest thing that costs are spread to: one row of the report within one post.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Atom {
    /// A post, or a link that belongs to none.
    pub unit: Key,
    /// The report's row.
    pub key: Key,
    /// Whether the report's filters let it pass.
    pub passes: bool,
}

/// What stands under each of some targets of one scope, now.
pub async fn members(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
    scope: Dimension,
    targets: &BTreeSet<Key>,
) -> Result<BTreeMap<Key, Vec<Arc<Atom>>>, LedgerError> {
    let mut query = atoms(slice, by, scope, "r.link", "");
    query.push(
        " FROM link_revisions r LEFT JOIN posts p ON p.workspace = r.workspace AND p.id = r.post
          WHERE NOT EXISTS (SELECT 1 FROM link_revisions n WHERE n.link = r.link AND n.revision > r.revision)
          AND r.workspace = ",
    );
    query.text(&slice.workspace);
    and_targets(&mut query, scope, "r.link", targets);
    let mut under: BTreeMap<Key, Vec<Arc<Atom>>> = BTreeMap::new();
    for row in query.fetch(ledger).await? {
        under.entry(key(&row, 0, scope)?).or_default().push(Arc::new(atom(&row, by)?));
    }
    if scope != Dimension::Link {
        // A post without links stands for itself; what only links have, it lacks.
        let mut query = atoms(slice, by, scope, "r.link", "");
        query.push(
            " FROM posts p LEFT JOIN link_revisions r ON 1 = 0
              WHERE NOT EXISTS (SELECT 1 FROM link_revisions n WHERE n.workspace = p.workspace AND n.post = p.id)
              AND p.workspace = ",
        );
        query.text(&slice.workspace);
        and_targets(&mut query, scope, "r.link", targets);
        query.sql = query.sql.replace("r.post", "p.id");
        for row in query.fetch(ledger).await? {
            let mut atom = atom(&row, by)?;
            if !matches!(by, Dimension::Post | Dimension::Network | Dimension::Campaign | Dimension::Kind) {
                atom.key = Key::Unallocated;
            }
            under.entry(key(&row, 0, scope)?).or_default().push(Arc::new(atom));
        }
    }
    for atoms in under.values_mut() {
        atoms.sort();
        atoms.dedup();
    }
    Ok(under)
}

/// Human clicks by target, day and atom, atoms in order.
pub type DayClicks = BTreeMap<(Key, i64), Vec<(Arc<Atom>, i64)>>;

/// Links whose clicks are read in one statement.
const LINKS_PER_STATEMENT: usize = 1000;

/// The clicks under each of some targets of one scope on its days (half-open), as links stood when clicked.
pub async fn day_clicks(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
    scope: Dimension,
    spans: &BTreeMap<Key, (i64, i64)>,
) -> Result<DayClicks, LedgerError> {
    let mut query = atoms(slice, by, scope, "r.link", ", r.revision, r.link");
    query.push(
        " FROM link_revisions r LEFT JOIN posts p ON p.workspace = r.workspace AND p.id = r.post
          WHERE r.workspace = ",
    );
    query.text(&slice.workspace);
    and_targets(&mut query, scope, "r.link", &spans.keys().cloned().collect());
    let revisions = query.fetch(ledger).await?;
    let mut clicks: BTreeMap<Key, BTreeMap<i64, BTreeMap<Arc<Atom>, i64>>> = BTreeMap::new();
    for revisions in revisions.chunks(LINKS_PER_STATEMENT) {
        for (n, lines) in lines_of_days(ledger, scope, spans, revisions).await? {
            let row = revisions.get(n).ok_or_else(|| LedgerError::Damaged(format!("revision {n}")))?;
            let atom = Arc::new(atom(row, by)?);
            let days = clicks.entry(key(row, 0, scope)?).or_default();
            for line in lines.split('\n') {
                let damaged = || LedgerError::Damaged(format!("clicks of a day {line:?}"));
                let (day, human) = line.split_once(' ').ok_or_else(damaged)?;
                let (day, human): (i64, i64) =
                    (day.parse().map_err(|_| damaged())?, human.parse().map_err(|_| damaged())?);
                *days.entry(day).or_default().entry(Arc::clone(&atom)).or_default() += human;
            }
        }
    }
    let of_target = |(target, days): (Key, BTreeMap<i64, BTreeMap<Arc<Atom>, i64>>)| {
        days.into_iter().map(move |(day, atoms)| ((target.clone(), day), atoms.into_iter().collect()))
    };
    Ok(clicks.into_iter().flat_map(of_target).collect())
}

/// The days of each revision and their clicks, one on a line: a row for each costs SQL more than reading a hundred of
/// them here. With the revision's place.
async fn lines_of_days(
    ledger: &Ledger,
    scope: Dimension,
    spans: &BTreeMap<Key, (i64, i64)>,
    revisions: &[AnyRow],
) -> Result<Vec<(usize, String)>, LedgerError> {
    let mut rows = Vec::new();
    for (n, row) in revisions.iter().enumerate() {
        let (revision, link): (i64, i64) = (row.try_get(5)?, row.try_get(6)?);
        if let Some((from_day, to_day)) = spans.get(&key(row, 0, scope)?) {
            rows.push(format!("({n},{link},{revision},{from_day},{to_day})"));
        }
    }
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let query = Query::new(&format!(
        "WITH spans (n, link, revision, from_day, to_day) AS (VALUES {})
         SELECT CAST(s.n AS BIGINT), (SELECT string_agg(g.day || ' ' || g.human, '\n') FROM clicks_by_day g
           WHERE g.link = s.link AND g.revision = s.revision AND g.human > 0 AND g.day >= s.from_day AND g.day < s.to_day)
         FROM spans s",
        rows.join(",")
    ));
    let mut lines = Vec::new();
    for row in query.fetch(ledger).await? {
        if let Some(text) = row.try_get::<Option<String>, _>(1)? {
            lines.push((row.try_get::<i64, _>(0)? as usize, text));
        }
    }
    Ok(lines)
}

/// `SELECT` target, post, link without a post, row key, passes, and more.
fn atoms(slice: &Slice, by: Dimension, scope: Dimension, link: &str, more: &str) -> Query {
    let row_key = match by {
        Dimension::Link => link,
        _ => by.link_sql().unwrap_or("CAST(NULL AS BIGINT)"),
    };
    let mut query = Query::new(&format!(
        "SELECT {}, r.post, CASE WHEN r.post IS NULL THEN {link} END, {row_key}, CASE WHEN 1 = 1",
        scope.link_sql().unwrap_or(link)
    ));
    query.and_link_filters(slice, link).push(" THEN 1 ELSE 0 END").push(more);
    query
}

fn and_targets(query: &mut Query, scope: Dimension, link: &str, targets: &BTreeSet<Key>) {
    query.push(&format!(" AND {} IN (", scope.link_sql().unwrap_or(link)));
    for (i, target) in targets.iter().enumerate() {
        query.push(if i == 0 { "" } else { "," }).key(target);
    }
    query.push(")");
}

fn atom(row: &AnyRow, by: Dimension) -> Result<Atom, LedgerError> {
    let unit = match key(row, 1, Dimension::Post)? {
        Key::None => key(row, 2, Dimension::Link)?,
        post => post,
    };
    Ok(Atom { unit, key: key(row, 3, by)?, passes: row.try_get::<i64, _>(4)? == 1 })
}
