//! Handlers of MLflow's routes about experiments.

use super::wire;
use crate::access;
use crate::caller::Caller;
use crate::error::ControlError;
use crate::state::ControlPlane;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use serin_http::{Fields, experiment_id};
use serin_store::{LifecycleStage, Resource, Search};

type Answer = Result<Json<Value>, ControlError>;

pub(crate) async fn create(State(state): State<ControlPlane>, caller: Caller, fields: Fields) -> Answer {
    let location = fields.opt_text("artifact_location")?;
    let name = fields.required("name")?;
    let id = state.store.create_experiment(&name, location.as_deref(), fields.pairs("tags")?, state.now_ms()).await?;
    access::own(&state, &caller, Resource::Experiment(id)).await?;
    Ok(Json(json!({ "experiment_id": id.to_string() })))
}

pub(crate) async fn get(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let found = state.store.experiment(fields.experiment_id("experiment_id")?).await?;
    Ok(Json(json!({ "experiment": wire::experiment(&found) })))
}

pub(crate) async fn get_by_name(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let found = state.store.experiment_by_name(&fields.required("experiment_name")?).await?;
    Ok(Json(json!({ "experiment": wire::experiment(&found) })))
}

pub(crate) async fn search(State(state): State<ControlPlane>, caller: Caller, fields: Fields) -> Answer {
    let search = Search {
        filter: fields.text("filter")?,
        order_by: fields.texts("order_by")?,
        limit: fields.page_size(0, 50_000)?,
        offset: fields.page_offset()?,
    };
    let mut page = state.store.search_experiments(&search, wire::view_of(&fields, "view_type")?).await?;
    caller.keep_visible(&mut page.items, |experiment| Resource::Experiment(experiment.id));
    Ok(Json(wire::paged("experiments", &page, wire::experiment)))
}

pub(crate) async fn delete(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let id = fields.experiment_id("experiment_id")?;
    state.store.set_experiment_lifecycle(id, LifecycleStage::Deleted, state.now_ms()).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn restore(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let id = fields.experiment_id("experiment_id")?;
    state.store.set_experiment_lifecycle(id, LifecycleStage::Active, state.now_ms()).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn update(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let id = fields.experiment_id("experiment_id")?;
    state.store.rename_experiment(id, &fields.required("new_name")?, state.now_ms()).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn set_tag(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let id = fields.experiment_id("experiment_id")?;
    state.store.set_experiment_tag(id, fields.pair()?, state.now_ms()).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn delete_tag(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let id = fields.experiment_id("experiment_id")?;
    state.store.delete_experiment_tag(id, &fields.required("key")?, state.now_ms()).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn search_datasets(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let ids = fields.texts("experiment_ids")?.iter().map(|id| experiment_id(id)).collect::<Result<Vec<_>, _>>()?;
    if ids.len() > 20 {
        return Err(ControlError::invalid("at most 20 experiment_ids can be searched for data sets at once"));
    }
    let found = state.store.datasets(&ids).await?;
    let summaries: Vec<Value> = found
        .iter()
        .map(|dataset| {
            json!({
                "experiment_id": dataset.experiment_id.to_string(), "name": dataset.name, "digest": dataset.digest,
                "context": dataset.context,
            })
        })
        .collect();
    Ok(Json(if summaries.is_empty() { json!({}) } else { json!({ "dataset_summaries": summaries }) }))
}
