//! Handlers of the seed's routes and of health.

use super::decide::{Timing, decide};
use super::fallback::{Answering, flag};
use super::terms::Terms;
use super::wire::{self, PredictRequest, PredictResponse, Status};
use crate::http::error::{ApiError, ErrorMessage, ValidationErrors};
use crate::metrics::Route;
use crate::routes::DataPlane;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::time::Instant;

/// Decides on rows of transactions.
#[utoipa::path(post, path = "/predict", request_body = PredictRequest, responses(
    (status = 200, body = PredictResponse),
    (status = 413, body = ErrorMessage, description = "Body or number of rows over the limit"),
    (status = 422, body = ValidationErrors, description = "The rows do not fit the model: row and column are named"),
    (status = 503, body = ErrorMessage, description = "No model is loaded, or the server has too much to do"),
))]
pub(crate) async fn predict(
    State(state): State<DataPlane>,
    terms: Terms,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    predicted(&state, whole(body, &state), terms)
}

/// The answer to a body of `/predict`.
pub(crate) fn predicted(state: &DataPlane, body: Result<Bytes, ApiError>, terms: Terms) -> Response {
    let start = Instant::now();
    let response = answer(state, body, Timing { start, terms }).unwrap_or_else(IntoResponse::into_response);
    state.metrics.record_request(Route::Predict, response.status(), start.elapsed());
    response
}

fn answer(state: &DataPlane, body: Result<Bytes, ApiError>, timing: Timing) -> Result<Response, ApiError> {
    let body = body?;
    let answering = Answering::of(state.models.default_slot(), &state.fallback)?;
    let features = wire::features(&body, &answering.model.package.signature, state.limits.rows)?;
    let decided = decide(state, &answering, &features, &[], timing)?;
    let predictions = decided.decisions.iter().map(|decision| u8::from(decision.alert)).collect();
    let answer = PredictResponse { predictions, latency: timing.start.elapsed().as_secs_f64() };
    let mut response = Json(answer).into_response();
    flag(&mut response, &decided.fallbacks);
    Ok(response)
}

/// The body, or why there is none.
pub(super) fn whole(body: Result<Bytes, BytesRejection>, state: &DataPlane) -> Result<Bytes, ApiError> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::TooLarge(state.limits.body_bytes),
        _ => ApiError::Unreadable(rejection.body_text()),
    })
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

/// Readiness: 503 until every model is loaded.
#[utoipa::path(get, path = "/readyz", responses((status = 200, body = Status), (status = 503, body = Status)))]
pub(crate) async fn readyz(State(state): State<DataPlane>) -> Response {
    if state.ready() {
        Json(Status { status: "ok" }).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(Status { status: "no model is loaded" })).into_response()
    }
}

/// Prometheus text format.
pub(crate) async fn metrics(State(state): State<DataPlane>) -> String {
    state.metrics.render(&state.models, state.shadow.as_deref(), state.monitor.as_deref())
}
