//! MLflow's tracking API: experiments, runs, metrics, logged models.

mod experiments;
mod logged_models;
mod runs;
mod wire;

use crate::state::ControlPlane;
use axum::Router;
use axum::routing::{delete, get, patch, post};

pub(crate) use wire::{artifact_list, paged};

/// Routes of the tracking API, below `/api/2.0/mlflow`.
pub(crate) fn router() -> Router<ControlPlane> {
    Router::new()
        .route("/experiments/create", post(experiments::create))
        .route("/experiments/get", get(experiments::get))
        .route("/experiments/get-by-name", get(experiments::get_by_name))
        .route("/experiments/search", post(experiments::search).get(experiments::search))
        .route("/experiments/delete", post(experiments::delete))
        .route("/experiments/restore", post(experiments::restore))
        .route("/experiments/update", post(experiments::update))
        .route("/experiments/set-experiment-tag", post(experiments::set_tag))
        .route("/experiments/delete-experiment-tag", post(experiments::delete_tag))
        .route("/experiments/search-datasets", post(experiments::search_datasets))
        .route("/runs/create", post(runs::create))
        .route("/runs/update", post(runs::update))
        .route("/runs/delete", post(runs::delete))
        .route("/runs/restore", post(runs::restore))
        .route("/runs/get", get(runs::get))
        .route("/runs/search", post(runs::search))
        .route("/runs/log-metric", post(runs::log_metric))
        .route("/runs/log-parameter", post(runs::log_parameter))
        .route("/runs/set-tag", post(runs::set_tag))
        .route("/runs/delete-tag", post(runs::delete_tag))
        .route("/runs/log-batch", post(runs::log_batch))
        .route("/runs/log-inputs", post(runs::log_inputs))
        .route("/runs/outputs", post(runs::log_outputs))
        .route("/runs/log-model", post(runs::log_model))
        .route("/metrics/get-history", get(runs::metric_history))
        .route("/metrics/get-history-bulk", get(runs::metric_history_bulk))
        .route("/metrics/get-history-bulk-interval", get(runs::metric_history_interval))
        .route("/logged-models", post(logged_models::create))
        .route("/logged-models/search", post(logged_models::search))
        .route(
            "/logged-models/{id}",
            get(logged_models::get).patch(logged_models::finalize).delete(logged_models::delete),
        )
        .route("/logged-models/{id}/tags", patch(logged_models::set_tags))
        .route("/logged-models/{id}/tags/{key}", delete(logged_models::delete_tag))
        .route("/logged-models/{id}/params", post(logged_models::set_params))
        .route("/logged-models/{id}/artifacts/directories", get(logged_models::list_artifacts))
        .route("/logged-models/{id}/artifacts/files", get(logged_models::get_artifact))
}
