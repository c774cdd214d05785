//! Monitoring of what becomes of decisions: performance by labels, drift, the guard of promotions, alerts,
//! retraining.

mod board;
pub(crate) mod comparison;
mod error;
pub(crate) mod evidently;
pub(crate) mod guard;
mod kept_figures;
pub(crate) mod labelled;
pub(crate) mod notify;
pub(crate) mod performance;
pub(crate) mod triggers;
pub(crate) mod windows;

use crate::settings::Settings;
use serin_analysis::monitor::MonitorProfile;
use serin_decisions::DecisionFiles;
use serin_models::LoadedModel;
use serin_store::Store;
use serin_tracking::NewLabel;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use board::Board;
pub use error::{InvalidLabels, MonitoringError};
pub use kept_figures::KeptFigures;

/// Function that reads labels out of a Parquet file's bytes.
pub type ReadParquet = fn(&[u8]) -> Result<Vec<NewLabel>, InvalidLabels>;

/// Data that questions about decisions are answered from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub(crate) store: &'a Store,
    pub(crate) monitoring: &'a Monitoring,
    pub(crate) settings: &'a Settings,
    /// Time now, epoch milliseconds.
    pub(crate) now_ms: i64,
}

/// Places where monitoring finds its data.
#[derive(Debug, Clone, Default)]
pub struct Monitoring {
    /// Folder of the decision log; `None` if this server sees none, and performance is not known then.
    pub decisions: Option<PathBuf>,
    /// Folder that model packages from elsewhere are copied to.
    pub cache: PathBuf,
    /// Reader of labels sent as Parquet; `None` refuses such labels.
    pub read_parquet: Option<ReadParquet>,
    /// Cache of monitor references; a version's reference never changes.
    pub references: References,
    /// Cache of models that were loaded to explain decisions.
    pub explained: Explained,
    /// Figures of the performance pages that were looked at last.
    pub kept_figures: KeptFigures,
}

impl Monitoring {
    /// Decision log, if this server sees one and something was decided.
    pub(crate) fn log(&self) -> Option<DecisionFiles> {
        self.decisions.as_deref().filter(|folder| folder.is_dir()).map(DecisionFiles::of)
    }
}

/// Cache of the references that were looked at last, by their package's folder; at most 8.
#[derive(Debug, Clone, Default)]
pub struct References(Arc<Mutex<Vec<Reference>>>);

type Reference = (PathBuf, Arc<MonitorProfile>);

impl References {
    const KEPT: usize = 8;

    /// Reference of the package in a folder, from the cache or its file `monitor.json`.
    pub(crate) fn of(&self, package: &Path) -> Result<Arc<MonitorProfile>, MonitoringError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, reference)) = kept.iter().find(|(of, _)| of == package) {
            return Ok(Arc::clone(reference));
        }
        let path = package.join("monitor.json");
        let file = || path.display().to_string();
        let bytes = std::fs::read(&path).map_err(|source| MonitoringError::File { file: file(), source })?;
        let wrong = |source| MonitoringError::Reference { file: file(), source };
        let reference = Arc::new(MonitorProfile::from_bytes(&bytes).map_err(wrong)?);
        if kept.len() == Self::KEPT {
            kept.remove(0);
        }
        kept.push((package.to_owned(), Arc::clone(&reference)));
        Ok(reference)
    }
}

/// Cache of models that explain decisions, the last used ones; at most 4.
#[derive(Debug, Clone, Default)]
pub struct Explained(Arc<Mutex<Vec<Arc<LoadedModel>>>>);

impl Explained {
    const KEPT: usize = 4;
}
