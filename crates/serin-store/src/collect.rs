//! Emptying the trash: what was deleted long enough ago goes for good, rows and files.
//!
//! Files go first and rows last, a few runs at a time, so a collection that is broken off is taken up by the next:
//! whatever still has a row is found again.

use crate::sql::{Value, args, placeholders};
use crate::{Store, StoreError};

/// Most runs, models or experiments whose rows are removed in one transaction.
const AT_ONCE: i64 = 100;

/// Numbers of things that a collection removed, or, with `dry_run`, would remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Number of runs removed.
    pub runs: u64,
    /// Number of logged models removed.
    pub logged_models: u64,
    /// Number of experiments removed.
    pub experiments: u64,
}

impl Store {
    /// Removes runs, logged models and experiments that were deleted before `before_ms`, with their artifacts.
    /// `progress` is told after every step. With `dry_run` nothing is removed, only counted.
    ///
    /// # Errors
    /// When the database or the artifact store fails; what was removed until then stays removed.
    pub async fn collect_deleted(
        &self,
        before_ms: i64,
        dry_run: bool,
        progress: &mut (dyn FnMut(Collected) + Send),
    ) -> Result<Collected, StoreError> {
        let mut collected = Collected::default();
        if dry_run {
            for (count, sql) in [
                (&mut collected.runs, RUNS),
                (&mut collected.logged_models, MODELS),
                (&mut collected.experiments, EXPERIMENTS),
            ] {
                let sql = format!("SELECT COUNT(*) FROM ({sql}) x");
                let row = self.reader().row(sql, args![before_ms, i64::MAX]).await?;
                *count = u64::try_from(row.map_or(Ok(0), |row| row.int(0))?).unwrap_or(0);
            }
            return Ok(collected);
        }
        loop {
            let found = self.reader().rows(RUNS, args![before_ms, AT_ONCE]).await?;
            let Some(ids) = self.without_files(&found).await? else { break };
            collected.runs += ids.len() as u64;
            self.remove_runs(ids).await?;
            progress(collected);
        }
        loop {
            let found = self.reader().rows(MODELS, args![before_ms, AT_ONCE]).await?;
            let Some(ids) = self.without_files(&found).await? else { break };
            collected.logged_models += ids.len() as u64;
            self.remove_models(ids).await?;
            progress(collected);
        }
        loop {
            let found = self.reader().rows(EXPERIMENTS, args![before_ms, AT_ONCE]).await?;
            let Some(ids) = self.without_files(&found).await? else { break };
            collected.experiments += ids.len() as u64;
            self.remove_experiments(ids).await?;
            progress(collected);
        }
        Ok(collected)
    }

    /// Removes the files of rows (id, location) and returns the ids; none when there are no rows.
    async fn without_files(&self, rows: &[crate::sql::Row]) -> Result<Option<Vec<String>>, StoreError> {
        let mut ids = Vec::with_capacity(rows.len());
        for row in rows {
            // Files in another store are not this server's to remove.
            if let Some(path) = self.artifacts.path_of(&row.text(1)?).filter(|path| !path.as_str().is_empty()) {
                self.artifacts.delete(&path).await?;
            }
            ids.push(row.text(0)?);
        }
        Ok((!ids.is_empty()).then_some(ids))
    }

    async fn remove_runs(&self, ids: Vec<String>) -> Result<(), StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let list = placeholders(1, ids.len());
                let values = || ids.iter().map(Value::from).collect::<Vec<_>>();
                for sql in [
                    format!("DELETE FROM input_tags WHERE input_uuid IN (SELECT input_uuid FROM inputs WHERE destination_type = 'RUN' AND destination_id IN ({list}))"),
                    format!("DELETE FROM inputs WHERE destination_type = 'RUN' AND destination_id IN ({list})"),
                    format!("DELETE FROM inputs WHERE source_type IN ('RUN_INPUT', 'RUN_OUTPUT') AND source_id IN ({list})"),
                    format!("DELETE FROM logged_model_metrics WHERE run_id IN ({list})"),
                    format!("DELETE FROM metrics WHERE run_uuid IN ({list})"),
                    format!("DELETE FROM latest_metrics WHERE run_uuid IN ({list})"),
                    format!("DELETE FROM params WHERE run_uuid IN ({list})"),
                    format!("DELETE FROM tags WHERE run_uuid IN ({list})"),
                    format!("DELETE FROM runs WHERE run_uuid IN ({list})"),
                ] {
                    connection.execute(sql, values()).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn remove_models(&self, ids: Vec<String>) -> Result<(), StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let list = placeholders(1, ids.len());
                for table in ["logged_model_metrics", "logged_model_params", "logged_model_tags", "logged_models"] {
                    let sql = format!("DELETE FROM {table} WHERE model_id IN ({list})");
                    connection.execute(sql, ids.iter().map(Value::from).collect()).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn remove_experiments(&self, ids: Vec<String>) -> Result<(), StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                for id in ids {
                    let id: i64 = id.parse().unwrap_or(-1);
                    for table in ["experiment_tags", "datasets", "experiments"] {
                        let sql = format!("DELETE FROM {table} WHERE experiment_id = $1");
                        connection.execute(sql, args![id]).await?;
                    }
                    // SQLite may give the number to another experiment.
                    let sql = "DELETE FROM serin_grants WHERE kind = 'experiment' AND resource = $1";
                    connection.execute(sql, args![id.to_string()]).await?;
                }
                Ok(())
            })
        })
        .await
    }
}

const RUNS: &str = "SELECT run_uuid, artifact_uri FROM runs WHERE lifecycle_stage = 'deleted' AND COALESCE(deleted_time, 0) < $1 ORDER BY run_uuid LIMIT $2";
const MODELS: &str = "SELECT model_id, artifact_location FROM logged_models WHERE lifecycle_stage = 'deleted' AND last_updated_timestamp_ms < $1 ORDER BY model_id LIMIT $2";
/// Selects only experiments with nothing left in them; a logged model that is not deleted keeps its experiment.
const EXPERIMENTS: &str = "SELECT CAST(e.experiment_id AS VARCHAR(20)), e.artifact_location FROM experiments e WHERE e.lifecycle_stage = 'deleted' \
     AND COALESCE(e.last_update_time, 0) < $1 AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.experiment_id = e.experiment_id) \
     AND NOT EXISTS (SELECT 1 FROM logged_models m WHERE m.experiment_id = e.experiment_id) ORDER BY e.experiment_id LIMIT $2";
