//! `GET /v1/drift`, `/v1/alerts`, `/v1/retrainings`, `/metrics`; `POST /v1/panes`.

use super::jobs;
use crate::error::ControlError;
use crate::monitoring::evidently::snapshot;
use crate::monitoring::windows::{newest, window};
use crate::state::ControlPlane;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use serin_analysis::monitor::drift_json;
use serin_analysis::monitor::{HOUR_MS, Rule, SparsePane};
use serin_http::Fields;
use serin_http::Text;
use serin_tracking::StoredPane;

/// Most panes of a request.
const MAX_PANES: usize = 2048;

/// A pane as data planes send it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SentPane {
    id: String,
    model: String,
    version: String,
    sequence: i64,
    pane: SparsePane,
}

/// Takes panes of a data plane. May be repeated.
pub(crate) async fn put_panes(State(state): State<ControlPlane>, body: Bytes) -> Result<Json<Value>, ControlError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sent {
        panes: Vec<SentPane>,
    }
    let sent: Sent =
        serde_json::from_slice(&body).map_err(|error| ControlError::invalid(format!("these are no panes: {error}")))?;
    if sent.panes.len() > MAX_PANES {
        return Err(ControlError::invalid(format!("at most {MAX_PANES} panes in one request")));
    }
    let stored = |sent: SentPane| -> Result<StoredPane, ControlError> {
        if sent.id.len() > 200 || sent.model.len() > 256 || sent.version.len() > 64 {
            return Err(ControlError::invalid("id, model or version is too long"));
        }
        let body = serde_json::to_string(&sent.pane).map_err(ControlError::invalid)?;
        let from_ms = sent.pane.from_ms();
        Ok(StoredPane { id: sent.id, model: sent.model, version: sent.version, from_ms, sequence: sent.sequence, body })
    };
    let panes = sent.panes.into_iter().map(stored).collect::<Result<Vec<_>, _>>()?;
    state.store.put_panes(panes).await?;
    Ok(Json(json!({})))
}

/// The live window of a model against its reference, the hour under way included.
pub(crate) async fn drift(State(state): State<ControlPlane>, fields: Fields) -> Result<Json<Value>, ControlError> {
    let name = fields.required("name")?;
    let hours = fields.opt_int("window_hours")?.unwrap_or(state.settings.monitoring.window_hours);
    if !(1..=24 * 60).contains(&hours) {
        return Err(ControlError::invalid("window_hours is from 1 to 1440"));
    }
    let Some(newest_ms) = newest(state.sources(), &name).await? else {
        state.store.registered_model(&name).await?;
        return Err(ControlError::mlflow("RESOURCE_DOES_NOT_EXIST", format!("no traffic of {name} has been seen")));
    };
    let until_ms = fields.opt_int("until")?.unwrap_or(newest_ms + HOUR_MS);
    let from_ms = until_ms.saturating_sub(hours * HOUR_MS);
    let found = window(&state.store, &state.monitoring, &state.settings, &name, (from_ms, until_ms)).await?;
    let Some((version, report)) = found else {
        return Err(ControlError::mlflow("RESOURCE_DOES_NOT_EXIST", format!("no traffic of {name} in that window")));
    };
    if fields.opt_text("format")?.as_deref() == Some("evidently-snapshot") {
        return Ok(Json(snapshot(&name, &version, &report, None)));
    }
    let mut shown = drift_json(&report);
    (shown["name"], shown["version"]) = (json!(name), json!(version));
    Ok(Json(shown))
}

/// Alerts, the newest first; of one model with `name`.
pub(crate) async fn alerts(State(state): State<ControlPlane>, fields: Fields) -> Result<Json<Value>, ControlError> {
    let (limit, offset) = (fields.page_size(100, 1000)?, fields.page_offset()?);
    let alerts = state.store.alerts(&fields.text("name")?, limit, offset).await?;
    let shown = |alert: &serin_store::Alert| {
        json!({
            "model": alert.model, "rule": alert.rule, "subject": alert.subject, "severity": alert.severity,
            "fired_at": alert.fired_at_ms, "resolved_at": alert.resolved_at_ms, "message": alert.message,
        })
    };
    Ok(Json(json!({ "alerts": alerts.iter().map(shown).collect::<Vec<_>>() })))
}

/// Retrainings of a model, the newest first; until when the monitor has looked at its hours, and whether a retraining runs that it set
/// off.
pub(crate) async fn retrainings(
    State(state): State<ControlPlane>,
    fields: Fields,
) -> Result<Json<Value>, ControlError> {
    let name = fields.required("name")?;
    // Before the rows: what ran and has ended is among them.
    let (looked_until_ms, running) = state.board.looked(&name);
    let found = state.store.retrainings(&name, 100).await?;
    let shown = |one: &serin_store::Retraining| {
        json!({
            "cause": one.cause, "reason": one.reason, "started_at": one.started_at_ms, "ended_at": one.ended_at_ms,
            "outcome": one.outcome, "version": one.version, "verdict": one.verdict,
        })
    };
    let retrainings: Vec<Value> = found.iter().map(shown).collect();
    Ok(Json(json!({ "retrainings": retrainings, "looked_until": looked_until_ms, "running": running })))
}

const GAUGES: [(&str, &str); 9] = [
    (
        "serin_drift_score",
        "Distance of the live window from the reference, by column; the lower bound where it is not exact.",
    ),
    ("serin_drift_threshold", "Distance from which a column is drifted."),
    ("serin_drift_alarm", "1 for a column that is drifted."),
    ("serin_missing_share", "Share of missing values, or of unknown categories, in the live window."),
    ("serin_alert_rate", "Share of alerts in the live window."),
    ("serin_drifted_importance", "Share of the model's gain that drifted columns carry."),
    ("serin_window_decisions", "Decisions in the live window."),
    ("serin_performance", "Figures of the matured transactions of the last days."),
    ("serin_label_coverage", "Share of those transactions whose label is known."),
];

/// Prometheus text of what was last looked at.
pub(crate) async fn metrics(State(state): State<ControlPlane>) -> Result<Response, ControlError> {
    let mut lines = Vec::new();
    let models = state.board.all();
    for (model, latest) in &models {
        latest.gauges(model, &mut lines);
    }
    let mut out = Text::default();
    for (name, help) in GAUGES {
        out.head(name, "gauge", help);
        for (_, labels, value) in lines.iter().filter(|(of, ..)| *of == name) {
            let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
            out.line(&labels, value);
        }
    }
    jobs::gauges(&state.store.jobs().await?, &mut out);
    out.head("serin_alerts_firing", "gauge", "Alerts that are on, by rule.");
    for model in models.keys() {
        let on = state.store.alerts_on(model).await?;
        for rule in Rule::ALL.map(Rule::name) {
            out.line(&[("model", model), ("rule", rule)], on.iter().filter(|alert| alert.rule == rule).count());
        }
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], out.finish()).into_response())
}
