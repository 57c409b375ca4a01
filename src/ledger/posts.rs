//! Posts and their metrics by day.

use std::collections::HashMap;

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Ledger, LedgerError, Tx, sql};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct PostRow {
    pub workspace: String,
    pub id: String,
    pub network: Option<String>,
    pub title: Option<String>,
    /// Where the post itself stands.
    pub url: Option<String>,
    pub published_ms: Option<i64>,
    pub campaign: Option<String>,
    pub tags: Vec<String>,
    pub kind: Option<String>,
    pub destination: Option<String>,
    pub created_ms: i64,
    pub updated_ms: i64,
}

const COLUMNS: &str = "workspace, id, network, title, url, published_ms, campaign, tags, kind, destination, created_ms, \
     updated_ms";

fn read(row: &AnyRow) -> Result<PostRow, LedgerError> {
    let id: String = row.try_get(1)?;
    Ok(PostRow {
        workspace: row.try_get(0)?,
        network: row.try_get(2)?,
        title: row.try_get(3)?,
        url: row.try_get(4)?,
        published_ms: row.try_get(5)?,
        campaign: row.try_get(6)?,
        tags: serde_json::from_str(row.try_get(7)?)
            .map_err(|error| LedgerError::Damaged(format!("tags of post {id}: {error}")))?,
        kind: row.try_get(8)?,
        destination: row.try_get(9)?,
        created_ms: row.try_get(10)?,
        updated_ms: row.try_get(11)?,
        id,
    })
}

/// Makes bare rows for posts that links name before anybody told more about them.
pub async fn ensure(tx: &mut Tx, workspace: &str, ids: &[&str], now_ms: i64) -> Result<(), LedgerError> {
    for ids in ids.chunks(500) {
        let text = format!(
            "INSERT INTO posts (workspace, id, tags, created_ms, updated_ms) VALUES {} ON CONFLICT DO NOTHING",
            sql::values(tx, ids.len(), 5)
        );
        let query = ids.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, id| {
            query.bind(workspace.to_owned()).bind((*id).to_owned()).bind("[]").bind(now_ms).bind(now_ms)
        });
        query.execute(&mut **tx).await?;
    }
    Ok(())
}

/// The post, which is there, locked until the transaction ends.
pub async fn lock(ledger: &Ledger, tx: &mut Tx, workspace: &str, id: &str) -> Result<PostRow, LedgerError> {
    let text = format!("SELECT {COLUMNS} FROM posts WHERE workspace = $1 AND id = $2{}", ledger.for_update());
    let row = sqlx::query(AssertSqlSafe(text))
        .bind(workspace.to_owned())
        .bind(id.to_owned())
        .fetch_one(&mut **tx)
        .await?;
    read(&row)
}

/// Those of `ids` that there are.
pub async fn get_many(
    tx: &mut Tx,
    workspace: &str,
    ids: &[&str],
) -> Result<HashMap<String, PostRow>, LedgerError> {
    let mut posts = HashMap::new();
    for ids in ids.chunks(500) {
        let text = format!(
            "SELECT {COLUMNS} FROM posts WHERE workspace = $1 AND id IN ({})",
            sql::list_from(2, ids.len())
        );
        let query = sqlx::query(AssertSqlSafe(text)).bind(workspace.to_owned());
        let query = ids.iter().fold(query, |query, id| query.bind((*id).to_owned()));
        for row in query.fetch_all(&mut **tx).await? {
            let post = read(&row)?;
            posts.insert(post.id.clone(), post);
        }
    }
    Ok(posts)
}

/// Writes the whole row, new or anew; the time of its making stays.
pub async fn upsert(tx: &mut Tx, post: &PostRow) -> Result<(), LedgerError> {
    let text = format!(
        "INSERT INTO posts ({COLUMNS}) VALUES {} ON CONFLICT (workspace, id) DO UPDATE SET \
         network = excluded.network, title = excluded.title, url = excluded.url, \
         published_ms = excluded.published_ms, campaign = excluded.campaign, tags = excluded.tags, \
         kind = excluded.kind, destination = excluded.destination, updated_ms = excluded.updated_ms",
        sql::values(tx, 1, 12)
    );
    sqlx::query(AssertSqlSafe(text))
        .bind(post.workspace.clone())
        .bind(post.id.clone())
        .bind(post.network.clone())
        .bind(post.title.clone())
        .bind(post.url.clone())
        .bind(post.published_ms)
        .bind(post.campaign.clone())
        .bind(serde_json::to_string(&post.tags).expect("texts are always valid JSON"))
        .bind(post.kind.clone())
        .bind(post.destination.clone())
        .bind(post.created_ms)
        .bind(post.updated_ms)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub async fn get(ledger: &Ledger, workspace: &str, id: &str) -> Result<Option<PostRow>, LedgerError> {
    let text = format!("SELECT {COLUMNS} FROM posts WHERE workspace = $1 AND id = $2");
    let row = sqlx::query(AssertSqlSafe(text))
        .bind(workspace.to_owned())
        .bind(id.to_owned())
        .fetch_optional(&ledger.read)
        .await?;
    row.as_ref().map(read).transpose()
}

#[derive(Debug, Clone, Default)]
pub struct PostFilter {
    pub workspace: String,
    pub network: Option<String>,
    pub campaign: Option<String>,
    pub kind: Option<String>,
    pub tag: Option<String>,
    /// Id of the last post seen.
    pub after: String,
    pub limit: i64,
}

/// By id.
pub async fn list(ledger: &Ledger, filter: &PostFilter) -> Result<Vec<PostRow>, LedgerError> {
    let mut conditions = vec!["workspace = $1".to_owned(), "id > $2".to_owned()];
    let mut texts = vec![filter.workspace.clone(), filter.after.clone()];
    for (column, value) in
        [("network", &filter.network), ("campaign", &filter.campaign), ("kind", &filter.kind)]
    {
        if let Some(value) = value {
            texts.push(value.clone());
            conditions.push(format!("{column} = ${}", texts.len()));
        }
    }
    if let Some(tag) = &filter.tag {
        texts.push(serde_json::to_string(tag).expect("a text is always valid JSON"));
        conditions.push(format!("REPLACE(tags, ${}, '') <> tags", texts.len()));
    }
    let text = format!(
        "SELECT {COLUMNS} FROM posts WHERE {} ORDER BY id LIMIT ${}",
        conditions.join(" AND "),
        texts.len() + 1
    );
    let query = texts.into_iter().fold(sqlx::query(AssertSqlSafe(text)), |query, text| query.bind(text));
    query.bind(filter.limit).fetch_all(&ledger.read).await?.iter().map(read).collect()
}

/// What a network says about a post on one day; None where it does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricRow {
    /// Days since 1970.
    pub day: i64,
    pub reach: Option<i64>,
    pub likes: Option<i64>,
    pub shares: Option<i64>,
    pub comments: Option<i64>,
}

/// Writes the metrics of the given days; what a row leaves out stays as it was.
pub async fn put_metrics(
    tx: &mut Tx,
    workspace: &str,
    post: &str,
    metrics: &[MetricRow],
) -> Result<(), LedgerError> {
    for metric in metrics {
        sqlx::query(
            "INSERT INTO post_metrics (workspace, post, day, reach, likes, shares, comments) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (workspace, post, day) DO UPDATE SET \
             reach = COALESCE(excluded.reach, post_metrics.reach), \
             likes = COALESCE(excluded.likes, post_metrics.likes), \
             shares = COALESCE(excluded.shares, post_metrics.shares), \
             comments = COALESCE(excluded.comments, post_metrics.comments)",
        )
        .bind(workspace.to_owned())
        .bind(post.to_owned())
        .bind(metric.day)
        .bind(metric.reach)
        .bind(metric.likes)
        .bind(metric.shares)
        .bind(metric.comments)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// By day, the last `limit` days that there are.
pub async fn metrics(
    ledger: &Ledger,
    workspace: &str,
    post: &str,
    limit: i64,
) -> Result<Vec<MetricRow>, LedgerError> {
    let rows = sqlx::query(
        "SELECT day, reach, likes, shares, comments FROM post_metrics WHERE workspace = $1 AND post = $2 \
         ORDER BY day DESC LIMIT $3",
    )
    .bind(workspace.to_owned())
    .bind(post.to_owned())
    .bind(limit)
    .fetch_all(&ledger.read)
    .await?;
    let read = |row: &AnyRow| {
        Ok(MetricRow {
            day: row.try_get(0)?,
            reach: row.try_get(1)?,
            likes: row.try_get(2)?,
            shares: row.try_get(3)?,
            comments: row.try_get(4)?,
        })
    };
    rows.iter().rev().map(read).collect()
}
