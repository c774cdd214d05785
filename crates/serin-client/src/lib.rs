#![doc = include_str!("../README.md")]

mod config;
mod error;
mod models;
mod monitoring;
mod registry;
mod runs;
mod server;

pub use config::{ClientConfig, Credentials};
pub use error::ClientError;
pub use server::TrackingServer;
