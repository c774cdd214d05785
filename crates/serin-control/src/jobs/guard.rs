//! Job `guard`: once a day, whether a planned look at a promotion is due, and the way back where a loss is proven.

use super::looks::{DAY_MS, Looks, alert_change, passing};
use super::performance::PROMOTION;
use super::{Context, JobError, ModelJob, Outcome, Work};
use crate::monitoring::MonitoringError;
use crate::monitoring::guard::{self, ACTOR, GuardLook};
use serin_analysis::monitor::{Change, Rule};
use serin_store::{AlertEvent, GuardLooks, LookRecord, Undo};

/// Guard of one model's promotions.
pub(super) struct Guard;

impl ModelJob<Guard> {
    async fn look(&self, as_of_ms: i64) -> Result<Option<GuardLook>, MonitoringError> {
        let Context { store, monitoring, settings, .. } = &self.context;
        let newest = store.newest_pane(&self.model, as_of_ms).await?;
        let Some(version) = newest.and_then(|(version, _)| version.parse().ok()) else { return Ok(None) };
        guard::look(store, monitoring, settings, &self.model, version, as_of_ms).await
    }

    /// Everything that a look changes: the number of looks, the way back, the alert.
    fn record_of(&self, found: &GuardLook, at_ms: i64) -> LookRecord {
        let GuardLook { promotion, looks, loss } = found;
        let settings = &self.context.settings;
        let counted = GuardLooks { promotion: promotion.id.clone(), looks: *looks };
        let mut record = LookRecord { guard: Some(counted), ..LookRecord::default() };
        let Some(why) = loss else { return record };
        let mut message =
            format!("version {} is worse than {} before it: {why}", promotion.version, promotion.previous);
        if settings.guard.rollback {
            let reason = format!("version {} lost: {why}", promotion.version);
            record.undo = Some(Undo {
                target: guard::uri(&self.model, &promotion.target),
                version: promotion.version,
                previous: promotion.previous,
                change: serin_tracking::Change::new(ACTOR, reason, self.context.now_ms()),
            });
            message = format!("{message}; version {} is live again", promotion.previous);
        }
        let change = Change { rule: Rule::Performance, subject: PROMOTION.to_owned(), began: true, message };
        // It is over as soon as it is said: nothing goes on that could end.
        record.changes.push(alert_change(&settings.alerts, &change, AlertEvent::Happened, at_ms));
        record
    }

    async fn run_all(&self) -> Result<Outcome, JobError> {
        let Some(mut looks) = Looks::of(&self.context, Guard::NAME, &self.model, DAY_MS).await? else {
            return Ok(Outcome::Idle);
        };
        let (mut outcome, mut problem) = (Outcome::Idle, None);
        while let Some(end_ms) = looks.next_ms() {
            let found = passing(self.look(end_ms).await, &mut problem)?;
            let record = found.as_ref().map_or_else(LookRecord::default, |found| self.record_of(found, end_ms));
            let said = record.changes.first().map(|change| change.message.clone());
            let undoes = record.undo.is_some();
            if !looks.record(end_ms, record).await? {
                // Another server has looked, or somebody has moved the alias: then there is nothing to undo.
                if !undoes || !looks.record(end_ms, LookRecord::default()).await? {
                    return Ok(Outcome::Idle);
                }
            } else if let Some(message) = said {
                tracing::warn!(model = self.model, "{message}");
            }
            outcome = Outcome::Worked;
        }
        problem.map_or(Ok(outcome), |problem| Err(problem.into()))
    }
}

impl Work for Guard {
    const NAME: &'static str = "guard";

    async fn run(job: &ModelJob<Self>) -> Result<Outcome, JobError> {
        job.run_all().await
    }
}
