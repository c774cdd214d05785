//! Handlers of runs and their metrics.

use super::wire;
use crate::error::ControlError;
use crate::state::ControlPlane;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use serin_http::{Fields, experiment_id};
use serin_store::{Batch, LifecycleStage, NewRun, Page, RunInputs, RunSearch, Search};
use serin_tracking::{Metric, RunStatus, Tag};
use std::collections::BTreeSet;

type Answer = Result<Json<Value>, ControlError>;
/// Tag of the models that older clients log with a run: a JSON list.
const LOGGED_MODELS: &str = "mlflow.log-model.history";

pub(crate) async fn create(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let id = fields.text("experiment_id")?;
    let new = NewRun {
        experiment_id: if id.is_empty() { 0 } else { experiment_id(&id)? },
        name: fields.text("run_name")?,
        user: fields.text("user_id")?,
        start_time_ms: fields.opt_int("start_time")?.unwrap_or_else(|| state.now_ms()),
        tags: fields.pairs("tags")?,
    };
    let run = state.store.create_run(new).await?;
    Ok(Json(json!({ "run": wire::new_run(&run) })))
}

pub(crate) async fn get(State(state): State<ControlPlane>, fields: Fields) -> Result<Response, ControlError> {
    #[derive(serde::Serialize)]
    struct Found<'a> {
        run: wire::RunWire<'a>,
    }
    let run = state.store.run(&fields.run_id()?).await?;
    Ok(Json(Found { run: wire::run(&run) }).into_response())
}

pub(crate) async fn update(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let id = fields.run_id()?;
    let status = fields.opt_enum("status", RunStatus::of, RunStatus::of_number)?;
    let name = fields.opt_text("run_name")?;
    let info = state.store.update_run(&id, status, fields.opt_int("end_time")?, name.as_deref()).await?;
    Ok(Json(json!({ "run_info": wire::run_info(&info) })))
}

pub(crate) async fn delete(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    state.store.set_run_lifecycle(&fields.run_id()?, LifecycleStage::Deleted, state.now_ms()).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn restore(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    state.store.set_run_lifecycle(&fields.run_id()?, LifecycleStage::Active, state.now_ms()).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn search(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let ids = fields.texts("experiment_ids")?;
    let asked = RunSearch {
        experiment_ids: ids.iter().map(|id| experiment_id(id)).collect::<Result<_, _>>()?,
        view: wire::view_of(&fields, "run_view_type")?,
        search: Search {
            filter: fields.text("filter")?,
            order_by: fields.texts("order_by")?,
            limit: fields.page_size(1000, 50_000)?,
            offset: fields.page_offset()?,
        },
    };
    let page = state.store.search_runs(&asked).await?;
    Ok(Json(wire::paged("runs", &page, wire::run)))
}

pub(crate) async fn log_metric(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let id = fields.run_id()?;
    let batch = Batch { metrics: vec![wire::metric_of(&fields)?], ..Batch::default() };
    state.store.log_batch(&id, batch).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn log_parameter(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let id = fields.run_id()?;
    state.store.log_batch(&id, Batch { params: vec![fields.pair()?], ..Batch::default() }).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn set_tag(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let id = fields.run_id()?;
    state.store.log_batch(&id, Batch { tags: vec![fields.pair()?], ..Batch::default() }).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn delete_tag(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    state.store.delete_run_tag(&fields.run_id()?, &fields.required("key")?).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn log_batch(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let id = fields.run_id()?;
    let metrics = fields.list("metrics")?;
    let (params, tags) = (fields.pairs("params")?, fields.pairs("tags")?);
    at_most("metrics", metrics.len(), 1000)?;
    at_most("params", params.len(), 100)?;
    at_most("tags", tags.len(), 100)?;
    at_most("metrics, params, and tags", metrics.len() + params.len() + tags.len(), 1000)?;
    let mut seen = BTreeSet::new();
    if let Some(twice) = params.iter().find(|param| !seen.insert(param.key.as_str())) {
        return Err(ControlError::invalid(format!(
            "Duplicate parameter keys have been submitted: ['{}']. Please ensure the request contains only one param value per param key.",
            twice.key
        )));
    }
    let metrics = metrics.iter().map(wire::metric_of).collect::<Result<_, _>>()?;
    state.store.log_batch(&id, Batch { metrics, params, tags }).await?;
    Ok(Json(json!({})))
}

fn at_most(what: &str, count: usize, most: usize) -> Result<(), ControlError> {
    if count <= most {
        return Ok(());
    }
    Err(ControlError::invalid(format!(
        "A batch logging request can contain at most {most} {what}. Got {count} {what}. Please split up {what} across multiple requests and try again."
    )))
}

pub(crate) async fn log_inputs(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let id = fields.run_id()?;
    let datasets = fields.list("datasets")?.iter().map(wire::dataset_of).collect::<Result<_, _>>()?;
    let models = fields.list("models")?.iter().map(|model| model.required("model_id")).collect::<Result<_, _>>()?;
    state.store.log_inputs(&id, RunInputs { datasets, models }).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn log_outputs(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    state.store.log_outputs(&fields.run_id()?, wire::model_outputs_of(&fields)?).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn log_model(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let (id, text) = (fields.run_id()?, fields.required("model_json")?);
    let model: Value = serde_json::from_str(&text)
        .map_err(|_| ControlError::invalid(format!("Malformed model info. \n {text} \n is not a valid JSON.")))?;
    let required = ["artifact_path", "flavors", "utc_time_created", "run_id"];
    let missing: Vec<&str> = required.into_iter().filter(|key| model.get(key).is_none()).collect();
    if !missing.is_empty() {
        return Err(ControlError::invalid(format!("Model json is missing mandatory fields: {}", missing.join(", "))));
    }
    let run = state.store.run(&id).await?;
    let history = run.tags.iter().find(|tag| tag.key == LOGGED_MODELS).map(|tag| tag.value.clone());
    let mut history: Vec<Value> = history.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    if !history.contains(&model) {
        history.push(model);
    }
    let tag = Tag::new(LOGGED_MODELS, Value::Array(history).to_string());
    state.store.log_batch(&id, Batch { tags: vec![tag], ..Batch::default() }).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn metric_history(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let (id, key) = (fields.run_id()?, fields.required("metric_key")?);
    let (limit, offset) = (fields.opt_int("max_results")?.unwrap_or(i64::from(i32::MAX)), fields.page_offset()?);
    if limit < 1 {
        return Err(ControlError::invalid(format!(
            "Invalid value {limit} for parameter 'max_results' supplied. It must be a positive integer"
        )));
    }
    let items = state.store.metric_history(&id, &key, limit + 1, offset).await?;
    let page = Page::cut(items, limit, offset);
    Ok(Json(wire::paged("metrics", &page, wire::metric)))
}

/// Answers of at most 25,000 points, for charts of up to 100 runs.
pub(crate) async fn metric_history_bulk(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let (ids, key) = (fields.texts("run_id")?, fields.required("metric_key")?);
    if ids.is_empty() || ids.len() > 100 {
        return Err(ControlError::invalid("GetMetricHistoryBulk request must specify 1 to 100 run_id."));
    }
    let most = fields.opt_int("max_results")?.unwrap_or(25_000).clamp(1, 25_000);
    let mut points = Vec::new();
    for id in &ids {
        let room = most - points.len() as i64;
        if room <= 0 {
            break;
        }
        let found = state.store.metric_history(id, &key, room, 0).await?;
        points.extend(found.into_iter().map(|metric| Metric { run_id: Some(id.clone()), ..metric }));
    }
    Ok(Json(json!({ "metrics": points.iter().map(wire::metric).collect::<Vec<_>>() })))
}

pub(crate) async fn metric_history_interval(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let (ids, key) = (fields.texts("run_ids")?, fields.required("metric_key")?);
    if ids.is_empty() || ids.len() > 100 {
        return Err(ControlError::invalid("GetMetricHistoryBulkInterval request must specify 1 to 100 run_ids."));
    }
    let most = fields.page_size(2500, 2500)?;
    let steps = match (fields.opt_int("start_step")?, fields.opt_int("end_step")?) {
        (None, None) => None,
        (Some(from), Some(to)) if from <= to => Some((from, to)),
        (Some(_), Some(_)) => return Err(ControlError::invalid("end_step must be greater than start_step.")),
        _ => {
            return Err(ControlError::invalid(
                "If either start step or end step are specified, both must be specified.",
            ));
        }
    };
    let items = state.store.sampled_history(&ids, &key, steps, usize::try_from(most).unwrap_or(1)).await?;
    Ok(Json(wire::paged("metrics", &Page { items, next: None }, wire::metric)))
}
