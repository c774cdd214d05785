//! Adds what the shadow and the arms have counted to the state of a rollout.

use super::release::Task;
use super::split::Arm;
use super::state::Saved;
use crate::shadow::Compared;
use serin_analysis::evidence::Counts;
use serin_analysis::evidence::allocation::Events;
use serin_analysis::evidence::paired::Paired;
use serin_analysis::rollout::Phase;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Task {
    /// Comparison of the shadow's candidate that belongs to this rollout.
    pub(crate) fn shadowed(&self) -> Option<&Compared> {
        let mut all = self.releasing.shadow.candidates().iter();
        all.find(|(slot, _)| Arc::ptr_eq(slot, &self.releasing.candidate)).map(|(_, compared)| compared)
    }

    /// Counts of the shadow since it started, and counts by segment, score and input since the last call.
    pub(crate) fn taken(&self) -> (Paired, Counts) {
        self.shadowed().map_or_else(Default::default, Compared::taken)
    }

    /// Adds what was counted since the last time to the state.
    pub(crate) fn gather(&mut self, saved: &mut Saved) {
        if !matches!(saved.rollout.phase, Phase::Progressing | Phase::WaitingPromotion) {
            return;
        }
        if self.releasing.candidate.live().is_some() {
            let (now, mut counted) = self.taken();
            let since = |now: u64, before: u64| now.saturating_sub(before);
            counted.paired = Paired {
                both: since(now.both, self.baseline.both),
                raised: since(now.raised, self.baseline.raised),
                lowered: since(now.lowered, self.baseline.lowered),
                neither: since(now.neither, self.baseline.neither),
                unscored: since(now.unscored, self.baseline.unscored),
            };
            self.baseline = now;
            saved.counts.merge(&counted);
        }
        for step in &self.steps {
            let rule = step.rule();
            let [candidate, stable] = &step.arms;
            let taken = |of: &dyn Fn(&Arm) -> &std::sync::atomic::AtomicU64| Events {
                candidate: of(candidate).swap(0, Ordering::Relaxed),
                stable: of(stable).swap(0, Ordering::Relaxed),
            };
            *saved.counts.requests.entry(rule.weight).or_default() += taken(&|arm| &arm.requests);
            saved.counts.errors.add(rule.weight, taken(&|arm| &arm.errors));
            for (number, bound) in rule.slow_ms.iter().enumerate() {
                let slow = saved.counts.slow.entry(*bound).or_default();
                slow.add(rule.weight, taken(&|arm| &arm.slow[number]));
            }
            saved.counts.alerts.add(rule.weight, taken(&|arm| &arm.alerts));
            for (sum, bucket) in self.latency.iter_mut().zip(&step.latency) {
                *sum += bucket.swap(0, Ordering::Relaxed);
            }
        }
        // The last one is in use; one that is not referred to any more cannot count.
        let current = self.steps.last().cloned();
        self.steps.retain(|step| {
            current.as_ref().is_some_and(|current| Arc::ptr_eq(current, step)) || Arc::strong_count(step) > 1
        });
    }
}
