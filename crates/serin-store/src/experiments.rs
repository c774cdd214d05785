//! Experiments: folders of runs.

use crate::names::limit;
use crate::sql::{Connection, Row, args, placeholders};
use crate::{LifecycleStage, Store, StoreError};
use serin_tracking::Tag;
use std::collections::HashMap;

const COLUMNS: &str = "experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time";

/// Experiment: a named folder of runs, logged models and data sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Experiment {
    /// MLflow's id, from 0.
    pub id: i64,
    /// Unique name of the experiment.
    pub name: String,
    /// Artifact location under which its runs keep their files.
    pub artifact_location: String,
    /// Whether the experiment is in use or in the trash.
    pub lifecycle_stage: LifecycleStage,
    /// Time at which the experiment was created, epoch milliseconds.
    pub creation_time_ms: i64,
    /// Time at which the experiment was last changed, epoch milliseconds.
    pub last_update_time_ms: i64,
    /// Tags of the experiment, keys and values.
    pub tags: Vec<Tag>,
}

fn experiment(row: &Row) -> Result<Experiment, StoreError> {
    Ok(Experiment {
        id: row.int(0)?,
        name: row.text(1)?,
        artifact_location: row.text(2)?,
        lifecycle_stage: LifecycleStage::of(&row.text(3)?),
        creation_time_ms: row.int(4)?,
        last_update_time_ms: row.int(5)?,
        tags: Vec::new(),
    })
}

fn missing(id: i64) -> StoreError {
    StoreError::NotFound(format!("No Experiment with id={id} exists"))
}

impl Store {
    /// Makes experiment 0, `Default`, where it is missing: MLflow's clients log there when they name none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ensure_default_experiment(&self, now_ms: i64) -> Result<(), StoreError> {
        let location = self.artifacts.location("0");
        self.write(move |connection| {
            Box::pin(async move {
                connection
                    .execute(
                        "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time, workspace) \
                         VALUES (0, 'Default', $1, 'active', $2, $2, 'default') ON CONFLICT DO NOTHING",
                        args![location, now_ms],
                    )
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Creates an experiment and returns its id; `location` is where its artifacts lie, by default below the
    /// artifact root.
    ///
    /// # Errors
    /// When the name is taken, also by a deleted one, or too long.
    pub async fn create_experiment(
        &self,
        name: &str,
        location: Option<&str>,
        tags: Vec<Tag>,
        now_ms: i64,
    ) -> Result<i64, StoreError> {
        if name.is_empty() {
            return Err(StoreError::invalid("Invalid experiment name: the name is empty"));
        }
        limit("name", name, 500)?;
        for tag in &tags {
            check_tag(tag)?;
        }
        let location = match location.filter(|location| !location.is_empty()) {
            Some(location) => Some(self.artifacts.allowed_location(location)?),
            None => None,
        };
        let (name, artifacts) = (name.to_owned(), self.artifacts.clone());
        self.write(move |connection| {
            Box::pin(async move {
                let inserted = connection
                    .row(
                        "INSERT INTO experiments (name, artifact_location, lifecycle_stage, creation_time, last_update_time, workspace) \
                         VALUES ($1, '', 'active', $2, $2, 'default') ON CONFLICT (workspace, name) DO NOTHING RETURNING experiment_id",
                        args![&name, now_ms],
                    )
                    .await?;
                let Some(row) = inserted else {
                    return Err(StoreError::Conflict(format!(
                        "Experiment(name={name}) already exists. A deleted experiment keeps its name: restore it, or remove it for good with `serin db gc`."
                    )));
                };
                let id = row.int(0)?;
                let location = location.unwrap_or_else(|| artifacts.location(&id.to_string()));
                connection
                    .execute(
                        "UPDATE experiments SET artifact_location = $1 WHERE experiment_id = $2",
                        args![location, id],
                    )
                    .await?;
                for tag in tags {
                    put_tag(connection, id, &tag).await?;
                }
                Ok(id)
            })
        })
        .await
    }

    /// An experiment in any state.
    ///
    /// # Errors
    /// When there is none with that id.
    pub async fn experiment(&self, id: i64) -> Result<Experiment, StoreError> {
        let mut reader = self.reader();
        let sql = format!("SELECT {COLUMNS} FROM experiments WHERE workspace = 'default' AND experiment_id = $1");
        let row = reader.row(sql, args![id]).await?.ok_or_else(|| missing(id))?;
        self.with_tags(vec![experiment(&row)?]).await?.pop().ok_or_else(|| missing(id))
    }

    /// An experiment in any state, by name.
    ///
    /// # Errors
    /// When there is none with that name.
    pub async fn experiment_by_name(&self, name: &str) -> Result<Experiment, StoreError> {
        let none = || StoreError::NotFound(format!("Could not find experiment with name '{name}'"));
        let sql = format!("SELECT {COLUMNS} FROM experiments WHERE workspace = 'default' AND name = $1");
        let row = self.reader().row(sql, args![name]).await?.ok_or_else(none)?;
        self.with_tags(vec![experiment(&row)?]).await?.pop().ok_or_else(none)
    }

    pub(crate) async fn experiments_of(&self, rows: &[Row]) -> Result<Vec<Experiment>, StoreError> {
        self.with_tags(rows.iter().map(experiment).collect::<Result<_, _>>()?).await
    }

    async fn with_tags(&self, mut experiments: Vec<Experiment>) -> Result<Vec<Experiment>, StoreError> {
        let mut at: HashMap<i64, usize> = HashMap::new();
        for (i, experiment) in experiments.iter().enumerate() {
            at.insert(experiment.id, i);
        }
        let ids: Vec<i64> = experiments.iter().map(|experiment| experiment.id).collect();
        for ids in ids.chunks(500) {
            let sql = format!(
                "SELECT experiment_id, key, value FROM experiment_tags WHERE experiment_id IN ({}) ORDER BY key",
                placeholders(1, ids.len())
            );
            for row in self.reader().rows(sql, ids.iter().map(|id| (*id).into()).collect()).await? {
                if let Some(i) = at.get(&row.int(0)?) {
                    experiments[*i].tags.push(Tag { key: row.text(1)?, value: row.text(2)? });
                }
            }
        }
        Ok(experiments)
    }

    /// Deletes an active experiment with its runs, or restores a deleted one with all of them.
    ///
    /// # Errors
    /// When there is none in the state it must be in.
    pub async fn set_experiment_lifecycle(&self, id: i64, to: LifecycleStage, now_ms: i64) -> Result<(), StoreError> {
        let deleted = (to == LifecycleStage::Deleted).then_some(now_ms);
        self.write(move |connection| {
            Box::pin(async move {
                let changed = connection
                    .execute(
                        "UPDATE experiments SET lifecycle_stage = $1, last_update_time = $2 WHERE workspace = 'default' AND experiment_id = $3 AND lifecycle_stage <> $1",
                        args![to.as_str(), now_ms, id],
                    )
                    .await?;
                if changed == 0 {
                    return Err(missing(id));
                }
                connection
                    .execute(
                        "UPDATE runs SET lifecycle_stage = $1, deleted_time = $2 WHERE experiment_id = $3 AND lifecycle_stage <> $1",
                        args![to.as_str(), deleted, id],
                    )
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Renames an active experiment.
    ///
    /// # Errors
    /// When it is missing or deleted, or the name is taken.
    pub async fn rename_experiment(&self, id: i64, name: &str, now_ms: i64) -> Result<(), StoreError> {
        limit("new_name", name, 500)?;
        if self.experiment(id).await?.lifecycle_stage != LifecycleStage::Active {
            return Err(StoreError::invalid("Cannot rename a non-active experiment."));
        }
        let (name, taken) = (name.to_owned(), name.to_owned());
        let renamed = self
            .write(move |connection| {
                Box::pin(async move {
                    connection
                        .execute(
                            "UPDATE experiments SET name = $1, last_update_time = $2 WHERE experiment_id = $3",
                            args![name, now_ms, id],
                        )
                        .await
                })
            })
            .await;
        match renamed {
            Err(error) if error.is_duplicate() => {
                Err(StoreError::Conflict(format!("Experiment(name={taken}) already exists.")))
            }
            other => other.map(drop),
        }
    }

    /// Sets a tag of an active experiment.
    ///
    /// # Errors
    /// When the experiment is missing or deleted, or the tag does not fit.
    pub async fn set_experiment_tag(&self, id: i64, tag: Tag, now_ms: i64) -> Result<(), StoreError> {
        check_tag(&tag)?;
        self.write(move |connection| {
            Box::pin(async move {
                must_be_active(connection, id).await?;
                put_tag(connection, id, &tag).await?;
                touch(connection, id, now_ms).await
            })
        })
        .await
    }

    /// Removes a tag of an active experiment.
    ///
    /// # Errors
    /// When the experiment or the tag is missing.
    pub async fn delete_experiment_tag(&self, id: i64, key: &str, now_ms: i64) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                must_be_active(connection, id).await?;
                let gone = connection
                    .execute("DELETE FROM experiment_tags WHERE experiment_id = $1 AND key = $2", args![id, &key])
                    .await?;
                if gone == 0 {
                    return Err(StoreError::NotFound(format!("No tag with name: {key} in experiment with id {id}")));
                }
                touch(connection, id, now_ms).await
            })
        })
        .await
    }
}

fn check_tag(tag: &Tag) -> Result<(), StoreError> {
    crate::names::check_key("Experiment tag", &tag.key)?;
    limit("value", &tag.value, 20_000)
}

async fn touch(connection: &mut Connection, id: i64, now_ms: i64) -> Result<(), StoreError> {
    connection
        .execute("UPDATE experiments SET last_update_time = $1 WHERE experiment_id = $2", args![now_ms, id])
        .await?;
    Ok(())
}

async fn put_tag(connection: &mut Connection, id: i64, tag: &Tag) -> Result<(), StoreError> {
    connection
        .execute(
            "INSERT INTO experiment_tags (key, value, experiment_id) VALUES ($1, $2, $3) ON CONFLICT (key, experiment_id) DO UPDATE SET value = excluded.value",
            args![&tag.key, &tag.value, id],
        )
        .await?;
    Ok(())
}

/// Artifact location of an experiment that may take runs.
pub(crate) async fn must_be_active(connection: &mut Connection, id: i64) -> Result<String, StoreError> {
    let row = connection
        .row(
            "SELECT artifact_location, lifecycle_stage FROM experiments WHERE workspace = 'default' AND experiment_id = $1",
            args![id],
        )
        .await?
        .ok_or_else(|| missing(id))?;
    let stage = row.text(1)?;
    if stage != "active" {
        return Err(StoreError::InvalidInput(format!(
            "The experiment {id} must be in the 'active' state. Current state is {stage}."
        )));
    }
    row.text(0)
}
