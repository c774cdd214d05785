//! Which version decides on a transaction while one is released, and what each of them did.

pub(crate) use super::counted::Counted;
use crate::transaction::Transaction;
use arc_swap::ArcSwapOption;
use serin_analysis::rollout::{LATENCY_BOUNDS_MS, SLOW};
use serin_models::LoadedModel;
use serin_scoring::{Translation, TranslationError};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Weight that stands for all of the traffic.
pub(crate) const WHOLE: u32 = 10_000;

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
    /// True if all transactions of an entity are on one arm.
    pub(crate) sticky: bool,
    /// Transactions and entities that have counted in this rollout, whatever the weight.
    pub(crate) counted: Counted,
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
    pub(crate) latency: [AtomicU64; LATENCY_BOUNDS_MS.len() + 1],
}

/// Candidate that cannot decide on rows of the stable version.
#[derive(Debug, thiserror::Error)]
#[error("version {candidate} cannot decide on requests to version {stable}: {source}")]
pub(crate) struct Untranslatable {
    /// Version of the candidate.
    candidate: String,
    /// Version that is live.
    stable: String,
    /// Error that names the column and the reason.
    source: TranslationError,
}

impl Step {
    /// The split between two versions by a rule.
    ///
    /// # Errors
    /// When rows of the stable version cannot be made rows of the candidate, with the column.
    pub(crate) fn new(
        stable: Arc<LoadedModel>,
        candidate: Arc<LoadedModel>,
        rule: Rule,
    ) -> Result<Self, Untranslatable> {
        let translation = Translation::between(&stable.package.signature, &candidate.package.signature);
        let translation = translation.map_err(|source| Untranslatable {
            candidate: candidate.version.clone(),
            stable: stable.version.clone(),
            source,
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

    /// Draw of a transaction: by a hash of its id, so that one that is sent again keeps its arm, or of its entity where the
    /// split is sticky. One without an id is drawn by the id of its decision, which never comes again.
    pub(crate) fn draw(&self, transaction: Transaction<'_>, decision_id: &[u8; 16]) -> Draw {
        let (id, entity) = (transaction.id, transaction.entity);
        let (unit, name) = if self.rule.sticky && !entity.is_none() {
            (Unit::Entity, entity.as_str().as_bytes())
        } else if id.is_none() {
            (Unit::Decision, &decision_id[..])
        } else {
            (Unit::Transaction, id.as_str().as_bytes())
        };
        Draw { unit, value: drawn(self.rule.salt, name) }
    }

    /// Whether a draw is within the candidate's share.
    pub(crate) fn is_candidates(&self, draw: Draw) -> bool {
        is_within(draw.value, self.rule.weight)
    }

    /// Makes rows of the candidate from rows of the stable version.
    pub(crate) fn translation(&self) -> &Translation {
        &self.translation
    }

    /// The candidate's share of the traffic.
    pub(crate) fn weight(&self) -> u16 {
        self.rule.weight.min(WHOLE) as u16
    }

    /// Whether something has not yet counted as this on its arm.
    fn is_first(&self, kind: usize, outcome: &Outcome) -> bool {
        // The value is uniform, so keys of two draws differ but for a chance of some 2^-60.
        let key = outcome.draw.value ^ ((kind as u64) << 1 | u64::from(outcome.is_candidate));
        self.rule.counted.is_first(key)
    }

    /// Counts what happened on an arm. A transaction counts once on an arm, however often it is sent: repeats share the arm
    /// and the columns, so they are no independent events. Of an entity each kind of event counts once.
    pub(crate) fn count(&self, outcome: &Outcome) {
        if outcome.draw.unit == Unit::Transaction && !self.is_first(0, outcome) {
            return;
        }
        let arm = &self.arms[usize::from(!outcome.is_candidate)];
        let happened = [(&arm.requests, true), (&arm.errors, outcome.error), (&arm.alerts, outcome.alert)].into_iter();
        let slow = self.rule.slow_ms.iter().zip(&arm.slow).map(|(bound, counter)| {
            let above = outcome.took.is_some_and(|took| took > Duration::from_millis(u64::from(*bound)));
            (counter, above)
        });
        for (kind, (counter, happened)) in happened.chain(slow).enumerate() {
            if happened && (outcome.draw.unit != Unit::Entity || self.is_first(kind, outcome)) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
        if let Some(took) = outcome.took.filter(|_| outcome.is_candidate) {
            let milliseconds = took.as_secs_f64() * 1e3;
            let bucket =
                LATENCY_BOUNDS_MS.iter().position(|bound| milliseconds <= *bound).unwrap_or(LATENCY_BOUNDS_MS.len());
            self.latency[bucket].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What is drawn, and counted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// All transactions of an entity, in a sticky split.
    Entity,
    /// A transaction by the caller's id.
    Transaction,
    /// A decision on a transaction without an id.
    Decision,
}

/// Draw of a transaction: uniform over 64 bits, and independent of that of any other id or rollout.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw {
    unit: Unit,
    value: u64,
}

/// What happened to a transaction on its arm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// True on the candidate's arm, also where the candidate had no score.
    pub(crate) is_candidate: bool,
    pub(crate) draw: Draw,
    /// True if the decision is an alert, before exploration.
    pub(crate) alert: bool,
    /// True if the arm's version gave no score in time, by its own fault.
    pub(crate) error: bool,
    /// Time until the arm's version had scored the row, without the other version's scoring: from the request's head, for
    /// its first row alone. The other rows of a request are slow together with it, so they would be no independent events.
    pub(crate) took: Option<Duration>,
}

/// The draw of an id: independent of every other id and of every other salt.
fn drawn(salt: u64, id: &[u8]) -> u64 {
    hashed(Sha256::new().chain_update(salt.to_le_bytes()).chain_update(id))
}

/// Whether a draw is among the share of `weight`.
fn is_within(draw: u64, weight: u32) -> bool {
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
    use crate::transaction::{Entity, TransactionId};
    use serin_tracking::ResolvedModel;

    fn is_drawn(salt: u64, id: &[u8], weight: u32) -> bool {
        is_within(drawn(salt, id), weight)
    }

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

    fn step(sticky: bool) -> Step {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../serin-scoring/tests/fixtures/model.ubj").into();
        let resolved = ResolvedModel { name: None, version: None, path };
        let model = Arc::new(LoadedModel::load(&resolved, 0).expect("the fixture loads"));
        let rule =
            Rule { weight: 5000, by_match: false, salt: 7, slow_ms: vec![20], sticky, counted: Counted::default() };
        Step::new(Arc::clone(&model), model, rule).expect("the same columns")
    }

    fn transaction<'a>(id: &'a str, entity: &'a str) -> Transaction<'a> {
        let (id, entity) = (TransactionId::new(id).expect("an id"), Entity::new(entity).expect("an entity"));
        Transaction { id, entity, event_time: None }
    }

    fn outcome(step: &Step, transaction: Transaction<'_>, decision: u8, alert: bool) -> Outcome {
        let draw = step.draw(transaction, &[decision; 16]);
        let took = Some(Duration::from_millis(21));
        Outcome { is_candidate: step.is_candidates(draw), draw, alert, error: alert, took }
    }

    /// Requests, errors, alerts and slow answers of both arms together.
    fn counts(step: &Step) -> [u64; 4] {
        let sum = |of: fn(&Arm) -> &AtomicU64| step.arms.iter().map(|arm| of(arm).load(Ordering::Relaxed)).sum();
        [sum(|arm| &arm.requests), sum(|arm| &arm.errors), sum(|arm| &arm.alerts), sum(|arm| &arm.slow[0])]
    }

    // R24: a repeat shares its arm with the first, so it is no independent event.
    #[test]
    fn a_transaction_counts_once_on_an_arm_and_one_without_an_id_each_time() {
        let step = step(false);
        for decision in 0..9 {
            step.count(&outcome(&step, transaction("again", ""), decision, true));
        }
        assert_eq!(counts(&step), [1; 4]);
        for decision in 0..9 {
            step.count(&outcome(&step, transaction("", "card"), decision, decision < 3));
        }
        assert_eq!(counts(&step), [10, 4, 4, 10]);
        let first = outcome(&step, transaction("again", ""), 0, true);
        step.count(&Outcome { is_candidate: !first.is_candidate, ..first });
        assert_eq!(counts(&step)[0], 11, "at another weight it may be on the other arm, and counts there");
    }

    #[test]
    fn in_a_sticky_split_each_kind_of_event_counts_once_for_an_entity() {
        let step = step(true);
        for (id, alert) in [("a", false), ("b", false), ("c", true), ("d", true)] {
            step.count(&outcome(&step, transaction(id, "card"), 0, alert));
        }
        assert_eq!(counts(&step), [1; 4]);
        step.count(&outcome(&step, transaction("e", ""), 0, false));
        step.count(&outcome(&step, transaction("e", ""), 1, false));
        assert_eq!(counts(&step)[0], 2, "without an entity it is the transaction that counts");
        let arms: Vec<bool> =
            ["a", "b", "c"].iter().map(|id| step.is_candidates(step.draw(transaction(id, "card"), &[0; 16]))).collect();
        assert!(arms.iter().all(|arm| *arm == arms[0]), "an entity keeps its arm");
    }
}
