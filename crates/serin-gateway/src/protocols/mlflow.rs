//! MLflow's scoring protocol: what `mlflow models serve` answers, scores instead of actions.

use super::cells::{Cells, limited};
use super::predict::whole;
use crate::decide::RequestContext;
use crate::decide::{DecisionRequest, Timing, decide};
use crate::fallback::{Answering, flag};
use crate::metrics::Route;
use crate::state::DataPlane;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serin_http::{ApiError, MlflowError};
use serin_scoring::{ColumnKind, EncodedRows, ScoringPackage};
use std::time::Instant;
use utoipa::ToSchema;

/// The MLflow whose scoring protocol this is.
const MLFLOW: &str = "3.17.2";

/// Exactly one of the four, or a CSV table with a head as `text/csv`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"dataframe_split": {"columns": ["TX_AMOUNT"], "data": [[57.16]]}}))]
#[expect(dead_code, reason = "the schema of the body; the body itself is checked cell by cell")]
pub(crate) struct InvocationsRequest {
    /// `columns` and `data`, as pandas writes them with orient `split`.
    dataframe_split: Option<Map<String, Value>>,
    /// A list of rows by name.
    dataframe_records: Option<Vec<Map<String, Value>>>,
    /// A list of rows, by position or by name.
    instances: Option<Vec<Value>>,
    /// A list of rows, or columns by name.
    inputs: Option<Value>,
    /// Accepted and without effect: no model of serin's has any.
    params: Option<Map<String, Value>>,
}

/// Scores in the order of the rows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InvocationsResponse {
    /// Probabilities of fraud; float32, written as Python writes them.
    predictions: Vec<f64>,
}

/// Scores rows as `mlflow models serve` would.
#[utoipa::path(post, path = "/invocations", responses(
    (status = 200, body = InvocationsResponse),
    (status = 400, body = MlflowError, description = "The rows do not fit the model"),
    (status = 413, body = MlflowError, description = "Body or number of rows over the limit"),
    (status = 415, body = MlflowError, description = "Neither JSON nor CSV"),
    (status = 503, body = MlflowError, description = "No model is loaded, or the server has too much to do"),
), request_body = InvocationsRequest)]
pub(crate) async fn invocations(
    State(state): State<DataPlane>,
    context: RequestContext,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let start = Instant::now();
    let response = answer(&state, &headers, body, Timing { start, context });
    let response = response.unwrap_or_else(ApiError::into_mlflow_scoring);
    state.metrics.record_request(Route::Invocations, response.status(), start.elapsed());
    response
}

fn answer(
    state: &DataPlane,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
    timing: Timing,
) -> Result<Response, ApiError> {
    let body = whole(body, state)?;
    let answering = Answering::of(state.models.default_slot(), &state.fallback)?;
    let package = &answering.model.package;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("application/json");
    let rows = match kind.split(';').next().unwrap_or_default().trim() {
        "application/json" => {
            let body: Value = serde_json::from_slice(&body).map_err(|error| invalid(format!("not JSON: {error}")))?;
            table(&body, package, state.limits.rows)?
        }
        "text/csv" => csv(&body, package, state.limits.rows)?,
        other => return Err(ApiError::UnsupportedMedia(format!("{other}: send application/json or text/csv"))),
    };
    // The body says nothing about transactions.
    let request = DecisionRequest { answering: &answering, rows: &rows, transactions: &[], timing };
    let recorded = decide(state, &request)?;
    let predictions = recorded.decisions().iter().map(|made| f64::from(made.score)).collect();
    let mut response = Json(InvocationsResponse { predictions }).into_response();
    flag(&mut response, recorded.fallbacks());
    Ok(response)
}

fn invalid(message: impl std::fmt::Display) -> ApiError {
    ApiError::invalid(message)
}

fn table(body: &Value, package: &ScoringPackage, max_rows: usize) -> Result<EncodedRows, ApiError> {
    let kinds = ["dataframe_split", "dataframe_records", "instances", "inputs"];
    let usage = || invalid(format!("send an object with exactly one of {}", kinds.join(", ")));
    let Value::Object(fields) = body else { return Err(usage()) };
    if let Some(other) = fields.keys().find(|name| !kinds.contains(&name.as_str()) && *name != "params") {
        return Err(invalid(format!("unknown field {other:?}: send exactly one of {}", kinds.join(", "))));
    }
    let mut given = kinds.iter().filter_map(|kind| Some((*kind, fields.get(*kind)?)));
    let (Some((kind, value)), None) = (given.next(), given.next()) else { return Err(usage()) };
    match (kind, value) {
        ("dataframe_split", Value::Object(split)) => {
            let Some(Value::Array(rows)) = split.get("data") else {
                return Err(invalid("dataframe_split needs data, a list of rows"));
            };
            let names: Vec<&str> = match split.get("columns") {
                None => return positional(kind, rows, package, max_rows),
                Some(Value::Array(names)) => names.iter().map(|name| name.as_str().unwrap_or_default()).collect(),
                Some(_) => return Err(invalid("columns of dataframe_split must be a list of names")),
            };
            by_name(&names, rows, package, max_rows)
        }
        ("inputs", Value::Object(columns)) => columnar(columns, package, max_rows),
        ("dataframe_records" | "instances" | "inputs", Value::Array(rows)) => positional(kind, rows, package, max_rows),
        _ => Err(invalid(format!("{kind} has the wrong form"))),
    }
}

/// Rows by position or, when the first is an object, by name.
fn positional(kind: &str, rows: &[Value], package: &ScoringPackage, max_rows: usize) -> Result<EncodedRows, ApiError> {
    limited(rows.len(), max_rows)?;
    let mut cells = Cells::new(package, rows.len());
    cells.rows(rows, rows[0].is_object(), &|row| vec![kind.into(), row.into()]);
    cells.finish()
}

/// Rows whose cells are in the order of `names`.
fn by_name(names: &[&str], rows: &[Value], package: &ScoringPackage, max_rows: usize) -> Result<EncodedRows, ApiError> {
    limited(rows.len(), max_rows)?;
    let mut cells = Cells::new(package, rows.len());
    for (number, row) in rows.iter().enumerate() {
        match row {
            Value::Array(values) if values.len() == names.len() => {
                let row = names.iter().map(|name| (*name).to_owned()).zip(values.iter().cloned()).collect();
                cells.named(&row, &|| vec!["dataframe_split".into(), "data".into(), number.into()]);
            }
            _ => return Err(invalid(format!("row {number} of dataframe_split is no list of {} values", names.len()))),
        }
        if cells.is_hopeless() {
            break;
        }
    }
    cells.finish()
}

fn columnar(columns: &Map<String, Value>, package: &ScoringPackage, max_rows: usize) -> Result<EncodedRows, ApiError> {
    let values = |(name, column)| -> (&str, &[Value]) {
        let (name, column): (&String, &Value) = (name, column);
        (name, column.as_array().map_or(std::slice::from_ref(column), Vec::as_slice))
    };
    let columns: Vec<(&str, &[Value])> = columns.iter().map(values).collect();
    let rows = columns.first().map_or(0, |(_, values)| values.len());
    limited(rows, max_rows)?;
    if let Some((name, _)) = columns.iter().find(|(_, values)| values.len() != rows) {
        return Err(invalid(format!("column {name:?} has another number of values than the first, {rows}")));
    }
    let mut cells = Cells::new(package, rows);
    cells.columns(&columns, rows, "inputs");
    cells.finish()
}

/// A table with a head; an empty cell is missing.
fn csv(body: &[u8], package: &ScoringPackage, max_rows: usize) -> Result<EncodedRows, ApiError> {
    let mut reader = ::csv::Reader::from_reader(body);
    let failed = |error: ::csv::Error| invalid(format!("CSV: {error}"));
    let names = reader.headers().map_err(failed)?.clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(failed)?;
        let cell = |(name, text): (&str, &str)| {
            let column = package.signature.position(name).map(|place| &package.signature.columns[place]);
            let texts = column.is_some_and(|column| matches!(column.kind, ColumnKind::Category { .. }));
            match text {
                "" => Value::Null,
                text if texts => Value::String(text.to_owned()),
                "true" | "True" | "TRUE" => Value::Bool(true),
                "false" | "False" | "FALSE" => Value::Bool(false),
                text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
            }
        };
        rows.push(Value::Array(names.iter().zip(&record).map(cell).collect()));
        if rows.len() > max_rows {
            return Err(ApiError::TooManyRows { rows: rows.len(), limit: max_rows });
        }
    }
    by_name(&names.iter().collect::<Vec<_>>(), &rows, package, max_rows)
}

/// As MLflow's scoring server: 404 without a model.
#[utoipa::path(get, path = "/ping", responses((status = 200), (status = 404)))]
pub(crate) async fn ping(State(state): State<DataPlane>) -> StatusCode {
    if crate::fallback::can_answer(state.models.default_slot(), &state.fallback) {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    }
}

/// The MLflow whose protocol this is.
#[utoipa::path(get, path = "/version", responses((status = 200, body = String)))]
pub(crate) async fn version() -> &'static str {
    MLFLOW
}
