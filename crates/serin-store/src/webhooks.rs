//! Webhooks: addresses that are told of changes of the registry. They are kept in MLflow's tables; the server
//! encrypts a secret before it is stored here.

use crate::names::limit;
use crate::sql::{Connection, Row, Value, args};
use crate::{Page, Store, StoreError};

const COLUMNS: &str = "webhook_id, name, url, description, secret, status, creation_timestamp, last_updated_timestamp";

/// Events that a webhook can subscribe to, entity and action in MLflow's words. Those of its prompts and gateway
/// budgets are not serin's.
const EVENTS: [(&str, &str); 6] = [
    ("registered_model", "created"),
    ("model_version", "created"),
    ("model_version_tag", "set"),
    ("model_version_tag", "deleted"),
    ("model_version_alias", "created"),
    ("model_version_alias", "deleted"),
];

/// Kind of change that a webhook can subscribe to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookEvent {
    /// Kind of thing that changes, such as `model_version`.
    pub entity: &'static str,
    /// Kind of change, such as `created`.
    pub action: &'static str,
}

impl WebhookEvent {
    /// A registered model was created.
    pub const MODEL_CREATED: Self = Self::at(0);
    /// A version was registered.
    pub const VERSION_CREATED: Self = Self::at(1);
    /// A version got a tag.
    pub const VERSION_TAG_SET: Self = Self::at(2);
    /// A version lost a tag.
    pub const VERSION_TAG_DELETED: Self = Self::at(3);
    /// An alias points at a version.
    pub const ALIAS_CREATED: Self = Self::at(4);
    /// An alias is gone.
    pub const ALIAS_DELETED: Self = Self::at(5);

    const fn at(i: usize) -> Self {
        Self { entity: EVENTS[i].0, action: EVENTS[i].1 }
    }

    /// Event with MLflow's names of entity and action, in upper or lower case.
    ///
    /// # Errors
    /// When nothing of the kind happens here; lists what does.
    pub fn new(entity: &str, action: &str) -> Result<Self, StoreError> {
        let known = (0..EVENTS.len())
            .map(Self::at)
            .find(|event| event.entity.eq_ignore_ascii_case(entity) && event.action.eq_ignore_ascii_case(action));
        known.ok_or_else(|| {
            let list: Vec<String> = EVENTS.iter().map(|(entity, action)| format!("{entity}.{action}")).collect();
            StoreError::InvalidInput(format!(
                "Invalid action '{action}' for entity '{entity}': the events of this server are {}",
                list.join(", ")
            ))
        })
    }
}

/// Webhook: an address that is told of some kinds of change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Unique id of the webhook.
    pub id: String,
    /// Name for people; need not be unique.
    pub name: String,
    /// URL that deliveries are sent to, at most 500 characters.
    pub url: String,
    /// Description, free text of at most 1000 characters.
    pub description: Option<String>,
    /// Secret that signs the deliveries, encrypted; `None` leaves them unsigned.
    pub secret: Option<String>,
    /// True if changes are delivered, false if the webhook is disabled.
    pub active: bool,
    /// Kinds of change that are delivered.
    pub events: Vec<WebhookEvent>,
    /// Time at which the webhook was created, epoch milliseconds.
    pub creation_time_ms: i64,
    /// Time at which the webhook was last changed, epoch milliseconds.
    pub last_updated_time_ms: i64,
}

/// Change of a webhook; a field that is `None` keeps its value.
#[derive(Debug, Clone, Default)]
pub struct WebhookUpdate {
    /// New name for people.
    pub name: Option<String>,
    /// New URL that deliveries are sent to.
    pub url: Option<String>,
    /// New description, free text.
    pub description: Option<String>,
    /// New secret that signs the deliveries, encrypted.
    pub secret: Option<String>,
    /// True to deliver changes, false to disable the webhook.
    pub active: Option<bool>,
    /// New kinds of change to deliver; must not be empty.
    pub events: Option<Vec<WebhookEvent>>,
}

impl WebhookUpdate {
    fn check(&self) -> Result<(), StoreError> {
        if let Some(name) = &self.name {
            let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            if name.len() > 63 || !name.chars().all(inner) || !edge(name.chars().next()) || !edge(name.chars().last()) {
                return Err(StoreError::InvalidInput(format!(
                    "Webhook name '{name}' is invalid. It must start and end with a letter or digit, be less than 63 characters long, and contain only letters, digits, dots (.), underscores (_), and hyphens (-)."
                )));
            }
        }
        if self.events.as_ref().is_some_and(Vec::is_empty) {
            return Err(StoreError::invalid("Webhook events must be a non-empty list of WebhookEvent objects: []."));
        }
        limit("url", self.url.as_deref().unwrap_or_default(), 500)?;
        limit("description", self.description.as_deref().unwrap_or_default(), 1000)?;
        limit("secret", self.secret.as_deref().unwrap_or_default(), 1000)
    }
}

fn active(status: &str) -> bool {
    status == "ACTIVE"
}

fn status(active: bool) -> &'static str {
    if active { "ACTIVE" } else { "DISABLED" }
}

impl Store {
    /// Makes a webhook with the name, address and events of `new`.
    ///
    /// # Errors
    /// When one of them does not fit.
    pub async fn create_webhook(&self, new: WebhookUpdate, now_ms: i64) -> Result<Webhook, StoreError> {
        new.check()?;
        let id = uuid::Uuid::new_v4().to_string();
        let made = id.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let sql = "INSERT INTO webhooks (webhook_id, name, url, description, secret, status, creation_timestamp, last_updated_timestamp, workspace) \
                           VALUES ($1, $2, $3, $4, $5, $6, $7, $7, 'default')";
                let values = args![
                    &id,
                    new.name.unwrap_or_default(),
                    new.url.unwrap_or_default(),
                    new.description,
                    new.secret,
                    status(new.active.unwrap_or(true)),
                    now_ms
                ];
                connection.execute(sql, values).await?;
                put_events(connection, &id, &new.events.unwrap_or_default()).await
            })
        })
        .await?;
        self.webhook(&made).await
    }

    /// The webhook with an id.
    ///
    /// # Errors
    /// When there is none with this id.
    pub async fn webhook(&self, id: &str) -> Result<Webhook, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM webhooks WHERE webhook_id = $1 AND deleted_timestamp IS NULL");
        let rows = self.reader().rows(sql, args![id]).await?;
        self.webhooks_of(&rows).await?.pop().ok_or_else(|| missing(id))
    }

    /// Webhooks, the newest first; `limit` from 1 to 1000.
    ///
    /// # Errors
    /// When the limit is another, or the database fails.
    pub async fn webhooks(&self, limit: i64, offset: i64) -> Result<Page<Webhook>, StoreError> {
        if !(1..=1000).contains(&limit) {
            return Err(StoreError::invalid("max_results must be between 1 and 1000."));
        }
        let sql = format!(
            "SELECT {COLUMNS} FROM webhooks WHERE deleted_timestamp IS NULL ORDER BY creation_timestamp DESC, webhook_id LIMIT $1 OFFSET $2"
        );
        let rows = self.reader().rows(sql, args![limit + 1, offset]).await?;
        Ok(Page::cut(self.webhooks_of(&rows).await?, limit, offset))
    }

    /// Active webhooks that subscribe to `event`, the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhooks_for(&self, event: WebhookEvent) -> Result<Vec<Webhook>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM webhooks WHERE status = 'ACTIVE' AND deleted_timestamp IS NULL AND webhook_id IN \
             (SELECT webhook_id FROM webhook_events WHERE entity = $1 AND action = $2) ORDER BY creation_timestamp, webhook_id"
        );
        let rows = self.reader().rows(sql, args![event.entity, event.action]).await?;
        self.webhooks_of(&rows).await
    }

    async fn webhooks_of(&self, rows: &[Row]) -> Result<Vec<Webhook>, StoreError> {
        let mut webhooks = Vec::with_capacity(rows.len());
        for row in rows {
            let id = row.text(0)?;
            let sql = "SELECT entity, action FROM webhook_events WHERE webhook_id = $1 ORDER BY entity, action";
            let mut events = Vec::new();
            for event in self.reader().rows(sql, args![&id]).await? {
                // A database of MLflow's may name events that do not happen here.
                events.extend(WebhookEvent::new(&event.text(0)?, &event.text(1)?).ok());
            }
            webhooks.push(Webhook {
                id,
                name: row.text(1)?,
                url: row.text(2)?,
                description: row.opt_text(3)?,
                secret: row.opt_text(4)?,
                active: active(&row.text(5)?),
                events,
                creation_time_ms: row.int(6)?,
                last_updated_time_ms: row.opt_int(7)?.unwrap_or_default(),
            });
        }
        Ok(webhooks)
    }

    /// Changes the given fields of a webhook.
    ///
    /// # Errors
    /// When there is none with this id, or a value does not fit.
    pub async fn update_webhook(&self, id: &str, update: WebhookUpdate, now_ms: i64) -> Result<Webhook, StoreError> {
        update.check()?;
        let changed = id.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let sql = "UPDATE webhooks SET name = COALESCE($1, name), url = COALESCE($2, url), description = COALESCE($3, description), \
                           secret = COALESCE($4, secret), status = COALESCE($5, status), last_updated_timestamp = $6 \
                           WHERE webhook_id = $7 AND deleted_timestamp IS NULL";
                let active = update.active.map(|active| status(active).to_owned());
                let values: Vec<Value> =
                    args![update.name, update.url, update.description, update.secret, active, now_ms, &changed];
                if connection.execute(sql, values).await? == 0 {
                    return Err(missing(&changed));
                }
                match update.events {
                    Some(events) => put_events(connection, &changed, &events).await,
                    None => Ok(()),
                }
            })
        })
        .await?;
        self.webhook(id).await
    }

    /// Marks a webhook as deleted, and forgets its secret.
    ///
    /// # Errors
    /// When there is none with this id.
    pub async fn delete_webhook(&self, id: &str, now_ms: i64) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let sql = "UPDATE webhooks SET deleted_timestamp = $1, last_updated_timestamp = $1, secret = NULL WHERE webhook_id = $2 AND deleted_timestamp IS NULL";
                if connection.execute(sql, args![now_ms, &id]).await? == 0 {
                    return Err(missing(&id));
                }
                Ok(())
            })
        })
        .await
    }
}

fn missing(id: &str) -> StoreError {
    StoreError::NotFound(format!("Webhook with ID {id} not found."))
}

async fn put_events(connection: &mut Connection, id: &str, events: &[WebhookEvent]) -> Result<(), StoreError> {
    connection.execute("DELETE FROM webhook_events WHERE webhook_id = $1", args![id]).await?;
    for event in events {
        let sql = "INSERT INTO webhook_events (webhook_id, entity, action) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        connection.execute(sql, args![id, event.entity, event.action]).await?;
    }
    Ok(())
}
