//! Routes on which the server describes itself.

use crate::state::ControlPlane;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

/// The MLflow whose API this is; its clients parse it.
pub(crate) const MLFLOW: &str = "3.17.2";

pub(crate) async fn health() -> &'static str {
    "OK"
}

pub(crate) async fn version() -> &'static str {
    MLFLOW
}

/// Features of this server that MLflow's clients may use.
pub(crate) async fn server_info(State(state): State<ControlPlane>) -> Json<Value> {
    let artifacts = state.store.artifacts();
    let signs = artifacts.signs() && artifacts.is_proxied();
    Json(json!({
        "store_type": "SqlStore",
        "workspaces_enabled": false,
        "trace_archival_enabled": false,
        "multipart_uploads_enabled": signs,
        "multipart_downloads_enabled": signs,
        "presigned_upload_run_id_supported": true,
        "presigned_upload_model_id_supported": true,
        "features_enabled": { "gateway": false },
    }))
}
