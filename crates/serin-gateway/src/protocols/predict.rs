//! `POST /predict`: rows of numbers in, 0 or 1 for each out.

use super::wire::{self, PredictRequest, PredictResponse};
use crate::decide::RequestContext;
use crate::decide::{DecisionRequest, Timing, decide};
use crate::fallback::{Answering, flag};
use crate::metrics::Route;
use crate::state::DataPlane;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serin_http::{ApiError, ErrorMessage, ValidationErrors};
use std::time::Instant;

/// Decides on rows of transactions.
#[utoipa::path(post, path = "/predict", request_body = PredictRequest, responses(
    (status = 200, body = PredictResponse),
    (status = 413, body = ErrorMessage, description = "Body or number of rows over the limit"),
    (status = 422, body = ValidationErrors, description = "The rows do not fit the model: row and column are named"),
    (status = 503, body = ErrorMessage, description = "No model is loaded, a row has no finite score in time and no fallback decides, the decision log cannot be written, or the server has too much to do"),
))]
pub(crate) async fn predict(
    State(state): State<DataPlane>,
    context: RequestContext,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    predicted(&state, whole(body, &state), context)
}

/// The answer to a body of `/predict`.
pub(crate) fn predicted(state: &DataPlane, body: Result<Bytes, ApiError>, context: RequestContext) -> Response {
    let start = Instant::now();
    let response = answer(state, body, Timing { start, context }).unwrap_or_else(IntoResponse::into_response);
    state.metrics.record_request(Route::Predict, response.status(), start.elapsed());
    response
}

fn answer(state: &DataPlane, body: Result<Bytes, ApiError>, timing: Timing) -> Result<Response, ApiError> {
    let body = body?;
    let answering = Answering::of(state.models.default_slot(), &state.fallback)?;
    let rows = wire::rows(&body, &answering.model.package, state.limits.rows)?;
    // The body says nothing about transactions.
    let request = DecisionRequest { answering: &answering, rows: &rows, transactions: &[], timing };
    let recorded = decide(state, &request)?;
    let predictions = recorded.decisions().iter().map(|decision| u8::from(decision.alert)).collect();
    let answer = PredictResponse { predictions, latency: timing.start.elapsed().as_secs_f64() };
    let mut response = Json(answer).into_response();
    flag(&mut response, recorded.fallbacks());
    Ok(response)
}

/// The body, or why there is none.
pub(crate) fn whole(body: Result<Bytes, BytesRejection>, state: &DataPlane) -> Result<Bytes, ApiError> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::TooLarge(state.limits.body_bytes),
        _ => ApiError::Unreadable(rejection.body_text()),
    })
}
