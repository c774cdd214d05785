//! The connection to a tracking server: serin's, or MLflow's own (3.x; 2.x without logged models).
//!
//! Every request may be repeated: the server may have answered the first one into a broken connection. MLflow
//! itself answers some repeats with 400 and a text about UNIQUE, which is then a success.

use crate::config::{ClientConfig, Credentials};
use crate::error::ClientError;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use serin_tracking::Change;
use std::sync::Arc;
use std::time::Duration;

const API: &str = "/api/2.0/mlflow";
const TRIES: u32 = 5;

/// Connection to a tracking server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TrackingServer {
    pub(crate) base: String,
    client: reqwest::Client,
    pub(crate) config: Arc<ClientConfig>,
}

impl TrackingServer {
    /// A client of the server at `uri`; nothing is sent yet.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub fn new(uri: &str, config: ClientConfig) -> Result<Self, ClientError> {
        let mut client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(Duration::from_secs(60))
            .tls_danger_accept_invalid_certs(config.accept_invalid_certificates);
        let unusable = |source| ClientError::Setup { server: uri.to_owned(), source };
        if let Some(path) = &config.certificates {
            let pem = std::fs::read(path).map_err(ClientError::io(path))?;
            for certificate in reqwest::Certificate::from_pem_bundle(&pem).map_err(unusable)? {
                client = client.tls_certs_merge([certificate]);
            }
        }
        Ok(Self {
            base: uri.trim_end_matches('/').to_owned(),
            client: client.build().map_err(unusable)?,
            config: Arc::new(config),
        })
    }

    pub(crate) fn request(&self, method: Method, url: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, url);
        match &self.config.credentials {
            Some(Credentials::Password { user, password }) => request.basic_auth(user, password.as_deref()),
            Some(Credentials::Token(token)) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends until the server has answered; refusals are [`ClientError::Refused`].
    pub(crate) async fn send(
        &self,
        what: &str,
        make: impl Fn() -> reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, ClientError> {
        let mut wait = Duration::from_millis(200);
        for attempt in 1.. {
            let problem = match make().send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    let status = response.status();
                    let again = matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504);
                    let error = self.refusal(what, status, &response.text().await.unwrap_or_default());
                    if !again || attempt >= TRIES {
                        return Err(error);
                    }
                    error
                }
                Err(source) => {
                    let error = self.unreachable(source);
                    if attempt >= TRIES {
                        return Err(error);
                    }
                    error
                }
            };
            tracing::debug!("{what}: {problem}; trying again");
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        unreachable!("the last attempt returns")
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Value) -> Result<Value, ClientError> {
        let url = format!("{}{API}/{path}", self.base);
        let text = self
            .send(path, || self.request(method.clone(), &url).json(&body))
            .await?
            .text()
            .await
            .map_err(|source| self.unreachable(source))?;
        if text.is_empty() {
            Ok(json!({}))
        } else {
            serde_json::from_str(&text).map_err(|error| ClientError::Answer(error.to_string()))
        }
    }

    /// Posts a change of the registry. serin's server writes who and why into its ledger; MLflow's ignores both.
    pub(crate) async fn change(&self, path: &str, body: Value, change: &Change) -> Result<(), ClientError> {
        let url = format!("{}{API}/{path}", self.base);
        let [actor, reason] = [&change.actor, &change.reason].map(|text| encoded(text));
        let request = || {
            let mut request = self.request(Method::POST, &url).json(&body);
            if let Some((replica, epoch)) = &change.only_if.leader {
                request = request.header("serin-leader", format!("{replica} {epoch}"));
            }
            if let Some(version) = change.only_if.version {
                request = request.header("serin-replaces", version);
            }
            request.header("serin-actor", &actor).header("serin-reason", &reason)
        };
        self.send(path, request).await.map(drop)
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Result<Value, ClientError> {
        self.call(Method::POST, path, body).await
    }

    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, ClientError> {
        let url = format!("{}{API}/{path}", self.base);
        self.json(self.send(path, || self.request(Method::GET, &url).query(query)).await?).await
    }

    /// Posts JSON to a route of serin's own, `/v1/{path}`, which MLflow's server does not have.
    pub(crate) async fn post_own(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let url = format!("{}/v1/{path}", self.base);
        self.json(self.send(path, || self.request(Method::POST, &url).json(body)).await?).await
    }

    /// Gets the JSON of a route of serin's own, `/v1/{path}`.
    pub(crate) async fn get_own(&self, path: &str, query: &[(&str, String)]) -> Result<Value, ClientError> {
        let url = format!("{}/v1/{path}", self.base);
        self.json(self.send(path, || self.request(Method::GET, &url).query(query)).await?).await
    }
    /// The JSON of an answer.
    pub(crate) async fn json(&self, response: reqwest::Response) -> Result<Value, ClientError> {
        response.json().await.map_err(|source| self.unreachable(source))
    }

    pub(crate) fn unreachable(&self, source: reqwest::Error) -> ClientError {
        // The URL may hold a user and a password.
        ClientError::Unreachable { server: self.base.clone(), source: source.without_url() }
    }

    fn refusal(&self, what: &str, status: StatusCode, body: &str) -> ClientError {
        let json: Value = serde_json::from_str(body).unwrap_or_default();
        let code = match json["error_code"].as_str() {
            Some(code) => code.to_owned(),
            None if status == StatusCode::NOT_FOUND => "ENDPOINT_NOT_FOUND".to_owned(),
            None => status.to_string(),
        };
        let mut message = json["message"].as_str().map_or_else(|| body.chars().take(200).collect(), str::to_owned);
        if status == StatusCode::FORBIDDEN && message.contains("Host header") {
            message += " (start MLflow with --allowed-hosts naming this address)";
        }
        ClientError::Refused { what: what.to_owned(), server: self.base.clone(), code, message }
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned)
}

pub(crate) fn encoded(part: &str) -> String {
    percent_encoding::utf8_percent_encode(part, percent_encoding::NON_ALPHANUMERIC)
        .to_string()
        .replace("%2E", ".")
        .replace("%2D", "-")
        .replace("%5F", "_")
}
