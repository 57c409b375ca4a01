//! Workspaces and their domains.

use jiff::tz::TimeZone;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Ledger, LedgerError, Tx, sql};

#[derive(Debug, Clone)]
pub struct WorkspaceRow {
    pub id: String,
    pub name: String,
    /// IANA name.
    pub timezone: String,
    /// ISO 4217.
    pub currency: String,
    /// JSON of attribution settings that differ from the configuration.
    pub settings: String,
    pub created_ms: i64,
}

fn read(row: &AnyRow) -> Result<WorkspaceRow, sqlx::Error> {
    Ok(WorkspaceRow {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        timezone: row.try_get(2)?,
        currency: row.try_get(3)?,
        settings: row.try_get(4)?,
        created_ms: row.try_get(5)?,
    })
}

/// Whether it is new; one with this id that is there already stays as it is.
pub async fn insert(tx: &mut Tx, workspace: &WorkspaceRow) -> Result<bool, LedgerError> {
    let done = sqlx::query(
        "INSERT INTO workspaces (id, name, timezone, currency, settings, created_ms) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    )
    .bind(&workspace.id)
    .bind(&workspace.name)
    .bind(&workspace.timezone)
    .bind(&workspace.currency)
    .bind(&workspace.settings)
    .bind(workspace.created_ms)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

pub async fn get(ledger: &Ledger, id: &str) -> Result<Option<WorkspaceRow>, LedgerError> {
    let row = sqlx::query(
        "SELECT id, name, timezone, currency, settings, created_ms FROM workspaces WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(&ledger.read)
    .await?;
    Ok(row.as_ref().map(read).transpose()?)
}

/// The zone in which the workspace's days are.
pub async fn zone(ledger: &Ledger, id: &str) -> Result<TimeZone, LedgerError> {
    let damaged = |problem: String| LedgerError::Damaged(format!("workspace {id}: {problem}"));
    let workspace = get(ledger, id).await?.ok_or_else(|| damaged("not found".to_owned()))?;
    TimeZone::get(&workspace.timezone).map_err(|error| damaged(error.to_string()))
}

/// By id, after `after`.
pub async fn list(ledger: &Ledger, after: &str, limit: i64) -> Result<Vec<WorkspaceRow>, LedgerError> {
    let rows = sqlx::query(
        "SELECT id, name, timezone, currency, settings, created_ms FROM workspaces WHERE id > $1 \
         ORDER BY id LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(&ledger.read)
    .await?;
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

/// Writes name, zone, currency and settings.
pub async fn update(tx: &mut Tx, workspace: &WorkspaceRow) -> Result<(), LedgerError> {
    sqlx::query("UPDATE workspaces SET name = $1, timezone = $2, currency = $3, settings = $4 WHERE id = $5")
        .bind(&workspace.name)
        .bind(&workspace.timezone)
        .bind(&workspace.currency)
        .bind(&workspace.settings)
        .bind(&workspace.id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Marks all conversions of a workspace due (of all workspaces if None), since the rules by which they are
/// evaluated are others; returns how many. The transaction is one of [`Ledger::begin_alone`].
pub async fn mark_due(tx: &mut Tx, workspace: Option<&str>) -> Result<u64, LedgerError> {
    let done = match workspace {
        Some(id) => {
            let text = "UPDATE conversions SET due = ABS(due) + 1 WHERE workspace = $1";
            sqlx::query(text).bind(id).execute(&mut **tx).await?
        }
        None => sqlx::query("UPDATE conversions SET due = ABS(due) + 1").execute(&mut **tx).await?,
    };
    Ok(done.rows_affected())
}

/// Remembers by which rules of the configuration conversions are evaluated, as a hash; says whether they were
/// others before.
pub async fn put_rules(tx: &mut Tx, hash: &str) -> Result<bool, LedgerError> {
    let row = sqlx::query("SELECT value FROM meta WHERE name = 'rules'").fetch_optional(&mut **tx).await?;
    let before: Option<String> = row.map(|row| row.try_get(0)).transpose()?;
    sqlx::query(
        "INSERT INTO meta (name, value) VALUES ('rules', $1)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(hash)
    .execute(&mut **tx)
    .await?;
    Ok(before.is_some_and(|before| before != hash))
}

/// How many of a workspace's conversions wait to be evaluated (anew), and how many there are.
pub async fn progress(ledger: &Ledger, workspace: &str) -> Result<(i64, i64), LedgerError> {
    let count = async |text| -> Result<i64, LedgerError> {
        Ok(sqlx::query(text).bind(workspace).fetch_one(&ledger.read).await?.try_get(0)?)
    };
    // Those that wait have an index of their own, and so has the workspace.
    let due = count("SELECT COUNT(*) FROM conversions WHERE due > 0 AND workspace = $1").await?;
    Ok((due, count("SELECT COUNT(*) FROM conversions WHERE workspace = $1").await?))
}

/// What a workspace holds that fixes its zone, its currency or its being there.
#[derive(Debug, Clone, Copy)]
pub struct Holds {
    pub clicks: bool,
    pub conversions: bool,
    pub costs: bool,
    pub links: bool,
    pub posts: bool,
    pub sources: bool,
}

pub async fn holds(tx: &mut Tx, id: &str) -> Result<Holds, LedgerError> {
    let mut found = [false; 6];
    let tables = ["clicks_by_day", "conversions", "costs", "links", "posts", "sources"];
    for (found, table) in found.iter_mut().zip(tables) {
        let sql = format!("SELECT 1 FROM {table} WHERE workspace = $1 LIMIT 1");
        *found = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(&mut **tx).await?.is_some();
    }
    let [clicks, conversions, costs, links, posts, sources] = found;
    Ok(Holds { clicks, conversions, costs, links, posts, sources })
}

/// Removes an empty workspace with its keys and domains; whether it was there.
pub async fn delete(tx: &mut Tx, id: &str) -> Result<bool, LedgerError> {
    for table in ["api_keys", "domains", "idempotency", "webhooks", "webhook_messages"] {
        let sql = format!("DELETE FROM {table} WHERE workspace = $1");
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).execute(&mut **tx).await?;
    }
    let done = sqlx::query("DELETE FROM workspaces WHERE id = $1").bind(id).execute(&mut **tx).await?;
    Ok(done.rows_affected() > 0)
}

#[derive(Debug, Clone)]
pub struct DomainRow {
    /// As `links::domain_key` makes it.
    pub domain: String,
    /// None: shared by all workspaces.
    pub workspace: Option<String>,
    pub created_ms: i64,
}

fn read_domain(row: &AnyRow) -> Result<DomainRow, sqlx::Error> {
    Ok(DomainRow { domain: row.try_get(0)?, workspace: row.try_get(1)?, created_ms: row.try_get(2)? })
}

/// Whether it is new; a domain belongs to one workspace only.
pub async fn insert_domain(tx: &mut Tx, domain: &DomainRow) -> Result<bool, LedgerError> {
    let done = sqlx::query(
        "INSERT INTO domains (domain, workspace, created_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(&domain.domain)
    .bind(domain.workspace.clone())
    .bind(domain.created_ms)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Those of `names` that are short domains of ours, whosever they are.
pub async fn own_domains(tx: &mut Tx, names: &[&str]) -> Result<Vec<DomainRow>, LedgerError> {
    let mut found = Vec::new();
    for names in names.chunks(500) {
        let text = format!(
            "SELECT domain, workspace, created_ms FROM domains WHERE domain IN ({})",
            sql::list_from(1, names.len())
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(text));
        for name in names {
            query = query.bind((*name).to_owned());
        }
        for row in query.fetch_all(&mut **tx).await? {
            found.push(read_domain(&row)?);
        }
    }
    Ok(found)
}

/// Whether a domain is a short domain of ours, whosever it is.
pub async fn is_domain(ledger: &Ledger, domain: &str) -> Result<bool, LedgerError> {
    let row =
        sqlx::query("SELECT 1 FROM domains WHERE domain = $1").bind(domain).fetch_optional(&ledger.read);
    Ok(row.await?.is_some())
}

/// All short domains of ours.
pub async fn all_domains(ledger: &Ledger) -> Result<Vec<String>, LedgerError> {
    let rows = sqlx::query("SELECT domain FROM domains ORDER BY domain").fetch_all(&ledger.read).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// The workspace's own and the shared ones, by name, after `after`.
pub async fn list_domains(
    ledger: &Ledger,
    workspace: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<DomainRow>, LedgerError> {
    let rows = sqlx::query(
        "SELECT domain, workspace, created_ms FROM domains \
         WHERE (workspace = $1 OR workspace IS NULL) AND domain > $2 ORDER BY domain LIMIT $3",
    )
    .bind(workspace)
    .bind(after)
    .bind(limit)
    .fetch_all(&ledger.read)
    .await?;
    Ok(rows.iter().map(read_domain).collect::<Result<_, _>>()?)
}

/// Whether any link stands on the domain.
pub async fn domain_has_links(tx: &mut Tx, domain: &str) -> Result<bool, LedgerError> {
    let row =
        sqlx::query("SELECT 1 FROM links WHERE domain = $1 LIMIT 1").bind(domain).fetch_optional(&mut **tx);
    Ok(row.await?.is_some())
}

/// Whether it was there and the workspace's (None: shared).
pub async fn delete_domain(tx: &mut Tx, workspace: Option<&str>, domain: &str) -> Result<bool, LedgerError> {
    let done = sqlx::query("DELETE FROM domains WHERE domain = $1 AND COALESCE(workspace, '') = $2")
        .bind(domain)
        .bind(workspace.unwrap_or_default())
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() > 0)
}
