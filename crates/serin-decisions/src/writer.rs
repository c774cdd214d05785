//! Appends decisions to segments, one segment for each of a few groups of threads, and seals what is full or old.

use crate::error::LogError;
use crate::index::Index;
use crate::record::{self, LoggedModel as DecidingModel, NewDecision, NewShadow};
use crate::recovery::{self, Recovered};
use crate::retention::Retention;
use crate::segment::{CLOCK_STEP_MS, Entries, LogLimits, Segment};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::{Duration, Instant};

/// Time between two looks at age and retention.
const TICK: Duration = Duration::from_secs(1);

/// The log of one process. Many threads may append at once.
#[derive(Debug)]
pub struct DecisionLog {
    folder: PathBuf,
    limits: LogLimits,
    clock: fn() -> i64,
    /// Threads spread over these, so that they seldom wait for each other.
    shards: Vec<Mutex<Option<Segment>>>,
    /// Full segments, to be synced and sealed elsewhere than on the response path.
    sealer: mpsc::Sender<Task>,
    process: u32,
    segments: AtomicUsize,
    retention: Mutex<Retention>,
}

/// Task of the log's own thread.
enum Task {
    /// Seal a segment that is full, or that ends with a torn record.
    Seal(Segment),
    /// Answer, when the tasks before it are done.
    Answer(mpsc::Sender<()>),
}

impl DecisionLog {
    /// Opens a folder, creates it where it is missing, and seals what a dead process left in it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open(folder: &Path, limits: LogLimits, clock: fn() -> i64) -> Result<(Arc<Self>, Recovered), LogError> {
        std::fs::create_dir_all(folder).map_err(LogError::at(folder))?;
        let recovered = recovery::recover(folder)?;
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let (sealer, tasks) = mpsc::channel();
        let process = uuid::Uuid::new_v4().as_fields().0;
        let retention = Mutex::new(Retention::of(folder, &limits, clock(), process)?);
        let log = Arc::new(Self {
            folder: folder.to_owned(),
            limits,
            clock,
            shards: (0..threads).map(|_| Mutex::new(None)).collect(),
            sealer,
            process,
            segments: AtomicUsize::new(0),
            retention,
        });
        // It can be written now, not at the first payment.
        *log.shard(0) = Some(log.new_segment()?);
        let weak = Arc::downgrade(&log);
        std::thread::Builder::new()
            .name("decision-log".to_owned())
            .spawn(move || keep(&weak, &tasks))
            .map_err(LogError::at(folder))?;
        Ok((log, recovered))
    }

    /// Hands the decisions of one request to the kernel, all of them or none.
    ///
    /// # Errors
    /// When they cannot be written, as on a full disk; [`LogError::Width`] when one has not its model's features.
    pub fn append(&self, model: &Arc<DecidingModel>, decisions: &[NewDecision<'_>]) -> Result<(), LogError> {
        self.append_groups(&[(model, decisions)])
    }

    /// Hands the decisions of one request that several models decided to the kernel, all of them or none: the stable
    /// version's and the candidate's in a release.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn append_groups(&self, groups: &[(&Arc<DecidingModel>, &[NewDecision<'_>])]) -> Result<(), LogError> {
        let first = groups.iter().filter_map(|(_, decisions)| decisions.first());
        let Some(at_ms) = first.map(|decision| record::time_of(&decision.id)).min() else { return Ok(()) };
        let made = groups.iter().filter(|(_, decisions)| !decisions.is_empty());
        let entries = made.map(|(model, decisions)| (*model, Entries::Decisions(decisions)));
        self.with_segment(at_ms, |segment| segment.append(entries))
    }

    /// Hands scores of a candidate for decisions made elsewhere to the kernel.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn append_shadow(&self, model: &Arc<DecidingModel>, shadows: &[NewShadow]) -> Result<(), LogError> {
        self.with_segment(i64::MAX, |segment| segment.append(std::iter::once((model, Entries::Shadows(shadows)))))
    }

    /// Gives `write` the calling thread's segment, a new one where it has none. `at_ms` is when the first record was decided,
    /// epoch milliseconds.
    fn with_segment(
        &self,
        at_ms: i64,
        write: impl FnOnce(&mut Segment) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let mut shard = self.shard(thread_number() % self.shards.len());
        // Readers skip segments by when they were made, so nothing much older may come into one: the clock was set back.
        if let Some(ahead) = shard.take_if(|segment| segment.created_ms().saturating_sub(at_ms) > CLOCK_STEP_MS) {
            tracing::warn!("the clock was set back by {} ms", ahead.created_ms().saturating_sub(at_ms));
            self.seal(ahead)?;
        }
        let segment = match &mut *shard {
            Some(segment) => segment,
            empty => empty.insert(self.new_segment()?),
        };
        let written = write(segment);
        let (is_torn, is_full) = (segment.is_torn(), segment.len() >= self.limits.segment_bytes);
        if is_torn && let Some(torn) = shard.take() {
            tracing::error!("a torn record cannot be cut: its segment is used no more");
            drop(shard);
            // The request's own failure is the one to report.
            drop(self.seal(torn));
            return written;
        }
        written?;
        if is_full && let Some(full) = shard.take() {
            drop(shard);
            self.seal(full)?;
        }
        Ok(())
    }

    /// Seals what is open, so that other programs may read it, and waits until full segments are sealed, too; the log
    /// goes on in new segments.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn flush(&self) -> Result<(), LogError> {
        self.seal_all()?;
        let (done, answer) = mpsc::channel();
        if self.sealer.send(Task::Answer(done)).is_ok() {
            // Without an answer the thread is gone, and has nothing left to seal.
            answer.recv().unwrap_or_default();
        }
        Ok(())
    }

    fn seal_all(&self) -> Result<(), LogError> {
        for number in 0..self.shards.len() {
            let taken = self.shard(number).take();
            taken.map_or(Ok(()), |segment| segment.seal().map(drop))?;
        }
        Ok(())
    }

    /// Seals segments that are old though small, and removes what is kept no longer. `passed` is the monotonic time since
    /// the last call. The log's own thread calls this about once a second.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn tend(&self, passed: Duration) -> Result<(), LogError> {
        self.seal_old()?;
        let mut retention = self.retention.lock().unwrap_or_else(PoisonError::into_inner);
        retention.expire(&self.folder, &self.limits, (self.clock)(), passed)
    }

    fn seal(&self, full: Segment) -> Result<(), LogError> {
        // The thread is gone only when this is being dropped.
        match self.sealer.send(Task::Seal(full)) {
            Err(mpsc::SendError(Task::Seal(segment))) => segment.seal().map(drop),
            _ => Ok(()),
        }
    }

    fn shard(&self, number: usize) -> std::sync::MutexGuard<'_, Option<Segment>> {
        // A thread that died left the segment at a whole record or with a tail that `append` cuts.
        self.shards[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_segment(&self) -> Result<Segment, LogError> {
        let number = self.segments.fetch_add(1, Ordering::Relaxed);
        Segment::create(&self.folder, (self.clock)(), self.process, number)
    }

    /// Seals segments that are old though small; none at all where nothing was decided.
    fn seal_old(&self) -> Result<(), LogError> {
        let now_ms = (self.clock)();
        for number in 0..self.shards.len() {
            let taken = self.shard(number).take_if(|segment| {
                segment.has_records() && now_ms.saturating_sub(segment.created_ms()) >= self.limits.segment_age_ms
            });
            if let Some(old) = taken {
                Index::make(&old.seal()?);
            }
        }
        Ok(())
    }
}

impl Drop for DecisionLog {
    fn drop(&mut self) {
        // Not `flush`: the log's own thread may be the one that drops it.
        if let Err(error) = self.seal_all() {
            tracing::warn!("the decision log's last segments stay unsealed until the next start: {error}");
        }
    }
}

/// Seals what is full, and tends the log about once a second, until the log is gone.
fn keep(log: &Weak<DecisionLog>, tasks: &mpsc::Receiver<Task>) {
    let mut tended = Instant::now();
    loop {
        match tasks.recv_timeout(TICK.saturating_sub(tended.elapsed())) {
            // Whoever asked may have gone.
            Ok(Task::Answer(done)) => done.send(()).unwrap_or_default(),
            Ok(Task::Seal(segment)) => match segment.seal() {
                Ok(sealed) => Index::make(&sealed),
                Err(error) => tracing::error!("a segment of the decision log stays unsealed: {error}"),
            },
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let Some(log) = log.upgrade() else { return };
                let passed = tended.elapsed();
                tended = Instant::now();
                if let Err(error) = log.tend(passed) {
                    tracing::error!("the decision log cannot be tended: {error}");
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Returns the number of this thread, from 0: it spreads threads over segments.
#[must_use]
pub fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| *number)
}
