//! How many new labels are about decisions of one model.

use super::Sources;
use super::error::MonitoringError;
use super::guard::DAY_MS;
use super::performance::LabelKeys;
use crate::settings::Clock;
use serin_decisions::{DecisionFiles, DecisionOutline, Fallback};
use serin_store::LabelTime;
use serin_tracking::Labels;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Age of the oldest decisions whose labels are counted, milliseconds: longer than a chargeback takes.
const OLDEST_MS: i64 = 180 * DAY_MS;

/// Counts of new labels of one model, with the last one, so that the decision log is read only where it could say something
/// else.
#[derive(Debug, Default)]
pub(crate) struct LabelCounts(Mutex<Option<Counted>>);

/// Last count of a model's labels.
#[derive(Debug, Clone, Copy)]
struct Counted {
    /// Time from which labels are new, epoch milliseconds.
    since_ms: i64,
    /// Number of new labels of all models.
    all: i64,
    /// Number of new labels of this model.
    own: i64,
}

impl LabelCounts {
    /// Number of the model's transactions with labels that are new between `since_ms` and `until_ms`, epoch milliseconds: that
    /// came then, or, where the past is played again, became known then. Where it is below `enough` it may be an earlier, lower
    /// count. 0 without a decision log.
    pub(crate) async fn since(
        &self,
        sources: Sources<'_>,
        model: &str,
        since_ms: i64,
        until_ms: i64,
        enough: i64,
    ) -> Result<i64, MonitoringError> {
        let Some(files) = sources.monitoring.log() else { return Ok(0) };
        let by = match sources.settings.monitoring.clock {
            Clock::Wall => LabelTime::Received,
            Clock::Events => LabelTime::Known,
        };
        let all = sources.store.count_labels(by, since_ms, until_ms).await?;
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all < enough {
            return Ok(0);
        }
        if let Some(last) = last.filter(|last| last.since_ms == since_ms && last.own + (all - last.all) < enough) {
            return Ok(last.own);
        }
        let labels = sources.store.labels_between(by, since_ms, until_ms).await?;
        let model = model.to_owned();
        let oldest_ms = until_ms.saturating_sub(OLDEST_MS);
        let read = tokio::task::spawn_blocking(move || count(&files, &model, &labels, oldest_ms));
        let own = read.await.unwrap_or(Err(MonitoringError::Interrupted("counting new labels")))?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Counted { since_ms, all, own });
        Ok(own)
    }
}

fn count(files: &DecisionFiles, model: &str, labels: &Labels, oldest_ms: i64) -> Result<i64, MonitoringError> {
    let keys = LabelKeys::of(labels);
    let each = |found: &mut Vec<u64>, decision: &DecisionOutline<'_>| {
        let has_label = || decision.whole(|decision| labels.find(&decision.id, decision.transaction_id).is_some());
        if Fallback::is_of_a_model(decision.fallback) && keys.may_have(decision) && has_label() == Some(true) {
            found.push(decision.transaction_key);
        }
    };
    let (found, report) = files.outlines(model, &[], (oldest_ms.max(0), i64::MAX), Vec::new, each)?;
    report.warn();
    // A transaction that was sent again is one.
    let mut seen = HashSet::new();
    let is_first = |transaction: &u64| *transaction == 0 || seen.insert(*transaction);
    Ok(found.into_iter().flatten().filter(is_first).count() as i64)
}
