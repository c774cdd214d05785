//! What the scoring server needs of a registry.

use futures_util::future::BoxFuture;
use serin_analysis::evidence::sharing::{OthersEvidence, SharedEvidence};
use serin_tracking::ResolvedModel;

/// A registry's answer that is no success, by what can be done about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// Nothing is named so.
    #[error("{0}")]
    NotFound(String),
    /// The registry did not answer, or not in time: it may be asked again.
    #[error("{0}")]
    Unavailable(String),
}

/// An answer of a registry that is under way.
pub type RegistryAnswer<'a, T> = BoxFuture<'a, Result<T, RegistryError>>;

/// The registry, as the rollout of one model needs it.
pub trait Registrar: Send + Sync + 'static {
    /// The version that should be live, brought to this machine; none where nothing is named.
    fn candidate(&self) -> RegistryAnswer<'_, Option<ResolvedModel>>;
    /// Makes a version the live one, unless it is already.
    fn promote(&self, version: i64, reason: String) -> RegistryAnswer<'_, ()>;
    /// Says what this server counted of a rollout, and hears what the other servers counted of the same one.
    fn share(&self, evidence: SharedEvidence) -> RegistryAnswer<'_, OthersEvidence>;
    /// Writes down how a version fared.
    fn note(&self, version: i64, phase: &'static str, reason: String) -> RegistryAnswer<'_, ()>;
}
