//! Note that goes with a change of the registry.

/// Who changes the registry, when and why.
#[derive(Debug, Clone)]
pub struct Change {
    /// Name of the person or program that makes the change.
    pub actor: String,
    /// Reason for the change, in a sentence.
    pub reason: String,
    /// Time of the change, epoch milliseconds.
    pub at_ms: i64,
}
