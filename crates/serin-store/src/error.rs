//! What the caller can do about a failure.

use serin_artifacts::ArtifactError;

/// A failed store operation.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The thing that was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// Another one has that name, or has changed it meanwhile.
    #[error("{0}")]
    Conflict(String),
    /// The caller asks for something that cannot be stored.
    #[error("{0}")]
    InvalidInput(String),
    /// What the database holds is not what serin wrote: the operator's to mend, not the caller's.
    #[error("{what}: {reason}")]
    Damaged {
        /// Table and row, or file.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The artifact store behind this server cannot do that.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The database failed.
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
        /// Cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidInput(message.into())
    }

    /// What stands in a table is not what serin writes there.
    pub fn damaged(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), reason: reason.into() }
    }

    pub(crate) fn io(
        path: impl std::fmt::Display,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Io { path: path.to_string(), source: source.into() }
    }

    /// A row with this key is already there.
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
