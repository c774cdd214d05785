//! Job `watch`: one look an hour at a model's live traffic without labels, with the alerts that it begins and ends.

use super::looks::{Looks, passing};
use super::{Context, JobError, ModelJob, Outcome, Work};
use crate::monitoring::MonitoringError;
use crate::monitoring::evidently::{push, snapshot};
use crate::monitoring::performance::package;
use crate::monitoring::windows::{Seen, seen};
use crate::settings::Clock;
use serin_analysis::monitor::{Condition, HOUR_MS, MonitorProfile, Report, Rule, conditions, is_outage, report};
use std::sync::Arc;

/// Looks of one model's traffic.
pub(super) struct Watch;

/// What one look found.
struct Found {
    conditions: Vec<Condition>,
    /// Version that decided last, and the report of its window; `None` without traffic in it.
    window: Option<(String, Report)>,
    /// Reason why the window could not be compared, now or ever.
    problem: Option<MonitoringError>,
}

impl ModelJob<Watch> {
    async fn look(&self, end_ms: i64) -> Result<Found, JobError> {
        let Context { store, monitoring, settings, .. } = &self.context;
        let hours = (end_ms - settings.monitoring.window_hours * HOUR_MS, end_ms);
        let mut problem = None;
        let seen = passing(seen(store, monitoring, &self.model, hours).await, &mut problem)?;
        let window = seen.as_ref().and_then(|seen| {
            let found = report(&seen.reference, &seen.panes, &settings.monitoring.budget())?;
            Some((seen.version.clone(), found))
        });
        let mut found = Vec::new();
        if let Some((_, report)) = &window {
            found.extend(conditions(report, settings.monitoring.drifted_share));
        }
        if settings.monitoring.clock == Clock::Wall {
            found.extend(self.silence(seen.as_ref(), end_ms).await?);
        }
        Ok(Found { conditions: found, window, problem })
    }

    /// Whether too long a time without a decision ends at `end_ms`. `None` if there was never one before.
    async fn silence(&self, seen: Option<&Seen>, end_ms: i64) -> Result<Option<Condition>, JobError> {
        let Some((version, newest_ms)) = self.context.store.newest_pane(&self.model, end_ms).await? else {
            return Ok(None);
        };
        let reference = match seen {
            Some(seen) => Some(Arc::clone(&seen.reference)),
            None => self.reference(&version).await,
        };
        let lately = seen.map_or(&[][..], |seen| &seen.panes);
        let budget = self.context.settings.monitoring.budget();
        Ok(Some(Condition {
            rule: Rule::Service,
            subject: "traffic".to_owned(),
            wrong: Some(is_outage(reference.as_deref(), lately, newest_ms, end_ms, &budget)),
            message: format!("the last decision came {} hours ago", (end_ms - newest_ms) / HOUR_MS),
        }))
    }

    /// Reference of a version, if it can be read: without one, silence is judged by the clock alone.
    async fn reference(&self, version: &str) -> Option<Arc<MonitorProfile>> {
        let Context { store, monitoring, .. } = &self.context;
        let package = package(store, monitoring, &self.model, version).await.ok()?;
        let references = monitoring.references.clone();
        tokio::task::spawn_blocking(move || references.of(&package)).await.ok()?.ok()
    }

    /// Shows a window on the board, and sends it to Evidently where it is due.
    fn show(&self, end_ms: i64, window: Option<(String, Report)>, told: bool) {
        let Some((version, report)) = window else { return };
        let mut sent = None;
        self.context.board.change(&self.model, |latest| {
            let evidently = self.context.settings.evidently.as_ref().filter(|_| told);
            if let Some(evidently) = evidently.filter(|own| (end_ms / HOUR_MS) % own.every_hours == 0) {
                let performance = latest.performance.as_ref().filter(|_| latest.version == version);
                sent = Some((evidently, snapshot(&self.model, &version, &report, performance)));
            }
            if latest.version != version {
                // Figures of another version say nothing of this one.
                latest.performance = None;
            }
            latest.version = version;
            latest.report = Some(report);
        });
        if let Some((evidently, snapshot)) = sent {
            push(evidently, snapshot);
        }
    }

    async fn run_all(&self) -> Result<Outcome, JobError> {
        let Some(mut looks) = Looks::of(&self.context, Watch::NAME, &self.model, HOUR_MS).await? else {
            return Ok(Outcome::Idle);
        };
        let mut book = looks.book(|rule, _| rule != Rule::Performance).await?;
        let (mut outcome, mut problem) = (Outcome::Idle, None);
        while let Some(end_ms) = looks.next_ms() {
            let found = self.look(end_ms).await?;
            if !looks.record_conditions(end_ms, &mut book, found.conditions).await? {
                return Ok(Outcome::Idle);
            }
            self.show(end_ms, found.window, true);
            problem = found.problem.or(problem);
            outcome = Outcome::Worked;
        }
        if outcome == Outcome::Idle && !self.context.board.has_report(&self.model) {
            // After a restart: the pages and metrics show the window that was looked at last.
            let found = self.look(looks.until_ms()).await?;
            self.show(looks.until_ms(), found.window, false);
        }
        problem.map_or(Ok(outcome), |problem| Err(problem.into()))
    }
}

impl Work for Watch {
    const NAME: &'static str = "watch";

    async fn run(job: &ModelJob<Self>) -> Result<Outcome, JobError> {
        job.run_all().await
    }
}
