//! Lets some alerts through, on purpose: of a payment that was stopped nobody learns whether it was a fraud, so figures and
//! later models would be of the rest only. With what probability is logged beside the decision, and each such payment
//! later stands for those like it.

use super::decide::{Decided, Subject};
use super::live_model::LiveModel;
use crate::rollout::hashed;
use sha2::{Digest, Sha256};

/// Of the share at the threshold, what is left of it at a score of 1: frauds that are sure teach little and cost most.
const AT_ONE: f64 = 0.1;

/// How much is let through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exploration(f64);

impl Exploration {
    /// `share` of the alerts whose score is the threshold, above 0 and at most a half; falling in a straight line to a
    /// tenth of it at a score of 1.
    ///
    /// # Errors
    /// When it is not.
    pub fn new(share: f64) -> Result<Self, String> {
        if share > 0.0 && share <= 0.5 {
            Ok(Self(share))
        } else {
            Err(format!("{share} is not above 0 and at most 0.5"))
        }
    }

    fn propensity(self, score: f32, threshold: f32) -> f32 {
        let (score, threshold) = (f64::from(score), f64::from(threshold));
        let above = if threshold < 1.0 { ((score - threshold) / (1.0 - threshold)).clamp(0.0, 1.0) } else { 0.0 };
        (self.0 * (1.0 - (1.0 - AT_ONE) * above)) as f32
    }

    /// Lets alerts of models through; of a rule or another fallback none. The draw is by a hash of the model file and the
    /// transaction's id: who sends it again hears the same, from any replica.
    pub(super) fn explore(self, decided: &mut Decided, model: &LiveModel, subjects: &[Subject<'_>]) {
        for row in 0..decided.decisions.len() {
            let decision = decided.decisions[row];
            if !decision.alert || decided.fallback(row).is_some() {
                continue;
            }
            let by = decided.candidate(row).map_or(model, |(candidate, _)| candidate);
            let propensity = self.propensity(decision.score, by.package.threshold);
            let id = subjects.get(row).map_or("", |subject| subject.transaction_id).as_bytes();
            let id = if id.is_empty() { &decided.ids[row][..] } else { id };
            let draw =
                hashed(Sha256::new().chain_update(by.deciding.sha256).chain_update(b"exploration").chain_update(id));
            let let_through = draw as f64 / 2f64.powi(64) < f64::from(propensity);
            decided.propensities.resize(decided.decisions.len(), None);
            decided.propensities[row] = Some(propensity);
            decided.decisions[row].alert = !let_through;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_falls_with_the_score_and_is_never_none() {
        let explore = Exploration::new(0.2).expect("a share");
        let near = |score, threshold, expected: f32| (explore.propensity(score, threshold) - expected).abs() < 1e-6;
        assert!(near(0.5, 0.5, 0.2) && near(0.75, 0.5, 0.11) && near(1.0, 0.5, 0.02));
        assert!(near(1.0, 1.0, 0.2) && near(0.5, 1.5, 0.2));
        for wrong in [0.0, -0.1, 0.51, f64::NAN] {
            assert!(Exploration::new(wrong).is_err());
        }
    }
}
