//! Fifth step: the decisions of a request go to the log, all of them or none.

use super::DecisionRequest;
use super::explore::Explored;
use super::split::Assigned;
use crate::keeping::{DecisionKeeping, WhenFull};
use crate::state::DataPlane;
use serin_decisions::{DecidingModel, Fallback, NewDecision};
use serin_http::ApiError;
use serin_models::LoadedModel;
use serin_scoring::{Decision, EncodedRow};
use std::sync::Arc;

/// Decisions of one request, in the order of its rows: the log has them, or the server is told to do without.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(super) explored: Explored,
}

impl Recorded {
    pub(super) fn assigned(&self) -> &Assigned {
        &self.explored.assigned
    }

    /// Ids of the decisions, one UUID of 16 bytes for each row.
    pub(crate) fn ids(&self) -> &[[u8; 16]] {
        &self.assigned().ids
    }

    /// One entry for each row.
    pub(crate) fn decisions(&self) -> &[Decision] {
        &self.assigned().decisions
    }

    /// Fallbacks that decided in a model's place, one entry for each row; empty where models decided all rows.
    pub(crate) fn fallbacks(&self) -> &[Option<Fallback>] {
        &self.assigned().fallbacks
    }

    /// Fallback that decided on a row in a model's place.
    pub(crate) fn fallback(&self, row: usize) -> Option<Fallback> {
        self.fallbacks().get(row).copied().flatten()
    }

    /// Probability with which exploration lets a row's alert through; `None` where the model did not alert.
    pub(crate) fn propensity(&self, row: usize) -> Option<f32> {
        self.explored.propensities.get(row).copied().flatten()
    }

    /// Model that decided on a row, and the row encoded for it. Where a fallback decided, the model in whose place it did.
    pub(crate) fn decided_by<'a>(
        &'a self,
        request: &'a DecisionRequest<'_>,
        row: usize,
    ) -> (&'a LoadedModel, EncodedRow<'a>) {
        match self.assigned().candidate(row) {
            Some((step, encoded)) => (&step.candidate, encoded),
            None => (&request.answering.model, request.rows.row(row)),
        }
    }

    /// Version that decided on every row; none where rows of the request were decided by two versions.
    pub(crate) fn only_version<'a>(&'a self, request: &'a DecisionRequest<'_>) -> Option<&'a str> {
        let version = |row| self.decided_by(request, row).0.version.as_str();
        let first = version(0);
        (1..self.decisions().len()).all(|row| version(row) == first).then_some(first)
    }
}

/// Writes the decisions of a request to the log, where the server keeps one.
///
/// # Errors
/// 503 where they cannot be written and the server is told to refuse then.
pub(super) fn record(
    state: &DataPlane,
    request: &DecisionRequest<'_>,
    explored: Explored,
) -> Result<Recorded, ApiError> {
    let recorded = Recorded { explored };
    if let Some(keeping) = &state.decisions {
        write(state, keeping, request, &recorded)?;
    }
    Ok(recorded)
}

fn write(
    state: &DataPlane,
    keeping: &DecisionKeeping,
    request: &DecisionRequest<'_>,
    recorded: &Recorded,
) -> Result<(), ApiError> {
    let latency_ns = u32::try_from(request.timing.start.elapsed().as_nanos()).unwrap_or(u32::MAX);
    let assigned = recorded.assigned();
    let new = |row: usize| {
        let transaction = request.transaction(row);
        let (_, encoded) = recorded.decided_by(request, row);
        let arms = assigned.arms.as_ref();
        NewDecision {
            id: assigned.ids[row],
            transaction_id: transaction.id.as_str(),
            entity: transaction.entity.as_str(),
            event_time_ms: transaction.event_time.map(|time| time.ms()),
            features: encoded.values(),
            score: assigned.decisions[row].score,
            alert: assigned.decisions[row].alert,
            propensity: recorded.propensity(row),
            fallback: recorded.fallback(row),
            assigned: arms.and_then(|arms| arms.assigned(row)),
            latency_ns,
        }
    };
    // Each version's decisions under its own name, and with its own columns.
    let (mut by_candidate, mut by_live) = (Vec::new(), Vec::with_capacity(request.rows.len()));
    for row in 0..request.rows.len() {
        match assigned.candidate(row) {
            Some(_) => by_candidate.push(new(row)),
            None => by_live.push(new(row)),
        }
    }
    let live = &request.answering.model.deciding;
    let groups: &[(&Arc<DecidingModel>, &[NewDecision<'_>])] = match &assigned.arms {
        Some(arms) => &[(&arms.step.candidate.deciding, &by_candidate), (live, &by_live)],
        None => &[(live, &by_live)],
    };
    let Err(error) = keeping.log.append_groups(groups) else { return Ok(()) };
    state.metrics.record_unlogged(request.rows.len() as u64, keeping.when_full);
    match keeping.when_full {
        WhenFull::Refuse => {
            tracing::error!("decisions cannot be logged, so none is given: {error}");
            Err(ApiError::Unavailable("the decision log cannot be written; the server's log says why"))
        }
        WhenFull::DropAndCount => {
            tracing::warn!("decisions are given without a record: {error}");
            Ok(())
        }
    }
}
