//! State of the scoring server that all requests share.

use crate::exploration::Exploration;
use crate::fallback::{FallbackPolicy, can_answer};
use crate::keeping::DecisionKeeping;
use crate::metrics::Metrics;
use crate::models::Models;
use crate::monitor::LiveMonitor;
use crate::rollout::Release;
use crate::shadow::Shadow;
use crate::transaction::EventTimes;
use serin_decisions::DecisionIds;
use serin_http::{ApiKeys, Limits};
use std::sync::Arc;
use std::time::Duration;

/// State of the data plane; cheap to clone.
#[derive(Debug, Clone)]
pub struct DataPlane {
    /// The models that answer.
    pub models: Models,
    /// Log that decisions are written to; `None` keeps none.
    pub decisions: Option<DecisionKeeping>,
    /// Source of the ids of decisions.
    pub ids: Arc<DecisionIds>,
    /// Candidates that score beside the live model, without effect on the answer.
    pub shadow: Option<Arc<Shadow>>,
    /// Release of a version of the first model: the split of its traffic, and the task that moves it.
    pub release: Option<Release>,
    /// Monitor that counts what models are asked and what they answer.
    pub monitor: Option<Arc<LiveMonitor>>,
    /// Share of alerts that are let through, to learn what becomes of them.
    pub exploration: Option<Exploration>,
    /// Steps that decide where a model cannot, or not in time.
    pub fallback: Arc<FallbackPolicy>,
    /// Most time from a request's head to its decisions; a fallback decides after it.
    pub deadline: Option<Duration>,
    /// Greatest age of a transaction that the monitor counts at the hour of its event, milliseconds; older ones count at
    /// the hour of their decision.
    pub max_event_age_ms: i64,
    /// Keys that callers must show; anybody may call without them.
    pub keys: Option<ApiKeys>,
    /// Clock that returns the time now, epoch milliseconds.
    pub clock: fn() -> i64,
    /// Limits of a request.
    pub limits: Limits,
    /// Counters that `/metrics` shows.
    pub metrics: Arc<Metrics>,
}

impl DataPlane {
    /// Bounds of event times now.
    pub(crate) fn event_times(&self) -> EventTimes {
        EventTimes::at((self.clock)(), self.max_event_age_ms)
    }

    /// Whether every model can answer, or what is declared to answer in its place.
    pub(crate) fn ready(&self) -> bool {
        self.models.slots().iter().all(|slot| can_answer(slot, &self.fallback))
    }
}
