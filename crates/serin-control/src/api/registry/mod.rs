//! MLflow's model registry: registered models, versions, stages, aliases; and their history.

mod history;
pub(crate) mod registered_models;
mod versions;
mod wire;

use crate::state::ControlPlane;
use axum::Router;
use axum::routing::{delete, get, patch, post};

/// Routes of the model registry, below `/api/2.0/mlflow`.
pub(crate) fn router() -> Router<ControlPlane> {
    let alias =
        post(registered_models::set_alias).get(registered_models::get_by_alias).delete(registered_models::delete_alias);
    let latest = post(registered_models::latest_versions).get(registered_models::latest_versions);
    Router::new()
        .route("/registered-models/create", post(registered_models::create))
        .route("/registered-models/get", get(registered_models::get))
        .route("/registered-models/search", get(registered_models::search))
        .route("/registered-models/rename", post(registered_models::rename))
        .route("/registered-models/update", patch(registered_models::update))
        .route("/registered-models/delete", delete(registered_models::delete))
        .route("/registered-models/get-latest-versions", latest)
        .route("/registered-models/set-tag", post(registered_models::set_tag))
        .route("/registered-models/delete-tag", delete(registered_models::delete_tag))
        .route("/registered-models/alias", alias)
        .route("/model-versions/create", post(versions::create))
        .route("/model-versions/get", get(versions::get))
        .route("/model-versions/update", patch(versions::update))
        .route("/model-versions/delete", delete(versions::delete))
        .route("/model-versions/search", get(versions::search))
        .route("/model-versions/transition-stage", post(versions::transition_stage))
        .route("/model-versions/get-download-uri", get(versions::download_uri))
        .route("/model-versions/set-tag", post(versions::set_tag))
        .route("/model-versions/delete-tag", delete(versions::delete_tag))
}

/// serin's own routes, below `/api/v1`.
pub(crate) fn own_router() -> Router<ControlPlane> {
    Router::new().route("/models/{name}/history", get(history::history))
}
