//! Models that work on the log needs: those that decided, and those that take their place.

use serin_decisions::DecidingModel;
use serin_models::{LoadError, LoadedModel};
use serin_tracking::{ModelUri, ResolvedModel};

/// Error of a registry, whatever kind of registry it is.
pub type RegistryFailure = Box<dyn std::error::Error + Send + Sync>;

/// Registry that is asked for models by their URI.
pub trait ModelRegistry: Sync {
    /// Finds the model that a URI names now, and copies it to this machine where it is elsewhere.
    fn resolve(&self, uri: &ModelUri) -> impl Future<Output = Result<ResolvedModel, RegistryFailure>> + Send;
}

/// Error that says why a model is not at hand.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The registry has no such model, or did not answer.
    #[error(transparent)]
    Registry(RegistryFailure),
    /// The files of the model cannot be read, or are not what they should be.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The model that made a decision cannot be loaded.
    #[error("cannot load {uri}, which decided")]
    Decider {
        /// URI of the model, made of what the log holds of it.
        uri: ModelUri,
        /// Reason why it cannot be loaded.
        source: Box<ModelError>,
    },
    /// Another file stands under the name and version of the model that decided.
    #[error("{uri} is not the file that decided: its SHA-256 is {found}, not {logged}")]
    OtherFile {
        /// URI of the model, made of what the log holds of it.
        uri: ModelUri,
        /// SHA-256 of the file that was loaded, in hex digits.
        found: String,
        /// SHA-256 that the log holds, in hex digits.
        logged: String,
    },
}

/// Loads a model and checks it; a path is read as it is, any other URI goes to the registry. `now_ms` is the time of the
/// loading, epoch milliseconds.
///
/// # Errors
/// When the registry does not find the model, or its files are not those of a model.
pub async fn load(registry: &impl ModelRegistry, uri: &ModelUri, now_ms: i64) -> Result<LoadedModel, ModelError> {
    let resolved = match uri {
        ModelUri::Path(path) => ResolvedModel { name: None, version: None, path: path.clone() },
        uri => registry.resolve(uri).await.map_err(ModelError::Registry)?,
    };
    Ok(LoadedModel::load(&resolved, now_ms)?)
}

/// Loads the very model that decided, to the byte of its file. `now_ms` is the time of the loading, epoch milliseconds.
///
/// # Errors
/// When the model cannot be loaded any more, or another file has taken its name and version.
pub async fn load_decider(
    registry: &impl ModelRegistry,
    logged: &DecidingModel,
    now_ms: i64,
) -> Result<LoadedModel, ModelError> {
    let uri = match logged.version.parse() {
        Ok(version) => ModelUri::Version(logged.name.clone(), version),
        Err(_) => ModelUri::Path(logged.name.clone().into()),
    };
    let model = match load(registry, &uri, now_ms).await {
        Ok(model) => model,
        Err(error) => return Err(ModelError::Decider { uri, source: Box::new(error) }),
    };
    if model.deciding.sha256 != logged.sha256 {
        let (found, logged) = (model.package.model_sha256, hex(&logged.sha256));
        return Err(ModelError::OtherFile { uri, found, logged });
    }
    Ok(model)
}

/// Writes bytes as lower-case hex digits, as the log's SHA-256 are shown.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
