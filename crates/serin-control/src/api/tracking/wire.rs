//! MLflow's JSON of the tracking API.

use crate::error::ControlError;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use serin_artifacts::ArtifactEntry;
use serin_http::Fields;
use serin_http::page_token;
use serin_store::{DatasetInput, Experiment, LoggedModel, ModelOutput, Page, Run, RunInfo, RunInputs, ViewType};
use serin_tracking::{Metric, Tag};

/// Non-finite doubles are texts.
fn double<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match *value {
        value if value.is_nan() => serializer.serialize_str("NaN"),
        f64::INFINITY => serializer.serialize_str("Infinity"),
        f64::NEG_INFINITY => serializer.serialize_str("-Infinity"),
        value => serializer.serialize_f64(value),
    }
}

#[derive(Debug, Serialize)]
struct KeyValue<'a> {
    key: &'a str,
    value: &'a str,
}

fn pairs(tags: &[Tag]) -> Vec<KeyValue<'_>> {
    tags.iter().map(|tag| KeyValue { key: &tag.key, value: &tag.value }).collect()
}

#[derive(Debug, Serialize)]
pub(crate) struct MetricWire<'a> {
    key: &'a str,
    #[serde(serialize_with = "double")]
    value: f64,
    timestamp: i64,
    step: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset_digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<&'a str>,
}

pub(crate) fn metric(metric: &Metric) -> MetricWire<'_> {
    MetricWire {
        key: &metric.key,
        value: metric.value,
        timestamp: metric.timestamp_ms,
        step: metric.step,
        dataset_name: metric.dataset.as_ref().map(|(name, _)| name.as_str()),
        dataset_digest: metric.dataset.as_ref().map(|(_, digest)| digest.as_str()),
        model_id: metric.model_id.as_deref(),
        run_id: metric.run_id.as_deref(),
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct RunInfoWire<'a> {
    run_uuid: &'a str,
    experiment_id: String,
    run_name: &'a str,
    user_id: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<i64>,
    artifact_uri: &'a str,
    lifecycle_stage: &'static str,
    run_id: &'a str,
}

pub(crate) fn run_info(info: &RunInfo) -> RunInfoWire<'_> {
    RunInfoWire {
        run_uuid: &info.id,
        experiment_id: info.experiment_id.to_string(),
        run_name: &info.name,
        user_id: &info.user,
        status: info.status.as_str(),
        start_time: info.start_time_ms,
        end_time: info.end_time_ms,
        artifact_uri: &info.artifact_uri,
        lifecycle_stage: info.lifecycle_stage.as_str(),
        run_id: &info.id,
    }
}

#[derive(Debug, Serialize)]
struct RunDataWire<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<MetricWire<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    params: Vec<KeyValue<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<KeyValue<'a>>,
}

#[derive(Debug, Serialize)]
pub(crate) struct RunWire<'a> {
    info: RunInfoWire<'a>,
    data: RunDataWire<'a>,
    inputs: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<Value>,
}

/// A run that was just created shows no outputs.
pub(crate) fn new_run(run: &Run) -> RunWire<'_> {
    RunWire {
        info: run_info(&run.info),
        data: RunDataWire {
            metrics: run.metrics.iter().map(metric).collect(),
            params: pairs(&run.params),
            tags: pairs(&run.tags),
        },
        inputs: inputs(&run.inputs),
        outputs: None,
    }
}

pub(crate) fn run(found: &Run) -> RunWire<'_> {
    RunWire { outputs: Some(outputs(&found.outputs)), ..new_run(found) }
}

fn inputs(inputs: &RunInputs) -> Value {
    let mut wire = json!({});
    if !inputs.datasets.is_empty() {
        wire["dataset_inputs"] = inputs.datasets.iter().map(dataset_input).collect();
    }
    if !inputs.models.is_empty() {
        wire["model_inputs"] = inputs.models.iter().map(|id| json!({ "model_id": id })).collect();
    }
    wire
}

fn dataset_input(input: &DatasetInput) -> Value {
    let mut dataset = json!({
        "name": input.name, "digest": input.digest, "source_type": input.source_type, "source": input.source,
    });
    for (name, value) in [("schema", &input.schema), ("profile", &input.profile)] {
        if let Some(value) = value {
            dataset[name] = json!(value);
        }
    }
    let mut wire = json!({ "dataset": dataset });
    if !input.tags.is_empty() {
        wire["tags"] = json!(pairs(&input.tags));
    }
    wire
}

fn outputs(outputs: &[ModelOutput]) -> Value {
    if outputs.is_empty() {
        return json!({});
    }
    let models: Value =
        outputs.iter().map(|output| json!({ "model_id": output.model_id, "step": output.step })).collect();
    json!({ "model_outputs": models })
}

pub(crate) fn experiment(experiment: &Experiment) -> Value {
    let mut wire = json!({
        "experiment_id": experiment.id.to_string(),
        "name": experiment.name,
        "artifact_location": experiment.artifact_location,
        "lifecycle_stage": experiment.lifecycle_stage.as_str(),
        "last_update_time": experiment.last_update_time_ms,
        "creation_time": experiment.creation_time_ms,
        "workspace": "default",
    });
    if !experiment.tags.is_empty() {
        wire["tags"] = json!(pairs(&experiment.tags));
    }
    wire
}

pub(crate) fn logged_model(model: &LoggedModel) -> Value {
    let mut info = json!({
        "model_id": model.id,
        "experiment_id": model.experiment_id.to_string(),
        "name": model.name,
        "creation_timestamp_ms": model.creation_time_ms,
        "last_updated_timestamp_ms": model.last_updated_time_ms,
        "artifact_uri": model.artifact_location,
        "status": model.status.as_str(),
        "model_type": model.model_type,
        "source_run_id": model.source_run_id,
    });
    if model.source_run_id.is_empty() {
        info.as_object_mut().map(|info| info.remove("source_run_id"));
    }
    if let Some(message) = &model.status_message {
        info["status_message"] = json!(message);
    }
    if !model.tags.is_empty() {
        info["tags"] = json!(pairs(&model.tags));
    }
    let mut data = json!({});
    if !model.params.is_empty() {
        data["params"] = json!(pairs(&model.params));
    }
    if !model.metrics.is_empty() {
        data["metrics"] = json!(model.metrics.iter().map(metric).collect::<Vec<_>>());
    }
    json!({ "info": info, "data": data })
}

/// `{"<name>": [...], "next_page_token": ...}`; an empty page is `{}`.
pub(crate) fn paged<'a, T, W: Serialize>(name: &str, page: &'a Page<T>, wire: impl Fn(&'a T) -> W) -> Value {
    let mut found = json!({});
    if !page.items.is_empty() {
        found[name] = json!(page.items.iter().map(wire).collect::<Vec<_>>());
    }
    if let Some(next) = page.next {
        found["next_page_token"] = json!(page_token::encode(next));
    }
    found
}

/// `root_uri` and `files`, whose paths are relative to the root, or to their folder where `parent` is empty.
pub(crate) fn artifact_list(root_uri: Option<&str>, parent: &str, entries: &[ArtifactEntry]) -> Value {
    let mut found = json!({});
    if let Some(root) = root_uri {
        found["root_uri"] = json!(root);
    }
    if entries.is_empty() {
        return found;
    }
    found["files"] = entries
        .iter()
        .map(|entry| {
            let path = if parent.is_empty() { entry.name.clone() } else { format!("{parent}/{}", entry.name) };
            match entry.size {
                // MLflow leaves the size of an empty file out.
                Some(0) => json!({ "path": path, "is_dir": false }),
                Some(size) => json!({ "path": path, "is_dir": false, "file_size": size }),
                None => json!({ "path": path, "is_dir": true }),
            }
        })
        .collect();
    found
}

pub(crate) fn metric_of(fields: &Fields) -> Result<Metric, ControlError> {
    let dataset = fields.opt_text("dataset_name")?.zip(fields.opt_text("dataset_digest")?);
    Ok(Metric {
        key: fields.required("key")?,
        value: fields.required_double("value")?,
        timestamp_ms: fields.required_int("timestamp")?,
        step: fields.opt_int("step")?.unwrap_or(0),
        model_id: fields.opt_text("model_id")?.filter(|id| !id.is_empty()),
        dataset: dataset.filter(|(name, _)| !name.is_empty()),
        run_id: None,
    })
}

pub(crate) fn dataset_of(fields: &Fields) -> Result<DatasetInput, ControlError> {
    let dataset = fields.object("dataset")?;
    Ok(DatasetInput {
        name: dataset.required("name")?,
        digest: dataset.required("digest")?,
        source_type: dataset.required("source_type")?,
        source: dataset.required("source")?,
        schema: dataset.opt_text("schema")?,
        profile: dataset.opt_text("profile")?,
        tags: fields.pairs("tags")?,
    })
}

pub(crate) fn model_outputs_of(fields: &Fields) -> Result<Vec<ModelOutput>, ControlError> {
    fields
        .list("models")?
        .iter()
        .map(|model| {
            Ok(ModelOutput { model_id: model.required("model_id")?, step: model.opt_int("step")?.unwrap_or(0) })
        })
        .collect()
}

pub(crate) fn view_of(fields: &Fields, name: &str) -> Result<ViewType, ControlError> {
    let by_name = |text: &str| match text {
        "ACTIVE_ONLY" => Some(ViewType::ActiveOnly),
        "DELETED_ONLY" => Some(ViewType::DeletedOnly),
        "ALL" => Some(ViewType::All),
        _ => None,
    };
    let by_number = |number| {
        [ViewType::ActiveOnly, ViewType::DeletedOnly, ViewType::All].get(usize::try_from(number - 1).ok()?).copied()
    };
    Ok(fields.opt_enum(name, by_name, by_number)?.unwrap_or_default())
}
