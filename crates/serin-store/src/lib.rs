#![doc = include_str!("../README.md")]

mod access;
mod artifacts;
mod collect;
mod db;
mod decision_log;
mod entities;
mod error;
mod evidence;
mod experiments;
mod inputs;
mod labels;
mod ledger;
mod logged_models;
mod metrics;
mod model_versions;
mod monitoring;
mod names;
mod presigned;
mod registered_models;
mod runs;
mod schema;
mod search;
mod sources;
mod sql;
mod uri;
mod webhooks;
mod writer;

pub use access::{Credentials, Permission, Resource, User, new_password};
pub use artifacts::{ArtifactEntry, ArtifactFile, ArtifactPath, Artifacts};
pub use collect::Collected;
pub use db::{DatabaseUri, Store};
pub use decision_log::{
    Assigned, DecidingModel, DecisionFiles, DecisionIds, DecisionLog, DecisionSegment, Erased, Fallback, LogLimits,
    LoggedDecision, LoggedShadow, NewDecision, NewShadow, Record, Recovered, thread_number,
};
pub use entities::{LifecycleStage, Tag, ViewType};
pub use error::StoreError;
pub use evidence::{Lead, LeadAsked};
pub use experiments::Experiment;
pub use inputs::{DatasetInput, DatasetSummary, ModelOutput, RunInputs};
pub use labels::{Label, LabelSource, LabelSubject, Labels, LabelsStored, NewLabel};
pub use ledger::{Change, LedgerEntry};
pub use logged_models::{LoggedModel, LoggedModelStatus, NewLoggedModel};
pub use metrics::Metric;
pub use model_versions::{ModelVersion, NewModelVersion, Stage};
pub use monitoring::{Alert, Retraining, StoredPane};
pub use registered_models::RegisteredModel;
pub use runs::{Batch, NewRun, Run, RunInfo, RunStatus};
pub use search::{LoggedModelOrder, LoggedModelSearch, Page, RunSearch, Search};
pub use uri::{ModelUri, ResolvedModel};
pub use webhooks::{Webhook, WebhookEvent, WebhookUpdate};
