//! The ledger's migrations, oldest first. A released migration is never edited: a change is a new one. (Nothing is
//! released yet, so `schema.sql` still changes in place.)

use sqlx::{AssertSqlSafe, Row};

use super::{Ledger, LedgerError, Store};

const MIGRATIONS: &[&str] = &[include_str!("schema.sql"), include_str!("fetches.sql")];

/// Brings the ledger to this program's version. Refuses a ledger of a newer program.
pub(super) async fn migrate(ledger: &Ledger) -> Result<(), LedgerError> {
    sqlx::query("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
        .execute(&ledger.write)
        .await?;
    let mut tx = ledger.begin().await?;
    if ledger.store == Store::Postgres {
        // Two processes may start at once; the second waits and finds nothing left to do.
        sqlx::query("LOCK TABLE schema_version IN EXCLUSIVE MODE").execute(&mut *tx).await?;
    }
    let version: i64 = sqlx::query("SELECT COALESCE(MAX(version), 0) FROM schema_version")
        .fetch_one(&mut *tx)
        .await?
        .try_get(0)?;
    let known = MIGRATIONS.len() as i64;
    if version > known {
        return Err(LedgerError::Newer { found: version, known });
    }
    for (number, sql) in (1..).zip(MIGRATIONS).skip(version as usize) {
        for statement in statements(sql, ledger.store) {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await?;
        }
        sqlx::query("INSERT INTO schema_version (version) VALUES ($1)")
            .bind(number)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(())
}

/// One migration's statements in the store's own words. Comments go first, since they may hold a `;`.
fn statements(sql: &str, store: Store) -> Vec<String> {
    let bare: String =
        sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    bare.split(';')
        .map(str::trim)
        .filter(|statement| !statement.is_empty())
        .map(|statement| match store {
            // Spelled so, it is the row's own number, and looking a row up by it takes one search instead of two.
            Store::Sqlite => statement.replace("BIGINT PRIMARY KEY", "INTEGER PRIMARY KEY"),
            Store::Postgres => statement
                .replace("INTEGER PRIMARY KEY AUTOINCREMENT", "BIGSERIAL PRIMARY KEY")
                .replace(" BLOB", " BYTEA")
                .replace(" WITHOUT ROWID", ""),
        })
        .collect()
}
