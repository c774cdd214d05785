//! Telling webhooks: outside the request that changed something, with retries, a few at a time.

use super::address::{self, InvalidUrl, PublicOnly};
use super::secret::{SecretKey, signature};
use serde_json::{Value, json};
use serin_http::with_causes;
use serin_store::{Store, Webhook, WebhookEvent};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

/// Most changes that wait to be delivered; more are dropped, and the log says so.
const WAITING: usize = 4096;
/// Most deliveries under way at once.
const AT_ONCE: usize = 10;
/// Most bytes of an answer that are kept for the person who tests a webhook.
const ANSWER: usize = 16 << 10;

/// Rules for where webhooks may go, and how often a delivery is tried.
#[derive(Debug, Clone)]
pub struct WebhookPolicy {
    /// Schemes that URLs of webhooks may have.
    pub schemes: Vec<String>,
    /// True to allow addresses that are not public, too: for development.
    pub allow_private: bool,
    /// Key that secrets are encrypted with; `None` allows no secrets.
    pub key: Option<SecretKey>,
    /// Longest time for one try of a delivery.
    pub timeout: Duration,
    /// Number of tries after the first.
    pub retries: u32,
}

impl Default for WebhookPolicy {
    /// Policy of MLflow: https to public addresses, 30 s, three retries.
    fn default() -> Self {
        Self {
            schemes: vec!["https".to_owned()],
            allow_private: false,
            key: None,
            timeout: Duration::from_secs(30),
            retries: 3,
        }
    }
}

/// Sender of deliveries to webhooks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Webhooks {
    pub(crate) policy: Arc<WebhookPolicy>,
    client: reqwest::Client,
    queue: mpsc::Sender<(WebhookEvent, Value)>,
    clock: fn() -> i64,
}

/// Reason why a webhook was not told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeliveryError {
    /// The URL is not one that a webhook may have, or not any more.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// The secret cannot be opened.
    #[error(
        "its secret was sealed with another key than that of MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY; set that key, or the secret anew"
    )]
    OtherKey,
    /// The receiver could not be reached; the text is the cause.
    #[error("{0}")]
    Unreachable(String),
    /// The receiver answered with an error, the last time too.
    #[error("it answered {status} after {tries} tries")]
    Refused {
        /// HTTP status of the last answer.
        status: u16,
        /// Number of times that the receiver was asked.
        tries: u32,
    },
}

/// Answer of a webhook to a test: HTTP status and the beginning of the body.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Webhooks {
    /// Starts delivering to the webhooks of `store`; needs a Tokio runtime.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn start(store: Store, policy: WebhookPolicy, clock: fn() -> i64) -> reqwest::Result<Self> {
        let mut client = reqwest::Client::builder()
            .timeout(policy.timeout)
            // A redirect could lead where the URL must not; a proxy would be what is checked.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("serin/", env!("CARGO_PKG_VERSION")));
        if !policy.allow_private {
            client = client.dns_resolver(PublicOnly);
        }
        let client = client.build()?;
        let (queue, mut waiting) = mpsc::channel::<(WebhookEvent, Value)>(WAITING);
        let webhooks = Self { policy: Arc::new(policy), client, queue, clock };
        let teller = Self { queue: mpsc::channel(1).0, ..webhooks.clone() };
        tokio::spawn(async move {
            let slots = Arc::new(Semaphore::new(AT_ONCE));
            while let Some((event, data)) = waiting.recv().await {
                let told = match store.webhooks_for(event).await {
                    Ok(told) => told,
                    Err(error) => {
                        tracing::error!("webhooks of {}.{} are not told: {error}", event.entity, event.action);
                        continue;
                    }
                };
                for webhook in told {
                    let Ok(slot) = slots.clone().acquire_owned().await else { return };
                    let (teller, data) = (teller.clone(), data.clone());
                    tokio::spawn(async move {
                        if let Err(error) = teller.tell(&webhook, event, &data, teller.policy.retries).await {
                            tracing::warn!(
                                "webhook {} was not told of {}.{}: {error}",
                                webhook.name,
                                event.entity,
                                event.action
                            );
                        }
                        drop(slot);
                    });
                }
            }
        });
        Ok(webhooks)
    }

    /// Tells whom it concerns of a change, later.
    pub(crate) fn emit(&self, event: WebhookEvent, data: Value) {
        if self.queue.try_send((event, data)).is_err() {
            tracing::error!("{WAITING} changes wait for slow webhooks; {}.{} is not told", event.entity, event.action);
        }
    }

    /// One delivery, its first try and up to `retries` more.
    pub(crate) async fn tell(
        &self,
        webhook: &Webhook,
        event: WebhookEvent,
        data: &Value,
        retries: u32,
    ) -> Result<Answered, DeliveryError> {
        let url = address::check(&webhook.url, &self.policy.schemes, self.policy.allow_private).await?;
        let now_ms = (self.clock)();
        let delivery = uuid::Uuid::new_v4();
        let timestamp = (now_ms / 1000).to_string();
        let body = json!({
            "entity": event.entity, "action": event.action, "timestamp": iso(now_ms), "data": data,
        })
        .to_string();
        let mut signed = None;
        if let Some(sealed) = &webhook.secret {
            let key = self.policy.key.as_ref();
            let secret = key.and_then(|key| key.open(sealed)).ok_or(DeliveryError::OtherKey)?;
            signed = Some(signature(&secret, &delivery.to_string(), &timestamp, &body));
        }
        let mut tried = 0;
        loop {
            let mut request = self
                .client
                .post(url.clone())
                .header("Content-Type", "application/json")
                .header("X-MLflow-Delivery-Id", delivery.to_string())
                .header("X-MLflow-Timestamp", &timestamp);
            if let Some(signature) = &signed {
                request = request.header("X-MLflow-Signature", signature);
            }
            let sent = request.body(body.clone()).send().await;
            let again = match &sent {
                Ok(response) => matches!(response.status().as_u16(), 429 | 500 | 502 | 503 | 504),
                Err(_) => true,
            };
            if again && tried < retries {
                let asked = sent.ok().and_then(|response| {
                    response.headers().get("retry-after")?.to_str().ok()?.parse::<u64>().ok().map(Duration::from_secs)
                });
                // 1, 2, 4 s and up to a second more, so that many do not come back at once.
                let jitter = Duration::from_millis(u64::from(delivery.as_bytes()[tried as usize % 16]) * 4);
                let pause = asked.unwrap_or(Duration::from_secs(1 << tried.min(6)) + jitter);
                tokio::time::sleep(pause.min(Duration::from_secs(60))).await;
                tried += 1;
                continue;
            }
            let response = sent.map_err(|error| DeliveryError::Unreachable(with_causes(&error)))?;
            let status = response.status().as_u16();
            if retries > 0 && status >= 400 {
                return Err(DeliveryError::Refused { status, tries: tried + 1 });
            }
            return Ok(Answered { status, body: beginning(response).await });
        }
    }
}

async fn beginning(mut response: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk[..chunk.len().min(ANSWER - bytes.len())]);
        if bytes.len() >= ANSWER {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// ISO 8601 in UTC.
fn iso(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map(|time| time.to_string()).unwrap_or_default()
}
