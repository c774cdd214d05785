//! The registry as a scoring server in the same process needs it.

use super::Registry;
use futures_util::future::{BoxFuture, FutureExt};
use serin_analysis::evidence::sharing::{OthersEvidence, SharedEvidence};
use serin_control::share_evidence;
use serin_gateway::{RegistryAnswer, RegistryError};
use serin_scorer::now_ms;
use serin_scorer::registry as scoring;
use serin_store::StoreError;
use serin_tracking::{Change, ModelUri, ResolvedModel, StoredPane};

fn stored<'a, T: 'a>(
    answer: impl Future<Output = Result<T, StoreError>> + Send + 'a,
) -> BoxFuture<'a, Result<T, RegistryError>> {
    let class = |error: StoreError| match error {
        StoreError::NotFound(message) => RegistryError::NotFound(message),
        StoreError::NotLeading(message) => RegistryError::NotLeading(message),
        StoreError::Superseded(message) => RegistryError::Moved(message),
        other => RegistryError::Unavailable(other.to_string()),
    };
    answer.map(move |answer| answer.map_err(class)).boxed()
}

impl scoring::Registry for Registry {
    fn resolve<'a>(&'a self, uri: &'a ModelUri) -> RegistryAnswer<'a, ResolvedModel> {
        match self {
            Self::Embedded { store, cache } => stored(store.resolve(uri, cache)),
            Self::Remote(remote) => scoring::Registry::resolve(remote, uri),
        }
    }

    fn forget(&self, model: &ResolvedModel) {
        match self {
            Self::Embedded { cache, .. } => scoring::forget_copy(cache, model),
            Self::Remote(remote) => scoring::Registry::forget(remote, model),
        }
    }

    fn point<'a>(&'a self, uri: &'a ModelUri, version: i64, change: Change) -> RegistryAnswer<'a, ()> {
        match self {
            Self::Embedded { store, .. } => stored(store.point(uri, version, change)),
            Self::Remote(remote) => remote.point(uri, version, change),
        }
    }

    fn share_evidence(&self, evidence: SharedEvidence) -> RegistryAnswer<'_, OthersEvidence> {
        match self {
            Self::Embedded { store, .. } => stored(async move { share_evidence(store, &evidence, now_ms()).await }),
            Self::Remote(remote) => remote.share_evidence(evidence),
        }
    }

    fn note_rollout<'a>(
        &'a self,
        name: &'a str,
        version: i64,
        phase: &'a str,
        change: Change,
    ) -> RegistryAnswer<'a, ()> {
        match self {
            Self::Embedded { store, .. } => stored(store.note_rollout(name, version, phase, change)),
            Self::Remote(remote) => remote.note_rollout(name, version, phase, change),
        }
    }

    fn put_panes(&self, panes: Vec<StoredPane>) -> RegistryAnswer<'_, ()> {
        match self {
            Self::Embedded { store, .. } => stored(store.put_panes(panes)),
            Self::Remote(remote) => remote.put_panes(panes),
        }
    }
}
