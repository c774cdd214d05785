//! The task of a data plane that releases versions: looks, moves the split, keeps its state.
//!
//! Everything that outlives the process is in one file, written whole after every look; what was counted since is lost
//! with the process, and nothing else.

use super::sharing::{SPEAK_MS, in_time};
use super::split::{BOUNDS_MS, Counted, Rule, Split, Step, WHOLE, hashed};
use super::state::Saved;
use super::world::{Asked, Clients};
use crate::models::ModelSlot;
use crate::registry::{Registrar, RegistryError};
use crate::shadow::Shadow;
use serin_analysis::evidence::allocation::Events;
use serin_analysis::evidence::paired::Paired;
use serin_analysis::evidence::sharing::OthersEvidence;
use serin_analysis::evidence::{Counts, Verdict, judge};
use serin_analysis::rollout::canary::{AlertProvider, Canary, MetricTemplate, Severity};
use serin_analysis::rollout::{self, Extension, Judgement, Matching, Phase, Rollout};
use serin_tracking::ResolvedModel;
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Longest wait between two looks at the evidence; harm that is proven is not left to the next look of the rollout.
const LOOK: Duration = Duration::from_millis(200);

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
    /// Clock that returns the time now, epoch milliseconds.
    pub clock: fn() -> i64,
}

impl std::fmt::Debug for Releasing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Releasing").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Command that a person gives to a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Promotes the candidate, whatever gates and evidence say.
    Promote,
    /// Rolls back to the stable version.
    Abort,
    /// Keeps the weight as it is until resumed.
    Pause,
    /// Goes on after a pause.
    Resume,
}

/// Command, and the name of the person who gave it where that is known.
type Command = (Control, Option<String>);

/// A release under way, as handlers see it.
#[derive(Debug, Clone)]
pub struct Release {
    commands: mpsc::UnboundedSender<Command>,
    shown: Arc<Mutex<serde_json::Value>>,
    split: Arc<Split>,
    matching: Option<Arc<Matching>>,
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

    /// Starts the task.
    ///
    /// # Errors
    /// When the file of the state is not what it should be, or the annotations of the canary are not.
    pub fn start(releasing: Releasing) -> Result<Self, String> {
        let extension = Extension::of(&releasing.canary)?;
        let matching = Matching::of(&releasing.canary.spec.analysis.matches)?.map(Arc::new);
        let saved = Saved::read(&releasing.file)?;
        let (commands, received) = mpsc::unbounded_channel();
        let shown = Arc::new(Mutex::new(serde_json::Value::Null));
        let split = Arc::new(Split::default());
        let task = Task {
            split: Arc::clone(&split),
            extension,
            clients: Clients::new()?,
            saved,
            wanted: None,
            has_asked: false,
            asking: None,
            steps: Vec::new(),
            baseline: Paired::default(),
            refused: None,
            counted: Counted::default(),
            latency: [0; BOUNDS_MS.len() + 1],
            measured: Events::default(),
            others: OthersEvidence::default(),
            heard: true,
            unsaid: false,
            shown: Arc::clone(&shown),
            releasing,
        };
        if let Some(shadowed) = task.shadowed() {
            shadowed.count_segments(&task.extension.segments);
        }
        // Hooks and queries are waited for, so it has a thread of its own.
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name("rollout".to_owned())
            .spawn(move || task.run(&runtime, received))
            .map_err(|error| error.to_string())?;
        Ok(Self { commands, shown, split, matching })
    }

    /// Sends a command of a person to the rollout's thread; it acts on it later.
    pub(crate) fn control(&self, control: Control, by: Option<String>) {
        // The thread ends only with the process.
        let _ = self.commands.send((control, by));
    }

    /// State of the rollout as JSON, `null` before the first look.
    pub(crate) fn shown(&self) -> serde_json::Value {
        lock(&self.shown).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Rollout as its own thread holds it.
pub(crate) struct Task {
    pub(crate) releasing: Releasing,
    pub(crate) extension: Extension,
    pub(crate) clients: Clients,
    pub(crate) split: Arc<Split>,
    saved: Option<Saved>,
    /// Version that the registry named last; `None` while its name points at none.
    pub(crate) wanted: Option<ResolvedModel>,
    /// True once the registry has answered.
    pub(crate) has_asked: bool,
    asking: Option<JoinHandle<Result<Option<ResolvedModel>, RegistryError>>>,
    /// Splits of this process whose counts are not yet in the state: requests under way may still count there.
    pub(crate) steps: Vec<Arc<Step>>,
    /// Counts of the shadow when this candidate was loaded, or when they were last added to the state.
    pub(crate) baseline: Paired,
    /// Version that cannot be loaded, and the error.
    pub(crate) refused: Option<(String, String)>,
    counted: Counted,
    /// Counts of the latency buckets that the built-in metrics have looked at so far.
    pub(crate) latency: [u64; BOUNDS_MS.len() + 1],
    pub(crate) measured: Events,
    /// Counts of other servers, as of the last time they answered.
    pub(crate) others: OthersEvidence,
    pub(crate) heard: bool,
    /// True while the other servers have not been told of the last change.
    pub(crate) unsaid: bool,
    shown: Arc<Mutex<serde_json::Value>>,
}

impl Task {
    fn run(mut self, runtime: &tokio::runtime::Handle, mut commands: mpsc::UnboundedReceiver<Command>) {
        let (mut next_ms, mut spoken_ms) = (0, 0);
        loop {
            let command = runtime.block_on(async { tokio::time::timeout(LOOK, commands.recv()).await });
            let command = match command {
                Ok(None) => return,
                Ok(command) => command,
                Err(_) => None,
            };
            let now_ms = (self.releasing.clock)();
            // A clock that is set back must not stop it for years.
            let interval = self.releasing.canary.spec.analysis.interval_ms(self.releasing.shortest_ms);
            let due = now_ms >= next_ms || next_ms - now_ms > interval;
            self.ask(runtime, due);
            let Some(mut saved) = self.take_saved(now_ms) else { continue };
            self.load(&mut saved, now_ms);
            self.gather(&mut saved);
            let before = (saved.rollout.clone(), saved.paused);
            let silent = now_ms - spoken_ms >= SPEAK_MS || now_ms < spoken_ms;
            // Harm that a follower sees is the leader's to judge, and told at once; that which the leader sees waits for nobody.
            let mut harm = self.sees_harm(&saved);
            if (due || silent || command.is_some() || harm) && !(saved.leads && harm) {
                spoken_ms = now_ms;
                self.share(&mut saved, runtime, interval, command.is_some());
                harm = self.sees_harm(&saved);
            }
            if let Some(command) = command {
                self.obey(command, &mut saved, runtime);
            } else if (saved.leads && ((due && !saved.paused) || harm)) || (!self.heard && harm) {
                self.act(&mut saved, runtime, |rollout, canary, world| rollout::tick(rollout, canary, world));
            }
            if due {
                next_ms = now_ms + interval;
            }
            self.finish_promotion(&mut saved, runtime);
            self.route(&mut saved);
            let verdict = self.judge(&saved);
            let changed = before != (saved.rollout.clone(), saved.paused);
            if changed && saved.leads {
                self.unsaid = true;
                self.share(&mut saved, runtime, interval, false);
            }
            if (due || changed) && (before.0.is_under_way() || saved.rollout.is_under_way()) {
                saved.track(now_ms, &verdict);
            }
            if due || changed {
                saved.write(&self.releasing.file);
            }
            *lock(&self.shown) = self.shown(&saved, &verdict);
            self.saved = Some(saved);
        }
    }

    /// The evidence proves harm of a candidate that is looked at.
    fn sees_harm(&self, saved: &Saved) -> bool {
        matches!(saved.rollout.phase, Phase::Progressing | Phase::WaitingPromotion)
            && self.extension.evidence
            && matches!(self.judge(saved).judgement, Judgement::Fail(_))
    }

    /// Asks the registry which version is wanted, and takes its answer when it comes: a download, or a registry that does not answer,
    /// must not keep harm from being seen.
    fn ask(&mut self, runtime: &tokio::runtime::Handle, due: bool) {
        if let Some(asking) = self.asking.take_if(|asking| asking.is_finished()) {
            let stopped = |error: tokio::task::JoinError| RegistryError::Unavailable(error.to_string());
            match runtime.block_on(asking).map_err(stopped).flatten() {
                Ok(wanted) => (self.wanted, self.has_asked) = (wanted, true),
                Err(error) => tracing::warn!("the registry cannot be asked for a candidate: {error}"),
            }
        }
        if due && self.asking.is_none() {
            let registrar = Arc::clone(&self.releasing.registrar);
            self.asking = Some(runtime.spawn(async move { registrar.candidate().await }));
        }
    }

    /// The state, begun when the first version is live.
    fn take_saved(&mut self, now_ms: i64) -> Option<Saved> {
        let live = self.releasing.stable.live();
        match self.saved.take() {
            Some(mut saved) => {
                // Moved by hand, while nothing was released.
                if let Some(live) = live.filter(|_| !saved.rollout.is_under_way()) {
                    saved.rollout.last_promoted.clone_from(&live.version);
                }
                Some(saved)
            }
            None => Some(Saved::begun(&live?.version, now_ms)),
        }
    }

    /// Loads the candidate that is wanted, lets go of one that is not.
    fn load(&mut self, saved: &mut Saved, now_ms: i64) {
        let slot = &self.releasing.candidate;
        if !saved.rollout.candidate_wanted {
            if slot.live().is_some() {
                slot.rest();
            }
            return;
        }
        let version = &saved.rollout.last_applied;
        if slot.live().is_some_and(|loaded| loaded.version == *version)
            || self.refused.as_ref().is_some_and(|(refused, _)| refused == version)
        {
            return;
        }
        let Some(wanted) = self.wanted.as_ref().filter(|wanted| version_of(wanted) == *version) else { return };
        match slot.switch_to(wanted, now_ms) {
            Ok(loaded) => {
                tracing::info!(version = loaded.version, "candidate loaded");
                let stable = self.releasing.stable.live();
                let known = |name: &&String| {
                    stable.as_ref().is_none_or(|stable| stable.package.signature.position(name).is_some())
                };
                for name in self.extension.segments.iter().filter(|name| !known(name)) {
                    let message = format!(
                        "serin.dev/segments: the live version has no column {name:?}, so it is not judged by it"
                    );
                    saved.remember(now_ms, Severity::Warn, message);
                }
                (self.baseline, _) = self.taken();
                saved.shadow_since_ms.get_or_insert(now_ms);
                self.refused = None;
            }
            Err(error) => {
                let message = format!("version {version} is refused: {error}");
                self.refused = Some((version.clone(), error.to_string()));
                saved.remember(now_ms, Severity::Error, message);
            }
        }
    }

    /// Everything that is known: counted here and elsewhere.
    pub(crate) fn counts(&self, saved: &Saved) -> Counts {
        let mut counts = saved.counts.clone();
        counts.merge(&self.others.counts);
        counts
    }

    pub(crate) fn judge(&self, saved: &Saved) -> Verdict {
        judge(&self.counts(saved), &self.extension.limits)
    }

    /// Lets something act on the rollout, and does what follows from it.
    fn act(
        &mut self,
        saved: &mut Saved,
        runtime: &tokio::runtime::Handle,
        act: impl FnOnce(&mut Rollout, &Canary, &mut Asked<'_>),
    ) {
        let canary = self.releasing.canary.clone();
        let before = saved.rollout.clone();
        let mut rollout = before.clone();
        act(&mut rollout, &canary, &mut Asked { task: self, saved, runtime });
        saved.rollout = rollout;
        self.settle(saved, &before, runtime);
    }

    fn obey(&mut self, (command, by): Command, saved: &mut Saved, runtime: &tokio::runtime::Handle) {
        let said = match command {
            Control::Promote => "promoted by hand",
            Control::Abort => "aborted by hand",
            Control::Pause => "paused by hand",
            Control::Resume => "resumed by hand",
        };
        let by = by.map_or_else(|| said.to_owned(), |by| format!("{said}, by {by}"));
        if command != Control::Abort {
            saved.remember((self.releasing.clock)(), Severity::Info, by.clone());
        }
        match command {
            Control::Promote => self.act(saved, runtime, |rollout, canary, world| {
                rollout::promote(rollout, canary, world);
            }),
            Control::Abort => self.act(saved, runtime, |rollout, canary, world| {
                rollout::abort(rollout, canary, world, &by);
            }),
            Control::Pause | Control::Resume => saved.paused = command == Control::Pause,
        }
    }

    /// Starts counting anew where this is another release than before.
    pub(crate) fn begin(&mut self, saved: &mut Saved, before: &Rollout) {
        let begun = saved.rollout.phase == Phase::Progressing
            && !matches!(before.phase, Phase::Progressing | Phase::WaitingPromotion);
        if begun || saved.rollout.last_applied != before.last_applied {
            saved.counts = Counts::default();
            self.others = OthersEvidence::default();
            // The same on every server, so that who is sent to another one keeps his arm.
            let names = [self.releasing.stable.name(), &saved.rollout.last_applied, &saved.rollout.last_promoted];
            saved.salt = hashed(names.iter().fold(Sha256::new(), |sum, name| sum.chain_update(name).chain_update([0])));
            (saved.shadow_since_ms, saved.hold_since_ms, saved.promoted) = (None, None, None);
            saved.began_ms = (self.releasing.clock)();
            self.refused = None;
            self.steps.clear();
            self.counted = Counted::default();
            saved.track.clear();
        }
    }

    /// Acts on a change of phase: notes the time of a hold, and tells the registry how the rollout ended.
    fn settle(&mut self, saved: &mut Saved, before: &Rollout, runtime: &tokio::runtime::Handle) {
        self.begin(saved, before);
        let now_ms = (self.releasing.clock)();
        match saved.rollout.phase {
            Phase::WaitingPromotion => {
                saved.hold_since_ms.get_or_insert(now_ms);
            }
            Phase::Succeeded | Phase::Failed if before.phase != saved.rollout.phase => {
                let reason = saved.history.last().map_or_else(String::new, |entry| entry.message.clone());
                let phase = if saved.rollout.phase == Phase::Failed { "failed" } else { "succeeded" };
                if let Ok(version) = saved.rollout.last_applied.parse() {
                    // What the registry does not take now it learns from nobody later; the file and the log have it.
                    let note = self.releasing.registrar.note(version, phase, reason);
                    if let Err(error) = runtime.block_on(in_time(note)) {
                        tracing::warn!("the registry has no note of the rollout's end: {error}");
                    }
                }
            }
            _ => {}
        }
    }

    /// Makes the candidate live in the registry, again and again until that is done.
    fn finish_promotion(&mut self, saved: &mut Saved, runtime: &tokio::runtime::Handle) {
        let version = saved.rollout.last_applied.clone();
        if saved.rollout.phase != Phase::Promoting || !saved.leads || saved.promoted.as_deref() == Some(&version) {
            return;
        }
        let Ok(number) = version.parse() else { return };
        let counts = self.counts(saved);
        let verdict = judge(&counts, &self.extension.limits);
        let reason = format!(
            "rollout: {} requests in the shadow, {} on the candidate, E {:.3}",
            counts.paired.requests(),
            counts.exposed(),
            verdict.ln_e.exp()
        );
        match runtime.block_on(self.releasing.registrar.promote(number, reason)) {
            Ok(()) => saved.promoted = Some(version),
            Err(error) => tracing::warn!("version {number} cannot be made live, and will be tried again: {error}"),
        }
    }

    /// Sets what the response path reads.
    fn route(&mut self, saved: &mut Saved) {
        let moving = matches!(saved.rollout.phase, Phase::Progressing | Phase::WaitingPromotion | Phase::Promoting);
        let weight = if moving { (saved.rollout.route.candidate * (WHOLE / 100)).min(WHOLE) } else { 0 };
        let (stable, candidate) = (self.releasing.stable.live(), self.releasing.candidate.live());
        let (Some(stable), Some(candidate)) = (stable, candidate.filter(|_| weight > 0)) else {
            return self.split.set(None);
        };
        let by_match = saved.rollout.route.matched;
        let same = |step: &Arc<Step>| {
            let rule = step.rule();
            (rule.weight, rule.by_match) == (weight, by_match)
                && Arc::ptr_eq(&step.stable, &stable)
                && Arc::ptr_eq(&step.candidate, &candidate)
        };
        if self.split.step().as_ref().is_some_and(same) {
            return;
        }
        let (slow_ms, counted) = (self.extension.slow_ms.clone(), Arc::clone(&self.counted));
        let rule = Rule { weight, by_match, salt: saved.salt, slow_ms, sticky: self.extension.sticky, counted };
        match Step::new(stable, candidate, rule) {
            Ok(step) => {
                let step = Arc::new(step);
                self.steps.push(Arc::clone(&step));
                self.split.set(Some(step));
            }
            Err(reason) => {
                self.split.set(None);
                self.refused = Some((saved.rollout.last_applied.clone(), reason));
                self.releasing.candidate.rest();
            }
        }
    }
}

pub(crate) fn version_of(model: &ResolvedModel) -> String {
    model.version.map_or_else(String::new, |version| version.to_string())
}
