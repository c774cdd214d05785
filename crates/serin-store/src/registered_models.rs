//! Registered models: names under which versions are released.

use crate::evidence::must_lead;
use crate::ledger::record;
use crate::model_rows::{check_tag, insert_model, missing, must_exist};
use crate::model_versions::{ModelVersion, must_exist as version_must_exist};
use crate::names::{check_alias, check_model_name, limit};
use crate::sql::{Connection, Row, Value, args, placeholders};
use crate::{Store, StoreError};
use serin_tracking::{Change, Stage, Tag};
use std::collections::HashMap;

pub(crate) const COLUMNS: &str = "m.name, m.creation_time, m.last_updated_time, m.description";

/// Registered model with its tags, aliases and newest versions.
#[derive(Debug, Clone)]
pub struct RegisteredModel {
    /// Unique name of the model.
    pub name: String,
    /// Time at which the model was created, epoch milliseconds.
    pub creation_time_ms: i64,
    /// Time at which the model or one of its versions was last changed, epoch milliseconds.
    pub last_updated_time_ms: i64,
    /// Description, free text of at most 5000 characters.
    pub description: Option<String>,
    /// Tags, keys and values.
    pub tags: Vec<Tag>,
    /// Aliases, each with the number of the version it points at.
    pub aliases: Vec<(String, i64)>,
    /// Newest version of each stage.
    pub latest_versions: Vec<ModelVersion>,
}

impl Store {
    /// Creates a registered model.
    ///
    /// # Errors
    /// When the name is taken or does not fit.
    pub async fn create_registered_model(
        &self,
        name: &str,
        description: Option<&str>,
        tags: Vec<Tag>,
        change: Change,
    ) -> Result<RegisteredModel, StoreError> {
        check_model_name(name)?;
        limit("description", description.unwrap_or_default(), 5000)?;
        tags.iter().try_for_each(check_tag)?;
        let (created, description) = (name.to_owned(), description.map(str::to_owned));
        self.write(move |connection| {
            Box::pin(async move {
                if !insert_model(connection, &created, description, change.at_ms).await? {
                    return Err(StoreError::Conflict(format!("Registered Model (name={created}) already exists.")));
                }
                for tag in &tags {
                    put_tag(connection, &created, tag).await?;
                }
                record(connection, &created, None, "model created", "", &change).await
            })
        })
        .await?;
        self.registered_model(name).await
    }

    /// A registered model with its tags, aliases and newest versions.
    ///
    /// # Errors
    /// When there is none with that name.
    pub async fn registered_model(&self, name: &str) -> Result<RegisteredModel, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM registered_models m WHERE m.workspace = 'default' AND m.name = $1");
        let row = self.reader().row(sql, args![name]).await?.ok_or_else(|| missing(name))?;
        self.registered_models_of(&[row]).await?.pop().ok_or_else(|| missing(name))
    }

    pub(crate) async fn registered_models_of(&self, rows: &[Row]) -> Result<Vec<RegisteredModel>, StoreError> {
        let mut models = Vec::with_capacity(rows.len());
        for row in rows {
            models.push(RegisteredModel {
                name: row.text(0)?,
                creation_time_ms: row.int(1)?,
                last_updated_time_ms: row.int(2)?,
                description: row.opt_text(3)?,
                tags: Vec::new(),
                aliases: Vec::new(),
                latest_versions: Vec::new(),
            });
        }
        let at: HashMap<String, usize> = models.iter().enumerate().map(|(i, model)| (model.name.clone(), i)).collect();
        let names: Vec<String> = models.iter().map(|model| model.name.clone()).collect();
        for names in names.chunks(500) {
            let list = placeholders(1, names.len());
            let values = || names.iter().map(Value::from).collect::<Vec<_>>();
            let mut reader = self.reader();
            let sql = format!(
                "SELECT name, key, value FROM registered_model_tags WHERE workspace = 'default' AND name IN ({list}) ORDER BY key"
            );
            for row in reader.rows(sql, values()).await? {
                if let Some(i) = at.get(&row.text(0)?) {
                    models[*i].tags.push(Tag { key: row.text(1)?, value: row.text(2)? });
                }
            }
            let sql = format!(
                "SELECT name, alias, version FROM registered_model_aliases WHERE workspace = 'default' AND name IN ({list}) ORDER BY alias"
            );
            for row in reader.rows(sql, values()).await? {
                if let Some(i) = at.get(&row.text(0)?) {
                    models[*i].aliases.push((row.text(1)?, row.int(2)?));
                }
            }
            for version in self.newest_of_each_stage(&list, values(), None).await? {
                if let Some(i) = at.get(&version.name) {
                    models[*i].latest_versions.push(version);
                }
            }
        }
        Ok(models)
    }

    /// Newest version of each of `stages`, or of every stage when there are none named.
    ///
    /// # Errors
    /// When there is no such model.
    pub async fn latest_versions(&self, name: &str, stages: &[Stage]) -> Result<Vec<ModelVersion>, StoreError> {
        must_exist(&mut self.reader(), name).await?;
        let only = (!stages.is_empty()).then_some(stages);
        self.newest_of_each_stage("$1", args![name], only).await
    }

    async fn newest_of_each_stage(
        &self,
        list: &str,
        values: Vec<Value>,
        stages: Option<&[Stage]>,
    ) -> Result<Vec<ModelVersion>, StoreError> {
        let sql = format!(
            "SELECT {columns} FROM model_versions v JOIN (SELECT workspace, name, current_stage, MAX(version) AS newest FROM model_versions \
             WHERE workspace = 'default' AND name IN ({list}) AND current_stage <> 'Deleted_Internal' GROUP BY workspace, name, current_stage) n \
             ON n.workspace = v.workspace AND n.name = v.name AND n.newest = v.version ORDER BY v.name, v.version",
            columns = crate::model_versions::COLUMNS
        );
        let rows = self.reader().rows(sql, values).await?;
        let mut versions = self.model_versions_of(&rows, true).await?;
        if let Some(stages) = stages {
            versions.retain(|version| stages.contains(&version.stage));
        }
        Ok(versions)
    }

    /// Renames a model with everything below it.
    ///
    /// # Errors
    /// When it is missing or the new name is taken or does not fit.
    pub async fn rename_registered_model(
        &self,
        name: &str,
        new_name: &str,
        change: Change,
    ) -> Result<RegisteredModel, StoreError> {
        check_model_name(new_name)?;
        let (old, new) = (name.to_owned(), new_name.to_owned());
        let renamed = self
            .write(move |connection| {
                Box::pin(async move {
                    let at = change.at_ms;
                    // Tags, aliases and versions follow by their foreign keys.
                    let sql = "UPDATE registered_models SET name = $1, last_updated_time = $2 WHERE workspace = 'default' AND name = $3";
                    if connection.execute(sql, args![&new, at, &old]).await? == 0 {
                        return Err(missing(&old));
                    }
                    let sql = "UPDATE model_versions SET last_updated_time = $1 WHERE workspace = 'default' AND name = $2";
                    connection.execute(sql, args![at, &new]).await?;
                    let sql = "UPDATE serin_ledger SET model_name = $1 WHERE model_name = $2";
                    connection.execute(sql, args![&new, &old]).await?;
                    let sql = "UPDATE serin_grants SET resource = $1 WHERE kind = 'registered_model' AND resource = $2";
                    connection.execute(sql, args![&new, &old]).await?;
                    record(connection, &new, None, "renamed", &format!("{old} -> {new}"), &change).await
                })
            })
            .await;
        match renamed {
            Err(error) if error.is_duplicate() => {
                Err(StoreError::Conflict(format!("Registered Model (name={new_name}) already exists.")))
            }
            other => other.map(drop),
        }?;
        self.registered_model(new_name).await
    }

    /// Changes the description of a model.
    ///
    /// # Errors
    /// When the model is missing or the text is too long.
    pub async fn describe_registered_model(
        &self,
        name: &str,
        description: &str,
        now_ms: i64,
    ) -> Result<RegisteredModel, StoreError> {
        limit("description", description, 5000)?;
        let (model, description) = (name.to_owned(), description.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                let sql = "UPDATE registered_models SET description = $1, last_updated_time = $2 WHERE workspace = 'default' AND name = $3";
                if connection.execute(sql, args![description, now_ms, &model]).await? == 0 {
                    return Err(missing(&model));
                }
                Ok(())
            })
        })
        .await?;
        self.registered_model(name).await
    }

    /// Removes a model and all its versions for good. Its ledger stays.
    ///
    /// # Errors
    /// When there is none with that name.
    pub async fn delete_registered_model(&self, name: &str, change: Change) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                must_exist(connection, &name).await?;
                for table in [
                    "registered_model_aliases",
                    "model_version_tags",
                    "model_versions",
                    "registered_model_tags",
                    "registered_models",
                ] {
                    let sql = format!("DELETE FROM {table} WHERE workspace = 'default' AND name = $1");
                    connection.execute(sql, args![&name]).await?;
                }
                // Who makes a model of that name later starts afresh.
                let sql = "DELETE FROM serin_grants WHERE kind = 'registered_model' AND resource = $1";
                connection.execute(sql, args![&name]).await?;
                record(connection, &name, None, "model deleted", "", &change).await
            })
        })
        .await
    }

    /// Sets a tag of a model, over one of the same key.
    ///
    /// # Errors
    /// When the model is missing or the tag does not fit.
    pub async fn set_registered_model_tag(&self, name: &str, tag: Tag) -> Result<(), StoreError> {
        check_tag(&tag)?;
        let name = name.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                must_exist(connection, &name).await?;
                put_tag(connection, &name, &tag).await
            })
        })
        .await
    }

    /// Removes a tag; one that is not there is no error.
    ///
    /// # Errors
    /// When the model is missing.
    pub async fn delete_registered_model_tag(&self, name: &str, key: &str) -> Result<(), StoreError> {
        let (name, key) = (name.to_owned(), key.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                must_exist(connection, &name).await?;
                let sql = "DELETE FROM registered_model_tags WHERE workspace = 'default' AND name = $1 AND key = $2";
                connection.execute(sql, args![name, key]).await.map(drop)
            })
        })
        .await
    }

    /// Points an alias at a version, away from the one that had it.
    ///
    /// # Errors
    /// When there is no such version, or the alias means something else.
    pub async fn set_alias(&self, name: &str, alias: &str, version: i64, change: Change) -> Result<(), StoreError> {
        check_alias(alias)?;
        let (name, alias) = (name.to_owned(), alias.to_owned());
        self.write(move |connection| Box::pin(async move { point(connection, &name, &alias, version, &change).await }))
            .await
    }

    /// Removes an alias; one that is not there is no error.
    ///
    /// # Errors
    /// When the model is missing.
    pub async fn delete_alias(&self, name: &str, alias: &str, change: Change) -> Result<(), StoreError> {
        let (name, alias) = (name.to_owned(), alias.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                must_exist(connection, &name).await?;
                let sql = "DELETE FROM registered_model_aliases WHERE workspace = 'default' AND name = $1 AND alias = $2 RETURNING version";
                if let Some(row) = connection.row(sql, args![&name, &alias]).await? {
                    record(connection, &name, Some(row.int(0)?), "alias removed", &alias, &change).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// The version an alias points at; `latest` is the newest of all.
    ///
    /// # Errors
    /// When the model or the alias is missing.
    pub async fn aliased_version(&self, name: &str, alias: &str) -> Result<ModelVersion, StoreError> {
        let mut reader = self.reader();
        let row = if alias.eq_ignore_ascii_case("latest") {
            let sql = "SELECT MAX(version) FROM model_versions WHERE workspace = 'default' AND name = $1 AND current_stage <> 'Deleted_Internal'";
            reader.row(sql, args![name]).await?
        } else {
            let sql =
                "SELECT version FROM registered_model_aliases WHERE workspace = 'default' AND name = $1 AND alias = $2";
            reader.row(sql, args![name, alias]).await?
        };
        match row.map(|row| row.opt_int(0)).transpose()?.flatten() {
            Some(version) => self.model_version(name, version).await,
            None => {
                must_exist(&mut reader, name).await?;
                Err(StoreError::InvalidInput(format!("Registered model alias {alias} not found.")))
            }
        }
    }
}

async fn put_tag(connection: &mut Connection, name: &str, tag: &Tag) -> Result<(), StoreError> {
    let sql = "INSERT INTO registered_model_tags (key, value, name, workspace) VALUES ($1, $2, $3, 'default') ON CONFLICT (workspace, key, name) DO UPDATE SET value = excluded.value";
    connection.execute(sql, args![&tag.key, &tag.value, name]).await.map(drop)
}

pub(crate) async fn point(
    connection: &mut Connection,
    name: &str,
    alias: &str,
    version: i64,
    change: &Change,
) -> Result<(), StoreError> {
    version_must_exist(connection, name, version).await?;
    if let Some((replica, epoch)) = &change.only_if.leader {
        must_lead(connection, name, (replica, *epoch)).await?;
    }
    if let Some(from) = change.only_if.version {
        let sql =
            "SELECT version FROM registered_model_aliases WHERE workspace = 'default' AND name = $1 AND alias = $2";
        let now = connection.row(sql, args![name, alias]).await?.map(|row| row.int(0)).transpose()?;
        if now != Some(from) && now != Some(version) {
            return Err(StoreError::Superseded(format!("{name}@{alias} does not name version {from} any more")));
        }
    }
    let sql = "INSERT INTO registered_model_aliases (alias, version, name, workspace) VALUES ($1, $2, $3, 'default') ON CONFLICT (workspace, name, alias) DO UPDATE SET version = excluded.version WHERE registered_model_aliases.version <> excluded.version";
    // A repeated call changes nothing, so it leaves no row in the ledger either.
    if connection.execute(sql, args![alias, version, name]).await? > 0 {
        record(connection, name, Some(version), "alias", alias, change).await?;
    }
    Ok(())
}
