//! Which hours or days of a model a job has to look at, and writing down that it did.

use super::{Context, JobError};
use crate::monitoring::MonitoringError;
use crate::settings::{AlertSettings, Clock};
use serin_analysis::monitor::{AlertBook, Change, Condition, HOUR_MS, Rule};
use serin_store::{Alert, AlertChange, AlertEvent, LookRecord, StoreError};

pub(super) const DAY_MS: i64 = 24 * HOUR_MS;
/// Longest time of a model that is looked at afterwards, milliseconds; what is older is left out.
const CATCH_UP_MS: i64 = 35 * DAY_MS;

/// Progress of one job through the hours or days of one model.
pub(super) struct Looks<'a> {
    context: &'a Context,
    job: &'static str,
    model: &'a str,
    /// Time between two looks, milliseconds: an hour or a day.
    every_ms: i64,
    /// Progress in the database, epoch milliseconds.
    from_ms: i64,
    /// End of the last hour that is over, epoch milliseconds.
    until_ms: i64,
    /// What the job left for its next look.
    pub(super) state: String,
}

impl<'a> Looks<'a> {
    /// Reads how far a job is; `None` while the model has no traffic. The first look of a job at a model is the one at the
    /// hour that ended last; this is written down at once, so that no restart loses what comes after it.
    pub(super) async fn of(
        context: &'a Context,
        job: &'static str,
        model: &'a str,
        every_ms: i64,
    ) -> Result<Option<Looks<'a>>, JobError> {
        let monitoring = &context.settings.monitoring;
        let now_ms = context.now_ms();
        let latest_ms = monitoring.latest_event_ms(now_ms);
        let Some((_, newest_ms)) = context.store.newest_pane(model, latest_ms.saturating_add(1)).await? else {
            return Ok(None);
        };
        let until_ms = match monitoring.clock {
            Clock::Events => newest_ms,
            Clock::Wall => now_ms.div_euclid(HOUR_MS) * HOUR_MS,
        };
        let stored = context.store.progress(job, model).await?;
        let looks = match stored {
            Some(stored) => {
                let (from_ms, state) = (stored.until_ms, stored.state);
                Self { context, job, model, every_ms, from_ms, until_ms, state }
            }
            None => {
                let from_ms = until_ms - HOUR_MS;
                let first =
                    LookRecord { job, model: model.to_owned(), until_ms: from_ms, now_ms, ..LookRecord::default() };
                ignoring_conflict(context.store.record_look(first).await)?;
                Self { context, job, model, every_ms, from_ms, until_ms, state: String::new() }
            }
        };
        looks.show();
        Ok(Some(looks))
    }

    /// End of the next hour or day that is to be looked at, epoch milliseconds; `None` if there is none yet.
    pub(super) fn next_ms(&self) -> Option<i64> {
        let from_ms = match self.from_ms {
            // A clock that was ahead and was set back: what it looked at then is begun anew.
            ahead if ahead > self.until_ms.saturating_add(DAY_MS) => self.until_ms - HOUR_MS,
            from_ms => from_ms.max(self.until_ms.saturating_sub(CATCH_UP_MS)),
        };
        let next_ms = (from_ms.div_euclid(self.every_ms) + 1) * self.every_ms;
        (next_ms <= self.until_ms).then_some(next_ms)
    }

    /// End of the last hour that is over, epoch milliseconds.
    pub(super) fn until_ms(&self) -> i64 {
        self.until_ms
    }

    /// Writes a look at the hour or day that ends at `end_ms` down, with what it changes. False if another server was first,
    /// or the promotion that it undoes was moved: nothing is written then.
    pub(super) async fn record(&mut self, end_ms: i64, look: LookRecord) -> Result<bool, JobError> {
        let look = LookRecord {
            job: self.job,
            model: self.model.to_owned(),
            from_ms: Some(self.from_ms),
            until_ms: end_ms,
            now_ms: self.context.now_ms(),
            ..look
        };
        let state = look.state.clone();
        if !ignoring_conflict(self.context.store.record_look(look).await)? {
            return Ok(false);
        }
        (self.from_ms, self.state) = (end_ms, state);
        self.show();
        Ok(true)
    }

    /// Writes a look at conditions down, with the alerts that it begins and ends. The book changes when that is written, and not
    /// before: a look that fails is repeated as if it had not been. False if another server was first.
    pub(super) async fn record_conditions(
        &mut self,
        end_ms: i64,
        book: &mut AlertBook,
        conditions: Vec<Condition>,
    ) -> Result<bool, JobError> {
        let settings = &self.context.settings.alerts;
        let mut next = book.clone();
        let changes = next.look(conditions, settings.hysteresis());
        let state = serde_json::to_string(&next).unwrap_or_default();
        let written = alert_changes(settings, &changes, end_ms);
        if !self.record(end_ms, LookRecord { state, changes: written, ..LookRecord::default() }).await? {
            return Ok(false);
        }
        for change in &changes {
            let (rule, began) = (change.rule.name(), change.began);
            tracing::info!(model = self.model, rule, began, "alert: {}", change.message);
        }
        *book = next;
        Ok(true)
    }

    /// Alerts that are on, of some rules, as the book of a job that has left none.
    pub(super) async fn book(&self, is_own: impl Fn(Rule, &str) -> bool) -> Result<AlertBook, JobError> {
        if let Ok(book) = serde_json::from_str(&self.state) {
            return Ok(book);
        }
        let known = |alert: Alert| {
            let rule = Rule::ALL.into_iter().find(|rule| rule.name() == alert.rule)?;
            is_own(rule, &alert.subject).then_some((rule, alert.subject))
        };
        Ok(AlertBook::with(self.context.store.alerts_on(self.model).await?.into_iter().filter_map(known)))
    }

    /// Shows on the board before which hour nothing is left to look at.
    fn show(&self) {
        let covered_ms = (self.from_ms.div_euclid(self.every_ms) + 1) * self.every_ms - HOUR_MS;
        self.context.board.set_covered(self.model, self.job, covered_ms);
    }
}

fn ignoring_conflict(written: Result<(), StoreError>) -> Result<bool, JobError> {
    match written {
        Ok(()) => Ok(true),
        Err(StoreError::Conflict(message)) => {
            tracing::debug!("{message}");
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Changes of alerts as they are written, with the receivers that are told.
fn alert_changes(settings: &AlertSettings, changes: &[Change], at_ms: i64) -> Vec<AlertChange> {
    let written = |change: &Change| {
        let event = if change.began { AlertEvent::Began } else { AlertEvent::Ended };
        alert_change(settings, change, event, at_ms)
    };
    changes.iter().map(written).collect()
}

pub(super) fn alert_change(settings: &AlertSettings, change: &Change, event: AlertEvent, at_ms: i64) -> AlertChange {
    let Change { rule, subject, message, .. } = change;
    let told = |receiver: &crate::settings::Receiver| receiver.id();
    AlertChange {
        rule: rule.name().to_owned(),
        subject: subject.clone(),
        severity: if rule.is_critical() { "critical" } else { "warning" }.to_owned(),
        event,
        at_ms,
        message: message.clone(),
        receivers: if settings.is_muted(rule.name(), subject) {
            Vec::new()
        } else {
            settings.to.iter().map(told).collect()
        },
    }
}

/// What a look found; nothing where its hour or day can never be looked at: it is passed, and its error kept in `problem`.
pub(super) fn passing<T>(
    found: Result<Option<T>, MonitoringError>,
    problem: &mut Option<MonitoringError>,
) -> Result<Option<T>, JobError> {
    match found {
        Ok(found) => Ok(found),
        Err(error) if is_permanent(&error) => {
            *problem = Some(error);
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether an hour or day that failed so will fail so for ever: it is passed then, and the error told.
pub(super) fn is_permanent(error: &MonitoringError) -> bool {
    match error {
        MonitoringError::InvalidInput(_) | MonitoringError::Reference { .. } => true,
        MonitoringError::File { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        MonitoringError::Store(error) => {
            matches!(error, StoreError::NotFound(_) | StoreError::Damaged { .. } | StoreError::InvalidInput(_))
        }
        _ => false,
    }
}
