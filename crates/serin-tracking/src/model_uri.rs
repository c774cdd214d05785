//! Model URIs in MLflow's spellings.

use crate::Stage;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a model is, as a user writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelUri {
    /// A version of a registered model, `models:/name/3`: name and version.
    Version(String, i64),
    /// The version of a registered model in a stage, `models:/name/Production`: name and stage.
    Stage(String, Stage),
    /// The version of a registered model under an alias, `models:/name@champion`: name and alias.
    Alias(String, String),
    /// The latest version of a registered model, `models:/name/latest`: name.
    Latest(String),
    /// A model package among the artifacts of a run, `runs:/id/path`: id and path.
    Run(String, String),
    /// A package folder, or an XGBoost file, on this machine.
    Path(PathBuf),
}

/// Result of resolving a model URI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedModel {
    /// Name of the registered model; none where the model is not registered.
    pub name: Option<String>,
    /// Version of the registered model; none where the model is not registered.
    pub version: Option<i64>,
    /// Path of the package folder or model file.
    pub path: PathBuf,
}

/// Text that is no URI of a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?}: write models:/NAME/VERSION, models:/NAME/Production, models:/NAME@ALIAS, models:/NAME/latest, runs:/ID/PATH or a path"
)]
pub struct InvalidModelUri(String);

impl FromStr for ModelUri {
    type Err = InvalidModelUri;

    fn from_str(text: &str) -> Result<Self, InvalidModelUri> {
        let usage = || InvalidModelUri(text.to_owned());
        if let Some(rest) = text.strip_prefix("models:/") {
            if let Some((name, alias)) = rest.split_once('@') {
                return if name.is_empty() || alias.is_empty() {
                    Err(usage())
                } else {
                    Ok(Self::Alias(name.into(), alias.into()))
                };
            }
            let (name, which) = rest.split_once('/').ok_or_else(usage)?;
            if name.is_empty() || which.is_empty() {
                return Err(usage());
            }
            if let Ok(version) = which.parse() {
                return Ok(Self::Version(name.into(), version));
            }
            if which.eq_ignore_ascii_case("latest") {
                return Ok(Self::Latest(name.into()));
            }
            return which.parse().map(|stage| Self::Stage(name.into(), stage)).map_err(|_| usage());
        }
        if let Some(rest) = text.strip_prefix("runs:/") {
            let (run, path) = rest.split_once('/').ok_or_else(usage)?;
            let plain =
                path.split('/').all(|part| !part.is_empty() && part != ".." && part != "." && !part.contains('\\'));
            return if run.is_empty() || !plain { Err(usage()) } else { Ok(Self::Run(run.into(), path.into())) };
        }
        if text.is_empty() || text.contains(":/") {
            return Err(usage());
        }
        Ok(Self::Path(text.into()))
    }
}

impl std::fmt::Display for ModelUri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version(name, version) => write!(f, "models:/{name}/{version}"),
            Self::Stage(name, stage) => write!(f, "models:/{name}/{}", stage.as_str()),
            Self::Alias(name, alias) => write!(f, "models:/{name}@{alias}"),
            Self::Latest(name) => write!(f, "models:/{name}/latest"),
            Self::Run(run, path) => write!(f, "runs:/{run}/{path}"),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}
