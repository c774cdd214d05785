//! Third step: the candidate of a release decides on its share.

use super::DecisionRequest;
use super::fall_back::Decided;
use super::score::{Scored, score_rows};
use crate::fallback::{Answering, ModelRole};
use crate::rollout::{Outcome, Release, Step};
use crate::state::DataPlane;
use serin_decisions::Fallback;
use serin_scoring::{Decision, EncodedRow, EncodedRows};
use std::sync::Arc;
use std::time::Duration;

/// Decisions of one request after the split, with their ids.
#[derive(Debug)]
pub(super) struct Assigned {
    /// Ids of the decisions, one UUID of 16 bytes for each row.
    pub(super) ids: Vec<[u8; 16]>,
    /// What is done: one entry for each row.
    pub(super) decisions: Vec<Decision>,
    /// Fallback that decided in a model's place, one entry for each row; empty where models decided all rows.
    pub(super) fallbacks: Vec<Option<Fallback>>,
    /// What the live model itself said, where something else may be done: one entry for each row, none without a split.
    pub(super) live: Option<Vec<Decision>>,
    /// True if the live model, and no fallback, decided on every row before the split.
    pub(super) is_live_complete: bool,
    /// Part of each row in the release; none without a split.
    pub(super) arms: Option<Arms>,
    /// Time at which the rows were decided, epoch milliseconds.
    pub(super) now_ms: i64,
}

/// Part of the rows of a request in a release.
#[derive(Debug)]
pub(super) struct Arms {
    pub(super) step: Arc<Step>,
    /// Rows of the candidate's share, encoded for the candidate.
    candidate_rows: EncodedRows,
    /// One entry for each row.
    pub(super) rows: Vec<ArmRow>,
}

/// Part of one row in a release.
#[derive(Debug)]
pub(super) struct ArmRow {
    /// What happened on the row's arm; none for a row that takes no part, as one that does not match.
    pub(super) outcome: Option<Outcome>,
    /// Index among the candidate's rows, where the candidate decided.
    candidate_row: Option<usize>,
}

impl Arms {
    /// What the log says of a row's part in the release: the candidate's share, and whether the candidate decided.
    pub(super) fn assigned(&self, row: usize) -> Option<serin_decisions::Assigned> {
        let candidate = self.rows.get(row)?.candidate_row.is_some();
        let takes_part = candidate || !self.step.is_by_match();
        takes_part.then(|| serin_decisions::Assigned { weight: self.step.weight(), candidate })
    }
}

impl Assigned {
    /// Candidate of the release and its row, where the candidate decided.
    pub(super) fn candidate(&self, row: usize) -> Option<(&Arc<Step>, EncodedRow<'_>)> {
        let arms = self.arms.as_ref()?;
        Some((&arms.step, arms.candidate_rows.row(arms.rows.get(row)?.candidate_row?)))
    }

    /// What the live model itself said of each row.
    pub(super) fn live(&self) -> &[Decision] {
        self.live.as_deref().unwrap_or(&self.decisions)
    }
}

/// Split that a request takes part in: one of the live model's that is not pinned to a version.
pub(super) fn in_force(state: &DataPlane, answering: &Answering) -> Option<Arc<Step>> {
    let step = state.release.as_ref().and_then(Release::step)?;
    let takes_part =
        answering.role == ModelRole::Live && !answering.is_pinned && Arc::ptr_eq(&step.stable, &answering.model);
    takes_part.then_some(step)
}

/// Lets the candidate decide on its share. Where it has no score in time, the decision that is there stands.
pub(super) fn split(
    state: &DataPlane,
    request: &DecisionRequest<'_>,
    step: Option<Arc<Step>>,
    scored: &Scored,
    decided: Decided,
) -> Assigned {
    let now_ms = (state.clock)();
    let ids = decided.decisions.iter().map(|_| state.ids.next(now_ms)).collect();
    let is_live_complete = decided.fallbacks.is_empty();
    let Decided { decisions, fallbacks } = decided;
    let mut assigned = Assigned { ids, decisions, fallbacks, live: None, is_live_complete, arms: None, now_ms };
    if let Some(step) = step {
        assigned.live = Some(assigned.decisions.clone());
        assigned.arms = Some(arms(request, step, scored, &mut assigned));
    }
    assigned
}

fn arms(request: &DecisionRequest<'_>, step: Arc<Step>, scored: &Scored, assigned: &mut Assigned) -> Arms {
    let context = request.timing.context;
    let draws: Vec<_> =
        assigned.ids.iter().enumerate().map(|(row, id)| step.draw(request.transaction(row), id)).collect();
    let is_candidates = |row: usize| match step.is_by_match() {
        true => context.matched,
        false => step.is_candidates(draws[row]),
    };
    let share: Vec<usize> = (0..draws.len()).filter(|row| is_candidates(*row)).collect();
    let mut candidate_rows = step.translation().empty(share.len());
    share.iter().for_each(|row| step.translation().translate(request.rows.row(*row), &mut candidate_rows));
    let package = &step.candidate.package;
    let by_candidate = score_rows(package, &candidate_rows, context, true, scored.began());
    // What both arms had before their scoring: the request's way here, but not the other arm's scoring.
    let before = scored.began().map_or(Duration::ZERO, |began| began.saturating_duration_since(request.timing.start));
    let mut next = share.iter().enumerate().peekable();
    let mut rows = Vec::with_capacity(draws.len());
    for (row, draw) in draws.iter().enumerate() {
        let mine = next.next_if(|(_, mine)| **mine == row).map(|(index, _)| index);
        let error = match mine {
            // Time that the live model has used up is no fault of the candidate.
            Some(index) => {
                by_candidate.score(index).is_none() && (!by_candidate.is_late(index) || by_candidate.is_late_by_itself)
            }
            None => scored.score(row).is_none(),
        };
        let score = mine.and_then(|index| by_candidate.score(index));
        if let Some(score) = score {
            assigned.decisions[row] = Decision::new(score, package.threshold);
            if let Some(fallback) = assigned.fallbacks.get_mut(row) {
                *fallback = None;
            }
        }
        // Who does not match takes no part.
        let takes_part = mine.is_some() || !step.is_by_match();
        let own = if mine.is_some() { by_candidate.first_row } else { scored.first_row };
        let outcome = takes_part.then(|| Outcome {
            is_candidate: mine.is_some(),
            draw: *draw,
            alert: assigned.decisions[row].alert,
            error,
            // The first row stands for its request.
            took: (row == 0).then_some(before + own),
        });
        rows.push(ArmRow { outcome, candidate_row: mine.filter(|_| score.is_some()) });
    }
    Arms { step, candidate_rows, rows }
}
