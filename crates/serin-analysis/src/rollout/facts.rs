//! What a look of a rollout is made on, and what it orders.

use super::canary::{Metric, Severity, Webhook};
use super::phase::{Phase, Rollout};
use crate::evidence::Judgement;

/// Answer to whether a version can take requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// The version can answer.
    Ready,
    /// The version cannot answer yet.
    NotYet,
    /// The version will never answer: its file is refused, or its time is over.
    Never,
}

/// Result of one measurement.
#[derive(Debug, Clone, PartialEq)]
pub enum Measured {
    /// The metric has this value.
    Value(f64),
    /// There is too little data for a value.
    NoData,
    /// The metric could not be asked for; holds the error.
    Failed(String),
}

/// Something that the engine tells people and webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Severity of the event.
    pub severity: Severity,
    /// Text of the event, for a person.
    pub message: String,
}

/// Question of a look that is answered from outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// What a webhook answers when it is called with the phase that it is to hear.
    Hook(Box<Webhook>, Phase),
    /// What a metric of the candidate measures.
    Measurement(Box<Metric>),
}

/// Reason why something outside gave no answer, as a person reads it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unanswered(pub String);

/// Answer to a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// HTTP status of a webhook, or why there is none.
    Hook(Result<u16, Unanswered>),
    /// Result of a measurement.
    Measurement(Measured),
}

/// Facts that a look is made on.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Revision that should be live: the version that the registry names.
    pub revision: String,
    /// Whether the stable version can answer.
    pub stable: Readiness,
    /// Whether the candidate can answer.
    pub candidate: Readiness,
    /// True if the candidate has scored in the shadow for as long, and as many requests, as it must before it gets
    /// traffic.
    pub shadowed: bool,
    /// Verdict of the evidence; [`Judgement::Pass`] where none is gathered.
    pub evidence: Judgement,
    /// Answers to the questions of this look so far.
    pub answers: Vec<(Question, Answer)>,
}

/// Order of a look to the world outside. Nobody waits for its result.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Makes the candidate the stable version, in the registry.
    Promote,
    /// Calls webhooks in order with a phase.
    Call(Vec<Webhook>, Phase),
    /// Tells people of an event.
    Tell(Event),
}

/// Outcome of a look: the state after it, and what it orders.
#[derive(Debug, Clone, PartialEq)]
pub struct Moved {
    /// State after the look.
    pub rollout: Rollout,
    /// Orders of the look, in order.
    pub effects: Vec<Effect>,
}

impl Facts {
    /// Facts of a move that asks nothing.
    pub(super) fn silent(revision: &str) -> Self {
        Self {
            revision: revision.to_owned(),
            stable: Readiness::Ready,
            candidate: Readiness::Ready,
            shadowed: true,
            evidence: Judgement::Pass,
            answers: Vec::new(),
        }
    }
}
