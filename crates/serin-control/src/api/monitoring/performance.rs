//! `GET /v1/performance`: how decisions turned out.

use crate::error::ControlError;
use crate::monitoring::performance::{GroupBy, PerformanceQuery, performance};
use crate::monitoring::{Monitoring, MonitoringError};
use crate::state::ControlPlane;
use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};
use serin_analysis::performance::Performance;
use serin_http::Fields;
use serin_store::Store;

const DAY_MS: i64 = 86_400_000;

/// Answers `GET /v1/performance` with the figures by group.
pub(crate) async fn show(State(state): State<ControlPlane>, fields: Fields) -> Result<Json<Value>, ControlError> {
    let query = query(&fields, state.now_ms())?;
    let groups = performance(&state.store, &state.monitoring, &query).await?;
    Ok(Json(shown(&query, &groups)))
}

/// Answer of `GET /v1/performance` to these parameters, as JSON.
///
/// # Errors
/// [`MonitoringError`] by what can be done about it.
pub async fn performance_report(
    store: &Store,
    monitoring: &Monitoring,
    parameters: &[(&str, String)],
    now_ms: i64,
) -> Result<Value, MonitoringError> {
    let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    let query =
        query(&Fields::from_query(&text), now_ms).map_err(|error| MonitoringError::InvalidInput(error.message()))?;
    let groups = performance(store, monitoring, &query).await?;
    Ok(shown(&query, &groups))
}

fn query(fields: &Fields, now_ms: i64) -> Result<PerformanceQuery, ControlError> {
    let mut query = PerformanceQuery::of(&fields.required("name")?, now_ms);
    let time = |name: &str| -> Result<Option<i64>, ControlError> {
        let Some(text) = fields.opt_text(name)? else { return Ok(None) };
        let parsed = text.parse::<i64>().ok();
        let time = parsed.or_else(|| text.parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond()));
        let usage =
            || ControlError::invalid(format!("{name}={text}: write 2026-11-25T00:00:00Z or epoch milliseconds"));
        time.map(Some).ok_or_else(usage)
    };
    query.since_ms = time("since")?.unwrap_or(query.since_ms);
    query.until_ms = time("until")?.unwrap_or(query.until_ms);
    query.as_of_ms = match fields.opt_text("as_of")?.as_deref() {
        Some("newest") => None,
        Some(_) => time("as_of")?,
        None => query.as_of_ms,
    };
    if let Some(days) = fields.opt_number("maturity_days")? {
        query.maturity.delay_ms = (days * DAY_MS as f64) as i64;
    }
    query.maturity.unlabelled_is_genuine = match fields.opt_text("unlabelled")?.as_deref() {
        None | Some("excluded") => false,
        Some("genuine") => true,
        Some(other) => return Err(ControlError::invalid(format!("unlabelled={other}: write excluded or genuine"))),
    };
    query.by = match fields.opt_text("by")?.as_deref() {
        None => GroupBy::All,
        Some(text) => text.parse().map_err(ControlError::invalid)?,
    };
    query.amount = fields.opt_text("amount")?;
    query.review_cost = fields.opt_number("review_cost")?.unwrap_or(0.0);
    query.cards = fields.opt_int("cards")?.map_or(Ok(100), |cards| {
        usize::try_from(cards)
            .ok()
            .filter(|cards| *cards > 0)
            .ok_or_else(|| ControlError::invalid("cards is from 1 up"))
    })?;
    Ok(query)
}

/// Figures by group as JSON; a figure that is not defined is left out.
pub(crate) fn shown(query: &PerformanceQuery, groups: &[(String, Performance)]) -> Value {
    let group = |(name, found): &(String, Performance)| {
        let metrics: Map<String, Value> =
            found.metrics.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let reliability: Vec<Value> = found
            .reliability
            .iter()
            .map(|bin| json!({ "rows": bin.rows, "expected": bin.expected, "observed": bin.observed }))
            .collect();
        let estimate = found.estimate.map(|estimate| {
            json!({
                "what": "an estimate without labels (CBPE) over all decisions: blind to frauds the model does not see",
                "frauds": estimate.frauds, "precision": estimate.precision, "recall": estimate.recall,
                "average_precision": estimate.average_precision,
            })
        });
        json!({
            "group": name, "decisions": found.decisions, "alerts": found.alerts, "matured": found.matured,
            "labelled": found.labelled, "coverage": found.coverage(), "frauds": found.frauds,
            "explored": found.explored, "held": found.held, "metrics": metrics,
            "reliability": reliability, "estimate": estimate,
        })
    };
    json!({
        "name": query.name, "as_of": query.as_of_ms, "maturity_days": query.maturity.delay_ms as f64 / DAY_MS as f64,
        "unlabelled": if query.maturity.unlabelled_is_genuine { "genuine" } else { "excluded" },
        "groups": groups.iter().map(group).collect::<Vec<_>>(),
    })
}
