//! Scoring: from a request body to decisions. One file a protocol; all go through `cells` and `decide`.

mod cells;
pub(crate) mod decide;
pub(crate) mod decisions;
pub(crate) mod exploration;
pub(crate) mod fallback;
mod fast;
pub(crate) mod grpc;
mod grpc_messages;
pub(crate) mod handlers;
pub(crate) mod inference;
pub(crate) mod live_model;
pub(crate) mod mlflow;
pub(crate) mod models;
pub(crate) mod shadow;
mod tensors;
pub(crate) mod terms;
pub(crate) mod wire;

use crate::routes::{DataPlane, Limits};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

pub(crate) fn router(limits: Limits) -> Router<DataPlane> {
    let model = "/v2/models/{name}";
    let version = "/v2/models/{name}/versions/{version}";
    Router::new()
        .route("/predict", post(handlers::predict))
        .route("/v1/decisions", post(decisions::create))
        .route("/v1/models", get(models::list))
        .route("/invocations", post(mlflow::invocations))
        .route("/ping", get(mlflow::ping))
        .route("/health", get(mlflow::ping))
        .route("/version", get(mlflow::version))
        .route("/v2", get(inference::server))
        .route("/v2/health/live", get(inference::live))
        .route("/v2/health/ready", get(inference::ready))
        .route(model, get(inference::model))
        .route(&format!("{model}/ready"), get(inference::model_ready))
        .route(&format!("{model}/infer"), post(inference::infer))
        .route(version, get(inference::model_version))
        .route(&format!("{version}/ready"), get(inference::model_version_ready))
        .route(&format!("{version}/infer"), post(inference::infer_version))
        .route("/inference.GRPCInferenceService/ModelInfer", post(grpc::model_infer))
        .route("/inference.GRPCInferenceService/{call}", post(grpc::call))
        .route("/grpc.health.v1.Health/{call}", post(grpc::call))
        .route("/", get(handlers::root))
        .route("/healthz", get(handlers::healthz))
        .route("/readyz", get(handlers::readyz))
        .route("/metrics", get(handlers::metrics))
        .layer(DefaultBodyLimit::max(limits.body_bytes))
}
