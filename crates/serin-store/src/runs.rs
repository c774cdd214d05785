//! Runs: what was tried, with which parameters, and how well it did.

use crate::experiments::must_be_active;
use crate::inputs::RunLinks;
use crate::metrics::put_metrics;
use crate::names::{check_key, cut_param, cut_tag, limit, run_name};
use crate::run_rows::{active_run, missing};
use crate::sql::{Connection, Row, args, placeholders};
use crate::{LifecycleStage, Store, StoreError};
use serin_tracking::{Metric, RunStatus, Tag};
use std::collections::HashMap;

const RUN_NAME: &str = "mlflow.runName";
pub(crate) const INFO: &str =
    "run_uuid, experiment_id, name, user_id, status, start_time, end_time, lifecycle_stage, artifact_uri";

/// A run to be created.
#[derive(Debug, Clone, Default)]
pub struct NewRun {
    /// Id of the experiment the run belongs to.
    pub experiment_id: i64,
    /// Name of the run; if it is empty, the store makes one up.
    pub name: String,
    /// Name of the user who runs it.
    pub user: String,
    /// Time at which the run began, epoch milliseconds.
    pub start_time_ms: i64,
    /// Tags of the run; the tag `mlflow.runName` may carry its name.
    pub tags: Vec<Tag>,
}

/// Description of a run, without what it logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInfo {
    /// Id of the run, 32 hex digits.
    pub id: String,
    /// Id of the experiment the run belongs to.
    pub experiment_id: i64,
    /// Name of the run; need not be unique.
    pub name: String,
    /// Name of the user who ran it.
    pub user: String,
    /// Status of the run, such as running or finished.
    pub status: RunStatus,
    /// Time at which the run began, epoch milliseconds, where it is known.
    pub start_time_ms: Option<i64>,
    /// Time at which the run ended, epoch milliseconds; `None` while it runs.
    pub end_time_ms: Option<i64>,
    /// Whether the run is in use or in the trash.
    pub lifecycle_stage: LifecycleStage,
    /// Artifact location of the run's files.
    pub artifact_uri: String,
}

/// A run with everything it logged.
#[derive(Debug, Clone)]
pub struct Run {
    /// Description of the run, without what it logged.
    pub info: RunInfo,
    /// Latest value of each metric.
    pub metrics: Vec<Metric>,
    /// Parameters, keys and values.
    pub params: Vec<Tag>,
    /// Tags, keys and values.
    pub tags: Vec<Tag>,
    /// Data sets and logged models that the run used.
    pub inputs: crate::RunInputs,
    /// Logged models that the run made.
    pub outputs: Vec<crate::ModelOutput>,
}

/// Values that [`Store::log_batch`] writes in one transaction.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Metric values, each with its time and step.
    pub metrics: Vec<Metric>,
    /// Parameters, keys and values.
    pub params: Vec<Tag>,
    /// Tags, keys and values.
    pub tags: Vec<Tag>,
}

pub(crate) fn run_info(row: &Row) -> Result<RunInfo, StoreError> {
    Ok(RunInfo {
        id: row.text(0)?,
        experiment_id: row.int(1)?,
        name: row.text(2)?,
        user: row.text(3)?,
        status: RunStatus::of(&row.text(4)?).unwrap_or(RunStatus::Running),
        start_time_ms: row.opt_int(5)?,
        end_time_ms: row.opt_int(6)?,
        lifecycle_stage: LifecycleStage::of(&row.text(7)?),
        artifact_uri: row.text(8)?,
    })
}

impl Store {
    /// Creates a running run.
    ///
    /// # Errors
    /// When the experiment is missing or deleted, or a name or tag does not fit.
    pub async fn create_run(&self, mut run: NewRun) -> Result<Run, StoreError> {
        let tagged = run.tags.iter().find(|tag| tag.key == RUN_NAME).map(|tag| tag.value.clone());
        match tagged {
            Some(tag) if run.name.is_empty() => run.name = tag,
            Some(tag) if tag != run.name => {
                return Err(StoreError::InvalidInput(format!(
                    "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values (run_name='{}', mlflow.runName='{tag}').",
                    run.name
                )));
            }
            Some(_) => {}
            None => {
                if run.name.is_empty() {
                    run.name = run_name(uuid::Uuid::new_v4().as_u128());
                }
                run.tags.push(Tag::new(RUN_NAME, run.name.clone()));
            }
        }
        limit("run_name", &run.name, 250)?;
        limit("user_id", &run.user, 256)?;
        check_tags(&run.tags)?;
        let info = RunInfo {
            id: uuid::Uuid::new_v4().simple().to_string(),
            experiment_id: run.experiment_id,
            name: run.name,
            user: run.user,
            status: RunStatus::Running,
            start_time_ms: Some(run.start_time_ms),
            end_time_ms: None,
            lifecycle_stage: LifecycleStage::Active,
            artifact_uri: String::new(),
        };
        let mut tags = run.tags;
        tags.sort_by(|a, b| a.key.cmp(&b.key));
        self.write(move |connection| {
            Box::pin(async move {
                let mut info = info;
                let location = must_be_active(connection, info.experiment_id).await?;
                info.artifact_uri = format!("{}/{}/artifacts", location.trim_end_matches('/'), info.id);
                limit("artifact_uri (choose a shorter artifact location)", &info.artifact_uri, 200)?;
                connection
                    .execute(
                        "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, source_version, \
                         lifecycle_stage, artifact_uri, experiment_id) VALUES ($1, $2, 'UNKNOWN', '', '', $3, 'RUNNING', $4, '', 'active', $5, $6)",
                        args![&info.id, &info.name, &info.user, info.start_time_ms, &info.artifact_uri, info.experiment_id],
                    )
                    .await?;
                put_tags(connection, &info.id, &tags).await?;
                let inputs = crate::RunInputs::default();
                Ok(Run { info, metrics: Vec::new(), params: Vec::new(), tags, inputs, outputs: Vec::new() })
            })
        })
        .await
    }

    /// Description of a run in any lifecycle stage.
    ///
    /// # Errors
    /// When there is none with that id.
    pub async fn run_info(&self, id: &str) -> Result<RunInfo, StoreError> {
        let sql = format!("SELECT {INFO} FROM runs WHERE run_uuid = $1");
        run_info(&self.reader().row(sql, args![id]).await?.ok_or_else(|| missing(id))?)
    }

    /// A run with everything it logged, in any state.
    ///
    /// # Errors
    /// When there is none with that id.
    pub async fn run(&self, id: &str) -> Result<Run, StoreError> {
        let info = self.run_info(id).await?;
        self.with_data(vec![info]).await?.pop().ok_or_else(|| missing(id))
    }

    pub(crate) async fn with_data(&self, infos: Vec<RunInfo>) -> Result<Vec<Run>, StoreError> {
        let mut runs: Vec<Run> = infos
            .into_iter()
            .map(|info| Run {
                info,
                metrics: Vec::new(),
                params: Vec::new(),
                tags: Vec::new(),
                inputs: crate::RunInputs::default(),
                outputs: Vec::new(),
            })
            .collect();
        let at: HashMap<String, usize> = runs.iter().enumerate().map(|(i, run)| (run.info.id.clone(), i)).collect();
        let ids: Vec<String> = runs.iter().map(|run| run.info.id.clone()).collect();
        let mut reader = self.reader();
        for ids in ids.chunks(500) {
            let list = placeholders(1, ids.len());
            let values = || ids.iter().map(Into::into).collect::<Vec<_>>();
            // One statement for all three: what a run costs is the number of statements, not of rows.
            let sql = format!(
                "SELECT run_uuid, key, value, timestamp, step, is_nan, 0 AS kind, '' AS text FROM latest_metrics WHERE run_uuid IN ({list}) \
                 UNION ALL SELECT run_uuid, key, 0.0, 0, 0, FALSE, 1, value FROM params WHERE run_uuid IN ({list}) \
                 UNION ALL SELECT run_uuid, key, 0.0, 0, 0, FALSE, 2, value FROM tags WHERE run_uuid IN ({list})"
            );
            for row in reader.rows(sql, values()).await? {
                let Some(run) = at.get(&row.text(0)?).map(|i| &mut runs[*i]) else { continue };
                match row.int(6)? {
                    0 => run.metrics.push(crate::metrics::metric(&row)?),
                    1 => run.params.push(Tag { key: row.text(1)?, value: row.text(7)? }),
                    _ => run.tags.push(Tag { key: row.text(1)?, value: row.text(7)? }),
                }
            }
            let mut links: Vec<RunLinks<'_>> =
                runs.iter_mut().map(|run| RunLinks { inputs: &mut run.inputs, outputs: &mut run.outputs }).collect();
            crate::inputs::fill(&mut reader, ids, |id| at.get(id).copied(), &mut links).await?;
        }
        for run in &mut runs {
            run.metrics.sort_by(|a, b| a.key.cmp(&b.key));
            run.params.sort_by(|a, b| a.key.cmp(&b.key));
            run.tags.sort_by(|a, b| a.key.cmp(&b.key));
        }
        Ok(runs)
    }

    /// Changes status, end time or name.
    ///
    /// # Errors
    /// When the run is missing or deleted.
    pub async fn update_run(
        &self,
        id: &str,
        status: Option<RunStatus>,
        end_time_ms: Option<i64>,
        name: Option<&str>,
    ) -> Result<RunInfo, StoreError> {
        if let Some(name) = name {
            limit("run_name", name, 250)?;
        }
        let (id, name) = (id.to_owned(), name.filter(|name| !name.is_empty()).map(str::to_owned));
        self.write(move |connection| {
            Box::pin(async move {
                active_run(connection, &id).await?;
                connection
                    .execute(
                        "UPDATE runs SET status = COALESCE($1, status), end_time = COALESCE($2, end_time), name = COALESCE($3, name) WHERE run_uuid = $4",
                        args![status.map(RunStatus::as_str), end_time_ms, name.clone(), &id],
                    )
                    .await?;
                if let Some(name) = name {
                    put_tags(connection, &id, &[Tag::new(RUN_NAME, name)]).await?;
                }
                let sql = format!("SELECT {INFO} FROM runs WHERE run_uuid = $1");
                run_info(&connection.row(sql, args![&id]).await?.ok_or_else(|| missing(&id))?)
            })
        })
        .await
    }

    /// Deletes or restores a run; twice is once.
    ///
    /// # Errors
    /// When there is no such run.
    pub async fn set_run_lifecycle(&self, id: &str, to: LifecycleStage, now_ms: i64) -> Result<(), StoreError> {
        let deleted = (to == LifecycleStage::Deleted).then_some(now_ms);
        let id = id.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let found = connection.row("SELECT lifecycle_stage FROM runs WHERE run_uuid = $1", args![&id]).await?;
                if found.ok_or_else(|| missing(&id))?.text(0)? == to.as_str() {
                    return Ok(());
                }
                connection
                    .execute(
                        "UPDATE runs SET lifecycle_stage = $1, deleted_time = $2 WHERE run_uuid = $3",
                        args![to.as_str(), deleted, &id],
                    )
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Logs metrics, params and tags of an active run in one transaction. Repeating a call changes nothing.
    ///
    /// # Errors
    /// With the key that does not fit, or the params that have another value already; nothing is written then.
    pub async fn log_batch(&self, run_id: &str, batch: Batch) -> Result<(), StoreError> {
        for metric in &batch.metrics {
            crate::metrics::check(metric)?;
        }
        for param in &batch.params {
            check_key("Param", &param.key)?;
        }
        check_tags(&batch.tags)?;
        let run_id = run_id.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let experiment = active_run(connection, &run_id).await?;
                let changed = put_params(connection, &run_id, &batch.params).await?;
                if let Some(message) = changed_params(&changed, &run_id, batch.params.len()) {
                    return Err(StoreError::InvalidInput(message));
                }
                put_metrics(connection, &run_id, experiment, &batch.metrics).await?;
                put_tags(connection, &run_id, &batch.tags).await
            })
        })
        .await
    }

    /// Removes a tag of an active run.
    ///
    /// # Errors
    /// When the run or the tag is missing.
    pub async fn delete_run_tag(&self, run_id: &str, key: &str) -> Result<(), StoreError> {
        let (run_id, key) = (run_id.to_owned(), key.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                active_run(connection, &run_id).await?;
                let gone = connection
                    .execute("DELETE FROM tags WHERE run_uuid = $1 AND key = $2", args![&run_id, &key])
                    .await?;
                if gone == 0 {
                    return Err(StoreError::NotFound(format!("No tag with name: {key} in run with id {run_id}")));
                }
                Ok(())
            })
        })
        .await
    }
}

fn check_tags(tags: &[Tag]) -> Result<(), StoreError> {
    tags.iter().try_for_each(|tag| check_key("Tag", &tag.key))
}

pub(crate) async fn put_tags(connection: &mut Connection, run_id: &str, tags: &[Tag]) -> Result<(), StoreError> {
    for tag in tags {
        let value = cut_tag(&tag.value);
        connection
            .execute(
                "INSERT INTO tags (key, value, run_uuid) VALUES ($1, $2, $3) ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value",
                args![&tag.key, &value, run_id],
            )
            .await?;
        if tag.key == RUN_NAME {
            limit("run_name", &value, 250)?;
            connection.execute("UPDATE runs SET name = $1 WHERE run_uuid = $2", args![value, run_id]).await?;
        }
    }
    Ok(())
}

/// Writes what is new and returns (key, old, new) of what would change.
async fn put_params(
    connection: &mut Connection,
    run_id: &str,
    params: &[Tag],
) -> Result<Vec<(String, String, String)>, StoreError> {
    let mut changed = Vec::new();
    for param in params {
        let value = cut_param(&param.value);
        let inserted = connection
            .execute(
                "INSERT INTO params (key, value, run_uuid) VALUES ($1, $2, $3) ON CONFLICT (key, run_uuid) DO NOTHING",
                args![&param.key, &value, run_id],
            )
            .await?;
        if inserted > 0 {
            continue;
        }
        let row = connection
            .row("SELECT value FROM params WHERE key = $1 AND run_uuid = $2", args![&param.key, run_id])
            .await?;
        let stored = row.map_or(Ok(String::new()), |row| row.text(0))?;
        if stored != value {
            changed.push((param.key.clone(), stored, value));
        }
    }
    Ok(changed)
}

fn changed_params(changed: &[(String, String, String)], run_id: &str, submitted: usize) -> Option<String> {
    match changed {
        [] => None,
        [(key, old, new)] if submitted == 1 => Some(format!(
            "Changing param values is not allowed. Param with key='{key}' was already logged with value='{old}' for run ID='{run_id}'. Attempted logging new value '{new}'."
        )),
        many => {
            let list: Vec<String> = many
                .iter()
                .map(|(key, old, new)| format!("{{'key': '{key}', 'old_value': '{old}', 'new_value': '{new}'}}"))
                .collect();
            Some(format!(
                "Changing param values is not allowed. Params were already logged='[{}]' for run ID='{run_id}'.",
                list.join(", ")
            ))
        }
    }
}
