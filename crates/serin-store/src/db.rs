//! The database: opening it, reading from it, writing to it.

use crate::sql::{Connection, args};
use crate::writer::{Work, Writer};
use crate::{StoreError, schema};
use serin_artifacts::Artifacts;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Longest wait for another connection's hold on a SQLite file.
const BUSY: Duration = Duration::from_secs(20);
/// Pause before a new file that others open is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Everything persistent: one SQL database and one artifact root. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    db: Db,
    pub(crate) artifacts: Artifacts,
}

#[derive(Debug, Clone)]
enum Db {
    Sqlite { readers: SqlitePool, writer: Writer },
    Postgres(PgPool),
}

/// Address of the database that a store uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUri {
    /// SQLite file; written `sqlite:///relative/path` or `sqlite:////absolute/path`.
    Sqlite(PathBuf),
    /// PostgreSQL server, as a URL `postgresql://user:password@host/database`.
    Postgres(String),
}

/// Forms of a database URI, as errors name them.
const URI_FORMS: &str = "write sqlite:///path/to/file.db or postgresql://user:password@host:5432/database";

/// Text that is no URI of a database that serin can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDatabaseUri {
    /// The text, here without its password, has no scheme.
    #[error("{0:?} is not a database URI: {URI_FORMS}")]
    Unreadable(String),
    /// An SQLite URI names no file.
    #[error("no file in {0:?}: {URI_FORMS}")]
    NoFile(String),
    /// The scheme, named here, is of another database.
    #[error("databases of kind {0:?} are not supported: {URI_FORMS}")]
    Unsupported(String),
}

impl FromStr for DatabaseUri {
    type Err = InvalidDatabaseUri;

    /// Reads MLflow's spellings; a driver (`postgresql+psycopg2://`) is accepted and ignored.
    fn from_str(text: &str) -> Result<Self, InvalidDatabaseUri> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(InvalidDatabaseUri::Unreadable(without_password(text)));
        };
        match scheme.split('+').next().unwrap_or_default() {
            "sqlite" => {
                let path = rest.strip_prefix('/').unwrap_or(rest);
                if path.is_empty() {
                    Err(InvalidDatabaseUri::NoFile(text.to_owned()))
                } else {
                    Ok(Self::Sqlite(path.into()))
                }
            }
            "postgresql" | "postgres" => Ok(Self::Postgres(format!("postgresql://{rest}"))),
            other => Err(InvalidDatabaseUri::Unsupported(other.to_owned())),
        }
    }
}

impl std::fmt::Display for DatabaseUri {
    /// Writes the URI with its password replaced by `***`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:///{}", path.display()),
            Self::Postgres(url) => f.write_str(&without_password(url)),
        }
    }
}

fn without_password(url: &str) -> String {
    let Some((before, host)) = url.rsplit_once('@') else { return url.to_owned() };
    match before.rsplit_once(':') {
        Some((user, _)) if user.contains("//") && !user.ends_with('/') => format!("{user}:***@{host}"),
        _ => url.to_owned(),
    }
}

impl Store {
    /// Opens a state folder: `serin.db` and `artifacts/` in it, created where they are missing.
    ///
    /// # Errors
    /// When the folder cannot be written, or the database was made by a later serin.
    pub async fn open(state: &Path) -> Result<Self, StoreError> {
        let root = state.join("artifacts");
        Self::connect(&DatabaseUri::Sqlite(state.join("serin.db")), Artifacts::local(&root)?).await
    }

    /// Opens a database and brings its schema to the present: an empty one gets MLflow's tables and serin's, one
    /// that MLflow made gets serin's beside them.
    ///
    /// # Errors
    /// When it cannot be reached or written, or its schema is not one that serin knows; the message names the way
    /// out.
    pub async fn connect(database: &DatabaseUri, artifacts: Artifacts) -> Result<Self, StoreError> {
        let db = match database {
            DatabaseUri::Sqlite(path) => sqlite(path).await?,
            DatabaseUri::Postgres(url) => Db::Postgres(postgres(url).await?),
        };
        let store = Self { db, artifacts };
        schema::prepare(&store).await?;
        Ok(store)
    }

    /// Copies the database, as it is at this moment, into a new SQLite file.
    ///
    /// # Errors
    /// When the file is there already, or the database is PostgreSQL, which has `pg_dump`.
    pub async fn backup(&self, target: &Path) -> Result<(), StoreError> {
        if self.is_postgres() {
            return Err(StoreError::invalid("PostgreSQL is backed up with its own pg_dump"));
        }
        if target.exists() {
            return Err(StoreError::InvalidInput(format!("{} is there already; name a new file", target.display())));
        }
        let target = target.to_str().ok_or_else(|| StoreError::invalid("the file's path is not UTF-8"))?;
        self.reader().execute("VACUUM INTO $1", args![target]).await.map(drop)
    }

    /// Faults of the database file, one text each; empty when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn check(&self) -> Result<Vec<String>, StoreError> {
        if self.is_postgres() {
            self.reader().row("SELECT 1", args![]).await?;
            return Ok(Vec::new());
        }
        let mut faults = Vec::new();
        for row in self.reader().rows("PRAGMA integrity_check", args![]).await? {
            faults.extend(Some(row.text(0)?).filter(|text| text != "ok"));
        }
        for row in self.reader().rows("PRAGMA foreign_key_check", args![]).await? {
            faults.push(format!("table {}: a row refers to one that is not in {}", row.text(0)?, row.text(2)?));
        }
        Ok(faults)
    }

    /// Artifact root that the store keeps files in.
    #[must_use]
    pub fn artifacts(&self) -> &Artifacts {
        &self.artifacts
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.db, Db::Postgres(_))
    }

    /// Connection for reading; every statement sees what is committed.
    pub(crate) fn reader(&self) -> Connection {
        match &self.db {
            Db::Sqlite { readers, .. } => Connection::SqlitePool(readers.clone()),
            Db::Postgres(pool) => Connection::PostgresPool(pool.clone()),
        }
    }

    /// Runs `write` in a transaction of its own; kept when it answers `Ok`, undone otherwise. It goes on when the
    /// caller goes away.
    pub(crate) async fn write<T, F>(&self, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> Work<'c, T> + Send + 'static,
    {
        match &self.db {
            Db::Sqlite { writer, .. } => writer.write(write).await,
            Db::Postgres(pool) => {
                let mut connection = Connection::Postgres(pool.begin().await?);
                let result = write(&mut connection).await?;
                if let Connection::Postgres(transaction) = connection {
                    transaction.commit().await?;
                }
                Ok(result)
            }
        }
    }
}

async fn sqlite(path: &Path) -> Result<Db, StoreError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|source| StoreError::io(folder.display(), source))?;
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // As MLflow sets it: LIKE tells upper from lower case, as it does in PostgreSQL.
        .pragma("case_sensitive_like", "true")
        // Indexes by random run ids touch many pages; a connection may keep 16 MiB of them once it has work.
        .pragma("cache_size", "-16384")
        .busy_timeout(BUSY);
    let writer = first_connection(&options).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(4)
        .min_connections(1)
        .test_before_acquire(false)
        .connect_lazy_with(options);
    Ok(Db::Sqlite { readers, writer: Writer::start(Connection::Sqlite(writer.acquire().await?)) })
}

/// Connects, and waits for others that turn a new file to its write-ahead log meanwhile: SQLite refuses the second one of them
/// at once instead of letting it wait, since both hold what the other one needs.
async fn first_connection(options: &SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let mut waited = Duration::ZERO;
    loop {
        match SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await {
            Err(error) if is_busy(&error) && waited < BUSY => {
                tokio::time::sleep(BUSY_PAUSE).await;
                waited += BUSY_PAUSE;
            }
            connected => return connected,
        }
    }
}

/// Returns whether another connection holds the file (SQLITE_BUSY and what extends it).
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == 5)
}

async fn postgres(url: &str) -> Result<PgPool, StoreError> {
    let options = PgConnectOptions::from_str(url)?.application_name("serin");
    Ok(PgPoolOptions::new().max_connections(16).acquire_timeout(Duration::from_secs(10)).connect_with(options).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_uris_are_mlflows_and_hide_their_password() {
        assert_eq!("sqlite:///a/b.db".parse(), Ok(DatabaseUri::Sqlite("a/b.db".into())));
        assert_eq!("sqlite:////a/b.db".parse(), Ok(DatabaseUri::Sqlite("/a/b.db".into())));
        let uri: DatabaseUri = "postgresql+psycopg2://u:s:e@c@h:1/d".parse().expect("valid");
        assert!(matches!(&uri, DatabaseUri::Postgres(url) if url == "postgresql://u:s:e@c@h:1/d"));
        assert!(!uri.to_string().contains("e@c"), "{uri}");
        for bad in ["", "mysql://h/d", "sqlite:///", "file.db"] {
            assert!(bad.parse::<DatabaseUri>().is_err(), "{bad}");
        }
    }
}
