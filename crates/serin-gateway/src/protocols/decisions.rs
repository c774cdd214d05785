//! serin's own form: transactions with their names, decisions with theirs.

use super::cells::Cells;
use super::predict::whole;
use crate::decide::RequestContext;
use crate::decide::{DecisionRequest, Recorded, Timing, decide};
use crate::fallback::Answering;
use crate::metrics::Route;
use crate::state::DataPlane;
use crate::transaction::{Entity, EventTimes, TextError, Transaction, TransactionId};
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

/// Transactions to decide on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecisionsRequest {
    /// Which model decides; the server's first without it.
    #[serde(default)]
    model: Option<String>,
    /// Transactions to decide on, at least one.
    transactions: Vec<TransactionBody>,
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
    /// No decision is explained at all.
    #[default]
    None,
    /// Decisions that are alerts are explained.
    Alerts,
    /// All decisions are explained.
    All,
}

/// Transaction to decide on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Transaction, example = json!({"transaction_id": "tx-1", "entity": "card-7", "timestamp": "2026-11-25T10:00:00Z", "features": {"TX_AMOUNT": 57.16}}))]
pub(crate) struct TransactionBody {
    /// The caller's id of it: labels are matched by it later, and a repeat keeps its arm of a release. At most 255 bytes,
    /// without control characters. Each request is decided and logged anew, also one whose id was decided before; in the
    /// evidence of a release a transaction counts once.
    #[serde(default)]
    transaction_id: String,
    /// Card, customer or terminal. At most 255 bytes, without control characters.
    #[serde(default)]
    entity: String,
    /// When it happened: RFC 3339 with its zone, or epoch milliseconds; from 1973-03-03 until an hour after the server's
    /// clock. Seconds, microseconds and nanoseconds are refused by name. Of times older than `--max-event-age` (90 days) the
    /// monitor keeps no hours: it counts such a transaction at the hour of its decision.
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

/// Decision on one transaction.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DecisionMade {
    /// UUID: `serin replay --id` finds the decision by it.
    decision_id: String,
    /// As it was sent; left out where none was.
    #[serde(skip_serializing_if = "String::is_empty")]
    transaction_id: String,
    /// Probability of fraud, a finite number: a row without one is decided by `--fallback`, or the request is refused.
    score: f32,
    /// `alert` where the score reaches the threshold, `pass` below.
    action: Action,
    /// Threshold of the model.
    threshold: f32,
    /// Registered name, or path.
    model_name: String,
    /// Version of the model, or empty.
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
    /// Name of the column.
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
    /// The payment is let through.
    Pass,
}

/// Decides on transactions and records the decisions.
#[utoipa::path(post, path = "/v1/decisions", request_body = DecisionsRequest, responses(
    (status = 200, body = DecisionsResponse),
    (status = 404, body = ErrorMessage, description = "No such model"),
    (status = 413, body = ErrorMessage, description = "Body or number of rows over the limit"),
    (status = 422, body = ValidationErrors, description = "A transaction does not fit the model: it and the column are named"),
    (status = 503, body = ErrorMessage, description = "No model is loaded, a row has no finite score in time and no fallback decides, the decision log cannot be written, or the server has too much to do"),
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
    let mut cells = Cells::new(&model.package, transactions.len());
    let times = state.event_times();
    let mut described = Vec::with_capacity(transactions.len());
    for (number, body) in transactions.iter().enumerate() {
        let at = |name: &str| -> Vec<Place> { vec!["body".into(), "transactions".into(), number.into(), name.into()] };
        described.push(transaction(body, times, &mut cells, &at));
        cells.named(&body.features, &|| at("features"));
        if cells.is_hopeless() {
            break;
        }
    }
    let rows = cells.finish()?;
    let deciding = DecisionRequest { answering: &answering, rows: &rows, transactions: &described, timing };
    let recorded = decide(state, &deciding)?;
    let made = (0..rows.len()).map(|row| made(&request, &deciding, &recorded, row));
    Ok(DecisionsResponse { decisions: made.collect::<Result<_, _>>()? })
}

/// The transaction that a body describes; what is wrong with it is a fault of the request.
fn transaction<'a>(
    body: &'a TransactionBody,
    times: EventTimes,
    cells: &mut Cells<'_>,
    at: &dyn Fn(&str) -> Vec<Place>,
) -> Transaction<'a> {
    let mut wrong_text = |name: &str, error: TextError| {
        cells.fault(error.kind(), at(name), error.to_string(), &Value::Null);
    };
    let id = TransactionId::new(&body.transaction_id).map_err(|error| wrong_text("transaction_id", error));
    let entity = Entity::new(&body.entity).map_err(|error| wrong_text("entity", error));
    let given = body.timestamp.as_ref().unwrap_or(&Value::Null);
    let event_time = times.read(given).map_err(|error| {
        cells.fault("datetime_parsing", at("timestamp"), error.to_string(), given);
    });
    Transaction {
        id: id.unwrap_or_default(),
        entity: entity.unwrap_or_default(),
        event_time: event_time.unwrap_or_default(),
    }
}

/// The decision on a row as it is answered, with reasons where they are asked for.
fn made(
    request: &DecisionsRequest,
    deciding: &DecisionRequest<'_>,
    recorded: &Recorded,
    row: usize,
) -> Result<DecisionMade, ApiError> {
    let decision = recorded.decisions()[row];
    let (by, encoded) = recorded.decided_by(deciding, row);
    let fallback = recorded.fallback(row);
    let is_wanted = match request.explain {
        Explain::All => true,
        Explain::Alerts => decision.alert,
        Explain::None => false,
    };
    // What a rule or a fixed answer has decided, no model's columns explain.
    let is_of_a_model = matches!(fallback, None | Some(Fallback::LastGood));
    let reasons = (is_wanted && is_of_a_model).then(|| reasons(by, encoded.values(), request.max_reasons));
    Ok(DecisionMade {
        fallback: fallback.map(Fallback::name),
        explored: recorded.propensity(row).filter(|_| !decision.alert),
        reasons: reasons.transpose()?,
        decision_id: uuid::Uuid::from_bytes(recorded.ids()[row]).to_string(),
        transaction_id: deciding.transaction(row).id.as_str().to_owned(),
        score: decision.score,
        action: if decision.alert { Action::Alert } else { Action::Pass },
        threshold: by.package.threshold,
        model_name: by.name.clone(),
        model_version: by.version.clone(),
    })
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
