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
/// More revisions than these are read only for the links that have come up.
const MANY_REVISIONS: i64 = 20_000;

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

    /// Of all links of the workspace, or of none where none matters. None: they are too many to be read unless they are
    /// needed.
    pub async fn load_all(
        ledger: &Ledger,
        slice: &Slice,
        by: Dimension,
    ) -> Result<Option<Self>, LedgerError> {
        if !by.is_of_link() && !slice.filters_links() {
            return Ok(Some(Self::none()));
        }
        let mut count =
            Query::new("SELECT COUNT(*) FROM (SELECT link FROM link_revisions WHERE workspace = ");
        count.text(&slice.workspace).push(&format!(" LIMIT {}) AS revisions", MANY_REVISIONS + 1));
        if count.fetch(ledger).await?[0].try_get::<i64, _>(0)? > MANY_REVISIONS {
            return Ok(None);
        }
        Self::read(ledger, slice, by, vec![revisions(slice, by)]).await.map(Some)
    }

    /// Of some links.
    pub async fn load(
        ledger: &Ledger,
        slice: &Slice,
        by: Dimension,
        links: &BTreeSet<i64>,
    ) -> Result<Self, LedgerError> {
        let links: Vec<i64> = links.iter().copied().collect();
        let of_links = |links: &[i64]| {
            let mut query = revisions(slice, by);
            query.push(" AND r.link IN (");
            for (i, link) in links.iter().enumerate() {
                query.push(if i == 0 { "" } else { "," }).number(*link);
            }
            query.push(")");
            query
        };
        Self::read(ledger, slice, by, links.chunks(LINKS_PER_STATEMENT).map(of_links).collect()).await
    }

    async fn read(
        ledger: &Ledger,
        slice: &Slice,
        by: Dimension,
        queries: Vec<Query>,
    ) -> Result<Self, LedgerError> {
        let mut all = Self::none();
        all.unknown.passes = !slice.filters_links();
        let mut found = HashMap::default();
        for query in queries {
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

/// Of the workspace's revisions: link, revision, whether it passes, and key.
fn revisions(slice: &Slice, by: Dimension) -> Query {
    let key_sql = match by {
        Dimension::Link => "r.link",
        _ => by.link_sql().unwrap_or("NULL"),
    };
    let mut query = Query::new("SELECT r.link, r.revision, CASE WHEN 1 = 1");
    query.and_link_filters(slice, "r.link").push(&format!(
        " THEN 1 ELSE 0 END, {key_sql} FROM link_revisions r
          LEFT JOIN posts p ON p.workspace = r.workspace AND p.id = r.post WHERE r.workspace = "
    ));
    query.text(&slice.workspace);
    query
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Synchronous;
    use crate::ledger::reports::Clock;

    #[tokio::test]
    async fn some_links_are_known_as_all_are() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open_sqlite(&dir.path().join("ledger.db"), Synchronous::Normal).await.unwrap();
        let mut tx = ledger.begin().await.unwrap();
        for (link, workspace, post) in [(1, "w", "a"), (2, "w", "b"), (3, "w", "a"), (4, "other", "a")] {
            sqlx::query(
                "INSERT INTO link_revisions (link, revision, from_ms, workspace, post, tags) VALUES ($1, 1, 0, $2, $3, '[]')",
            )
            .bind(link)
            .bind(workspace)
            .bind(post)
            .execute(&mut *tx)
            .await
            .unwrap();
        }
        tx.commit().await.unwrap();
        let slice = Slice {
            workspace: "w".to_owned(),
            from_day: 0,
            to_day: 1,
            clock: Clock::Order,
            event: "purchase".to_owned(),
            filters: vec![(Dimension::Post, Key::Text("a".to_owned()))],
        };
        let all = LinkKeys::load_all(&ledger, &slice, Dimension::Post).await.unwrap().unwrap();
        let some = LinkKeys::load(&ledger, &slice, Dimension::Post, &[1, 2, 4].into()).await.unwrap();
        let told = |keys: &LinkKeys, link| {
            let LinkKey { keys: numbers, passes } = keys.of((link, 1));
            (numbers.iter().map(|number| keys.keys[*number].clone()).collect::<Vec<_>>(), *passes)
        };
        let text = |text: &str| vec![Key::Text(text.to_owned())];
        for keys in [&all, &some] {
            assert_eq!(told(keys, 1), (text("a"), true));
            assert_eq!(told(keys, 2), (text("b"), false));
            assert_eq!(told(keys, 4), (vec![Key::None], false), "of another workspace");
        }
        assert_eq!(told(&all, 3), (text("a"), true));
        assert_eq!(told(&some, 3), (vec![Key::None], false), "it was not asked for");
    }
}
