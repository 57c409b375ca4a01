//! Links, their revisions, and the order in which they changed.

mod figures;
mod filter;
mod which;

use std::collections::{HashMap, HashSet};

use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Executor, Row};

use super::{Ledger, LedgerError, Store, Tx, sql};
use crate::domain::utm::Utm;
pub use figures::{
    ClickKey, ClicksOf, DayClicks, LinkFigures, clicks_by, clicks_by_day, day_clicks, figures, tag_clicks,
    workspace_clicks,
};
pub use filter::{LinkFilter, LinkOrder, by_slug_anywhere, count, list, tags};
pub use which::{Which, which};

#[derive(Debug, Clone, PartialEq)]
pub struct LinkRow {
    pub id: i64,
    pub workspace: String,
    /// As `links::domain_key` makes it.
    pub domain: String,
    pub slug: String,
    /// As given.
    pub url: String,
    /// The link's own tags, after defaults.
    pub utm: Utm,
    pub post: Option<String>,
    pub network: Option<String>,
    pub campaign: Option<String>,
    pub tags: Vec<String>,
    pub title: Option<String>,
    pub external_id: Option<String>,
    pub expires_ms: Option<i64>,
    pub expired_url: Option<String>,
    pub max_clicks: Option<i64>,
    /// When `max_clicks` was reached.
    pub full_ms: Option<i64>,
    pub forward_query: bool,
    /// None: the usual name; empty: no token.
    pub click_param: Option<String>,
    /// What a dialect keeps with a link.
    pub extra: serde_json::Map<String, serde_json::Value>,
    pub archived_ms: Option<i64>,
    pub created_ms: i64,
    pub updated_ms: i64,
    /// `link_changes.seq` of the last change.
    pub version: i64,
}

impl LinkRow {
    /// What the link's hot copy is kept under.
    pub fn hot_key(&self) -> String {
        format!("{}/{}", self.domain, self.slug)
    }
}

const COLUMNS: &str = "id, workspace, domain, slug, url, utm, post, network, campaign, tags, title, external_id, \
     expires_ms, expired_url, max_clicks, full_ms, forward_query, click_param, extra, archived_ms, created_ms, \
     updated_ms, version";
const COLUMN_COUNT: usize = 23;

fn read(row: &AnyRow) -> Result<LinkRow, LedgerError> {
    let id: i64 = row.try_get(0)?;
    let damaged = |error: serde_json::Error| LedgerError::Damaged(format!("link {id}: {error}"));
    Ok(LinkRow {
        id,
        workspace: row.try_get(1)?,
        domain: row.try_get(2)?,
        slug: row.try_get(3)?,
        url: row.try_get(4)?,
        utm: serde_json::from_str(row.try_get(5)?).map_err(damaged)?,
        post: row.try_get(6)?,
        network: row.try_get(7)?,
        campaign: row.try_get(8)?,
        tags: serde_json::from_str(row.try_get(9)?).map_err(damaged)?,
        title: row.try_get(10)?,
        external_id: row.try_get(11)?,
        expires_ms: row.try_get(12)?,
        expired_url: row.try_get(13)?,
        max_clicks: row.try_get(14)?,
        full_ms: row.try_get(15)?,
        forward_query: row.try_get::<i64, _>(16)? != 0,
        click_param: row.try_get(17)?,
        extra: serde_json::from_str(row.try_get(18)?).map_err(damaged)?,
        archived_ms: row.try_get(19)?,
        created_ms: row.try_get(20)?,
        updated_ms: row.try_get(21)?,
        version: row.try_get(22)?,
    })
}

type Query<'q> = sqlx::query::Query<'q, Any, <Any as sqlx::Database>::Arguments>;

fn bind<'q>(query: Query<'q>, link: &LinkRow) -> Query<'q> {
    query
        .bind(link.id)
        .bind(link.workspace.clone())
        .bind(link.domain.clone())
        .bind(link.slug.clone())
        .bind(link.url.clone())
        .bind(json(&link.utm))
        .bind(link.post.clone())
        .bind(link.network.clone())
        .bind(link.campaign.clone())
        .bind(json(&link.tags))
        .bind(link.title.clone())
        .bind(link.external_id.clone())
        .bind(link.expires_ms)
        .bind(link.expired_url.clone())
        .bind(link.max_clicks)
        .bind(link.full_ms)
        .bind(i64::from(link.forward_query))
        .bind(link.click_param.clone())
        .bind(json(&link.extra))
        .bind(link.archived_ms)
        .bind(link.created_ms)
        .bind(link.updated_ms)
        .bind(link.version)
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("texts and lists of texts are always valid JSON")
}

/// The ids of those that are new; the slug or the external id of the others is taken.
pub async fn insert(tx: &mut Tx, links: &[&LinkRow]) -> Result<HashSet<i64>, LedgerError> {
    let mut inserted = HashSet::new();
    for links in links.chunks(500) {
        let text = format!(
            "INSERT INTO links ({COLUMNS}) VALUES {} ON CONFLICT DO NOTHING RETURNING id",
            sql::values(tx, links.len(), COLUMN_COUNT)
        );
        let query = links.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, link| bind(query, link));
        for row in query.fetch_all(&mut **tx).await? {
            inserted.insert(row.try_get(0)?);
        }
    }
    Ok(inserted)
}

/// Writes the whole row anew. Errs with a unique violation if slug or external id are taken.
pub async fn update(tx: &mut Tx, link: &LinkRow) -> Result<(), LedgerError> {
    let text = format!("UPDATE links SET ({COLUMNS}) = ({}) WHERE id = $1", sql::list_from(1, COLUMN_COUNT));
    bind(sqlx::query(AssertSqlSafe(text)), link).execute(&mut **tx).await?;
    Ok(())
}

pub async fn get(ledger: &Ledger, workspace: &str, id: i64) -> Result<Option<LinkRow>, LedgerError> {
    one(&ledger.read, "workspace = $1 AND id = $2", "", workspace, id).await
}

/// The link, locked until the transaction ends.
pub async fn lock(
    ledger: &Ledger,
    tx: &mut Tx,
    workspace: &str,
    id: i64,
) -> Result<Option<LinkRow>, LedgerError> {
    one(&mut **tx, "workspace = $1 AND id = $2", ledger.for_update(), workspace, id).await
}

/// The link with this external id, locked until the transaction ends.
pub async fn lock_external(
    ledger: &Ledger,
    tx: &mut Tx,
    workspace: &str,
    external_id: &str,
) -> Result<Option<LinkRow>, LedgerError> {
    let external_id = external_id.to_owned();
    one(&mut **tx, "workspace = $1 AND external_id = $2", ledger.for_update(), workspace, external_id).await
}

/// Whoever's it is.
pub async fn by_slug(tx: &mut Tx, domain: &str, slug: &str) -> Result<Option<LinkRow>, LedgerError> {
    one(&mut **tx, "domain = $1 AND slug = $2", "", domain, slug.to_owned()).await
}

/// The same outside a transaction.
pub async fn read_by_slug(ledger: &Ledger, domain: &str, slug: &str) -> Result<Option<LinkRow>, LedgerError> {
    one(&ledger.read, "domain = $1 AND slug = $2", "", domain, slug.to_owned()).await
}

/// Whoever's it is.
pub async fn read_by_id(ledger: &Ledger, id: i64) -> Result<Option<LinkRow>, LedgerError> {
    let text = format!("SELECT {COLUMNS} FROM links WHERE id = $1");
    let row = sqlx::query(AssertSqlSafe(text)).bind(id).fetch_optional(&ledger.read).await?;
    row.as_ref().map(read).transpose()
}

async fn one<'e, 'q, T>(
    executor: impl Executor<'e, Database = Any>,
    condition: &str,
    lock: &str,
    first: &str,
    second: T,
) -> Result<Option<LinkRow>, LedgerError>
where
    T: sqlx::Encode<'q, Any> + sqlx::Type<Any> + Send + 'q,
{
    let text = format!("SELECT {COLUMNS} FROM links WHERE {condition}{lock}");
    let query = sqlx::query(AssertSqlSafe(text)).bind(first.to_owned()).bind(second);
    query.fetch_optional(executor).await?.as_ref().map(read).transpose()
}

/// The links of a post, oldest first, archived ones too.
pub async fn of_post(tx: &mut Tx, workspace: &str, post: &str) -> Result<Vec<LinkRow>, LedgerError> {
    let text = format!("SELECT {COLUMNS} FROM links WHERE workspace = $1 AND post = $2 ORDER BY id");
    let rows = sqlx::query(AssertSqlSafe(text))
        .bind(workspace.to_owned())
        .bind(post.to_owned())
        .fetch_all(&mut **tx)
        .await?;
    rows.iter().map(read).collect()
}

/// Human clicks of each link, those that have any.
pub async fn human_clicks(ledger: &Ledger, ids: &[i64]) -> Result<HashMap<i64, i64>, LedgerError> {
    let mut clicks = HashMap::new();
    for ids in ids.chunks(1000) {
        let text = format!(
            "SELECT link, CAST(SUM(human) AS BIGINT) FROM clicks_by_day WHERE link IN ({}) GROUP BY link",
            sql::list_from(1, ids.len())
        );
        let query = ids.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, id| query.bind(*id));
        for row in query.fetch_all(&ledger.read).await? {
            clicks.insert(row.try_get(0)?, row.try_get(1)?);
        }
    }
    Ok(clicks)
}

/// Marks those of `ids` that have had their `max_clicks` of humans by now. The marked ones are changes,
/// so their hot copies follow. For the worker, in the transaction that counts the clicks.
pub async fn close_full(ledger: &Ledger, tx: &mut Tx, ids: &[i64], now_ms: i64) -> Result<(), LedgerError> {
    for ids in ids.chunks(1000) {
        let text = format!(
            "SELECT id FROM links WHERE id IN ({}) AND max_clicks IS NOT NULL AND full_ms IS NULL AND max_clicks <= \
             (SELECT CAST(COALESCE(SUM(human), 0) AS BIGINT) FROM clicks_by_day WHERE link = links.id)",
            sql::list_from(1, ids.len())
        );
        let query = ids.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, id| query.bind(*id));
        for row in query.fetch_all(&mut **tx).await? {
            let id: i64 = row.try_get(0)?;
            let text = format!("SELECT {COLUMNS} FROM links WHERE id = $1");
            let row = sqlx::query(AssertSqlSafe(text)).bind(id).fetch_one(&mut **tx).await?;
            let mut link = read(&row)?;
            link.full_ms = Some(now_ms);
            link.updated_ms = now_ms;
            link.version = record_changes(ledger, tx, &[(link.hot_key(), id)], now_ms).await?[0];
            update(tx, &link).await?;
        }
    }
    Ok(())
}

/// What a link stood for from `from_ms` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionRow {
    pub link: i64,
    /// 1, 2, ...
    pub revision: i64,
    pub from_ms: i64,
    pub workspace: String,
    pub post: Option<String>,
    pub network: Option<String>,
    pub campaign: Option<String>,
    /// Lower-cased: source, medium, campaign, term, content.
    pub utm: [Option<String>; 5],
    pub tags: Vec<String>,
}

const REVISION_COLUMNS: &str = "link, revision, from_ms, workspace, post, network, campaign, utm_source, utm_medium, \
     utm_campaign, utm_term, utm_content, tags";

pub async fn insert_revisions(tx: &mut Tx, revisions: &[RevisionRow]) -> Result<(), LedgerError> {
    for revisions in revisions.chunks(500) {
        let text = format!(
            "INSERT INTO link_revisions ({REVISION_COLUMNS}) VALUES {}",
            sql::values(tx, revisions.len(), 13)
        );
        let mut query = sqlx::query(AssertSqlSafe(text));
        for row in revisions {
            query = query
                .bind(row.link)
                .bind(row.revision)
                .bind(row.from_ms)
                .bind(row.workspace.clone())
                .bind(row.post.clone())
                .bind(row.network.clone())
                .bind(row.campaign.clone());
            for tag in &row.utm {
                query = query.bind(tag.clone());
            }
            query = query.bind(json(&row.tags));
        }
        query.execute(&mut **tx).await?;
    }
    Ok(())
}

/// What the link stands for now.
pub async fn last_revision(tx: &mut Tx, link: i64) -> Result<Option<RevisionRow>, LedgerError> {
    let text = format!(
        "SELECT {REVISION_COLUMNS} FROM link_revisions WHERE link = $1 ORDER BY revision DESC LIMIT 1"
    );
    let Some(row) = sqlx::query(AssertSqlSafe(text)).bind(link).fetch_optional(&mut **tx).await? else {
        return Ok(None);
    };
    Ok(Some(RevisionRow {
        link,
        revision: row.try_get(1)?,
        from_ms: row.try_get(2)?,
        workspace: row.try_get(3)?,
        post: row.try_get(4)?,
        network: row.try_get(5)?,
        campaign: row.try_get(6)?,
        utm: [row.try_get(7)?, row.try_get(8)?, row.try_get(9)?, row.try_get(10)?, row.try_get(11)?],
        tags: serde_json::from_str(row.try_get(12)?)
            .map_err(|error| LedgerError::Damaged(format!("revision of link {link}: {error}")))?,
    }))
}

/// Notes that links changed (hot key, link), in an order that is also the order of commits; gives the
/// numbers of the changes, as many as there are changes.
pub async fn record_changes(
    ledger: &Ledger,
    tx: &mut Tx,
    changes: &[(String, i64)],
    now_ms: i64,
) -> Result<Vec<i64>, LedgerError> {
    if ledger.store == Store::Postgres {
        // Else a change could be committed after one with a higher number, and readers would miss it.
        sqlx::query("LOCK TABLE link_changes IN SHARE ROW EXCLUSIVE MODE").execute(&mut **tx).await?;
    }
    let mut seqs = HashMap::new();
    for changes in changes.chunks(1000) {
        let text = format!(
            "INSERT INTO link_changes (hot_key, link, at_ms) VALUES {} RETURNING seq, hot_key",
            sql::values(tx, changes.len(), 3)
        );
        let query = changes.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, (key, link)| {
            query.bind(key.clone()).bind(*link).bind(now_ms)
        });
        for row in query.fetch_all(&mut **tx).await? {
            seqs.insert(row.try_get::<String, _>(1)?, row.try_get::<i64, _>(0)?);
        }
    }
    changes
        .iter()
        .map(|(key, _)| {
            seqs.get(key).copied().ok_or_else(|| LedgerError::Damaged(format!("change of {key}")))
        })
        .collect()
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRow {
    pub seq: i64,
    pub hot_key: String,
}

/// Changes after `seq`, in order.
pub async fn changes_after(ledger: &Ledger, seq: i64, limit: i64) -> Result<Vec<ChangeRow>, LedgerError> {
    let rows = sqlx::query("SELECT seq, hot_key FROM link_changes WHERE seq > $1 ORDER BY seq LIMIT $2")
        .bind(seq)
        .bind(limit)
        .fetch_all(&ledger.read)
        .await?;
    rows.iter().map(|row| Ok(ChangeRow { seq: row.try_get(0)?, hot_key: row.try_get(1)? })).collect()
}

/// The number of the last change; 0 if there was none.
pub async fn last_change(ledger: &Ledger) -> Result<i64, LedgerError> {
    let row = sqlx::query("SELECT COALESCE(MAX(seq), 0) FROM link_changes").fetch_one(&ledger.read).await?;
    Ok(row.try_get(0)?)
}

/// Forgets changes before `before_ms` up to number `seq`, but never the last one.
pub async fn trim_changes(ledger: &Ledger, seq: i64, before_ms: i64) -> Result<(), LedgerError> {
    let mut tx = ledger.begin().await?;
    sqlx::query("DELETE FROM link_changes WHERE at_ms < $1 AND seq <= $2 AND seq < (SELECT MAX(seq) FROM link_changes)")
        .bind(before_ms)
        .bind(seq)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// The links behind hot keys (`domain/slug`); keys without a link are left out.
pub async fn by_hot_keys(ledger: &Ledger, keys: &[&str]) -> Result<Vec<LinkRow>, LedgerError> {
    let mut links = Vec::new();
    for keys in keys.chunks(500) {
        let pairs: Vec<(&str, &str)> = keys.iter().filter_map(|key| key.split_once('/')).collect();
        if pairs.is_empty() {
            continue;
        }
        let text = format!(
            "SELECT {COLUMNS} FROM links WHERE (domain, slug) IN (VALUES {})",
            sql::numbered(pairs.len(), 2)
        );
        let query = pairs.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, (domain, slug)| {
            query.bind((*domain).to_owned()).bind((*slug).to_owned())
        });
        for row in query.fetch_all(&ledger.read).await? {
            links.push(read(&row)?);
        }
    }
    Ok(links)
}

const FED: &str = "link-copies";

/// The number of the last change that has reached the hot copies.
pub async fn fed(ledger: &Ledger) -> Result<i64, LedgerError> {
    let row = sqlx::query("SELECT position FROM positions WHERE stream = $1 AND partition = 0")
        .bind(FED)
        .fetch_optional(&ledger.read)
        .await?;
    let Some(row) = row else { return Ok(0) };
    let text: String = row.try_get(0)?;
    text.parse().map_err(|_| LedgerError::Damaged(format!("position {text:?} of {FED}")))
}

/// Moves [`fed`] on from `from`; another process may have moved it first, which is as good.
pub async fn set_fed(ledger: &Ledger, from: i64, to: i64) -> Result<(), LedgerError> {
    let mut tx = ledger.begin().await?;
    sqlx::query(
        "INSERT INTO positions (stream, partition, position) VALUES ($1, 0, $2) \
         ON CONFLICT (stream, partition) DO UPDATE SET position = excluded.position \
         WHERE positions.position = $3",
    )
    .bind(FED)
    .bind(to.to_string())
    .bind(from.to_string())
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}
