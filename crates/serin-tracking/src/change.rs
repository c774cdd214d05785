//! Who changes the registry.

/// Who changes the registry, when and why.
#[derive(Debug, Clone)]
pub struct Change {
    /// Person or program.
    pub actor: String,
    /// In a sentence.
    pub reason: String,
    /// Epoch milliseconds.
    pub at_ms: i64,
}
