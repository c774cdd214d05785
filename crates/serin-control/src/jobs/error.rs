//! Failures of jobs, by what an operator can do about them.

use super::RetrainingFailure;
use crate::monitoring::MonitoringError;
use serin_store::StoreError;

/// Reason why a run of a job failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    /// The database failed, or holds something that serin did not write.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The decision log, a model or a reference cannot be used.
    #[error(transparent)]
    Monitoring(#[from] MonitoringError),
    /// The process that was to train a model failed.
    #[error("the retraining failed: {0}")]
    Retraining(RetrainingFailure),
    /// Receivers of alerts did not take what they were sent.
    #[error("{count} notices were not taken and are tried again; {first}")]
    Undelivered {
        /// Number of deliveries that failed in this run.
        count: usize,
        /// Receiver and reason of the first of them, without secrets.
        first: String,
    },
    /// The job's code panicked.
    #[error("the job panicked: {0}")]
    Panicked(String),
}
