//! The one path from features to decisions, whatever the protocol: score, threshold, log.

use super::live_model::LiveModel;
use crate::http::error::ApiError;
use crate::routes::DataPlane;
use serin_scoring::Decision;
use serin_store::{DecisionLog, NewDecision};
use std::sync::Arc;
use std::time::Instant;

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
}

/// Decides on rows; `subjects` says what each is about, or is empty.
pub(super) fn decide(
    state: &DataPlane,
    model: &Arc<LiveModel>,
    features: &[f32],
    subjects: &[Subject<'_>],
    start: Instant,
) -> Result<Decided, ApiError> {
    let package = &model.package;
    let width = package.signature.columns.len();
    let mut scores = vec![0.0; features.len() / width];
    package.forest.margins_into(features, &mut scores);
    package.forest.scores_from_margins(&mut scores);
    let decisions: Vec<Decision> = scores.iter().map(|score| Decision::new(*score, package.threshold)).collect();
    let now_ms = (state.clock)();
    let ids: Vec<[u8; 16]> = scores.iter().map(|_| state.ids.next(now_ms)).collect();
    if let Some(keeping) = &state.decisions {
        let latency_ns = u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX);
        let made: Vec<NewDecision<'_>> = decisions
            .iter()
            .zip(&ids)
            .zip(features.chunks_exact(width))
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
    }
    // Candidates are there for the first model.
    if let Some(shadow) = &state.shadow
        && state.models.default_slot().live().is_some_and(|first| Arc::ptr_eq(&first, model))
    {
        shadow.offer(model, features, &ids, &decisions);
    }
    let alerts = decisions.iter().filter(|decision| decision.alert).count() as u64;
    state.metrics.record_decisions(alerts, decisions.len() as u64 - alerts);
    Ok(Decided { ids, decisions })
}
