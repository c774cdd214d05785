//! A rollout on one server, as a pure function: what was seen and what came in goes in, what is to be done comes out.
//!
//! [`Delivery::tick`] never waits. Webhooks, metrics servers, the registry and the loading of models are [`Task`]s,
//! which the server runs beside it, each with a deadline; their results come back as [`Arrival`]s. So harm is seen, and
//! a person's order to stop obeyed, at every tick, whatever hangs.

mod arrivals;
mod commands;
mod errand;
mod looks;
mod registry;
mod state;

use super::canary::{Canary, Webhook};
use super::engine;
use super::facts::{Answer, Effect, Event, Moved, Question, Unanswered};
use super::latency::LatencyCounts;
use super::phase::Phase;
use super::{Extension, Judgement};
use crate::evidence::sharing::{Lease, OthersEvidence, SharedEvidence};
use crate::evidence::{Counts, Verdict, judge};
use commands::Waiting;
pub use commands::{Control, OrderRefusal};
use errand::Errand;
use looks::Pending;
pub use state::{Ending, HistoryEntry, Look, Pointing, RolloutState};

/// Longest time between two messages to the other servers, milliseconds.
const SPEAK_MS: i64 = 2000;
/// Number of message intervals after which the lead lapses: LEASE × min(interval, 2 s), about 30 s.
const LEASE: i64 = 15;

/// What the server sees at a tick.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Time now, epoch milliseconds.
    pub now_ms: i64,
    /// Version that is live, none while no model is loaded.
    pub live: Option<String>,
    /// Version that is loaded as the candidate.
    pub loaded: Option<String>,
    /// Counts since the last tick.
    pub counted: Counts,
    /// Answer times of the candidate since the last tick.
    pub latency: LatencyCounts,
}

/// Outcome of loading a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loading {
    /// The candidate is loaded; holds the segment columns that the live version does not have.
    Ready(Vec<String>),
    /// The candidate could not be read now, and is tried again; holds the error.
    Failed(String),
    /// The candidate is no model that can be served here, and is not tried again; holds the error.
    Refused(String),
}

/// Failure of a change in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// This server does not lead any more by the registry.
    NotLeading(String),
    /// Another version is live than the change says: somebody has moved the name.
    Moved(String),
    /// The registry did not make the change, and may be asked again.
    Unavailable(String),
}

/// Something that came in since the last tick: an order of a person, or the result of a task.
#[derive(Debug)]
pub enum Arrival {
    /// A person's order; `id` is answered by [`Task::Reply`].
    Command {
        /// Number of the command, chosen by the caller.
        id: u64,
        /// Order that is given.
        control: Control,
        /// Name of the person, where it is known.
        by: Option<String>,
    },
    /// Version that the registry names as the candidate, `None` where it names none; or the error.
    Found(Result<Option<String>, Unanswered>),
    /// Outcome of loading a version.
    Loaded(String, Loading),
    /// Evidence of the other servers, or the error.
    Shared(Box<Result<OthersEvidence, Unanswered>>),
    /// Outcome of a change of the live version.
    Pointed(Pointing, Result<(), Refusal>),
    /// Outcome of noting an end.
    Noted(Ending, Result<(), Unanswered>),
    /// Answer to the question of a look.
    Answered(u64, Question, Answer),
}

/// Something to be done outside.
#[derive(Debug)]
pub enum Task {
    /// Asks the registry for the candidate; answered by [`Arrival::Found`].
    Find,
    /// Loads this version as the candidate; answered by [`Arrival::Loaded`].
    Load(String),
    /// Lets go of the candidate.
    Unload,
    /// Sends evidence to the other servers; answered by [`Arrival::Shared`].
    Share(Box<SharedEvidence>),
    /// Changes the live version in the registry, while the lease holds; answered by [`Arrival::Pointed`].
    Point(Pointing, Option<Lease>),
    /// Notes an end in the registry; answered by [`Arrival::Noted`].
    Note(Ending),
    /// Gets the answer to the question of a look; answered by [`Arrival::Answered`].
    Ask(u64, Question),
    /// Calls webhooks in order with a phase; nobody waits.
    Call(Vec<Webhook>, Phase),
    /// Tells people of an event of a version.
    Tell(String, Event),
    /// Writes the state to its file.
    Keep,
    /// Answers the command of this number.
    Reply(u64, Result<(), OrderRefusal>),
}

/// Rules of a rollout, the same for all of its attempts.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Name of the registered model.
    pub model: String,
    /// Rules that Flagger reads, too.
    pub canary: Canary,
    /// Rules in the annotations below `serin.dev/`.
    pub extension: Extension,
    /// Least time between two looks, milliseconds.
    pub shortest_ms: i64,
}

impl Rules {
    fn interval_ms(&self) -> i64 {
        self.canary.spec.analysis.interval_ms(self.shortest_ms)
    }
}

/// Counters that the built-in metrics have looked at.
#[derive(Debug, Default)]
struct Measuring {
    requests: u64,
    errors: u64,
    latency: LatencyCounts,
}

/// Rollout of one model on one server.
#[derive(Debug)]
pub struct Delivery {
    rules: Rules,
    state: RolloutState,
    verdict: Verdict,
    /// Version that the registry named last; `None` while its name points at none.
    wanted: Option<String>,
    has_found: bool,
    finding: bool,
    loading: Errand,
    /// Version that cannot be served here, and the error.
    refused: Option<(String, String)>,
    /// Time since which a wanted candidate is not loaded, epoch milliseconds.
    missing_since_ms: Option<i64>,
    others: OthersEvidence,
    heard: bool,
    /// Name of the attempt whose evidence is being sent.
    sharing: Option<String>,
    /// True while the other servers have not been told of the last change.
    untold: bool,
    /// True while the lead is to be claimed for a person's order.
    claims: bool,
    /// True while a claim of the lead is under way.
    claiming: bool,
    next_look_ms: i64,
    spoken_ms: i64,
    look_due: bool,
    /// True once the others' word, or its absence, is known since the look fell due.
    heard_since_due: bool,
    looks: u64,
    look: Option<Pending>,
    waiting: Vec<Waiting>,
    pointing: Errand,
    noting: Errand,
    measuring: Measuring,
    now_ms: i64,
}

impl Delivery {
    /// Goes on from a state.
    #[must_use]
    pub fn new(rules: Rules, state: RolloutState) -> Self {
        let verdict = judge(&state.counts, &rules.extension.limits);
        Self {
            rules,
            state,
            verdict,
            wanted: None,
            has_found: false,
            finding: false,
            loading: Errand::default(),
            refused: None,
            missing_since_ms: None,
            others: OthersEvidence::default(),
            heard: true,
            sharing: None,
            untold: false,
            claims: false,
            claiming: false,
            next_look_ms: 0,
            spoken_ms: 0,
            look_due: false,
            heard_since_due: false,
            looks: 0,
            look: None,
            waiting: Vec::new(),
            pointing: Errand::default(),
            noting: Errand::default(),
            measuring: Measuring::default(),
            now_ms: 0,
        }
    }

    /// State that outlives the process.
    #[must_use]
    pub fn state(&self) -> &RolloutState {
        &self.state
    }

    /// Rules of the rollout.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Verdict of the last tick.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Evidence of the other servers, and whether they were heard when they were asked last.
    #[must_use]
    pub fn others(&self) -> (&OthersEvidence, bool) {
        (&self.others, self.heard)
    }

    /// Version that cannot be served here, and the error.
    #[must_use]
    pub fn refused(&self) -> Option<(&str, &str)> {
        self.refused.as_ref().map(|(version, error)| (version.as_str(), error.as_str()))
    }

    /// Version that a rollout under way is to release; `None` while there is no rollout.
    #[must_use]
    pub fn released(&self) -> Option<String> {
        match self.state.rollout.phase {
            // The version is noted in the state when its start is let through.
            Phase::Waiting => Some(self.revision()),
            _ => self.state.rollout.is_under_way().then(|| self.state.rollout.last_applied.clone()),
        }
    }

    /// Refuses a candidate that is loaded and cannot decide on the live version's requests.
    pub fn refuse(&mut self, version: &str, error: &str) {
        self.refused = Some((version.to_owned(), error.to_owned()));
    }

    /// Moves the rollout on. Returns what is to be done, in order.
    pub fn tick(&mut self, seen: &Observed, arrivals: Vec<Arrival>) -> Vec<Task> {
        let mut tasks = Vec::new();
        self.now_ms = seen.now_ms;
        self.notice_hand(seen);
        let before = (self.state.rollout.clone(), self.state.paused);
        if before.0.phase == Phase::Promoting && self.state.promoted.is_none() && self.state.pointing.is_none() {
            // State of an earlier serin, which did not keep what it was about to change.
            self.decide_promotion();
        }
        for arrival in arrivals {
            self.take(arrival, &mut tasks);
        }
        let interval = self.rules.interval_ms();
        // A clock that is set back must not stop it for years.
        let due = self.now_ms >= self.next_look_ms || self.next_look_ms - self.now_ms > interval;
        if due {
            self.next_look_ms = self.now_ms + interval;
            // One that is still due has waited long enough for the others' word when that comes.
            self.heard_since_due &= self.look_due;
            self.look_due = true;
            if !std::mem::replace(&mut self.finding, true) {
                tasks.push(Task::Find);
            }
        }
        self.load(seen, &mut tasks);
        self.gather(seen);
        let mut harm = self.judge();
        if harm && (self.state.leads || !self.heard) {
            self.stop_for_harm(&mut tasks);
            harm = false;
        }
        // What waited for the others' word goes before the next question to them: they may never answer.
        if self.sharing.is_none() {
            self.obey(seen, &mut tasks);
        }
        if self.look_due && self.heard_since_due {
            self.begin_look();
        }
        let silent = self.now_ms - self.spoken_ms >= SPEAK_MS || self.now_ms < self.spoken_ms;
        if due || silent || self.claims || harm {
            self.share(&mut tasks);
        }
        if self.sharing.is_none() {
            self.begin_look();
        }
        self.look(seen, &mut tasks);
        self.point(&mut tasks);
        self.note(&mut tasks);
        let changed = before != (self.state.rollout.clone(), self.state.paused);
        if changed {
            self.judge();
            if self.state.leads {
                self.untold = true;
                self.share(&mut tasks);
            }
        }
        if (due || changed) && (before.0.is_under_way() || self.state.rollout.is_under_way()) {
            self.state.track(self.now_ms, &self.verdict);
        }
        if due || changed {
            tasks.push(Task::Keep);
        }
        tasks
    }

    /// Begins the look that is due, where this server may make one.
    fn begin_look(&mut self) {
        if std::mem::take(&mut self.look_due) && self.state.leads && !self.state.paused && self.look.is_none() {
            self.look = Some(Pending::default());
            self.looks += 1;
        }
    }

    /// Takes note of a live version that was moved by hand while nothing was released.
    fn notice_hand(&mut self, seen: &Observed) {
        if let Some(live) = seen.live.as_ref().filter(|_| !self.state.rollout.is_under_way()) {
            self.state.rollout.last_promoted.clone_from(live);
        }
    }

    /// Wants the candidate loaded, or let go of.
    fn load(&mut self, seen: &Observed, tasks: &mut Vec<Task>) {
        let rollout = &self.state.rollout;
        if !rollout.candidate_wanted {
            self.missing_since_ms = None;
            if seen.loaded.is_some() && !self.loading.is_running() {
                tasks.push(Task::Unload);
            }
            return;
        }
        let version = rollout.last_applied.clone();
        if seen.loaded.as_ref() == Some(&version) {
            self.missing_since_ms = None;
            return;
        }
        self.missing_since_ms.get_or_insert(self.now_ms);
        let refused = self.refused.as_ref().is_some_and(|(refused, _)| *refused == version);
        if !refused && self.wanted.as_ref() == Some(&version) && self.loading.begin(self.now_ms) {
            tasks.push(Task::Load(version));
        }
    }

    /// Adds what was counted since the last tick, while a candidate is analysed.
    fn gather(&mut self, seen: &Observed) {
        if matches!(self.state.rollout.phase, Phase::Progressing | Phase::WaitingPromotion) {
            self.state.counts.merge(&seen.counted);
            for (sum, count) in self.measuring.latency.iter_mut().zip(seen.latency) {
                *sum += count;
            }
        }
    }

    /// Requests that both versions have scored, and requests that the candidate has answered, on all servers.
    fn requests(&self) -> (u64, u64) {
        let [own, others] = [&self.state.counts, &self.others.counts];
        (own.paired.requests() + others.paired.requests(), own.exposed() + others.exposed())
    }

    /// Counts of this server and of the others.
    fn counts(&self) -> Counts {
        let mut counts = self.state.counts.clone();
        counts.merge(&self.others.counts);
        counts
    }

    /// Judges all evidence. Returns whether it proves harm of a candidate that is analysed.
    fn judge(&mut self) -> bool {
        self.verdict = judge(&self.counts(), &self.rules.extension.limits);
        matches!(self.state.rollout.phase, Phase::Progressing | Phase::WaitingPromotion)
            && self.rules.extension.evidence
            && matches!(self.verdict.judgement, Judgement::Fail(_))
    }

    fn stop_for_harm(&mut self, tasks: &mut Vec<Task>) {
        let Judgement::Fail(reason) = self.verdict.judgement.clone() else { return };
        let moved = engine::stop(&self.state.rollout, &self.rules.canary, &self.revision(), &reason);
        self.apply(moved, tasks);
    }

    /// Takes over the outcome of a look or an order, and notes what follows from it.
    fn apply(&mut self, moved: Moved, tasks: &mut Vec<Task>) {
        let before = std::mem::replace(&mut self.state.rollout, moved.rollout);
        self.look = None;
        let rollout = &self.state.rollout;
        let begun = rollout.phase == Phase::Progressing
            && !matches!(before.phase, Phase::Progressing | Phase::WaitingPromotion);
        if begun || (rollout.last_applied != before.last_applied && rollout.is_under_way()) {
            self.state.began_ms = self.now_ms.max(self.state.began_ms + 1);
            self.state.paused = false;
            self.state.forget();
            self.forget();
        }
        if self.state.rollout.phase == Phase::WaitingPromotion {
            self.state.hold_since_ms.get_or_insert(self.now_ms);
        }
        for effect in moved.effects {
            match effect {
                Effect::Promote => self.decide_promotion(),
                Effect::Call(hooks, phase) => tasks.push(Task::Call(hooks, phase)),
                Effect::Tell(event) => self.tell(event, tasks),
            }
        }
        let phase = self.state.rollout.phase;
        // A pause ends with its rollout.
        self.state.paused &= self.state.rollout.is_under_way();
        if matches!(phase, Phase::Succeeded | Phase::Failed) && before.phase != phase {
            let reason = self.state.history.last().map_or_else(String::new, |entry| entry.message.clone());
            // While the start waits for a gate, the version before is still the one that was applied last.
            let waited = before.phase == Phase::Waiting;
            let version = if waited { self.state.rollout.last_applied.clone() } else { before.last_applied };
            self.state.end(Ending { version, succeeded: phase == Phase::Succeeded, reason });
        }
    }

    /// Forgets what this process knows of an attempt, where another one begins.
    fn forget(&mut self) {
        self.others = OthersEvidence { leads: self.others.leads, ..OthersEvidence::default() };
        (self.refused, self.missing_since_ms) = (None, None);
        self.loading.forget_failure();
        self.measuring = Measuring::default();
        self.look = None;
    }

    fn decide_promotion(&mut self) {
        let (shadowed, exposed) = self.requests();
        let e = self.verdict.ln_e.exp();
        let reason = format!("rollout: {shadowed} requests in the shadow, {exposed} on the candidate, E {e:.3}");
        self.state.pointing = Some(Pointing {
            to: self.state.rollout.last_applied.clone(),
            from: Some(self.state.rollout.last_promoted.clone()),
            reason,
        });
    }

    /// Tells people of an event; the same at every look is news once.
    fn tell(&mut self, event: Event, tasks: &mut Vec<Task>) {
        if self.state.history.last().is_some_and(|last| last.message == event.message) {
            return;
        }
        self.state.remember(self.now_ms, event.severity, event.message.clone());
        tasks.push(Task::Tell(self.revision(), event));
    }

    /// Version that should be live as far as is known.
    fn revision(&self) -> String {
        // A registry that was never heard, as after a start while it is away, changes nothing.
        match &self.wanted {
            _ if !self.has_found => self.state.rollout.last_applied.clone(),
            Some(wanted) => wanted.clone(),
            None => self.state.rollout.last_promoted.clone(),
        }
    }
}
