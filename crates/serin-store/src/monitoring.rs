//! Records of monitoring: panes of live traffic (one hour of one replica), alerts, retrainings.

use crate::sql::{Row, args};
use crate::{Store, StoreError};
use serin_tracking::StoredPane;

/// Alert of monitoring: a rule that fired for one column or figure of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Unique, ordered by time.
    pub id: String,
    /// Name of the registered model.
    pub model: String,
    /// Kind of rule that fired, such as `drift`.
    pub rule: String,
    /// Column or figure that the rule fired for.
    pub subject: String,
    /// Severity: `warning` or `critical`.
    pub severity: String,
    /// Time at which the alert fired, epoch milliseconds.
    pub fired_at_ms: i64,
    /// Time at which the alert was resolved, epoch milliseconds; `None` while it is on.
    pub resolved_at_ms: Option<i64>,
    /// Text for people, one sentence.
    pub message: String,
}

/// Retraining of a model: why it began, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retraining {
    /// Unique, ordered by time.
    pub id: String,
    /// Name of the registered model.
    pub model: String,
    /// Cause of the retraining: `manual`, `schedule`, `drift`, `performance`, `labels`.
    pub cause: String,
    /// Reason for the retraining, a sentence for people.
    pub reason: String,
    /// Time at which it began, epoch milliseconds.
    pub started_at_ms: i64,
    /// Time at which it ended, epoch milliseconds; `None` while it runs.
    pub ended_at_ms: Option<i64>,
    /// Outcome: `accepted`, `discarded` or `failed`; `None` while it runs.
    pub outcome: Option<String>,
    /// Number of the version that the retraining registered, if it registered one.
    pub version: Option<i64>,
    /// Reason why it was accepted or discarded, or failed; `None` while it runs.
    pub verdict: Option<String>,
}

const PANE: &str = "id, model_name, version, from_at, sequence, body";
const ALERT: &str = "id, model_name, rule, subject, severity, fired_at, resolved_at, message";
const RETRAINING: &str = "id, model_name, cause, reason, started_at, ended_at, outcome, version, verdict";

fn alert(row: &Row) -> Result<Alert, StoreError> {
    Ok(Alert {
        id: row.text(0)?,
        model: row.text(1)?,
        rule: row.text(2)?,
        subject: row.text(3)?,
        severity: row.text(4)?,
        fired_at_ms: row.int(5)?,
        resolved_at_ms: row.opt_int(6)?,
        message: row.text(7)?,
    })
}

impl Store {
    /// Stores panes, all of them or none. A pane with the id of a stored one replaces its body if its `sequence` is
    /// higher; otherwise it is ignored.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_panes(&self, panes: Vec<StoredPane>) -> Result<(), StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                for pane in panes {
                    let sql = format!(
                        "INSERT INTO serin_panes ({PANE}) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO UPDATE \
                         SET sequence = excluded.sequence, body = excluded.body WHERE serin_panes.sequence < excluded.sequence"
                    );
                    let values = args![pane.id, pane.model, pane.version, pane.from_ms, pane.sequence, pane.body];
                    connection.execute(sql, values).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Panes of a model that begin from `from_ms` and before `until_ms`, by their time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn panes(&self, model: &str, from_ms: i64, until_ms: i64) -> Result<Vec<StoredPane>, StoreError> {
        let sql = format!(
            "SELECT {PANE} FROM serin_panes WHERE model_name = $1 AND from_at >= $2 AND from_at < $3 ORDER BY from_at, id"
        );
        let rows = self.reader().rows(sql, args![model, from_ms, until_ms]).await?;
        let pane = |row: &Row| {
            Ok(StoredPane {
                id: row.text(0)?,
                model: row.text(1)?,
                version: row.text(2)?,
                from_ms: row.int(3)?,
                sequence: row.int(4)?,
                body: row.text(5)?,
            })
        };
        rows.iter().map(pane).collect()
    }

    /// Models with panes that begin at `latest_ms` or before, and the beginning of the newest of these panes of each. What
    /// begins later waits until its time has come.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn watched_models(&self, latest_ms: i64) -> Result<Vec<(String, i64)>, StoreError> {
        let sql = "SELECT model_name, MAX(from_at) FROM serin_panes WHERE from_at <= $1 GROUP BY model_name ORDER BY model_name";
        self.reader().rows(sql, args![latest_ms]).await?.iter().map(|row| Ok((row.text(0)?, row.int(1)?))).collect()
    }

    /// Version and beginning, epoch milliseconds, of the newest pane of a model that begins before `before_ms`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn newest_pane(&self, model: &str, before_ms: i64) -> Result<Option<(String, i64)>, StoreError> {
        let sql = "SELECT version, from_at FROM serin_panes WHERE model_name = $1 AND from_at < $2 ORDER BY from_at DESC, id DESC LIMIT 1";
        let row = self.reader().row(sql, args![model, before_ms]).await?;
        row.map(|row| Ok((row.text(0)?, row.int(1)?))).transpose()
    }

    /// Beginning of the oldest of a model's newest hours with traffic, epoch milliseconds: `hours` of them that begin at
    /// `latest_ms` or before. `None` if there are no more than that.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn oldest_kept_hour(&self, model: &str, latest_ms: i64, hours: i64) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT DISTINCT from_at FROM serin_panes WHERE model_name = $1 AND from_at <= $2 ORDER BY from_at DESC LIMIT 2 OFFSET $3";
        let rows = self.reader().rows(sql, args![model, latest_ms, (hours - 1).max(0)]).await?;
        rows.first().filter(|_| rows.len() == 2).map(|row| row.int(0)).transpose()
    }

    /// Removes panes of a model that begin before `before_ms`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remove_panes(&self, model: &str, before_ms: i64) -> Result<(), StoreError> {
        let model = model.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let sql = "DELETE FROM serin_panes WHERE model_name = $1 AND from_at < $2";
                connection.execute(sql, args![model, before_ms]).await.map(drop)
            })
        })
        .await
    }

    /// Alerts of a model (of all with an empty name), the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alerts(&self, model: &str, limit: i64, offset: i64) -> Result<Vec<Alert>, StoreError> {
        let sql = format!(
            "SELECT {ALERT} FROM serin_alerts WHERE model_name = $1 OR $2 = '' ORDER BY fired_at DESC, id DESC LIMIT $3 OFFSET $4"
        );
        self.reader().rows(sql, args![model, model, limit, offset]).await?.iter().map(alert).collect()
    }

    /// Alerts of a model that are on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alerts_on(&self, model: &str) -> Result<Vec<Alert>, StoreError> {
        let sql = format!(
            "SELECT {ALERT} FROM serin_alerts WHERE model_name = $1 AND resolved_at IS NULL ORDER BY fired_at, id"
        );
        self.reader().rows(sql, args![model]).await?.iter().map(alert).collect()
    }

    /// Alerts of a model that were on at a point in time, epoch milliseconds, by the alerts' own clock.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alerts_at(&self, model: &str, at_ms: i64) -> Result<Vec<Alert>, StoreError> {
        let sql = format!(
            "SELECT {ALERT} FROM serin_alerts WHERE model_name = $1 AND fired_at <= $2 AND (resolved_at IS NULL OR resolved_at > $3) \
             ORDER BY fired_at, id"
        );
        self.reader().rows(sql, args![model, at_ms, at_ms]).await?.iter().map(alert).collect()
    }

    /// Alerts of all models that are on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn firing_alerts(&self) -> Result<Vec<Alert>, StoreError> {
        let sql = format!("SELECT {ALERT} FROM serin_alerts WHERE resolved_at IS NULL ORDER BY fired_at, id");
        self.reader().rows(sql, args![]).await?.iter().map(alert).collect()
    }

    /// Writes down that a retraining begins; its id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_retraining(
        &self,
        model: &str,
        cause: &str,
        reason: &str,
        at_ms: i64,
    ) -> Result<String, StoreError> {
        let id = uuid::Uuid::now_v7().to_string();
        let (made, model, cause, reason) = (id.clone(), model.to_owned(), cause.to_owned(), reason.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                let sql = "INSERT INTO serin_retrainings (id, model_name, cause, reason, started_at) VALUES ($1, $2, $3, $4, $5)";
                connection.execute(sql, args![made, model, cause, reason, at_ms]).await.map(drop)
            })
        })
        .await?;
        Ok(id)
    }

    /// Writes down what came of one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_retraining(
        &self,
        id: &str,
        outcome: &str,
        version: Option<i64>,
        verdict: &str,
        at_ms: i64,
    ) -> Result<(), StoreError> {
        let (id, outcome, verdict) = (id.to_owned(), outcome.to_owned(), verdict.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                let sql = "UPDATE serin_retrainings SET outcome = $1, version = $2, verdict = $3, ended_at = $4 WHERE id = $5";
                connection.execute(sql, args![outcome, version, verdict, at_ms, id]).await.map(drop)
            })
        })
        .await
    }

    /// Retrainings of a model, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retrainings(&self, model: &str, limit: i64) -> Result<Vec<Retraining>, StoreError> {
        let sql = format!(
            "SELECT {RETRAINING} FROM serin_retrainings WHERE model_name = $1 ORDER BY started_at DESC, id DESC LIMIT $2"
        );
        let rows = self.reader().rows(sql, args![model, limit]).await?;
        let retraining = |row: &Row| {
            Ok(Retraining {
                id: row.text(0)?,
                model: row.text(1)?,
                cause: row.text(2)?,
                reason: row.text(3)?,
                started_at_ms: row.int(4)?,
                ended_at_ms: row.opt_int(5)?,
                outcome: row.opt_text(6)?,
                version: row.opt_int(7)?,
                verdict: row.opt_text(8)?,
            })
        };
        rows.iter().map(retraining).collect()
    }
}
