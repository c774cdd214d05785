//! What becomes of decisions: labels, performance, drift, alerts.

pub(crate) mod comparison;
mod drift;
pub(crate) mod evidently;
pub(crate) mod exact;
pub(crate) mod guard;
pub(crate) mod handlers;
pub(crate) mod labels;
pub(crate) mod live;
mod notify;
pub(crate) mod performance;
mod recent;
pub(crate) mod settings;
mod triggers;
pub(crate) mod watch;

use crate::routes::ControlPlane;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use serin_analysis::monitor::MonitorProfile;
use serin_store::{DecisionFiles, NewLabel};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use watch::Watch;

pub use comparison::Explained;
pub use drift::drift_json;
pub use evidently::{ColumnDrift, evidently_report};
pub use handlers::panes_json;
pub use labels::{label_of_texts, label_report};
pub use live::{LiveMonitor, PaneSink};
pub use performance::performance_report;
pub use settings::Settings;
pub use watch::{Launcher, RetrainingOrder};

/// The reference of a model, where it has one.
pub(crate) type Monitored = Option<Arc<MonitorProfile>>;

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
    /// References that were read; a version's never changes.
    pub references: References,
    /// Models that were loaded to explain decisions.
    pub explained: Explained,
}

impl Monitoring {
    /// The decision log; none where this server sees none, or nothing was decided yet.
    pub(crate) fn log(&self) -> Option<DecisionFiles> {
        self.decisions.as_deref().filter(|folder| folder.is_dir()).map(DecisionFiles::of)
    }
}

/// References of the versions that were looked at last, by their package's folder.
#[derive(Debug, Clone, Default)]
pub struct References(Arc<Mutex<Vec<Reference>>>);

type Reference = (PathBuf, Arc<MonitorProfile>);

impl References {
    const KEPT: usize = 8;

    /// Of a package.
    fn of(&self, package: &Path) -> Result<Arc<MonitorProfile>, String> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, reference)) = kept.iter().find(|(of, _)| of == package) {
            return Ok(Arc::clone(reference));
        }
        let path = package.join("monitor.json");
        let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let reference = Arc::new(MonitorProfile::from_bytes(&bytes)?);
        if kept.len() == Self::KEPT {
            kept.remove(0);
        }
        kept.push((package.to_owned(), Arc::clone(&reference)));
        Ok(reference)
    }
}

/// A task that ends with it.
#[derive(Debug)]
pub struct Watching(tokio::task::JoinHandle<()>);

impl Watching {
    /// Starts looking at what data planes see; `launcher` starts retrainings.
    #[must_use]
    pub fn start(state: &ControlPlane, launcher: Option<Arc<dyn Launcher>>) -> Self {
        let watch = Watch {
            store: state.store.clone(),
            monitoring: state.monitoring.clone(),
            settings: state.settings.clone(),
            launcher,
            board: state.board.clone(),
            clock: state.clock,
        };
        Self(tokio::spawn(watch.run()))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Routes below `/v1`.
pub(crate) fn router() -> Router<ControlPlane> {
    Router::new()
        .route("/labels", post(labels::create).get(labels::history).layer(DefaultBodyLimit::max(MAX_LABELS_BODY)))
        .route("/performance", get(performance::show))
        .route("/panes", post(handlers::put_panes).layer(DefaultBodyLimit::max(MAX_LABELS_BODY)))
        .route("/drift", get(handlers::drift))
        .route("/guard", get(guard::show))
        .route("/alerts", get(handlers::alerts))
        .route("/retrainings", get(handlers::retrainings))
}
