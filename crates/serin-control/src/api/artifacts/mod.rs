//! MLflow's proxied artifacts: files through the server, streamed both ways.

mod handlers;
mod presigned;

use crate::state::ControlPlane;
use axum::Router;
use axum::routing::{get, post};

pub(crate) use handlers::{listing, send_file};

/// Routes of proxied files, below `/api/2.0/mlflow-artifacts`.
pub(crate) fn proxied() -> Router<ControlPlane> {
    let file = get(handlers::download).put(handlers::upload).delete(handlers::delete);
    Router::new()
        .route("/artifacts", get(handlers::list))
        .route("/artifacts/", get(handlers::list))
        .route("/artifacts/{*path}", file)
        .route("/mpu/create/{*path}", post(presigned::create))
        .route("/mpu/complete/{*path}", post(presigned::complete))
        .route("/mpu/abort/{*path}", post(presigned::abort))
        .route("/presigned/{*path}", get(presigned::download))
}

/// Routes of a run's files, below `/api/2.0/mlflow`.
pub(crate) fn router() -> Router<ControlPlane> {
    Router::new()
        .route("/artifacts/list", get(handlers::list_of_run))
        .route("/artifacts/presigned-upload-url", post(presigned::upload_url))
        .route("/artifacts/presigned-download-url", post(presigned::download_url))
        .route("/upload-artifact", post(handlers::upload_small))
}

/// Routes at the root, for browsers.
pub(crate) fn downloads() -> Router<ControlPlane> {
    Router::new()
        .route("/get-artifact", get(handlers::get_of_run))
        .route("/model-versions/get-artifact", get(handlers::get_of_version))
}
