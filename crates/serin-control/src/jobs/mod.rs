//! Everything that the tracking server does by itself: each job apart, for each model apart, with its runs in the database.
//!
//! A [`Job`] has a name, a model or none, and a period. It is idempotent: what it has done is in the database, in the
//! transaction of the work itself ([`serin_store::Store::record_look`]), so that a run that is repeated, or done by another
//! server on the same database, does nothing twice. [`Jobs`] finds the models and runs the jobs; `supervisor.rs` catches what
//! goes wrong in one, writes it down and runs it again.

mod error;
mod guard;
mod looks;
mod notifications;
mod performance;
mod retention;
mod retraining;
mod supervisor;
mod watch;

use crate::monitoring::{Board, Monitoring, Sources};
use crate::settings::Settings;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serin_store::Store;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use supervisor::Supervised;
use tokio::task::JoinSet;

pub(crate) use error::JobError;
pub use retraining::{Launcher, RetrainingFailure, RetrainingOrder};

/// Longest pause after failures, milliseconds, where a job does not say another one.
const LONGEST_PAUSE_MS: i64 = 600_000;
/// Longest sleep between two looks at the clock.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What came of a run that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The job did something.
    Worked,
    /// There was nothing to do.
    Idle,
}

/// Work that is done again and again.
pub(crate) trait Job: Send + Sync {
    /// Name of the job in the database, in metrics and on pages: a noun.
    fn name(&self) -> &'static str;

    /// Name of the registered model that the job is about; empty where it is about none.
    fn model(&self) -> &str;

    /// Least time between the end of a run and the beginning of the next, milliseconds.
    fn period_ms(&self) -> i64;

    /// Longest pause after failures, milliseconds.
    fn longest_pause_ms(&self) -> i64 {
        LONGEST_PAUSE_MS
    }

    /// Does what is due.
    fn run(&self) -> BoxFuture<'_, Result<Outcome, JobError>>;
}

/// Job about one model: its data, and what it does with them.
pub(crate) struct ModelJob<W> {
    context: Context,
    model: String,
    work: W,
}

/// What a job about one model does.
pub(crate) trait Work: Send + Sync + Sized {
    /// Name of the job.
    const NAME: &'static str;

    /// Does what is due.
    fn run(job: &ModelJob<Self>) -> impl Future<Output = Result<Outcome, JobError>> + Send;
}

impl<W: Work> Job for ModelJob<W> {
    fn name(&self) -> &'static str {
        W::NAME
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn period_ms(&self) -> i64 {
        self.context.every_ms()
    }

    fn run(&self) -> BoxFuture<'_, Result<Outcome, JobError>> {
        Box::pin(W::run(self))
    }
}

/// Data, settings and clock of all jobs.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) monitoring: Monitoring,
    pub(crate) settings: Settings,
    pub(crate) board: Board,
    /// Clock that returns the time now, epoch milliseconds.
    pub(crate) clock: fn() -> i64,
    /// Way to start retrainings; `None` if this server has none.
    pub(crate) launcher: Option<Arc<dyn Launcher>>,
}

impl Context {
    pub(crate) fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    /// Least time between two looks for something new, milliseconds.
    fn every_ms(&self) -> i64 {
        (self.settings.monitoring.every_seconds.clamp(0.1, 3600.0) * 1000.0) as i64
    }

    fn sources(&self) -> Sources<'_> {
        Sources { store: &self.store, monitoring: &self.monitoring, settings: &self.settings, now_ms: self.now_ms() }
    }
}

/// All jobs of a tracking server.
pub struct Jobs {
    context: Context,
    /// Jobs that are about no model.
    general: Vec<Supervised>,
    /// Jobs of each model, in the order in which they build on each other.
    of_models: BTreeMap<String, Vec<Supervised>>,
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").field("models", &self.of_models.keys()).finish_non_exhaustive()
    }
}

impl Jobs {
    pub(crate) fn new(context: Context) -> Self {
        let general: [Box<dyn Job>; 2] = [
            Box::new(notifications::Notifications::new(context.clone())),
            Box::new(retention::Retention::new(context.clone())),
        ];
        let general = general.into_iter().map(Supervised::new).collect();
        Self { context, general, of_models: BTreeMap::new() }
    }

    /// Runs every job that is due once, one after the other, and returns when the last has ended.
    pub async fn round(&mut self) {
        for (model, jobs) in new_models(&self.context, |model| self.of_models.contains_key(model)).await {
            self.of_models.insert(model, jobs);
        }
        let jobs = self.of_models.values_mut().flatten().chain(&mut self.general);
        for job in jobs {
            job.run_if_due(&self.context).await;
        }
    }

    /// Starts running the jobs, each in a task of its own; they end with what is returned.
    #[must_use]
    pub fn start(self) -> RunningJobs {
        RunningJobs(tokio::spawn(async move {
            let Self { context, general, of_models } = self;
            // Tasks of the set end with it.
            let mut tasks = JoinSet::new();
            let mut known: Vec<String> = of_models.keys().cloned().collect();
            for job in general.into_iter().chain(of_models.into_values().flatten()) {
                tasks.spawn(repeat(context.clone(), job));
            }
            loop {
                for (model, jobs) in new_models(&context, |model| known.iter().any(|known| known == model)).await {
                    known.push(model);
                    for job in jobs {
                        tasks.spawn(repeat(context.clone(), job));
                    }
                }
                tokio::time::sleep(Duration::from_millis(context.every_ms().unsigned_abs())).await;
            }
        }))
    }
}

/// Handle of running jobs; they end when it is dropped.
#[derive(Debug)]
pub struct RunningJobs(tokio::task::JoinHandle<()>);

impl Drop for RunningJobs {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Jobs of the models whose traffic is seen for the first time.
async fn new_models(context: &Context, is_known: impl Fn(&str) -> bool) -> Vec<(String, Vec<Supervised>)> {
    let latest_ms = context.settings.monitoring.latest_event_ms(context.now_ms());
    let models = match context.store.watched_models(latest_ms).await {
        Ok(models) => models,
        Err(error) => {
            tracing::warn!("the jobs cannot ask the database for models: {error}");
            Vec::new()
        }
    };
    let new = models.into_iter().map(|(model, _)| model).filter(|model| !is_known(model));
    new.map(|model| {
        let mut jobs = vec![
            of_model(context, &model, watch::Watch),
            of_model(context, &model, performance::DailyFigures),
            of_model(context, &model, guard::Guard),
        ];
        if let Some(launcher) = context.launcher.as_ref().filter(|_| context.settings.retraining.enabled) {
            jobs.push(of_model(context, &model, retraining::Retraining::by(Arc::clone(launcher))));
        }
        context.board.expect_steps(&model, jobs.iter().map(|job| job.name()));
        (model, jobs.into_iter().map(Supervised::new).collect())
    })
    .collect()
}

fn of_model<W: Work + 'static>(context: &Context, model: &str, work: W) -> Box<dyn Job> {
    Box::new(ModelJob { context: context.clone(), model: model.to_owned(), work })
}

async fn repeat(context: Context, mut job: Supervised) {
    let sleep = Duration::from_millis(job.period_ms().unsigned_abs()).min(LONGEST_SLEEP);
    loop {
        if AssertUnwindSafe(job.run_if_due(&context)).catch_unwind().await.is_err() {
            tracing::error!("the supervisor of a job panicked; the job is run again");
        }
        tokio::time::sleep(sleep).await;
    }
}
