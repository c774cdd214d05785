//! State of a rollout as the JSON that `GET /v1/rollout` answers with.

use super::release::Releasing;
use serde_json::{Value, json};
use serin_analysis::rollout::Judgement;
use serin_analysis::rollout::delivery::{Delivery, Look};
use serin_models::LoadedModel;
use std::f64::consts::LN_10;
use std::sync::Arc;

/// State of a rollout as JSON.
pub(crate) fn shown(delivery: &Delivery, releasing: &Releasing) -> Value {
    let (state, verdict, limits) = (delivery.state(), delivery.verdict(), &delivery.rules().extension.limits);
    let (others, heard) = delivery.others();
    let rollout = &state.rollout;
    let loaded = |model: Option<Arc<LoadedModel>>| model.map(|model| model.version.clone());
    let (judgement, reason) = match &verdict.judgement {
        Judgement::Fail(reason) => ("FAIL", reason.as_str()),
        Judgement::Pass => ("PASS", ""),
        Judgement::Hold(reason) => ("HOLD", reason.as_str()),
    };
    let exp = |ln: f64| ln.min(700.0).exp();
    let components: Vec<_> = verdict
        .components
        .iter()
        .map(|part| json!({ "name": part.name, "weight": part.weight, "e": exp(part.ln_e), "found": part.found }))
        .collect();
    let paired = &state.counts.paired;
    json!({
        "model": delivery.rules().model,
        "phase": rollout.phase,
        "paused": state.paused,
        "stable_version": loaded(releasing.stable.live()),
        "candidate_version": delivery.released(),
        "candidate_loaded": loaded(releasing.candidate.live()),
        "refused": delivery.refused().map(|(version, reason)| json!({ "version": version, "reason": reason })),
        "candidate_weight": f64::from(rollout.route.candidate) / 100.0,
        // The weight is of the requests that match (A/B).
        "by_match": rollout.route.matched,
        "failed_checks": rollout.failed_checks,
        "iterations": rollout.iterations,
        "began_at_ms": state.began_ms,
        // The live version is still to be changed in the registry.
        "pointing_to": state.pointing.as_ref().map(|pointing| &pointing.to),
        "shadow": {
            "requests": paired.requests(), "both_alert": paired.both, "only_candidate_alerts": paired.raised,
            "only_stable_alerts": paired.lowered, "unscored": paired.unscored, "alert_ratio": paired.alert_ratio(),
            "disagreement": paired.disagreement(),
        },
        // Counts of other servers, judged with those of this one.
        "others": {
            "replicas": others.replicas, "requests": others.counts.paired.requests(),
            "exposed_requests": others.counts.exposed(), "heard": heard,
        },
        "leads": state.leads,
        "segments": state.counts.segments.iter().map(|(name, paired)| json!({
            "segment": name, "requests": paired.requests(), "alert_ratio": paired.alert_ratio(),
        })).collect::<Vec<_>>(),
        "exposed_requests": state.counts.exposed(),
        "evidence": {
            "judgement": judgement, "reason": reason, "e": exp(verdict.ln_e), "rollback_from": 1.0 / limits.alpha,
            "e_alike": exp(verdict.ln_e_alike), "promotion_from": 1.0 / limits.beta, "components": components,
        },
        "history": state.history,
        "track": state.track.iter().map(tracked).collect::<Vec<_>>(),
    })
}

fn tracked(look: &Look) -> Value {
    json!({
        "at_ms": look.at_ms, "weight": f64::from(look.weight) / 100.0, "log10_e": look.ln_e[0] / LN_10,
        "log10_e_alike": look.ln_e[1] / LN_10, "shadow_requests": look.shadow_requests,
        "exposed_requests": look.exposed_requests,
    })
}
