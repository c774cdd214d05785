//! What a rollout tells the registry and, through it, the other servers.

use super::{Delivery, LEASE, SPEAK_MS, Task};
use crate::evidence::sharing::{Lease, SharedEvidence};

impl Delivery {
    fn lease(&self) -> Option<Lease> {
        (self.state.epoch > 0).then(|| Lease { replica: self.state.replica.clone(), epoch: self.state.epoch })
    }

    /// Sends what was counted here, where there is something to tell or to hear.
    pub(super) fn share(&mut self, tasks: &mut Vec<Task>) {
        let rollout = &self.state.rollout;
        let begins = self
            .wanted
            .as_ref()
            .is_some_and(|wanted| *wanted != rollout.last_applied && *wanted != rollout.last_promoted);
        if self.sharing.is_some() || !(rollout.is_under_way() || begins || self.claims || self.untold) {
            return;
        }
        // Time's part: after a crash it is not behind what was sent before.
        self.state.spoken = (self.state.spoken + 1).max(self.now_ms);
        self.spoken_ms = self.now_ms;
        let release = self.state.attempt();
        (self.sharing, self.untold) = (Some(release.clone()), false);
        let claims = std::mem::take(&mut self.claims);
        self.claiming = claims;
        for waiting in &mut self.waiting {
            waiting.claimed |= claims;
        }
        tasks.push(Task::Share(Box::new(SharedEvidence {
            model: self.rules.model.clone(),
            release,
            replica: self.state.replica.clone(),
            sequence: self.state.spoken,
            counts: self.state.counts.clone(),
            lease_ms: LEASE * self.rules.interval_ms().min(SPEAK_MS),
            claims,
            state: self.state.shared().filter(|_| self.state.leads),
        })));
    }

    /// Makes the change of the live version that was decided on, again and again until it is made.
    pub(super) fn point(&mut self, tasks: &mut Vec<Task>) {
        // A claim of the lead under way makes the lease that is known stale.
        let free = self.state.leads && !self.claims && !self.claiming;
        if let Some(pointing) = self.state.pointing.clone().filter(|_| free)
            && self.pointing.begin(self.now_ms)
        {
            tasks.push(Task::Point(pointing, self.lease()));
        }
    }

    pub(super) fn note(&mut self, tasks: &mut Vec<Task>) {
        if let Some(ending) = self.state.endings.first()
            && self.noting.begin(self.now_ms)
        {
            tasks.push(Task::Note(ending.clone()));
        }
    }
}
