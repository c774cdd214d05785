//! Handlers of model versions.

use super::wire;
use crate::http::error::ApiError;
use crate::http::fields::Fields;
use crate::routes::{Caller, ControlPlane};
use crate::tracking::paged;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use serin_store::{NewModelVersion, Search, Stage};

type Answer = Result<Json<Value>, ApiError>;

pub(crate) async fn create(State(state): State<ControlPlane>, caller: Caller, fields: Fields) -> Answer {
    let new = NewModelVersion {
        name: fields.required("name")?,
        create_model: false,
        source: fields.required("source")?,
        run_id: fields.text("run_id")?,
        model_id: fields.text("model_id")?,
        run_link: fields.text("run_link")?,
        description: fields.opt_text("description")?,
        tags: fields.pairs("tags")?,
        user: caller.user().map(str::to_owned),
    };
    let version = state.store.create_model_version(new, state.change(&caller, "registered")).await?;
    Ok(Json(json!({ "model_version": wire::listed(&version) })))
}

pub(crate) async fn get(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let version = state.store.model_version(&fields.required("name")?, fields.version("version")?).await?;
    Ok(Json(json!({ "model_version": wire::version(&version) })))
}

pub(crate) async fn update(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let (name, version) = (fields.required("name")?, fields.version("version")?);
    let version =
        state.store.describe_model_version(&name, version, &fields.text("description")?, state.now_ms()).await?;
    Ok(Json(json!({ "model_version": wire::version(&version) })))
}

pub(crate) async fn delete(State(state): State<ControlPlane>, caller: Caller, fields: Fields) -> Answer {
    let (name, version) = (fields.required("name")?, fields.version("version")?);
    state.store.delete_model_version(&name, version, state.change(&caller, "deleted")).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn search(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let limit = fields.opt_int("max_results")?.unwrap_or(10_000);
    if limit < 1 {
        return Err(ApiError::invalid(format!(
            "Invalid value for max_results. It must be a positive integer, but got {limit}"
        )));
    }
    let search = Search {
        filter: fields.text("filter")?,
        order_by: fields.texts("order_by")?,
        limit: fields.page_size(10_000, 200_000)?,
        offset: fields.page_offset()?,
    };
    let page = state.store.search_model_versions(&search).await?;
    Ok(Json(paged("model_versions", &page, wire::listed)))
}

pub(crate) async fn transition_stage(State(state): State<ControlPlane>, caller: Caller, fields: Fields) -> Answer {
    let (name, version) = (fields.required("name")?, fields.version("version")?);
    let stage: Stage = fields.required("stage")?.parse().map_err(ApiError::invalid)?;
    let archive = fields.opt_bool("archive_existing_versions")?.unwrap_or(false);
    let change = state.change(&caller, "stage transition");
    let version = state.store.move_to_stage(&name, version, stage, archive, change).await?;
    Ok(Json(json!({ "model_version": wire::version(&version) })))
}

pub(crate) async fn download_uri(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let version = state.store.model_version(&fields.required("name")?, fields.version("version")?).await?;
    Ok(Json(json!({ "artifact_uri": version.storage_location })))
}

pub(crate) async fn set_tag(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let (name, version) = (fields.required("name")?, fields.version("version")?);
    state.store.set_model_version_tag(&name, version, fields.pair()?).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn delete_tag(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let (name, version) = (fields.required("name")?, fields.version("version")?);
    state.store.delete_model_version_tag(&name, version, &fields.required("key")?).await?;
    Ok(Json(json!({})))
}
