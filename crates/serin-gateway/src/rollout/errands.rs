//! Tasks of a rollout, run beside the thread that judges. Each has a deadline, and its result comes back.

use super::messages;
use super::queries::{Clients, QUERY_TIMEOUT, longest_ms};
use super::release::{Message, Releasing, version_of};
use crate::registry::RegistryError;
use serin_analysis::evidence::sharing::{Lease, SharedEvidence};
use serin_analysis::rollout::canary::{Canary, MetricTemplate, Webhook};
use serin_analysis::rollout::delivery::Ending;
use serin_analysis::rollout::delivery::{Arrival, Loading, Pointing, Refusal};
use serin_analysis::rollout::{Answer, Event, Measured, Phase, Question, Unanswered};
use serin_http::with_causes;
use serin_models::{LoadError, LoadedModel};
use serin_scoring::sha256_hex;
use serin_tracking::ResolvedModel;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;
use tokio::runtime::Handle;

/// Longest wait for the registry's word on the candidate, its download included.
const FIND_TIMEOUT: Duration = Duration::from_mins(10);
/// Longest wait for the other servers' evidence: a look waits for it.
const SHARE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a change in the registry.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time beyond the timeouts of a question's own requests.
const SLACK: Duration = Duration::from_secs(1);

/// Runs tasks, and sends their results to the thread that judges.
#[derive(Debug)]
pub(crate) struct Errands {
    runtime: Handle,
    results: Sender<Message>,
    clients: Clients,
    canary: Arc<Canary>,
    templates: Arc<[MetricTemplate]>,
    calls: tokio::sync::mpsc::UnboundedSender<(Webhook, Phase, String)>,
}

impl Errands {
    /// Makes the clients and the queue of calls that nobody waits for.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub(crate) fn new(runtime: Handle, results: Sender<Message>, releasing: &Releasing) -> reqwest::Result<Self> {
        let canary = Arc::new(releasing.canary.clone());
        let templates = releasing.templates.clone().into();
        let clients = Clients::new()?;
        let (calls, mut received) = tokio::sync::mpsc::unbounded_channel::<(Webhook, Phase, String)>();
        let (calling, rules) = (clients.clone(), Arc::clone(&canary));
        // In order, one after the other.
        runtime.spawn(async move {
            while let Some((hook, phase, checksum)) = received.recv().await {
                if let Err(error) = calling.call(&hook, &rules, &checksum, phase).await {
                    tracing::warn!("the webhook {} was not reached: {error}", hook.name);
                }
            }
        });
        Ok(Self { runtime, results, clients, canary, templates, calls })
    }

    /// Runs a task until its deadline. One that is late, or panics, has failed.
    fn run(
        &self,
        within: Duration,
        task: impl Future<Output = Message> + Send + 'static,
        failed: impl FnOnce(Unanswered) -> Message + Send + 'static,
    ) {
        let results = self.results.clone();
        let running = self.runtime.spawn(async move { tokio::time::timeout(within, task).await });
        self.runtime.spawn(async move {
            let message = match running.await {
                Ok(Ok(message)) => message,
                Ok(Err(_)) => failed(Unanswered(format!("no answer within {} s", within.as_secs()))),
                Err(error) => failed(Unanswered(error.to_string())),
            };
            // The thread ends only with the server.
            let _ = results.send(message);
        });
    }

    pub(crate) fn find(&self, releasing: &Releasing) {
        let registrar = Arc::clone(&releasing.registrar);
        let task = async move { Message::Found(registrar.candidate().await) };
        self.run(FIND_TIMEOUT, task, |error| Message::Found(Err(RegistryError::Unavailable(error.to_string()))));
    }

    pub(crate) fn load(&self, releasing: &Releasing, model: ResolvedModel, segments: Vec<String>) {
        let registrar = Arc::clone(&releasing.registrar);
        let (slot, stable, clock) = (Arc::clone(&releasing.candidate), Arc::clone(&releasing.stable), releasing.clock);
        let version = version_of(&model);
        let failed = version.clone();
        let task = async move {
            let loading = tokio::task::spawn_blocking(move || {
                let loaded = slot.switch_to(&model, clock());
                // A copy that broke on its way is not kept, so that another attempt fetches it anew.
                if loaded.as_ref().is_err_and(|error| !error.is_passing()) {
                    registrar.forget(&model);
                }
                outcome(loaded, stable.live().as_deref(), &segments)
            });
            let outcome = loading.await.unwrap_or_else(|error| Loading::Failed(error.to_string()));
            Message::Arrival(Arrival::Loaded(version, outcome))
        };
        let failed =
            move |error: Unanswered| Message::Arrival(Arrival::Loaded(failed, Loading::Failed(error.to_string())));
        self.run(FIND_TIMEOUT, task, failed);
    }

    pub(crate) fn share(&self, releasing: &Releasing, evidence: SharedEvidence) {
        let registrar = Arc::clone(&releasing.registrar);
        let shared = |outcome| Message::Arrival(Arrival::Shared(Box::new(outcome)));
        let task =
            async move { shared(registrar.share(evidence).await.map_err(|error| Unanswered(error.to_string()))) };
        self.run(SHARE_TIMEOUT, task, move |error| shared(Err(error)));
    }

    pub(crate) fn point(&self, releasing: &Releasing, pointing: Pointing, lease: Option<Lease>) {
        let registrar = Arc::clone(&releasing.registrar);
        let failed = pointing.clone();
        let task = async move {
            let outcome = match pointing.to.parse() {
                Ok(version) => {
                    let from = pointing.from.as_ref().and_then(|from| from.parse().ok());
                    registrar.point(version, from, lease, pointing.reason.clone()).await
                }
                Err(_) => {
                    Err(RegistryError::NotFound(format!("{:?} is no version of a registered model", pointing.to)))
                }
            };
            let outcome = outcome.map_err(|error| {
                tracing::warn!("version {} cannot be made live: {error}", pointing.to);
                match error {
                    RegistryError::NotLeading(reason) => Refusal::NotLeading(reason),
                    RegistryError::Moved(reason) => Refusal::Moved(reason),
                    error => Refusal::Unavailable(error.to_string()),
                }
            });
            Message::Arrival(Arrival::Pointed(pointing, outcome))
        };
        let failed = move |error: Unanswered| {
            Message::Arrival(Arrival::Pointed(failed, Err(Refusal::Unavailable(error.to_string()))))
        };
        self.run(CHANGE_TIMEOUT, task, failed);
    }

    pub(crate) fn note(&self, releasing: &Releasing, ending: Ending) {
        let registrar = Arc::clone(&releasing.registrar);
        let failed = ending.clone();
        let task = async move {
            let phase = if ending.succeeded { "succeeded" } else { "failed" };
            let outcome = match ending.version.parse() {
                Ok(version) => match registrar.note(version, phase, ending.reason.clone()).await {
                    // A version that was deleted needs no note.
                    Err(RegistryError::NotFound(_)) => Ok(()),
                    outcome => outcome.map_err(|error| Unanswered(error.to_string())),
                },
                // A model without versions has no place for a note.
                Err(_) => Ok(()),
            };
            Message::Arrival(Arrival::Noted(ending, outcome))
        };
        self.run(CHANGE_TIMEOUT, task, move |error| Message::Arrival(Arrival::Noted(failed, Err(error))));
    }

    pub(crate) fn ask(&self, checksum: String, look: u64, question: Question) {
        let (clients, canary) = (self.clients.clone(), Arc::clone(&self.canary));
        let templates = Arc::clone(&self.templates);
        let within = match &question {
            Question::Hook(hook, _) => Duration::from_millis(longest_ms(hook)),
            Question::Measurement(_) => QUERY_TIMEOUT,
        };
        let asked = question.clone();
        let task = async move {
            let answer = match &question {
                Question::Hook(hook, phase) => Answer::Hook(clients.call(hook, &canary, &checksum, *phase).await),
                Question::Measurement(metric) => {
                    Answer::Measurement(clients.measure(metric, &canary, &templates).await)
                }
            };
            Message::Arrival(Arrival::Answered(look, question, answer))
        };
        let failed = move |error: Unanswered| {
            let answer = match &asked {
                Question::Hook(..) => Answer::Hook(Err(error)),
                Question::Measurement(_) => Answer::Measurement(Measured::Failed(error.to_string())),
            };
            Message::Arrival(Arrival::Answered(look, asked, answer))
        };
        self.run(within + SLACK, task, failed);
    }

    /// Calls webhooks in order. Nobody waits for what they answer.
    pub(crate) fn call(&self, hooks: Vec<Webhook>, phase: Phase, checksum: &str) {
        for hook in hooks {
            // The queue ends with the server.
            let _ = self.calls.send((hook, phase, checksum.to_owned()));
        }
    }

    /// Tells the receivers of an event. A message that is lost is still in the history.
    pub(crate) fn tell(&self, releasing: &Releasing, version: &str, event: &Event) {
        tracing::info!(version, "rollout: {}", event.message);
        for alert in &releasing.canary.spec.analysis.alerts {
            if event.severity < alert.severity {
                continue;
            }
            let provider =
                releasing.providers.iter().find(|provider| provider.metadata.name == alert.provider_ref.name);
            let Some((address, body)) = provider.and_then(|provider| {
                let name = releasing.stable.name();
                let message = messages::message(provider.spec.kind, &provider.spec, name, version, event);
                Some((provider.spec.address.clone()?, message))
            }) else {
                continue;
            };
            let request = self.clients.checking.post(&address).json(&body).timeout(QUERY_TIMEOUT);
            let provider = alert.provider_ref.name.clone();
            self.runtime.spawn(async move {
                if let Err(error) = request.send().await.and_then(reqwest::Response::error_for_status) {
                    // The address of a chat is a secret.
                    tracing::warn!("{provider} was not told: {}", with_causes(&error.without_url()));
                }
            });
        }
    }
}

/// Identifies a revision to webhooks, whatever the process.
pub(crate) fn checksum(model: &str, version: &str) -> String {
    sha256_hex(format!("{model} {version}").as_bytes())[..16].to_owned()
}

fn outcome(loaded: Result<Arc<LoadedModel>, LoadError>, stable: Option<&LoadedModel>, segments: &[String]) -> Loading {
    match loaded {
        Ok(loaded) => {
            tracing::info!(version = loaded.version, "candidate loaded");
            let known = |name: &&String| stable.is_none_or(|stable| stable.package.signature.position(name).is_some());
            Loading::Ready(segments.iter().filter(|name| !known(name)).cloned().collect())
        }
        Err(error) if error.is_passing() => Loading::Failed(error.to_string()),
        Err(error) => Loading::Refused(error.to_string()),
    }
}
