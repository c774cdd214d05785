//! State of a rollout: its phase, weights and versions, in Flagger's words.

use serde::{Deserialize, Serialize};

/// Phase of a rollout, in Flagger's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The first version is live, and nothing was released yet.
    Initialized,
    /// A gate keeps the rollout from starting.
    Waiting,
    /// The candidate is loaded or looked at.
    Progressing,
    /// A gate, or too little evidence, keeps the candidate from being promoted.
    WaitingPromotion,
    /// The candidate becomes the stable version.
    Promoting,
    /// The candidate's traffic went back to the stable version, which is now the same.
    Finalising,
    /// The candidate was promoted.
    Succeeded,
    /// The candidate was rolled back.
    Failed,
}

/// How requests are split between the candidate and the stable version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Percent of the requests that the candidate answers; the stable version answers the rest.
    pub candidate: u32,
    /// True if the candidate gets a copy of every request.
    pub mirror: bool,
    /// True if only requests that match go by these weights (A/B).
    pub matched: bool,
}

/// State of a rollout: everything that outlives a tick.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Phase that the rollout is in.
    pub phase: Phase,
    /// Candidate's weight in percent as the status of Flagger's object shows it; `route` says what is done.
    pub canary_weight: u32,
    /// Number of failed checks in this run, never reset by good ones.
    pub failed_checks: u32,
    /// Number of looks in a blue/green or A/B run; -1 while a weighted one waits for its promotion.
    pub iterations: i32,
    /// Split of the requests between the candidate and the stable version.
    pub route: Route,
    /// Revision that was seen last: the candidate's while the rollout is under way.
    pub last_applied: String,
    /// Revision that was promoted last.
    pub last_promoted: String,
    /// True if the candidate should be loaded.
    pub candidate_wanted: bool,
    /// True once the start was announced and the pre-rollout hooks have passed.
    pub started: bool,
}

impl Rollout {
    /// Makes the state of a version that is live and was never analysed.
    #[must_use]
    pub fn initialized(revision: &str) -> Self {
        Self {
            phase: Phase::Initialized,
            canary_weight: 0,
            failed_checks: 0,
            iterations: 0,
            route: Route::default(),
            last_applied: revision.to_owned(),
            last_promoted: revision.to_owned(),
            candidate_wanted: false,
            started: false,
        }
    }

    /// Returns whether the rollout has begun and not ended.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        matches!(
            self.phase,
            Phase::Progressing | Phase::Waiting | Phase::WaitingPromotion | Phase::Promoting | Phase::Finalising
        )
    }

    pub(super) fn reset(&mut self, phase: Phase) {
        self.phase = phase;
        (self.canary_weight, self.failed_checks, self.iterations) = (0, 0, 0);
        (self.route, self.started) = (Route::default(), false);
    }
}
