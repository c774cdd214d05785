//! Second step: a decision for each row, by a fallback where the model has said nothing.

use super::DecisionRequest;
use super::score::Scored;
use crate::fallback::ModelRole;
use crate::state::DataPlane;
use serin_decisions::Fallback;
use serin_http::ApiError;
use serin_scoring::Decision;

/// A decision for each row, by the model that answers or by a fallback.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) decisions: Vec<Decision>,
    /// Fallback that decided in the model's place, one entry for each row; empty where the model decided all rows.
    pub(super) fallbacks: Vec<Option<Fallback>>,
}

/// Compares scores with the threshold, and lets the fallback decide on rows that have none.
///
/// # Errors
/// 503 where a row has no score and no step of the policy decides on it.
pub(super) fn fall_back(
    state: &DataPlane,
    request: &DecisionRequest<'_>,
    scored: &Scored,
) -> Result<Decided, ApiError> {
    let (model, role) = (&request.answering.model, request.answering.role);
    let threshold = model.package.threshold;
    let mut decisions: Vec<Decision> = scored.scores().iter().map(|score| Decision::new(*score, threshold)).collect();
    let rows = decisions.len();
    let mut fallbacks = match role {
        ModelRole::LastGood => vec![Some(Fallback::LastGood); rows],
        ModelRole::Live | ModelRole::ColumnsOnly => Vec::new(),
    };
    if scored.scores().iter().all(|score| !score.is_nan()) {
        return Ok(Decided { decisions, fallbacks });
    }
    if role != ModelRole::ColumnsOnly {
        let unscored = (0..rows).filter(|row| scored.score(*row).is_none());
        let (late, not_finite): (Vec<usize>, Vec<usize>) = unscored.partition(|row| scored.is_late(*row));
        state.metrics.record_unscored(late.len() as u64, not_finite.len() as u64);
    }
    for (row, features) in request.rows.rows().enumerate().filter(|(row, _)| scored.score(*row).is_none()) {
        let Some((fallback, decision)) = state.fallback.decide(model, features) else {
            return Err(match role {
                ModelRole::ColumnsOnly => ApiError::NoModel,
                _ if scored.is_late(row) => {
                    ApiError::Unavailable("not decided within --deadline, and no --fallback decides instead")
                }
                _ => ApiError::Unavailable(
                    "the model gives a row no finite score, and no --fallback decides instead: the model is damaged, or the row is beyond what it can score",
                ),
            });
        };
        fallbacks.resize(rows, None);
        (fallbacks[row], decisions[row]) = (Some(fallback), decision);
    }
    Ok(Decided { decisions, fallbacks })
}
