#![doc = include_str!("../README.md")]

mod http;
pub mod metrics;
mod routes;
mod scoring;

pub use routes::{DataPlane, Limits, data_plane};
pub use scoring::live_model::{LiveModel, LoadError, ModelSlot};
