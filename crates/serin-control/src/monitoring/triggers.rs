//! Rules for when a retraining begins, and for what holds it back.

use crate::settings::{RetrainingSettings, cron};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serin_store::Retraining;

const DAY_MS: i64 = 86_400_000;
/// Time after which a retraining that has not ended counts as dead, milliseconds.
const LOST_MS: i64 = DAY_MS;

/// Signals from which it is decided whether a retraining is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signals<'a> {
    /// Time now, epoch milliseconds, on the clock that retrainings are dated by.
    pub(crate) now_ms: i64,
    /// Time since which the model is watched, epoch milliseconds; schedules before count from there.
    pub(crate) watching_since_ms: i64,
    /// Sustained drift of the model in a sentence, if there is any.
    pub(crate) drift: Option<&'a str>,
    /// Worse matured figures in a sentence, if there are any.
    pub(crate) performance: Option<&'a str>,
    /// Number of labels that came since the last retraining began.
    pub(crate) new_labels: i64,
    /// Earlier retrainings of the model, the newest first.
    pub(crate) before: &'a [Retraining],
}

/// Cause and reason of a retraining that is due. `None` if none is, or one runs, cools down or is over budget.
pub(crate) fn due(settings: &RetrainingSettings, signals: Signals<'_>) -> Option<(&'static str, String)> {
    let Signals { now_ms, before, .. } = signals;
    let last = before.first();
    let runs = last.is_some_and(|last| last.ended_at_ms.is_none() && now_ms - last.started_at_ms < LOST_MS);
    let cooling = last
        .is_some_and(|last| now_ms - last.started_at_ms < (settings.cool_down_days.max(0.0) * DAY_MS as f64) as i64);
    let week = before.iter().filter(|one| now_ms - one.started_at_ms < 7 * DAY_MS).count();
    if !settings.enabled || runs || cooling || week >= settings.most_a_week {
        return None;
    }
    if let Some(reason) = signals.performance.filter(|_| settings.on_performance) {
        return Some(("performance", reason.to_owned()));
    }
    if let Some(reason) = signals.drift.filter(|_| settings.on_drift) {
        return Some(("drift", reason.to_owned()));
    }
    if let Some(most) = settings.on_labels.filter(|most| signals.new_labels >= *most) {
        return Some(("labels", format!("{} new labels, from {most} on a model is trained again", signals.new_labels)));
    }
    let schedule = settings.schedule.as_deref()?;
    let from = last.map_or(signals.watching_since_ms, |last| last.started_at_ms);
    let next = next(schedule, from)?;
    (next <= now_ms).then(|| ("schedule", format!("{schedule:?} was due at {next} (epoch ms)")))
}

fn next(pattern: &str, from_ms: i64) -> Option<i64> {
    let from = Timestamp::from_millisecond(from_ms).ok()?.to_zoned(TimeZone::UTC);
    let next = cron(pattern).ok()?.find_next_occurrence(&from, false).ok()?;
    Some(next.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(started_day: i64, ended: bool) -> Retraining {
        Retraining {
            id: String::new(),
            model: String::new(),
            cause: String::new(),
            reason: String::new(),
            started_at_ms: started_day * DAY_MS,
            ended_at_ms: ended.then_some(started_day * DAY_MS + 1),
            outcome: None,
            version: None,
            verdict: None,
        }
    }

    fn cause(settings: &RetrainingSettings, now_day: i64, drift: bool, before: &[Retraining]) -> Option<&'static str> {
        let signals = Signals {
            now_ms: now_day * DAY_MS,
            watching_since_ms: 0,
            drift: drift.then_some("x drifted"),
            performance: None,
            new_labels: 5,
            before,
        };
        due(settings, signals).map(|(cause, _)| cause)
    }

    #[test]
    fn one_at_a_time_not_too_soon_and_not_too_often() {
        let settings = RetrainingSettings { enabled: true, ..RetrainingSettings::default() };
        assert_eq!(cause(&settings, 100, true, &[]), Some("drift"));
        assert_eq!(cause(&settings, 100, false, &[]), None);
        assert_eq!(cause(&RetrainingSettings::default(), 100, true, &[]), None, "not enabled");
        assert_eq!(cause(&settings, 102, true, &[past(100, true)]), None, "cooling down");
        assert_eq!(cause(&settings, 103, true, &[past(100, true)]), Some("drift"));
        assert_eq!(cause(&settings, 103, true, &[past(100, true), past(97, true)]), None, "twice this week");
        let hasty = RetrainingSettings { cool_down_days: 0.0, ..settings.clone() };
        assert_eq!(cause(&hasty, 100, true, &[past(100, false)]), None, "one runs");
        assert_eq!(cause(&hasty, 101, true, &[past(100, false)]), Some("drift"), "it died");
        let labels = RetrainingSettings { on_labels: Some(5), on_drift: false, ..settings.clone() };
        assert_eq!(cause(&labels, 100, true, &[]), Some("labels"));
        // Mondays at four; day 4 was one (1970-01-05).
        let weekly = RetrainingSettings { schedule: Some("0 4 * * 1".to_owned()), ..settings };
        assert_eq!((cause(&weekly, 4, false, &[]), cause(&weekly, 5, false, &[])), (None, Some("schedule")));
        assert_eq!(cause(&weekly, 11, false, &[past(5, true)]), None, "the next one is due at four");
        assert!(cron("every day").is_err());
    }
}
