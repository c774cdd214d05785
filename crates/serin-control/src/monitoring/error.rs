//! Failures of monitoring, by what can be done about them.

use serin_decisions::LogError;
use serin_models::LoadError;
use serin_store::StoreError;

/// Something that monitoring could not find out.
#[derive(Debug, thiserror::Error)]
pub enum MonitoringError {
    /// The question cannot be answered as it was asked.
    #[error("{0}")]
    InvalidInput(String),
    /// The database or the artifact store failed, or has nothing of that name.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The decision log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A model version that decided cannot be loaded.
    #[error(transparent)]
    Model(#[from] LoadError),
    /// The reference of a package, `monitor.json`, cannot be used.
    #[error("{file}: {reason}")]
    Reference {
        /// Path of the reference.
        file: String,
        /// Reason why it cannot be used.
        reason: String,
    },
    /// A file of a package cannot be read.
    #[error("{file}: {source}")]
    File {
        /// Path of the file.
        file: String,
        /// Error of the file system.
        source: std::io::Error,
    },
    /// A computation was stopped by a panic or by the end of the process.
    #[error("{0} was not finished")]
    Interrupted(&'static str),
}
