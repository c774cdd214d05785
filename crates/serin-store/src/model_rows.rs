//! The row of a registered model: whether it is there, and writing it. Models and versions both need it.

use crate::StoreError;
use crate::names::limit;
use crate::sql::{Connection, args};
use serin_tracking::Tag;

/// Longest value of a tag of a model or version.
const MAX_TAG_VALUE: usize = 100_000;

/// No registered model has that name.
pub(crate) fn missing(name: &str) -> StoreError {
    StoreError::NotFound(format!("Registered Model with name={name} not found"))
}

/// Refuses a tag of a model or version whose key or value MLflow refuses.
pub(crate) fn check_tag(tag: &Tag) -> Result<(), StoreError> {
    crate::names::check_key("Tag", &tag.key)?;
    limit("value", &tag.value, MAX_TAG_VALUE)
}

/// Refuses a name that no registered model has.
pub(crate) async fn must_exist(connection: &mut Connection, name: &str) -> Result<(), StoreError> {
    let sql = "SELECT name FROM registered_models WHERE workspace = 'default' AND name = $1";
    connection.row(sql, args![name]).await?.map(drop).ok_or_else(|| missing(name))
}

/// Writes the row of a registered model; false where the name has one already.
pub(crate) async fn insert_model(
    connection: &mut Connection,
    name: &str,
    description: Option<String>,
    now_ms: i64,
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO registered_models (name, creation_time, last_updated_time, description, workspace) VALUES ($1, $2, $2, $3, 'default') ON CONFLICT (workspace, name) DO NOTHING";
    Ok(connection.execute(sql, args![name, now_ms, description]).await? > 0)
}
