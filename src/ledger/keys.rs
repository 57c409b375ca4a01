//! API keys: hashed, with scopes, of one workspace or of the platform.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Ledger, LedgerError, Tx};

#[derive(Debug, Clone)]
pub struct KeyRow {
    pub id: String,
    /// None: a platform key.
    pub workspace: Option<String>,
    pub name: String,
    /// SHA-256 of the key, hex.
    pub hash: String,
    /// Space-separated.
    pub scopes: String,
    pub created_ms: i64,
}

const COLUMNS: &str = "id, workspace, name, hash, scopes, created_ms";

fn read(row: &AnyRow) -> Result<KeyRow, sqlx::Error> {
    Ok(KeyRow {
        id: row.try_get(0)?,
        workspace: row.try_get(1)?,
        name: row.try_get(2)?,
        hash: row.try_get(3)?,
        scopes: row.try_get(4)?,
        created_ms: row.try_get(5)?,
    })
}

pub async fn insert(tx: &mut Tx, key: &KeyRow) -> Result<(), LedgerError> {
    sqlx::query(
        "INSERT INTO api_keys (id, workspace, name, hash, scopes, created_ms) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&key.id)
    .bind(key.workspace.clone())
    .bind(&key.name)
    .bind(&key.hash)
    .bind(&key.scopes)
    .bind(key.created_ms)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The key with this hash, unless it was revoked.
pub async fn by_hash(ledger: &Ledger, hash: &str) -> Result<Option<KeyRow>, LedgerError> {
    let sql = format!("SELECT {COLUMNS} FROM api_keys WHERE hash = $1 AND revoked_ms IS NULL");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(hash).fetch_optional(&ledger.read).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

/// The key with this id, unless it was revoked.
pub async fn by_id(ledger: &Ledger, id: &str) -> Result<Option<KeyRow>, LedgerError> {
    let sql = format!("SELECT {COLUMNS} FROM api_keys WHERE id = $1 AND revoked_ms IS NULL");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(&ledger.read).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

/// All keys in use, by id.
pub async fn all(ledger: &Ledger, limit: i64) -> Result<Vec<KeyRow>, LedgerError> {
    let sql = format!("SELECT {COLUMNS} FROM api_keys WHERE revoked_ms IS NULL ORDER BY id LIMIT $1");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(limit).fetch_all(&ledger.read).await?;
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

/// Keys in use of a workspace (None: of the platform), by id, after `after`.
pub async fn list(
    ledger: &Ledger,
    workspace: Option<&str>,
    after: &str,
    limit: i64,
) -> Result<Vec<KeyRow>, LedgerError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM api_keys WHERE COALESCE(workspace, '') = $1 AND id > $2 AND revoked_ms IS NULL \
         ORDER BY id LIMIT $3"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(workspace.unwrap_or_default())
        .bind(after)
        .bind(limit)
        .fetch_all(&ledger.read)
        .await?;
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

/// Whether there was such a key in use (workspace None: of the platform).
pub async fn revoke(
    tx: &mut Tx,
    workspace: Option<&str>,
    id: &str,
    now_ms: i64,
) -> Result<bool, LedgerError> {
    let done = sqlx::query(
        "UPDATE api_keys SET revoked_ms = $1 \
         WHERE id = $2 AND COALESCE(workspace, '') = $3 AND revoked_ms IS NULL",
    )
    .bind(now_ms)
    .bind(id)
    .bind(workspace.unwrap_or_default())
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() > 0)
}
