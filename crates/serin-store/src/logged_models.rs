//! Logged models: MLflow 3's models before they are registered.

use crate::experiments::must_be_active;
use crate::names::{check_logged_model_name, limit};
use crate::sql::{Connection, Row, Value, args, placeholders};
use crate::{ModelOutput, Store, StoreError};
use serin_tracking::{Metric, Tag};
use std::collections::HashMap;

pub(crate) const COLUMNS: &str = "m.model_id, m.experiment_id, m.name, m.artifact_location, m.creation_timestamp_ms, m.last_updated_timestamp_ms, m.status, m.model_type, m.source_run_id, m.status_message";

/// Upload status of a logged model's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoggedModelStatus {
    /// The files are being uploaded.
    Pending,
    /// All files have been uploaded.
    Ready,
    /// The client reported that the upload failed.
    Failed,
}

impl LoggedModelStatus {
    const ALL: [Self; 3] = [Self::Pending, Self::Ready, Self::Failed];

    /// MLflow's name of the status, such as `LOGGED_MODEL_READY`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "LOGGED_MODEL_PENDING",
            Self::Ready => "LOGGED_MODEL_READY",
            Self::Failed => "LOGGED_MODEL_UPLOAD_FAILED",
        }
    }

    /// Status with MLflow's name, long or short (`READY`); `None` for another text.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text || status.as_str().strip_prefix("LOGGED_MODEL_") == Some(text))
    }

    /// MLflow's number of the status, 1 to 3.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::Pending => 1,
            Self::Ready => 2,
            Self::Failed => 3,
        }
    }

    /// Status with MLflow's number; `None` for a number outside 1 to 3.
    #[must_use]
    pub fn of_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.number() == number)
    }
}

/// Logged model: the files of one trained model, not yet registered.
#[derive(Debug, Clone)]
pub struct LoggedModel {
    /// Id of the logged model: `m-` and 32 hex digits.
    pub id: String,
    /// Id of the experiment it belongs to.
    pub experiment_id: i64,
    /// Name of the logged model; need not be unique.
    pub name: String,
    /// Artifact location of its files.
    pub artifact_location: String,
    /// Time at which it was created, epoch milliseconds.
    pub creation_time_ms: i64,
    /// Time at which it was last changed, epoch milliseconds.
    pub last_updated_time_ms: i64,
    /// Upload status of its files.
    pub status: LoggedModelStatus,
    /// Type of model, free text of the client.
    pub model_type: String,
    /// Id of the run that made it; empty without one.
    pub source_run_id: String,
    /// Message that the client sent with its status, such as why the upload failed.
    pub status_message: Option<String>,
    /// Parameters, keys and values.
    pub params: Vec<Tag>,
    /// Tags, keys and values.
    pub tags: Vec<Tag>,
    /// Metric values that runs logged for this model.
    pub metrics: Vec<Metric>,
}

/// A logged model to be created.
#[derive(Debug, Clone, Default)]
pub struct NewLoggedModel {
    /// Id of the experiment it belongs to.
    pub experiment_id: i64,
    /// Name of the logged model; if it is empty, the store makes one up.
    pub name: String,
    /// Type of model, free text of at most 500 characters.
    pub model_type: String,
    /// Id of the run that makes it; empty without one.
    pub source_run_id: String,
    /// Parameters, keys and values.
    pub params: Vec<Tag>,
    /// Tags, keys and values.
    pub tags: Vec<Tag>,
}

fn missing(id: &str) -> StoreError {
    StoreError::NotFound(format!("Logged model with ID '{id}' not found."))
}

fn logged_model(row: &Row) -> Result<LoggedModel, StoreError> {
    Ok(LoggedModel {
        id: row.text(0)?,
        experiment_id: row.int(1)?,
        name: row.text(2)?,
        artifact_location: row.text(3)?,
        creation_time_ms: row.int(4)?,
        last_updated_time_ms: row.int(5)?,
        status: LoggedModelStatus::of_number(row.int(6)?).unwrap_or(LoggedModelStatus::Pending),
        model_type: row.text(7)?,
        source_run_id: row.text(8)?,
        status_message: row.opt_text(9)?,
        params: Vec::new(),
        tags: Vec::new(),
        metrics: Vec::new(),
    })
}

impl Store {
    /// Creates a pending logged model.
    ///
    /// # Errors
    /// When the experiment or the run is missing, or a name does not fit.
    pub async fn create_logged_model(&self, mut new: NewLoggedModel, now_ms: i64) -> Result<LoggedModel, StoreError> {
        if new.name.is_empty() {
            new.name = crate::names::run_name(uuid::Uuid::new_v4().as_u128());
        }
        check_logged_model_name(&new.name)?;
        limit("model_type", &new.model_type, 500)?;
        check(&new.params, &new.tags)?;
        let id = format!("m-{}", uuid::Uuid::new_v4().simple());
        let created = id.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let location = must_be_active(connection, new.experiment_id).await?;
                let location = format!("{}/models/{id}/artifacts", location.trim_end_matches('/'));
                let run = (!new.source_run_id.is_empty()).then_some(new.source_run_id.as_str());
                connection
                    .execute(
                        "INSERT INTO logged_models (model_id, experiment_id, name, artifact_location, creation_timestamp_ms, last_updated_timestamp_ms, \
                         status, lifecycle_stage, model_type, source_run_id) VALUES ($1, $2, $3, $4, $5, $5, 1, 'active', $6, $7)",
                        args![&id, new.experiment_id, new.name, location, now_ms, new.model_type, run],
                    )
                    .await?;
                put(connection, "logged_model_params", "param", &id, new.experiment_id, &new.params).await?;
                put(connection, "logged_model_tags", "tag", &id, new.experiment_id, &new.tags).await
            })
        })
        .await?;
        self.logged_model(&created).await
    }

    /// Stores `files` as the model `name` of a run: complete before it is ready, and its output from then on.
    ///
    /// # Errors
    /// When a name is not a plain file name, the run is missing, or the store fails; what is there of it then is
    /// marked as failed.
    pub async fn log_model(
        &self,
        run_id: &str,
        name: &str,
        files: Vec<(String, Vec<u8>)>,
        now_ms: i64,
    ) -> Result<LoggedModel, StoreError> {
        for name in files.iter().map(|(name, _)| name.as_str()).chain([name]) {
            if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
                return Err(StoreError::InvalidInput(format!("artifact name {name:?} is not a plain file name")));
            }
        }
        let new = NewLoggedModel {
            experiment_id: self.run_info(run_id).await?.experiment_id,
            name: name.to_owned(),
            source_run_id: run_id.to_owned(),
            ..NewLoggedModel::default()
        };
        let model = self.create_logged_model(new, now_ms).await?;
        let stored = async {
            let root = self.artifacts.path_of(&model.artifact_location).ok_or_else(|| {
                StoreError::InvalidInput(format!(
                    "{} is not below the artifact root {}",
                    model.artifact_location,
                    self.artifacts.root()
                ))
            })?;
            for (name, bytes) in files {
                self.artifacts.put_bytes(&root.join(&name)?, bytes).await?;
            }
            self.log_outputs(run_id, vec![ModelOutput { model_id: model.id.clone(), step: 0 }]).await
        };
        let stored = stored.await;
        let status = if stored.is_ok() { LoggedModelStatus::Ready } else { LoggedModelStatus::Failed };
        let model = self.finalize_logged_model(&model.id, status, now_ms).await?;
        stored.map(|()| model)
    }

    /// The newest model of a run that has this name.
    pub(crate) async fn model_of_run(&self, run_id: &str, name: &str) -> Result<Option<LoggedModel>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM logged_models m WHERE m.source_run_id = $1 AND m.name = $2 AND m.lifecycle_stage = 'active' \
             ORDER BY m.creation_timestamp_ms DESC, m.model_id LIMIT 1"
        );
        let rows = self.reader().rows(sql, args![run_id, name]).await?;
        Ok(self.logged_models_of(&rows).await?.pop())
    }

    /// A logged model that is not deleted.
    ///
    /// # Errors
    /// When there is none with that id.
    pub async fn logged_model(&self, id: &str) -> Result<LoggedModel, StoreError> {
        let sql =
            format!("SELECT {COLUMNS} FROM logged_models m WHERE m.model_id = $1 AND m.lifecycle_stage = 'active'");
        let row = self.reader().row(sql, args![id]).await?.ok_or_else(|| missing(id))?;
        self.logged_models_of(&[row]).await?.pop().ok_or_else(|| missing(id))
    }

    pub(crate) async fn logged_models_of(&self, rows: &[Row]) -> Result<Vec<LoggedModel>, StoreError> {
        let mut models = rows.iter().map(logged_model).collect::<Result<Vec<_>, _>>()?;
        let at: HashMap<String, usize> = models.iter().enumerate().map(|(i, model)| (model.id.clone(), i)).collect();
        let ids: Vec<String> = models.iter().map(|model| model.id.clone()).collect();
        let mut reader = self.reader();
        for ids in ids.chunks(500) {
            let list = placeholders(1, ids.len());
            let values = || ids.iter().map(Value::from).collect::<Vec<_>>();
            let sql = format!(
                "SELECT model_id, param_key, param_value FROM logged_model_params WHERE model_id IN ({list}) ORDER BY param_key"
            );
            for row in reader.rows(sql, values()).await? {
                if let Some(i) = at.get(&row.text(0)?) {
                    models[*i].params.push(Tag { key: row.text(1)?, value: row.text(2)? });
                }
            }
            let sql = format!(
                "SELECT model_id, tag_key, tag_value FROM logged_model_tags WHERE model_id IN ({list}) ORDER BY tag_key"
            );
            for row in reader.rows(sql, values()).await? {
                if let Some(i) = at.get(&row.text(0)?) {
                    models[*i].tags.push(Tag { key: row.text(1)?, value: row.text(2)? });
                }
            }
            let sql = format!(
                "SELECT model_id, metric_name, metric_value, metric_timestamp_ms, metric_step, run_id, dataset_name, dataset_digest \
                 FROM logged_model_metrics WHERE model_id IN ({list}) ORDER BY metric_name, metric_step, metric_timestamp_ms"
            );
            for row in reader.rows(sql, values()).await? {
                if let Some(i) = at.get(&row.text(0)?) {
                    let model_id = Some(models[*i].id.clone());
                    models[*i].metrics.push(Metric {
                        key: row.text(1)?,
                        value: row.real(2)?,
                        timestamp_ms: row.int(3)?,
                        step: row.int(4)?,
                        run_id: row.opt_text(5)?,
                        model_id,
                        dataset: row.opt_text(6)?.zip(row.opt_text(7)?),
                    });
                }
            }
        }
        Ok(models)
    }

    /// Marks a logged model as complete or failed.
    ///
    /// # Errors
    /// When there is none with that id.
    pub async fn finalize_logged_model(
        &self,
        id: &str,
        status: LoggedModelStatus,
        now_ms: i64,
    ) -> Result<LoggedModel, StoreError> {
        self.change_logged_model(id, move |connection, id, _| {
            Box::pin(async move {
                connection
                    .execute(
                        "UPDATE logged_models SET status = $1, last_updated_timestamp_ms = $2 WHERE model_id = $3",
                        args![status.number(), now_ms, id],
                    )
                    .await
                    .map(drop)
            })
        })
        .await?;
        self.logged_model(id).await
    }

    /// Deletes a logged model; its files stay until they are collected.
    ///
    /// # Errors
    /// When there is none with that id.
    pub async fn delete_logged_model(&self, id: &str, now_ms: i64) -> Result<(), StoreError> {
        self.change_logged_model(id, move |connection, id, _| {
            Box::pin(async move {
                connection
                    .execute(
                        "UPDATE logged_models SET lifecycle_stage = 'deleted', last_updated_timestamp_ms = $1 WHERE model_id = $2",
                        args![now_ms, id],
                    )
                    .await
                    .map(drop)
            })
        })
        .await
    }

    /// Sets tags of a logged model, over those of the same keys.
    ///
    /// # Errors
    /// When the model is missing or a tag does not fit.
    pub async fn set_logged_model_tags(&self, id: &str, tags: Vec<Tag>) -> Result<(), StoreError> {
        check(&[], &tags)?;
        self.change_logged_model(id, move |connection, id, experiment| {
            Box::pin(async move { put(connection, "logged_model_tags", "tag", id, experiment, &tags).await })
        })
        .await
    }

    /// Sets params; the same ones again change nothing.
    ///
    /// # Errors
    /// When the model is missing or a param does not fit.
    pub async fn set_logged_model_params(&self, id: &str, params: Vec<Tag>) -> Result<(), StoreError> {
        check(&params, &[])?;
        self.change_logged_model(id, move |connection, id, experiment| {
            Box::pin(async move { put(connection, "logged_model_params", "param", id, experiment, &params).await })
        })
        .await
    }

    /// Removes a tag of a logged model.
    ///
    /// # Errors
    /// When the model or the tag is missing.
    pub async fn delete_logged_model_tag(&self, id: &str, key: &str) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.change_logged_model(id, move |connection, id, _| {
            Box::pin(async move {
                let sql = "DELETE FROM logged_model_tags WHERE model_id = $1 AND tag_key = $2";
                if connection.execute(sql, args![id, &key]).await? == 0 {
                    return Err(StoreError::NotFound(format!(
                        "No tag with key '{key}' found for model with ID '{id}'."
                    )));
                }
                Ok(())
            })
        })
        .await
    }

    async fn change_logged_model<F>(&self, id: &str, change: F) -> Result<(), StoreError>
    where
        F: for<'c> FnOnce(&'c mut Connection, &'c str, i64) -> crate::writer::Work<'c, ()> + Send + 'static,
    {
        let id = id.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let sql = "SELECT experiment_id FROM logged_models WHERE model_id = $1 AND lifecycle_stage = 'active'";
                let row = connection.row(sql, args![&id]).await?.ok_or_else(|| missing(&id))?;
                let experiment = row.int(0)?;
                change(connection, &id, experiment).await
            })
        })
        .await
    }
}

fn check(params: &[Tag], tags: &[Tag]) -> Result<(), StoreError> {
    for pair in params.iter().chain(tags) {
        limit("key", &pair.key, 255)?;
    }
    params.iter().try_for_each(|param| limit("value", &param.value, 6000))?;
    tags.iter().try_for_each(|tag| limit("value", &tag.value, 8000))
}

async fn put(
    connection: &mut Connection,
    table: &'static str,
    kind: &'static str,
    model_id: &str,
    experiment_id: i64,
    pairs: &[Tag],
) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO {table} (model_id, experiment_id, {kind}_key, {kind}_value) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (model_id, {kind}_key) DO UPDATE SET {kind}_value = excluded.{kind}_value"
    );
    for pair in pairs {
        connection.execute(sql.clone(), args![model_id, experiment_id, &pair.key, &pair.value]).await?;
    }
    Ok(())
}
