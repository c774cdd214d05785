//! The scoring server's API at a glance.

use crate::operations::{exact, health, models, rollout};
use crate::protocols::{decisions, grpc, inference, mlflow, predict};
use crate::service::DataPlaneService;
use crate::state::DataPlane;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use serin_http::Limits;
use std::time::Duration;
use tower_http::catch_panic::CatchPanicLayer;

/// Every route of the scoring server. `pages` are routes of the binary's own, such as `/docs`.
pub fn routes(state: DataPlane, pages: Router) -> Router {
    scoring(state.limits)
        .route("/v1/drift/exact", get(exact::exact))
        .route("/v1/rollout", get(rollout::status))
        .route("/v1/rollout/{action}", post(rollout::control))
        .with_state(state)
        .merge(pages)
        .layer(CatchPanicLayer::new())
}

/// [`routes`] as connections call them: with keys asked for, and `limit` the time for a whole request.
pub fn data_plane(state: DataPlane, pages: Router, limit: Duration) -> DataPlaneService {
    let routes = routes(state.clone(), pages);
    DataPlaneService::new(state, routes, limit)
}

fn scoring(limits: Limits) -> Router<DataPlane> {
    let model = "/v2/models/{name}";
    let version = "/v2/models/{name}/versions/{version}";
    Router::new()
        .route("/predict", post(predict::predict))
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
        .route("/", get(health::root))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .layer(DefaultBodyLimit::max(limits.body_bytes))
}
