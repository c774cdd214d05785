//! Where a command keeps its runs and models: the state folder, or a tracking server over HTTP.

mod deciding;
mod writing;

pub(crate) use writing::StoreLedger;

use crate::cli::State;
use anyhow::Context;
use serde_json::Value;
use serin_batch::models::{ModelRegistry, RegistryFailure};
use serin_client::TrackingServer;
use serin_control::{Monitoring, label_report, performance_report};
use serin_scorer::environment::client_config;
use serin_scorer::now_ms;
use serin_scorer::registry::{self as scoring, RemoteRegistry};
use serin_store::Store;
use serin_tracking::{Change, LabelsStored, ModelUri, NewLabel, ResolvedModel};
use std::path::{Path, PathBuf};
use tokio::sync::OnceCell;

/// A registry that is open.
#[derive(Debug, Clone)]
pub(crate) enum Registry {
    /// Database and artifacts of this machine, and the folder that models from elsewhere are copied to.
    Embedded { store: Store, cache: PathBuf },
    /// serin's or MLflow's server.
    Remote(RemoteRegistry),
}

impl Registry {
    pub(crate) async fn open(args: &State) -> anyhow::Result<Self> {
        let cache = args.state.join("cache");
        match args.tracking_uri.as_deref() {
            Some(uri) if uri.starts_with("http://") || uri.starts_with("https://") => {
                Ok(Self::Remote(RemoteRegistry { server: TrackingServer::new(uri, client_config())?, cache }))
            }
            Some(uri) => anyhow::bail!(
                "MLFLOW_TRACKING_URI or --tracking-uri {uri:?} is not the address of a tracking server (http://… or https://…); for a folder use --state"
            ),
            None => {
                let store = Store::open(&args.state)
                    .await
                    .with_context(|| format!("cannot open the state folder {}", args.state.display()))?;
                Ok(Self::Embedded { store, cache })
            }
        }
    }

    /// Finds what a URI names now, and brings it to this machine where it is elsewhere.
    pub(crate) async fn resolve(&self, uri: &ModelUri) -> anyhow::Result<ResolvedModel> {
        match self {
            Self::Embedded { store, cache } => Ok(store.resolve(uri, cache).await?),
            Self::Remote(remote) => Ok(remote.server.resolve(uri, &remote.cache).await?),
        }
    }

    /// Points an alias or a stage at a version, unless it is there already.
    pub(crate) async fn point(&self, uri: &ModelUri, version: i64, actor: &str, reason: &str) -> anyhow::Result<()> {
        let change = Change::new(actor, reason, now_ms());
        Ok(scoring::point(self, uri, version, change).await?)
    }

    /// Keeps labels, all of them or none.
    pub(crate) async fn put_labels(&self, labels: Vec<NewLabel>) -> anyhow::Result<LabelsStored> {
        match self {
            Self::Embedded { store, .. } => Ok(store.put_labels(labels, now_ms()).await?),
            Self::Remote(remote) => Ok(remote.server.put_labels(&labels).await?),
        }
    }

    /// Everything said of a transaction or decision, and what counts.
    pub(crate) async fn label_history(
        &self,
        transaction: Option<&str>,
        decision: Option<&str>,
    ) -> anyhow::Result<Value> {
        match self {
            Self::Embedded { store, .. } => Ok(label_report(store, transaction, decision).await?),
            Self::Remote(remote) => Ok(remote.server.label_history(transaction, decision).await?),
        }
    }

    /// How decisions turned out; `log` is the folder of the decision log, where it is read from here.
    pub(crate) async fn performance(&self, query: &[(&str, String)], log: &Path) -> anyhow::Result<Value> {
        match self {
            Self::Embedded { store, cache } => {
                anyhow::ensure!(
                    log.is_dir(),
                    "there is no decision log at {}: name its folder with --decision-log",
                    log.display()
                );
                let monitoring =
                    Monitoring { decisions: Some(log.to_owned()), cache: cache.clone(), ..Monitoring::default() };
                Ok(performance_report(store, &monitoring, query, now_ms()).await?)
            }
            Self::Remote(remote) => Ok(remote.server.performance(query).await?),
        }
    }
}

impl ModelRegistry for Registry {
    async fn resolve(&self, uri: &ModelUri) -> Result<ResolvedModel, RegistryFailure> {
        Ok(Self::resolve(self, uri).await?)
    }
}

/// The registry that a command's options name, opened when it is first asked: models at a path need none.
pub(crate) struct RegistryWhenAsked {
    state: State,
    opened: OnceCell<Registry>,
}

impl RegistryWhenAsked {
    pub(crate) fn of(state: &State) -> Self {
        Self { state: state.clone(), opened: OnceCell::new() }
    }
}

impl ModelRegistry for RegistryWhenAsked {
    async fn resolve(&self, uri: &ModelUri) -> Result<ResolvedModel, RegistryFailure> {
        let registry = self.opened.get_or_try_init(|| Registry::open(&self.state)).await?;
        Ok(registry.resolve(uri).await?)
    }
}
