//! Model versions: what can be released.

use crate::evidence::must_lead;
use crate::ledger::record;
use crate::model_rows::{check_tag, insert_model, missing as model_missing, must_exist as model_must_exist};
use crate::names::limit;
use crate::sql::{Connection, Row, Value, args, placeholders};
use crate::{Store, StoreError};
use serin_tracking::{Change, Stage, Tag};
use std::collections::HashMap;

pub(crate) const COLUMNS: &str = "v.name, v.version, v.creation_time, v.last_updated_time, v.description, v.user_id, v.current_stage, v.source, v.run_id, v.status, v.status_message, v.run_link, v.storage_location";
const DELETED: &str = "Deleted_Internal";

/// Version of a registered model, with its tags and aliases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelVersion {
    /// Name of the registered model.
    pub name: String,
    /// Number of the version within the model, from 1.
    pub version: i64,
    /// Time at which it was registered, epoch milliseconds.
    pub creation_time_ms: i64,
    /// Time at which it was last changed, epoch milliseconds.
    pub last_updated_time_ms: i64,
    /// Description, free text for people.
    pub description: Option<String>,
    /// Name of the user who registered it, where it is known.
    pub user: Option<String>,
    /// Stage that the version is in now.
    pub stage: Stage,
    /// Source URI that the client registered the version from.
    pub source: String,
    /// Id of the run it came from; empty without one.
    pub run_id: String,
    /// MLflow's status of the version; serin only writes `READY`.
    pub status: String,
    /// Message that goes with the status, where a tool other than serin has written one.
    pub status_message: Option<String>,
    /// Link to the run, as the client sent it; empty without one.
    pub run_link: String,
    /// Artifact location of its files; equal to `source` where none was resolved.
    pub storage_location: String,
    /// Tags, keys and values.
    pub tags: Vec<Tag>,
    /// Aliases of the model that point at this version.
    pub aliases: Vec<String>,
}

/// Version to be registered.
#[derive(Debug, Clone, Default)]
pub struct NewModelVersion {
    /// Name of the registered model.
    pub name: String,
    /// True to create the registered model if it is missing.
    pub create_model: bool,
    /// URI of the model: `mlflow-artifacts:/…`, `runs:/…`, `models:/…`, `s3://…`.
    pub source: String,
    /// Id of the run it came from; empty without one.
    pub run_id: String,
    /// Id of the logged model that is registered; empty without one.
    pub model_id: String,
    /// Link to the run, at most 500 characters; empty without one.
    pub run_link: String,
    /// Description, free text of at most 5000 characters.
    pub description: Option<String>,
    /// Tags, keys and values.
    pub tags: Vec<Tag>,
    /// Name of the user who registers it, where it is known.
    pub user: Option<String>,
}

fn missing(name: &str, version: i64) -> StoreError {
    StoreError::NotFound(format!("Model Version (name={name}, version={version}) not found"))
}

fn model_version(row: &Row) -> Result<ModelVersion, StoreError> {
    let source = row.text(7)?;
    Ok(ModelVersion {
        name: row.text(0)?,
        version: row.int(1)?,
        creation_time_ms: row.int(2)?,
        last_updated_time_ms: row.int(3)?,
        description: row.opt_text(4)?,
        user: row.opt_text(5)?,
        stage: row.text(6)?.parse().unwrap_or(Stage::None),
        run_id: row.text(8)?,
        status: row.text(9)?,
        status_message: row.opt_text(10)?,
        run_link: row.text(11)?,
        storage_location: row.opt_text(12)?.unwrap_or_else(|| source.clone()),
        source,
        tags: Vec::new(),
        aliases: Vec::new(),
    })
}

impl Store {
    /// Registers the next version of a model. Numbers are never used twice.
    ///
    /// # Errors
    /// When the model is missing, or the source is not one the request may name.
    pub async fn create_model_version(&self, new: NewModelVersion, change: Change) -> Result<ModelVersion, StoreError> {
        if new.create_model {
            crate::names::check_model_name(&new.name)?;
        }
        limit("source", &new.source, 500)?;
        limit("run_link", &new.run_link, 500)?;
        limit("description", new.description.as_deref().unwrap_or_default(), 5000)?;
        new.tags.iter().try_for_each(check_tag)?;
        let name = new.name.clone();
        let origin = self.origin_of(&new).await?;
        let version = self
            .write(move |connection| {
                Box::pin(async move {
                    let at = change.at_ms;
                    if new.create_model && insert_model(connection, &new.name, None, at).await? {
                        record(connection, &new.name, None, "model created", "", &change).await?;
                    }
                    // Also the lock that keeps two callers from taking one number.
                    let sql = "UPDATE registered_models SET last_updated_time = $1 WHERE workspace = 'default' AND name = $2";
                    if connection.execute(sql, args![at, &new.name]).await? == 0 {
                        return Err(model_missing(&new.name));
                    }
                    let sql = "SELECT COALESCE(MAX(version), 0) + 1 FROM model_versions WHERE workspace = 'default' AND name = $1";
                    let version = connection.row(sql, args![&new.name]).await?.map_or(Ok(1), |row| row.int(0))?;
                    let run = (!origin.run_id.is_empty()).then_some(origin.run_id);
                    let link = (!new.run_link.is_empty()).then_some(new.run_link);
                    connection
                        .execute(
                            "INSERT INTO model_versions (name, version, creation_time, last_updated_time, description, user_id, current_stage, source, \
                             run_id, status, run_link, storage_location, workspace) \
                             VALUES ($1, $2, $3, $3, $4, $5, 'None', $6, $7, 'READY', $8, $9, 'default')",
                            args![&new.name, version, at, new.description, new.user, new.source, run, link, origin.storage_location],
                        )
                        .await?;
                    for tag in &new.tags {
                        put_tag(connection, &new.name, version, tag).await?;
                    }
                    record(connection, &new.name, Some(version), "created", "", &change).await?;
                    Ok(version)
                })
            })
            .await?;
        self.model_version(&name, version).await
    }

    /// A version that is not deleted.
    ///
    /// # Errors
    /// When there is none.
    pub async fn model_version(&self, name: &str, version: i64) -> Result<ModelVersion, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM model_versions v WHERE v.workspace = 'default' AND v.name = $1 AND v.version = $2 AND v.current_stage <> '{DELETED}'"
        );
        let row = self.reader().row(sql, args![name, version]).await?.ok_or_else(|| missing(name, version))?;
        self.model_versions_of(&[row], true).await?.pop().ok_or_else(|| missing(name, version))
    }

    pub(crate) async fn model_versions_of(
        &self,
        rows: &[Row],
        with_aliases: bool,
    ) -> Result<Vec<ModelVersion>, StoreError> {
        let mut versions = rows.iter().map(model_version).collect::<Result<Vec<_>, _>>()?;
        let at: HashMap<(String, i64), usize> =
            versions.iter().enumerate().map(|(i, v)| ((v.name.clone(), v.version), i)).collect();
        let mut names: Vec<&String> = versions.iter().map(|version| &version.name).collect();
        names.sort_unstable();
        names.dedup();
        let names: Vec<String> = names.into_iter().cloned().collect();
        let mut reader = self.reader();
        for names in names.chunks(500) {
            let list = placeholders(1, names.len());
            let mut bound: Vec<Value> = names.iter().map(Value::from).collect();
            let mut only = String::new();
            if let [one] = rows {
                bound.push(one.int(1)?.into());
                only = format!(" AND version = ${}", bound.len());
            }
            let sql = format!(
                "SELECT name, version, key, value FROM model_version_tags WHERE workspace = 'default' AND name IN ({list}){only} ORDER BY key"
            );
            for row in reader.rows(sql, bound.clone()).await? {
                if let Some(i) = at.get(&(row.text(0)?, row.int(1)?)) {
                    versions[*i].tags.push(Tag { key: row.text(2)?, value: row.text(3)? });
                }
            }
            if !with_aliases {
                continue;
            }
            let sql = format!(
                "SELECT name, version, alias FROM registered_model_aliases WHERE workspace = 'default' AND name IN ({list}){only} ORDER BY alias"
            );
            for row in reader.rows(sql, bound).await? {
                if let Some(i) = at.get(&(row.text(0)?, row.int(1)?)) {
                    versions[*i].aliases.push(row.text(2)?);
                }
            }
        }
        Ok(versions)
    }

    /// All versions of a model, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn versions(&self, name: &str) -> Result<Vec<ModelVersion>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM model_versions v WHERE v.workspace = 'default' AND v.name = $1 AND v.current_stage <> '{DELETED}' ORDER BY v.version DESC"
        );
        let rows = self.reader().rows(sql, args![name]).await?;
        self.model_versions_of(&rows, true).await
    }

    /// Changes the description of a version.
    ///
    /// # Errors
    /// When the version is missing or the text too long.
    pub async fn describe_model_version(
        &self,
        name: &str,
        version: i64,
        description: &str,
        now_ms: i64,
    ) -> Result<ModelVersion, StoreError> {
        limit("description", description, 5000)?;
        let (model, description) = (name.to_owned(), description.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                must_exist(connection, &model, version).await?;
                let sql = "UPDATE model_versions SET description = $1, last_updated_time = $2 WHERE workspace = 'default' AND name = $3 AND version = $4";
                connection.execute(sql, args![description, now_ms, model, version]).await.map(drop)
            })
        })
        .await?;
        self.model_version(name, version).await
    }

    /// Moves a version to a stage; `archive_existing` archives those that held it. One transaction with the ledger.
    ///
    /// # Errors
    /// When there is no such version, or versions of a stage that is not active are to be archived.
    pub async fn move_to_stage(
        &self,
        name: &str,
        version: i64,
        stage: Stage,
        archive_existing: bool,
        change: Change,
    ) -> Result<ModelVersion, StoreError> {
        if archive_existing && !matches!(stage, Stage::Staging | Stage::Production) {
            return Err(StoreError::InvalidInput(format!(
                "Model version transition cannot archive existing model versions because '{}' is not an Active stage. Valid stages are ['Staging', 'Production']",
                stage.as_str()
            )));
        }
        let model = name.to_owned();
        self.write(move |connection| {
            Box::pin(async move { transition(connection, &model, version, stage, archive_existing, &change).await })
        })
        .await?;
        self.model_version(name, version).await
    }

    /// Deletes a version: its number is not used again, what it was is redacted, its aliases are removed.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete_model_version(&self, name: &str, version: i64, change: Change) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                must_exist(connection, &name, version).await?;
                let at = change.at_ms;
                let sql = "UPDATE registered_models SET last_updated_time = $1 WHERE workspace = 'default' AND name = $2";
                connection.execute(sql, args![at, &name]).await?;
                let sql = format!(
                    "UPDATE model_versions SET current_stage = '{DELETED}', last_updated_time = $1, description = NULL, user_id = NULL, status_message = NULL, \
                     source = 'REDACTED-SOURCE-PATH', run_id = 'REDACTED-RUN-ID', run_link = 'REDACTED-RUN-LINK' \
                     WHERE workspace = 'default' AND name = $2 AND version = $3"
                );
                connection.execute(sql, args![at, &name, version]).await?;
                let sql = "DELETE FROM registered_model_aliases WHERE workspace = 'default' AND name = $1 AND version = $2 RETURNING alias";
                for row in connection.rows(sql, args![&name, version]).await? {
                    record(connection, &name, Some(version), "alias removed", &row.text(0)?, &change).await?;
                }
                record(connection, &name, Some(version), "deleted", "", &change).await
            })
        })
        .await
    }

    /// Sets a tag of a version, over one of the same key.
    ///
    /// # Errors
    /// When the version is missing or the tag does not fit.
    pub async fn set_model_version_tag(&self, name: &str, version: i64, tag: Tag) -> Result<(), StoreError> {
        check_tag(&tag)?;
        let name = name.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                must_exist(connection, &name, version).await?;
                put_tag(connection, &name, version, &tag).await
            })
        })
        .await
    }

    /// Removes a tag; one that is not there is no error.
    ///
    /// # Errors
    /// When the version is missing.
    pub async fn delete_model_version_tag(&self, name: &str, version: i64, key: &str) -> Result<(), StoreError> {
        let (name, key) = (name.to_owned(), key.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                must_exist(connection, &name, version).await?;
                let sql = "DELETE FROM model_version_tags WHERE workspace = 'default' AND name = $1 AND version = $2 AND key = $3";
                connection.execute(sql, args![name, version, key]).await.map(drop)
            })
        })
        .await
    }
}

/// Moves a version to a stage, with the ledger's rows; `archive_existing` archives the versions there.
pub(crate) async fn transition(
    connection: &mut Connection,
    name: &str,
    version: i64,
    stage: Stage,
    archive_existing: bool,
    change: &Change,
) -> Result<(), StoreError> {
    let at = change.at_ms;
    // The model's row first, as every change of its versions: two movers wait for each other here.
    let sql = "UPDATE registered_models SET last_updated_time = $1 WHERE workspace = 'default' AND name = $2";
    connection.execute(sql, args![at, name]).await?;
    let before = must_exist(connection, name, version).await?;
    if let Some((replica, epoch)) = &change.only_if.leader {
        must_lead(connection, name, (replica, *epoch)).await?;
    }
    if let Some(from) = change.only_if.version
        && before != stage.as_str()
        && must_exist(connection, name, from).await? != stage.as_str()
    {
        let stage = stage.as_str();
        return Err(StoreError::Superseded(format!("version {from} of {name} is not in {stage} any more")));
    }
    if archive_existing {
        let sql = "UPDATE model_versions SET current_stage = 'Archived', last_updated_time = $1 \
                   WHERE workspace = 'default' AND name = $2 AND current_stage = $3 AND version <> $4 RETURNING version";
        for row in connection.rows(sql, args![at, name, stage.as_str(), version]).await? {
            record(connection, name, Some(row.int(0)?), "stage", Stage::Archived.as_str(), change).await?;
        }
    }
    let sql = "UPDATE model_versions SET current_stage = $1, last_updated_time = $2 WHERE workspace = 'default' AND name = $3 AND version = $4";
    connection.execute(sql, args![stage.as_str(), at, name, version]).await?;
    if before != stage.as_str() {
        record(connection, name, Some(version), "stage", stage.as_str(), change).await?;
    }
    Ok(())
}

/// Stage of a version that is not deleted.
pub(crate) async fn must_exist(connection: &mut Connection, name: &str, version: i64) -> Result<String, StoreError> {
    let sql = "SELECT current_stage FROM model_versions WHERE workspace = 'default' AND name = $1 AND version = $2 AND current_stage <> 'Deleted_Internal'";
    match connection.row(sql, args![name, version]).await? {
        Some(row) => row.text(0),
        None => {
            model_must_exist(connection, name).await?;
            Err(missing(name, version))
        }
    }
}

pub(crate) async fn put_tag(
    connection: &mut Connection,
    name: &str,
    version: i64,
    tag: &Tag,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO model_version_tags (key, value, name, version, workspace) VALUES ($1, $2, $3, $4, 'default') ON CONFLICT (workspace, key, name, version) DO UPDATE SET value = excluded.value";
    connection.execute(sql, args![&tag.key, &tag.value, name, version]).await.map(drop)
}
