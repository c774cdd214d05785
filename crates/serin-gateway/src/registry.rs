//! Registry, as the scoring server needs it.

use futures_util::future::BoxFuture;
use serin_analysis::evidence::sharing::{Lease, OthersEvidence, SharedEvidence};
use serin_tracking::ResolvedModel;

/// Error of a registry, told apart by what can be done about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// The registry has nothing of that name.
    #[error("{0}")]
    NotFound(String),
    /// This server does not lead the rollout any more, so the change was not made.
    #[error("{0}")]
    NotLeading(String),
    /// Another version is live than the change is to replace, so it was not made.
    #[error("{0}")]
    Moved(String),
    /// The registry did not answer, or not in time: it may be asked again.
    #[error("{0}")]
    Unavailable(String),
}

/// An answer of a registry that is under way.
pub type RegistryAnswer<'a, T> = BoxFuture<'a, Result<T, RegistryError>>;

/// Registry, as the rollout of one model needs it.
pub trait Registrar: Send + Sync + 'static {
    /// The version that should be live, copied to this machine; `None` where the name points at none.
    fn candidate(&self) -> RegistryAnswer<'_, Option<ResolvedModel>>;
    /// Removes this machine's copy of a model that was refused: the next [`Self::candidate`] fetches it anew.
    fn forget(&self, model: &ResolvedModel);
    /// Makes a version the live one, unless it is already: only while `from` is live, where it is given, and while the
    /// lease holds, where there is one.
    fn point(&self, version: i64, from: Option<i64>, lease: Option<Lease>, reason: String) -> RegistryAnswer<'_, ()>;
    /// Sends what this server counted for a rollout, and returns what the other servers counted for the same one.
    fn share(&self, evidence: SharedEvidence) -> RegistryAnswer<'_, OthersEvidence>;
    /// Records in the registry how a version's rollout went.
    fn note(&self, version: i64, phase: &'static str, reason: String) -> RegistryAnswer<'_, ()>;
}
