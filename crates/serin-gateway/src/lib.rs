#![doc = include_str!("../README.md")]

mod decide;
mod exploration;
mod fallback;
mod keeping;
mod metrics;
mod models;
mod monitor;
mod openapi;
mod operations;
mod protocols;
mod registry;
mod rollout;
mod routes;
mod service;
mod shadow;
mod state;
mod transaction;

pub use exploration::{Exploration, InvalidShare};
pub use fallback::{FallbackPolicy, FallbackStep};
pub use keeping::{DecisionKeeping, WhenFull};
pub use metrics::Metrics;
pub use models::{InvalidModels, ModelSlot, Models};
pub use monitor::{LiveMonitor, PaneSink};
pub use openapi::openapi;
pub use registry::{Registrar, RegistryAnswer, RegistryError};
pub use rollout::{Control, Release, ReleaseError, Releasing, StateFileError};
pub use routes::{data_plane, routes};
pub use service::DataPlaneService;
pub use shadow::Shadow;
pub use state::DataPlane;
