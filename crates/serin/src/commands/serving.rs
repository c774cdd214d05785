//! `serin serve`, and what the full binary adds to a scoring server: the registry of the state folder, `/docs`, Parquet.

use super::export;
use crate::cli::{Serve, State};
use crate::registry::Registry;
use axum::Router;
use futures_util::future::{BoxFuture, FutureExt};
use serin_scorer::registry as scoring;
use serin_scorer::serve::{self, Surroundings};
use std::path::PathBuf;
use std::sync::Arc;

/// The full binary around a scoring server.
pub(crate) struct Full;

impl Surroundings for Full {
    fn registry<'a>(&'a self, state: &'a State) -> BoxFuture<'a, anyhow::Result<Arc<dyn scoring::Registry>>> {
        async move {
            let registry: Arc<dyn scoring::Registry> = Arc::new(Registry::open(state).await?);
            Ok(registry)
        }
        .boxed()
    }

    fn pages(&self) -> Router {
        utoipa_swagger_ui::SwaggerUi::new("/docs").url("/openapi.json", serin_gateway::openapi()).into()
    }

    fn export(&self, log: PathBuf, out: &str, args: &Serve) -> anyhow::Result<BoxFuture<'static, ()>> {
        Ok(export::keep_exporting(log, out.to_owned(), args.log.export_reasons, args.state.clone()).boxed())
    }
}

pub(crate) async fn run(args: &Serve) -> anyhow::Result<()> {
    serve::run(args, &Full).await
}
