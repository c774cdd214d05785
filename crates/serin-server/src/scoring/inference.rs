//! The Open Inference protocol, version 2, over REST (<https://github.com/kserve/open-inference-protocol>).

use super::cells::{Cells, limited};
use super::decide::decide;
use super::handlers::whole;
use super::live_model::LiveModel;
use crate::http::error::{ApiError, InferenceError};
use crate::metrics::Route;
use crate::routes::DataPlane;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Instant;
use utoipa::ToSchema;

/// Number types that become float32 features.
const NUMBERS: [&str; 12] =
    ["FP32", "FP64", "FP16", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL"];

/// Rows to score.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"inputs": [{"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [57.16, 1, 1]}]}))]
pub(crate) struct InferRequest {
    /// Comes back in the answer.
    #[serde(default)]
    id: Option<String>,
    /// Without effect.
    #[serde(default)]
    #[expect(dead_code, reason = "part of the protocol; no parameter has a meaning here")]
    parameters: Option<Map<String, Value>>,
    /// One tensor of shape `[rows, columns]`, or one of shape `[rows]` or `[rows, 1]` for each column, by its name.
    inputs: Vec<Tensor>,
    /// Which outputs are wanted; all without it.
    #[serde(default)]
    outputs: Vec<Wanted>,
}

/// Values with their shape.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct Tensor {
    name: String,
    shape: Vec<usize>,
    /// `FP32`, `FP64`, an integer type, `BOOL`, or `BYTES` for texts.
    datatype: String,
    /// Row by row, flat or nested.
    data: Vec<Value>,
}

/// An output by name: `score` (FP32) or `prediction` (INT64: 1 is an alert).
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Wanted {
    name: String,
}

/// Scores and predictions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InferResponse {
    model_name: String,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    outputs: Vec<Tensor>,
}

/// What the server is.
#[utoipa::path(get, path = "/v2", responses((status = 200, body = Value)))]
pub(crate) async fn server() -> Json<Value> {
    Json(json!({ "name": "serin", "version": env!("CARGO_PKG_VERSION"), "extensions": [] }))
}

/// Liveness.
#[utoipa::path(get, path = "/v2/health/live", responses((status = 200, body = Value)))]
pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

/// Readiness of all models.
#[utoipa::path(get, path = "/v2/health/ready", responses((status = 200, body = Value), (status = 503, body = Value)))]
pub(crate) async fn ready(State(state): State<DataPlane>) -> Response {
    let ready = state.models.ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready }))).into_response()
}

/// What a model takes and gives.
#[utoipa::path(get, path = "/v2/models/{name}", params(("name" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = InferenceError)))]
pub(crate) async fn model(State(state): State<DataPlane>, Path(name): Path<String>) -> Response {
    answered(find(&state, &name, None).map(|model| described(&name, &model)))
}

/// What a version of a model takes and gives.
#[utoipa::path(get, path = "/v2/models/{name}/versions/{version}",
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = InferenceError)))]
pub(crate) async fn model_version(
    State(state): State<DataPlane>,
    Path((name, version)): Path<(String, String)>,
) -> Response {
    answered(find(&state, &name, Some(&version)).map(|model| described(&name, &model)))
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

/// Scores rows.
#[utoipa::path(post, path = "/v2/models/{name}/infer", params(("name" = String, Path)), request_body = InferRequest,
    responses((status = 200, body = InferResponse), (status = 400, body = InferenceError),
    (status = 404, body = InferenceError), (status = 413, body = InferenceError), (status = 503, body = InferenceError)))]
pub(crate) async fn infer(
    State(state): State<DataPlane>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    inferred(&state, &name, None, body)
}

/// Scores rows with the version that must be live.
#[utoipa::path(post, path = "/v2/models/{name}/versions/{version}/infer",
    params(("name" = String, Path), ("version" = String, Path)), request_body = InferRequest,
    responses((status = 200, body = InferResponse), (status = 400, body = InferenceError),
    (status = 404, body = InferenceError), (status = 413, body = InferenceError), (status = 503, body = InferenceError)))]
pub(crate) async fn infer_version(
    State(state): State<DataPlane>,
    Path((name, version)): Path<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    inferred(&state, &name, Some(&version), body)
}

fn answered<T: Serialize>(result: Result<T, ApiError>) -> Response {
    match result {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => error.into_inference(),
    }
}

fn inferred(state: &DataPlane, name: &str, version: Option<&str>, body: Result<Bytes, BytesRejection>) -> Response {
    let start = Instant::now();
    let response = answered(score(state, name, version, body, start));
    state.metrics.record_request(Route::Infer, response.status(), start.elapsed());
    response
}

fn find(state: &DataPlane, name: &str, version: Option<&str>) -> Result<Arc<LiveModel>, ApiError> {
    let slot = state.models.named(name).ok_or_else(|| ApiError::NotFound(state.models.unknown(name)))?;
    let model = slot.live().ok_or(ApiError::NoModel)?;
    match version {
        Some(version) if version != model.version => Err(ApiError::NotFound(format!(
            "version {version} of {name} does not answer here; version {} does",
            model.version
        ))),
        _ => Ok(model),
    }
}

fn described(name: &str, model: &LiveModel) -> Value {
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
        ],
    })
}

fn score(
    state: &DataPlane,
    name: &str,
    version: Option<&str>,
    body: Result<Bytes, BytesRejection>,
    start: Instant,
) -> Result<InferResponse, ApiError> {
    let body = whole(body, state)?;
    let model = find(state, name, version)?;
    let request: InferRequest = serde_json::from_slice(&body)
        .map_err(|error| ApiError::invalid(format!("not an inference request: {error}")))?;
    if let Some(unknown) = request.outputs.iter().find(|wanted| !matches!(wanted.name.as_str(), "score" | "prediction"))
    {
        return Err(ApiError::invalid(format!("no output {:?}: there are score and prediction", unknown.name)));
    }
    let features = features(&request.inputs, &model, state.limits.rows)?;
    let decided = decide(state, &model, &features, &[], start)?;
    let rows = decided.decisions.len();
    let tensor = |name: &str, datatype: &str, data: Vec<Value>| Tensor {
        name: name.to_owned(),
        shape: vec![rows],
        datatype: datatype.to_owned(),
        data,
    };
    let mut outputs = Vec::new();
    let wanted = |name: &str| request.outputs.is_empty() || request.outputs.iter().any(|wanted| wanted.name == name);
    if wanted("score") {
        outputs.push(tensor("score", "FP32", decided.decisions.iter().map(|made| json!(made.score)).collect()));
    }
    if wanted("prediction") {
        let data = decided.decisions.iter().map(|made| json!(u8::from(made.alert))).collect();
        outputs.push(tensor("prediction", "INT64", data));
    }
    Ok(InferResponse { model_name: name.to_owned(), model_version: model.version.clone(), id: request.id, outputs })
}

fn features(inputs: &[Tensor], model: &LiveModel, max_rows: usize) -> Result<Vec<f32>, ApiError> {
    let signature = &model.package.signature;
    let width = signature.columns.len();
    for tensor in inputs {
        if !NUMBERS.contains(&tensor.datatype.as_str()) && tensor.datatype != "BYTES" {
            return Err(ApiError::invalid(format!("input {:?}: no datatype {:?}", tensor.name, tensor.datatype)));
        }
    }
    let rows = inputs.first().and_then(|tensor| tensor.shape.first()).copied().unwrap_or(0);
    limited(rows, max_rows)?;
    let named = |tensor: &Tensor| signature.position(&tensor.name).is_some();
    if let [whole] = inputs
        && whole.shape.len() == 2
        && (width != 1 || !named(whole))
    {
        if whole.shape[1] != width {
            return Err(ApiError::invalid(format!(
                "input {:?} has {} columns, the model {width}",
                whole.name, whole.shape[1]
            )));
        }
        let values = flat(whole)?;
        let mut cells = Cells::new(signature, rows);
        for (i, value) in values.iter().enumerate() {
            cells.cell(i % width, value, || vec![whole.name.as_str().into(), (i / width).into(), (i % width).into()]);
            if cells.is_hopeless() {
                break;
            }
        }
        return cells.finish();
    }
    // A tensor a column: rows are put together by name.
    let mut columns = Vec::with_capacity(inputs.len());
    for tensor in inputs {
        if !named(tensor) {
            return Err(ApiError::invalid(super::cells::no_column(signature, &tensor.name)));
        }
        if !matches!(&tensor.shape[..], [count] | [count, 1] if *count == rows) {
            return Err(ApiError::invalid(format!(
                "input {:?} has shape {:?}; each column has [{rows}] or [{rows}, 1]",
                tensor.name, tensor.shape
            )));
        }
        columns.push((tensor.name.as_str(), flat(tensor)?));
    }
    let columns: Vec<(&str, &[Value])> = columns.iter().map(|(name, values)| (*name, values.as_slice())).collect();
    let mut cells = Cells::new(signature, rows);
    cells.columns(&columns, rows, "inputs");
    cells.finish()
}

/// The values of a tensor in order, as many as its shape says.
fn flat(tensor: &Tensor) -> Result<Vec<Value>, ApiError> {
    fn collect(values: &[Value], into: &mut Vec<Value>) {
        for value in values {
            match value {
                Value::Array(inner) => collect(inner, into),
                single => into.push(single.clone()),
            }
        }
    }
    let mut values = Vec::new();
    collect(&tensor.data, &mut values);
    let expected = tensor.shape.iter().try_fold(1_usize, |product, side| product.checked_mul(*side));
    if expected != Some(values.len()) {
        return Err(ApiError::invalid(format!(
            "input {:?} has {} values, its shape {:?} asks for others",
            tensor.name,
            values.len(),
            tensor.shape
        )));
    }
    Ok(values)
}
