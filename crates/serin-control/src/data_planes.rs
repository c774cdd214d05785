//! The scoring servers that this server knows of: it asks them what they do, and passes on what people say to them.

use crate::error::ControlError;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait for a server, so that one that does not answer does not keep a page from being shown.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time that rates are taken over, about, as far as somebody has looked.
const WINDOW: Duration = Duration::from_secs(60);

/// Addresses of scoring servers, such as `http://127.0.0.1:8000`.
#[derive(Debug, Clone, Default)]
pub struct DataPlanes(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    addresses: Mutex<Vec<String>>,
    key: Option<String>,
    client: reqwest::Client,
    samples: Mutex<VecDeque<(Instant, Traffic)>>,
    closing: AtomicBool,
}

/// Counters of all servers together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Traffic {
    pub(crate) requests: f64,
    pub(crate) errors: f64,
    pub(crate) alerts: f64,
    pub(crate) decisions: f64,
    /// Histogram of latency: upper bound in seconds, and number of requests that took no longer.
    pub(crate) buckets: Vec<(f64, f64)>,
}

/// Model version that some server has loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) sha256: String,
}

/// Counters of the servers over the last minute or so.
#[derive(Debug, Clone)]
pub(crate) struct Lately {
    pub(crate) traffic: Traffic,
    /// Time that the counters are over, seconds; `None` if they run from the servers' start.
    pub(crate) seconds: Option<f64>,
}

/// Scoring server that gave no answer; the text names its address and the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreachable(String);

impl DataPlanes {
    /// Servers at these addresses, with the API key that they ask for.
    #[must_use]
    pub fn new(addresses: Vec<String>, key: Option<String>) -> Self {
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().unwrap_or_default();
        Self(Arc::new(Known { addresses: Mutex::new(addresses), key, client, ..Known::default() }))
    }

    /// Adds the address of one more server.
    pub fn add(&self, address: String) {
        self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner).push(address);
    }

    /// Ends the streams that watch the servers, so that a server that stops need not wait for their readers.
    pub fn close(&self) {
        self.0.closing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.0.closing.load(Ordering::Relaxed)
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn asked(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.0.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    async fn get(&self, address: &str, path: &str) -> Result<reqwest::Response, Unreachable> {
        let url = format!("{}{path}", address.trim_end_matches('/'));
        let sent = self.asked(self.0.client.get(&url)).send().await;
        sent.map_err(|error| Unreachable(format!("{url} does not answer: {}", error.without_url())))
    }

    /// Answer of every server to a path, by address; an error where a server does not answer with success.
    async fn all(&self, path: &str) -> Vec<(String, Result<String, Unreachable>)> {
        let one = |address: String| async move {
            let read = async {
                let response = self.get(&address, path).await?;
                let status = response.status();
                let text = response.text().await.map_err(|error| Unreachable(error.without_url().to_string()))?;
                if status.is_success() {
                    Ok(text)
                } else {
                    Err(Unreachable(format!("{address}{path} answers {status}")))
                }
            };
            let read = read.await;
            (address, read)
        };
        futures_util::future::join_all(self.addresses().into_iter().map(one)).await
    }

    /// Rollout of a model as JSON, by the address of each server that releases it.
    pub(crate) async fn rollouts(&self, model: &str) -> Vec<(String, Value)> {
        let answers = self.all("/v1/rollout").await.into_iter();
        answers
            .filter_map(|(address, answer)| Some((address, serde_json::from_str::<Value>(&answer.ok()?).ok()?)))
            .filter(|(_, shown)| shown["model"] == model)
            .collect()
    }

    /// Says `promote`, `abort`, `pause` or `resume` to every server that releases the model.
    pub(crate) async fn control(&self, model: &str, action: &str, actor: &str) -> Result<(), ControlError> {
        let releasing = self.rollouts(model).await;
        if releasing.is_empty() {
            return Err(ControlError::invalid(format!("no scoring server that this server knows releases {model}")));
        }
        let (mut done, mut refused) = (false, Vec::new());
        for (address, _) in releasing {
            let url = format!("{}/v1/rollout/{action}", address.trim_end_matches('/'));
            let by = percent_encoding::utf8_percent_encode(actor, percent_encoding::NON_ALPHANUMERIC).to_string();
            let sent = self.asked(self.0.client.post(&url)).header("serin-actor", by).send().await;
            let response =
                sent.map_err(|error| ControlError::invalid(format!("{url} does not answer: {}", error.without_url())))?;
            let status = response.status();
            if status.is_success() {
                done = true;
            } else {
                // The first server leads, and the others follow it: they have nothing left to do.
                let answer: serde_json::Value = response.json().await.unwrap_or_default();
                let detail = answer["detail"].as_str().map_or_else(|| format!("{url} answers {status}"), str::to_owned);
                refused.push((status, detail));
            }
        }
        match refused.into_iter().find(|(status, _)| !done || *status != reqwest::StatusCode::CONFLICT) {
            Some((_, detail)) => Err(ControlError::invalid(detail)),
            None => Ok(()),
        }
    }

    /// Every server's counters and models, or why it says none.
    pub(crate) async fn metrics(&self) -> Vec<(String, Result<(Traffic, Vec<Loaded>), Unreachable>)> {
        let answers = self.all("/metrics").await.into_iter();
        answers.map(|(address, answer)| (address, answer.map(|text| read(&text)))).collect()
    }

    /// Counters of all servers since somebody looked about a minute ago, else since their start; `None` where no
    /// server answers.
    pub(crate) async fn lately(&self) -> Option<Lately> {
        let mut sum: Option<Traffic> = None;
        for (traffic, _) in self.metrics().await.into_iter().filter_map(|(_, found)| found.ok()) {
            sum = Some(sum.map_or_else(|| traffic.clone(), |sum| sum.with(&traffic, 1.0)));
        }
        let (sum, now) = (sum?, Instant::now());
        let mut samples = self.0.samples.lock().unwrap_or_else(PoisonError::into_inner);
        // A counter that went back is that of a server which began anew.
        if samples.back().is_some_and(|(_, last)| last.requests > sum.requests) {
            samples.clear();
        }
        while samples.get(1).is_some_and(|(at, _)| now - *at >= WINDOW) {
            samples.pop_front();
        }
        let before = samples.front().filter(|(at, _)| now - *at >= Duration::from_secs(1)).cloned();
        if samples.back().is_none_or(|(at, _)| now - *at >= Duration::from_secs(1)) {
            samples.push_back((now, sum.clone()));
        }
        Some(match before {
            Some((at, before)) if now - at < 10 * WINDOW => {
                Lately { traffic: sum.with(&before, -1.0), seconds: Some((now - at).as_secs_f64()) }
            }
            _ => Lately { traffic: sum, seconds: None },
        })
    }
}

impl Traffic {
    fn with(&self, other: &Self, sign: f64) -> Self {
        let buckets = self.buckets.iter().map(|(bound, below)| {
            let theirs = other.buckets.iter().find(|(of, _)| of == bound).map_or(0.0, |(_, below)| *below);
            (*bound, below + sign * theirs)
        });
        Self {
            requests: self.requests + sign * other.requests,
            errors: self.errors + sign * other.errors,
            alerts: self.alerts + sign * other.alerts,
            decisions: self.decisions + sign * other.decisions,
            buckets: buckets.collect(),
        }
    }

    /// Bounds in seconds between which a share of the requests' times lies; none without requests.
    pub(crate) fn quantile(&self, share: f64) -> Option<(f64, f64)> {
        let total = self.buckets.last().map(|(_, below)| *below).filter(|total| *total > 0.0)?;
        let place = self.buckets.iter().position(|(_, below)| *below >= share * total)?;
        let lower = if place == 0 { 0.0 } else { self.buckets[place - 1].0 };
        Some((lower, self.buckets[place].0))
    }
}

/// Prometheus text of a scoring server.
fn read(text: &str) -> (Traffic, Vec<Loaded>) {
    let (mut traffic, mut loaded) = (Traffic::default(), Vec::new());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let label = |wanted: &str| {
            let start = labels.find(&format!("{wanted}=\""))? + wanted.len() + 2;
            labels[start..].split('"').next().map(str::to_owned)
        };
        match name {
            "serin_http_requests_total" => {
                traffic.requests += value;
                if label("status").is_some_and(|status| status.starts_with('5')) {
                    traffic.errors += value;
                }
            }
            "serin_decisions_total" => {
                traffic.decisions += value;
                if label("action").as_deref() == Some("alert") {
                    traffic.alerts += value;
                }
            }
            "serin_http_request_seconds_bucket" => {
                let bound = label("le").map_or(f64::INFINITY, |le| le.parse().unwrap_or(f64::INFINITY));
                match traffic.buckets.iter_mut().find(|(known, _)| *known == bound) {
                    Some((_, below)) => *below += value,
                    None => traffic.buckets.push((bound, value)),
                }
            }
            "serin_model_info" => loaded.push(Loaded {
                name: label("name").unwrap_or_default(),
                version: label("version").unwrap_or_default(),
                sha256: label("sha256").unwrap_or_default(),
            }),
            _ => {}
        }
    }
    traffic.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    (traffic, loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_all_routes_are_added_up_and_times_bounded() {
        let text = "# HELP x y\nserin_http_requests_total{route=\"/predict\",status=\"200\"} 98\n\
             serin_http_requests_total{route=\"/predict\",status=\"503\"} 2\nserin_decisions_total{action=\"alert\"} 3\n\
             serin_decisions_total{action=\"pass\"} 95\nserin_http_request_seconds_bucket{route=\"/predict\",le=\"0.001\"} 90\n\
             serin_http_request_seconds_bucket{route=\"/predict\",le=\"+Inf\"} 100\n\
             serin_http_request_seconds_bucket{route=\"/predict\",le=\"0.005\"} 99\n\
             serin_model_info{name=\"fraud\",version=\"3\",sha256=\"ab\"} 1\n";
        let (traffic, loaded) = read(text);
        assert_eq!((traffic.requests, traffic.errors, traffic.alerts, traffic.decisions), (100.0, 2.0, 3.0, 98.0));
        assert_eq!(traffic.quantile(0.5), Some((0.0, 0.001)));
        assert_eq!(traffic.quantile(0.99), Some((0.001, 0.005)));
        assert_eq!((loaded[0].name.as_str(), loaded[0].version.as_str()), ("fraud", "3"));
        let later = traffic.with(&traffic, -1.0);
        assert_eq!((later.requests, later.quantile(0.99)), (0.0, None));
    }
}
