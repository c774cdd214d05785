//! The model that answers: loaded, checked, swapped without a pause.

use serin_analysis::monitor::MonitorProfile;
use serin_decisions::DecidingModel;
use serin_scoring::{Explainer, Forest, Manifest, PackageError, ScoringPackage};
use serin_tracking::ResolvedModel;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Larger than any fraud model; a hostile path must not fill the memory.
const MAX_MODEL_BYTES: u64 = 1 << 30;

/// Why a model was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file of the package cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// File.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The package is not what it should be.
    #[error("{}: {source}", path.display())]
    Package {
        /// Package.
        path: PathBuf,
        /// Cause.
        source: PackageError,
    },
    /// The folder holds no model that serin can score.
    #[error("{}: {reason}", path.display())]
    NotAModel {
        /// Package.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
}

/// A loaded model with its name in the registry.
#[derive(Debug)]
pub struct LoadedModel {
    /// Registered name, or the path.
    pub name: String,
    /// Version, or empty.
    pub version: String,
    /// Forest, signature, threshold.
    pub package: ScoringPackage,
    /// As the decision log names it.
    pub deciding: Arc<DecidingModel>,
    /// Where its package lies.
    pub folder: PathBuf,
    /// What its traffic should look like.
    pub monitor: Option<Arc<MonitorProfile>>,
    /// When it was loaded, epoch milliseconds.
    pub loaded_at_ms: i64,
    /// Made when somebody first asks for reasons.
    explainer: OnceLock<Result<Explainer, String>>,
}

impl LoadedModel {
    /// Loads a package folder (serin's or MLflow's) or a bare XGBoost file and runs its checks.
    ///
    /// # Errors
    /// With the file and the reason.
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
    /// The columns that moved a row's margin most, the strongest first: position and contribution.
    ///
    /// # Errors
    /// As [`Self::contributions`].
    pub fn strongest(&self, features: &[f32], most: usize) -> Result<Vec<(usize, f32)>, &str> {
        // Without the last, which is no column's.
        let contributions = self.contributions(features)?.into_iter().take(features.len()).enumerate();
        let mut strongest: Vec<(usize, f32)> = contributions.collect();
        strongest.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        strongest.truncate(most);
        Ok(strongest)
    }

    /// What each column added to the margin of a row, in the columns' order, and last what the margin is without any.
    ///
    /// # Errors
    /// When the model file does not tell, with the reason.
    pub fn contributions(&self, features: &[f32]) -> Result<Vec<f32>, &str> {
        let forest = &self.package.forest;
        let explainer = self.explainer.get_or_init(|| forest.explainer().map_err(|error| error.to_string()));
        explainer.as_ref().map(|explainer| forest.contributions(explainer, features)).map_err(String::as_str)
    }
}

/// 32 bytes of 64 hex digits.
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
