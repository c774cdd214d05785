//! `GET /v1/models`: what is loaded.

use crate::models::{ModelSlot, Refused};
use crate::state::DataPlane;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Models that are loaded.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListedModels {
    models: Vec<ListedModel>,
    /// Candidates that score what was decided.
    shadow: Vec<ListedModel>,
}

/// One model of the server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListedModel {
    /// As requests name it.
    name: String,
    /// Where its model comes from.
    uri: String,
    /// Version that answers; empty without one.
    version: String,
    /// Of the model file.
    sha256: Option<String>,
    /// Scores from it up are alerts.
    threshold: Option<f32>,
    /// Columns in the order of a row.
    columns: Vec<String>,
    /// Since when it answers, epoch milliseconds.
    loaded_at_ms: Option<i64>,
    /// Why a newer one does not answer.
    refused: Option<Refused>,
}

/// What is loaded, since when, and why a newer one is not.
#[utoipa::path(get, path = "/v1/models", responses((status = 200, body = ListedModels)))]
pub(crate) async fn list(State(state): State<DataPlane>) -> Json<ListedModels> {
    let model = |slot: &Arc<ModelSlot>| {
        let live = slot.live();
        let package = live.as_ref().map(|live| &live.package);
        ListedModel {
            name: slot.name().to_owned(),
            uri: slot.uri().to_owned(),
            version: live.as_ref().map_or_else(String::new, |live| live.version.clone()),
            sha256: package.map(|package| package.model_sha256.clone()),
            threshold: package.map(|package| package.threshold),
            columns: package.map_or_else(Vec::new, |package| {
                package.signature.columns.iter().map(|column| column.name.clone()).collect()
            }),
            loaded_at_ms: live.as_ref().map(|live| live.loaded_at_ms),
            refused: slot.refused().as_deref().cloned(),
        }
    };
    let shadow = state.shadow.iter().flat_map(|shadow| shadow.candidates()).map(|(slot, _)| model(slot)).collect();
    Json(ListedModels { models: state.models.slots().iter().map(model).collect(), shadow })
}
