//! Writes: each one whole or not at all, acknowledged only when it is on disk.
//!
//! SQLite has one writer at a time whatever we do, and a commit costs a disk sync. So one task owns the writing
//! connection and commits what has queued up meanwhile *together*: every write is a savepoint of its own in a
//! shared transaction, and all of them are answered after its commit. PostgreSQL groups commits itself; there
//! every write is a transaction on a connection of the pool.

use crate::StoreError;
use crate::sql::Connection;
use futures_util::FutureExt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// The future of one write.
pub(crate) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'c>>;

/// Writes that share one commit, at most, and how long the first of them may wait for the others' work.
const GROUP: usize = 512;
const GROUP_TIME: Duration = Duration::from_millis(20);
/// Writes that may wait; more callers wait for a place.
const QUEUE: usize = 4096;

/// A write that waits for its turn.
trait Job: Send {
    fn run<'c>(self: Box<Self>, connection: &'c mut Connection) -> Pin<Box<dyn Future<Output = Answer> + Send + 'c>>;
    fn refuse(self: Box<Self>, reason: String);
}

struct Write<T, F> {
    write: F,
    sender: oneshot::Sender<Result<T, StoreError>>,
}

/// Result of a job, and how to tell its caller once the commit has succeeded or failed.
struct Answer {
    keep: bool,
    tell: Box<dyn FnOnce(Option<String>) + Send>,
}

impl<T, F> Job for Write<T, F>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut Connection) -> Work<'c, T> + Send + 'static,
{
    fn run<'c>(self: Box<Self>, connection: &'c mut Connection) -> Pin<Box<dyn Future<Output = Answer> + Send + 'c>> {
        Box::pin(async move {
            let Self { write, sender } = *self;
            let result = AssertUnwindSafe(write(connection)).catch_unwind().await;
            let result = result.unwrap_or_else(|_| Err(failed("a write broke off; nothing of it was kept")));
            Answer {
                keep: result.is_ok(),
                tell: Box::new(move |reason| {
                    // The caller may have gone away; its write stands or falls without it.
                    drop(sender.send(match reason {
                        Some(reason) if result.is_ok() => Err(failed(reason)),
                        _ => result,
                    }));
                }),
            }
        })
    }

    fn refuse(self: Box<Self>, reason: String) {
        drop(self.sender.send(Err(failed(reason))));
    }
}

fn failed(reason: impl Into<String>) -> StoreError {
    StoreError::Database(sqlx::Error::Protocol(reason.into()))
}

/// Handle to the task that owns SQLite's writing connection.
#[derive(Clone)]
pub(crate) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    pub(crate) fn start(connection: Connection) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        tokio::spawn(work(connection, queue));
        Self { jobs }
    }

    pub(crate) async fn write<T, F>(&self, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> Work<'c, T> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let gone = || failed("the store is closed");
        self.jobs.send(Box::new(Write { write, sender })).await.map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?
    }
}

async fn work(mut connection: Connection, mut queue: mpsc::Receiver<Box<dyn Job>>) {
    while let Some(first) = queue.recv().await {
        let mut answers = Vec::new();
        let failed = group(&mut connection, first, &mut queue, &mut answers).await.err().map(|error| {
            tracing::error!("a group of {} writes failed: {error}", answers.len());
            error.to_string()
        });
        if failed.is_some() {
            // After a failed commit SQLite may or may not have ended the transaction.
            drop(connection.execute("ROLLBACK", Vec::new()).await);
        }
        for answer in answers {
            (answer.tell)(failed.clone());
        }
    }
}

async fn group(
    connection: &mut Connection,
    first: Box<dyn Job>,
    queue: &mut mpsc::Receiver<Box<dyn Job>>,
    answers: &mut Vec<Answer>,
) -> Result<(), StoreError> {
    // Two statements at once: each one sent costs a change of threads.
    if let Err(error) = connection.script("BEGIN IMMEDIATE; SAVEPOINT one".to_owned()).await {
        first.refuse(error.to_string());
        return Ok(());
    }
    let start = Instant::now();
    let mut next = Some(first);
    while let Some(job) = next {
        let answer = job.run(connection).await;
        let undo = if answer.keep { "" } else { "ROLLBACK TO one; " };
        answers.push(answer);
        let room = answers.len() < GROUP && start.elapsed() < GROUP_TIME;
        next = if room { queue.try_recv().ok() } else { None };
        let then = if next.is_some() { "SAVEPOINT one" } else { "COMMIT" };
        connection.script(format!("{undo}RELEASE one; {then}")).await?;
    }
    Ok(())
}
