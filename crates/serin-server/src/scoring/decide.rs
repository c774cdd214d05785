//! The one path from features to decisions, whatever the protocol: score, threshold, log.

use super::fallback::{Answering, Due, Standing};
use super::live_model::LiveModel;
use crate::http::error::ApiError;
use crate::routes::DataPlane;
use serin_scoring::Decision;
use serin_store::{DecisionLog, Fallback, NewDecision};
use std::sync::Arc;
use std::time::Instant;

/// Rows scored between two looks at the clock: some 200 µs.
const BETWEEN_LOOKS: usize = 512;

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

/// What a decision is about; all of it may be unknown.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Subject<'a> {
    pub(super) transaction_id: &'a str,
    pub(super) entity: &'a str,
    pub(super) event_time_ms: Option<i64>,
}

/// Decisions in the order of the rows.
#[derive(Debug)]
pub(super) struct Decided {
    /// UUIDs.
    pub(super) ids: Vec<[u8; 16]>,
    pub(super) decisions: Vec<Decision>,
    /// What decided in the model's place, row by row; empty where it decided all.
    pub(super) fallbacks: Vec<Option<Fallback>>,
}

impl Decided {
    pub(super) fn fallback(&self, row: usize) -> Option<Fallback> {
        self.fallbacks.get(row).copied().flatten()
    }
}

/// When a request came, and when it must be decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub(super) start: Instant,
    pub(super) due: Due,
}

/// Decides on rows; `subjects` says what each is about, or is empty.
pub(super) fn decide(
    state: &DataPlane,
    answering: &Answering,
    features: &[f32],
    subjects: &[Subject<'_>],
    timing: Timing,
) -> Result<Decided, ApiError> {
    let model = &answering.model;
    let (decisions, fallbacks) = decisions(state, answering, features, timing.due)?;
    let now_ms = (state.clock)();
    let ids: Vec<[u8; 16]> = decisions.iter().map(|_| state.ids.next(now_ms)).collect();
    let decided = Decided { ids, decisions, fallbacks };
    if let Some(keeping) = &state.decisions {
        record(state, keeping, model, features, subjects, &decided, timing.start)?;
    }
    // Candidates are there for the first model, and are compared with what it said itself.
    if let Some(shadow) = &state.shadow
        && decided.fallbacks.is_empty()
        && state.models.default_slot().live().is_some_and(|first| Arc::ptr_eq(&first, model))
    {
        shadow.offer(model, features, &decided.ids, &decided.decisions);
    }
    let alerts = decided.decisions.iter().filter(|decision| decision.alert).count() as u64;
    state.metrics.record_decisions(alerts, decided.decisions.len() as u64 - alerts);
    state.metrics.record_fallbacks(&decided.fallbacks);
    Ok(decided)
}

/// Scores, and what decides where there is none in time.
fn decisions(
    state: &DataPlane,
    answering: &Answering,
    features: &[f32],
    due: Due,
) -> Result<(Vec<Decision>, Vec<Option<Fallback>>), ApiError> {
    let package = &answering.model.package;
    let width = package.signature.columns.len();
    let rows = features.len() / width;
    let mut scores = vec![f32::NAN; rows];
    let mut scored = 0;
    if answering.standing != Standing::ColumnsOnly {
        // A large request must not run past its time unseen.
        for (features, scores) in features.chunks(width * BETWEEN_LOOKS).zip(scores.chunks_mut(BETWEEN_LOOKS)) {
            if due.is_over() {
                break;
            }
            package.forest.margins_into(features, scores);
            package.forest.scores_from_margins(scores);
            scored += scores.len();
        }
    }
    let mut decisions: Vec<Decision> = scores.iter().map(|score| Decision::new(*score, package.threshold)).collect();
    let mut fallbacks = Vec::new();
    if answering.standing == Standing::LastGood {
        fallbacks = vec![Some(Fallback::LastGood); rows];
    }
    if scored < rows || scores.iter().any(|score| score.is_nan()) {
        for (row, features) in features.chunks_exact(width).enumerate() {
            if !scores[row].is_nan() {
                continue;
            }
            match state.fallback.decide(&package.signature, features) {
                Some((fallback, decision)) => {
                    fallbacks.resize(rows, None);
                    (fallbacks[row], decisions[row]) = (Some(fallback), decision);
                }
                // A score that is no number is what the model says; a missing one is nobody's word.
                None if row < scored => {}
                None if answering.standing == Standing::ColumnsOnly => return Err(ApiError::NoModel),
                None => {
                    return Err(ApiError::Unavailable(
                        "not decided within --deadline, and no --fallback decides instead",
                    ));
                }
            }
        }
    }
    Ok((decisions, fallbacks))
}

fn record(
    state: &DataPlane,
    keeping: &DecisionKeeping,
    model: &LiveModel,
    features: &[f32],
    subjects: &[Subject<'_>],
    decided: &Decided,
    start: Instant,
) -> Result<(), ApiError> {
    let latency_ns = u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX);
    let rows = features.chunks_exact(model.package.signature.columns.len());
    let made: Vec<NewDecision<'_>> = decided
        .decisions
        .iter()
        .zip(&decided.ids)
        .zip(rows)
        .enumerate()
        .map(|(i, ((decision, id), features))| {
            let subject = subjects.get(i).copied().unwrap_or_default();
            NewDecision {
                id: *id,
                transaction_id: subject.transaction_id,
                entity: subject.entity,
                event_time_ms: subject.event_time_ms,
                features,
                score: decision.score,
                alert: decision.alert,
                fallback: decided.fallback(i),
                latency_ns,
            }
        })
        .collect();
    if let Err(error) = keeping.log.append(&model.deciding, &made) {
        state.metrics.record_unlogged(made.len() as u64, keeping.when_full);
        if keeping.when_full == WhenFull::Refuse {
            tracing::error!("decisions cannot be logged, so none is given: {error}");
            return Err(ApiError::Unavailable("the decision log cannot be written; the server's log says why"));
        }
        tracing::warn!("decisions are given without a record: {error}");
    }
    Ok(())
}
