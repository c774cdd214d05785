//! The model that answers: loaded, checked, swapped without a pause.

use serin_analysis::monitor::MonitorProfile;
use serin_decisions::DecidingModel;
use serin_scoring::{Explainer, Forest, ForestError, Manifest, PackageError, ScoringPackage};
use serin_tracking::ResolvedModel;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Greatest size of a model file, bytes: larger than any fraud model, so that a hostile path cannot fill the memory.
const MAX_MODEL_BYTES: u64 = 1 << 30;

/// Why a model was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file of the package cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// File that cannot be read.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The package is not what it should be.
    #[error("{}: {source}", path.display())]
    Package {
        /// Folder of the package, or the file of a bare model.
        path: PathBuf,
        /// Check that the package did not pass.
        source: PackageError,
    },
    /// The folder holds no model that serin can score.
    #[error("{}: {reason}", path.display())]
    NotAModel {
        /// Folder without a model.
        path: PathBuf,
        /// Files that were looked for and are not there.
        reason: String,
    },
}

impl LoadError {
    /// True if the model may be readable a moment later: a file could not be read, or is not there yet. Another error
    /// is a verdict on the model.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::NotAModel { .. })
    }
}

/// A loaded model with its name in the registry.
#[derive(Debug)]
pub struct LoadedModel {
    /// Name of the registered model, or the path of one that is not registered.
    pub name: String,
    /// Version of the registered model; empty for one that is not registered.
    pub version: String,
    /// Forest, signature and threshold, checked against each other.
    pub package: ScoringPackage,
    /// Name, version, SHA-256, threshold and width of the model, as the decision log keeps them.
    pub deciding: Arc<DecidingModel>,
    /// Folder of the package, or the file of a bare model.
    pub folder: PathBuf,
    /// Reference that live traffic is compared with; none where the package has no usable one.
    pub monitor: Option<Arc<MonitorProfile>>,
    /// Time at which the model was loaded, epoch milliseconds.
    pub loaded_at_ms: i64,
    /// Explainer, or the reason why there is none; made when somebody first asks for reasons.
    explainer: OnceLock<Result<Explainer, ForestError>>,
}

impl LoadedModel {
    /// Loads a package folder (serin's or MLflow's) or a bare XGBoost file and runs its checks.
    ///
    /// # Errors
    /// Returns an error that names the file and the reason.
    pub fn load(resolved: &ResolvedModel, now_ms: i64) -> Result<Self, LoadError> {
        let path = &resolved.path;
        let package = if path.is_dir() { load_folder(path)? } else { load_bare(path, None)? };
        let name = resolved.name.clone().unwrap_or_else(|| path.display().to_string());
        let version = resolved.version.map_or_else(String::new, |version| version.to_string());
        // Its pages and tables are warm before the first payment meets them.
        let _ = package.forest.margin(&vec![f32::NAN; package.signature.columns.len()]);
        let deciding = Arc::new(DecidingModel {
            name: name.clone(),
            version: version.clone(),
            sha256: bytes_of_hex(&package.model_sha256),
            threshold: package.threshold,
            width: package.signature.columns.len(),
        });
        let monitor = profile_of(path, deciding.width);
        let (folder, explainer) = (path.clone(), OnceLock::new());
        Ok(Self { name, version, package, deciding, folder, monitor, loaded_at_ms: now_ms, explainer })
    }
}

impl LoadedModel {
    /// Returns the columns that moved a row's margin most, the strongest first: position and contribution, at most `most` of
    /// them.
    ///
    /// # Errors
    /// As [`Self::contributions`].
    pub fn strongest(&self, features: &[f32], most: usize) -> Result<Vec<(usize, f32)>, &ForestError> {
        // Without the last, which is no column's.
        let contributions = self.contributions(features)?.into_iter().take(features.len()).enumerate();
        let mut strongest: Vec<(usize, f32)> = contributions.collect();
        strongest.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        strongest.truncate(most);
        Ok(strongest)
    }

    /// Returns what each column added to the margin of a row, in the columns' order, and last what the margin is without
    /// any.
    ///
    /// # Errors
    /// Returns the reason when the model file does not hold what contributions need.
    pub fn contributions(&self, features: &[f32]) -> Result<Vec<f32>, &ForestError> {
        let forest = &self.package.forest;
        let explainer = self.explainer.get_or_init(|| forest.explainer());
        explainer.as_ref().map(|explainer| forest.contributions(explainer, features))
    }
}

/// Reads 32 bytes from 64 hex digits; a byte whose digits are missing or wrong becomes 0.
fn bytes_of_hex(hex: &str) -> [u8; 32] {
    std::array::from_fn(|i| hex.get(2 * i..2 * i + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or(0))
}

fn load_folder(path: &Path) -> Result<ScoringPackage, LoadError> {
    let manifest_path = path.join("serin.json");
    if manifest_path.exists() {
        let failed = |source| LoadError::Package { path: path.into(), source };
        let manifest = Manifest::from_bytes(&read(&manifest_path)?).map_err(failed)?;
        // A plain name: the manifest must not point outside its package.
        if manifest.model_file.is_empty() || manifest.model_file.contains(['/', '\\']) || manifest.model_file == ".." {
            return Err(failed(PackageError::Manifest(format!(
                "model_file {:?} is not a plain file name",
                manifest.model_file
            ))));
        }
        let model = read(&path.join(&manifest.model_file))?;
        return ScoringPackage::new(&manifest, &model).map_err(failed);
    }
    // Logged by Python: MLmodel names the class, which decides whether later rounds count.
    let mlmodel = std::fs::read_to_string(path.join("MLmodel")).unwrap_or_default();
    let sklearn = mlmodel.contains("model_class: xgboost.sklearn.");
    for name in ["model.ubj", "model.json", "model.xgb"] {
        if path.join(name).exists() {
            return load_bare(&path.join(name), Some(sklearn));
        }
    }
    Err(LoadError::NotAModel {
        path: path.into(),
        reason: "neither serin.json nor model.ubj, model.json or model.xgb is there".into(),
    })
}

fn load_bare(path: &Path, sklearn: Option<bool>) -> Result<ScoringPackage, LoadError> {
    let model = read(path)?;
    let failed = |source| LoadError::Package { path: path.into(), source };
    let mut forest = Forest::from_bytes(&model).map_err(|e| failed(e.into()))?;
    if sklearn == Some(true) {
        forest = forest.up_to_best_iteration();
    }
    ScoringPackage::of_bare_model(forest, &model).map_err(failed)
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let failed = |source| LoadError::Io { path: path.into(), source };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > MAX_MODEL_BYTES {
        return Err(failed(std::io::Error::other(format!("{size} bytes; the limit is {MAX_MODEL_BYTES}"))));
    }
    std::fs::read(path).map_err(failed)
}

/// Reads the reference of a model package; none where it has none, or one that is of no use.
fn profile_of(package: &std::path::Path, columns: usize) -> Option<Arc<MonitorProfile>> {
    let bytes = std::fs::read(package.join("monitor.json")).ok()?;
    match MonitorProfile::from_bytes(&bytes) {
        Ok(profile) if profile.columns.len() == columns => Some(Arc::new(profile)),
        Ok(_) => {
            tracing::warn!("{}: monitor.json is of other columns, so the model is not watched", package.display());
            None
        }
        Err(error) => {
            tracing::warn!("{}: monitor.json cannot be read, so the model is not watched: {error}", package.display());
            None
        }
    }
}
