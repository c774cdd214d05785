//! The latest figures of each model, for pages and metrics, and how far its jobs are.

use serin_analysis::monitor::{Report, certainty_word};
use serin_analysis::performance::Performance;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Latest figures of a model, for pages and metrics.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latest {
    /// Version that decided last; empty before the first look.
    pub(crate) version: String,
    pub(crate) report: Option<Report>,
    pub(crate) performance: Option<Performance>,
    /// True while a retraining that a look set off has not ended.
    pub(crate) retraining: bool,
    /// Jobs that look at the model's hours, by their names.
    steps: BTreeMap<&'static str, Step>,
}

/// State of one job that looks at a model's hours.
#[derive(Debug, Clone, Copy, Default)]
struct Step {
    /// Time before which nothing is left to look at, epoch milliseconds; `None` before the first run.
    covered_ms: Option<i64>,
    /// True if the last run failed.
    failing: bool,
}

/// Name of a gauge, its labels, and its value.
type Gauge = (&'static str, Vec<(&'static str, String)>, f64);

/// Latest figures of each model, by its name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board(Arc<Mutex<BTreeMap<String, Latest>>>);

impl Board {
    pub(crate) fn all(&self) -> BTreeMap<String, Latest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True if a window of the model was looked at since this server started.
    pub(crate) fn has_report(&self, model: &str) -> bool {
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        board.get(model).is_some_and(|latest| latest.report.is_some())
    }

    /// Time before which every job has looked at every hour of a model, epoch milliseconds (`None` before their first runs), and
    /// whether a retraining runs that a look set off.
    pub(crate) fn looked(&self, model: &str) -> (Option<i64>, bool) {
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(latest) = board.get(model) else { return (None, false) };
        let covered: Option<Vec<i64>> = latest.steps.values().map(|step| step.covered_ms).collect();
        (covered.and_then(|all| all.into_iter().min()), latest.retraining)
    }

    /// Time before which the other jobs of a model have looked at every hour, epoch milliseconds; those that failed last are
    /// not waited for. `None` while one has not run yet.
    pub(crate) fn covered_by_others(&self, model: &str, job: &str) -> Option<i64> {
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let others = board.get(model)?.steps.iter().filter(|(name, step)| **name != job && !step.failing);
        let covered: Option<Vec<i64>> = others.map(|(_, step)| step.covered_ms).collect();
        covered.map(|all| all.into_iter().min().unwrap_or(i64::MAX))
    }

    /// Names the jobs that will look at a model's hours.
    pub(crate) fn expect_steps(&self, model: &str, jobs: impl Iterator<Item = &'static str>) {
        self.change(model, |latest| latest.steps.extend(jobs.map(|job| (job, Step::default()))));
    }

    /// Sets the time before which a job has nothing left to look at, epoch milliseconds.
    pub(crate) fn set_covered(&self, model: &str, job: &'static str, covered_ms: i64) {
        self.change(model, |latest| latest.steps.entry(job).or_default().covered_ms = Some(covered_ms));
    }

    /// Sets whether the last run of a job failed; does nothing for a job that is about no model.
    pub(crate) fn set_failing(&self, model: &str, job: &'static str, failing: bool) {
        if !model.is_empty() {
            self.change(model, |latest| latest.steps.entry(job).or_default().failing = failing);
        }
    }

    pub(crate) fn change(&self, model: &str, change: impl FnOnce(&mut Latest)) {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(model.to_owned()).or_default());
    }
}

impl Latest {
    /// Appends the gauges of a model, as `/metrics` shows them.
    pub(crate) fn gauges(&self, model: &str, out: &mut Vec<Gauge>) {
        let labels = |more: &[(&'static str, &str)]| {
            let mut all = vec![("model", model.to_owned()), ("version", self.version.clone())];
            all.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
            all
        };
        if let Some(report) = &self.report {
            for watch in &report.drift {
                let of =
                    [("column", watch.name.as_str()), ("measure", watch.measure), ("certainty", certainty_word(watch))];
                out.push(("serin_drift_score", labels(&of), watch.value));
                out.push(("serin_drift_threshold", labels(&of[..2]), watch.threshold));
                out.push(("serin_drift_alarm", labels(&of[..2]), f64::from(u8::from(watch.alarm))));
            }
            for watch in &report.quality {
                out.push((
                    "serin_missing_share",
                    labels(&[("column", &watch.name), ("measure", watch.measure)]),
                    watch.value,
                ));
            }
            out.push(("serin_alert_rate", labels(&[]), report.alert_rate.value));
            out.push(("serin_drifted_importance", labels(&[]), report.drifted_importance));
            out.push(("serin_window_decisions", labels(&[]), report.rows as f64));
        }
        if let Some(performance) = &self.performance {
            for (metric, value) in &performance.metrics {
                out.push(("serin_performance", labels(&[("metric", metric)]), *value));
            }
            out.push(("serin_label_coverage", labels(&[]), performance.coverage()));
        }
    }
}
