//! Answers to what the rollout's engine asks for: models, webhooks, measurements, evidence, messages.

use super::messages;
use super::release::{Task, version_of};
use super::split::BOUNDS_MS;
use super::state::Saved;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use serin_analysis::rollout::canary::{EVIDENCE, Metric, Webhook};
use serin_analysis::rollout::{Event, GoDuration, Judgement, Measured, OnHold, Phase, Readiness, World, is_yes};
use serin_scoring::sha256_hex;
use std::time::Duration;
use tokio::runtime::Handle;

/// Longest wait for a webhook that names none itself: Flagger's default, 10 s.
const HOOK_TIMEOUT: GoDuration = GoDuration::from_milliseconds(10_000);
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Seconds without a ready candidate before the rollout is given up.
const PROGRESS_DEADLINE: u32 = 600;

/// HTTP clients; the second does not check certificates.
pub(crate) struct Clients {
    checking: Client,
    trusting: Client,
}

impl Clients {
    pub(crate) fn new() -> Result<Self, String> {
        let client = |trusting| {
            let builder = Client::builder().tls_danger_accept_invalid_certs(trusting);
            builder.build().map_err(|error| error.to_string())
        };
        Ok(Self { checking: client(false)?, trusting: client(true)? })
    }
}

/// A task while it looks.
pub(crate) struct Asked<'a> {
    pub(crate) task: &'a mut Task,
    pub(crate) saved: &'a mut Saved,
    pub(crate) runtime: &'a Handle,
}

impl Asked<'_> {
    fn now_ms(&self) -> i64 {
        (self.task.releasing.clock)()
    }

    /// Identifies the revision to webhooks, whatever the process.
    fn checksum(&self) -> String {
        let revision = format!("{} {}", self.task.releasing.stable.name(), self.wanted());
        sha256_hex(revision.as_bytes())[..16].to_owned()
    }

    fn wanted(&self) -> String {
        self.task.wanted.as_ref().map_or_else(|| self.saved.rollout.last_promoted.clone(), version_of)
    }

    /// PromQL of a metric, with the template's functions replaced.
    fn query(&self, metric: &Metric) -> Result<(String, String), String> {
        let releasing = &self.task.releasing;
        let template = metric
            .template_ref
            .as_ref()
            .and_then(|reference| releasing.templates.iter().find(|template| template.metadata.name == reference.name));
        let address = template.and_then(|template| template.spec.provider.address.clone());
        let address = address.or_else(|| releasing.canary.spec.metrics_server.clone());
        let address = address.ok_or("no address of a Prometheus: neither the template nor metricsServer has one")?;
        let text = template.map(|template| &template.spec.query).or(metric.query.as_ref()).ok_or("no query")?;
        let metadata = &releasing.canary.metadata;
        let interval =
            metric.interval.map_or_else(String::new, |interval| format!("{}s", interval.milliseconds() / 1000));
        let value = |name: &str| -> Result<String, String> {
            Ok(match name {
                "name" => metadata.name.clone(),
                "namespace" => metadata.namespace.clone().unwrap_or_default(),
                "target" | "service" => releasing.canary.spec.target_ref.name.clone(),
                "ingress" => {
                    releasing.canary.spec.ingress_ref.as_ref().map_or_else(String::new, |found| found.name.clone())
                }
                "route" => {
                    releasing.canary.spec.route_ref.as_ref().map_or_else(String::new, |found| found.name.clone())
                }
                "interval" => interval.clone(),
                other => {
                    let name = other
                        .strip_prefix("variables.")
                        .ok_or_else(|| format!("the query calls {other:?}, which is nothing"))?;
                    metric.template_variables.get(name).cloned().ok_or_else(|| format!("no variable {name:?}"))?
                }
            })
        };
        let (mut query, mut rest) = (String::new(), text.as_str());
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").ok_or("the query has a {{ without its }}")?;
            query.push_str(before);
            query.push_str(&value(name.trim())?);
            rest = after;
        }
        query.push_str(rest);
        Ok((address, query.split_whitespace().collect::<Vec<_>>().join(" ")))
    }

    fn ask_prometheus(&self, metric: &Metric) -> Result<Option<f64>, String> {
        let (address, query) = self.query(metric)?;
        let url = format!("{}/api/v1/query", address.trim_end_matches('/'));
        let request = self.task.clients.checking.get(&url).query(&[("query", query.as_str())]).timeout(QUERY_TIMEOUT);
        let answer: Value = self.runtime.block_on(async {
            let response = request.send().await.map_err(|error| error.to_string())?;
            if response.status().as_u16() >= 400 {
                return Err(format!("{url} answers {}", response.status()));
            }
            response.json().await.map_err(|error| error.to_string())
        })?;
        let result = &answer["data"]["result"];
        let number = |value: &Value| value.as_str().and_then(|text| text.parse::<f64>().ok());
        match answer["data"]["resultType"].as_str() {
            Some("vector") => {
                Ok(result.as_array().and_then(|samples| samples.last()).and_then(|last| number(&last["value"][1])))
            }
            Some("scalar") => Ok(number(&result[1])),
            other => Err(format!(
                "{url} answers a {}; a vector or a scalar is read",
                other.unwrap_or("thing without a type")
            )),
        }
    }

    /// The built-in metrics, from this server's own counters since the last look: percent, or milliseconds.
    fn built_in(&mut self, metric: &Metric) -> Measured {
        if metric.name == "request-duration" {
            let latency = std::mem::take(&mut self.task.latency);
            let all: u64 = latency.iter().sum();
            // The bound below which 99 of 100 answers lie.
            let mut below = 0;
            for (count, bound) in latency.iter().zip(BOUNDS_MS.iter().chain([&f64::INFINITY])) {
                below += count;
                if all > 0 && below * 100 >= all * 99 {
                    return Measured::Value(*bound);
                }
            }
            return Measured::NoData;
        }
        let counts = &self.saved.counts;
        let (requests, errors) = (counts.exposed(), counts.errors.events().candidate);
        let before = self.task.measured;
        self.task.measured = serin_analysis::evidence::allocation::Events { candidate: requests, stable: errors };
        let requests = requests.saturating_sub(before.candidate);
        let errors = errors.saturating_sub(before.stable);
        if requests == 0 { Measured::NoData } else { Measured::Value(100.0 * (1.0 - errors as f64 / requests as f64)) }
    }
}

impl World for Asked<'_> {
    fn revision(&mut self) -> String {
        // A registry that was never heard, as after a start while it is away, changes nothing.
        if self.task.has_asked { self.wanted() } else { self.saved.rollout.last_applied.clone() }
    }

    fn stable(&mut self) -> Readiness {
        let live = self.task.releasing.stable.live();
        let promoted = matches!(self.saved.rollout.phase, Phase::Promoting | Phase::Finalising);
        match live {
            // The server follows the registry; it is promoted when the new version answers.
            Some(live) if promoted && live.version != self.saved.rollout.last_applied => Readiness::NotYet,
            Some(_) => Readiness::Ready,
            None => Readiness::NotYet,
        }
    }

    fn candidate(&mut self) -> Readiness {
        let version = &self.saved.rollout.last_applied;
        if self.task.refused.as_ref().is_some_and(|(refused, _)| refused == version) {
            return Readiness::Never;
        }
        if self.task.releasing.candidate.live().is_some_and(|loaded| loaded.version == *version) {
            return Readiness::Ready;
        }
        let deadline = self.task.releasing.canary.spec.progress_deadline_seconds.unwrap_or(PROGRESS_DEADLINE);
        let over = self.now_ms() - self.saved.began_ms > i64::from(deadline) * 1000;
        if over { Readiness::Never } else { Readiness::NotYet }
    }

    fn shadowed(&mut self) -> bool {
        let extension = &self.task.extension;
        let waited = |since| self.now_ms() - since >= extension.min_shadow_ms;
        self.saved.shadow_since_ms.is_some_and(waited)
            && self.task.counts(self.saved).paired.requests() >= extension.min_shadow_requests
    }

    fn call(&mut self, hook: &Webhook, phase: Phase) -> Result<u16, String> {
        let metadata = &self.task.releasing.canary.metadata;
        let body = json!({
            "name": metadata.name, "namespace": metadata.namespace.clone().unwrap_or_default(), "phase": phase,
            "checksum": self.checksum(), "metadata": hook.metadata,
        });
        let client = if hook.disable_tls { &self.task.clients.trusting } else { &self.task.clients.checking };
        let timeout = hook.timeout.unwrap_or(HOOK_TIMEOUT).milliseconds().max(1).unsigned_abs();
        let mut answer = Err("it was not called".to_owned());
        for _ in 0..=hook.retries.min(10) {
            let request = client.request(Method::POST, &hook.url).json(&body).timeout(Duration::from_millis(timeout));
            answer = self.runtime.block_on(async {
                request.send().await.map(|response| response.status().as_u16()).map_err(|error| error.to_string())
            });
            if is_yes(&answer) {
                break;
            }
        }
        answer
    }

    fn measure(&mut self, metric: &Metric) -> Measured {
        if metric.template_ref.as_ref().is_some_and(|reference| reference.name == EVIDENCE) {
            let verdict = self.task.judge(self.saved);
            return Measured::Value((verdict.ln_e + self.task.extension.limits.alpha.ln()).exp());
        }
        let built_in = matches!(metric.name.as_str(), "request-success-rate" | "request-duration");
        if built_in && metric.template_ref.is_none() && metric.query.is_none() {
            return self.built_in(metric);
        }
        match self.ask_prometheus(metric) {
            Ok(Some(value)) => Measured::Value(value),
            Ok(None) => Measured::NoData,
            Err(error) => Measured::Failed(error),
        }
    }

    fn evidence(&mut self) -> Judgement {
        if !self.task.extension.evidence {
            return Judgement::Pass;
        }
        let judgement = self.task.judge(self.saved).judgement;
        let held = self.saved.hold_since_ms.map_or(0, |since| self.now_ms() - since);
        match (&judgement, self.task.extension.max_hold_ms) {
            (Judgement::Hold(reason), Some(most)) if held >= most => match self.task.extension.on_hold {
                OnHold::Rollback => Judgement::Fail(format!("no proof within {} s: {reason}", most / 1000)),
                OnHold::Promote => Judgement::Pass,
                OnHold::Wait => judgement,
            },
            _ => judgement,
        }
    }

    fn withdraw(&mut self) {
        self.task.split.set(None);
    }

    fn promote(&mut self) {
        // The registry is written by the task, again and again until it takes it.
        self.saved.promoted = None;
    }

    fn tell(&mut self, event: Event) {
        // The same at every look is news once.
        if self.saved.history.last().is_some_and(|last| last.message == event.message) {
            return;
        }
        let version = self.wanted();
        tracing::info!(version, "rollout: {}", event.message);
        for alert in &self.task.releasing.canary.spec.analysis.alerts {
            if event.severity < alert.severity {
                continue;
            }
            let provider =
                self.task.releasing.providers.iter().find(|provider| provider.metadata.name == alert.provider_ref.name);
            let Some((address, body)) = provider.and_then(|provider| {
                let message = messages::message(
                    provider.spec.kind,
                    &provider.spec,
                    self.task.releasing.stable.name(),
                    &version,
                    &event,
                );
                Some((provider.spec.address.clone()?, message))
            }) else {
                continue;
            };
            let request = self.task.clients.checking.post(&address).json(&body).timeout(QUERY_TIMEOUT);
            // Nobody waits for it; a message that is lost is still in the history.
            self.runtime.spawn(async move {
                if let Err(error) = request.send().await.and_then(reqwest::Response::error_for_status) {
                    tracing::warn!("an alert was not taken: {error}");
                }
            });
        }
        let at_ms = self.now_ms();
        self.saved.remember(at_ms, event.severity, event.message);
    }
}
