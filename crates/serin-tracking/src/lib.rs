#![doc = include_str!("../README.md")]

mod change;
mod labels;
mod model_uri;
mod panes;
mod registration;
mod runs;
mod stage;

pub use change::{Change, Precondition};
pub use labels::{Label, LabelSource, LabelSubject, Labels, LabelsStored, NewLabel, UnknownLabelSource};
pub use model_uri::{InvalidModelUri, ModelUri, ResolvedModel};
pub use panes::StoredPane;
pub use registration::{Registration, StoredModel};
pub use runs::{Metric, RunStatus, Tag};
pub use stage::{Stage, UnknownStage};
