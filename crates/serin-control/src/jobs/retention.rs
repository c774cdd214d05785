//! Job `retention`: removes panes and notices that are older than they are kept.

use super::looks::DAY_MS;
use super::{Context, Job, JobError, Outcome};
use crate::settings::Clock;
use futures_util::future::BoxFuture;

/// Least time between two runs, milliseconds.
const PERIOD_MS: i64 = 3_600_000;
/// Time for which notices are kept, delivered or not, milliseconds.
const NOTICES_MS: i64 = 30 * DAY_MS;

/// Retention of what monitoring keeps in the database.
pub(super) struct Retention {
    context: Context,
}

impl Retention {
    pub(super) fn new(context: Context) -> Self {
        Self { context }
    }

    async fn run_all(&self) -> Result<Outcome, JobError> {
        let Context { store, settings, .. } = &self.context;
        let now_ms = self.context.now_ms();
        let monitoring = &settings.monitoring;
        let keep_days = monitoring.keep_days.max(2);
        let latest_ms = monitoring.latest_event_ms(now_ms);
        let mut problem = store.remove_notices(now_ms - NOTICES_MS).await.err();
        for (model, newest_ms) in store.watched_models(latest_ms).await? {
            let before_ms = match monitoring.clock {
                // Payments of the past that are played again are kept like others: for so long behind the newest of them.
                Clock::Wall => Ok(Some(newest_ms.min(now_ms).saturating_sub(keep_days.saturating_mul(DAY_MS)))),
                // Hours with traffic are counted: one event far ahead of the others makes them no older.
                Clock::Events => store.oldest_kept_hour(&model, latest_ms, keep_days.saturating_mul(24)).await,
            };
            let removed = match before_ms {
                Ok(Some(before_ms)) => store.remove_panes(&model, before_ms).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            problem = removed.err().or(problem);
        }
        problem.map_or(Ok(Outcome::Worked), |problem| Err(problem.into()))
    }
}

impl Job for Retention {
    fn name(&self) -> &'static str {
        "retention"
    }

    fn model(&self) -> &str {
        ""
    }

    fn period_ms(&self) -> i64 {
        PERIOD_MS
    }

    fn run(&self) -> BoxFuture<'_, Result<Outcome, JobError>> {
        Box::pin(self.run_all())
    }
}
