//! `serin server`: the tracking server and model registry.

use super::say;
use super::serve::shutdown_signal;
use crate::cli::{Backend, Server};
use anyhow::Context;
use serin_server::{Allowed, ControlPlane, Policy, control_plane};
use serin_store::{Artifacts, DatabaseUri, Store};
use std::time::Duration;
use tokio::net::TcpListener;

/// Requests under way get this long to end after SIGTERM.
const DRAIN: Duration = Duration::from_secs(30);

pub(crate) async fn run(args: &Server) -> anyhow::Result<()> {
    let store = open(&args.backend, args.no_serve_artifacts).await?;
    store.ensure_default_experiment(super::now_ms()).await?;
    if args.auth && !store.has_users().await? {
        anyhow::bail!(
            "--auth needs a user, and there is no default one: make the first with `serin user add NAME --admin` on the same --state or --backend-store-uri"
        );
    }
    let allowed = Allowed { hosts: args.allowed_hosts.clone(), origins: args.cors_allowed_origins.clone() };
    let prefix = args.static_prefix.clone().unwrap_or_default();
    let policy = Policy { allowed, authenticate: args.auth };
    let router = control_plane(ControlPlane { store, clock: super::now_ms }, policy, &prefix);
    let listener = TcpListener::bind((args.host, args.port)).await.with_context(|| {
        format!("cannot listen on {}:{}; choose another --port or stop what listens there", args.host, args.port)
    })?;
    let address = listener.local_addr()?;
    if !args.host.is_loopback() && !args.auth {
        tracing::warn!(
            "listening on {address} without authentication: whoever reaches it can read, change and delete everything; start it with --auth, or listen on 127.0.0.1"
        );
    }
    say(format_args!(
        "tracking server on http://{address}{prefix}  (export MLFLOW_TRACKING_URI=http://{address}{prefix})"
    ));
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        // An error means that the sender is gone, which is a stop too.
        let _ = stopped.changed().await;
    });
    let server = tokio::spawn(async move { server.await });
    shutdown_signal().await;
    let _ = stop.send(true);
    if tokio::time::timeout(DRAIN, server).await.is_err() {
        tracing::warn!("connections were still open {} s after the stop; closing them", DRAIN.as_secs());
    }
    Ok(())
}

pub(crate) async fn open(args: &Backend, direct: bool) -> anyhow::Result<Store> {
    let database = match &args.backend_store_uri {
        Some(uri) => uri.parse().map_err(anyhow::Error::msg).context("--backend-store-uri")?,
        None => DatabaseUri::Sqlite(args.state.join("serin.db")),
    };
    let artifacts = match args.artifacts_destination.as_deref() {
        Some(uri) if uri.starts_with("s3://") => {
            let settings =
                std::env::vars().filter(|(name, _)| name.starts_with("AWS_") || name.starts_with("MLFLOW_S3_"));
            Artifacts::s3(uri, settings).context("--artifacts-destination")?
        }
        Some(uri) if uri.contains("://") && !uri.starts_with("file://") => {
            anyhow::bail!("--artifacts-destination {uri:?}: write a folder or s3://BUCKET/PREFIX")
        }
        Some(folder) => Artifacts::local(folder.strip_prefix("file://").unwrap_or(folder).as_ref())?,
        None => Artifacts::local(&args.state.join("artifacts"))?,
    };
    let artifacts = if direct { artifacts.direct() } else { artifacts };
    Store::connect(&database, artifacts).await.with_context(|| format!("cannot use the database {database}"))
}
