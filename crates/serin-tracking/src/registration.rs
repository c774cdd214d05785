//! What is registered after a training.

use crate::Stage;

/// A model package that was stored.
#[derive(Debug, Clone)]
pub struct StoredModel {
    /// What a version names as its source, such as `models:/m-…`.
    pub source: String,
    /// Id of the logged model; empty where the package is a folder of the run.
    pub model_id: String,
    /// Its folder on this machine, or its URI.
    pub location: String,
}

/// A version to be registered, and what is pointed at it.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// Registered model.
    pub name: String,
    /// Run that made the package.
    pub run_id: String,
    /// Alias that moves to the new version.
    pub alias: Option<String>,
    /// Stage that the new version comes to.
    pub stage: Option<Stage>,
}
