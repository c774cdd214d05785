//! What is registered after a training.

use crate::Stage;

/// A model package that was stored.
#[derive(Debug, Clone)]
pub struct StoredModel {
    /// Source that a version names, such as `models:/m-…`.
    pub source: String,
    /// Id of the logged model; empty where the package is a folder of the run.
    pub model_id: String,
    /// Folder of the package on this machine, or its URI.
    pub location: String,
}

/// A version to be registered, and the alias and stage that it gets.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// Name of the registered model.
    pub name: String,
    /// Id of the run that made the package.
    pub run_id: String,
    /// Alias that moves to the new version; none moves none.
    pub alias: Option<String>,
    /// Stage that the new version comes to; none leaves it without one.
    pub stage: Option<Stage>,
}
