//! Handlers of logged models.

use super::wire;
use crate::api::artifacts::{listing, send_file};
use crate::error::ControlError;
use crate::state::ControlPlane;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};
use serin_http::{Fields, experiment_id};
use serin_store::{LoggedModelOrder, LoggedModelSearch, LoggedModelStatus, NewLoggedModel};

type Answer = Result<Json<Value>, ControlError>;

pub(crate) async fn create(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let new = NewLoggedModel {
        experiment_id: fields.experiment_id("experiment_id")?,
        name: fields.text("name")?,
        model_type: fields.text("model_type")?,
        source_run_id: fields.text("source_run_id")?,
        params: fields.pairs("params")?,
        tags: fields.pairs("tags")?,
    };
    let model = state.store.create_logged_model(new, state.now_ms()).await?;
    Ok(Json(json!({ "model": wire::logged_model(&model) })))
}

pub(crate) async fn get(State(state): State<ControlPlane>, Path(id): Path<String>) -> Answer {
    Ok(Json(json!({ "model": wire::logged_model(&state.store.logged_model(&id).await?) })))
}

pub(crate) async fn finalize(State(state): State<ControlPlane>, Path(id): Path<String>, fields: Fields) -> Answer {
    let status = fields.opt_enum("status", LoggedModelStatus::of, LoggedModelStatus::of_number)?.ok_or_else(|| {
        ControlError::invalid(
            "Invalid model status. Expected statuses: LOGGED_MODEL_READY, LOGGED_MODEL_UPLOAD_FAILED.",
        )
    })?;
    let model = state.store.finalize_logged_model(&id, status, state.now_ms()).await?;
    Ok(Json(json!({ "model": wire::logged_model(&model) })))
}

pub(crate) async fn delete(State(state): State<ControlPlane>, Path(id): Path<String>) -> Answer {
    state.store.delete_logged_model(&id, state.now_ms()).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn set_tags(State(state): State<ControlPlane>, Path(id): Path<String>, fields: Fields) -> Answer {
    state.store.set_logged_model_tags(&id, fields.pairs("tags")?).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn delete_tag(State(state): State<ControlPlane>, Path((id, key)): Path<(String, String)>) -> Answer {
    state.store.delete_logged_model_tag(&id, &key).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn set_params(State(state): State<ControlPlane>, Path(id): Path<String>, fields: Fields) -> Answer {
    state.store.set_logged_model_params(&id, fields.pairs("params")?).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn search(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let asked = LoggedModelSearch {
        experiment_ids: fields.texts("experiment_ids")?.iter().map(|id| experiment_id(id)).collect::<Result<_, _>>()?,
        filter: fields.text("filter")?,
        datasets: fields
            .list("datasets")?
            .iter()
            .map(|dataset| Ok((dataset.required("dataset_name")?, dataset.opt_text("dataset_digest")?)))
            .collect::<Result<_, ControlError>>()?,
        order_by: fields.list("order_by")?.iter().map(order).collect::<Result<_, _>>()?,
        limit: fields.page_size(50, 1000)?,
        offset: fields.page_offset()?,
    };
    let page = state.store.search_logged_models(&asked).await?;
    Ok(Json(wire::paged("models", &page, wire::logged_model)))
}

fn order(fields: &Fields) -> Result<LoggedModelOrder, ControlError> {
    Ok(LoggedModelOrder {
        field_name: fields.required("field_name")?,
        ascending: fields.opt_bool("ascending")?.unwrap_or(true),
        dataset: (fields.opt_text("dataset_name")?, fields.opt_text("dataset_digest")?),
    })
}

pub(crate) async fn list_artifacts(
    State(state): State<ControlPlane>,
    Path(id): Path<String>,
    fields: Fields,
) -> Answer {
    let location = state.store.logged_model(&id).await?.artifact_location;
    listing(&state, &location, &fields.text("artifact_directory_path")?).await
}

pub(crate) async fn get_artifact(
    State(state): State<ControlPlane>,
    Path(id): Path<String>,
    fields: Fields,
) -> Result<Response, ControlError> {
    let location = state.store.logged_model(&id).await?.artifact_location;
    send_file(&state, &location, &fields.required("artifact_file_path")?).await
}
