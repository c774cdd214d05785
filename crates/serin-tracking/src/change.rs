//! Note that goes with a change of the registry.

/// What must be true for a change to be made; it is looked at in the same transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Precondition {
    /// Name of the data plane that must lead the model's rollout, and the epoch of its lead.
    pub leader: Option<(String, i64)>,
    /// Version that the alias or stage must name, where it does not name the new one already.
    pub version: Option<i64>,
}

/// Who changes the registry, when and why.
#[derive(Debug, Clone)]
pub struct Change {
    /// Name of the person or program that makes the change.
    pub actor: String,
    /// Reason for the change, in a sentence.
    pub reason: String,
    /// Time of the change, epoch milliseconds.
    pub at_ms: i64,
    /// What must be true for the change to be made; by default nothing.
    pub only_if: Precondition,
}

impl Change {
    /// Change that is made whatever has happened meanwhile; `at_ms` in epoch milliseconds.
    #[must_use]
    pub fn new(actor: impl Into<String>, reason: impl Into<String>, at_ms: i64) -> Self {
        Self { actor: actor.into(), reason: reason.into(), at_ms, only_if: Precondition::default() }
    }
}
