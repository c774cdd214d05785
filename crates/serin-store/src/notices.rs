//! The outbox of alerts: what began or ended is written in the transaction of the alert, with one delivery for each receiver,
//! and stays open until the receiver took it or it is given up.

use crate::sql::{Connection, Row, args};
use crate::{Store, StoreError};

/// Longest subject of an alert in characters, as its column has it.
const MAX_SUBJECT: usize = 256;

/// Course of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertEvent {
    /// The alert is on from now on.
    Began,
    /// The alert is over.
    Ended,
    /// Something happened once: the alert is over as soon as it is told.
    Happened,
}

/// Alert that begins, ends or happens, and who is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertChange {
    /// Kind of rule, such as `drift`.
    pub rule: String,
    /// Column or figure that the rule is about; only the first 256 characters are kept.
    pub subject: String,
    /// Severity: `warning` or `critical`.
    pub severity: String,
    /// Course of the alert.
    pub event: AlertEvent,
    /// Time of the change on the clock of the looks, epoch milliseconds.
    pub at_ms: i64,
    /// Text for people, one sentence.
    pub message: String,
    /// Ids of the receivers that are told; empty for a muted alert.
    pub receivers: Vec<String>,
}

/// News of an alert, for receivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertNotice {
    /// Unique, ordered by time.
    pub id: String,
    /// Name of the registered model.
    pub model: String,
    /// Kind of rule, such as `drift`.
    pub rule: String,
    /// Column or figure that the rule is about.
    pub subject: String,
    /// Severity: `warning` or `critical`.
    pub severity: String,
    /// True if the alert began, false if it ended.
    pub began: bool,
    /// Time at which the alert fired, epoch milliseconds.
    pub fired_at_ms: i64,
    /// Time of the news on the clock of the looks, epoch milliseconds.
    pub at_ms: i64,
    /// Text for people, one sentence.
    pub message: String,
    /// Time at which the notice was written, epoch milliseconds.
    pub created_at_ms: i64,
}

/// Notice that one receiver has not taken yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// News of the alert.
    pub notice: AlertNotice,
    /// Id of the receiver.
    pub receiver: String,
    /// Number of tries so far.
    pub tries: i64,
    /// Time before which it is not tried again, epoch milliseconds.
    pub next_at_ms: i64,
}

/// Result of one try of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// The receiver took it.
    Taken,
    /// The receiver did not take it; it is tried again.
    Failed {
        /// Time of the next try, epoch milliseconds.
        next_at_ms: i64,
        /// Message that says why, without secrets.
        error: String,
    },
    /// The delivery is not tried any more.
    GivenUp,
}

const DELIVERY: &str = "n.id, n.model_name, n.rule, n.subject, n.severity, n.began, n.fired_at, n.at, n.message, n.created_at, d.receiver, d.tries, d.next_at";

/// Writes a change of an alert with its notice and deliveries. An alert that is on already does not begin again, and one that
/// is not on does not end: nothing is written then.
pub(crate) async fn record_alert(
    connection: &mut Connection,
    model: &str,
    change: AlertChange,
    now_ms: i64,
) -> Result<(), StoreError> {
    let AlertChange { rule, subject, severity, event, at_ms, message, receivers } = change;
    let subject: String = subject.chars().take(MAX_SUBJECT).collect();
    let sql = "SELECT fired_at FROM serin_alerts WHERE model_name = $1 AND rule = $2 AND subject = $3 AND resolved_at IS NULL";
    let on = connection.row(sql, args![model, &rule, &subject]).await?.map(|row| row.int(0)).transpose()?;
    let fired_at = match (event, on) {
        (AlertEvent::Began, Some(_)) | (AlertEvent::Ended, None) => return Ok(()),
        (AlertEvent::Ended, Some(fired_at)) => {
            let sql = "UPDATE serin_alerts SET resolved_at = $1 WHERE model_name = $2 AND rule = $3 AND subject = $4 AND resolved_at IS NULL";
            connection.execute(sql, args![at_ms, model, &rule, &subject]).await?;
            fired_at
        }
        (AlertEvent::Began, None) | (AlertEvent::Happened, _) => {
            let resolved_at = (event == AlertEvent::Happened).then_some(at_ms);
            let sql = "INSERT INTO serin_alerts (id, model_name, rule, subject, severity, fired_at, resolved_at, message) \
                       VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
            let id = uuid::Uuid::now_v7().to_string();
            let values = args![id, model, &rule, &subject, &severity, at_ms, resolved_at, &message];
            connection.execute(sql, values).await?;
            at_ms
        }
    };
    if receivers.is_empty() {
        return Ok(());
    }
    let id = uuid::Uuid::now_v7().to_string();
    let sql = "INSERT INTO serin_notices (id, model_name, rule, subject, severity, began, fired_at, at, message, created_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let began = event != AlertEvent::Ended;
    connection
        .execute(sql, args![&id, model, rule, subject, severity, began, fired_at, at_ms, message, now_ms])
        .await?;
    for receiver in receivers {
        let sql = "INSERT INTO serin_deliveries (notice_id, receiver, tries, next_at) VALUES ($1, $2, 0, $3) \
                   ON CONFLICT (notice_id, receiver) DO NOTHING";
        connection.execute(sql, args![&id, receiver, now_ms]).await?;
    }
    Ok(())
}

fn delivery(row: &Row) -> Result<Delivery, StoreError> {
    let notice = AlertNotice {
        id: row.text(0)?,
        model: row.text(1)?,
        rule: row.text(2)?,
        subject: row.text(3)?,
        severity: row.text(4)?,
        began: row.bool(5)?,
        fired_at_ms: row.int(6)?,
        at_ms: row.int(7)?,
        message: row.text(8)?,
        created_at_ms: row.int(9)?,
    };
    Ok(Delivery { notice, receiver: row.text(10)?, tries: row.int(11)?, next_at_ms: row.int(12)? })
}

impl Store {
    /// Deliveries to a receiver that are due at `now_ms`, epoch milliseconds, at most `limit`, the oldest notices first. Of one
    /// alert only the oldest open one is due, so that no receiver hears of an end before its beginning.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn due_deliveries(&self, receiver: &str, now_ms: i64, limit: i64) -> Result<Vec<Delivery>, StoreError> {
        let sql = format!(
            "SELECT {DELIVERY} FROM serin_deliveries d JOIN serin_notices n ON n.id = d.notice_id \
             WHERE d.taken_at IS NULL AND d.given_up_at IS NULL AND d.receiver = $1 AND d.next_at <= $2 AND NOT EXISTS \
             (SELECT 1 FROM serin_deliveries e JOIN serin_notices m ON m.id = e.notice_id WHERE e.taken_at IS NULL \
             AND e.given_up_at IS NULL AND e.receiver = d.receiver AND m.model_name = n.model_name AND m.rule = n.rule \
             AND m.subject = n.subject AND m.id < n.id) ORDER BY n.id LIMIT $3"
        );
        self.reader().rows(sql, args![receiver, now_ms, limit]).await?.iter().map(delivery).collect()
    }

    /// Gives up the open deliveries of notices that were written before `before_ms`, epoch milliseconds, and returns them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expire_deliveries(&self, before_ms: i64, now_ms: i64) -> Result<Vec<Delivery>, StoreError> {
        let sql = format!(
            "SELECT {DELIVERY} FROM serin_deliveries d JOIN serin_notices n ON n.id = d.notice_id \
             WHERE d.taken_at IS NULL AND d.given_up_at IS NULL AND n.created_at < $1 ORDER BY n.id, d.receiver"
        );
        let rows = self.reader().rows(sql, args![before_ms]).await?;
        let expired = rows.iter().map(delivery).collect::<Result<Vec<_>, _>>()?;
        for delivery in &expired {
            self.end_delivery(delivery, Tried::GivenUp, now_ms).await?;
        }
        Ok(expired)
    }

    /// Takes a delivery for one try, so that no other server tries it before `until_ms`. False if another one was first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_delivery(&self, delivery: &Delivery, until_ms: i64) -> Result<bool, StoreError> {
        let (notice, receiver, seen) = (delivery.notice.id.clone(), delivery.receiver.clone(), delivery.next_at_ms);
        self.write(move |connection| {
            Box::pin(async move {
                let sql = "UPDATE serin_deliveries SET next_at = $1, tries = tries + 1 WHERE notice_id = $2 AND receiver = $3 \
                           AND next_at = $4 AND taken_at IS NULL AND given_up_at IS NULL";
                Ok(connection.execute(sql, args![until_ms, notice, receiver, seen]).await? > 0)
            })
        })
        .await
    }

    /// Writes down what came of a try of a delivery.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_delivery(&self, delivery: &Delivery, tried: Tried, now_ms: i64) -> Result<(), StoreError> {
        let (notice, receiver) = (delivery.notice.id.clone(), delivery.receiver.clone());
        self.write(move |connection| {
            Box::pin(async move {
                let (sql, values) = match tried {
                    Tried::Taken => (
                        "UPDATE serin_deliveries SET taken_at = $1, error = NULL WHERE notice_id = $2 AND receiver = $3",
                        args![now_ms, notice, receiver],
                    ),
                    Tried::Failed { next_at_ms, error } => (
                        "UPDATE serin_deliveries SET next_at = $1, error = $2 WHERE notice_id = $3 AND receiver = $4",
                        args![next_at_ms, error, notice, receiver],
                    ),
                    Tried::GivenUp => (
                        "UPDATE serin_deliveries SET given_up_at = $1 WHERE notice_id = $2 AND receiver = $3",
                        args![now_ms, notice, receiver],
                    ),
                };
                connection.execute(sql, values).await.map(drop)
            })
        })
        .await
    }

    /// Removes notices that were written before `before_ms`, epoch milliseconds, with their deliveries.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remove_notices(&self, before_ms: i64) -> Result<(), StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let sql = "DELETE FROM serin_deliveries WHERE notice_id IN (SELECT id FROM serin_notices WHERE created_at < $1)";
                connection.execute(sql, args![before_ms]).await?;
                connection.execute("DELETE FROM serin_notices WHERE created_at < $1", args![before_ms]).await.map(drop)
            })
        })
        .await
    }
}
