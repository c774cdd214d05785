//! Which version decides on a transaction while one is released, and what each of them did.

use arc_swap::ArcSwapOption;
use serin_analysis::rollout::SLOW;
use serin_models::LoadedModel;
use serin_scoring::Translation;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Weight that stands for all of the traffic.
pub(crate) const WHOLE: u32 = 10_000;
/// Upper bounds of the candidate's latency buckets, milliseconds; the last is open.
pub(crate) const BOUNDS_MS: [f64; 10] = [0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 250.0, 1000.0];

/// Entities that have counted in this rollout, whatever the weight: kind of count, and hash of the entity.
pub(crate) type Counted = Arc<Mutex<HashSet<(u8, u64)>>>;

/// Counters of one arm at one weight.
#[derive(Debug, Default)]
pub(crate) struct Arm {
    pub(crate) requests: AtomicU64,
    pub(crate) errors: AtomicU64,
    /// Number of slow answers for each bound of the rule's `slow_ms`.
    pub(crate) slow: [AtomicU64; SLOW],
    pub(crate) alerts: AtomicU64,
}

/// Rule that says which version decides on a transaction, and what is counted.
#[derive(Debug)]
pub(crate) struct Rule {
    /// The candidate's share of the traffic, 0 to [`WHOLE`].
    pub(crate) weight: u32,
    /// True if the candidate decides on the requests that match (A/B), whatever the draw.
    pub(crate) by_match: bool,
    /// Salt of the draw, another one for every rollout.
    pub(crate) salt: u64,
    /// Bounds above which an answer counts as slow, milliseconds.
    pub(crate) slow_ms: Vec<u32>,
    /// Entities that have counted, by kind of count; `None` where the split is not sticky.
    pub(crate) counted: Option<Counted>,
}

/// The split at one weight. A change of the weight is another one of these, so what is counted belongs to the weight
/// under which it happened.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) candidate: Arc<LoadedModel>,
    /// The version whose rows are split.
    pub(crate) stable: Arc<LoadedModel>,
    /// Makes rows of the candidate from rows of the stable version.
    translation: Translation,
    rule: Rule,
    /// Counters of the candidate and of the stable version, in this order.
    pub(crate) arms: [Arm; 2],
    pub(crate) latency: [AtomicU64; BOUNDS_MS.len() + 1],
}

impl Step {
    /// The split between two versions by a rule.
    ///
    /// # Errors
    /// When rows of the stable version cannot be made rows of the candidate, with the column.
    pub(crate) fn new(stable: Arc<LoadedModel>, candidate: Arc<LoadedModel>, rule: Rule) -> Result<Self, String> {
        let translation = Translation::between(&stable.package.signature, &candidate.package.signature);
        let translation = translation.map_err(|error| {
            format!("version {} cannot decide on requests to version {}: {error}", candidate.version, stable.version)
        })?;
        Ok(Self { candidate, stable, translation, rule, arms: Default::default(), latency: Default::default() })
    }

    /// Whether requests are told apart by what they say, and not by a draw.
    pub(crate) fn is_by_match(&self) -> bool {
        self.rule.by_match
    }

    /// The rule it goes by.
    pub(crate) fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Whether a transaction is the candidate's: by a hash of its id, so that one that is sent again keeps its arm, or of
    /// its entity where the split is sticky.
    pub(crate) fn is_candidates(&self, transaction_id: &str, entity: &str, decision_id: &[u8; 16]) -> bool {
        if self.rule.counted.is_some() && !entity.is_empty() {
            return is_drawn(self.rule.salt, entity.as_bytes(), self.rule.weight);
        }
        let id = if transaction_id.is_empty() { &decision_id[..] } else { transaction_id.as_bytes() };
        is_drawn(self.rule.salt, id, self.rule.weight)
    }

    /// The candidate's share of the traffic.
    pub(crate) fn weight(&self) -> u16 {
        self.rule.weight.min(WHOLE) as u16
    }

    /// Whether an entity does not count as this yet. Its transactions share an arm, so they are no independent events.
    fn is_first(&self, kind: usize, entity: &str) -> bool {
        let Some(counted) = self.rule.counted.as_ref().filter(|_| !entity.is_empty()) else { return true };
        let key = hashed(Sha256::new().chain_update(entity));
        counted.lock().unwrap_or_else(PoisonError::into_inner).insert((kind as u8, key))
    }

    /// A row of the stable version as the candidate's columns.
    pub(crate) fn mapped(&self, row: &[f32]) -> Vec<f32> {
        self.translation.row(row)
    }

    /// Counts a decision. `took` is there for requests of one row only: the rows of a larger one are slow together, so
    /// they would be no independent events.
    pub(crate) fn count(&self, candidate: bool, entity: &str, alert: bool, error: bool, took: Option<Duration>) {
        let arm = &self.arms[usize::from(!candidate)];
        let add = |counter: &AtomicU64, happened: bool| {
            if happened {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        };
        let happened = [(&arm.requests, true), (&arm.errors, error), (&arm.alerts, alert)].into_iter();
        let slow = self.rule.slow_ms.iter().zip(&arm.slow).map(|(bound, counter)| {
            let above = took.is_some_and(|took| took > Duration::from_millis(u64::from(*bound)));
            (counter, above)
        });
        for (kind, (counter, happened)) in happened.chain(slow).enumerate() {
            add(counter, happened && self.is_first(kind, entity));
        }
        if let Some(took) = took.filter(|_| candidate) {
            let milliseconds = took.as_secs_f64() * 1e3;
            let bucket = BOUNDS_MS.iter().position(|bound| milliseconds <= *bound).unwrap_or(BOUNDS_MS.len());
            add(&self.latency[bucket], true);
        }
    }
}

/// Whether an id is among the share of `weight`: independent of every other id and of every other salt.
fn is_drawn(salt: u64, id: &[u8], weight: u32) -> bool {
    let draw = hashed(Sha256::new().chain_update(salt.to_le_bytes()).chain_update(id));
    // The upper bits of a product: no remainder, so no bias that could be measured.
    (u128::from(draw) * u128::from(WHOLE)) >> 64 < u128::from(weight)
}

/// The first 64 bits of a hash.
pub(crate) fn hashed(sha256: Sha256) -> u64 {
    sha256.finalize()[..8].iter().fold(0, |hash, byte| (hash << 8) | u64::from(*byte))
}

/// The split of the first model's traffic, as the response path reads it: nothing while nothing is released.
#[derive(Debug, Default)]
pub(crate) struct Split(ArcSwapOption<Step>);

impl Split {
    pub(crate) fn step(&self) -> Option<Arc<Step>> {
        self.0.load_full()
    }

    pub(crate) fn set(&self, step: Option<Arc<Step>>) {
        self.0.store(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact_to_chance_and_another_salt_draws_anew() {
        let drawn =
            |salt, weight| (0..100_000).filter(|id: &u32| is_drawn(salt, &id.to_le_bytes(), weight)).count() as f64;
        for weight in [1, 500, 2500, 5000, 9999] {
            let p = f64::from(weight) / 1e4;
            let deviation = (1e5 * p * (1.0 - p)).sqrt();
            assert!((drawn(7, weight) - 1e5 * p).abs() < 5.0 * deviation, "{weight}");
        }
        assert_eq!((drawn(7, 0), drawn(7, WHOLE)), (0.0, 1e5));
        let both = (0..100_000)
            .filter(|id: &u32| is_drawn(1, &id.to_le_bytes(), 5000) && is_drawn(2, &id.to_le_bytes(), 5000));
        assert!((both.count() as f64 - 25_000.0).abs() < 700.0, "two rollouts share nothing");
        // Who is in at a lower weight stays in at a higher one.
        assert!((0..10_000_u32).all(|id| !is_drawn(3, &id.to_le_bytes(), 500) || is_drawn(3, &id.to_le_bytes(), 2500)));
    }
}
