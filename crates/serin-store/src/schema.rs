//! Bringing a database to the present schema.
//!
//! MLflow's tables are MLflow's: in a database that MLflow made they are used as they are and `alembic_version` is
//! never written. A database that serin makes gets them whole, with the revision whose tables they are, so that
//! MLflow opens it without a migration. serin's own tables are `serin_*`, made by numbered steps, forward only.

use crate::sql::{Connection, args};
use crate::{Store, StoreError};

/// The revision that `mlflow.sql` is.
const OUR_HEAD: &str = "dc11669786a5";
/// Revisions with the same core tables, newest first (MLflow 3.10 to 3.17).
const KNOWN_HEADS: [&str; 19] = [
    OUR_HEAD,
    "75868b020152",
    "b7e2c1a4d9f3",
    "17e22815139b",
    "1971f2d9a75b",
    "6f8d9c3b2a1e",
    "c3d9e7f1a2b4",
    "c1d2e3f4a5b6",
    "a8b9c0d1e2f3",
    "b7e4c1a90f23",
    "89d3d66ed43f",
    "da6fb0208061",
    "7d34483879f0",
    "ae8bbe7743c9",
    "a5b4c3d2e1f0",
    "c3d6457b6d8a",
    "76601a5f987d",
    "e1f2a3b4c5d6",
    "1b5f0d9ad7c1",
];

/// Forward only; a released file is never edited.
const MIGRATIONS: [&str; 8] = [
    include_str!("../migrations/0001_ledger.sql"),
    include_str!("../migrations/0002_search.sql"),
    include_str!("../migrations/0003_access.sql"),
    include_str!("../migrations/0004_monitoring.sql"),
    include_str!("../migrations/0005_evidence.sql"),
    include_str!("../migrations/0006_lead.sql"),
    include_str!("../migrations/0007_jobs.sql"),
    include_str!("../migrations/0008_lead_epoch.sql"),
];

/// Columns that serin reads and writes, to tell whether an unknown revision can be served.
const PROBES: [&str; 8] = [
    "SELECT experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time, workspace FROM experiments LIMIT 0",
    "SELECT run_uuid, name, source_type, user_id, status, start_time, end_time, lifecycle_stage, artifact_uri, experiment_id, deleted_time FROM runs LIMIT 0",
    "SELECT key, value, timestamp, step, is_nan, run_uuid FROM latest_metrics LIMIT 0",
    "SELECT name, creation_time, last_updated_time, description, workspace FROM registered_models LIMIT 0",
    "SELECT name, version, current_stage, source, run_id, status, run_link, storage_location, workspace FROM model_versions LIMIT 0",
    "SELECT alias, version, name, workspace FROM registered_model_aliases LIMIT 0",
    "SELECT model_id, experiment_id, name, artifact_location, status, lifecycle_stage, source_run_id FROM logged_models LIMIT 0",
    "SELECT input_uuid, source_type, source_id, destination_type, destination_id, step FROM inputs LIMIT 0",
];

pub(crate) async fn prepare(store: &Store) -> Result<(), StoreError> {
    let postgres = store.is_postgres();
    let made_by = head(&mut store.reader(), postgres).await?;
    if let Some(head) = &made_by {
        accept(store, head).await?;
    }
    let fresh = made_by.is_none();
    store.write(move |connection| Box::pin(async move { migrate(connection, postgres, fresh).await })).await
}

/// The revision in `alembic_version`, where there is one.
async fn head(reader: &mut Connection, postgres: bool) -> Result<Option<String>, StoreError> {
    if !has_table(reader, postgres, "alembic_version").await? {
        return Ok(None);
    }
    let row = reader.row("SELECT version_num FROM alembic_version", args![]).await?;
    row.map(|row| row.text(0)).transpose()
}

async fn has_table(connection: &mut Connection, postgres: bool, name: &str) -> Result<bool, StoreError> {
    let catalogue = if postgres {
        "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename = $1"
    } else {
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name = $1"
    };
    Ok(connection.row(catalogue, args![name]).await?.is_some())
}

async fn accept(store: &Store, head: &str) -> Result<(), StoreError> {
    let known = KNOWN_HEADS.contains(&head);
    for probe in PROBES {
        if let Err(error) = store.reader().rows(probe, args![]).await {
            tracing::debug!("{probe}: {error}");
            return Err(StoreError::Schema(format!(
                "the database is at MLflow's revision {head}, whose tables serin does not know; bring it to MLflow 3.10 or later with `mlflow db upgrade` (make a backup first)"
            )));
        }
    }
    if !known {
        tracing::warn!(
            "the database is at MLflow's revision {head}, unknown to this serin; its core tables fit and are used"
        );
    }
    Ok(())
}

async fn migrate(connection: &mut Connection, postgres: bool, fresh: bool) -> Result<(), StoreError> {
    if postgres {
        // Of two servers that start at once the second waits here and then finds the work done.
        connection.execute("SELECT pg_advisory_xact_lock(7364726696)", args![]).await?;
    }
    if fresh && head_is_missing(connection, postgres).await? {
        let (serial, bytes) = if postgres { ("SERIAL", "BYTEA") } else { ("INTEGER", "BLOB") };
        let sql = include_str!("../migrations/mlflow.sql").replace("{serial}", serial).replace("{bytes}", bytes);
        connection.script(sql).await?;
        connection
            .script("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, PRIMARY KEY (version_num))".into())
            .await?;
        connection.execute("INSERT INTO alembic_version (version_num) VALUES ($1)", args![OUR_HEAD]).await?;
    }
    connection
        .script("CREATE TABLE IF NOT EXISTS serin_migrations (number BIGINT PRIMARY KEY NOT NULL)".into())
        .await?;
    let row = connection.row("SELECT COALESCE(MAX(number), 0) FROM serin_migrations", args![]).await?;
    let present = row.map_or(Ok(0), |row| row.int(0))?;
    let newest = MIGRATIONS.len() as i64;
    if present > newest {
        return Err(StoreError::Schema(format!(
            "the database is at migration {present}, this serin knows {newest}: it was opened by a later serin; upgrade this one"
        )));
    }
    for (number, sql) in (1..).zip(MIGRATIONS).filter(|(number, _)| *number > present) {
        // PostgreSQL sorts nulls first when descending, SQLite last and cannot be told otherwise in an index.
        let descending = if postgres { "DESC NULLS LAST" } else { "DESC" };
        connection.script(sql.replace("{desc}", descending)).await?;
        connection.execute("INSERT INTO serin_migrations (number) VALUES ($1)", args![number]).await?;
    }
    Ok(())
}

/// Looked at again inside the transaction: another server may have been first.
async fn head_is_missing(connection: &mut Connection, postgres: bool) -> Result<bool, StoreError> {
    Ok(!has_table(connection, postgres, "alembic_version").await?)
}
