//! What becomes of decisions: labels, performance, drift, alerts.

mod labels;
pub(crate) mod performance;

use crate::routes::ControlPlane;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use serin_store::NewLabel;
use std::path::PathBuf;

pub use labels::{label_of_texts, label_report};
pub use performance::performance_report;

/// Largest body of labels: half a million of them.
const MAX_LABELS_BODY: usize = 64 << 20;

/// Reads labels out of a Parquet file's bytes.
pub type ReadParquet = fn(&[u8]) -> Result<Vec<NewLabel>, String>;

/// Where monitoring finds what it looks at.
#[derive(Debug, Clone, Default)]
pub struct Monitoring {
    /// Folder of the decision log; performance is not known without it.
    pub decisions: Option<PathBuf>,
    /// Where model packages from elsewhere are copied to.
    pub cache: PathBuf,
    /// For labels sent as Parquet; refused without it.
    pub read_parquet: Option<ReadParquet>,
}

/// Routes below `/v1`.
pub(crate) fn router() -> Router<ControlPlane> {
    Router::new()
        .route("/labels", post(labels::create).get(labels::history).layer(DefaultBodyLimit::max(MAX_LABELS_BODY)))
        .route("/performance", get(performance::show))
}
