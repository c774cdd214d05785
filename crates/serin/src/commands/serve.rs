//! `serin serve`: load a model, answer, follow the registry, drain on SIGTERM.

use super::listening::{Listening, shutdown_signal};
use super::say;
use crate::cli::Serve;
use crate::registry::Registry;
use serin_server::{DataPlane, Limits, ModelSlot, data_plane};
use serin_store::{ModelUri, ResolvedModel};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub(crate) async fn run(args: &Serve) -> anyhow::Result<()> {
    let serving = start(args).await?;
    say(format_args!("serving {} on http://{} (API: /docs)", args.model, serving.address));
    shutdown_signal().await;
    serving.stop().await;
    Ok(())
}

/// A scoring server that answers and follows the registry.
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    listening: Listening,
    follower: tokio::task::JoinHandle<()>,
}

impl Serving {
    /// Takes no new connections, lets requests under way end, and returns.
    pub(crate) async fn stop(self) {
        self.follower.abort();
        self.listening.stop().await;
    }
}

pub(crate) async fn start(args: &Serve) -> anyhow::Result<Serving> {
    let uri: ModelUri = args.model.parse().map_err(anyhow::Error::msg)?;
    // A model given by path needs no registry, and leaves no state folder behind.
    let registry = match uri {
        ModelUri::Path(_) => None,
        _ => Some(Registry::open(&args.state).await?),
    };
    let prometheus = serin_server::metrics::install().map_err(anyhow::Error::msg)?;
    let slot = Arc::new(ModelSlot::default());
    let first = resolve(registry.as_ref(), &uri).await;
    match first.and_then(|resolved| Ok((slot.switch_to(&resolved)?, resolved))) {
        Ok((model, _)) => {
            tracing::info!(model = model.name, version = model.version, path = %model.package.forest.path(), sha256 = model.package.model_sha256, "model loaded");
        }
        Err(error) if args.wait_for_model => tracing::warn!("no model yet: {error:#}"),
        Err(error) => return Err(error),
    }
    let limits = Limits { body_bytes: args.max_body_bytes, rows: args.max_rows };
    let router = data_plane(DataPlane { model: Arc::clone(&slot), limits, prometheus });
    let listening = Listening::start(args.host, args.port, router).await?;
    let follower = tokio::spawn(follow(registry, uri, slot, Duration::from_secs_f64(args.poll.clamp(0.05, 3600.0))));
    Ok(Serving { address: listening.address, listening, follower })
}

async fn resolve(registry: Option<&Registry>, uri: &ModelUri) -> anyhow::Result<ResolvedModel> {
    match (registry, uri) {
        (Some(registry), uri) => registry.resolve(uri).await,
        (None, ModelUri::Path(path)) => Ok(ResolvedModel { name: None, version: None, path: path.clone() }),
        (None, _) => anyhow::bail!("{uri} needs a registry"),
    }
}

/// Swaps the model when the URI names another one. A refused one is tried again only when it changes.
async fn follow(registry: Option<Registry>, uri: ModelUri, slot: Arc<ModelSlot>, every: Duration) {
    let Some(registry) = registry else { return };
    let mut seen = resolve(Some(&registry), &uri).await.ok().filter(|_| slot.live().is_some());
    let mut away = false;
    loop {
        tokio::time::sleep(every).await;
        let resolved = match registry.resolve(&uri).await {
            Ok(resolved) => resolved,
            Err(error) => {
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!("cannot look up {uri}, the loaded model keeps answering: {error:#}");
                }
                continue;
            }
        };
        away = false;
        if seen.as_ref() == Some(&resolved) {
            continue;
        }
        let candidate = Arc::clone(&slot);
        let wanted = resolved.clone();
        match tokio::task::spawn_blocking(move || candidate.switch_to(&wanted)).await {
            Ok(Ok(model)) => tracing::info!(model = model.name, version = model.version, "model switched"),
            Ok(Err(error)) => tracing::error!("model refused, the one before keeps answering: {error}"),
            Err(error) => tracing::error!("loading a model failed: {error}"),
        }
        seen = Some(resolved);
    }
}
