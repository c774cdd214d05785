//! What the caller can do about a failure.

/// A failed store operation.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The thing that was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The name is taken.
    #[error("{0}")]
    AlreadyExists(String),
    /// The input cannot be stored.
    #[error("{0}")]
    Invalid(String),
    /// The artifact store behind this server cannot do that.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The database failed.
    #[error("database: {0}")]
    Database(sqlx::Error),
    /// The database cannot be used by this serin; the message names the way out.
    #[error("{0}")]
    Schema(String),
    /// An artifact could not be read or written.
    #[error("artifact {path}: {source}")]
    Artifact {
        /// File, folder or object.
        path: String,
        /// Cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    pub(crate) fn artifact(
        path: impl std::fmt::Display,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Artifact { path: path.to_string(), source: source.into() }
    }

    /// A row with this key is already there.
    pub(crate) fn is_duplicate(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
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
                Self::Invalid(format!("a value does not fit its column in the database: {}", inner.message()))
            }
            _ => Self::Database(error),
        }
    }
}
