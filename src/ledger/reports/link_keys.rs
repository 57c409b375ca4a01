//! What links stand for in a report.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use indexmap::IndexSet;
use sqlx::Row;

use super::clicks::rows_of;
use super::{Dimension, Key, Query, Slice, key};
use crate::ledger::packs::Link;
use crate::ledger::{Ledger, LedgerError};

/// Bounded: PostgreSQL takes 65,535 parameters, SQLite 32,766.
const LINKS_PER_STATEMENT: usize = 1000;
/// A link costs so many times more if it is looked up by itself.
const MANY: i64 = 4;

/// The keys of each revision of each link, and whether it passes the slice's filters of links. Keys go by number:
/// comparing and copying them for each touch would take most of the time.
#[derive(Clone)]
pub(super) struct LinkKeys {
    /// By number.
    pub keys: IndexSet<Key>,
    links: Arc<HashMap<Link, LinkKey, RandomState>>,
    /// Of what is no link that is known.
    unknown: LinkKey,
}

#[derive(Clone)]
pub(super) struct LinkKey {
    /// By number; many only by tag.
    pub keys: Vec<usize>,
    pub passes: bool,
}

impl LinkKeys {
    /// Where no link matters.
    pub fn none() -> Self {
        let unknown = LinkKey { keys: vec![0], passes: true };
        Self { keys: IndexSet::from([Key::None]), links: Arc::default(), unknown }
    }

    pub async fn load(
        ledger: &Ledger,
        slice: &Slice,
        by: Dimension,
        links: &BTreeSet<i64>,
    ) -> Result<Self, LedgerError> {
        let mut all = Self::none();
        all.unknown.passes = !slice.filters_links();
        if !by.is_of_link() && !slice.filters_links() {
            return Ok(all);
        }
        let mut found = HashMap::default();
        for query in queries(ledger, slice, by, links).await? {
            for row in query.fetch(ledger).await? {
                let own = if by.is_of_link() { rows_of(by, key(&row, 3, by)?)? } else { Vec::new() };
                let keys = own.into_iter().map(|key| all.keys.insert_full(key).0).collect();
                let passes = row.try_get::<i64, _>(2)? == 1;
                found.insert((row.try_get(0)?, row.try_get(1)?), LinkKey { keys, passes });
            }
        }
        all.links = Arc::new(found);
        Ok(all)
    }

    pub fn of(&self, link: Link) -> &LinkKey {
        self.links.get(&link).unwrap_or(&self.unknown)
    }
}

/// Of revisions: link, revision, whether it passes, and key; of all the workspace has, unless the links that are
/// wanted are few of them.
async fn queries(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
    links: &BTreeSet<i64>,
) -> Result<Vec<Query>, LedgerError> {
    let key_sql = match by {
        Dimension::Link => "r.link",
        _ => by.link_sql().unwrap_or("NULL"),
    };
    let of_revisions = || {
        let mut query = Query::new("SELECT r.link, r.revision, CASE WHEN 1 = 1");
        query.and_link_filters(slice, "r.link").push(&format!(
            " THEN 1 ELSE 0 END, {key_sql} FROM link_revisions r
              LEFT JOIN posts p ON p.workspace = r.workspace AND p.id = r.post WHERE r.workspace = "
        ));
        query.text(&slice.workspace);
        query
    };
    let mut count = Query::new("SELECT COUNT(*) FROM (SELECT link FROM link_revisions WHERE workspace = ");
    count.text(&slice.workspace).push(" LIMIT ").number(MANY * links.len() as i64 + 1).push(") AS revisions");
    if count.fetch(ledger).await?[0].try_get::<i64, _>(0)? <= MANY * links.len() as i64 {
        return Ok(vec![of_revisions()]);
    }
    let links: Vec<i64> = links.iter().copied().collect();
    let of_links = |links: &[i64]| {
        let mut query = of_revisions();
        query.push(" AND r.link IN (");
        for (i, link) in links.iter().enumerate() {
            query.push(if i == 0 { "" } else { "," }).number(*link);
        }
        query.push(")");
        query
    };
    Ok(links.chunks(LINKS_PER_STATEMENT).map(of_links).collect())
}
