//! Runs one job again and again: when it is due, with its runs in the database, and later where it failed.

use super::{Context, Job, JobError, Outcome};
use futures_util::FutureExt;
use serin_store::JobRuns;
use std::any::Any;
use std::panic::AssertUnwindSafe;

/// Longest pause between two runs of a job that is not done once a day, milliseconds; where the clock says more, it was set back.
const LONGEST_WAIT_MS: i64 = 3_600_000;
/// Time for which runs without any work are not written down one by one, milliseconds.
const IDLE_MS: i64 = 60_000;
/// Most characters of an error that are kept.
const MAX_ERROR: usize = 2000;

/// A job with what is known of its runs.
pub(super) struct Supervised {
    job: Box<dyn Job>,
    /// Time before which the job is not run, epoch milliseconds.
    next_at_ms: i64,
    /// Number of failed runs since the last success.
    failed: u32,
    /// Time of the last record of a run without work, epoch milliseconds; `None` after a run with work.
    idle_at_ms: Option<i64>,
    /// Runs and failed runs that the database has not been told of.
    untold: (i64, i64),
}

impl Supervised {
    pub(super) fn new(job: Box<dyn Job>) -> Self {
        Self { job, next_at_ms: i64::MIN, failed: 0, idle_at_ms: None, untold: (0, 0) }
    }

    /// Least time between two runs, milliseconds.
    pub(super) fn period_ms(&self) -> i64 {
        self.job.period_ms()
    }

    /// Runs the job if it is due. Nothing that happens in it, not even a panic, comes out.
    pub(super) async fn run_if_due(&mut self, context: &Context) {
        let started_at_ms = context.now_ms();
        if (1..=LONGEST_WAIT_MS).contains(&self.next_at_ms.saturating_sub(started_at_ms)) {
            return;
        }
        let (name, model) = (self.job.name(), self.job.model().to_owned());
        let is_idle = self.idle_at_ms.is_some_and(|at_ms| (0..IDLE_MS).contains(&(started_at_ms - at_ms)));
        if !is_idle && let Err(error) = context.store.begin_job(name, &model, started_at_ms).await {
            tracing::warn!(job = name, model, "the beginning of a run cannot be written down: {error}");
        }
        let result = match AssertUnwindSafe(self.job.run()).catch_unwind().await {
            Ok(result) => result,
            Err(panic) => Err(JobError::Panicked(text_of(&*panic))),
        };
        let ended_at_ms = context.now_ms();
        self.judge(name, &model, &result, ended_at_ms);
        context.board.set_failing(&model, name, result.is_err());
        self.untold.0 += 1;
        self.untold.1 += i64::from(result.is_err());
        if is_idle && matches!(result, Ok(Outcome::Idle)) {
            return;
        }
        self.idle_at_ms = matches!(result, Ok(Outcome::Idle)).then_some(ended_at_ms);
        let error = result.err().map(|error| error.to_string().chars().take(MAX_ERROR).collect());
        let (runs, failures) = self.untold;
        let ended = JobRuns { name: name.to_owned(), model, started_at_ms, ended_at_ms, error, runs, failures };
        match context.store.end_job(ended).await {
            Ok(()) => self.untold = (0, 0),
            Err(error) => tracing::warn!(job = name, "the end of a run cannot be written down: {error}"),
        }
    }

    /// Says in the log what came of a run, and when the next one is due: each failure in a row doubles the pause.
    fn judge(&mut self, name: &str, model: &str, result: &Result<Outcome, JobError>, now_ms: i64) {
        let period_ms = self.job.period_ms();
        match result {
            Ok(_) => {
                if self.failed > 0 {
                    tracing::info!(job = name, model, "succeeded after {} failures", self.failed);
                }
                self.failed = 0;
                self.next_at_ms = now_ms.saturating_add(period_ms);
            }
            Err(error) => {
                self.failed = self.failed.saturating_add(1);
                let longest_ms = self.job.longest_pause_ms().max(period_ms);
                let pause_ms = period_ms.saturating_mul(1 << (self.failed - 1).min(20)).min(longest_ms);
                self.next_at_ms = now_ms.saturating_add(pause_ms);
                if matches!(error, JobError::Panicked(_)) {
                    tracing::error!(job = name, model, pause_ms, "failed and is run again: {error}");
                } else {
                    tracing::warn!(job = name, model, pause_ms, "failed and is run again: {error}");
                }
            }
        }
    }
}

/// Message of a panic.
fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_owned()
}
