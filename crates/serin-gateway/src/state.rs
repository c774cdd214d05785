//! State of the scoring server.

use crate::exploration::Exploration;
use crate::fallback::{FallbackPolicy, can_answer};
use crate::keeping::DecisionKeeping;
use crate::metrics::Metrics;
use crate::models::Models;
use crate::monitor::LiveMonitor;
use crate::rollout::Release;
use crate::shadow::Shadow;
use serin_decisions::DecisionIds;
use serin_http::{ApiKeys, Limits};
use std::sync::Arc;
use std::time::Duration;

/// State of the data plane; cheap to clone.
#[derive(Debug, Clone)]
pub struct DataPlane {
    /// The models that answer.
    pub models: Models,
    /// Where decisions are kept; nowhere without it.
    pub decisions: Option<DecisionKeeping>,
    /// Names decisions.
    pub ids: Arc<DecisionIds>,
    /// Candidates that score what was decided.
    pub shadow: Option<Arc<Shadow>>,
    /// Who gets the first model's traffic while a version is released, and the task that moves it.
    pub release: Option<Release>,
    /// Watches what models see and say.
    pub monitor: Option<Arc<LiveMonitor>>,
    /// Which alerts are let through, to learn what becomes of them.
    pub exploration: Option<Exploration>,
    /// What decides where a model cannot, or not in time.
    pub fallback: Arc<FallbackPolicy>,
    /// Time for a request, from its head to its decisions.
    pub deadline: Option<Duration>,
    /// Keys that callers must show; anybody may call without them.
    pub keys: Option<ApiKeys>,
    /// Epoch milliseconds now.
    pub clock: fn() -> i64,
    /// Limits of a request.
    pub limits: Limits,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
}

impl DataPlane {
    /// Whether every model can answer, or what is declared to answer in its place.
    pub(crate) fn ready(&self) -> bool {
        self.models.slots().iter().all(|slot| can_answer(slot, &self.fallback))
    }
}
