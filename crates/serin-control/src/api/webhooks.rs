//! Handlers of MLflow's routes about webhooks of the registry.

use crate::error::ControlError;
use crate::state::ControlPlane;
use crate::webhooks::address;
use axum::Json;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::post;
use serde_json::{Value, json};
use serin_http::Fields;
use serin_store::{Webhook, WebhookEvent, WebhookUpdate};

/// Routes of webhooks, below `/api/2.0/mlflow`.
pub(crate) fn router() -> Router<ControlPlane> {
    let one = axum::routing::get(get).patch(update).delete(delete);
    Router::new()
        .route("/webhooks", post(create).get(list))
        .route("/webhooks/{id}", one)
        .route("/webhooks/{id}/test", post(test))
}

type Answer = Result<Json<Value>, ControlError>;

pub(crate) async fn create(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    fields.required("name")?;
    fields.required("url")?;
    let mut new = changes(&state, &fields).await?;
    new.events.get_or_insert_default();
    let webhook = state.store.create_webhook(new, state.now_ms()).await?;
    Ok(Json(json!({ "webhook": wire(&webhook) })))
}

pub(crate) async fn list(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let page = state.store.webhooks(fields.opt_int("max_results")?.unwrap_or(100), fields.page_offset()?).await?;
    Ok(Json(crate::api::tracking::paged("webhooks", &page, wire)))
}

pub(crate) async fn get(State(state): State<ControlPlane>, Path(id): Path<String>) -> Answer {
    Ok(Json(json!({ "webhook": wire(&state.store.webhook(&id).await?) })))
}

pub(crate) async fn update(State(state): State<ControlPlane>, Path(id): Path<String>, fields: Fields) -> Answer {
    state.store.webhook(&id).await?;
    let changes = changes(&state, &fields).await?;
    let webhook = state.store.update_webhook(&id, changes, state.now_ms()).await?;
    Ok(Json(json!({ "webhook": wire(&webhook) })))
}

pub(crate) async fn delete(State(state): State<ControlPlane>, Path(id): Path<String>) -> Answer {
    state.store.delete_webhook(&id, state.now_ms()).await?;
    Ok(Json(json!({})))
}

/// Sends an example, once.
pub(crate) async fn test(State(state): State<ControlPlane>, Path(id): Path<String>, fields: Fields) -> Answer {
    let webhook = state.store.webhook(&id).await?;
    let asked = fields.opt_object("event")?.as_ref().map(event).transpose()?;
    let event = asked.or_else(|| webhook.events.first().copied()).unwrap_or(WebhookEvent::MODEL_CREATED);
    let result = match state.webhooks.tell(&webhook, event, &example(event), 0).await {
        Ok(answered) => json!({
            "success": answered.status < 400, "response_status": answered.status, "response_body": answered.body,
        }),
        Err(error) => json!({ "success": false, "error_message": format!("Failed to test webhook: {error}") }),
    };
    Ok(Json(json!({ "result": result })))
}

async fn changes(state: &ControlPlane, fields: &Fields) -> Result<WebhookUpdate, ControlError> {
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    let policy = &state.webhooks.policy;
    let url = filled(fields.opt_text("url")?);
    if let Some(url) = &url {
        address::check(url, &policy.schemes, policy.allow_private).await.map_err(ControlError::invalid)?;
    }
    let secret = match (filled(fields.opt_text("secret")?), &policy.key) {
        (None, _) => None,
        (Some(secret), Some(key)) => Some(key.seal(&secret, state.now_ms()).map_err(ControlError::invalid)?),
        (Some(_), None) => {
            return Err(ControlError::invalid(
                "a webhook's secret is kept encrypted: start the server with MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY set to a key, made with: openssl rand -base64 32 | tr '+/' '-_'",
            ));
        }
    };
    let events = fields.list("events")?.iter().map(event).collect::<Result<Vec<_>, _>>()?;
    let active = fields.opt_enum(
        "status",
        |name| match name {
            "ACTIVE" => Some(true),
            "DISABLED" => Some(false),
            _ => None,
        },
        |number| match number {
            1 => Some(true),
            2 => Some(false),
            _ => None,
        },
    )?;
    Ok(WebhookUpdate {
        name: filled(fields.opt_text("name")?),
        url,
        description: fields.opt_text("description")?,
        secret,
        active,
        events: (!events.is_empty()).then_some(events),
    })
}

fn event(fields: &Fields) -> Result<WebhookEvent, ControlError> {
    Ok(WebhookEvent::new(&fields.required("entity")?, &fields.required("action")?)?)
}

fn wire(webhook: &Webhook) -> Value {
    let event =
        |event: &WebhookEvent| json!({ "entity": event.entity.to_uppercase(), "action": event.action.to_uppercase() });
    let mut wire = json!({
        "webhook_id": webhook.id,
        "name": webhook.name,
        "url": webhook.url,
        "events": webhook.events.iter().map(event).collect::<Vec<_>>(),
        "status": if webhook.active { "ACTIVE" } else { "DISABLED" },
        "creation_timestamp": webhook.creation_time_ms,
        "last_updated_timestamp": webhook.last_updated_time_ms,
    });
    if let Some(description) = webhook.description.as_deref().filter(|text| !text.is_empty()) {
        wire["description"] = json!(description);
    }
    wire
}

/// Example of the JSON that a delivery of the event carries.
fn example(event: WebhookEvent) -> Value {
    let (key, value) = ("example_key", "example_value");
    match (event.entity, event.action) {
        ("registered_model", _) => {
            json!({ "name": "example_model", "tags": { key: value }, "description": "An example registered model" })
        }
        ("model_version", _) => json!({
            "name": "example_model", "version": "1", "source": "models:/123", "run_id": "abcd1234abcd5678",
            "tags": { key: value }, "description": "An example model version",
        }),
        ("model_version_tag", "set") => json!({ "name": "example_model", "version": "1", "key": key, "value": value }),
        ("model_version_tag", _) => json!({ "name": "example_model", "version": "1", "key": key }),
        (_, "created") => json!({ "name": "example_model", "alias": "example_alias", "version": "1" }),
        _ => json!({ "name": "example_model", "alias": "example_alias" }),
    }
}
