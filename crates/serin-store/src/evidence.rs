//! Evidence that data planes counted for a release, each under its own name, and the lease that says which one moves
//! it.

use crate::sql::{Connection, args};
use crate::{Store, StoreError};

/// Longest lease, milliseconds. A clock that is set back must not keep a dead replica in the lead for years.
const LONGEST: i64 = 60_000;

/// Request of a data plane for the lead of a release.
#[derive(Debug, Clone)]
pub struct LeaseRequest {
    /// Name of the registered model that is released.
    pub model: String,
    /// Name of the replica that asks.
    pub replica: String,
    /// Time of the request, epoch milliseconds.
    pub now_ms: i64,
    /// Length of the lease, milliseconds from `now_ms`; cut to at most one minute. The replica leads that long
    /// without asking again.
    pub lease_ms: i64,
    /// True if a person has told the replica to act: it then takes the lead from whichever replica has it.
    pub claims: bool,
    /// State of the release, JSON, stored if the replica led already or is the first to ask; `None` keeps what is
    /// stored.
    pub state: Option<String>,
}

/// Answer to a request for the lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lead {
    /// True if the replica that asked leads now.
    pub leads: bool,
    /// Epoch of the lead, 1 or more; it grows each time that the lead changes hands or is claimed. 0 if the replica
    /// that asked does not lead.
    pub epoch: i64,
    /// State stored by another replica, which leads or led until now; `None` if this replica led already, or no state
    /// is stored.
    pub state: Option<String>,
}

impl Store {
    /// Gives or keeps the lead of a model's release. One data plane leads at a time; the next goes on from the state
    /// it stored last.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lead(&self, asked: &LeaseRequest) -> Result<Lead, StoreError> {
        let LeaseRequest { model, replica, now_ms, lease_ms, claims, state } = asked.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let until_ms = now_ms + lease_ms.clamp(0, LONGEST);
                let sql = "INSERT INTO serin_lead (model_name, replica, until_ms, state) VALUES ($1, $2, $3, $4) ON CONFLICT (model_name) DO NOTHING";
                let begun = args![&model, &replica, until_ms, state.as_deref().unwrap_or_default()];
                if connection.execute(sql, begun).await? == 1 {
                    return Ok(Lead { leads: true, epoch: 1, state: None });
                }
                let sql = "SELECT replica, until_ms, state, epoch FROM serin_lead WHERE model_name = $1";
                let row = connection.row(sql, args![&model]).await?;
                let row = row.ok_or_else(|| StoreError::damaged("serin_lead", format!("the lead of {model} is gone")))?;
                let (leader, until, known, epoch) = (row.text(0)?, row.int(1)?, row.text(2)?, row.int(3)?);
                let theirs = (leader != replica && !known.is_empty()).then(|| known.clone());
                // Two that come at once may be told times in the other order, but not by a whole lease.
                let over = until < now_ms || until - now_ms > 2 * LONGEST;
                if leader != replica && !over && !claims {
                    return Ok(Lead { leads: false, epoch: 0, state: theirs });
                }
                // What another one has said stays until it is heard; only one of two that come at once finds the row as it was.
                let said = if leader == replica { state.unwrap_or(known) } else { known };
                let next = if leader != replica || claims { epoch + 1 } else { epoch };
                let sql = "UPDATE serin_lead SET replica = $1, until_ms = $2, state = $3, epoch = $4 WHERE model_name = $5 AND replica = $6 AND until_ms = $7 AND epoch = $8";
                let taken = connection.execute(sql, args![&replica, until_ms, &said, next, &model, &leader, until, epoch]).await? == 1;
                Ok(Lead { leads: taken, epoch: if taken { next } else { 0 }, state: theirs })
            })
        })
        .await
    }

    /// Removes the counts of a model's releases other than `release`: of attempts that are over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_evidence(&self, model: &str, release: &str) -> Result<(), StoreError> {
        let [model, release] = [model, release].map(str::to_owned);
        self.write(move |connection| {
            Box::pin(async move {
                let sql = "DELETE FROM serin_evidence WHERE model_name = $1 AND release <> $2";
                connection.execute(sql, args![&model, &release]).await.map(drop)
            })
        })
        .await
    }

    /// Keeps the counts of a replica, unless counts with the same or a higher `sequence` are stored, and returns the
    /// counts of the other replicas, ordered by their names. `release` names the versions.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn share_evidence(
        &self,
        model: &str,
        release: &str,
        replica: &str,
        sequence: i64,
        counts: &str,
    ) -> Result<Vec<String>, StoreError> {
        let [model, release, replica, counts] = [model, release, replica, counts].map(str::to_owned);
        self.write(move |connection| {
            Box::pin(async move {
                let sql = "INSERT INTO serin_evidence (model_name, release, replica, sequence, counts) VALUES ($1, $2, $3, $4, $5) \
                           ON CONFLICT (model_name, release, replica) DO UPDATE SET sequence = excluded.sequence, counts = excluded.counts \
                           WHERE serin_evidence.sequence < excluded.sequence";
                connection.execute(sql, args![&model, &release, &replica, sequence, counts]).await?;
                let sql = "SELECT counts FROM serin_evidence WHERE model_name = $1 AND release = $2 AND replica <> $3 ORDER BY replica";
                let rows = connection.rows(sql, args![&model, &release, &replica]).await?;
                rows.iter().map(|row| row.text(0)).collect()
            })
        })
        .await
    }
}

/// Holds the lead of a model's rollout until the end of the transaction, if it is still the one with this epoch.
pub(crate) async fn must_lead(
    connection: &mut Connection,
    model: &str,
    (replica, epoch): (&str, i64),
) -> Result<(), StoreError> {
    let sql = "UPDATE serin_lead SET epoch = epoch WHERE model_name = $1 AND replica = $2 AND epoch = $3";
    if connection.execute(sql, args![model, replica, epoch]).await? == 1 {
        return Ok(());
    }
    Err(StoreError::NotLeading(format!("{replica} does not lead the rollout of {model} any more (epoch {epoch})")))
}
