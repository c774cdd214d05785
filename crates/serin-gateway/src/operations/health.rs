//! Liveness, readiness and metrics.

use crate::protocols::wire::Status;
use crate::state::DataPlane;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// Answers as long as the process runs.
#[utoipa::path(get, path = "/", responses((status = 200, body = Status)))]
pub(crate) async fn root() -> Json<Status> {
    Json(Status { status: "ok" })
}

/// Whether the process answers at all.
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

/// All metrics of the server in Prometheus' text format.
pub(crate) async fn metrics(State(state): State<DataPlane>) -> String {
    state.metrics.render(&state.models, state.shadow.as_deref(), state.monitor.as_deref())
}
