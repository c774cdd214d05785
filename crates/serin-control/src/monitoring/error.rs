//! Failures of monitoring, by what can be done about them.

use serin_analysis::monitor::ProfileError;
use serin_decisions::LogError;
use serin_models::LoadError;
use serin_store::StoreError;
use serin_tracking::UnknownLabelSource;

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
    #[error("{file}: {source}")]
    Reference {
        /// Path of the reference.
        file: String,
        /// Fault of its content.
        source: ProfileError,
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

/// Labels that cannot be read; the text names the place, the fault and what is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidLabels(pub String);

impl InvalidLabels {
    pub(crate) fn new(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}

impl From<UnknownLabelSource> for InvalidLabels {
    fn from(error: UnknownLabelSource) -> Self {
        Self(error.to_string())
    }
}

impl From<csv::Error> for InvalidLabels {
    fn from(error: csv::Error) -> Self {
        Self(error.to_string())
    }
}
