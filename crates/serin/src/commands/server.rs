//! `serin server`: the tracking server and model registry.

use super::say;
use crate::cli::{Backend, Server};
use anyhow::Context;
use serin_artifacts::Artifacts;
use serin_control::{
    ControlPlane, DataPlanes, Launcher, Monitoring, Policy, ReadParquet, RunningJobs, Settings, WebhookPolicy,
    Webhooks, control_plane,
};
use serin_http::guard::Allowed;
use serin_scorer::environment::s3_settings;
use serin_scorer::listening::{DRAIN, Shutdown, bind};
use serin_store::{DatabaseUri, Store};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;

pub(crate) async fn run(args: &Server) -> anyhow::Result<()> {
    let listening = start(args).await?;
    let shutdown = Shutdown::catch()?;
    listening.announce(args);
    shutdown.requested().await;
    listening.stop().await;
    Ok(())
}

/// A tracking server that answers.
pub(crate) async fn start(args: &Server) -> anyhow::Result<Listening> {
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
    let webhooks = Webhooks::start(store.clone(), webhook_policy(args)?, super::now_ms).map_err(anyhow::Error::msg)?;
    let settings = crate::config::read(args.config.as_deref(), &args.backend.state)?;
    let launcher = launcher(args, &settings);
    let data_planes = DataPlanes::new(args.scoring_url.clone(), args.scoring_key.clone());
    let state = ControlPlane::new(store, webhooks, monitoring(args), settings, data_planes.clone(), super::now_ms);
    let jobs = state.jobs(launcher).start();
    let router = control_plane(state, policy, &prefix);
    let listening = Listening::start(args.host, args.port, router, jobs, data_planes).await?;
    let address = listening.address;
    if !args.host.is_loopback() && !args.auth {
        tracing::warn!(
            "listening on {address} without authentication: whoever reaches it can read, change and delete everything; start it with --auth, or listen on 127.0.0.1"
        );
    }
    Ok(listening)
}

/// Starts `serin retrain` as a process of its own.
fn launcher(args: &Server, settings: &Settings) -> Option<Arc<dyn Launcher>> {
    Some(Arc::new(super::retrain::Process::of(args, settings)))
}

fn monitoring(args: &Server) -> Monitoring {
    let state = &args.backend.state;
    let decisions = args.decision_log.clone().unwrap_or_else(|| state.join(serin_scorer::serve::DECISIONS));
    let read_parquet: Option<ReadParquet> = Some(super::labels::of_parquet);
    Monitoring { decisions: Some(decisions), cache: state.join("cache"), read_parquet, ..Monitoring::default() }
}

fn webhook_policy(args: &Server) -> anyhow::Result<WebhookPolicy> {
    let key = args.webhook_secret_encryption_key.as_deref().filter(|key| !key.is_empty());
    let key = key.map(str::parse).transpose();
    Ok(WebhookPolicy {
        schemes: args.webhook_allowed_schemes.clone(),
        allow_private: args.webhook_allow_private_ips,
        key: key.context("MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY")?,
        ..WebhookPolicy::default()
    })
}

pub(crate) async fn open(args: &Backend, direct: bool) -> anyhow::Result<Store> {
    let database = match &args.backend_store_uri {
        Some(uri) => uri.parse().context("--backend-store-uri")?,
        None => DatabaseUri::Sqlite(args.state.join("serin.db")),
    };
    let artifacts = match args.artifacts_destination.as_deref() {
        Some(uri) if uri.starts_with("s3://") => {
            Artifacts::s3(uri, s3_settings()).context("--artifacts-destination")?
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

/// A server that answers; see [`Listening::stop`].
pub(crate) struct Listening {
    address: SocketAddr,
    stop: tokio::sync::watch::Sender<bool>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
    jobs: RunningJobs,
    data_planes: DataPlanes,
}

impl Listening {
    /// Prints the addresses of the dashboard and of the API.
    pub(crate) fn announce(&self, args: &Server) {
        let (address, prefix) = (self.address, args.static_prefix.as_deref().unwrap_or_default());
        say(format_args!(
            "dashboard and tracking server on http://{address}{prefix}  (export MLFLOW_TRACKING_URI=http://{address}{prefix})"
        ));
    }

    async fn start(
        host: IpAddr,
        port: u16,
        router: axum::Router,
        jobs: RunningJobs,
        data_planes: DataPlanes,
    ) -> anyhow::Result<Self> {
        let listener = bind(host, port)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let server = axum::serve(listener, router).with_graceful_shutdown(async move {
            // An error means that the sender is gone, which is a stop too.
            let _ = stopped.changed().await;
        });
        Ok(Self { address, stop, server: tokio::spawn(async move { server.await }), jobs, data_planes })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has the pages show a scoring server, too.
    pub(crate) fn show(&self, scoring: String) {
        self.data_planes.add(scoring);
    }

    /// Takes no new connections, lets requests under way end, and returns.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(true);
        self.data_planes.close();
        drop(self.jobs);
        if tokio::time::timeout(DRAIN, self.server).await.is_err() {
            tracing::warn!("connections were still open {} s after the stop; closing them", DRAIN.as_secs());
        }
    }
}
