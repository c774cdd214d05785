//! The word with the other servers that release the same model: what was counted, who leads, where the release stands.

use super::release::{Task, version_of};
use super::state::Saved;
use crate::registry::RegistryError;
use serin_analysis::evidence::sharing::SharedEvidence;
use std::time::Duration;

/// Between two words, at most.
pub(crate) const SPEAK_MS: i64 = 2000;
/// For how many of them the lead is kept without one: a hook may take its time.
const LEASE: i64 = 15;

/// How long a registry is waited for, where something else may be waiting for the thread.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer of the registry, or that there is none in time.
pub(crate) async fn in_time<T>(answer: impl Future<Output = Result<T, RegistryError>>) -> Result<T, RegistryError> {
    let late = |_| RegistryError::Unavailable(format!("no answer within {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, answer).await.map_err(late).flatten()
}

impl Task {
    /// Says what was counted here and hears the others, and who leads; who cannot be heard keeps what he said last.
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
