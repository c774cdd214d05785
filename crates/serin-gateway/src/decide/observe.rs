//! Last step: what was recorded is counted. None of the observers makes the answer wait.

use super::DecisionRequest;
use super::record::Recorded;
use crate::state::DataPlane;
use std::sync::Arc;

/// Hands the decisions of a request to the arms of the release, the shadow, the monitor and the metrics.
pub(super) fn observe(state: &DataPlane, request: &DecisionRequest<'_>, recorded: &Recorded) {
    let assigned = recorded.assigned();
    if let Some(arms) = &assigned.arms {
        arms.rows.iter().filter_map(|row| row.outcome.as_ref()).for_each(|outcome| arms.step.count(outcome));
    }
    // Both look at what the live model says itself, which a fallback's decision is not.
    if assigned.is_live_complete {
        let model = &request.answering.model;
        // Candidates are there for the first model.
        if let Some(shadow) = &state.shadow
            && state.models.default_slot().live().is_some_and(|first| Arc::ptr_eq(&first, model))
        {
            shadow.offer(model, request.rows, &assigned.ids, assigned.live());
        }
        if let Some(monitor) = &state.monitor {
            let at_ms = |row: usize| request.transaction(row).monitored_at_ms(assigned.now_ms);
            monitor.offer(model, request.rows, assigned.live(), at_ms);
        }
    }
    let decisions = recorded.decisions();
    let alerts = decisions.iter().filter(|decision| decision.alert).count() as u64;
    state.metrics.record_decisions(alerts, decisions.len() as u64 - alerts);
    let explored = decisions.iter().zip(&recorded.explored.propensities);
    state.metrics.record_explored(explored.filter(|(decision, p)| p.is_some() && !decision.alert).count() as u64);
    state.metrics.record_fallbacks(recorded.fallbacks());
}
