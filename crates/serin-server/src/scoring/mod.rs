//! Scoring: from a request body to decisions.

pub(crate) mod handlers;
pub(crate) mod live_model;
pub(crate) mod wire;

use crate::routes::{DataPlane, Limits};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

pub(crate) fn router(limits: Limits) -> Router<DataPlane> {
    Router::new()
        .route("/predict", post(handlers::predict))
        .route("/", get(handlers::root))
        .route("/healthz", get(handlers::healthz))
        .route("/readyz", get(handlers::readyz))
        .route("/metrics", get(handlers::metrics))
        .layer(DefaultBodyLimit::max(limits.body_bytes))
}
