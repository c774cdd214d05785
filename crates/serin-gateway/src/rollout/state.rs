//! State of a rollout that outlives the process, and how it is shown.

use super::release::Task;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use serin_analysis::evidence::{Counts, Verdict};
use serin_analysis::rollout::canary::Severity;
use serin_analysis::rollout::{Judgement, Phase, Rollout};
use serin_decisions::replace_durably;
use serin_models::LoadedModel;
use std::path::Path;
use std::sync::Arc;

/// Most entries of the history that are kept.
const HISTORY: usize = 500;

/// Most looks that are kept; with more, every other one goes.
const TRACK: usize = 400;

/// One look at a rollout under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Look {
    pub(crate) at_ms: i64,
    /// The candidate's share of the traffic, percent.
    pub(crate) weight: u32,
    /// Natural logarithm of the evidence for harm, and of that for being alike.
    pub(crate) ln_e: [f64; 2],
    pub(crate) shadow_requests: u64,
    pub(crate) exposed_requests: u64,
}

/// One line of the history.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) at_ms: i64,
    pub(crate) severity: Severity,
    pub(crate) message: String,
}

/// State of a rollout that is kept in a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) rollout: Rollout,
    pub(crate) counts: Counts,
    /// Salt of the split's draw: another one for every rollout, so that nobody is the candidate's for ever.
    pub(crate) salt: u64,
    pub(crate) paused: bool,
    pub(crate) began_ms: i64,
    pub(crate) shadow_since_ms: Option<i64>,
    pub(crate) hold_since_ms: Option<i64>,
    /// Version that this rollout made live in the registry.
    pub(crate) promoted: Option<String>,
    pub(crate) history: Vec<Entry>,
    /// Looks at this rollout from its beginning, the oldest first.
    #[serde(default)]
    pub(crate) track: Vec<Look>,
    /// Name of this server among those that share evidence: 32 hex digits, made once and kept in the state file.
    #[serde(default = "new_replica")]
    pub(crate) replica: String,
    /// Sequence number of the last evidence sent; receivers ignore evidence that is not newer.
    #[serde(default)]
    pub(crate) spoken: i64,
    /// True if this server leads as far as it knows: it moves the release, and the others follow its state.
    #[serde(default = "yes")]
    pub(crate) leads: bool,
}

/// State of a release, as the server that leads sends it to the others.
#[derive(Debug, Serialize, Deserialize)]
struct Word {
    rollout: Rollout,
    paused: bool,
    began_ms: i64,
    hold_since_ms: Option<i64>,
    promoted: Option<String>,
    history: Vec<Entry>,
}

fn yes() -> bool {
    true
}

fn new_replica() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

impl Saved {
    pub(crate) fn begun(version: &str, now_ms: i64) -> Self {
        Self {
            rollout: Rollout::initialized(version),
            counts: Counts::default(),
            salt: 0,
            paused: false,
            began_ms: now_ms,
            shadow_since_ms: None,
            hold_since_ms: None,
            promoted: None,
            history: Vec::new(),
            track: Vec::new(),
            replica: new_replica(),
            spoken: 0,
            leads: true,
        }
    }

    /// State as JSON for the other servers.
    pub(crate) fn word(&self) -> Option<Value> {
        let Self { rollout, paused, began_ms, hold_since_ms, promoted, history, .. } = self.clone();
        serde_json::to_value(Word { rollout, paused, began_ms, hold_since_ms, promoted, history }).ok()
    }

    /// Goes where another one's word says; `begin` is called between, where the release is another one than before.
    pub(crate) fn follow(&mut self, word: Value, begin: impl FnOnce(&mut Self, &Rollout)) {
        let word: Word = match serde_json::from_value(word) {
            Ok(word) => word,
            Err(error) => return tracing::warn!("the word of the server that leads is not understood: {error}"),
        };
        // What was stopped here while nobody could be heard stays stopped.
        let same = (&self.rollout.last_applied, self.began_ms) == (&word.rollout.last_applied, word.began_ms);
        if same && self.rollout.phase == Phase::Failed && word.rollout.is_under_way() {
            return;
        }
        let before = std::mem::replace(&mut self.rollout, word.rollout);
        begin(self, &before);
        (self.paused, self.began_ms, self.hold_since_ms) = (word.paused, word.began_ms, word.hold_since_ms);
        (self.promoted, self.history) = (word.promoted, word.history);
    }

    /// State in the file; `None` where there is no file yet.
    pub(crate) fn read(file: &Path) -> Result<Option<Self>, String> {
        let bytes = match std::fs::read(file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", file.display())),
        };
        let wrong = |error| format!("{}: {error}; move it away to start anew", file.display());
        serde_json::from_slice(&bytes).map(Some).map_err(wrong)
    }

    /// Whole or not at all. A disk that is full must not stop the rollout: it is said in the log.
    pub(crate) fn write(&self, file: &Path) {
        let written = serde_json::to_vec_pretty(self).map_err(std::io::Error::other).and_then(|bytes| {
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder)?;
            }
            replace_durably(file, &bytes)
        });
        if let Err(error) = written {
            tracing::error!("{}: the state of the rollout cannot be kept: {error}", file.display());
        }
    }

    /// Writes down where the evidence stands; older looks are kept ever more sparsely.
    pub(crate) fn track(&mut self, at_ms: i64, verdict: &Verdict) {
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

    pub(crate) fn remember(&mut self, at_ms: i64, severity: Severity, message: String) {
        self.history.push(Entry { at_ms, severity, message });
        if self.history.len() > HISTORY {
            self.history.remove(0);
        }
    }
}

impl Task {
    /// State of the rollout as the JSON that `GET /v1/rollout` answers with.
    pub(crate) fn shown(&self, saved: &Saved, verdict: &Verdict) -> Value {
        let loaded = |model: Option<Arc<LoadedModel>>| model.map(|model| model.version.clone());
        let (judgement, reason) = match &verdict.judgement {
            Judgement::Fail(reason) => ("FAIL", reason.as_str()),
            Judgement::Pass => ("PASS", ""),
            Judgement::Hold(reason) => ("HOLD", reason.as_str()),
        };
        let exp = |ln: f64| ln.min(700.0).exp();
        let components: Vec<_> = verdict
            .components
            .iter()
            .map(|part| json!({ "name": part.name, "weight": part.weight, "e": exp(part.ln_e), "found": part.found }))
            .collect();
        let paired = &saved.counts.paired;
        json!({
            "model": self.releasing.stable.name(),
            "phase": saved.rollout.phase,
            "paused": saved.paused,
            "stable_version": loaded(self.releasing.stable.live()),
            "candidate_version": if saved.rollout.is_under_way() { Some(&saved.rollout.last_applied) } else { None },
            "candidate_loaded": loaded(self.releasing.candidate.live()),
            "refused": self.refused.as_ref().map(|(version, reason)| json!({ "version": version, "reason": reason })),
            "candidate_weight": f64::from(saved.rollout.route.candidate) / 100.0,
            // The weight is of the requests that match (A/B).
            "by_match": saved.rollout.route.matched,
            "failed_checks": saved.rollout.failed_checks,
            "iterations": saved.rollout.iterations,
            "began_at_ms": saved.began_ms,
            "shadow": {
                "requests": paired.requests(), "both_alert": paired.both, "only_candidate_alerts": paired.raised,
                "only_stable_alerts": paired.lowered, "unscored": paired.unscored, "alert_ratio": paired.alert_ratio(),
                "disagreement": paired.disagreement(),
            },
            // What was counted elsewhere and is judged with it.
            "others": {
                "replicas": self.others.replicas, "requests": self.others.counts.paired.requests(),
                "exposed_requests": self.others.counts.exposed(), "heard": self.heard,
            },
            "leads": saved.leads,
            "segments": saved.counts.segments.iter().map(|(name, paired)| json!({
                "segment": name, "requests": paired.requests(), "alert_ratio": paired.alert_ratio(),
            })).collect::<Vec<_>>(),
            "exposed_requests": saved.counts.exposed(),
            "evidence": {
                "judgement": judgement, "reason": reason, "e": exp(verdict.ln_e), "rollback_from": 1.0 / self.extension.limits.alpha,
                "e_alike": exp(verdict.ln_e_alike), "promotion_from": 1.0 / self.extension.limits.beta, "components": components,
            },
            "history": saved.history,
            "track": saved.track.iter().map(|look| json!({
                "at_ms": look.at_ms, "weight": f64::from(look.weight) / 100.0, "log10_e": look.ln_e[0] / std::f64::consts::LN_10,
                "log10_e_alike": look.ln_e[1] / std::f64::consts::LN_10, "shadow_requests": look.shadow_requests,
                "exposed_requests": look.exposed_requests,
            })).collect::<Vec<_>>(),
        })
    }
}
