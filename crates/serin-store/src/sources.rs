//! Which sources a model version may name. MLflow's policy since 3.17: a version must not become a way to read what
//! its creator could not, so a source inside the artifact store names the run or model that owns it, and hosts
//! other than the store's are refused.

use crate::{NewModelVersion, Store, StoreError};
use serin_artifacts::leaves_its_folder;
use serin_tracking::ModelUri;

/// Location of a version's files, and the run that they come from.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) storage_location: String,
    pub(crate) run_id: String,
}

/// Stores that clients reach with their own credentials.
const CLIENTS_STORES: [&str; 9] = ["s3", "gs", "wasb", "wasbs", "abfs", "abfss", "dbfs", "r2", "b2"];

impl Store {
    pub(crate) async fn origin_of(&self, new: &NewModelVersion) -> Result<Origin, StoreError> {
        let source = new.source.as_str();
        if leaves_its_folder(source) {
            return Err(StoreError::InvalidInput(format!(
                "Invalid model version source: '{source}'. If supplying a source as an http, https, local file path, ftp, objectstore, or mlflow-artifacts uri, an absolute path must be provided without relative path references present. Please provide an absolute path."
            )));
        }
        let scheme = source.split_once(':').map_or("", |(scheme, _)| scheme);
        match scheme {
            "models" => self.origin_in_registry(new).await,
            "runs" => {
                let owner = source.trim_start_matches("runs:/").split('/').next().unwrap_or_default();
                if owner != new.run_id {
                    return Err(owner_mismatch(source, "run_id"));
                }
                self.run_info(owner).await?;
                Ok(Origin { storage_location: source.to_owned(), run_id: new.run_id.clone() })
            }
            "mlflow-artifacts" => {
                let inside = |location: &str| {
                    let location = location.trim_end_matches('/');
                    source.strip_prefix(location).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                };
                if !new.model_id.is_empty() {
                    let model = self.logged_model(&new.model_id).await?;
                    if inside(&model.artifact_location) {
                        let run_id = if new.run_id.is_empty() { model.source_run_id } else { new.run_id.clone() };
                        return Ok(Origin { storage_location: source.to_owned(), run_id });
                    }
                }
                if !new.run_id.is_empty() && inside(&self.run_info(&new.run_id).await?.artifact_uri) {
                    return Ok(Origin { storage_location: source.to_owned(), run_id: new.run_id.clone() });
                }
                Err(owner_mismatch(source, "run_id"))
            }
            "" | "file" => {
                let path = source.strip_prefix("file://").unwrap_or(source);
                let location = match new.run_id.as_str() {
                    "" => String::new(),
                    run => self.run_info(run).await?.artifact_uri,
                };
                let folder = location.strip_prefix("file://").unwrap_or(&location).trim_end_matches('/');
                let inside = folder.starts_with('/')
                    && path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                if !inside {
                    return Err(StoreError::InvalidInput(format!(
                        "Invalid model version source: '{source}'. To use a local path as a model version source, the run_id request parameter has to be specified and the local path has to be contained within the artifact directory of the run specified by the run_id."
                    )));
                }
                Ok(Origin { storage_location: source.to_owned(), run_id: new.run_id.clone() })
            }
            scheme if CLIENTS_STORES.contains(&scheme) => {
                Ok(Origin { storage_location: source.to_owned(), run_id: new.run_id.clone() })
            }
            scheme => Err(StoreError::InvalidInput(format!(
                "'source' cannot use the '{scheme}' scheme: the '{scheme}' scheme addresses a host other than the tracking server's configured artifact storage, so the server would connect to the host named in the URI. Log the model to this server, or name a folder of an object store."
            ))),
        }
    }

    async fn origin_in_registry(&self, new: &NewModelVersion) -> Result<Origin, StoreError> {
        let source = new.source.as_str();
        let rest = source.trim_start_matches("models:").trim_start_matches('/');
        if rest.starts_with("m-") && !rest.contains(['/', '@']) {
            if rest != new.model_id {
                return Err(owner_mismatch(source, "model_id"));
            }
            let model = self.logged_model(rest).await?;
            let run_id = if new.run_id.is_empty() { model.source_run_id } else { new.run_id.clone() };
            return Ok(Origin { storage_location: model.artifact_location, run_id });
        }
        let uri: ModelUri = source.parse().map_err(StoreError::invalid)?;
        let Some(found) = self.version_of(&uri).await? else {
            return Err(StoreError::InvalidInput(format!(
                "Invalid model version source: '{source}' names no version."
            )));
        };
        let run_id = if new.run_id.is_empty() { found.run_id } else { new.run_id.clone() };
        Ok(Origin { storage_location: found.storage_location, run_id })
    }
}

fn owner_mismatch(source: &str, field: &str) -> StoreError {
    StoreError::InvalidInput(format!(
        "Invalid model version source: '{source}'. The {field} request parameter must identify the resource that contains the source."
    ))
}
