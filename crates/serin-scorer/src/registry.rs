//! Where a scoring server finds its models.

use futures_util::future::{BoxFuture, FutureExt};
use serin_analysis::evidence::sharing::{Lease, OthersEvidence, SharedEvidence};
use serin_client::{ClientError, TrackingServer};
use serin_gateway::{RegistryAnswer, RegistryError};
use serin_http::with_causes;
use serin_tracking::{Change, ModelUri, Precondition, ResolvedModel, StoredPane};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A registry that is open.
pub trait Registry: Debug + Send + Sync + 'static {
    /// Finds what a URI names now, and brings it to this machine where it is elsewhere.
    fn resolve<'a>(&'a self, uri: &'a ModelUri) -> RegistryAnswer<'a, ResolvedModel>;
    /// Removes the copy of a model that this machine has made, where it has: the next [`Self::resolve`] fetches it anew.
    fn forget(&self, model: &ResolvedModel);
    /// Points an alias or a stage at a version.
    fn point<'a>(&'a self, uri: &'a ModelUri, version: i64, change: Change) -> RegistryAnswer<'a, ()>;
    /// Says what this server counted of a rollout, and hears what the other ones counted.
    fn share_evidence(&self, evidence: SharedEvidence) -> RegistryAnswer<'_, OthersEvidence>;
    /// Writes down how a version fared in a rollout.
    fn note_rollout<'a>(
        &'a self,
        name: &'a str,
        version: i64,
        phase: &'a str,
        change: Change,
    ) -> RegistryAnswer<'a, ()>;
    /// Keeps what this server saw of the traffic.
    fn put_panes(&self, panes: Vec<StoredPane>) -> RegistryAnswer<'_, ()>;
}

/// As [`Registry::resolve`]; none where no version is named so.
///
/// # Errors
/// When the registry does not answer.
pub async fn find(registry: &dyn Registry, uri: &ModelUri) -> Result<Option<ResolvedModel>, RegistryError> {
    match registry.resolve(uri).await {
        Ok(found) => Ok(Some(found)),
        Err(RegistryError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Points an alias or a stage at a version, unless it is there already.
///
/// # Errors
/// When the registry does not answer, or there is no such version.
pub async fn point(registry: &dyn Registry, uri: &ModelUri, version: i64, change: Change) -> Result<(), RegistryError> {
    if find(registry, uri).await?.is_some_and(|found| found.version == Some(version)) {
        return Ok(());
    }
    tracing::info!(actor = change.actor, reason = change.reason, "{uri} moves to version {version}");
    registry.point(uri, version, change).await
}

/// A registry behind a tracking server, serin's or MLflow's.
#[derive(Debug, Clone)]
pub struct RemoteRegistry {
    /// Connection to the tracking server.
    pub server: TrackingServer,
    /// Folder that models are copied to.
    pub cache: PathBuf,
}

/// The class of a client's failure.
#[must_use]
pub fn registry_error(error: &ClientError) -> RegistryError {
    let message = with_causes(error);
    let missing = matches!(error, ClientError::NotFound { .. })
        || ["RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"].iter().any(|code| error.is(code));
    if error.is("NOT_LEADING") {
        RegistryError::NotLeading(message)
    } else if error.is("RESOURCE_CONFLICT") {
        RegistryError::Moved(message)
    } else if missing {
        RegistryError::NotFound(message)
    } else {
        RegistryError::Unavailable(message)
    }
}

fn answered<'a, T: 'a>(
    answer: impl Future<Output = Result<T, ClientError>> + Send + 'a,
) -> BoxFuture<'a, Result<T, RegistryError>> {
    answer.map(|answer| answer.map_err(|error| registry_error(&error))).boxed()
}

/// Removes the files of a model that were copied below `cache`; those that lie elsewhere are no copy.
pub fn forget_copy(cache: &Path, model: &ResolvedModel) {
    if model.path.starts_with(cache)
        && let Err(error) = std::fs::remove_dir_all(&model.path)
    {
        tracing::warn!("{}: the copy cannot be removed: {error}", model.path.display());
    }
}

impl Registry for RemoteRegistry {
    fn forget(&self, model: &ResolvedModel) {
        forget_copy(&self.cache, model);
    }

    fn resolve<'a>(&'a self, uri: &'a ModelUri) -> RegistryAnswer<'a, ResolvedModel> {
        answered(self.server.resolve(uri, &self.cache))
    }

    fn point<'a>(&'a self, uri: &'a ModelUri, version: i64, change: Change) -> RegistryAnswer<'a, ()> {
        answered(async move { self.server.point(uri, version, &change).await })
    }

    fn share_evidence(&self, evidence: SharedEvidence) -> RegistryAnswer<'_, OthersEvidence> {
        answered(async move { self.server.share_evidence(&evidence).await })
    }

    fn note_rollout<'a>(
        &'a self,
        name: &'a str,
        version: i64,
        phase: &'a str,
        change: Change,
    ) -> RegistryAnswer<'a, ()> {
        answered(async move { self.server.note_rollout(name, version, phase, &change.reason).await })
    }

    fn put_panes(&self, panes: Vec<StoredPane>) -> RegistryAnswer<'_, ()> {
        answered(async move { self.server.put_panes(&panes).await })
    }
}

/// The registry as the rollout of one model needs it.
#[derive(Debug)]
pub(crate) struct RolloutRegistry {
    pub(crate) registry: Arc<dyn Registry>,
    /// Alias or stage of the version that decides.
    pub(crate) live: ModelUri,
    /// Alias or stage of the version that is to be released.
    pub(crate) candidate: ModelUri,
    /// Name of the registered model.
    pub(crate) name: String,
}

fn change(reason: String) -> Change {
    Change::new("serin rollout", reason, crate::now_ms())
}

impl serin_gateway::Registrar for RolloutRegistry {
    fn candidate(&self) -> RegistryAnswer<'_, Option<ResolvedModel>> {
        find(&*self.registry, &self.candidate).boxed()
    }

    fn forget(&self, model: &ResolvedModel) {
        self.registry.forget(model);
    }

    fn point(&self, version: i64, from: Option<i64>, lease: Option<Lease>, reason: String) -> RegistryAnswer<'_, ()> {
        let leader = lease.map(|lease| (lease.replica, lease.epoch));
        let change = Change { only_if: Precondition { leader, version: from }, ..change(reason) };
        point(&*self.registry, &self.live, version, change).boxed()
    }

    fn share(&self, evidence: SharedEvidence) -> RegistryAnswer<'_, OthersEvidence> {
        self.registry.share_evidence(evidence)
    }

    fn note(&self, version: i64, phase: &'static str, reason: String) -> RegistryAnswer<'_, ()> {
        self.registry.note_rollout(&self.name, version, phase, change(reason))
    }
}
