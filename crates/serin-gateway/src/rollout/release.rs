//! Thread of a data plane that releases versions: it judges, moves the split, and waits for nothing else.

use super::counting::{Counting, shadowed};
use super::errands::{Errands, checksum};
use super::shown::shown;
use super::split::{Rule, Split, Step, WHOLE, hashed};
use super::state_file::{StateFile, StateFileError, StateWriter};
use crate::models::ModelSlot;
use crate::registry::{Registrar, RegistryError};
use crate::shadow::Shadow;
use serin_analysis::rollout::canary::InvalidField;
use serin_analysis::rollout::canary::{AlertProvider, Canary, MetricTemplate};
use serin_analysis::rollout::delivery::{
    Arrival, Control, Delivery, Observed, OrderRefusal, RolloutState, Rules, Task,
};
use serin_analysis::rollout::{Extension, Matching, Phase, Unanswered};
use serin_models::LoadedModel;
use serin_tracking::ResolvedModel;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Longest wait between two ticks; harm that is proven is not left to the next look of the rollout.
const TICK: Duration = Duration::from_millis(200);
/// Longest wait for the answer to a command: the lead is claimed for it first.
const ANSWER: Duration = Duration::from_secs(20);
/// Longest wait, when the server stops, for the shadow to score what waits.
const DRAIN: Duration = Duration::from_secs(2);

/// Settings and parts that a release is started with.
pub struct Releasing {
    /// Rules of the rollout, as a Flagger canary.
    pub canary: Canary,
    /// Templates of the queries that the rules name.
    pub templates: Vec<MetricTemplate>,
    /// Receivers of the rollout's alerts.
    pub providers: Vec<AlertProvider>,
    /// Least time between two looks of the rollout, milliseconds.
    pub shortest_ms: i64,
    /// Slot of the live version.
    pub stable: Arc<ModelSlot>,
    /// Slot that candidates are loaded into.
    pub candidate: Arc<ModelSlot>,
    /// Scores all traffic with the candidate; its slot must be among its candidates.
    pub shadow: Arc<Shadow>,
    /// Registry that names the versions and is told of promotions.
    pub registrar: Arc<dyn Registrar>,
    /// File that the state of the rollout is kept in.
    pub file: PathBuf,
    /// Name of this machine and of the file's place on it: state that was copied elsewhere is another server's.
    pub place: String,
    /// Clock that returns the time now, epoch milliseconds.
    pub clock: fn() -> i64,
}

impl std::fmt::Debug for Releasing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Releasing").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Why a command was not obeyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    /// The rollout is not where the command could do something. Nothing has changed.
    #[error(transparent)]
    Conflict(#[from] OrderRefusal),
    /// The server has no live version yet.
    #[error("no version is live yet, so there is no rollout")]
    NoRollout,
    /// The rollout did not answer. Whether the command is obeyed is not known.
    #[error("the rollout does not answer; GET /v1/rollout shows where it is")]
    Unavailable,
}

/// Reason why a rollout's thread cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// A field of the canary has a value that it cannot have.
    #[error(transparent)]
    Rules(#[from] InvalidField),
    /// The state of the rollout cannot be kept.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// TLS of webhooks and queries cannot be set up.
    #[error(transparent)]
    Tls(#[from] reqwest::Error),
    /// The system gave no thread.
    #[error("no thread for the rollout: {0}")]
    Thread(std::io::Error),
}

/// What the thread of a rollout receives.
pub(crate) enum Message {
    Arrival(Arrival),
    Found(Result<Option<ResolvedModel>, RegistryError>),
    Command(Control, Option<String>, oneshot::Sender<Result<(), CommandError>>),
    /// The server is about to stop.
    Stop,
}

/// A release under way, as handlers see it.
#[derive(Debug, Clone)]
pub struct Release {
    messages: Sender<Message>,
    shown: Arc<Mutex<serde_json::Value>>,
    split: Arc<Split>,
    matching: Option<Arc<Matching>>,
    thread: Arc<Mutex<Option<std::thread::JoinHandle<()>>>>,
}

impl Release {
    /// Split in force, as the response path reads it; `None` while no version is released.
    pub(crate) fn step(&self) -> Option<Arc<Step>> {
        self.split.step()
    }

    /// Rule for the requests that an A/B rollout sends to its candidate; `None` in other rollouts.
    pub(crate) fn matching(&self) -> Option<&Matching> {
        self.matching.as_deref()
    }

    /// Starts the thread of a rollout, from the state in its file.
    ///
    /// # Errors
    /// When the annotations of the canary are wrong, the state cannot be kept, or the system has no thread or no TLS.
    pub fn start(mut releasing: Releasing) -> Result<Self, ReleaseError> {
        let extension = Extension::of(&releasing.canary)?;
        let matching = Matching::of(&releasing.canary.spec.analysis.matches)?.map(Arc::new);
        let file = StateFile::hold(&releasing.file)?;
        releasing.place = format!("{} {}", releasing.place, file.number);
        let saved = file.read((releasing.clock)())?;
        let saved = saved.map(|state| state.at(releasing.place.clone(), new_replica()));
        let (messages, received) = channel();
        let shown = Arc::new(Mutex::new(serde_json::Value::Null));
        let split = Arc::new(Split::default());
        if let Some(shadowed) = shadowed(&releasing) {
            shadowed.count_segments(&extension.segments);
        }
        let runtime = tokio::runtime::Handle::current();
        let thread = Thread {
            rules: Rules {
                model: releasing.stable.name().to_owned(),
                canary: releasing.canary.clone(),
                extension,
                shortest_ms: releasing.shortest_ms,
            },
            errands: Errands::new(runtime, messages.clone(), &releasing)?,
            writer: StateWriter::start(file).map_err(ReleaseError::Thread)?,
            saved,
            delivery: None,
            found: None,
            counting: Counting::default(),
            replies: HashMap::new(),
            commands: 0,
            split: Arc::clone(&split),
            shown: Arc::clone(&shown),
            releasing,
        };
        let thread = std::thread::Builder::new()
            .name("rollout".to_owned())
            .spawn(move || thread.run(&received))
            .map_err(ReleaseError::Thread)?;
        Ok(Self { messages, shown, split, matching, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Gives the rollout a person's command, and returns when it is obeyed.
    ///
    /// # Errors
    /// When the command could do nothing, or the rollout does not answer.
    pub(crate) async fn control(&self, control: Control, by: Option<String>) -> Result<(), CommandError> {
        let (reply, answer) = oneshot::channel();
        self.messages.send(Message::Command(control, by, reply)).map_err(|_| CommandError::Unavailable)?;
        match tokio::time::timeout(ANSWER, answer).await {
            Ok(Ok(outcome)) => outcome,
            _ => Err(CommandError::Unavailable),
        }
    }

    /// State of the rollout as JSON, `null` before the first look.
    pub(crate) fn shown(&self) -> serde_json::Value {
        lock(&self.shown).clone()
    }

    /// Counts what was still under way, writes the state, and ends the thread.
    pub fn stop(&self) {
        let _ = self.messages.send(Message::Stop);
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the rollout's thread has panicked");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn new_replica() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Version of a model, as text; empty without one.
pub(crate) fn version_of(model: &ResolvedModel) -> String {
    model.version.map_or_else(String::new, |version| version.to_string())
}

/// Rollout as its own thread holds it.
struct Thread {
    releasing: Releasing,
    rules: Rules,
    errands: Errands,
    writer: StateWriter,
    /// State of the file, until the first version is live.
    saved: Option<RolloutState>,
    delivery: Option<Delivery>,
    /// Model that the registry named as the candidate last.
    found: Option<ResolvedModel>,
    counting: Counting,
    replies: HashMap<u64, oneshot::Sender<Result<(), CommandError>>>,
    commands: u64,
    split: Arc<Split>,
    shown: Arc<Mutex<serde_json::Value>>,
}

impl Thread {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut stopping = false;
        while !stopping {
            let first = match messages.recv_timeout(TICK) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut arrivals = Vec::new();
            for message in first.into_iter().chain(messages.try_iter()) {
                match message {
                    Message::Stop => stopping = true,
                    other => arrivals.extend(self.arrival(other)),
                }
            }
            if stopping {
                self.releasing.shadow.drain(DRAIN);
            }
            self.tick(arrivals);
        }
        if let Some(delivery) = &self.delivery {
            self.writer.keep(delivery.state().clone());
        }
        self.writer.finish();
    }

    /// What a message brings to the rollout.
    fn arrival(&mut self, message: Message) -> Option<Arrival> {
        match message {
            Message::Arrival(arrival) => {
                match &arrival {
                    Arrival::Loaded(..) => self.counting.begin_shadow(&self.releasing),
                    Arrival::Shared(outcome) => {
                        let heard = self.delivery.as_ref().is_none_or(|delivery| delivery.others().1);
                        if let (true, Err(error)) = (heard, &**outcome) {
                            tracing::warn!("evidence of other servers is not heard, so this one's decides: {error}");
                        }
                    }
                    Arrival::Noted(_, Err(error)) => {
                        tracing::warn!("the registry has no note of the rollout's end yet: {error}");
                    }
                    _ => {}
                }
                Some(arrival)
            }
            Message::Found(found) => {
                let found = found.map_err(|error| {
                    tracing::warn!("the registry cannot be asked for a candidate: {error}");
                    Unanswered(error.to_string())
                });
                if let Ok(found) = &found {
                    self.found.clone_from(found);
                }
                Some(Arrival::Found(found.map(|found| found.as_ref().map(version_of))))
            }
            Message::Command(control, by, reply) => {
                if self.delivery.is_none() {
                    let _ = reply.send(Err(CommandError::NoRollout));
                    return None;
                }
                self.commands += 1;
                self.replies.insert(self.commands, reply);
                Some(Arrival::Command { id: self.commands, control, by })
            }
            Message::Stop => None,
        }
    }

    fn tick(&mut self, arrivals: Vec<Arrival>) {
        let now_ms = (self.releasing.clock)();
        let version = |model: Option<Arc<LoadedModel>>| model.map(|model| model.version.clone());
        let live = version(self.releasing.stable.live());
        if self.delivery.is_none() {
            let Some(live) = &live else { return };
            let place = self.releasing.place.clone();
            let state = self.saved.take().unwrap_or_else(|| RolloutState::begun(live, new_replica(), place, now_ms));
            self.delivery = Some(Delivery::new(self.rules.clone(), state));
        }
        let Some(mut delivery) = self.delivery.take() else { return };
        let (counted, latency) = self.counting.take(&self.releasing);
        let loaded = version(self.releasing.candidate.live());
        let attempt = delivery.state().began_ms;
        let tasks = delivery.tick(&Observed { now_ms, live, loaded, counted, latency }, arrivals);
        if delivery.state().began_ms != attempt {
            self.counting.begin_attempt();
        }
        // First of all, so that nothing which is to be done keeps traffic on a candidate that was stopped.
        self.route(&mut delivery);
        *lock(&self.shown) = shown(&delivery, &self.releasing);
        for task in tasks {
            self.begin(task, &delivery);
        }
        self.delivery = Some(delivery);
    }

    fn begin(&mut self, task: Task, delivery: &Delivery) {
        let releasing = &self.releasing;
        match task {
            Task::Find => self.errands.find(releasing),
            Task::Load(version) => match self.found.clone().filter(|found| version_of(found) == version) {
                Some(model) => self.errands.load(releasing, model, self.rules.extension.segments.clone()),
                None => tracing::error!("version {version} is to be loaded, but its files were not found"),
            },
            Task::Unload => releasing.candidate.rest(),
            Task::Share(evidence) => self.errands.share(releasing, *evidence),
            Task::Point(pointing, lease) => self.errands.point(releasing, pointing, lease),
            Task::Note(ending) => self.errands.note(releasing, ending),
            Task::Ask(look, question) => {
                self.errands.ask(self.checksum(delivery), look, question);
            }
            Task::Call(hooks, phase) => self.errands.call(hooks, phase, &self.checksum(delivery)),
            Task::Tell(version, event) => self.errands.tell(releasing, &version, &event),
            Task::Keep => self.writer.keep(delivery.state().clone()),
            Task::Reply(id, outcome) => {
                if let Some(reply) = self.replies.remove(&id) {
                    // Who asked may have gone.
                    let _ = reply.send(outcome.map_err(CommandError::Conflict));
                }
            }
        }
    }

    fn checksum(&self, delivery: &Delivery) -> String {
        let wanted = self.found.as_ref().map(version_of);
        let version = wanted.unwrap_or_else(|| delivery.state().rollout.last_promoted.clone());
        checksum(self.releasing.stable.name(), &version)
    }

    /// Sets what the response path reads.
    fn route(&mut self, delivery: &mut Delivery) {
        let rollout = &delivery.state().rollout;
        let moving = matches!(rollout.phase, Phase::Progressing | Phase::WaitingPromotion | Phase::Promoting);
        let weight = if moving { (rollout.route.candidate * (WHOLE / 100)).min(WHOLE) } else { 0 };
        let (stable, candidate) = (self.releasing.stable.live(), self.releasing.candidate.live());
        let (Some(stable), Some(candidate)) = (stable, candidate.filter(|_| weight > 0)) else {
            return self.split.set(None);
        };
        let by_match = rollout.route.matched;
        let same = |step: &Arc<Step>| {
            let rule = step.rule();
            (rule.weight, rule.by_match) == (weight, by_match)
                && Arc::ptr_eq(&step.stable, &stable)
                && Arc::ptr_eq(&step.candidate, &candidate)
        };
        if self.split.step().as_ref().is_some_and(same) {
            return;
        }
        let extension = &self.rules.extension;
        let counted = Arc::clone(&self.counting.counted);
        let salt = salt(self.releasing.stable.name(), delivery.state());
        let rule =
            Rule { weight, by_match, salt, slow_ms: extension.slow_ms.clone(), sticky: extension.sticky, counted };
        match Step::new(stable, candidate, rule) {
            Ok(step) => {
                let step = Arc::new(step);
                self.counting.add(Arc::clone(&step));
                self.split.set(Some(step));
            }
            Err(reason) => {
                self.split.set(None);
                let version = delivery.state().rollout.last_applied.clone();
                delivery.refuse(&version, &reason.to_string());
                self.releasing.candidate.rest();
            }
        }
    }
}

/// Salt of the split's draw: the same on every server, so that who is sent to another one keeps his arm, and another
/// one for every attempt, so that nobody is the candidate's for ever.
fn salt(model: &str, state: &RolloutState) -> u64 {
    hashed([model, &state.attempt()].iter().fold(Sha256::new(), |sum, name| sum.chain_update(name).chain_update([0])))
}
