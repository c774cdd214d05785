//! Fourth step: some alerts of models are let through, to learn what becomes of them.

use super::DecisionRequest;
use super::split::Assigned;
use crate::exploration::Exploration;
use crate::rollout::hashed;
use serin_decisions::Fallback;
use sha2::{Digest, Sha256};

/// Decisions of one request as they are done.
#[derive(Debug)]
pub(super) struct Explored {
    pub(super) assigned: Assigned,
    /// One entry for each row, or empty when exploration did not run. `Some(p)`: the model alerted, and exploration
    /// lets such a payment through with probability p (0 < p ≤ 0.5); it did if `decisions[i].alert` is false.
    pub(super) propensities: Vec<Option<f32>>,
}

/// Lets alerts of models through; of a rule or another fallback none. The draw is by a hash of the model file and the
/// transaction's id: who sends it again hears the same, from any replica.
pub(super) fn explore(
    exploration: Option<Exploration>,
    request: &DecisionRequest<'_>,
    mut assigned: Assigned,
) -> Explored {
    let mut propensities = Vec::new();
    let Some(exploration) = exploration.filter(|_| assigned.decisions.iter().any(|decision| decision.alert)) else {
        return Explored { assigned, propensities };
    };
    assigned.live.get_or_insert_with(|| assigned.decisions.clone());
    let is_by_fallback = |fallback: Option<&Option<Fallback>>| fallback.is_some_and(Option::is_some);
    for row in 0..assigned.decisions.len() {
        let decision = assigned.decisions[row];
        if !decision.alert || is_by_fallback(assigned.fallbacks.get(row)) {
            continue;
        }
        let by = assigned.candidate(row).map_or(&request.answering.model, |(step, _)| &step.candidate);
        let propensity = exploration.propensity(decision.score, by.package.threshold);
        let id = request.transaction(row).id;
        let id = if id.is_none() { &assigned.ids[row][..] } else { id.as_str().as_bytes() };
        let draw = hashed(Sha256::new().chain_update(by.deciding.sha256).chain_update(b"exploration").chain_update(id));
        let let_through = draw as f64 / 2f64.powi(64) < f64::from(propensity);
        propensities.resize(assigned.decisions.len(), None);
        propensities[row] = Some(propensity);
        assigned.decisions[row].alert = !let_through;
    }
    Explored { assigned, propensities }
}
