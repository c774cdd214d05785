//! Progressive delivery without clock, network or model: what a `canary.yaml` says, and what a look at a rollout does.

pub mod canary;
mod duration;
mod engine;
mod extension;
mod matching;
mod objects;

pub use crate::evidence::Judgement;
pub use duration::GoDuration;
pub use engine::{Event, Measured, Phase, Readiness, Rollout, Route, World, abort, is_yes, promote, tick};
pub use extension::{Extension, OnHold, SLOW};
pub use matching::Matching;
