//! The ledger: which version held which alias or stage when, by whom and why. Rows are only ever added, in the
//! transaction of the change itself.

use crate::sql::{Connection, args};
use crate::{Store, StoreError};
use serin_tracking::{Change, Tag};

/// One row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Id of the entry, unique and ordered by time.
    pub id: String,
    /// Time of the change, epoch milliseconds.
    pub at_ms: i64,
    /// Number of the version that changed; `None` where the whole model changed.
    pub version: Option<i64>,
    /// Kind of change: `created`, `stage`, `alias`, `alias removed`, `deleted`, `renamed`, `rollout`, …
    pub change: String,
    /// Stage, alias, phase of a rollout, or `OLD -> NEW` of a new name; empty where the change has none.
    pub target: String,
    /// Person or program that made the change.
    pub actor: String,
    /// Reason for the change, a sentence for people.
    pub reason: String,
}

pub(crate) async fn record(
    connection: &mut Connection,
    model: &str,
    version: Option<i64>,
    kind: &'static str,
    target: &str,
    change: &Change,
) -> Result<(), StoreError> {
    connection
        .execute(
            "INSERT INTO serin_ledger (id, at, model_name, version, change, target, actor, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            args![uuid::Uuid::now_v7().to_string(), change.at_ms, model, version, kind, target, &change.actor, &change.reason],
        )
        .await?;
    Ok(())
}

impl Store {
    /// Records in the ledger how a version's rollout ended: `phase` is its last. Sets the version's tag
    /// `serin.rollout` to the same.
    ///
    /// # Errors
    /// When there is no such version, or the database fails.
    pub async fn note_rollout(&self, model: &str, version: i64, phase: &str, change: Change) -> Result<(), StoreError> {
        let (model, phase) = (model.to_owned(), phase.to_owned());
        let tag = Tag::new("serin.rollout", format!("{phase}: {}", change.reason));
        self.set_model_version_tag(&model, version, tag).await?;
        self.write(move |connection| {
            Box::pin(async move { record(connection, &model, Some(version), "rollout", &phase, &change).await })
        })
        .await
    }

    /// The ledger of a model, newest first: `limit` rows after `offset`. A deleted model keeps its ledger.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn model_history(&self, model: &str, limit: i64, offset: i64) -> Result<Vec<LedgerEntry>, StoreError> {
        let sql = "SELECT id, at, version, change, target, actor, reason FROM serin_ledger WHERE model_name = $1 ORDER BY at DESC, id DESC LIMIT $2 OFFSET $3";
        let rows = self.reader().rows(sql, args![model, limit, offset]).await?;
        rows.iter()
            .map(|row| {
                Ok(LedgerEntry {
                    id: row.text(0)?,
                    at_ms: row.int(1)?,
                    version: row.opt_int(2)?,
                    change: row.text(3)?,
                    target: row.text(4)?,
                    actor: row.text(5)?,
                    reason: row.text(6)?,
                })
            })
            .collect()
    }
}
