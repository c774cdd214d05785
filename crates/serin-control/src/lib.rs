#![doc = include_str!("../README.md")]

mod access;
mod api;
mod caller;
mod dashboard;
mod data_planes;
mod error;
mod jobs;
mod monitoring;
mod routes;
mod settings;
mod state;
mod webhooks;

pub use api::evidence::share_evidence;
pub use api::monitoring::labels::{label_of_texts, label_report};
pub use api::monitoring::performance::performance_report;
pub use data_planes::DataPlanes;
pub use jobs::{Jobs, Launcher, RetrainingFailure, RetrainingOrder, RunningJobs};
pub use monitoring::{Explained, InvalidLabels, KeptFigures, Monitoring, MonitoringError, ReadParquet, References};
pub use routes::{Policy, control_plane};
pub use settings::Settings;
pub use state::ControlPlane;
pub use webhooks::{SecretKey, WebhookPolicy, Webhooks};
