//! The guard's records of promotions: how many looks it has done at each, and the way back of one that lost.

use crate::ledger::record;
use crate::model_rows::check_tag;
use crate::model_versions::{put_tag, transition};
use crate::registered_models::point;
use crate::sql::{Connection, args};
use crate::{Store, StoreError};
use serin_tracking::{Change, ModelUri, Tag};

/// Number of looks that the guard has done at a promotion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardLooks {
    /// Id of the promotion's row in the ledger.
    pub promotion: String,
    /// Number of planned looks that are done, or passed.
    pub looks: i64,
}

/// Promotion that is to be undone.
#[derive(Debug, Clone)]
pub struct Undo {
    /// Alias or stage that the version before gets back.
    pub target: ModelUri,
    /// Number of the version that lost, which must still be at the target.
    pub version: i64,
    /// Number of the version before it.
    pub previous: i64,
    /// Actor, reason and time for the ledger.
    pub change: Change,
}

pub(crate) async fn record_looks(
    connection: &mut Connection,
    model: &str,
    looks: &GuardLooks,
    now_ms: i64,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO serin_guard_looks (promotion, model_name, looks, looked_at) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (promotion) DO UPDATE SET looks = excluded.looks, looked_at = excluded.looked_at \
               WHERE serin_guard_looks.looks < excluded.looks";
    connection.execute(sql, args![&looks.promotion, model, looks.looks, now_ms]).await.map(drop)
}

/// Puts the version before back at the target, with the ledger's rows of both versions.
pub(crate) async fn undo(connection: &mut Connection, model: &str, undone: &Undo) -> Result<(), StoreError> {
    let Undo { target, version, previous, change } = undone;
    let moved = || StoreError::Conflict(format!("{target} is not version {version} any more"));
    match target {
        ModelUri::Alias(name, alias) => {
            let sql = "SELECT 1 FROM registered_model_aliases WHERE workspace = 'default' AND name = $1 AND alias = $2 AND version = $3";
            connection.row(sql, args![name, alias, *version]).await?.ok_or_else(moved)?;
            point(connection, name, alias, *previous, change).await?;
        }
        ModelUri::Stage(name, stage) => {
            let sql = "SELECT 1 FROM model_versions WHERE workspace = 'default' AND name = $1 AND version = $2 AND current_stage = $3";
            connection.row(sql, args![name, *version, stage.as_str()]).await?.ok_or_else(moved)?;
            transition(connection, name, *previous, *stage, stage.archives(), change).await?;
        }
        _ => return Err(StoreError::InvalidInput(format!("{target} is no alias and no stage"))),
    }
    let tag = Tag::new("serin.rollout", format!("RolledBack: {}", change.reason));
    check_tag(&tag)?;
    put_tag(connection, model, *version, &tag).await?;
    record(connection, model, Some(*version), "rollout", "RolledBack", change).await
}

impl Store {
    /// Number of planned looks that the guard has done, or passed, at a promotion; 0 before the first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn guard_looks(&self, promotion: &str) -> Result<i64, StoreError> {
        let sql = "SELECT looks FROM serin_guard_looks WHERE promotion = $1";
        let row = self.reader().row(sql, args![promotion]).await?;
        row.map_or(Ok(0), |row| row.int(0))
    }
}
