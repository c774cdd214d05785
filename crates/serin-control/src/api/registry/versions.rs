//! Handlers of model versions.

use super::wire;
use crate::api::tracking::paged;
use crate::caller::Caller;
use crate::error::ControlError;
use crate::state::ControlPlane;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use serin_http::Fields;
use serin_store::{NewModelVersion, Permission, Resource, Search, WebhookEvent};
use serin_tracking::Stage;

type Answer = Result<Json<Value>, ControlError>;

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
    may_read_source(&state, &caller, &new).await?;
    let version = state.store.create_model_version(new, state.change(&caller, "registered")).await?;
    state.webhooks.emit(WebhookEvent::VERSION_CREATED, wire::told_version(&version));
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

pub(crate) async fn search(State(state): State<ControlPlane>, caller: Caller, fields: Fields) -> Answer {
    let limit = fields.opt_int("max_results")?.unwrap_or(10_000);
    if limit < 1 {
        return Err(ControlError::invalid(format!(
            "Invalid value for max_results. It must be a positive integer, but got {limit}"
        )));
    }
    let search = Search {
        filter: fields.text("filter")?,
        order_by: fields.texts("order_by")?,
        limit: fields.page_size(10_000, 200_000)?,
        offset: fields.page_offset()?,
    };
    let mut page = state.store.search_model_versions(&search).await?;
    caller.keep_visible(&mut page.items, |version| Resource::RegisteredModel(version.name.clone()));
    Ok(Json(paged("model_versions", &page, wire::listed)))
}

pub(crate) async fn transition_stage(State(state): State<ControlPlane>, caller: Caller, fields: Fields) -> Answer {
    let (name, version) = (fields.required("name")?, fields.version("version")?);
    let stage: Stage = fields.required("stage")?.parse().map_err(ControlError::invalid)?;
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
    let tag = fields.pair()?;
    let told = json!({ "name": name, "version": version.to_string(), "key": tag.key, "value": tag.value });
    state.store.set_model_version_tag(&name, version, tag).await?;
    state.webhooks.emit(WebhookEvent::VERSION_TAG_SET, told);
    Ok(Json(json!({})))
}

pub(crate) async fn delete_tag(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let (name, version) = (fields.required("name")?, fields.version("version")?);
    let key = fields.required("key")?;
    state.store.delete_model_version_tag(&name, version, &key).await?;
    let told = json!({ "name": name, "version": version.to_string(), "key": key });
    state.webhooks.emit(WebhookEvent::VERSION_TAG_DELETED, told);
    Ok(Json(json!({})))
}

/// A version must not open what its maker may not read.
async fn may_read_source(state: &ControlPlane, caller: &Caller, new: &NewModelVersion) -> Result<(), ControlError> {
    let Some(user) = &caller.user else { return Ok(()) };
    let mut resources = Vec::new();
    if !new.run_id.is_empty() {
        resources.push(Resource::Experiment(state.store.run_info(&new.run_id).await?.experiment_id));
    }
    if !new.model_id.is_empty() {
        resources.push(Resource::Experiment(state.store.logged_model(&new.model_id).await?.experiment_id));
    }
    if let Some(name) = new.source.strip_prefix("models:/").and_then(|rest| rest.split(['/', '@']).next())
        && new.model_id.is_empty()
    {
        resources.push(Resource::RegisteredModel(name.to_owned()));
    }
    if resources.iter().all(|resource| user.may(resource) >= Permission::Read) {
        return Ok(());
    }
    Err(ControlError::mlflow("PERMISSION_DENIED", "Permission denied: the source is not yours to read"))
}
