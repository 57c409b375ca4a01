//! The ledger: what grows with posts, days and orders, and stays. SQLite or PostgreSQL, one SQL text.
//!
//! All SQL uses `$1` placeholders and the words both stores know; sums are cast to BIGINT, since
//! PostgreSQL would widen them. Reads come from a pool, writes go through [`Ledger::begin`].

pub mod click_packs;
pub mod conversion_views;
pub mod conversions;
pub mod costs;
pub mod coupons;
pub mod deliveries;
pub mod doctor;
pub mod dry_run;
pub mod facts;
pub mod fetches;
pub mod idempotency;
pub mod keys;
pub mod links;
mod migrations;
pub mod packs;
pub mod paths;
pub mod posts;
pub mod privacy;
pub mod rates;
pub mod reports;
pub mod rollups;
pub mod snapshots;
pub mod sources;
pub mod sql;
pub mod webhooks;
pub mod workspaces;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyPool, Connection, Transaction};

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("the ledger failed: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("the ledger has schema version {found}, this program knows {known}: use a newer utmost")]
    Newer { found: i64, known: i64 },
    #[error("ledger row is damaged: {0}")]
    Damaged(String),
}

/// Which store is behind the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    Sqlite,
    Postgres,
}

/// How hard SQLite makes a commit durable (PostgreSQL has its own setting, on the server).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchronous {
    /// Survives loss of power.
    Full,
    /// Survives the death of the process; a loss of power may take the last commits.
    Normal,
}

impl Synchronous {
    pub fn pragma(self) -> &'static str {
        match self {
            Self::Full => "PRAGMA synchronous = FULL",
            Self::Normal => "PRAGMA synchronous = NORMAL",
        }
    }
}

pub type Tx = Transaction<'static, Any>;

/// Some number that nothing else in the database locks.
const ALONE_LOCK: i64 = 0x7574_6d6f_7374;

#[derive(Clone, Debug)]
pub struct Ledger {
    /// For reading outside a transaction.
    pub read: AnyPool,
    /// One connection on SQLite, which has one writer anyway: waiting here beats SQLITE_BUSY.
    write: AnyPool,
    pub store: Store,
}

/// Does what keeps a thread busy where nobody else waits for that thread.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, LedgerError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| LedgerError::Damaged(error.to_string()))?
}

impl Ledger {
    /// Opens (and creates or migrates) the embedded ledger.
    pub async fn open_sqlite(path: &Path, synchronous: Synchronous) -> Result<Self, LedgerError> {
        sqlx::any::install_default_drivers();
        let url = format!("sqlite://{}?mode=rwc", path.display());
        let options = AnyConnectOptions::from_str(&url)?;
        let pool = |max: u32| {
            AnyPoolOptions::new()
                .max_connections(max)
                .acquire_timeout(Duration::from_secs(30))
                // SQLite ends a transaction by itself when the disk fails it; sqlx still counts it, and
                // would begin no other on this connection.
                .before_acquire(|connection, _| {
                    let is_free = !connection.is_in_transaction();
                    Box::pin(async move { Ok(is_free) })
                })
                .after_connect(move |connection, _| {
                    Box::pin(async move {
                        for pragma in [
                            "PRAGMA busy_timeout = 10000",
                            "PRAGMA journal_mode = WAL",
                            synchronous.pragma(),
                            "PRAGMA cache_size = -65536",
                            "PRAGMA temp_store = MEMORY",
                        ] {
                            sqlx::query(pragma).execute(&mut *connection).await?;
                        }
                        Ok(())
                    })
                })
                .connect_with(options.clone())
        };
        let write = pool(1).await?;
        let ledger = Self { read: pool(4).await?, write, store: Store::Sqlite };
        migrations::migrate(&ledger).await?;
        Ok(ledger)
    }

    /// Opens (and migrates) a ledger on PostgreSQL, `postgres://user:password@host/database`.
    pub async fn open_postgres(url: &str) -> Result<Self, LedgerError> {
        sqlx::any::install_default_drivers();
        let pool = AnyPoolOptions::new()
            .max_connections(16)
            .acquire_timeout(Duration::from_secs(30))
            .connect_with(AnyConnectOptions::from_str(url)?)
            .await?;
        let ledger = Self { read: pool.clone(), write: pool, store: Store::Postgres };
        migrations::migrate(&ledger).await?;
        Ok(ledger)
    }

    /// Begins a transaction that may write. Dropped without commit, it rolls back.
    pub async fn begin(&self) -> Result<Tx, LedgerError> {
        Ok(match self.store {
            Store::Sqlite => self.write.begin_with("BEGIN IMMEDIATE").await?,
            Store::Postgres => self.write.begin().await?,
        })
    }

    /// Begins a transaction beside which no other that is begun so runs. Conversions depend on one another,
    /// and whoever marks them due has to see what others have just written, or be seen by them.
    pub async fn begin_alone(&self) -> Result<Tx, LedgerError> {
        let mut tx = self.begin().await?;
        self.go_alone(&mut tx).await?;
        Ok(tx)
    }

    /// Makes a transaction, from here on, one as [`begin_alone`](Self::begin_alone) begins them.
    pub async fn go_alone(&self, tx: &mut Tx) -> Result<(), LedgerError> {
        // On SQLite every transaction that writes is.
        if self.store == Store::Postgres {
            sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(ALONE_LOCK).execute(&mut **tx).await?;
        }
        Ok(())
    }

    /// ` FOR UPDATE` where the store has row locks; on SQLite the transaction is the lock.
    pub fn for_update(&self) -> &'static str {
        match self.store {
            Store::Sqlite => "",
            Store::Postgres => " FOR UPDATE",
        }
    }

    /// Whether the store answers.
    pub async fn ping(&self) -> Result<(), LedgerError> {
        sqlx::query("SELECT 1").execute(&self.read).await?;
        Ok(())
    }

    /// Closes all connections; on SQLite this also empties the write-ahead log.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Row;

    #[tokio::test]
    async fn opens_twice_and_reads_back_every_type() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        for round in 0..2i64 {
            let ledger = Ledger::open_sqlite(&path, Synchronous::Full).await.unwrap();
            let mut tx = ledger.begin().await.unwrap();
            sqlx::query("INSERT INTO deliveries (id, workspace, source, received_ms, topic, headers, body, result) VALUES ($1, 'w', 's', $2, $3, '[]', $4, 'accepted')")
                .bind(round.to_string())
                .bind(round)
                .bind(None::<String>)
                .bind(vec![0u8, 255])
                .execute(&mut *tx)
                .await
                .unwrap();
            tx.commit().await.unwrap();
            let row = sqlx::query("SELECT received_ms, topic, body, CAST(SUM(received_ms) AS BIGINT) AS total FROM deliveries WHERE id = $1 GROUP BY received_ms, topic, body")
                .bind(round.to_string())
                .fetch_one(&ledger.read)
                .await
                .unwrap();
            assert_eq!(row.get::<i64, _>("received_ms"), round);
            assert_eq!(row.get::<Option<String>, _>("topic"), None);
            assert_eq!(row.get::<Vec<u8>, _>("body"), vec![0, 255]);
            assert_eq!(row.get::<i64, _>("total"), round);
            ledger.close().await;
        }
    }
}
