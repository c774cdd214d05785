//! Handlers of registered models.

use super::wire;
use crate::access;
use crate::api::tracking::paged;
use crate::caller::Caller;
use crate::error::ControlError;
use crate::state::ControlPlane;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use serin_http::Fields;
use serin_store::{Resource, Search, WebhookEvent};
use serin_tracking::Stage;

type Answer = Result<Json<Value>, ControlError>;

pub(crate) async fn create(State(state): State<ControlPlane>, caller: Caller, fields: Fields) -> Answer {
    let (name, description) = (fields.required("name")?, fields.opt_text("description")?);
    let change = state.change(&caller, "registered");
    let model =
        state.store.create_registered_model(&name, description.as_deref(), fields.pairs("tags")?, change).await?;
    access::own(&state, &caller, Resource::RegisteredModel(name)).await?;
    state.webhooks.emit(WebhookEvent::MODEL_CREATED, wire::told_model(&model));
    Ok(Json(json!({ "registered_model": wire::registered_model(&model) })))
}

pub(crate) async fn get(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let model = state.store.registered_model(&fields.required("name")?).await?;
    Ok(Json(json!({ "registered_model": wire::registered_model(&model) })))
}

pub(crate) async fn search(State(state): State<ControlPlane>, caller: Caller, fields: Fields) -> Answer {
    let search = Search {
        filter: fields.text("filter")?,
        order_by: fields.texts("order_by")?,
        limit: fields.page_size(100, 1000)?,
        offset: fields.page_offset()?,
    };
    let mut page = state.store.search_registered_models(&search).await?;
    caller.keep_visible(&mut page.items, |model| Resource::RegisteredModel(model.name.clone()));
    Ok(Json(paged("registered_models", &page, wire::registered_model)))
}

pub(crate) async fn rename(State(state): State<ControlPlane>, caller: Caller, fields: Fields) -> Answer {
    let (name, new_name) = (fields.required("name")?, fields.required("new_name")?);
    let model = state.store.rename_registered_model(&name, &new_name, state.change(&caller, "renamed")).await?;
    Ok(Json(json!({ "registered_model": wire::registered_model(&model) })))
}

pub(crate) async fn update(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let (name, description) = (fields.required("name")?, fields.text("description")?);
    let model = state.store.describe_registered_model(&name, &description, state.now_ms()).await?;
    Ok(Json(json!({ "registered_model": wire::registered_model(&model) })))
}

pub(crate) async fn delete(State(state): State<ControlPlane>, caller: Caller, fields: Fields) -> Answer {
    state.store.delete_registered_model(&fields.required("name")?, state.change(&caller, "deleted")).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn latest_versions(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let name = fields.required("name")?;
    let stages: Vec<Stage> = fields
        .texts("stages")?
        .iter()
        .map(|stage| stage.parse().map_err(ControlError::invalid))
        .collect::<Result<_, _>>()?;
    let versions = state.store.latest_versions(&name, &stages).await?;
    Ok(Json(match versions.is_empty() {
        true => json!({}),
        false => json!({ "model_versions": versions.iter().map(wire::version).collect::<Vec<_>>() }),
    }))
}

pub(crate) async fn set_tag(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    state.store.set_registered_model_tag(&fields.required("name")?, fields.pair()?).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn delete_tag(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    state.store.delete_registered_model_tag(&fields.required("name")?, &fields.required("key")?).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn set_alias(State(state): State<ControlPlane>, caller: Caller, fields: Fields) -> Answer {
    let (name, alias) = (fields.required("name")?, fields.required("alias")?);
    point(&state, &caller, (&name, &alias), fields.version("version")?, "alias set").await?;
    Ok(Json(json!({})))
}

/// Points an alias of a model at a version, and tells those who want to hear.
pub(crate) async fn point(
    state: &ControlPlane,
    caller: &Caller,
    (name, alias): (&str, &str),
    version: i64,
    reason: &str,
) -> Result<(), ControlError> {
    state.store.set_alias(name, alias, version, state.change(caller, reason)).await?;
    let told = json!({ "name": name, "alias": alias, "version": version.to_string() });
    state.webhooks.emit(WebhookEvent::ALIAS_CREATED, told);
    Ok(())
}

pub(crate) async fn get_by_alias(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let version = state.store.aliased_version(&fields.required("name")?, &fields.required("alias")?).await?;
    Ok(Json(json!({ "model_version": wire::version(&version) })))
}

pub(crate) async fn delete_alias(State(state): State<ControlPlane>, caller: Caller, fields: Fields) -> Answer {
    remove(&state, &caller, &fields.required("name")?, &fields.required("alias")?).await?;
    Ok(Json(json!({})))
}

/// Removes an alias of a model, and tells those who want to hear.
pub(crate) async fn remove(state: &ControlPlane, caller: &Caller, name: &str, alias: &str) -> Result<(), ControlError> {
    state.store.delete_alias(name, alias, state.change(caller, "alias removed")).await?;
    state.webhooks.emit(WebhookEvent::ALIAS_DELETED, json!({ "name": name, "alias": alias }));
    Ok(())
}
