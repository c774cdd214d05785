//! serin's own form: transactions with their names, decisions with theirs.

use super::cells::Cells;
use super::predict::whole;
use crate::decide::RequestContext;
use crate::decide::{Subject, Timing, decide};
use crate::fallback::Answering;
use crate::metrics::Route;
use crate::state::DataPlane;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serin_decisions::Fallback;
use serin_http::{ApiError, Detail, ErrorMessage, Place, ValidationErrors};
use serin_models::LoadedModel;
use std::time::Instant;
use utoipa::ToSchema;

/// Longest id of a transaction or entity, in bytes: the log keeps them in one byte's length.
const MAX_ID: usize = 255;

/// Transactions to decide on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecisionsRequest {
    /// Which model decides; the server's first without it.
    #[serde(default)]
    model: Option<String>,
    /// At least one.
    transactions: Vec<Transaction>,
    /// For which decisions reasons are wanted; they cost the answer some ten microseconds each.
    #[serde(default)]
    explain: Explain,
    /// Reasons of a decision, the strongest first.
    #[serde(default = "five")]
    max_reasons: usize,
}

fn five() -> usize {
    5
}

/// Which decisions get reasons.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Explain {
    /// None.
    #[default]
    None,
    /// Alerts.
    Alerts,
    /// All.
    All,
}

/// One transaction.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"transaction_id": "tx-1", "entity": "card-7", "timestamp": "2026-11-25T10:00:00Z", "features": {"TX_AMOUNT": 57.16}}))]
pub(crate) struct Transaction {
    /// The caller's name of it: labels are matched by it later. At most 255 bytes.
    #[serde(default)]
    transaction_id: String,
    /// Card, customer or terminal. At most 255 bytes.
    #[serde(default)]
    entity: String,
    /// When it happened: RFC 3339, or epoch milliseconds.
    #[serde(default)]
    timestamp: Option<Value>,
    /// Values by column name; what was missing in training may be left out.
    features: Map<String, Value>,
}

/// Decisions in the order of the transactions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DecisionsResponse {
    decisions: Vec<DecisionMade>,
}

/// One decision.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DecisionMade {
    /// UUID: `serin replay --id` finds the decision by it.
    decision_id: String,
    /// As it was sent; left out where none was.
    #[serde(skip_serializing_if = "String::is_empty")]
    transaction_id: String,
    /// Probability of fraud; none when the model gave no number.
    score: Option<f32>,
    /// `alert` where the score reaches the threshold, `pass` below.
    action: Action,
    /// Of the model.
    threshold: f32,
    /// Registered name, or path.
    model_name: String,
    /// Version, or empty.
    model_version: String,
    /// What decided in the model's place, whose score then is not the model's: `last-good`, `rules`, `allow`, `decline`.
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<&'static str>,
    /// The score asked for an alert, and `--explore` let it through to learn what becomes of it: with this probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    explored: Option<f32>,
    /// What moved the score most, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasons: Option<Vec<Reason>>,
}

/// One column's part in a score: an exact Shapley value (TreeSHAP), as XGBoost's `pred_contribs`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Reason {
    /// Column.
    feature: String,
    /// What the model's package calls it in front of people.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// What was scored; none where it was missing.
    value: Option<f32>,
    /// What it added to the margin (log-odds): above 0 towards fraud.
    contribution: f32,
}

/// What is to be done.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    /// Stop or review it.
    Alert,
    /// Let it through.
    Pass,
}

/// Decides on transactions and records the decisions.
#[utoipa::path(post, path = "/v1/decisions", request_body = DecisionsRequest, responses(
    (status = 200, body = DecisionsResponse),
    (status = 404, body = ErrorMessage, description = "No such model"),
    (status = 413, body = ErrorMessage, description = "Body or number of rows over the limit"),
    (status = 422, body = ValidationErrors, description = "A transaction does not fit the model: it and the column are named"),
    (status = 503, body = ErrorMessage, description = "No model is loaded, or the server has too much to do"),
))]
pub(crate) async fn create(
    State(state): State<DataPlane>,
    context: RequestContext,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let start = Instant::now();
    let response = match answer(&state, body, Timing { start, context }) {
        Ok(response) => Json(response).into_response(),
        Err(error) => error.into_response(),
    };
    state.metrics.record_request(Route::Decisions, response.status(), start.elapsed());
    response
}

fn answer(
    state: &DataPlane,
    body: Result<Bytes, BytesRejection>,
    timing: Timing,
) -> Result<DecisionsResponse, ApiError> {
    let body = whole(body, state)?;
    let request: DecisionsRequest = serde_json::from_slice(&body).map_err(|error| {
        fault("json_invalid", vec!["body".into()], format!("Not a request for decisions: {error}"), &Value::Null)
    })?;
    let slot = match &request.model {
        None => state.models.default_slot(),
        Some(name) => state.models.named(name).ok_or_else(|| ApiError::NotFound(state.models.unknown(name)))?,
    };
    let answering = Answering::of(slot, &state.fallback)?;
    let model = &answering.model;
    let transactions = &request.transactions;
    match transactions.len() {
        0 => {
            let loc = vec!["body".into(), "transactions".into()];
            return Err(fault(
                "too_short",
                loc,
                "List should have at least 1 item after validation, not 0",
                &Value::Null,
            ));
        }
        rows if rows > state.limits.rows => return Err(ApiError::TooManyRows { rows, limit: state.limits.rows }),
        _ => {}
    }
    let mut cells = Cells::new(&model.package.signature, transactions.len());
    let mut subjects = Vec::with_capacity(transactions.len());
    for (number, transaction) in transactions.iter().enumerate() {
        let at = |name: &str| -> Vec<Place> { vec!["body".into(), "transactions".into(), number.into(), name.into()] };
        for (name, text) in [("transaction_id", &transaction.transaction_id), ("entity", &transaction.entity)] {
            if text.len() > MAX_ID {
                cells.fault(
                    "string_too_long",
                    at(name),
                    format!("String should have at most {MAX_ID} bytes"),
                    &Value::Null,
                );
            }
        }
        let event_time_ms = match transaction.timestamp.as_ref().map(time_ms) {
            None => None,
            Some(Ok(time)) => time,
            Some(Err(msg)) => {
                let given = transaction.timestamp.as_ref().unwrap_or(&Value::Null);
                cells.fault("datetime_parsing", at("timestamp"), msg, given);
                None
            }
        };
        cells.named(&transaction.features, &|| at("features"));
        subjects.push(Subject {
            transaction_id: &transaction.transaction_id,
            entity: &transaction.entity,
            event_time_ms,
        });
        if cells.is_hopeless() {
            break;
        }
    }
    let features = cells.finish()?;
    let decided = decide(state, &answering, &features, &subjects, timing)?;
    let reasons_of = |model: &LoadedModel, features: &[f32], alert: bool| match request.explain {
        Explain::All => reasons(model, features, request.max_reasons).map(Some),
        Explain::Alerts if alert => reasons(model, features, request.max_reasons).map(Some),
        Explain::Alerts | Explain::None => Ok(None),
    };
    let rows = features.chunks_exact(model.package.signature.columns.len());
    let explained = rows.zip(&decided.decisions).enumerate().map(|(i, (row, decision))| match decided.fallback(i) {
        None | Some(Fallback::LastGood) => match decided.candidate(i) {
            None => reasons_of(model, row, decision.alert),
            Some((candidate, columns)) => reasons_of(candidate, columns, decision.alert),
        },
        // The model has not said it, so its columns explain nothing.
        Some(_) => Ok(None),
    });
    let explained = explained.collect::<Result<Vec<_>, ApiError>>()?;
    let made = decided.decisions.iter().zip(&decided.ids).zip(&subjects).zip(explained).enumerate();
    let decisions = made.map(|(i, (((decision, id), subject), reasons))| {
        let by = decided.candidate(i).map_or(&**model, |(candidate, _)| candidate);
        DecisionMade {
            fallback: decided.fallback(i).map(Fallback::name),
            explored: decided.propensity(i).filter(|_| !decision.alert),
            reasons,
            decision_id: uuid::Uuid::from_bytes(*id).to_string(),
            transaction_id: subject.transaction_id.to_owned(),
            score: Some(decision.score).filter(|score| !score.is_nan()),
            action: if decision.alert { Action::Alert } else { Action::Pass },
            threshold: by.package.threshold,
            model_name: by.name.clone(),
            model_version: by.version.clone(),
        }
    });
    Ok(DecisionsResponse { decisions: decisions.collect() })
}

fn reasons(model: &LoadedModel, features: &[f32], most: usize) -> Result<Vec<Reason>, ApiError> {
    let strongest = model.strongest(features, most).map_err(|reason| {
        let loc = vec!["body".into(), "explain".into()];
        fault("value_error", loc, format!("This model cannot be explained: {reason}"), &Value::Null)
    })?;
    let package = &model.package;
    let reason = |(position, contribution): (usize, f32)| {
        let name = &package.signature.columns[position].name;
        Reason {
            feature: name.clone(),
            description: package.descriptions.get(name).cloned(),
            value: Some(features[position]).filter(|value| value.is_finite()),
            contribution,
        }
    };
    Ok(strongest.into_iter().map(reason).collect())
}

fn fault(kind: &'static str, loc: Vec<Place>, msg: impl Into<String>, input: &Value) -> ApiError {
    ApiError::Validation(vec![Detail { r#type: kind, loc, msg: msg.into(), input: input.clone() }])
}

/// Epoch milliseconds; null is none.
fn time_ms(value: &Value) -> Result<Option<i64>, String> {
    match value {
        Value::Null => Ok(None),
        Value::Number(number) => {
            number.as_i64().map(Some).ok_or_else(|| "Input should be whole epoch milliseconds".to_owned())
        }
        Value::String(text) => text
            .parse::<jiff::Timestamp>()
            .map(|time| Some(time.as_millisecond()))
            .map_err(|error| format!("Input should be a time with its zone, as 2026-11-25T10:00:00Z: {error}")),
        _ => Err("Input should be a time: RFC 3339, or epoch milliseconds".to_owned()),
    }
}
