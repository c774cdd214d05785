//! Failures of the artifact store, by what the caller can do about them.

/// A failed artifact operation.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// No file, folder or upload has that name.
    #[error("{0}")]
    NotFound(String),
    /// The path, location or setting is not one that this store takes.
    #[error("{0}")]
    InvalidInput(String),
    /// A store of this kind cannot do that: folders sign no URLs.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The disk or S3 failed.
    #[error("artifact {path}: {source}")]
    Io {
        /// File, folder or object.
        path: String,
        /// The answer of the operating system or of S3.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ArtifactError {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidInput(message.into())
    }

    pub(crate) fn io(
        path: impl std::fmt::Display,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Io { path: path.to_string(), source: source.into() }
    }
}
