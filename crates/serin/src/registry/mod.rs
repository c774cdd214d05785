//! Where a command keeps its runs and models: the state folder, or a tracking server over HTTP.

mod monitoring;
mod releasing;
mod remote;
#[cfg(feature = "train")]
mod remote_writing;
#[cfg(feature = "train")]
mod writing;

use crate::cli::State;
#[cfg(feature = "server")]
use anyhow::Context;
use remote::TrackingServer;
#[cfg(feature = "server")]
use serin_store::Store;
use serin_store::{ModelUri, ResolvedModel};
use std::path::PathBuf;

#[cfg(feature = "train")]
pub(crate) use writing::Registration;

/// A registry that is open.
#[derive(Debug, Clone)]
pub(crate) enum Registry {
    #[cfg(feature = "server")]
    /// Database and artifacts of this machine, and where models from elsewhere are copied to.
    Embedded { store: Store, cache: PathBuf },
    /// serin's or MLflow's server.
    Remote { server: TrackingServer, cache: PathBuf },
}

/// What the environment says of S3.
pub(crate) fn s3_settings() -> impl Iterator<Item = (String, String)> {
    std::env::vars().filter(|(name, _)| name.starts_with("AWS_") || name.starts_with("MLFLOW_S3_"))
}

impl Registry {
    pub(crate) async fn open(args: &State) -> anyhow::Result<Self> {
        let cache = args.state.join("cache");
        match args.tracking_uri.as_deref() {
            Some(uri) if uri.starts_with("http://") || uri.starts_with("https://") => {
                Ok(Self::Remote { server: TrackingServer::new(uri)?, cache })
            }
            Some(uri) => anyhow::bail!(
                "MLFLOW_TRACKING_URI or --tracking-uri {uri:?} is not the address of a tracking server (http://… or https://…); for a folder use --state"
            ),
            #[cfg(not(feature = "server"))]
            None => anyhow::bail!(
                "this serin was built for serving only: name a tracking server with --tracking-uri or MLFLOW_TRACKING_URI, or a model by its path"
            ),
            #[cfg(feature = "server")]
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
            #[cfg(feature = "server")]
            Self::Embedded { store, cache } => Ok(store.resolve(uri, cache).await?),
            Self::Remote { server, cache } => server.resolve(uri, cache).await,
        }
    }
}
