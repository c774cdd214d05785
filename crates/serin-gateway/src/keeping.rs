//! How decisions are kept.

use serin_decisions::DecisionLog;
use std::sync::Arc;

/// Where decisions are kept.
#[derive(Debug, Clone)]
pub struct DecisionKeeping {
    /// The log.
    pub log: Arc<DecisionLog>,
    /// What happens to a request whose decisions cannot be written.
    pub when_full: WhenFull,
}

/// What happens to a request whose decisions cannot be written, as on a full disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// It is refused with 503: no decision without a record.
    Refuse,
    /// It is answered, and counted in `serin_decisions_unlogged_total`.
    DropAndCount,
}
