#![doc = include_str!("../README.md")]

mod durable;
mod error;
mod ids;
mod reader;
mod record;
mod segment;
mod writer;

pub use durable::{DurableFile, rename_durably, replace_durably, sync_folder};
pub use error::LogError;
pub use ids::DecisionIds;
pub use reader::{DecisionFiles, DecisionSegment, Erased};
pub use record::{
    Assigned, Fallback, LoggedDecision, LoggedModel as DecidingModel, LoggedShadow, NewDecision, NewShadow, Record,
};
pub use segment::{LogLimits, Recovered};
pub use writer::{DecisionLog, thread_number};
