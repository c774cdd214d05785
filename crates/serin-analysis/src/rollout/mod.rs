//! Progressive delivery without clock, network or model: what a `canary.yaml` says, and what a look at a rollout does.

pub mod canary;
pub mod delivery;
mod duration;
mod engine;
mod extension;
mod facts;
mod latency;
mod matching;
mod objects;
mod phase;

pub use crate::evidence::Judgement;
pub use duration::{GoDuration, InvalidDuration};
pub use engine::{is_yes, promote, stop, tick};
pub use extension::{Extension, OnHold, SLOW};
pub use facts::{Answer, Effect, Event, Facts, Measured, Moved, Question, Readiness, Unanswered};
pub use latency::{LATENCY_BOUNDS_MS, LatencyCounts, latency_quantile_ms};
pub use matching::Matching;
pub use phase::{Phase, Rollout, Route};
