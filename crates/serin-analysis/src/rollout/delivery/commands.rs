//! Orders of people to a rollout.

use super::{Delivery, Observed, Pointing, Task};
use crate::rollout::canary::Severity;
use crate::rollout::engine;
use crate::rollout::facts::Readiness;
use crate::rollout::phase::Phase;

/// Order that a person gives to a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Promotes the candidate, whatever gates and evidence say.
    Promote,
    /// Rolls back to the stable version.
    Abort,
    /// Keeps the weight as it is until resumed.
    Pause,
    /// Goes on after a pause.
    Resume,
    /// Begins a new attempt with a version that was rolled back.
    Retry,
}

/// Reason why an order was not obeyed. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefusal {
    /// There is no rollout to abort.
    #[error("no rollout is under way (phase {0:?}), so nothing was aborted")]
    NothingToAbort(Phase),
    /// There is no candidate to promote.
    #[error("no candidate is analysed (phase {0:?}), so nothing was promoted")]
    NothingToPromote(Phase),
    /// The version to promote, named here, is not loaded.
    #[error("version {0} is not loaded here, so it was not promoted")]
    NotLoaded(String),
    /// There is no rollout to pause, or to resume.
    #[error("no candidate is analysed (phase {0:?}), so nothing has changed")]
    NothingToPause(Phase),
    /// The rollout is paused already.
    #[error("the rollout is paused already, so nothing has changed")]
    Paused,
    /// The rollout is not paused.
    #[error("the rollout is not paused, so nothing has changed")]
    NotPaused,
    /// The candidate's alias names no version but the live one, or its rollout is under way.
    #[error("there is no version to try again (phase {0:?}): point the candidate's alias at one")]
    NothingToRetry(Phase),
    /// Another server took the lead while this one claimed it.
    #[error("another server has taken the lead at the same time, so nothing was done: say it again")]
    LeadTaken,
}

/// Order that waits until this server leads.
#[derive(Debug)]
pub(super) struct Waiting {
    id: u64,
    control: Control,
    by: Option<String>,
    /// True once the lead was claimed for it.
    pub(super) claimed: bool,
}

fn line(control: Control, by: Option<&String>) -> String {
    let said = match control {
        Control::Promote => "promoted by hand",
        Control::Abort => "aborted by hand",
        Control::Pause => "paused by hand",
        Control::Resume => "resumed by hand",
        Control::Retry => "tried again by hand",
    };
    by.map_or_else(|| said.to_owned(), |by| format!("{said}, by {by}"))
}

impl Delivery {
    /// Takes an order: one to stop is obeyed at once, the others when this server leads.
    pub(super) fn command(&mut self, id: u64, control: Control, by: Option<String>, tasks: &mut Vec<Task>) {
        self.claims = true;
        // Of a server that follows, the one that leads may know better whether there is something to abort.
        let follows = !self.state.leads && self.heard && !self.can_abort();
        if control == Control::Abort && !follows {
            let outcome = self.abort(by.as_ref(), tasks);
            self.claims &= outcome.is_ok();
            tasks.push(Task::Reply(id, outcome));
        } else {
            self.waiting.push(Waiting { id, control, by, claimed: false });
        }
    }

    /// Returns whether a rollout is under way, or about to start: its first gate may not have answered yet.
    fn can_abort(&self) -> bool {
        let rollout = &self.state.rollout;
        let revision = self.revision();
        rollout.is_under_way() || (revision != rollout.last_applied && revision != rollout.last_promoted)
    }

    fn abort(&mut self, by: Option<&String>, tasks: &mut Vec<Task>) -> Result<(), OrderRefusal> {
        let rollout = self.state.rollout.clone();
        if !self.can_abort() {
            return Err(OrderRefusal::NothingToAbort(rollout.phase));
        }
        let said = line(Control::Abort, by);
        let promoting = matches!(rollout.phase, Phase::Promoting | Phase::Finalising);
        let moved = engine::stop(&rollout, &self.rules.canary, &self.revision(), &said);
        self.apply(moved, tasks);
        self.state.pointing = promoting.then(|| Pointing {
            to: rollout.last_promoted.clone(),
            from: Some(rollout.last_applied.clone()),
            reason: format!("rollout: {said}"),
        });
        Ok(())
    }

    /// Obeys the orders that the lead was claimed for.
    pub(super) fn obey(&mut self, seen: &Observed, tasks: &mut Vec<Task>) {
        let (now, later) = std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.claimed);
        self.waiting = later;
        let now: Vec<Waiting> = now;
        for Waiting { id, control, by, .. } in now {
            let outcome = if self.heard && !self.state.leads {
                Err(OrderRefusal::LeadTaken)
            } else {
                self.order(control, seen, by.as_ref(), tasks)
            };
            tasks.push(Task::Reply(id, outcome));
        }
    }

    fn order(
        &mut self,
        control: Control,
        seen: &Observed,
        by: Option<&String>,
        tasks: &mut Vec<Task>,
    ) -> Result<(), OrderRefusal> {
        let rollout = &self.state.rollout;
        let phase = rollout.phase;
        match control {
            Control::Promote => {
                if !matches!(phase, Phase::Progressing | Phase::WaitingPromotion) {
                    return Err(OrderRefusal::NothingToPromote(phase));
                }
                if self.candidate(seen) != Readiness::Ready {
                    return Err(OrderRefusal::NotLoaded(rollout.last_applied.clone()));
                }
            }
            Control::Pause | Control::Resume => {
                let pause = control == Control::Pause;
                if !matches!(phase, Phase::Waiting | Phase::Progressing | Phase::WaitingPromotion) {
                    return Err(OrderRefusal::NothingToPause(phase));
                }
                if self.state.paused == pause {
                    return Err(if pause { OrderRefusal::Paused } else { OrderRefusal::NotPaused });
                }
            }
            Control::Retry => {
                let again = self.wanted.as_ref().filter(|wanted| **wanted != rollout.last_promoted);
                if rollout.is_under_way() || again.is_none() {
                    return Err(OrderRefusal::NothingToRetry(phase));
                }
            }
            Control::Abort => return self.abort(by, tasks),
        }
        let said = line(control, by);
        self.state.remember(self.now_ms, Severity::Info, said);
        match control {
            Control::Promote => {
                let moved = engine::promote(&self.state.rollout, &self.rules.canary);
                self.apply(moved, tasks);
            }
            Control::Pause => self.state.paused = true,
            Control::Resume => self.state.paused = false,
            Control::Retry => {
                self.state.rollout.last_applied = self.state.rollout.last_promoted.clone();
                self.look_due = true;
            }
            Control::Abort => {}
        }
        Ok(())
    }
}
