//! Sources: shop accounts that send webhooks, and the secrets they sign with.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Ledger, LedgerError, Tx};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRow {
    pub id: String,
    pub workspace: String,
    pub platform: String,
    pub name: String,
    /// of_record | evidence
    pub role: String,
    pub created_ms: i64,
}

#[derive(Clone, PartialEq, Eq)]
pub struct SecretRow {
    pub id: String,
    pub secret: String,
    pub created_ms: i64,
}

/// Where a source's orders are fetched from, and what opens that door.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ApiAccess {
    #[serde(rename = "api_url", default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(rename = "api_token", default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

const COLUMNS: &str = "id, workspace, platform, name, role, created_ms";

fn read(row: &AnyRow) -> Result<SourceRow, sqlx::Error> {
    Ok(SourceRow {
        id: row.try_get(0)?,
        workspace: row.try_get(1)?,
        platform: row.try_get(2)?,
        name: row.try_get(3)?,
        role: row.try_get(4)?,
        created_ms: row.try_get(5)?,
    })
}

/// Whether it is new; one with this id that is there already stays as it is.
pub async fn insert(tx: &mut Tx, source: &SourceRow) -> Result<bool, LedgerError> {
    let done = sqlx::query(
        "INSERT INTO sources (id, workspace, platform, name, role, settings, created_ms) \
         VALUES ($1, $2, $3, $4, $5, '{}', $6) ON CONFLICT DO NOTHING",
    )
    .bind(source.id.clone())
    .bind(source.workspace.clone())
    .bind(source.platform.clone())
    .bind(source.name.clone())
    .bind(source.role.clone())
    .bind(source.created_ms)
    .execute(&mut **tx)
    .await?;
    note_change(tx).await?;
    Ok(done.rows_affected() > 0)
}

/// A source that was not deleted.
pub async fn get(ledger: &Ledger, workspace: &str, id: &str) -> Result<Option<SourceRow>, LedgerError> {
    Ok(any(ledger, id).await?.filter(|source| source.workspace == workspace))
}

/// A source that was not deleted, whosever it is.
pub async fn any(ledger: &Ledger, id: &str) -> Result<Option<SourceRow>, LedgerError> {
    let text = format!("SELECT {COLUMNS} FROM sources WHERE id = $1 AND deleted_ms IS NULL");
    let row = sqlx::query(AssertSqlSafe(text)).bind(id.to_owned()).fetch_optional(&ledger.read).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

/// The workspace of a source, also of one that was deleted.
pub async fn workspace_of(ledger: &Ledger, id: &str) -> Result<Option<String>, LedgerError> {
    let row = sqlx::query("SELECT workspace FROM sources WHERE id = $1").bind(id.to_owned());
    Ok(row.fetch_optional(&ledger.read).await?.map(|row| row.try_get(0)).transpose()?)
}

/// By id, after `after`; not those that are built in.
pub async fn list(
    ledger: &Ledger,
    workspace: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<SourceRow>, LedgerError> {
    let text = format!(
        "SELECT {COLUMNS} FROM sources WHERE workspace = $1 AND id > $2 AND deleted_ms IS NULL \
         AND platform <> 'api' ORDER BY id LIMIT $3"
    );
    let rows = sqlx::query(AssertSqlSafe(text))
        .bind(workspace.to_owned())
        .bind(after.to_owned())
        .bind(limit)
        .fetch_all(&ledger.read)
        .await?;
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

/// Writes name and role. Another role makes the workspace's orders due anew: what counts as the record of a
/// sale and what as evidence of another's changes with it. The transaction is one of
/// [`Ledger::begin_alone`](super::Ledger::begin_alone).
pub async fn update(tx: &mut Tx, source: &SourceRow) -> Result<(), LedgerError> {
    sqlx::query(
        "UPDATE conversions SET due = ABS(due) + 1 WHERE workspace =
           (SELECT workspace FROM sources WHERE id = $1 AND role <> $2)",
    )
    .bind(source.id.clone())
    .bind(source.role.clone())
    .execute(&mut **tx)
    .await?;
    sqlx::query("UPDATE sources SET name = $1, role = $2 WHERE id = $3")
        .bind(source.name.clone())
        .bind(source.role.clone())
        .bind(source.id.clone())
        .execute(&mut **tx)
        .await?;
    note_change(tx).await
}

const API_ACCESS: &str = "SELECT settings FROM sources WHERE id = $1 AND deleted_ms IS NULL";

fn read_api_access(id: &str, row: Option<AnyRow>) -> Result<ApiAccess, LedgerError> {
    let Some(row) = row else { return Ok(ApiAccess::default()) };
    // What it says is not repeated: it holds a token.
    let damaged = |_| LedgerError::Damaged(format!("settings of source {id}"));
    serde_json::from_str(row.try_get(0)?).map_err(damaged)
}

/// Empty where nothing is set.
pub async fn api_access(ledger: &Ledger, id: &str) -> Result<ApiAccess, LedgerError> {
    let row = sqlx::query(API_ACCESS).bind(id.to_owned()).fetch_optional(&ledger.read).await?;
    read_api_access(id, row)
}

/// Whether the source's orders can be fetched.
pub async fn has_api_token(tx: &mut Tx, id: &str) -> Result<bool, LedgerError> {
    let row = sqlx::query(API_ACCESS).bind(id.to_owned()).fetch_optional(&mut **tx).await?;
    Ok(read_api_access(id, row)?.token.is_some())
}

pub async fn put_api_access(tx: &mut Tx, id: &str, access: &ApiAccess) -> Result<(), LedgerError> {
    let text = serde_json::to_string(access)
        .map_err(|_| LedgerError::Damaged(format!("settings of source {id}")))?;
    sqlx::query("UPDATE sources SET settings = $1 WHERE id = $2")
        .bind(text)
        .bind(id.to_owned())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Closes a source's door; what it sent stays. Whether it was there.
pub async fn delete(tx: &mut Tx, workspace: &str, id: &str, now_ms: i64) -> Result<bool, LedgerError> {
    let done = sqlx::query(
        "UPDATE sources SET deleted_ms = $1, settings = '{}' WHERE workspace = $2 AND id = $3 AND deleted_ms IS NULL",
    )
    .bind(now_ms)
    .bind(workspace.to_owned())
    .bind(id.to_owned())
    .execute(&mut **tx)
    .await?;
    sqlx::query("DELETE FROM source_secrets WHERE source = $1 AND EXISTS (SELECT 1 FROM sources WHERE id = $1 AND deleted_ms = $2)")
        .bind(id.to_owned())
        .bind(now_ms)
        .execute(&mut **tx)
        .await?;
    note_change(tx).await?;
    Ok(done.rows_affected() > 0)
}

pub async fn add_secret(tx: &mut Tx, source: &str, secret: &SecretRow) -> Result<(), LedgerError> {
    sqlx::query("INSERT INTO source_secrets (id, source, secret, created_ms) VALUES ($1, $2, $3, $4)")
        .bind(secret.id.clone())
        .bind(source.to_owned())
        .bind(secret.secret.clone())
        .bind(secret.created_ms)
        .execute(&mut **tx)
        .await?;
    note_change(tx).await
}

/// Whether it was there.
pub async fn remove_secret(tx: &mut Tx, source: &str, id: &str) -> Result<bool, LedgerError> {
    let done = sqlx::query("DELETE FROM source_secrets WHERE source = $1 AND id = $2")
        .bind(source.to_owned())
        .bind(id.to_owned())
        .execute(&mut **tx)
        .await?;
    note_change(tx).await?;
    Ok(done.rows_affected() > 0)
}

/// Oldest first.
pub async fn secrets(ledger: &Ledger, source: &str) -> Result<Vec<SecretRow>, LedgerError> {
    let rows = sqlx::query("SELECT id, secret, created_ms FROM source_secrets WHERE source = $1 ORDER BY id")
        .bind(source.to_owned())
        .fetch_all(&ledger.read)
        .await?;
    let read = |row: &AnyRow| {
        Ok::<_, sqlx::Error>(SecretRow {
            id: row.try_get(0)?,
            secret: row.try_get(1)?,
            created_ms: row.try_get(2)?,
        })
    };
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

/// All sources that were not deleted, with their secrets, for the hot copy.
pub async fn all(ledger: &Ledger) -> Result<Vec<(SourceRow, Vec<String>)>, LedgerError> {
    let rows = sqlx::query("SELECT source, secret FROM source_secrets ORDER BY id").fetch_all(&ledger.read);
    let mut secrets: HashMap<String, Vec<String>> = HashMap::new();
    for row in rows.await? {
        secrets.entry(row.try_get(0)?).or_default().push(row.try_get(1)?);
    }
    let text = format!("SELECT {COLUMNS} FROM sources WHERE deleted_ms IS NULL");
    let mut sources = Vec::new();
    for row in sqlx::query(AssertSqlSafe(text)).fetch_all(&ledger.read).await? {
        let source = read(&row)?;
        let secrets = secrets.remove(&source.id).unwrap_or_default();
        sources.push((source, secrets));
    }
    Ok(sources)
}

/// Grows with every change of a source or a secret, in any process.
pub async fn version(ledger: &Ledger) -> Result<i64, LedgerError> {
    let row = sqlx::query("SELECT CAST(value AS BIGINT) FROM meta WHERE name = 'sources'")
        .fetch_optional(&ledger.read)
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or(0))
}

async fn note_change(tx: &mut Tx) -> Result<(), LedgerError> {
    sqlx::query(
        "INSERT INTO meta (name, value) VALUES ('sources', '1') \
         ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(meta.value AS BIGINT) + 1 AS TEXT)",
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
