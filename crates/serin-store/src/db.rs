//! The database file: opening it, and bringing it to the present schema.

use crate::StoreError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row, SqlitePool};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Forward only; a released file is never edited.
const MIGRATIONS: [(i64, &str); 1] = [(1, include_str!("../migrations/0001_tracking.sql"))];

/// Everything persistent of one state folder.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) pool: SqlitePool,
    pub(crate) artifacts: PathBuf,
}

impl Store {
    /// Opens `state`, creating the folder, `serin.db` and `artifacts/` where they are missing.
    ///
    /// # Errors
    /// When the folder cannot be written, or the database was made by a later serin.
    pub async fn open(state: &Path) -> Result<Self, StoreError> {
        let artifacts = state.join("artifacts");
        std::fs::create_dir_all(&artifacts)
            .map_err(|source| StoreError::Artifact { path: artifacts.clone(), source })?;
        // Run and version sources are stored as absolute paths.
        let artifacts =
            artifacts.canonicalize().map_err(|source| StoreError::Artifact { path: artifacts.clone(), source })?;
        let options = SqliteConnectOptions::new()
            .filename(state.join("serin.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .pragma("case_sensitive_like", "true")
            .busy_timeout(Duration::from_secs(20));
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
        let store = Self { pool, artifacts };
        store.migrate().await?;
        Ok(store)
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        // Immediate: of two processes that start at once the second waits here and then finds the work done.
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("CREATE TABLE IF NOT EXISTS serin_migrations (number BIGINT PRIMARY KEY NOT NULL)")
            .execute(&mut *tx)
            .await?;
        let row =
            sqlx::query("SELECT COALESCE(MAX(number), 0) AS number FROM serin_migrations").fetch_one(&mut *tx).await?;
        let present: i64 = row.try_get("number")?;
        let newest = MIGRATIONS.len() as i64;
        if present > newest {
            return Err(StoreError::Invalid(format!(
                "the database is at migration {present}, this serin knows {newest}: it was opened by a later serin; upgrade this one"
            )));
        }
        for (number, sql) in MIGRATIONS.into_iter().filter(|(number, _)| *number > present) {
            sqlx::raw_sql(sql).execute(&mut *tx).await?;
            sqlx::query("INSERT INTO serin_migrations (number) VALUES ($1)").bind(number).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}
