//! Settings of how decisions are logged.

use serin_decisions::DecisionLog;
use std::sync::Arc;

/// Log that decisions are written to, and what happens when it cannot be written.
#[derive(Debug, Clone)]
pub struct DecisionKeeping {
    /// Log that every decision is written to.
    pub log: Arc<DecisionLog>,
    /// Treatment of a request whose decisions cannot be written.
    pub when_full: WhenFull,
}

/// Treatment of a request whose decisions cannot be written, as on a full disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The request is refused with 503: no decision without a record.
    Refuse,
    /// The request is answered, and its decisions are counted in `serin_decisions_unlogged_total`.
    DropAndCount,
}
