//! What trainings and retrainings write: runs, models, versions, verdicts.

use super::Registry;
use serin_batch::models::RegistryFailure;
use serin_batch::retraining::RetrainingLedger;
use serin_batch::training::{TrainingRegistry, TrainingRun};
use serin_scorer::registry as scoring;
use serin_store::{Batch, NewModelVersion, NewRun, Store, StoreError};
use serin_tracking::{Change, Labels, Metric, ModelUri, Registration, RunStatus, StoredModel, Tag};
use std::path::PathBuf;

/// Artifact folder of a run's model.
const FOLDER: &str = "model";

impl TrainingRegistry for Registry {
    fn check_names(&self, model: &str, alias: Option<&str>) -> Result<(), RegistryFailure> {
        Ok(serin_store::check_names(model, alias)?)
    }

    async fn start_run(&self, run: TrainingRun) -> Result<String, RegistryFailure> {
        let TrainingRun { experiment, name, user, started_ms, tags: more } = run;
        let mut tags = vec![
            Tag::new("mlflow.user", &user),
            Tag::new("mlflow.source.name", "serin train"),
            Tag::new("mlflow.source.type", "LOCAL"),
        ];
        tags.extend(more);
        match self {
            Self::Embedded { store, .. } => {
                store.ensure_default_experiment(started_ms).await?;
                let experiment_id = match store.create_experiment(&experiment, None, Vec::new(), started_ms).await {
                    Err(StoreError::Conflict(_)) => store.experiment_by_name(&experiment).await?.id,
                    id => id?,
                };
                let new = NewRun { experiment_id, name, user, start_time_ms: started_ms, tags };
                Ok(store.create_run(new).await?.info.id)
            }
            Self::Remote(remote) => Ok(remote.server.start_run(&experiment, &name, &user, started_ms, &tags).await?),
        }
    }

    async fn log(&self, run_id: &str, metrics: Vec<Metric>, params: Vec<Tag>) -> Result<(), RegistryFailure> {
        match self {
            Self::Embedded { store, .. } => {
                Ok(store.log_batch(run_id, Batch { metrics, params, tags: Vec::new() }).await?)
            }
            Self::Remote(remote) => Ok(remote.server.log(run_id, &metrics, &params).await?),
        }
    }

    async fn put_model(
        &self,
        run_id: &str,
        files: Vec<(String, Vec<u8>)>,
        now_ms: i64,
    ) -> Result<StoredModel, RegistryFailure> {
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

    async fn register(
        &self,
        model: &Registration,
        stored: &StoredModel,
        change: Change,
    ) -> Result<i64, RegistryFailure> {
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

    async fn finish_run(&self, run_id: &str, status: RunStatus, now_ms: i64) -> Result<(), RegistryFailure> {
        match self {
            Self::Embedded { store, .. } => {
                store.update_run(run_id, Some(status), Some(now_ms), None).await?;
                Ok(())
            }
            Self::Remote(remote) => Ok(remote.server.finish_run(run_id, status, now_ms).await?),
        }
    }
}

/// Ledger of retrainings in the database of this machine.
#[derive(Debug, Clone)]
pub(crate) struct StoreLedger {
    store: Store,
    registry: Registry,
}

impl StoreLedger {
    /// Makes the ledger of a database whose models are copied to the folder `cache`, and the registry beside it.
    pub(crate) fn of(store: Store, cache: PathBuf) -> (Registry, Self) {
        let registry = Registry::Embedded { store: store.clone(), cache };
        (registry.clone(), Self { store, registry })
    }
}

impl RetrainingLedger for StoreLedger {
    async fn labels_known(&self, from_ms: i64, as_of_ms: i64) -> Result<Labels, RegistryFailure> {
        Ok(self.store.labels_known(from_ms, as_of_ms).await?)
    }

    async fn begin_retraining(
        &self,
        model: &str,
        cause: &str,
        reason: &str,
        at_ms: i64,
    ) -> Result<String, RegistryFailure> {
        Ok(self.store.begin_retraining(model, cause, reason, at_ms).await?)
    }

    async fn end_retraining(
        &self,
        id: &str,
        outcome: &str,
        version: Option<i64>,
        verdict: &str,
        at_ms: i64,
    ) -> Result<(), RegistryFailure> {
        Ok(self.store.end_retraining(id, outcome, version, verdict, at_ms).await?)
    }

    async fn tag_version(&self, model: &str, version: i64, tag: Tag) -> Result<(), RegistryFailure> {
        Ok(self.store.set_model_version_tag(model, version, tag).await?)
    }

    async fn point(&self, alias: &ModelUri, version: i64, change: Change) -> Result<(), RegistryFailure> {
        Ok(scoring::point(&self.registry, alias, version, change).await?)
    }
}
