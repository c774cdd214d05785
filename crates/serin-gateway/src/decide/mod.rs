//! The one path from features to decisions, whatever the protocol: score, threshold, log.

mod request_context;

use crate::exploration::Exploration;
use crate::fallback::{Answering, Standing};
use crate::keeping::{DecisionKeeping, WhenFull};
use crate::rollout::{Release, Step, hashed};
use crate::state::DataPlane;
pub(crate) use request_context::RequestContext;
use serin_decisions::{Assigned, DecidingModel, Fallback, NewDecision};
use serin_http::ApiError;
use serin_models::LoadedModel;
use serin_scoring::Decision;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Instant;

/// Rows scored between two looks at the clock: some 200 µs.
const BETWEEN_LOOKS: usize = 512;

/// Payment that a decision is about: its id, its entity, and the time of its event in epoch milliseconds. Each may be
/// unknown.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Subject<'a> {
    pub(crate) transaction_id: &'a str,
    pub(crate) entity: &'a str,
    pub(crate) event_time_ms: Option<i64>,
}

/// Decisions of one request, in the order of its rows.
#[derive(Debug)]
pub(crate) struct Decided {
    /// Ids of the decisions, one UUID of 16 bytes for each row.
    pub(crate) ids: Vec<[u8; 16]>,
    pub(crate) decisions: Vec<Decision>,
    /// Fallback that decided in the model's place, one entry for each row; empty where the model decided all rows.
    pub(crate) fallbacks: Vec<Option<Fallback>>,
    /// One entry for each row, or empty when exploration did not run. `Some(p)`: the model alerted, and exploration
    /// lets such a payment through with probability p (0 < p ≤ 0.5); it did if `decisions[i].alert` is false.
    pub(crate) propensities: Vec<Option<f32>>,
    released: Option<Released>,
}

/// Split of the release that the request took part in.
#[derive(Debug)]
struct Released {
    step: Arc<Step>,
    /// One entry for each row: the candidate's columns where the candidate decided, `None` where the stable version
    /// did.
    columns: Vec<Option<Vec<f32>>>,
}

impl Decided {
    pub(crate) fn fallback(&self, row: usize) -> Option<Fallback> {
        self.fallbacks.get(row).copied().flatten()
    }

    /// Probability with which exploration lets a row's alert through; `None` where the model did not alert.
    pub(crate) fn propensity(&self, row: usize) -> Option<f32> {
        self.propensities.get(row).copied().flatten()
    }

    /// Candidate of the release and its columns for a row, where the candidate decided that row.
    pub(crate) fn candidate(&self, row: usize) -> Option<(&LoadedModel, &[f32])> {
        let released = self.released.as_ref()?;
        Some((&released.step.candidate, released.columns[row].as_deref()?))
    }
}

/// Time at which a request came, and the context in which it is decided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) start: Instant,
    pub(crate) context: RequestContext,
}

/// Decides on rows, row-major `features`. `subjects` has one entry for each row, or is empty.
pub(crate) fn decide(
    state: &DataPlane,
    answering: &Answering,
    features: &[f32],
    subjects: &[Subject<'_>],
    timing: Timing,
) -> Result<Decided, ApiError> {
    let model = &answering.model;
    let (decisions, fallbacks) = decisions(state, answering, features, timing.context)?;
    let now_ms = (state.clock)();
    let ids: Vec<[u8; 16]> = decisions.iter().map(|_| state.ids.next(now_ms)).collect();
    let mut decided = Decided { ids, decisions, fallbacks, propensities: Vec::new(), released: None };
    // What the stable version itself said, where it is not what is done.
    let mut stable = None;
    if let Some(step) = state.release.as_ref().and_then(Release::step)
        && answering.standing == Standing::Live
        && Arc::ptr_eq(&step.stable, model)
    {
        stable = Some(decided.decisions.clone());
        release(&mut decided, step, features, subjects, timing);
    }
    if let Some(exploration) = state.exploration
        && decided.decisions.iter().any(|decision| decision.alert)
    {
        stable.get_or_insert_with(|| decided.decisions.clone());
        explore(exploration, &mut decided, model, subjects);
    }
    if let Some(keeping) = &state.decisions {
        record(state, keeping, model, features, subjects, &decided, timing.start)?;
    }
    // Candidates are there for the first model, and are compared with what it said itself.
    if let Some(shadow) = &state.shadow
        && decided.fallbacks.is_empty()
        && state.models.default_slot().live().is_some_and(|first| Arc::ptr_eq(&first, model))
    {
        shadow.offer(model, features, &decided.ids, stable.as_ref().unwrap_or(&decided.decisions));
    }
    if let Some(monitor) = &state.monitor
        && decided.fallbacks.is_empty()
    {
        let said = stable.as_ref().unwrap_or(&decided.decisions);
        let time = |row: usize| subjects.get(row).and_then(|subject| subject.event_time_ms).unwrap_or(now_ms);
        monitor.offer(model, features, said, time);
    }
    let alerts = decided.decisions.iter().filter(|decision| decision.alert).count() as u64;
    state.metrics.record_decisions(alerts, decided.decisions.len() as u64 - alerts);
    let explored = decided.decisions.iter().zip(&decided.propensities);
    state.metrics.record_explored(explored.filter(|(decision, p)| p.is_some() && !decision.alert).count() as u64);
    state.metrics.record_fallbacks(&decided.fallbacks);
    Ok(decided)
}

/// Scores rows, and lets the fallback decide those that have no score in time. The second list has one entry for each
/// row, or is empty where no fallback decided.
fn decisions(
    state: &DataPlane,
    answering: &Answering,
    features: &[f32],
    context: RequestContext,
) -> Result<(Vec<Decision>, Vec<Option<Fallback>>), ApiError> {
    let package = &answering.model.package;
    let width = package.signature.columns.len();
    let rows = features.len() / width;
    let mut scores = vec![f32::NAN; rows];
    let mut scored = 0;
    if answering.standing != Standing::ColumnsOnly {
        // A large request must not run past its time unseen.
        for (features, scores) in features.chunks(width * BETWEEN_LOOKS).zip(scores.chunks_mut(BETWEEN_LOOKS)) {
            if context.is_over() {
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

/// Lets the candidate of a release decide on its share. Where it has no number to say, the stable version's stands.
fn release(decided: &mut Decided, step: Arc<Step>, features: &[f32], subjects: &[Subject<'_>], timing: Timing) {
    let package = &step.candidate.package;
    let rows = decided.decisions.len();
    let width = features.len() / rows.max(1);
    let mut columns = vec![None; rows];
    for (row, features) in features.chunks_exact(width.max(1)).enumerate() {
        let subject = subjects.get(row).copied().unwrap_or_default();
        let mine = match step.is_by_match() {
            true => timing.context.matched,
            false => step.is_candidates(subject.transaction_id, subject.entity, &decided.ids[row]),
        };
        let mut error = decided.fallback(row).is_some() || decided.decisions[row].score.is_nan();
        if mine {
            let mapped = step.mapped(features);
            let score = package.forest.score(&mapped);
            error = score.is_nan();
            if !error {
                decided.decisions[row] = Decision::new(score, package.threshold);
                columns[row] = Some(mapped);
                if let Some(fallback) = decided.fallbacks.get_mut(row) {
                    *fallback = None;
                }
            }
        }
        let took = (rows == 1).then(|| timing.start.elapsed());
        // Who does not match has no part in it.
        if step.is_by_match() && !mine {
            continue;
        }
        step.count(mine, subject.entity, decided.decisions[row].alert, error, took);
    }
    decided.released = Some(Released { step, columns });
}

fn record(
    state: &DataPlane,
    keeping: &DecisionKeeping,
    model: &LoadedModel,
    features: &[f32],
    subjects: &[Subject<'_>],
    decided: &Decided,
    start: Instant,
) -> Result<(), ApiError> {
    let latency_ns = u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX);
    let rows = features.chunks_exact(model.package.signature.columns.len()).enumerate();
    let new = |i: usize, features, assigned| {
        let subject = subjects.get(i).copied().unwrap_or_default();
        NewDecision {
            id: decided.ids[i],
            transaction_id: subject.transaction_id,
            entity: subject.entity,
            event_time_ms: subject.event_time_ms,
            features,
            score: decided.decisions[i].score,
            alert: decided.decisions[i].alert,
            propensity: decided.propensity(i),
            fallback: decided.fallback(i),
            assigned,
            latency_ns,
        }
    };
    let Some(Released { step, columns }) = &decided.released else {
        let made: Vec<NewDecision<'_>> = rows.map(|(i, row)| new(i, row, None)).collect();
        return append(state, keeping, &[(&model.deciding, &made)]);
    };
    // Each version's decisions under its own name, and its own columns.
    let (mut mine, mut others) = (Vec::new(), Vec::new());
    for (i, row) in rows {
        let assigned =
            |candidate| (candidate || !step.is_by_match()).then(|| Assigned { weight: step.weight(), candidate });
        match &columns[i] {
            Some(columns) => mine.push(new(i, columns.as_slice(), assigned(true))),
            None => others.push(new(i, row, assigned(false))),
        }
    }
    append(state, keeping, &[(&step.candidate.deciding, &mine), (&model.deciding, &others)])
}

/// Writes the decisions of one request, all of them or none, whichever models made them.
fn append(
    state: &DataPlane,
    keeping: &DecisionKeeping,
    made: &[(&Arc<DecidingModel>, &[NewDecision<'_>])],
) -> Result<(), ApiError> {
    if let Err(error) = keeping.log.append_groups(made) {
        let rows: usize = made.iter().map(|(_, decisions)| decisions.len()).sum();
        state.metrics.record_unlogged(rows as u64, keeping.when_full);
        if keeping.when_full == WhenFull::Refuse {
            tracing::error!("decisions cannot be logged, so none is given: {error}");
            return Err(ApiError::Unavailable("the decision log cannot be written; the server's log says why"));
        }
        tracing::warn!("decisions are given without a record: {error}");
    }
    Ok(())
}

/// Lets alerts of models through; of a rule or another fallback none. The draw is by a hash of the model file and the
/// transaction's id: who sends it again hears the same, from any replica.
fn explore(exploration: Exploration, decided: &mut Decided, model: &LoadedModel, subjects: &[Subject<'_>]) {
    for row in 0..decided.decisions.len() {
        let decision = decided.decisions[row];
        if !decision.alert || decided.fallback(row).is_some() {
            continue;
        }
        let by = decided.candidate(row).map_or(model, |(candidate, _)| candidate);
        let propensity = exploration.propensity(decision.score, by.package.threshold);
        let id = subjects.get(row).map_or("", |subject| subject.transaction_id).as_bytes();
        let id = if id.is_empty() { &decided.ids[row][..] } else { id };
        let draw = hashed(Sha256::new().chain_update(by.deciding.sha256).chain_update(b"exploration").chain_update(id));
        let let_through = draw as f64 / 2f64.powi(64) < f64::from(propensity);
        decided.propensities.resize(decided.decisions.len(), None);
        decided.propensities[row] = Some(propensity);
        decided.decisions[row].alert = !let_through;
    }
}
