//! The row of a run: whether it is there and may be written to.

use crate::StoreError;
use crate::sql::{Connection, args};

/// No run has that id.
pub(crate) fn missing(id: &str) -> StoreError {
    StoreError::NotFound(format!("Run with id={id} not found"))
}

/// The experiment of a run that may be written to.
pub(crate) async fn active_run(connection: &mut Connection, id: &str) -> Result<i64, StoreError> {
    let row = connection
        .row("SELECT experiment_id, lifecycle_stage FROM runs WHERE run_uuid = $1", args![id])
        .await?
        .ok_or_else(|| missing(id))?;
    let stage = row.text(1)?;
    if stage != "active" {
        return Err(StoreError::InvalidInput(format!(
            "The run {id} must be in the 'active' state. Current state is {stage}."
        )));
    }
    row.int(0)
}
