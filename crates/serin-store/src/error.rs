//! Errors of the store, told apart by what the caller can do about them.

use serin_artifacts::ArtifactError;

/// A failed store operation.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The thing that was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// Another thing has that name already, or somebody has changed the named thing meanwhile.
    #[error("{0}")]
    Conflict(String),
    /// The data plane that makes the change does not lead the rollout any more, so it was not made.
    #[error("{0}")]
    NotLeading(String),
    /// Another version is live than the change is to replace, so it was not made.
    #[error("{0}")]
    Superseded(String),
    /// The caller asks for something that cannot be stored.
    #[error("{0}")]
    InvalidInput(String),
    /// The database holds something that serin did not write. The operator has to mend it, not the caller.
    #[error("{what}: {reason}")]
    Damaged {
        /// Table and row, or file.
        what: String,
        /// Message that says what is wrong with it.
        reason: String,
    },
    /// The artifact store behind this server cannot do that.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The database could not be reached, or refused a statement.
    #[error("database: {0}")]
    Database(sqlx::Error),
    /// The database cannot be used by this serin; the message names the way out.
    #[error("{0}")]
    Schema(String),
    /// A file, folder or object could not be read or written.
    #[error("artifact {path}: {source}")]
    Io {
        /// File, folder or object.
        path: String,
        /// Error that the file system or the object store reported.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    pub(crate) fn invalid(message: impl std::fmt::Display) -> Self {
        Self::InvalidInput(message.to_string())
    }

    /// Error for a table that holds something serin does not write there.
    pub fn damaged(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), reason: reason.into() }
    }

    pub(crate) fn io(
        path: impl std::fmt::Display,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Io { path: path.to_string(), source: source.into() }
    }

    /// True if the database refused a row because its key is taken.
    pub(crate) fn is_duplicate(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }
}

impl From<ArtifactError> for StoreError {
    fn from(error: ArtifactError) -> Self {
        match error {
            ArtifactError::NotFound(message) => Self::NotFound(message),
            ArtifactError::InvalidInput(message) => Self::InvalidInput(message),
            ArtifactError::Unsupported(message) => Self::Unsupported(message),
            ArtifactError::Io { path, source } => Self::Io { path, source },
        }
    }
}

impl From<sqlx::Error> for StoreError {
    /// PostgreSQL's class 22 (a text too long for its column, a NUL character, a number out of range) is the
    /// caller's to mend.
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(inner)
                if inner.code().is_some_and(|code| code.starts_with("22") && code.len() == 5) =>
            {
                Self::InvalidInput(format!("a value does not fit its column in the database: {}", inner.message()))
            }
            _ => Self::Database(error),
        }
    }
}
