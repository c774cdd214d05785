//! Experiments and runs: what was tried, with which parameters, and how well it did.

use crate::{Store, StoreError};
use sqlx::Row;

/// Status of a run, MLflow's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStatus {
    /// Ended well.
    Finished,
    /// Ended with an error.
    Failed,
}

impl RunStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
        }
    }
}

/// A run to be created.
#[derive(Debug, Clone)]
pub struct NewRun<'a> {
    /// Experiment name; created when missing.
    pub experiment: &'a str,
    /// Run name.
    pub name: &'a str,
    /// Who runs it.
    pub user: &'a str,
    /// Epoch milliseconds.
    pub start_time_ms: i64,
}

/// A metric value.
#[derive(Debug, Clone)]
pub struct Metric {
    /// Name.
    pub key: String,
    /// Value; NaN and infinities are stored as MLflow stores them.
    pub value: f64,
    /// Epoch milliseconds.
    pub timestamp_ms: i64,
    /// Step, such as the boosting round.
    pub step: i64,
}

impl Store {
    /// Creates a running run and returns its id (32 hex digits).
    ///
    /// # Errors
    /// When a name is too long for MLflow's columns, or the database fails.
    pub async fn create_run(&self, run: &NewRun<'_>) -> Result<String, StoreError> {
        limit("experiment name", run.experiment, 256)?;
        limit("run name", run.name, 250)?;
        limit("user", run.user, 256)?;
        let id = uuid::Uuid::new_v4().simple().to_string();
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let found = sqlx::query("SELECT experiment_id FROM experiments WHERE workspace = 'default' AND name = $1")
            .bind(run.experiment)
            .fetch_optional(&mut *tx)
            .await?;
        let experiment: i64 = match found {
            Some(row) => row.try_get("experiment_id")?,
            None => {
                let row = sqlx::query("SELECT COALESCE(MAX(experiment_id), 0) + 1 AS id FROM experiments")
                    .fetch_one(&mut *tx)
                    .await?;
                let experiment: i64 = row.try_get("id")?;
                let location = self.artifacts.join(experiment.to_string());
                sqlx::query(
                    "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time, workspace) \
                     VALUES ($1, $2, $3, 'active', $4, $4, 'default')",
                )
                .bind(experiment)
                .bind(run.experiment)
                .bind(location.display().to_string())
                .bind(run.start_time_ms)
                .execute(&mut *tx)
                .await?;
                experiment
            }
        };
        let artifact_uri =
            self.artifacts.join(experiment.to_string()).join(&id).join("artifacts").display().to_string();
        limit("artifact path (choose a shorter state folder)", &artifact_uri, 200)?;
        sqlx::query(
            "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, source_version, \
             lifecycle_stage, artifact_uri, experiment_id) VALUES ($1, $2, 'UNKNOWN', '', '', $3, 'RUNNING', $4, '', 'active', $5, $6)",
        )
        .bind(&id)
        .bind(run.name)
        .bind(run.user)
        .bind(run.start_time_ms)
        .bind(artifact_uri)
        .bind(experiment)
        .execute(&mut *tx)
        .await?;
        for (key, value) in
            [("mlflow.runName", run.name), ("mlflow.user", run.user), ("mlflow.source.name", "serin train")]
        {
            sqlx::query("INSERT INTO tags (key, value, run_uuid) VALUES ($1, $2, $3)")
                .bind(key)
                .bind(value)
                .bind(&id)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(id)
    }

    /// Logs metrics and params in one transaction. Repeating a call changes nothing; another value for a
    /// param that is set is refused.
    ///
    /// # Errors
    /// With the key that does not fit.
    pub async fn log_batch(
        &self,
        run_id: &str,
        metrics: &[Metric],
        params: &[(String, String)],
    ) -> Result<(), StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let run =
            sqlx::query("SELECT run_uuid FROM runs WHERE run_uuid = $1").bind(run_id).fetch_optional(&mut *tx).await?;
        if run.is_none() {
            return Err(StoreError::not_found("run", run_id));
        }
        for (key, value) in params {
            limit("param key", key, 250)?;
            limit("param value", value, 8000)?;
            sqlx::query(
                "INSERT INTO params (key, value, run_uuid) VALUES ($1, $2, $3) ON CONFLICT (key, run_uuid) DO NOTHING",
            )
            .bind(key)
            .bind(value)
            .bind(run_id)
            .execute(&mut *tx)
            .await?;
            let row = sqlx::query("SELECT value FROM params WHERE key = $1 AND run_uuid = $2")
                .bind(key)
                .bind(run_id)
                .fetch_one(&mut *tx)
                .await?;
            let stored: String = row.try_get("value")?;
            if stored != *value {
                return Err(StoreError::Invalid(format!(
                    "param {key:?} of run {run_id} is {stored:?} and cannot become {value:?}"
                )));
            }
        }
        for metric in metrics {
            limit("metric key", &metric.key, 250)?;
            let (value, is_nan) = stored_value(metric.value);
            sqlx::query(
                "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            )
            .bind(&metric.key)
            .bind(value)
            .bind(metric.timestamp_ms)
            .bind(run_id)
            .bind(metric.step)
            .bind(is_nan)
            .execute(&mut *tx)
            .await?;
            // Latest by step, then time, then value, as MLflow orders them.
            sqlx::query(
                "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES ($1, $2, $3, $4, $5, $6) \
                 ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value, timestamp = excluded.timestamp, step = excluded.step, \
                 is_nan = excluded.is_nan WHERE (excluded.step, excluded.timestamp, excluded.value) >= \
                 (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)",
            )
            .bind(&metric.key)
            .bind(value)
            .bind(metric.timestamp_ms)
            .bind(metric.step)
            .bind(is_nan)
            .bind(run_id)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Ends a run.
    ///
    /// # Errors
    /// When there is no such run.
    pub async fn finish_run(&self, run_id: &str, status: RunStatus, end_time_ms: i64) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE runs SET status = $1, end_time = $2 WHERE run_uuid = $3")
            .bind(status.as_str())
            .bind(end_time_ms)
            .bind(run_id)
            .execute(&self.pool)
            .await?;
        if done.rows_affected() == 0 { Err(StoreError::not_found("run", run_id)) } else { Ok(()) }
    }

    pub(crate) async fn artifact_uri(&self, run_id: &str) -> Result<String, StoreError> {
        let row = sqlx::query("SELECT artifact_uri FROM runs WHERE run_uuid = $1 AND lifecycle_stage = 'active'")
            .bind(run_id)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.ok_or_else(|| StoreError::not_found("run", run_id))?.try_get("artifact_uri")?)
    }
}

/// MLflow's spelling of what SQL cannot hold.
fn stored_value(value: f64) -> (f64, bool) {
    if value.is_nan() { (0.0, true) } else { (value.clamp(-f64::MAX, f64::MAX), false) }
}

pub(crate) fn limit(what: &str, text: &str, characters: usize) -> Result<(), StoreError> {
    let count = text.chars().count();
    if count > characters {
        return Err(StoreError::Invalid(format!(
            "the {what} has {count} characters, at most {characters} are allowed"
        )));
    }
    Ok(())
}
