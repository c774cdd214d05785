#![doc = include_str!("../README.md")]

mod artifacts;
mod error;
mod presigned;

pub use artifacts::{ArtifactEntry, ArtifactFile, ArtifactPath, Artifacts, leaves_its_folder};
pub use error::ArtifactError;
