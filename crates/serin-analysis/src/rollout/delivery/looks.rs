//! Looks of a rollout: the facts that they are made on, and the questions that this server answers itself.

use super::{Delivery, Measuring, Observed, Task};
use crate::rollout::canary::{EVIDENCE, Metric};
use crate::rollout::engine;
use crate::rollout::facts::{Answer, Facts, Measured, Question, Readiness};
use crate::rollout::latency::latency_quantile_ms;
use crate::rollout::phase::Phase;
use crate::rollout::{Judgement, OnHold};

/// Seconds without a ready candidate before the rollout is given up, where the canary names none: Flagger's default.
const PROGRESS_DEADLINE: u32 = 600;
/// Quantile of the answer times that `request-duration` measures.
const DURATION_QUANTILE: f64 = 0.99;

/// A look under way.
#[derive(Debug, Default)]
pub(super) struct Pending {
    answers: Vec<(Question, Answer)>,
    asked: bool,
}

impl Pending {
    /// Takes the answer to the question that was asked.
    pub(super) fn answer(&mut self, question: Question, answer: Answer) {
        self.answers.push((question, answer));
        self.asked = false;
    }
}

impl Delivery {
    /// Goes on with the look under way, as far as it gets without an answer from outside.
    pub(super) fn look(&mut self, seen: &Observed, tasks: &mut Vec<Task>) {
        if !self.state.leads || self.state.paused {
            self.look = None;
        }
        let Some(mut pending) = self.look.take_if(|pending| !pending.asked) else { return };
        // Each question at most once, so it ends.
        loop {
            let facts = self.facts(seen, pending.answers.clone());
            let question = match engine::tick(&self.state.rollout, &self.rules.canary, &facts) {
                Ok(moved) => return self.apply(moved, tasks),
                Err(question) => question,
            };
            match self.known(&question) {
                Some(answer) => pending.answers.push((question, answer)),
                None => {
                    pending.asked = true;
                    self.look = Some(pending);
                    tasks.push(Task::Ask(self.looks, question));
                    return;
                }
            }
        }
    }

    fn facts(&self, seen: &Observed, answers: Vec<(Question, Answer)>) -> Facts {
        Facts {
            revision: self.revision(),
            stable: self.stable(seen),
            candidate: self.candidate(seen),
            shadowed: self.shadowed(),
            evidence: self.evidence(),
            answers,
        }
    }

    fn stable(&self, seen: &Observed) -> Readiness {
        let rollout = &self.state.rollout;
        let promoted = matches!(rollout.phase, Phase::Promoting | Phase::Finalising);
        match &seen.live {
            // The server follows the registry; the candidate is promoted when it answers as the live version.
            Some(live) if promoted && *live != rollout.last_applied => Readiness::NotYet,
            Some(_) => Readiness::Ready,
            None => Readiness::NotYet,
        }
    }

    /// Returns whether the candidate can answer.
    pub(super) fn candidate(&self, seen: &Observed) -> Readiness {
        let version = &self.state.rollout.last_applied;
        if self.refused.as_ref().is_some_and(|(refused, _)| refused == version) {
            return Readiness::Never;
        }
        if seen.loaded.as_ref() == Some(version) {
            return Readiness::Ready;
        }
        let deadline = self.rules.canary.spec.progress_deadline_seconds.unwrap_or(PROGRESS_DEADLINE);
        let waited_ms = self.missing_since_ms.map_or(0, |since| self.now_ms - since);
        if waited_ms > i64::from(deadline) * 1000 { Readiness::Never } else { Readiness::NotYet }
    }

    fn shadowed(&self) -> bool {
        let extension = &self.rules.extension;
        let waited = |since| self.now_ms - since >= extension.min_shadow_ms;
        self.state.shadow_since_ms.is_some_and(waited) && self.requests().0 >= extension.min_shadow_requests
    }

    fn evidence(&self) -> Judgement {
        let extension = &self.rules.extension;
        if !extension.evidence {
            return Judgement::Pass;
        }
        let judgement = self.verdict.judgement.clone();
        let held = self.state.hold_since_ms.map_or(0, |since| self.now_ms - since);
        match (&judgement, extension.max_hold_ms) {
            (Judgement::Hold(reason), Some(most)) if held >= most => match extension.on_hold {
                OnHold::Rollback => Judgement::Fail(format!("no proof within {} s: {reason}", most / 1000)),
                OnHold::Promote => Judgement::Pass,
                OnHold::Wait => judgement,
            },
            _ => judgement,
        }
    }

    /// Answer that this server knows itself; `None` for what must be asked outside.
    fn known(&mut self, question: &Question) -> Option<Answer> {
        let Question::Measurement(metric) = question else { return None };
        if metric.template_ref.as_ref().is_some_and(|reference| reference.name == EVIDENCE) {
            let share = (self.verdict.ln_e + self.rules.extension.limits.alpha.ln()).exp();
            return Some(Answer::Measurement(Measured::Value(share)));
        }
        let own = matches!(metric.name.as_str(), "request-success-rate" | "request-duration");
        (own && metric.template_ref.is_none() && metric.query.is_none())
            .then(|| Answer::Measurement(self.own_metric(metric)))
    }

    /// A built-in metric of the candidate since it was last measured: percent, or milliseconds.
    fn own_metric(&mut self, metric: &Metric) -> Measured {
        if metric.name == "request-duration" {
            let latency = std::mem::take(&mut self.measuring.latency);
            return latency_quantile_ms(&latency, DURATION_QUANTILE).map_or(Measured::NoData, Measured::Value);
        }
        let counts = &self.state.counts;
        let (requests, errors) = (counts.exposed(), counts.errors.events().candidate);
        let Measuring { requests: requests_before, errors: errors_before, .. } = self.measuring;
        (self.measuring.requests, self.measuring.errors) = (requests, errors);
        let requests = requests.saturating_sub(requests_before);
        let errors = errors.saturating_sub(errors_before);
        if requests == 0 { Measured::NoData } else { Measured::Value(100.0 * (1.0 - errors as f64 / requests as f64)) }
    }
}
