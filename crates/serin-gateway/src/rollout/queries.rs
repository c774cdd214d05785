//! Questions of a rollout to webhooks and to Prometheus.

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use serin_analysis::rollout::canary::{Canary, Metric, MetricTemplate, Webhook};
use serin_analysis::rollout::{GoDuration, Measured, Phase, Unanswered, is_yes};
use serin_http::with_causes;
use std::time::Duration;

/// Longest wait for a webhook that names none itself: Flagger's default, 10 s.
const HOOK_TIMEOUT: GoDuration = GoDuration::from_milliseconds(10_000);
/// Longest wait for Prometheus, and for a chat.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Most times that a webhook is called again, whatever it asks for.
const RETRIES: u32 = 10;

/// HTTP clients; the second does not check certificates.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    pub(crate) checking: Client,
    trusting: Client,
}

/// Reason why Prometheus gave no value of a metric. None holds an address beyond its host.
#[derive(Debug, thiserror::Error)]
enum QueryError {
    #[error("no address of a Prometheus: neither the template nor metricsServer has one")]
    NoAddress,
    #[error("no query")]
    NoQuery,
    #[error("the query has a {{{{ without its }}}}")]
    Unclosed,
    #[error("the query calls {0:?}, which is nothing")]
    UnknownFunction(String),
    #[error("no variable {0:?}")]
    UnknownVariable(String),
    #[error("{host}: {reason}")]
    Unreachable { host: String, reason: String },
    #[error("{host} answers {status}")]
    Status { host: String, status: StatusCode },
    #[error("{host} answers a {kind}; a vector or a scalar is read")]
    ResultType { host: String, kind: String },
}

impl Clients {
    /// Makes both clients, with no connection open yet.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub(crate) fn new() -> reqwest::Result<Self> {
        let client = |trusting| Client::builder().tls_danger_accept_invalid_certs(trusting).build();
        Ok(Self { checking: client(false)?, trusting: client(true)? })
    }

    /// Calls a webhook until it says yes or has no tries left. Returns the HTTP status, or why there is none.
    pub(crate) async fn call(
        &self,
        hook: &Webhook,
        canary: &Canary,
        checksum: &str,
        phase: Phase,
    ) -> Result<u16, Unanswered> {
        let metadata = &canary.metadata;
        let body = json!({
            "name": metadata.name, "namespace": metadata.namespace.clone().unwrap_or_default(), "phase": phase,
            "checksum": checksum, "metadata": hook.metadata,
        });
        let client = if hook.disable_tls { &self.trusting } else { &self.checking };
        let timeout = hook.timeout.unwrap_or(HOOK_TIMEOUT).milliseconds().max(1).unsigned_abs();
        let mut answer = Err(Unanswered("it was not called".to_owned()));
        for _ in 0..=hook.retries.min(RETRIES) {
            let request = client.request(Method::POST, &hook.url).json(&body).timeout(Duration::from_millis(timeout));
            // The address may hold a token: it goes into no history and no log.
            let sent = request.send().await.map_err(|error| Unanswered(with_causes(&error.without_url())));
            answer = sent.map(|response| response.status().as_u16());
            if is_yes(&answer) {
                break;
            }
        }
        answer
    }

    /// Asks Prometheus for a metric.
    pub(crate) async fn measure(&self, metric: &Metric, canary: &Canary, templates: &[MetricTemplate]) -> Measured {
        match self.ask_prometheus(metric, canary, templates).await {
            Ok(Some(value)) => Measured::Value(value),
            Ok(None) => Measured::NoData,
            Err(error) => Measured::Failed(error.to_string()),
        }
    }

    async fn ask_prometheus(
        &self,
        metric: &Metric,
        canary: &Canary,
        templates: &[MetricTemplate],
    ) -> Result<Option<f64>, QueryError> {
        let (address, query) = query(metric, canary, templates)?;
        let url = format!("{}/api/v1/query", address.trim_end_matches('/'));
        let host = url.split('/').nth(2).unwrap_or_default().rsplit('@').next().unwrap_or_default().to_owned();
        let request = self.checking.get(&url).query(&[("query", query.as_str())]).timeout(QUERY_TIMEOUT);
        let failed = |error: reqwest::Error| QueryError::Unreachable {
            host: host.clone(),
            reason: with_causes(&error.without_url()),
        };
        let response = request.send().await.map_err(failed)?;
        if response.status().as_u16() >= 400 {
            return Err(QueryError::Status { host, status: response.status() });
        }
        let answer: Value = response.json().await.map_err(failed)?;
        let result = &answer["data"]["result"];
        let number = |value: &Value| value.as_str().and_then(|text| text.parse::<f64>().ok());
        match answer["data"]["resultType"].as_str() {
            Some("vector") => {
                Ok(result.as_array().and_then(|samples| samples.last()).and_then(|last| number(&last["value"][1])))
            }
            Some("scalar") => Ok(number(&result[1])),
            other => Err(QueryError::ResultType { host, kind: other.unwrap_or("thing without a type").to_owned() }),
        }
    }
}

/// Longest time that the calls of a webhook may take, milliseconds.
pub(crate) fn longest_ms(hook: &Webhook) -> u64 {
    let timeout = hook.timeout.unwrap_or(HOOK_TIMEOUT).milliseconds().max(1).unsigned_abs();
    timeout.saturating_mul(u64::from(hook.retries.min(RETRIES)) + 1)
}

/// Address of the Prometheus and PromQL of a metric, with the template's functions replaced.
fn query(metric: &Metric, canary: &Canary, templates: &[MetricTemplate]) -> Result<(String, String), QueryError> {
    let template = metric
        .template_ref
        .as_ref()
        .and_then(|reference| templates.iter().find(|template| template.metadata.name == reference.name));
    let address = template.and_then(|template| template.spec.provider.address.clone());
    let address = address.or_else(|| canary.spec.metrics_server.clone());
    let address = address.ok_or(QueryError::NoAddress)?;
    let text = template.map(|template| &template.spec.query).or(metric.query.as_ref()).ok_or(QueryError::NoQuery)?;
    let (mut query, mut rest) = (String::new(), text.as_str());
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or(QueryError::Unclosed)?;
        query.push_str(before);
        query.push_str(&variable(name.trim(), metric, canary)?);
        rest = after;
    }
    query.push_str(rest);
    Ok((address, query.split_whitespace().collect::<Vec<_>>().join(" ")))
}

/// Value of a function of a metric template.
fn variable(name: &str, metric: &Metric, canary: &Canary) -> Result<String, QueryError> {
    let metadata = &canary.metadata;
    Ok(match name {
        "name" => metadata.name.clone(),
        "namespace" => metadata.namespace.clone().unwrap_or_default(),
        "target" | "service" => canary.spec.target_ref.name.clone(),
        "ingress" => canary.spec.ingress_ref.as_ref().map_or_else(String::new, |found| found.name.clone()),
        "route" => canary.spec.route_ref.as_ref().map_or_else(String::new, |found| found.name.clone()),
        "interval" => {
            metric.interval.map_or_else(String::new, |interval| format!("{}s", interval.milliseconds() / 1000))
        }
        other => {
            let name = other.strip_prefix("variables.");
            let name = name.ok_or_else(|| QueryError::UnknownFunction(other.to_owned()))?;
            let value = metric.template_variables.get(name).cloned();
            value.ok_or_else(|| QueryError::UnknownVariable(name.to_owned()))?
        }
    })
}
