//! Routes on which people look at a rollout and give it commands.

use crate::rollout::{Control, Release};
use crate::state::DataPlane;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};
use serin_http::{ApiError, ErrorMessage, Statement};

fn release(state: &DataPlane) -> Result<&Release, ApiError> {
    let none = || ApiError::NotFound("nothing is released here: start serin serve with --canary".to_owned());
    state.release.as_ref().ok_or_else(none)
}

/// Phase, weight, evidence and history of the rollout.
#[utoipa::path(get, path = "/v1/rollout",
    responses((status = 200, body = Value), (status = 404, body = ErrorMessage)))]
pub(crate) async fn status(State(state): State<DataPlane>) -> Result<Json<Value>, ApiError> {
    release(&state).map(|release| Json(release.shown()))
}

/// Says `promote`, `abort`, `pause` or `resume` to the rollout.
#[utoipa::path(post, path = "/v1/rollout/{action}", params(("action" = String, Path)),
    responses((status = 202, body = Value), (status = 404, body = ErrorMessage)))]
pub(crate) async fn control(
    State(state): State<DataPlane>,
    Path(action): Path<String>,
    stated: Statement,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let control = match action.as_str() {
        "promote" => Control::Promote,
        "abort" => Control::Abort,
        "pause" => Control::Pause,
        "resume" => Control::Resume,
        _ => return Err(ApiError::NotFound(format!("no {action:?}: there are promote, abort, pause and resume"))),
    };
    release(&state)?.control(control, stated.actor);
    Ok((StatusCode::ACCEPTED, Json(json!({ "accepted": action }))))
}
