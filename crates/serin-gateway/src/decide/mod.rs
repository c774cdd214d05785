//! The one path from encoded rows to decisions, whatever the protocol.
//!
//! [`decide`] reads top-down, a step a line, each in its file with a type of its own:
//!
//! | step | gives | says |
//! |---|---|---|
//! | `score` | `Scored` | what the live model says of each row, in time and as a finite number, or nothing |
//! | `fall_back` | `Decided` | a decision for each row: the model's, or a fallback's where it said nothing |
//! | `split` | `Assigned` | the candidate's decision on its share of a release |
//! | `explore` | `Explored` | alerts that are let through, to learn what becomes of them |
//! | `record` | `Recorded` | all of it is in the decision log, or the request is refused |
//! | `observe` | | arms, shadow, monitor and metrics count what was recorded, and nothing else |

mod explore;
mod fall_back;
mod observe;
mod record;
mod request_context;
mod score;
mod split;

use crate::fallback::Answering;
use crate::state::DataPlane;
use crate::transaction::Transaction;
pub(crate) use record::Recorded;
pub(crate) use request_context::RequestContext;
use serin_http::ApiError;
use serin_scoring::EncodedRows;
use std::time::Instant;

/// Time at which a request came, and the context in which it is decided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) start: Instant,
    pub(crate) context: RequestContext,
}

/// Rows to decide on, and what is known about them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecisionRequest<'a> {
    /// Model that answers the request.
    pub(crate) answering: &'a Answering,
    /// Rows encoded for that model, at least one.
    pub(crate) rows: &'a EncodedRows,
    /// One entry for each row, or none at all where the protocol says nothing about transactions.
    pub(crate) transactions: &'a [Transaction<'a>],
    pub(crate) timing: Timing,
}

impl<'a> DecisionRequest<'a> {
    /// Transaction of a row.
    pub(crate) fn transaction(&self, row: usize) -> Transaction<'a> {
        self.transactions.get(row).copied().unwrap_or_default()
    }
}

/// Decides on the rows of a request, records the decisions and counts them.
///
/// # Errors
/// 503 where a row has no score and no fallback decides, or where the decision log cannot be written and the server is told
/// to refuse then. Nothing is counted as evidence of a request that is refused, and nothing of it is in the log.
pub(crate) fn decide(state: &DataPlane, request: &DecisionRequest<'_>) -> Result<Recorded, ApiError> {
    let step = split::in_force(state, request.answering);
    let scored = score::score(request, step.is_some());
    let decided = fall_back::fall_back(state, request, &scored)?;
    let assigned = split::split(state, request, step, &scored, decided);
    let explored = explore::explore(state.exploration, request, assigned);
    let recorded = record::record(state, request, explored)?;
    observe::observe(state, request, &recorded);
    Ok(recorded)
}
