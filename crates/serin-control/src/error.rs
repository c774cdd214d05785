//! Errors of the tracking server as its clients see them.

use crate::monitoring::MonitoringError;
use axum::response::{IntoResponse, Response};
use serin_artifacts::ArtifactError;
use serin_decisions::LogError;
use serin_http::ApiError;
use serin_store::StoreError;

/// Error that a request is answered with. It carries the wire form ([`ApiError`]); what the database, the disk or the
/// log said goes to the server's log, as it may name tables, paths and hosts.
#[derive(Debug)]
pub(crate) struct ControlError(ApiError);

impl ControlError {
    /// An error of MLflow's API with one of its codes.
    pub(crate) fn mlflow(code: &'static str, message: impl Into<String>) -> Self {
        Self(ApiError::mlflow(code, message))
    }

    /// MLflow's `INVALID_PARAMETER_VALUE`, status 400.
    pub(crate) fn invalid(message: impl std::fmt::Display) -> Self {
        Self(ApiError::invalid(message.to_string()))
    }

    /// Error with a body `{"detail": …}`, as MLflow's artifact routes answer some mistakes.
    pub(crate) fn detail(message: impl Into<String>) -> Self {
        Self(ApiError::Detail(message.into()))
    }

    /// A failure inside the server: its cause is logged, and not told.
    fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!("{cause}");
        Self::mlflow("INTERNAL_ERROR", "the request failed inside the server; its log says why")
    }

    /// Error in the form that is sent to clients.
    pub(crate) fn into_api(self) -> ApiError {
        self.0
    }

    /// Text of the error for a person.
    pub(crate) fn message(self) -> String {
        self.0.message()
    }
}

impl From<ApiError> for ControlError {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl From<StoreError> for ControlError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(message) => Self::mlflow("RESOURCE_DOES_NOT_EXIST", message),
            StoreError::Conflict(message) => Self::mlflow("RESOURCE_ALREADY_EXISTS", message),
            StoreError::NotLeading(message) => Self::mlflow("NOT_LEADING", message),
            StoreError::Superseded(message) => Self::mlflow("RESOURCE_CONFLICT", message),
            StoreError::InvalidInput(message) => Self::invalid(message),
            StoreError::Unsupported(message) => Self::mlflow("NOT_IMPLEMENTED", message),
            error => Self::internal(&error),
        }
    }
}

impl From<ArtifactError> for ControlError {
    fn from(error: ArtifactError) -> Self {
        StoreError::from(error).into()
    }
}

impl From<LogError> for ControlError {
    fn from(error: LogError) -> Self {
        Self::internal(&error)
    }
}

impl From<MonitoringError> for ControlError {
    fn from(error: MonitoringError) -> Self {
        match error {
            MonitoringError::InvalidInput(message) => Self::invalid(message),
            MonitoringError::Store(error) => error.into(),
            error => Self::internal(&error),
        }
    }
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}
