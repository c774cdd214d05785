//! What a training that is stopped by Ctrl-C or SIGTERM leaves in order: no run and no retraining stays at work for ever.

use super::{leave, now_ms};
use crate::registry::{Registry, StoreLedger};
use serin_batch::retraining::RetrainingLedger;
use serin_batch::training::{TrainingRegistry, TrainingStep};
use serin_scorer::listening::Shutdown;
use serin_tracking::RunStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::AbortHandle;

/// Exit status of a command that a signal has ended.
const STOPPED: i32 = 130;

/// Ids of what was begun and has not ended.
#[derive(Debug, Default)]
struct Open {
    run: Option<String>,
    retraining: Option<String>,
}

/// Watch over a training: when a signal comes, what was begun is ended as stopped, and the process with it. Dropped, it watches no more.
pub(crate) struct Watch {
    open: Arc<Mutex<Open>>,
    task: AbortHandle,
}

fn locked(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// Watches from now on; within a Tokio runtime.
    pub(crate) fn over(registry: Registry, ledger: Option<StoreLedger>) -> std::io::Result<Self> {
        let signals = Shutdown::catch()?;
        let open = Arc::new(Mutex::new(Open::default()));
        let begun = Arc::clone(&open);
        let task = tokio::spawn(async move {
            signals.requested().await;
            let Open { run, retraining } = std::mem::take(&mut *locked(&begun));
            if let Some(run) = &run {
                match registry.finish_run(run, RunStatus::Killed, now_ms()).await {
                    Ok(()) => tracing::warn!("stopped: run {run} is marked KILLED, and no version was made of it"),
                    Err(error) => tracing::error!("stopped: run {run} is left at work: {error}"),
                }
            }
            if let (Some(id), Some(ledger)) = (&retraining, &ledger) {
                let verdict = "stopped by a signal while it was at work";
                if let Err(error) = ledger.end_retraining(id, "failed", None, verdict, now_ms()).await {
                    tracing::error!("stopped: the retraining is left open in the history: {error}");
                }
            }
            leave(STOPPED);
        });
        Ok(Self { open, task: task.abort_handle() })
    }

    /// Notes what a step has begun.
    pub(crate) fn note(&self, step: &TrainingStep<'_>) {
        match step {
            TrainingStep::RunBegun(id) => locked(&self.open).run = Some((*id).to_owned()),
            TrainingStep::RetrainingBegun(id) => locked(&self.open).retraining = Some((*id).to_owned()),
            TrainingStep::Reading(..) | TrainingStep::Round(..) => {}
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
