//! The only HTTP error: in FastAPI's shape for the scoring routes, in MLflow's for its API.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// A request that was not answered with success.
#[derive(Debug)]
pub enum ApiError {
    /// The body does not fit the model: one entry for each cell, the first ones of many.
    Validation(Vec<Detail>),
    /// The body is larger than the limit in bytes.
    TooLarge(usize),
    /// More rows than the limit.
    TooManyRows {
        /// Rows of the request.
        rows: usize,
        /// Most rows of one request.
        limit: usize,
    },
    /// No model is loaded yet.
    NoModel,
    /// The body broke off.
    Unreadable(String),
    /// The scoring routes know nothing of that name.
    NotFound(String),
    /// The thing that the request is about is not where the request could do something. Nothing has changed.
    Conflict(String),
    /// A body that no route reads.
    UnsupportedMedia(String),
    /// The request shows no key that the server knows.
    NoKey,
    /// The server cannot answer now; the client may come back in a second. The text is the reason.
    Unavailable(&'static str),
    /// MLflow's API: its error code and what to do.
    Mlflow {
        /// MLflow's error code, such as `INVALID_PARAMETER_VALUE`; the HTTP status follows from it.
        code: &'static str,
        /// Message for people: what is wrong, and the way out.
        message: String,
    },
    /// Mistake that MLflow's artifact routes answer with a body `{"detail": …}`.
    Detail(String),
}

impl ApiError {
    /// An error of MLflow's API with one of its codes.
    pub fn mlflow(code: &'static str, message: impl Into<String>) -> Self {
        Self::Mlflow { code, message: message.into() }
    }

    /// MLflow's `INVALID_PARAMETER_VALUE`, status 400.
    pub fn invalid(message: impl std::fmt::Display) -> Self {
        Self::mlflow("INVALID_PARAMETER_VALUE", message.to_string())
    }
}

/// An error and its causes in one line.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

/// HTTP status of MLflow's error code; 500 for an unknown one.
fn status(code: &str) -> StatusCode {
    match code {
        "INVALID_PARAMETER_VALUE" | "BAD_REQUEST" | "RESOURCE_ALREADY_EXISTS" => StatusCode::BAD_REQUEST,
        "UNAUTHENTICATED" => StatusCode::UNAUTHORIZED,
        "PERMISSION_DENIED" => StatusCode::FORBIDDEN,
        "RESOURCE_DOES_NOT_EXIST" | "NOT_FOUND" | "ENDPOINT_NOT_FOUND" => StatusCode::NOT_FOUND,
        "METHOD_NOT_ALLOWED" => StatusCode::METHOD_NOT_ALLOWED,
        "NOT_IMPLEMENTED" => StatusCode::NOT_IMPLEMENTED,
        "RESOURCE_CONFLICT" | "NOT_LEADING" => StatusCode::CONFLICT,
        "TEMPORARILY_UNAVAILABLE" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Error body of MLflow's API.
#[derive(Debug, Serialize, ToSchema)]
pub struct MlflowError {
    /// Code of the error, such as `BAD_REQUEST`.
    error_code: &'static str,
    /// What is wrong and the way out.
    message: String,
}

/// Error body of the Open Inference protocol.
#[derive(Debug, Serialize, ToSchema)]
pub struct InferenceError {
    /// What is wrong and the way out.
    error: String,
}

/// One fault of a request.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Detail {
    /// Kind of fault, pydantic's word where it has one.
    pub r#type: &'static str,
    /// Where: `["body", "data", row, column]`.
    pub loc: Vec<Place>,
    /// For the person who sent it.
    pub msg: String,
    /// What was found there.
    pub input: serde_json::Value,
}

/// A step of a location.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Place {
    /// Name of a field.
    Name(String),
    /// Position within a list.
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
pub struct ValidationErrors {
    /// Every fault that was found.
    pub detail: Vec<Detail>,
}

/// Body of any other error.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorMessage {
    /// What is wrong and the way out.
    pub detail: String,
}

impl ApiError {
    /// HTTP status and one text, for protocols that have no more structure.
    pub fn plain(self) -> (StatusCode, String) {
        match self {
            Self::Validation(details) => {
                let place = |place: &Place| match place {
                    Place::Name(name) => name.clone(),
                    Place::Index(index) => index.to_string(),
                };
                let fault = |detail: &Detail| {
                    let loc: Vec<String> = detail.loc.iter().map(place).collect();
                    format!("{}: {}", loc.join("."), detail.msg)
                };
                let text = details.iter().take(5).map(fault).collect::<Vec<_>>().join("; ");
                (StatusCode::BAD_REQUEST, text)
            }
            Self::TooLarge(limit) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is larger than {limit} bytes; send fewer rows a request or raise --max-body-bytes"),
            ),
            Self::TooManyRows { rows, limit } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("{rows} rows in one request, at most {limit} are allowed; send several requests"),
            ),
            Self::NoModel => {
                (StatusCode::SERVICE_UNAVAILABLE, "no model is loaded; see /readyz and the log".to_owned())
            }
            Self::NoKey => (
                StatusCode::UNAUTHORIZED,
                "show a key of this server: Authorization: Bearer KEY, or X-API-Key: KEY".to_owned(),
            ),
            Self::Unavailable(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason.to_owned()),
            Self::NotFound(message) => (StatusCode::NOT_FOUND, message),
            Self::Conflict(message) => (StatusCode::CONFLICT, message),
            Self::UnsupportedMedia(message) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, message),
            Self::Unreadable(reason) | Self::Detail(reason) => (StatusCode::BAD_REQUEST, reason),
            Self::Mlflow { code, message } => (status(code), message),
        }
    }

    /// Text of the error for a person at a terminal.
    pub fn message(self) -> String {
        self.plain().1
    }

    /// Response in the form of MLflow's scoring server.
    pub fn into_mlflow_scoring(self) -> Response {
        // What does not fit the signature has another code there than what is no request at all.
        let misfit = matches!(self, Self::Validation(_));
        let (status, message) = self.plain();
        let error_code = match status {
            StatusCode::SERVICE_UNAVAILABLE => "TEMPORARILY_UNAVAILABLE",
            _ if misfit => "INVALID_PARAMETER_VALUE",
            _ => "BAD_REQUEST",
        };
        retry_later(status, (status, Json(MlflowError { error_code, message })).into_response())
    }

    /// Code and text as gRPC answers (<https://grpc.io/docs/guides/status-codes/>), with the status that HTTP would have.
    pub fn into_grpc(self) -> (StatusCode, u8, String) {
        let (status, message) = self.plain();
        let code = match status {
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => 3,
            StatusCode::NOT_FOUND => 5,
            StatusCode::CONFLICT => 10,
            StatusCode::PAYLOAD_TOO_LARGE => 8,
            StatusCode::NOT_IMPLEMENTED | StatusCode::UNSUPPORTED_MEDIA_TYPE => 12,
            StatusCode::SERVICE_UNAVAILABLE => 14,
            StatusCode::UNAUTHORIZED => 16,
            _ => 13,
        };
        (status, code, message)
    }

    /// Response in the form of the Open Inference protocol.
    pub fn into_inference(self) -> Response {
        let (status, error) = self.plain();
        retry_later(status, (status, Json(InferenceError { error })).into_response())
    }
}

/// Says when to come back.
fn retry_later(status: StatusCode, mut response: Response) -> Response {
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::Validation(detail) => {
                (StatusCode::UNPROCESSABLE_ENTITY, Json(ValidationErrors { detail })).into_response()
            }
            Self::Mlflow { code, message } => {
                let mut response = (status(code), Json(MlflowError { error_code: code, message })).into_response();
                if code == "UNAUTHENTICATED" {
                    let basic = HeaderValue::from_static("Basic realm=\"mlflow\"");
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, basic);
                }
                response
            }
            other => {
                let (status, detail) = other.plain();
                let mut response = retry_later(status, (status, Json(ErrorMessage { detail })).into_response());
                if status == StatusCode::UNAUTHORIZED {
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                }
                response
            }
        }
    }
}
