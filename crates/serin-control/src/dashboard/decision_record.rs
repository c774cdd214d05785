//! One decision, taken out of the log for a page.

use super::visit::Failure;
use crate::monitoring::MonitoringError;
use serin_decisions::{Fallback, LogError, LoggedDecision};

/// A decision taken out of the log.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) id: [u8; 16],
    pub(crate) at_ms: i64,
    pub(crate) event_time_ms: Option<i64>,
    pub(crate) transaction_id: String,
    pub(crate) entity: String,
    pub(crate) model: String,
    pub(crate) version: String,
    pub(crate) sha256: [u8; 32],
    pub(crate) threshold: f32,
    pub(crate) score: f32,
    pub(crate) alert: bool,
    pub(crate) explored: Option<f32>,
    pub(crate) fallback: Option<Fallback>,
    pub(crate) arm: Option<(bool, u16)>,
    pub(crate) latency_ns: u32,
    pub(crate) features: Vec<f32>,
    pub(crate) shadows: Vec<(String, f32, bool)>,
}

/// Copies what pages show of a record.
pub(crate) fn found(decision: &LoggedDecision<'_>) -> Found {
    Found {
        id: decision.id,
        at_ms: decision.at_ms(),
        event_time_ms: decision.event_time_ms,
        transaction_id: decision.transaction_id.to_owned(),
        entity: decision.entity.to_owned(),
        model: decision.model.name.clone(),
        version: decision.model.version.clone(),
        sha256: decision.model.sha256,
        threshold: decision.model.threshold,
        score: decision.score,
        alert: decision.alert,
        explored: decision.propensity,
        fallback: decision.fallback,
        arm: decision.assigned.map(|assigned| (assigned.candidate, assigned.weight)),
        latency_ns: decision.latency_ns,
        features: decision.features().collect(),
        shadows: Vec::new(),
    }
}

/// Reads the log on a thread that may wait for the disk.
pub(crate) async fn reading<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(read).await;
    Ok(done.map_err(|_| MonitoringError::Interrupted("reading the decision log"))??)
}
