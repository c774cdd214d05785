//! Exchange with the other servers that release the same model: their counts, who leads, and the state of the
//! release.

use super::release::{Task, version_of};
use super::state::Saved;
use crate::registry::RegistryError;
use serin_analysis::evidence::sharing::SharedEvidence;
use std::time::Duration;

/// Longest time between two messages to the other servers, milliseconds.
pub(crate) const SPEAK_MS: i64 = 2000;
/// Number of message intervals after which the lead lapses: LEASE × min(interval, 2 s), about 30 s, without a
/// message. A hook that takes longer loses the lead.
const LEASE: i64 = 15;

/// Longest wait for a registry's answer, where something else may be waiting for the thread.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answer of the registry, or an error when none came in time.
pub(crate) async fn in_time<T>(answer: impl Future<Output = Result<T, RegistryError>>) -> Result<T, RegistryError> {
    let late = |_| RegistryError::Unavailable(format!("no answer within {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, answer).await.map_err(late).flatten()
}

impl Task {
    /// Sends what was counted here, and receives the counts of the others and who leads. Where no answer comes, the
    /// last known counts and leader stay.
    pub(crate) fn share(
        &mut self,
        saved: &mut Saved,
        runtime: &tokio::runtime::Handle,
        interval_ms: i64,
        claims: bool,
    ) {
        let rollout = &saved.rollout;
        let wanted = self.wanted.as_ref().map(version_of);
        let begins = wanted.is_some_and(|wanted| wanted != rollout.last_applied && wanted != rollout.last_promoted);
        if !(rollout.is_under_way() || begins || claims || self.unsaid) {
            return;
        }
        saved.spoken += 1;
        let evidence = SharedEvidence {
            model: self.releasing.stable.name().to_owned(),
            release: format!("{} after {}", rollout.last_applied, rollout.last_promoted),
            replica: saved.replica.clone(),
            sequence: saved.spoken,
            counts: saved.counts.clone(),
            lease_ms: LEASE * interval_ms.min(SPEAK_MS),
            claims,
            state: saved.word().filter(|_| saved.leads),
        };
        match runtime.block_on(in_time(self.releasing.registrar.share(evidence))) {
            Ok(mut others) => {
                let word = others.state.take();
                saved.leads = others.leads;
                (self.others, self.heard, self.unsaid) = (others, true, false);
                if let Some(word) = word {
                    saved.follow(word, |saved, before| self.begin(saved, before));
                }
            }
            Err(error) => {
                if std::mem::replace(&mut self.heard, false) {
                    tracing::warn!("evidence of other servers is not heard, so this one's decides: {error}");
                }
            }
        }
    }
}
