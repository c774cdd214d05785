#![doc = include_str!("../README.md")]

mod columns;
mod damage;
mod durable;
mod erase;
mod error;
mod exports;
mod frames;
mod ids;
mod index;
mod indexed;
mod outlines;
mod reader;
mod record;
mod recovery;
mod retention;
mod segment;
mod verify;
mod writer;

pub use damage::{Damage, DamageKind, ReadReport, Unreadable};
pub use durable::{DurableFile, rename_durably, replace_durably, sync_folder};
pub use erase::Erased;
pub use error::LogError;
pub use exports::PARQUET_EXPORTER;
pub use ids::{DecisionIds, id_head, text_key};
pub use indexed::HourlyCount;
pub use outlines::DecisionOutline;
pub use reader::{DecisionFiles, DecisionSegment};
pub use record::{
    Assigned, Fallback, LoggedDecision, LoggedModel as DecidingModel, LoggedShadow, NewDecision, NewShadow, Record,
};
pub use recovery::Recovered;
pub use retention::RetentionClock;
pub use segment::LogLimits;
pub use verify::{Verified, verify};
pub use writer::{DecisionLog, thread_number};
