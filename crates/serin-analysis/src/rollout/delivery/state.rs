//! State of a rollout that outlives the process, and what of it the servers of one rollout tell each other.

use crate::evidence::{Counts, Verdict};
use crate::rollout::canary::Severity;
use crate::rollout::{Phase, Rollout};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most lines of the history that are kept.
const HISTORY: usize = 500;
/// Most looks that are kept; beyond, every other one goes.
const TRACK: usize = 400;
/// Most ends of rollouts that wait for the registry to note them.
const ENDINGS: usize = 20;

/// Where the evidence stood at one look.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Look {
    /// Time of the look, epoch milliseconds.
    pub at_ms: i64,
    /// The candidate's share of the traffic, percent.
    pub weight: u32,
    /// Natural logarithms of the evidence for harm, and of that for being alike.
    pub ln_e: [f64; 2],
    /// Requests that both versions had scored.
    pub shadow_requests: u64,
    /// Requests that the candidate had answered.
    pub exposed_requests: u64,
}

/// One line of the history.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Time of the event, epoch milliseconds.
    pub at_ms: i64,
    /// Severity of the event.
    pub severity: Severity,
    /// Text of the event, for a person.
    pub message: String,
}

/// Change of the live version in the registry that a rollout has decided on, and repeats until it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointing {
    /// Version that becomes live.
    pub to: String,
    /// Version that must be live for the change to be made; `None` where any may be.
    pub from: Option<String>,
    /// Reason for the ledger.
    pub reason: String,
}

/// End of a rollout that the registry is to note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Candidate of the rollout.
    pub version: String,
    /// True if the candidate was promoted, false if it was rolled back.
    pub succeeded: bool,
    /// Reason, a sentence for people.
    pub reason: String,
}

/// State of a rollout, as one server keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RolloutState {
    /// Phase, weights and versions.
    pub rollout: Rollout,
    /// Counts of this server in this attempt.
    pub counts: Counts,
    /// True while a person has paused the rollout.
    pub paused: bool,
    /// Time at which the attempt began, epoch milliseconds. With the versions it names the attempt.
    pub began_ms: i64,
    /// Time of the candidate's first load in this attempt, epoch milliseconds.
    pub shadow_since_ms: Option<i64>,
    /// Time since which the promotion waits, epoch milliseconds.
    pub hold_since_ms: Option<i64>,
    /// Version that this rollout made live in the registry.
    pub promoted: Option<String>,
    /// Change of the live version that is still to be made in the registry.
    #[serde(default)]
    pub pointing: Option<Pointing>,
    /// Ends of rollouts that the registry has not noted yet, oldest first.
    #[serde(default)]
    pub endings: Vec<Ending>,
    /// Events of this and earlier attempts, oldest first.
    pub history: Vec<HistoryEntry>,
    /// Looks of this attempt from its beginning, oldest first.
    #[serde(default)]
    pub track: Vec<Look>,
    /// Name of this server among those that share evidence.
    #[serde(default)]
    pub replica: String,
    /// Place that the state is kept at. State that was copied elsewhere belongs to another server.
    #[serde(default)]
    pub place: String,
    /// Sequence number of the last evidence sent; receivers ignore evidence that is not newer.
    #[serde(default)]
    pub spoken: i64,
    /// True if this server leads as far as it knows: it moves the rollout, and the others follow its state.
    #[serde(default = "yes")]
    pub leads: bool,
    /// Epoch of the lead, by the registry; 0 where it gives none.
    #[serde(default)]
    pub epoch: i64,
}

/// State of a rollout, as the server that leads sends it to the others.
#[derive(Debug, Serialize, Deserialize)]
struct SharedState {
    rollout: Rollout,
    paused: bool,
    began_ms: i64,
    hold_since_ms: Option<i64>,
    promoted: Option<String>,
    #[serde(default)]
    pointing: Option<Pointing>,
    history: Vec<HistoryEntry>,
}

fn yes() -> bool {
    true
}

impl RolloutState {
    /// State of a server whose first version is live and that has released nothing.
    #[must_use]
    pub fn begun(version: &str, replica: String, place: String, now_ms: i64) -> Self {
        Self {
            rollout: Rollout::initialized(version),
            counts: Counts::default(),
            paused: false,
            began_ms: now_ms,
            shadow_since_ms: None,
            hold_since_ms: None,
            promoted: None,
            pointing: None,
            endings: Vec::new(),
            history: Vec::new(),
            track: Vec::new(),
            replica,
            place,
            spoken: 0,
            leads: true,
            epoch: 0,
        }
    }

    /// Makes a state that was read at `place` this server's own. One that was kept elsewhere, as in a copied folder,
    /// gets the name `replica`, and counts nothing that the other server has counted.
    #[must_use]
    pub fn at(mut self, place: String, replica: String) -> Self {
        if self.replica.is_empty() || (!self.place.is_empty() && self.place != place) {
            (self.replica, self.spoken, self.counts) = (replica, 0, Counts::default());
        }
        self.place = place;
        self
    }

    /// Name of the attempt, the same on every server.
    #[must_use]
    pub fn attempt(&self) -> String {
        let Rollout { last_applied, last_promoted, .. } = &self.rollout;
        format!("{last_applied} after {last_promoted} at {}", self.began_ms)
    }

    /// State as JSON for the other servers.
    pub(super) fn shared(&self) -> Option<Value> {
        let Self { rollout, paused, began_ms, hold_since_ms, promoted, pointing, history, .. } = self.clone();
        let shared = SharedState { rollout, paused, began_ms, hold_since_ms, promoted, pointing, history };
        serde_json::to_value(shared).ok()
    }

    /// Takes over the state that the server in the lead sent. Returns whether that is another attempt than before.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub(super) fn follow(&mut self, state: Value) -> Result<bool, serde_json::Error> {
        let state: SharedState = serde_json::from_value(state)?;
        let known = (&self.rollout.last_applied, self.began_ms);
        let same = known == (&state.rollout.last_applied, state.began_ms);
        // What was stopped here while nobody could be heard stays stopped.
        if same && self.rollout.phase == Phase::Failed && state.rollout.is_under_way() {
            return Ok(false);
        }
        (self.rollout, self.paused, self.began_ms) = (state.rollout, state.paused, state.began_ms);
        if !same {
            self.forget();
        }
        (self.hold_since_ms, self.promoted, self.pointing) = (state.hold_since_ms, state.promoted, state.pointing);
        self.history = state.history;
        Ok(!same)
    }

    /// Forgets what was counted, where another attempt begins.
    pub(super) fn forget(&mut self) {
        self.counts = Counts::default();
        (self.shadow_since_ms, self.hold_since_ms, self.promoted, self.pointing) = (None, None, None, None);
        self.track.clear();
    }

    /// Writes down where the evidence stands; older looks are kept ever more sparsely.
    pub(super) fn track(&mut self, at_ms: i64, verdict: &Verdict) {
        if self.track.len() >= TRACK {
            let mut place = 0;
            self.track.retain(|_| {
                place += 1;
                place % 2 == 1
            });
        }
        self.track.push(Look {
            at_ms,
            weight: self.rollout.route.candidate,
            // Finite, as JSON has nothing else.
            ln_e: [verdict.ln_e, verdict.ln_e_alike].map(|ln| ln.clamp(-700.0, 700.0)),
            shadow_requests: self.counts.paired.requests(),
            exposed_requests: self.counts.exposed(),
        });
    }

    /// Adds a line to the history; the oldest goes where there are too many.
    pub fn remember(&mut self, at_ms: i64, severity: Severity, message: String) {
        self.history.push(HistoryEntry { at_ms, severity, message });
        if self.history.len() > HISTORY {
            self.history.remove(0);
        }
    }

    pub(super) fn end(&mut self, ending: Ending) {
        self.endings.push(ending);
        if self.endings.len() > ENDINGS {
            self.endings.remove(0);
        }
    }
}
