//! Model URIs, MLflow's spellings.

use crate::{Change, ModelVersion, Stage, Store, StoreError};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelUri {
    /// `models:/name/3`
    Version(String, i64),
    /// `models:/name/Production`
    Stage(String, Stage),
    /// `models:/name@champion`
    Alias(String, String),
    /// `models:/name/latest`
    Latest(String),
    /// `runs:/id/path`
    Run(String, String),
    /// A folder, or an XGBoost file.
    Path(PathBuf),
}

/// A model that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedModel {
    /// Registered model, when it is one.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<i64>,
    /// Package folder or model file.
    pub path: PathBuf,
}

impl FromStr for ModelUri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage = || {
            format!(
                "{text:?}: write models:/NAME/VERSION, models:/NAME/Production, models:/NAME@ALIAS, models:/NAME/latest, runs:/ID/PATH or a path"
            )
        };
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

impl Store {
    /// Points an alias or a stage at a version; one that comes to Staging or Production archives the one there.
    ///
    /// # Errors
    /// When the URI names neither, there is no such version, or the database fails.
    pub async fn point(&self, uri: &ModelUri, version: i64, change: Change) -> Result<(), StoreError> {
        match uri {
            ModelUri::Alias(name, alias) => self.set_alias(name, alias, version, change).await,
            ModelUri::Stage(name, stage) => {
                self.move_to_stage(name, version, *stage, stage.archives(), change).await.map(drop)
            }
            _ => Err(StoreError::Invalid(format!(
                "{uri} cannot be moved: name an alias (models:/NAME@champion) or a stage (models:/NAME/Production)"
            ))),
        }
    }

    /// Finds what a URI names now; stages and aliases move. Models in S3 are copied below `cache`, once a version.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] with what there is instead.
    pub async fn resolve(&self, uri: &ModelUri, cache: &Path) -> Result<ResolvedModel, StoreError> {
        let found = match uri {
            ModelUri::Path(path) => return Ok(ResolvedModel { name: None, version: None, path: path.clone() }),
            ModelUri::Run(run, path) => {
                let info = self.run_info(run).await?;
                let mut location = format!("{}/{path}", info.artifact_uri.trim_end_matches('/'));
                // A folder of the run, or, since MLflow 3, the model of that name that it logged.
                let folder = self.artifacts.path_of(&location);
                let found = match &folder {
                    Some(folder) => !self.artifacts.list(folder).await?.is_empty(),
                    None => true,
                };
                let mut kept = cache.join(run);
                if !found && let Some(model) = self.model_of_run(run, path).await? {
                    location = model.artifact_location;
                    kept = cache.join(model.id);
                }
                let path = self.local_copy(&location, &kept).await?;
                return Ok(ResolvedModel { name: None, version: None, path });
            }
            _ => self.version_of(uri).await?,
        };
        let Some(found) = found else { return Err(self.nothing_at(uri).await?) };
        let mut location = found.storage_location.clone();
        if let Some(rest) = location.strip_prefix("runs:/") {
            let (run, path) = rest.split_once('/').unwrap_or((rest, ""));
            location = format!("{}/{path}", self.run_info(run).await?.artifact_uri.trim_end_matches('/'));
        }
        let path = self.local_copy(&location, &cache.join(format!("{}-{}", found.name, found.version))).await?;
        Ok(ResolvedModel { name: Some(found.name), version: Some(found.version), path })
    }

    /// The version that a registry URI names now.
    pub(crate) async fn version_of(&self, uri: &ModelUri) -> Result<Option<ModelVersion>, StoreError> {
        let found = match uri {
            ModelUri::Version(name, version) => self.model_version(name, *version).await,
            ModelUri::Alias(name, alias) => self.aliased_version(name, alias).await,
            ModelUri::Latest(name) => self.aliased_version(name, "latest").await,
            ModelUri::Stage(name, stage) => {
                return Ok(self.latest_versions(name, &[*stage]).await.ok().and_then(|mut v| v.pop()));
            }
            ModelUri::Run(..) | ModelUri::Path(_) => return Ok(None),
        };
        match found {
            Ok(version) => Ok(Some(version)),
            Err(StoreError::NotFound(_) | StoreError::Invalid(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn nothing_at(&self, uri: &ModelUri) -> Result<StoreError, StoreError> {
        let name = match uri {
            ModelUri::Version(name, _)
            | ModelUri::Stage(name, _)
            | ModelUri::Alias(name, _)
            | ModelUri::Latest(name) => name,
            ModelUri::Run(..) | ModelUri::Path(_) => return Ok(StoreError::NotFound(format!("model {uri} not found"))),
        };
        let versions = self.versions(name).await?;
        let hint = if versions.is_empty() {
            "no version of it is registered: train one with `serin train`".to_owned()
        } else {
            let list: Vec<_> =
                versions.iter().take(8).map(|v| format!("{} ({})", v.version, v.stage.as_str())).collect();
            format!("registered versions: {}", list.join(", "))
        };
        Ok(StoreError::NotFound(format!("model \"{uri}\" not found; {hint}")))
    }

    async fn local_copy(&self, location: &str, cache: &Path) -> Result<PathBuf, StoreError> {
        let Some(path) = self.artifacts.path_of(location) else {
            // A folder of this machine, as `serin train` before the tracking server wrote it.
            if location.starts_with('/') {
                return Ok(PathBuf::from(location));
            }
            return Err(StoreError::Invalid(format!(
                "the model lies at {location}, which is not below this store's artifact root {}",
                self.artifacts.root()
            )));
        };
        if let Some(folder) = self.artifacts.local_folder(&path) {
            return Ok(folder);
        }
        if !cache.exists() {
            // Under its name only when it is whole.
            let partial = cache.with_extension(format!("partial-{}", uuid::Uuid::new_v4().simple()));
            self.artifacts.download(&path, &partial).await?;
            std::fs::rename(&partial, cache)
                .or_else(|error| if cache.exists() { Ok(()) } else { Err(error) })
                .map_err(|source| StoreError::artifact(cache.display(), source))?;
        }
        Ok(cache.to_owned())
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
