//! Lookup of the version that a model URI names now, and its copy on this machine.

use crate::{ModelVersion, Store, StoreError};
use serin_tracking::{Change, ModelUri, ResolvedModel};
use std::path::{Path, PathBuf};

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
            _ => Err(StoreError::InvalidInput(format!(
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
            Err(StoreError::NotFound(_) | StoreError::InvalidInput(_)) => Ok(None),
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
            return Err(StoreError::InvalidInput(format!(
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
                .map_err(|source| StoreError::io(cache.display(), source))?;
        }
        Ok(cache.to_owned())
    }
}
