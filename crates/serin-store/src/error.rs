//! What the caller can do about a failure.

/// A failed store operation.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The thing that was named does not exist.
    #[error("{kind} {id:?} not found{hint}")]
    NotFound {
        /// What was looked for.
        kind: &'static str,
        /// By which name.
        id: String,
        /// What there is instead, or nothing.
        hint: String,
    },
    /// The input cannot be stored.
    #[error("{0}")]
    Invalid(String),
    /// The database failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// An artifact could not be read or written.
    #[error("{}: {source}", path.display())]
    Artifact {
        /// File or folder.
        path: std::path::PathBuf,
        /// Cause.
        source: std::io::Error,
    },
}

impl StoreError {
    pub(crate) fn not_found(kind: &'static str, id: impl Into<String>) -> Self {
        Self::NotFound { kind, id: id.into(), hint: String::new() }
    }
}
