//! `serin-scorer`: the scoring server alone, for machines that only decide.

use anyhow::Context;
use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;
use futures_util::future::{BoxFuture, FutureExt};
use serin_client::TrackingServer;
use serin_http::ApiError;
use serin_scorer::options::{Serve, State};
use serin_scorer::registry::{Registry, RemoteRegistry};
use serin_scorer::serve::Surroundings;
use serin_scorer::{environment, serve, telemetry};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Answer POST /predict with a model of a tracking server, or of a path: serin's scoring server alone
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  serin-scorer --tracking-uri http://mlflow:5000 -m models:/fraud_detection@champion\n  serin-scorer -m model.ubj\n\nTraining, the tracking server and the commands on decisions are in the full binary, serin."
)]
struct Cli {
    /// Log more (or set SERIN_LOG, e.g. SERIN_LOG=serin_gateway=debug)
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    serve: Serve,
}

/// A tracking server elsewhere, the API's contract without pages, no Parquet.
struct Alone;

impl Surroundings for Alone {
    fn registry<'a>(&'a self, state: &'a State) -> BoxFuture<'a, anyhow::Result<Arc<dyn Registry>>> {
        async move {
            let uri = state.tracking_uri.as_deref().context(
                "serin-scorer has no registry of its own: name a tracking server with --tracking-uri or MLFLOW_TRACKING_URI, or a model by its path",
            )?;
            let server = TrackingServer::new(uri, environment::client_config())?;
            let registry: Arc<dyn Registry> = Arc::new(RemoteRegistry { server, cache: state.state.join("cache") });
            Ok(registry)
        }
        .boxed()
    }

    fn pages(&self) -> Router {
        let none = || async { ApiError::NotFound("serin-scorer has no pages: read /openapi.json".to_owned()) };
        Router::new().route("/openapi.json", get(|| async { Json(serin_gateway::openapi()) })).route("/docs", get(none))
    }

    fn export(&self, log: PathBuf, out: &str, _: &Serve) -> anyhow::Result<BoxFuture<'static, ()>> {
        anyhow::bail!(
            "--export-decisions {out}: serin-scorer writes no Parquet; export {} with serin export",
            log.display()
        )
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::start(cli.verbose, false);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime");
    match runtime.and_then(|runtime| runtime.block_on(serve::run(&cli.serve, &Alone))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::report_failure("serin-scorer", &error);
            ExitCode::FAILURE
        }
    }
}
