//! Registered models: versions, stages, aliases, and the ledger of who moved them.

use crate::runs::limit;
use crate::{Store, StoreError};
use sqlx::Row;

/// Stage of a model version, MLflow's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// No stage.
    None,
    /// Being tried.
    Staging,
    /// Live.
    Production,
    /// Retired.
    Archived,
}

impl Stage {
    /// MLflow's spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Staging => "Staging",
            Self::Production => "Production",
            Self::Archived => "Archived",
        }
    }
}

impl std::str::FromStr for Stage {
    type Err = String;

    /// Any case.
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::None, Self::Staging, Self::Production, Self::Archived]
            .into_iter()
            .find(|stage| stage.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("no stage {text:?}; choose from None, Staging, Production, Archived"))
    }
}

/// A registered version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelVersion {
    /// Registered model.
    pub name: String,
    /// From 1.
    pub version: i64,
    /// Folder of the package.
    pub source: String,
    /// Stage now.
    pub stage: String,
}

/// Who changes the registry, when and why; written to the ledger.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// Person or program.
    pub actor: &'a str,
    /// In a sentence.
    pub reason: &'a str,
    /// Epoch milliseconds.
    pub at_ms: i64,
}

impl Store {
    /// Registers `source` as the next version of `name`, creating the model when missing.
    ///
    /// # Errors
    /// When the name cannot be used in a URI.
    pub async fn create_version(
        &self,
        name: &str,
        source: &str,
        run_id: &str,
        change: Change<'_>,
    ) -> Result<i64, StoreError> {
        if name.is_empty() || name.contains(['/', ':', '@']) {
            return Err(StoreError::Invalid(format!(
                "model name {name:?}: a name is not empty and has no '/', ':' or '@'"
            )));
        }
        limit("model name", name, 256)?;
        limit("model source", source, 500)?;
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query(
            "INSERT INTO registered_models (name, creation_time, last_updated_time, workspace) VALUES ($1, $2, $2, 'default') \
             ON CONFLICT (workspace, name) DO UPDATE SET last_updated_time = excluded.last_updated_time",
        )
        .bind(name)
        .bind(change.at_ms)
        .execute(&mut *tx)
        .await?;
        let row = sqlx::query("SELECT COALESCE(MAX(version), 0) + 1 AS version FROM model_versions WHERE workspace = 'default' AND name = $1")
            .bind(name)
            .fetch_one(&mut *tx)
            .await?;
        let version: i64 = row.try_get("version")?;
        sqlx::query(
            "INSERT INTO model_versions (name, version, creation_time, last_updated_time, user_id, current_stage, source, run_id, status, workspace) \
             VALUES ($1, $2, $3, $3, $4, 'None', $5, $6, 'READY', 'default')",
        )
        .bind(name)
        .bind(version)
        .bind(change.at_ms)
        .bind(change.actor)
        .bind(source)
        .bind(run_id)
        .execute(&mut *tx)
        .await?;
        record(&mut tx, name, version, "created", "", change).await?;
        tx.commit().await?;
        Ok(version)
    }

    /// Moves a version to a stage; the versions that held Staging or Production are archived. One transaction
    /// with the ledger rows.
    ///
    /// # Errors
    /// When there is no such version.
    pub async fn move_to_stage(
        &self,
        name: &str,
        version: i64,
        stage: Stage,
        change: Change<'_>,
    ) -> Result<(), StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        if matches!(stage, Stage::Staging | Stage::Production) {
            let before = sqlx::query(
                "UPDATE model_versions SET current_stage = 'Archived', last_updated_time = $1 \
                 WHERE workspace = 'default' AND name = $2 AND current_stage = $3 AND version <> $4 RETURNING version",
            )
            .bind(change.at_ms)
            .bind(name)
            .bind(stage.as_str())
            .bind(version)
            .fetch_all(&mut *tx)
            .await?;
            for row in before {
                record(&mut tx, name, row.try_get("version")?, "stage", Stage::Archived.as_str(), change).await?;
            }
        }
        let moved = sqlx::query(
            "UPDATE model_versions SET current_stage = $1, last_updated_time = $2 WHERE workspace = 'default' AND name = $3 AND version = $4",
        )
        .bind(stage.as_str())
        .bind(change.at_ms)
        .bind(name)
        .bind(version)
        .execute(&mut *tx)
        .await?;
        if moved.rows_affected() == 0 {
            return Err(StoreError::not_found("model version", format!("{name}/{version}")));
        }
        record(&mut tx, name, version, "stage", stage.as_str(), change).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Points an alias at a version.
    ///
    /// # Errors
    /// When there is no such version.
    pub async fn set_alias(&self, name: &str, alias: &str, version: i64, change: Change<'_>) -> Result<(), StoreError> {
        limit("alias", alias, 256)?;
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let found = sqlx::query(
            "SELECT version FROM model_versions WHERE workspace = 'default' AND name = $1 AND version = $2",
        )
        .bind(name)
        .bind(version)
        .fetch_optional(&mut *tx)
        .await?;
        if found.is_none() {
            return Err(StoreError::not_found("model version", format!("{name}/{version}")));
        }
        sqlx::query(
            "INSERT INTO registered_model_aliases (alias, version, name, workspace) VALUES ($1, $2, $3, 'default') \
             ON CONFLICT (workspace, name, alias) DO UPDATE SET version = excluded.version",
        )
        .bind(alias)
        .bind(version)
        .bind(name)
        .execute(&mut *tx)
        .await?;
        record(&mut tx, name, version, "alias", alias, change).await?;
        tx.commit().await?;
        Ok(())
    }

    /// All versions of a model, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn versions(&self, name: &str) -> Result<Vec<ModelVersion>, StoreError> {
        let rows = sqlx::query(
            "SELECT name, version, source, current_stage FROM model_versions WHERE workspace = 'default' AND name = $1 \
             ORDER BY version DESC",
        )
        .bind(name)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(ModelVersion {
                    name: row.try_get("name")?,
                    version: row.try_get("version")?,
                    source: row.try_get("source")?,
                    stage: row.try_get("current_stage")?,
                })
            })
            .collect()
    }

    pub(crate) async fn aliased_version(&self, name: &str, alias: &str) -> Result<Option<i64>, StoreError> {
        let row = sqlx::query(
            "SELECT version FROM registered_model_aliases WHERE workspace = 'default' AND name = $1 AND alias = $2",
        )
        .bind(name)
        .bind(alias)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| row.try_get("version")).transpose()?)
    }
}

async fn record(
    tx: &mut sqlx::Transaction<'_, sqlx::Sqlite>,
    name: &str,
    version: i64,
    kind: &'static str,
    target: &str,
    change: Change<'_>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO serin_ledger (id, at, model_name, version, change, target, actor, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(uuid::Uuid::now_v7().to_string())
    .bind(change.at_ms)
    .bind(name)
    .bind(version)
    .bind(kind)
    .bind(target)
    .bind(change.actor)
    .bind(change.reason)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
