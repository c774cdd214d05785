//! Routes on which people look at a rollout and give it commands.

use crate::rollout::{CommandError, Control, Release};
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

/// Says `promote`, `abort`, `pause`, `resume` or `retry` to the rollout. Answers when that is done.
#[utoipa::path(post, path = "/v1/rollout/{action}", params(("action" = String, Path)),
    responses(
        (status = 202, body = Value, description = "Done"),
        (status = 404, body = ErrorMessage, description = "Nothing is released here, or there is no such action"),
        (status = 409, body = ErrorMessage, description = "Nothing was done: the rollout is not where that is possible"),
        (status = 503, body = ErrorMessage, description = "The rollout does not answer"),
    ))]
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
        "retry" => Control::Retry,
        _ => {
            let message = format!("no {action:?}: there are promote, abort, pause, resume and retry");
            return Err(ApiError::NotFound(message));
        }
    };
    release(&state)?.control(control, stated.actor).await.map_err(|error| match error {
        error @ (CommandError::Conflict(_) | CommandError::NoRollout) => ApiError::Conflict(error.to_string()),
        CommandError::Unavailable => ApiError::Unavailable("the rollout does not answer; GET /v1/rollout shows it"),
    })?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "accepted": action }))))
}
