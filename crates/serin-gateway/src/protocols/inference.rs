//! The Open Inference protocol, version 2, over REST (<https://github.com/kserve/open-inference-protocol>).

use super::predict::whole;
use super::tensors::{Outputs, Tensor, find, rows, transaction_ids, transactions};
use crate::decide::RequestContext;
use crate::decide::{DecisionRequest, Timing, decide};
use crate::fallback::flag;
use crate::metrics::Route;
use crate::state::DataPlane;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use serin_http::{ApiError, InferenceError};
use serin_models::LoadedModel;
use std::time::Instant;
use utoipa::ToSchema;

/// Rows that are to be scored.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"inputs": [{"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [57.16, 1, 1]}]}))]
pub(crate) struct InferRequest {
    /// The caller's id of the transaction: labels are matched by it, and a repeat keeps its arm. Of several rows the first
    /// one is `ID/0`, the next `ID/1`. At most 255 bytes with the row, without control characters. Comes back in the answer.
    #[serde(default)]
    id: Option<String>,
    /// Parameters of the request, without effect.
    #[serde(default)]
    #[expect(dead_code, reason = "part of the protocol; no parameter has a meaning here")]
    parameters: Option<Map<String, Value>>,
    /// One tensor of shape `[rows, columns]`, or one of shape `[rows]` or `[rows, 1]` for each column, by its name.
    inputs: Vec<Tensor>,
    /// Which outputs are wanted; score and prediction without it.
    #[serde(default)]
    outputs: Vec<RequestedOutput>,
}

/// An output by name: `score` (FP32), `prediction` (INT64: 1 is an alert), `model_version` (BYTES: the version that decided
/// on the row), `decision_id` (BYTES: UUID of the decision).
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct RequestedOutput {
    name: String,
}

/// Scores and predictions of the rows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InferResponse {
    model_name: String,
    /// The version that decided; left out where rows were decided by two versions, which the output `model_version` then says
    /// row by row.
    #[serde(skip_serializing_if = "Option::is_none")]
    model_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    outputs: Vec<Tensor>,
}

/// What the server is.
#[utoipa::path(get, path = "/v2", responses((status = 200, body = Value)))]
pub(crate) async fn server() -> Json<Value> {
    Json(json!({ "name": "serin", "version": env!("CARGO_PKG_VERSION"), "extensions": [] }))
}

/// Whether the process answers at all.
#[utoipa::path(get, path = "/v2/health/live", responses((status = 200, body = Value)))]
pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

/// Readiness of all models.
#[utoipa::path(get, path = "/v2/health/ready", responses((status = 200, body = Value), (status = 503, body = Value)))]
pub(crate) async fn ready(State(state): State<DataPlane>) -> Response {
    let ready = state.ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready }))).into_response()
}

/// What a model takes and gives.
#[utoipa::path(get, path = "/v2/models/{name}", params(("name" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = InferenceError)))]
pub(crate) async fn model(State(state): State<DataPlane>, Path(name): Path<String>) -> Response {
    answered(find(&state, &name, None).map(|answering| described(&name, &answering.model)))
}

/// What a version of a model takes and gives.
#[utoipa::path(get, path = "/v2/models/{name}/versions/{version}",
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = InferenceError)))]
pub(crate) async fn model_version(
    State(state): State<DataPlane>,
    Path((name, version)): Path<(String, String)>,
) -> Response {
    answered(find(&state, &name, Some(&version)).map(|answering| described(&name, &answering.model)))
}

/// Whether a model can answer.
#[utoipa::path(get, path = "/v2/models/{name}/ready", params(("name" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = InferenceError), (status = 503, body = InferenceError)))]
pub(crate) async fn model_ready(State(state): State<DataPlane>, Path(name): Path<String>) -> Response {
    answered(find(&state, &name, None).map(|_| json!({ "name": name, "ready": true })))
}

/// Whether a version of a model can answer.
#[utoipa::path(get, path = "/v2/models/{name}/versions/{version}/ready",
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = InferenceError), (status = 503, body = InferenceError)))]
pub(crate) async fn model_version_ready(
    State(state): State<DataPlane>,
    Path((name, version)): Path<(String, String)>,
) -> Response {
    answered(find(&state, &name, Some(&version)).map(|_| json!({ "name": name, "ready": true })))
}

/// Scores rows of tensors.
#[utoipa::path(post, path = "/v2/models/{name}/infer", params(("name" = String, Path)), request_body = InferRequest,
    responses((status = 200, body = InferResponse), (status = 400, body = InferenceError),
    (status = 404, body = InferenceError), (status = 413, body = InferenceError), (status = 503, body = InferenceError)))]
pub(crate) async fn infer(
    State(state): State<DataPlane>,
    context: RequestContext,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    inferred(&state, &name, None, context, body)
}

/// Scores rows with the version that must be live; no candidate of a release decides on them.
#[utoipa::path(post, path = "/v2/models/{name}/versions/{version}/infer",
    params(("name" = String, Path), ("version" = String, Path)), request_body = InferRequest,
    responses((status = 200, body = InferResponse), (status = 400, body = InferenceError),
    (status = 404, body = InferenceError), (status = 413, body = InferenceError), (status = 503, body = InferenceError)))]
pub(crate) async fn infer_version(
    State(state): State<DataPlane>,
    context: RequestContext,
    Path((name, version)): Path<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    inferred(&state, &name, Some(&version), context, body)
}

fn answered<T: Serialize>(result: Result<T, ApiError>) -> Response {
    match result {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => error.into_inference(),
    }
}

fn inferred(
    state: &DataPlane,
    name: &str,
    version: Option<&str>,
    context: RequestContext,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let start = Instant::now();
    let response =
        score(state, name, version, body, Timing { start, context }).unwrap_or_else(ApiError::into_inference);
    state.metrics.record_request(Route::Infer, response.status(), start.elapsed());
    response
}

fn described(name: &str, model: &LoadedModel) -> Value {
    let columns: Vec<&str> = model.package.signature.columns.iter().map(|column| column.name.as_str()).collect();
    json!({
        "name": name,
        "versions": [model.version],
        "platform": "xgboost_serin",
        "inputs": [{
            "name": "features", "datatype": "FP32", "shape": [-1, columns.len()], "parameters": { "columns": columns },
        }],
        "outputs": [
            { "name": "score", "datatype": "FP32", "shape": [-1] },
            { "name": "prediction", "datatype": "INT64", "shape": [-1] },
            { "name": "model_version", "datatype": "BYTES", "shape": [-1] },
            { "name": "decision_id", "datatype": "BYTES", "shape": [-1] },
        ],
    })
}

fn score(
    state: &DataPlane,
    name: &str,
    version: Option<&str>,
    body: Result<Bytes, BytesRejection>,
    timing: Timing,
) -> Result<Response, ApiError> {
    let body = whole(body, state)?;
    let answering = find(state, name, version)?;
    let request: InferRequest = serde_json::from_slice(&body)
        .map_err(|error| ApiError::invalid(format!("not an inference request: {error}")))?;
    let wanted: Vec<&str> = request.outputs.iter().map(|wanted| wanted.name.as_str()).collect();
    let wanted = Outputs::named(&wanted)?;
    let rows = rows(&request.inputs, &answering.model.package, state.limits.rows)?;
    let ids = transaction_ids(request.id.as_deref().unwrap_or_default(), &rows)?;
    let transactions = transactions(&ids)?;
    let deciding = DecisionRequest { answering: &answering, rows: &rows, transactions: &transactions, timing };
    let recorded = decide(state, &deciding)?;
    let model_version = recorded.only_version(&deciding).map(str::to_owned);
    let made = recorded.decisions();
    let tensor = |name: &str, datatype: &str, data: Vec<Value>| Tensor {
        name: name.to_owned(),
        shape: vec![made.len()],
        datatype: datatype.to_owned(),
        data,
    };
    let mut outputs = Vec::new();
    if wanted.score {
        outputs.push(tensor("score", "FP32", made.iter().map(|made| json!(made.score)).collect()));
    }
    if wanted.prediction {
        let data = made.iter().map(|made| json!(u8::from(made.alert))).collect();
        outputs.push(tensor("prediction", "INT64", data));
    }
    if wanted.model_version || model_version.is_none() {
        let versions = (0..made.len()).map(|row| json!(recorded.decided_by(&deciding, row).0.version));
        outputs.push(tensor("model_version", "BYTES", versions.collect()));
    }
    if wanted.decision_id {
        let ids = recorded.ids().iter().map(|id| json!(uuid::Uuid::from_bytes(*id).to_string()));
        outputs.push(tensor("decision_id", "BYTES", ids.collect()));
    }
    let answer = InferResponse { model_name: name.to_owned(), model_version, id: request.id, outputs };
    let mut response = Json(answer).into_response();
    flag(&mut response, recorded.fallbacks());
    Ok(response)
}
