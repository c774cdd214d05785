//! Handlers of the scoring routes.

use super::wire::{self, PredictRequest, PredictResponse, Status};
use crate::http::error::{ApiError, ErrorMessage, ValidationErrors};
use crate::metrics;
use crate::routes::DataPlane;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serin_scoring::Decision;
use std::time::Instant;

/// Decides on rows of transactions.
#[utoipa::path(post, path = "/predict", request_body = PredictRequest, responses(
    (status = 200, body = PredictResponse),
    (status = 413, body = ErrorMessage, description = "Body or number of rows over the limit"),
    (status = 422, body = ValidationErrors, description = "The rows do not fit the model: row and column are named"),
    (status = 503, body = ErrorMessage, description = "No model is loaded"),
))]
pub(crate) async fn predict(State(state): State<DataPlane>, body: Result<Bytes, BytesRejection>) -> Response {
    let start = Instant::now();
    let response = match answer(&state, body, start) {
        Ok(response) => Json(response).into_response(),
        Err(error) => error.into_response(),
    };
    metrics::record_request("/predict", response.status().as_u16(), start.elapsed().as_secs_f64());
    response
}

fn answer(state: &DataPlane, body: Result<Bytes, BytesRejection>, start: Instant) -> Result<PredictResponse, ApiError> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::TooLarge(state.limits.body_bytes),
        _ => ApiError::Unreadable(rejection.body_text()),
    })?;
    let model = state.model.live().ok_or(ApiError::NoModel)?;
    let package = &model.package;
    let features = wire::features(&body, &package.signature, state.limits.rows)?;
    let mut scores = vec![0.0; features.len() / package.signature.columns.len()];
    package.forest.margins_into(&features, &mut scores);
    package.forest.scores_from_margins(&mut scores);
    let predictions: Vec<u8> =
        scores.iter().map(|score| u8::from(Decision::new(*score, package.threshold).alert)).collect();
    let alerts = predictions.iter().map(|alert| u64::from(*alert)).sum::<u64>();
    metrics::record_decisions(alerts, predictions.len() as u64 - alerts);
    Ok(PredictResponse { predictions, latency: start.elapsed().as_secs_f64() })
}

/// Answers as long as the process runs.
#[utoipa::path(get, path = "/", responses((status = 200, body = Status)))]
pub(crate) async fn root() -> Json<Status> {
    Json(Status { status: "ok" })
}

/// Liveness.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = Status)))]
pub(crate) async fn healthz() -> Json<Status> {
    Json(Status { status: "ok" })
}

/// Readiness: 503 until a model is loaded.
#[utoipa::path(get, path = "/readyz", responses((status = 200, body = Status), (status = 503, body = Status)))]
pub(crate) async fn readyz(State(state): State<DataPlane>) -> Response {
    match state.model.live() {
        Some(_) => Json(Status { status: "ok" }).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, Json(Status { status: "no model is loaded" })).into_response(),
    }
}

/// Prometheus text format.
pub(crate) async fn metrics(State(state): State<DataPlane>) -> String {
    state.prometheus.render()
}
