#![doc = include_str!("../README.md")]

mod about;
mod access;
mod artifacts;
mod dashboard;
mod http;
mod metrics;
mod monitoring;
mod registry;
mod rollout;
mod routes;
mod scoring;
mod tracking;
mod webhooks;

pub use dashboard::DataPlanes;
pub use http::api_keys::ApiKeys;
pub use http::guard::Allowed;
pub use http::tls::Tls;
pub use http::workers::{Connections, Workers};
pub use metrics::Metrics;
pub use monitoring::{
    ColumnDrift, Explained, Launcher, LiveMonitor, Monitoring, PaneSink, ReadParquet, References, RetrainingOrder,
    Settings, Watching, drift_json, evidently_report, label_of_texts, label_report, panes_json, performance_report,
};
pub use rollout::{Control, OthersEvidence, Registrar, Release, Releasing, SharedEvidence, share_evidence};
pub use routes::{ControlPlane, DataPlane, Limits, Policy, control_plane, data_plane};
pub use scoring::decide::{DecisionKeeping, WhenFull};
pub use scoring::exploration::Exploration;
pub use scoring::fallback::{FallbackPolicy, Step};
pub use scoring::live_model::{LiveModel, LoadError};
pub use scoring::models::{ModelSlot, Models};
pub use scoring::shadow::Shadow;
pub use webhooks::{SecretKey, WebhookPolicy, Webhooks};
