//! Counts of the shadow and of the arms since they were taken last.

use super::counted::Counted;
use super::release::Releasing;
use super::split::{Arm, Step};
use crate::shadow::Compared;
use serin_analysis::evidence::Counts;
use serin_analysis::evidence::allocation::Events;
use serin_analysis::evidence::paired::Paired;
use serin_analysis::rollout::LatencyCounts;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of the rollout that this process has not handed over yet.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    /// Splits of this attempt: requests under way may still count in one that is not set any more.
    steps: Vec<Arc<Step>>,
    /// Counts of the shadow when they were taken last.
    baseline: Paired,
    pub(crate) counted: Counted,
}

/// Comparison of the shadow's candidate that belongs to this rollout.
pub(crate) fn shadowed(releasing: &Releasing) -> Option<&Compared> {
    let mut all = releasing.shadow.candidates().iter();
    all.find(|(slot, _)| Arc::ptr_eq(slot, &releasing.candidate)).map(|(_, compared)| compared)
}

impl Counting {
    /// Counts a split that is set.
    pub(crate) fn add(&mut self, step: Arc<Step>) {
        self.steps.push(step);
    }

    /// Leaves out what the shadow counted before a candidate was loaded.
    pub(crate) fn begin_shadow(&mut self, releasing: &Releasing) {
        self.baseline = shadowed(releasing).map(Compared::taken).unwrap_or_default().0;
    }

    /// Leaves out what an earlier attempt counted.
    pub(crate) fn begin_attempt(&mut self) {
        self.steps.clear();
        self.counted = Counted::default();
    }

    /// Takes what was counted since the last call.
    pub(crate) fn take(&mut self, releasing: &Releasing) -> (Counts, LatencyCounts) {
        let mut taken = Counts::default();
        if releasing.candidate.live().is_some() {
            let (now, counts) = shadowed(releasing).map(Compared::taken).unwrap_or_default();
            taken = counts;
            let since = |now: u64, before: u64| now.saturating_sub(before);
            taken.paired = Paired {
                both: since(now.both, self.baseline.both),
                raised: since(now.raised, self.baseline.raised),
                lowered: since(now.lowered, self.baseline.lowered),
                neither: since(now.neither, self.baseline.neither),
                unscored: since(now.unscored, self.baseline.unscored),
            };
            self.baseline = now;
        }
        let mut latency = LatencyCounts::default();
        for step in &self.steps {
            let rule = step.rule();
            let [candidate, stable] = &step.arms;
            let events = |of: &dyn Fn(&Arm) -> &AtomicU64| Events {
                candidate: of(candidate).swap(0, Ordering::Relaxed),
                stable: of(stable).swap(0, Ordering::Relaxed),
            };
            *taken.requests.entry(rule.weight).or_default() += events(&|arm| &arm.requests);
            taken.errors.add(rule.weight, events(&|arm| &arm.errors));
            for (number, bound) in rule.slow_ms.iter().enumerate() {
                let slow = taken.slow.entry(*bound).or_default();
                slow.add(rule.weight, events(&|arm| &arm.slow[number]));
            }
            taken.alerts.add(rule.weight, events(&|arm| &arm.alerts));
            for (sum, bucket) in latency.iter_mut().zip(&step.latency) {
                *sum += bucket.swap(0, Ordering::Relaxed);
            }
        }
        // The last one is in use; one that is not referred to any more cannot count.
        let current = self.steps.last().cloned();
        self.steps.retain(|step| {
            current.as_ref().is_some_and(|current| Arc::ptr_eq(current, step)) || Arc::strong_count(step) > 1
        });
        (taken, latency)
    }
}
