//! What `serin train` writes: runs, models, versions.

use super::Registry;
use serin_scorer::registry as scoring;
use serin_store::{Batch, NewModelVersion, NewRun, StoreError};
use serin_tracking::{Change, Metric, ModelUri, Registration, RunStatus, StoredModel, Tag};

/// Artifact folder of a run's model.
const FOLDER: &str = "model";

impl Registry {
    /// Starts a run, with its experiment where that is missing.
    pub(crate) async fn start_run(
        &self,
        experiment: &str,
        name: &str,
        user: &str,
        now_ms: i64,
        more: Vec<Tag>,
    ) -> anyhow::Result<String> {
        let mut tags = vec![
            Tag::new("mlflow.user", user),
            Tag::new("mlflow.source.name", "serin train"),
            Tag::new("mlflow.source.type", "LOCAL"),
        ];
        tags.extend(more);
        match self {
            Self::Embedded { store, .. } => {
                store.ensure_default_experiment(now_ms).await?;
                let experiment_id = match store.create_experiment(experiment, None, Vec::new(), now_ms).await {
                    Err(StoreError::Conflict(_)) => store.experiment_by_name(experiment).await?.id,
                    id => id?,
                };
                let new = NewRun { experiment_id, name: name.into(), user: user.into(), start_time_ms: now_ms, tags };
                Ok(store.create_run(new).await?.info.id)
            }
            Self::Remote(remote) => Ok(remote.server.start_run(experiment, name, user, now_ms, &tags).await?),
        }
    }

    pub(crate) async fn log(&self, run_id: &str, metrics: Vec<Metric>, params: Vec<Tag>) -> anyhow::Result<()> {
        match self {
            Self::Embedded { store, .. } => {
                Ok(store.log_batch(run_id, Batch { metrics, params, tags: Vec::new() }).await?)
            }
            Self::Remote(remote) => Ok(remote.server.log(run_id, &metrics, &params).await?),
        }
    }

    /// Stores the files of a model package as the run's model.
    pub(crate) async fn put_model(
        &self,
        run_id: &str,
        files: Vec<(String, Vec<u8>)>,
        now_ms: i64,
    ) -> anyhow::Result<StoredModel> {
        match self {
            Self::Embedded { store, .. } => {
                let model = store.log_model(run_id, FOLDER, files, now_ms).await?;
                let location = model.artifact_location;
                let path = store.artifacts().path_of(&location).and_then(|path| store.artifacts().local_folder(&path));
                let shown = path.map_or(location, |path| path.display().to_string());
                Ok(StoredModel { source: format!("models:/{}", model.id), model_id: model.id, location: shown })
            }
            Self::Remote(remote) => Ok(remote.server.put_model(run_id, FOLDER, files).await?),
        }
    }

    /// Registers a stored package as the next version.
    pub(crate) async fn register(
        &self,
        model: &Registration,
        stored: &StoredModel,
        change: Change,
    ) -> anyhow::Result<i64> {
        let version = match self {
            Self::Embedded { store, .. } => {
                let new = NewModelVersion {
                    name: model.name.clone(),
                    create_model: true,
                    source: stored.source.clone(),
                    model_id: stored.model_id.clone(),
                    run_id: model.run_id.clone(),
                    user: Some(change.actor.clone()),
                    ..NewModelVersion::default()
                };
                store.create_model_version(new, change.clone()).await?.version
            }
            Self::Remote(remote) => remote.server.register(model, stored).await?,
        };
        if let Some(stage) = model.stage {
            scoring::Registry::point(self, &ModelUri::Stage(model.name.clone(), stage), version, change.clone())
                .await?;
        }
        if let Some(alias) = &model.alias {
            scoring::Registry::point(self, &ModelUri::Alias(model.name.clone(), alias.clone()), version, change)
                .await?;
        }
        Ok(version)
    }

    pub(crate) async fn finish_run(&self, run_id: &str, status: RunStatus, now_ms: i64) -> anyhow::Result<()> {
        match self {
            Self::Embedded { store, .. } => {
                store.update_run(run_id, Some(status), Some(now_ms), None).await?;
                Ok(())
            }
            Self::Remote(remote) => Ok(remote.server.finish_run(run_id, status, now_ms).await?),
        }
    }
}
