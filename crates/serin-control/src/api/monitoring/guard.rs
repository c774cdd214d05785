//! `GET /v1/guard`: the promoted version beside the one before it.

use crate::error::ControlError;
use crate::monitoring::guard::{LEDGER, matured, promotion, rules, verdict};
use crate::state::ControlPlane;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use serin_analysis::performance::{Comparison, Difference};
use serin_http::Fields;

/// `GET /v1/guard`: the live version against the one before it, as far as labels have matured.
pub(crate) async fn show(State(state): State<ControlPlane>, fields: Fields) -> Result<Json<Value>, ControlError> {
    let name = fields.required("name")?;
    let as_of_ms = fields.opt_int("as_of")?.unwrap_or(state.now_ms());
    let settings = &state.settings;
    let ledger = state.store.model_history(&name, LEDGER, 0).await?;
    let newest = |target: &String| ledger.iter().find(|entry| entry.target == *target)?.version;
    let live = settings.guard.live.iter().find_map(newest);
    let none = |why: String| ControlError::mlflow("RESOURCE_DOES_NOT_EXIST", why);
    let Some(version) = live else {
        return Err(none(format!("no version of {name} is {}", settings.guard.live.join(" or "))));
    };
    let Some(promotion) = promotion(&ledger, settings, version) else {
        return Err(none(format!("version {version} of {name} took nobody's place, or was put back by the guard")));
    };
    let maturity = settings.monitoring.maturity();
    let found = matured(&state.store, &state.monitoring, settings, maturity, &name, &promotion, as_of_ms).await?;
    let Some(found) = found else {
        return Err(ControlError::invalid("this server sees no decision log: start it with --decision-log"));
    };
    let rules = rules(settings);
    let (rows, frauds) = (found.rows.len(), found.frauds(as_of_ms, maturity));
    let next = (0..rules.looks).map(|look| rules.min_frauds << look).find(|needed| *needed > frauds);
    let verdict = verdict(found, settings).await;
    let figure = |found: &Difference| json!({ "previous": found.values[0], "promoted": found.values[1], "gain": found.gain, "interval": [found.interval.0, found.interval.1] });
    let at = |found: &Comparison| json!({ "recall": figure(&found.recall), "cost": figure(&found.cost) });
    Ok(Json(json!({
        "name": name, "version": version, "previous": promotion.previous, "target": promotion.target,
        "promoted_at": promotion.at_ms, "as_of": as_of_ms, "matured": rows, "frauds": frauds, "next_look_at_frauds": next,
        "error": rules.error,
        "at_as_many_alerts": verdict.as_ref().map(|found| at(&found.at_budget)),
        "at_own_thresholds": verdict.as_ref().map(|found| at(&found.at_thresholds)),
        "loss": verdict.and_then(|found| found.loss),
    })))
}
