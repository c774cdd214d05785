//! MLflow's JSON of the model registry.

use serde_json::{Map, Value, json};
use serin_store::{LedgerEntry, ModelVersion, RegisteredModel};
use serin_tracking::Tag;

fn tags(tags: &[Tag]) -> Value {
    tags.iter().map(|tag| json!({ "key": tag.key, "value": tag.value })).collect()
}

pub(crate) fn version(version: &ModelVersion) -> Value {
    let mut wire = json!({
        "name": version.name,
        "version": version.version.to_string(),
        "creation_timestamp": version.creation_time_ms,
        "last_updated_timestamp": version.last_updated_time_ms,
        "current_stage": version.stage.as_str(),
        "description": version.description.as_deref().unwrap_or_default(),
        "source": version.source,
        "run_id": version.run_id,
        "status": version.status,
        "run_link": version.run_link,
    });
    if let Some(user) = version.user.as_deref().filter(|user| !user.is_empty()) {
        wire["user_id"] = json!(user);
    }
    if let Some(message) = &version.status_message {
        wire["status_message"] = json!(message);
    }
    if !version.tags.is_empty() {
        wire["tags"] = tags(&version.tags);
    }
    if !version.aliases.is_empty() {
        wire["aliases"] = json!(version.aliases);
    }
    wire
}

/// Version as searches and models list it, as JSON without aliases.
pub(crate) fn listed(listed: &ModelVersion) -> Value {
    let mut wire = version(listed);
    wire.as_object_mut().map(|wire| wire.remove("aliases"));
    wire
}

pub(crate) fn registered_model(model: &RegisteredModel) -> Value {
    let mut wire = json!({
        "name": model.name,
        "creation_timestamp": model.creation_time_ms,
        "last_updated_timestamp": model.last_updated_time_ms,
    });
    if let Some(description) = &model.description {
        wire["description"] = json!(description);
    }
    if !model.latest_versions.is_empty() {
        wire["latest_versions"] = model.latest_versions.iter().map(listed).collect();
    }
    if !model.tags.is_empty() {
        wire["tags"] = tags(&model.tags);
    }
    if !model.aliases.is_empty() {
        wire["aliases"] = model
            .aliases
            .iter()
            .map(|(alias, version)| json!({ "alias": alias, "version": version.to_string() }))
            .collect();
    }
    wire
}

pub(crate) fn ledger_entry(entry: &LedgerEntry) -> Value {
    json!({
        "id": entry.id, "at": entry.at_ms, "version": entry.version.map(|version| version.to_string()),
        "change": entry.change, "target": entry.target, "actor": entry.actor, "reason": entry.reason,
    })
}

/// New model as the JSON that webhooks are sent.
pub(crate) fn told_model(model: &RegisteredModel) -> Value {
    json!({ "name": model.name, "tags": by_key(&model.tags), "description": model.description })
}

/// New version as the JSON that webhooks are sent.
pub(crate) fn told_version(version: &ModelVersion) -> Value {
    json!({
        "name": version.name, "version": version.version.to_string(), "source": version.source,
        "run_id": (!version.run_id.is_empty()).then_some(&version.run_id),
        "tags": by_key(&version.tags), "description": version.description,
    })
}

fn by_key(tags: &[Tag]) -> Map<String, Value> {
    tags.iter().map(|tag| (tag.key.clone(), json!(tag.value))).collect()
}
