//! Records of what runs by itself on the tracking server: the runs of each job, and how far it has looked at a model's hours.

use crate::notices::{AlertChange, record_alert};
use crate::promotions::{GuardLooks, Undo, record_looks, undo};
use crate::sql::{Row, args};
use crate::{Store, StoreError};

/// Last runs of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRecord {
    /// Name of the job, such as `watch`.
    pub name: String,
    /// Name of the registered model that the job is about; empty where it is about none.
    pub model: String,
    /// Time at which the last run began, epoch milliseconds.
    pub started_at_ms: i64,
    /// Time at which a run last ended, epoch milliseconds; `None` before the first end.
    pub ended_at_ms: Option<i64>,
    /// Time at which a run last succeeded, epoch milliseconds; `None` before the first success.
    pub succeeded_at_ms: Option<i64>,
    /// Time at which a run last failed, epoch milliseconds; `None` before the first failure.
    pub failed_at_ms: Option<i64>,
    /// Message of the last failure, which later successes leave as it is.
    pub error: Option<String>,
    /// Number of runs that ended.
    pub runs: i64,
    /// Number of runs that failed.
    pub failures: i64,
}

/// Runs of a job that ended, as they are added to its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRuns {
    /// Name of the job.
    pub name: String,
    /// Name of the registered model that the job is about; empty where it is about none.
    pub model: String,
    /// Time at which the last of the runs began, epoch milliseconds.
    pub started_at_ms: i64,
    /// Time at which the last of the runs ended, epoch milliseconds.
    pub ended_at_ms: i64,
    /// Message of the last run's failure; `None` if it succeeded.
    pub error: Option<String>,
    /// Number of runs to add.
    pub runs: i64,
    /// Number of failed runs to add.
    pub failures: i64,
}

/// Progress of a job through the hours of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Time before which the job has looked at everything, epoch milliseconds.
    pub until_ms: i64,
    /// JSON that the job left for its next look; empty where it needs none.
    pub state: String,
}

/// One look of a job at a model, with everything that it changes.
#[derive(Debug, Clone, Default)]
pub struct LookRecord {
    /// Name of the job.
    pub job: &'static str,
    /// Name of the registered model.
    pub model: String,
    /// Progress before the look, epoch milliseconds; `None` for the job's first look at the model.
    pub from_ms: Option<i64>,
    /// Progress after the look, epoch milliseconds.
    pub until_ms: i64,
    /// JSON for the next look; empty where none is needed.
    pub state: String,
    /// Alerts that the look began or ended.
    pub changes: Vec<AlertChange>,
    /// Looks of the guard that are done with this one; `None` leaves their number as it is.
    pub guard: Option<GuardLooks>,
    /// Promotion that the look undoes.
    pub undo: Option<Undo>,
    /// Time now, epoch milliseconds: that of notices.
    pub now_ms: i64,
}

const JOB: &str = "name, model_name, started_at, ended_at, succeeded_at, failed_at, error, runs, failures";

impl Store {
    /// Writes down that a run of a job begins.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_job(&self, name: &str, model: &str, at_ms: i64) -> Result<(), StoreError> {
        let (name, model) = (name.to_owned(), model.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                let sql = "INSERT INTO serin_jobs (name, model_name, started_at, runs, failures) VALUES ($1, $2, $3, 0, 0) \
                           ON CONFLICT (name, model_name) DO UPDATE SET started_at = excluded.started_at";
                connection.execute(sql, args![name, model, at_ms]).await.map(drop)
            })
        })
        .await
    }

    /// Adds runs that ended to the record of their job.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_job(&self, ended: JobRuns) -> Result<(), StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let JobRuns { name, model, started_at_ms, ended_at_ms, error, runs, failures } = ended;
                let succeeded_at = error.is_none().then_some(ended_at_ms);
                let failed_at = error.is_some().then_some(ended_at_ms);
                let sql = format!(
                    "INSERT INTO serin_jobs ({JOB}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
                     ON CONFLICT (name, model_name) DO UPDATE SET started_at = excluded.started_at, ended_at = excluded.ended_at, \
                     succeeded_at = COALESCE(excluded.succeeded_at, serin_jobs.succeeded_at), \
                     failed_at = COALESCE(excluded.failed_at, serin_jobs.failed_at), \
                     error = COALESCE(excluded.error, serin_jobs.error), \
                     runs = serin_jobs.runs + excluded.runs, failures = serin_jobs.failures + excluded.failures"
                );
                let values =
                    args![name, model, started_at_ms, ended_at_ms, succeeded_at, failed_at, error, runs, failures];
                connection.execute(sql, values).await.map(drop)
            })
        })
        .await
    }

    /// Records of all jobs, by name and model.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn jobs(&self) -> Result<Vec<JobRecord>, StoreError> {
        let sql = format!("SELECT {JOB} FROM serin_jobs ORDER BY name, model_name");
        let record = |row: &Row| {
            Ok(JobRecord {
                name: row.text(0)?,
                model: row.text(1)?,
                started_at_ms: row.int(2)?,
                ended_at_ms: row.opt_int(3)?,
                succeeded_at_ms: row.opt_int(4)?,
                failed_at_ms: row.opt_int(5)?,
                error: row.opt_text(6)?,
                runs: row.int(7)?,
                failures: row.int(8)?,
            })
        };
        self.reader().rows(sql, args![]).await?.iter().map(record).collect()
    }

    /// Progress of a job through the hours of a model; `None` before its first look.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn progress(&self, job: &str, model: &str) -> Result<Option<Progress>, StoreError> {
        let sql = "SELECT until_at, state FROM serin_looks WHERE job = $1 AND model_name = $2";
        let row = self.reader().row(sql, args![job, model]).await?;
        row.map(|row| Ok(Progress { until_ms: row.int(0)?, state: row.text(1)? })).transpose()
    }

    /// Writes a look down, all of it or nothing: its progress, alerts with their notices, the guard's count and what it
    /// undoes.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the job's progress is another one than the look began from (another server has looked),
    /// or the promotion that is undone is not in place any more; otherwise when the database fails.
    pub async fn record_look(&self, look: LookRecord) -> Result<(), StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let LookRecord { job, model, from_ms, until_ms, state, changes, guard, undo: undone, now_ms } = look;
                let moved = match from_ms {
                    None => {
                        let sql = "INSERT INTO serin_looks (job, model_name, until_at, state) VALUES ($1, $2, $3, $4) \
                                   ON CONFLICT (job, model_name) DO NOTHING";
                        connection.execute(sql, args![job, &model, until_ms, state]).await?
                    }
                    Some(from_ms) => {
                        let sql = "UPDATE serin_looks SET until_at = $1, state = $2 \
                                   WHERE job = $3 AND model_name = $4 AND until_at = $5";
                        connection.execute(sql, args![until_ms, state, job, &model, from_ms]).await?
                    }
                };
                if moved == 0 {
                    let message = format!("another server has looked at {model} meanwhile ({job})");
                    return Err(StoreError::Conflict(message));
                }
                if let Some(looks) = guard {
                    record_looks(connection, &model, &looks, now_ms).await?;
                }
                if let Some(undone) = undone {
                    undo(connection, &model, &undone).await?;
                }
                for change in changes {
                    record_alert(connection, &model, change, now_ms).await?;
                }
                Ok(())
            })
        })
        .await
    }
}
