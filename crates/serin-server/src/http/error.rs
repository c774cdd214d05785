//! The only HTTP error, in FastAPI's shape for the scoring routes.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// A request that was not answered with success.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// The body does not fit the model: one entry for each cell, the first ones of many.
    Validation(Vec<Detail>),
    /// The body is larger than the limit in bytes.
    TooLarge(usize),
    /// More rows than the limit.
    TooManyRows { rows: usize, limit: usize },
    /// No model is loaded yet.
    NoModel,
    /// The body broke off.
    Unreadable(String),
}

/// One fault of a request.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Detail {
    /// Kind of fault, pydantic's word where it has one.
    pub(crate) r#type: &'static str,
    /// Where: `["body", "data", row, column]`.
    pub(crate) loc: Vec<Place>,
    /// For the person who sent it.
    pub(crate) msg: String,
    /// What was found there.
    pub(crate) input: serde_json::Value,
}

/// A step of a location.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Place {
    /// A field name.
    Name(String),
    /// A position.
    Index(usize),
}

impl From<&str> for Place {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<usize> for Place {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// Body of a 422.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ValidationErrors {
    /// Every fault found.
    pub(crate) detail: Vec<Detail>,
}

/// Body of any other error.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorMessage {
    /// What is wrong and the way out.
    pub(crate) detail: String,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let message = |status: StatusCode, detail: String| (status, Json(ErrorMessage { detail })).into_response();
        match self {
            Self::Validation(detail) => {
                (StatusCode::UNPROCESSABLE_ENTITY, Json(ValidationErrors { detail })).into_response()
            }
            Self::TooLarge(limit) => message(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is larger than {limit} bytes; send fewer rows a request or raise --max-body-bytes"),
            ),
            Self::TooManyRows { rows, limit } => message(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("{rows} rows in one request, at most {limit} are allowed; send several requests"),
            ),
            Self::NoModel => {
                message(StatusCode::SERVICE_UNAVAILABLE, "no model is loaded; see /readyz and the log".to_owned())
            }
            Self::Unreadable(reason) => message(StatusCode::BAD_REQUEST, reason),
        }
    }
}
