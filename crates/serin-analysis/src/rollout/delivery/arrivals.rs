//! Results of tasks, as they come in.

use super::{Arrival, Delivery, Loading, Pointing, Refusal, Task};
use crate::evidence::sharing::OthersEvidence;
use crate::rollout::canary::Severity;
use crate::rollout::engine;
use crate::rollout::facts::{Event, Unanswered};

impl Delivery {
    /// Takes in one arrival.
    pub(super) fn take(&mut self, arrival: Arrival, tasks: &mut Vec<Task>) {
        match arrival {
            Arrival::Command { id, control, by } => self.command(id, control, by, tasks),
            Arrival::Found(found) => {
                self.finding = false;
                // Where the registry does not answer, the version that it named last stays wanted.
                if let Ok(found) = found {
                    (self.wanted, self.has_found) = (found, true);
                }
            }
            Arrival::Loaded(version, outcome) => self.loaded(&version, outcome, tasks),
            Arrival::Shared(outcome) => self.shared(*outcome),
            Arrival::Pointed(pointing, outcome) => self.pointed(&pointing, &outcome, tasks),
            Arrival::Noted(ending, outcome) => {
                self.noting.end();
                match outcome {
                    Ok(()) => self.state.endings.retain(|kept| *kept != ending),
                    Err(_) => self.noting.rest(self.now_ms),
                }
            }
            Arrival::Answered(look, question, answer) => {
                if let Some(pending) = self.look.as_mut().filter(|_| look == self.looks) {
                    pending.answer(question, answer);
                }
            }
        }
    }

    fn loaded(&mut self, version: &str, outcome: Loading, tasks: &mut Vec<Task>) {
        self.loading.end();
        if version != self.state.rollout.last_applied || !self.state.rollout.candidate_wanted {
            return;
        }
        match outcome {
            Loading::Ready(unknown) => {
                self.refused = None;
                self.state.shadow_since_ms.get_or_insert(self.now_ms);
                for name in unknown {
                    let message = format!(
                        "serin.dev/segments: the live version has no column {name:?}, so it is not judged by it"
                    );
                    self.state.remember(self.now_ms, Severity::Warn, message);
                }
            }
            Loading::Failed(error) => {
                self.loading.rest(self.now_ms);
                let message = format!("version {version} cannot be read, and is tried again: {error}");
                self.tell(Event { severity: Severity::Warn, message }, tasks);
            }
            Loading::Refused(error) => {
                self.state.remember(self.now_ms, Severity::Error, format!("version {version} is refused: {error}"));
                self.refused = Some((version.to_owned(), error));
            }
        }
    }

    fn shared(&mut self, outcome: Result<OthersEvidence, Unanswered>) {
        let sent = self.sharing.take();
        (self.claiming, self.heard_since_due) = (false, true);
        match outcome {
            Ok(mut others) => {
                let state = others.state.take();
                // The others hear first of what was done here before the lead was taken.
                self.untold |= others.leads && !self.state.leads;
                (self.state.leads, self.state.epoch) = (others.leads, others.epoch);
                // Counts of an attempt that is over by now say nothing of this one.
                if sent.is_some_and(|sent| sent != self.state.attempt()) {
                    (others.counts, others.replicas) = Default::default();
                }
                (self.others, self.heard) = (others, true);
                // A state that cannot be read is of another release of serin: this server stays where it is.
                if let Some(Ok(true)) = state.map(|state| self.state.follow(state)) {
                    self.forget();
                }
            }
            // Evidence of other servers is not heard, so this one's decides.
            Err(_) => (self.heard, self.untold) = (false, true),
        }
    }

    fn pointed(&mut self, pointing: &Pointing, outcome: &Result<(), Refusal>, tasks: &mut Vec<Task>) {
        self.pointing.end();
        let current = self.state.pointing.as_ref() == Some(pointing);
        match outcome {
            Ok(()) if current => {
                self.state.promoted = Some(pointing.to.clone());
                self.state.pointing = None;
            }
            // The change that was to be undone was not made, or somebody has moved the name since.
            Err(Refusal::Moved(reason)) if current => {
                self.state.pointing = None;
                if self.state.rollout.is_under_way() {
                    let reason = format!("version {} was not promoted: {reason}", pointing.to);
                    let moved = engine::stop(&self.state.rollout, &self.rules.canary, &self.revision(), &reason);
                    self.apply(moved, tasks);
                }
            }
            Err(Refusal::NotLeading(_)) => {
                // The next word of the registry says who leads, and by which epoch.
                self.untold = true;
                self.pointing.rest(self.now_ms);
            }
            Err(Refusal::Unavailable(_)) => self.pointing.rest(self.now_ms),
            Ok(()) | Err(Refusal::Moved(_)) => {}
        }
    }
}
