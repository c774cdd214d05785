#![doc = include_str!("../README.md")]

mod artifacts;
mod db;
mod error;
mod registry;
mod runs;
mod uri;

pub use db::Store;
pub use error::StoreError;
pub use registry::{Change, ModelVersion, Stage};
pub use runs::{Metric, NewRun, RunStatus};
pub use uri::{ModelUri, ResolvedModel};
