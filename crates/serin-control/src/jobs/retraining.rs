//! Job `retraining`: every hour, whether a model is to be trained again, and the retraining itself where it is.

use super::looks::{Looks, is_permanent};
use super::{Context, JobError, ModelJob, Outcome, Work};
use crate::monitoring::Board;
use crate::monitoring::labelled::LabelCounts;
use crate::monitoring::triggers::{Signals, due};
use crate::settings::Clock;
use serin_analysis::monitor::{HOUR_MS, Rule};
use serin_store::{Alert, LookRecord};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Way to start retrainings.
pub trait Launcher: Send + Sync + std::fmt::Debug {
    /// Trains a model again for a cause; returns when the retraining is over.
    fn retrain(&self, order: RetrainingOrder) -> Pin<Box<dyn Future<Output = Result<(), RetrainingFailure>> + Send>>;
}

/// Reason why a retraining came to no end of its own, as an operator reads it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RetrainingFailure(pub String);

/// Order for one retraining.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrainingOrder {
    /// Name of the registered model.
    pub model: String,
    /// Cause of the retraining: `drift`, `performance`, `labels` or `schedule`.
    pub cause: &'static str,
    /// Reason for the retraining, a sentence for people.
    pub reason: String,
    /// Point in time whose knowledge counts, epoch milliseconds.
    pub as_of_ms: i64,
}

/// Triggers of one model's retrainings.
pub(super) struct Retraining {
    launcher: Arc<dyn Launcher>,
    labels: LabelCounts,
}

impl Retraining {
    /// Triggers whose retrainings a launcher starts.
    pub(super) fn by(launcher: Arc<dyn Launcher>) -> Self {
        Self { launcher, labels: LabelCounts::default() }
    }
}

/// Marks a retraining as running on the board until it is dropped.
struct Running<'a>(&'a Board, &'a str);

impl<'a> Running<'a> {
    fn on(board: &'a Board, model: &'a str) -> Self {
        board.change(model, |latest| latest.retraining = true);
        Self(board, model)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.change(self.1, |latest| latest.retraining = false);
    }
}

impl ModelJob<Retraining> {
    /// Order of the retraining that is due at `end_ms`, by the alerts that were on then.
    async fn order(&self, watching_since_ms: i64, end_ms: i64) -> Result<Option<RetrainingOrder>, JobError> {
        let Context { store, settings, .. } = &self.context;
        let on = store.alerts_at(&self.model, end_ms).await?;
        let message = |rules: &[Rule]| {
            let is_of = |rule: &Rule, alert: &Alert| alert.rule == rule.name();
            rules.iter().find_map(|rule| on.iter().find(|alert| is_of(rule, alert))).map(|alert| alert.message.as_str())
        };
        // Data that is wrong teaches nothing: a person has to look first.
        if message(&[Rule::DataQuality]).is_some() {
            return Ok(None);
        }
        let before = store.retrainings(&self.model, 50).await?;
        let since_ms = before.first().map_or(0, |last| last.started_at_ms);
        let new_labels = match settings.retraining.on_labels {
            None => 0,
            Some(most) => {
                let counted = self.work.labels.since(self.context.sources(), &self.model, since_ms, end_ms, most).await;
                match counted {
                    Ok(labels) => labels,
                    Err(error) if is_permanent(&error) => {
                        tracing::warn!(model = self.model, "new labels cannot be counted: {error}");
                        0
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let signals = Signals {
            now_ms: end_ms,
            watching_since_ms,
            drift: message(&[Rule::DriftedShare, Rule::AlertRate]),
            performance: message(&[Rule::Performance]),
            new_labels,
            before: &before,
        };
        let found = due(&settings.retraining, signals);
        Ok(found.map(|(cause, reason)| RetrainingOrder { model: self.model.clone(), cause, reason, as_of_ms: end_ms }))
    }

    async fn run_all(&self) -> Result<Outcome, JobError> {
        let Some(mut looks) = Looks::of(&self.context, Retraining::NAME, &self.model, HOUR_MS).await? else {
            return Ok(Outcome::Idle);
        };
        // What the other jobs have not looked at yet may still begin an alert.
        let Some(covered_ms) = self.context.board.covered_by_others(&self.model, Retraining::NAME) else {
            return Ok(Outcome::Idle);
        };
        let mut outcome = Outcome::Idle;
        while let Some(next_ms) = looks.next_ms() {
            let end_ms = match self.context.settings.monitoring.clock {
                Clock::Events => next_ms,
                // After a pause only the present counts.
                Clock::Wall => looks.until_ms(),
            };
            if end_ms > covered_ms {
                break;
            }
            let since_ms = looks.state.parse().unwrap_or(end_ms);
            let order = self.order(since_ms, end_ms).await?;
            let failed = match order {
                None => None,
                Some(order) => {
                    let (cause, reason) = (order.cause, order.reason.clone());
                    tracing::info!(model = self.model, cause, "retraining: {reason}");
                    let running = Running::on(&self.context.board, &self.model);
                    let result = self.work.launcher.retrain(order).await;
                    drop(running);
                    result.err()
                }
            };
            let record = LookRecord { state: since_ms.to_string(), ..LookRecord::default() };
            let is_recorded = looks.record(end_ms, record).await?;
            if let Some(reason) = failed {
                return Err(JobError::Retraining(reason));
            }
            if !is_recorded {
                return Ok(Outcome::Idle);
            }
            outcome = Outcome::Worked;
        }
        Ok(outcome)
    }
}

impl Work for Retraining {
    const NAME: &'static str = "retraining";

    async fn run(job: &ModelJob<Self>) -> Result<Outcome, JobError> {
        job.run_all().await
    }
}
