//! The data plane's eyes: every decision into panes, off the response path.
//!
//! A thread that answers copies the row into its own buffer, or drops it and counts that; one thread empties the buffers a
//! few times a second into panes, an hour of events each, and hands panes that grew to where they are kept. After a
//! crash the rows since the last hand-over are missing from the panes; they are in the decision log.

use super::panes::OpenPanes;
use super::recent::{Last, Recent};
use serin_analysis::monitor::Adwin;
use serin_decisions::thread_number;
use serin_models::LoadedModel;
use serin_scoring::{Decision, EncodedRows};
use serin_tracking::StoredPane;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// Rows that one thread's buffer holds.
const ROWS: usize = 65_536;
/// Pause between two rounds of emptying.
const ROUND: Duration = Duration::from_millis(100);

/// Receiver of finished and growing panes.
pub trait PaneSink: Send + std::fmt::Debug {
    /// Stores panes and returns true if it did. On false the same panes come again, but for the oldest where there is no
    /// room for them any more.
    fn keep(&self, panes: Vec<StoredPane>) -> bool;
}

/// Rows of one thread that wait to be counted, by model.
#[derive(Debug, Default)]
struct Buffer {
    runs: Vec<Run>,
    /// Rows in all runs.
    rows: usize,
}

/// Rows of one model that wait to be counted, with what the model said of them.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) model: Arc<LoadedModel>,
    pub(super) rows: EncodedRows,
    pub(super) scores: Vec<f32>,
    pub(super) alerts: Vec<bool>,
    /// Times under which the rows are counted, epoch milliseconds.
    pub(super) times: Vec<i64>,
}

impl Buffer {
    /// Removes all rows. Models keep their room here until a round in which they had no row.
    fn clear(&mut self) {
        self.rows = 0;
        self.runs.retain_mut(|run| {
            let was_used = !run.times.is_empty();
            run.rows.clear();
            run.scores.clear();
            run.alerts.clear();
            run.times.clear();
            was_used
        });
    }

    /// Run of a model, begun if there is none.
    fn run(&mut self, model: &Arc<LoadedModel>) -> &mut Run {
        let place = self.runs.iter().position(|run| Arc::ptr_eq(&run.model, model)).unwrap_or_else(|| {
            self.runs.push(Run {
                model: Arc::clone(model),
                rows: model.package.encoder(0).finish(),
                scores: Vec::new(),
                alerts: Vec::new(),
                times: Vec::new(),
            });
            self.runs.len() - 1
        });
        &mut self.runs[place]
    }
}

/// Counters of one model that answers: rows, and changes of the mean score and of the alert rate.
#[derive(Debug, Default)]
struct Stream {
    rows: AtomicU64,
    changes: [AtomicU64; 2],
}

/// Monitor of a server: counts what models were asked and answered, off the response path.
#[derive(Debug)]
pub struct LiveMonitor {
    buffers: Vec<Mutex<Buffer>>,
    dropped: AtomicU64,
    streams: Mutex<BTreeMap<String, Arc<Stream>>>,
    recent: Recent,
    stopping: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl LiveMonitor {
    /// Starts watching; panes that grew are handed over every `every`.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(sink: Box<dyn PaneSink>, every: Duration) -> std::io::Result<Arc<Self>> {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let monitor = Arc::new(Self {
            buffers: (0..threads).map(|_| Mutex::default()).collect(),
            dropped: AtomicU64::new(0),
            streams: Mutex::default(),
            recent: Recent::default(),
            stopping: AtomicBool::new(false),
            thread: Mutex::default(),
        });
        let weak = Arc::downgrade(&monitor);
        let thread =
            std::thread::Builder::new().name("monitor".to_owned()).spawn(move || watch(&weak, &*sink, every))?;
        *monitor.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(monitor)
    }

    /// Hands over all panes and ends the thread; waits until it has ended.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the monitor broke off; the log says why");
        }
    }

    /// Takes what a model has just said of its rows, if there is room. `at_ms` gives the time under which a row is counted,
    /// epoch milliseconds.
    pub(crate) fn offer(
        &self,
        model: &Arc<LoadedModel>,
        rows: &EncodedRows,
        decisions: &[Decision],
        at_ms: impl Fn(usize) -> i64,
    ) {
        if model.monitor.is_none() {
            return;
        }
        // Never waits: the other side only swaps it.
        let Ok(mut buffer) = self.buffers[thread_number() % self.buffers.len()].try_lock() else {
            self.drop_rows(decisions.len() as u64);
            return;
        };
        if buffer.rows + decisions.len() > ROWS {
            self.drop_rows(decisions.len() as u64);
            return;
        }
        buffer.rows += decisions.len();
        let run = buffer.run(model);
        run.rows.extend(rows);
        run.scores.extend(decisions.iter().map(|decision| decision.score));
        run.alerts.extend(decisions.iter().map(|decision| decision.alert));
        run.times.extend((0..decisions.len()).map(at_ms));
    }

    /// Counts rows that are not watched.
    pub(super) fn drop_rows(&self, rows: u64) {
        self.dropped.fetch_add(rows, Ordering::Relaxed);
    }

    /// Number of rows that were not watched because a buffer was full or in use, or nobody took their pane.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Name, rows watched, and numbers of changes of the mean score and of the alert rate, for each model.
    pub(crate) fn streams(&self) -> Vec<(String, u64, [u64; 2])> {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        streams
            .iter()
            .map(|(name, s)| (name.clone(), read(&s.rows), [read(&s.changes[0]), read(&s.changes[1])]))
            .collect()
    }

    /// The last rows of the version of a model that answered last, if any is kept.
    pub(crate) fn last_rows(&self, name: &str) -> Option<Last> {
        self.recent.of(name)
    }

    /// Looks for changes of a model's mean score and alert rate, and keeps its rows for tests that need values.
    fn watch(&self, run: &Run, means: &mut [Adwin; 2]) {
        let stream = self.stream(&run.model.name);
        stream.rows.fetch_add(run.times.len() as u64, Ordering::Relaxed);
        for (score, alert) in run.scores.iter().zip(&run.alerts) {
            let changed = [means[0].push(f64::from(*score)), means[1].push(f64::from(u8::from(*alert)))];
            for (counter, changed) in stream.changes.iter().zip(changed) {
                counter.fetch_add(u64::from(changed), Ordering::Relaxed);
            }
        }
        self.recent.push(&run.model, &run.rows, &run.scores, &run.times);
    }

    fn stream(&self, name: &str) -> Arc<Stream> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(streams.entry(name.to_owned()).or_default())
    }
}

fn watch(monitor: &Weak<LiveMonitor>, sink: &dyn PaneSink, every: Duration) {
    let mut panes = OpenPanes::new(sink, every);
    let mut means: BTreeMap<String, [Adwin; 2]> = BTreeMap::new();
    let mut spare = Buffer::default();
    loop {
        let alive = monitor.upgrade();
        let ends = alive.as_ref().is_none_or(|monitor| monitor.stopping.load(Ordering::Relaxed));
        if let Some(monitor) = &alive {
            for buffer in &monitor.buffers {
                spare.clear();
                std::mem::swap(&mut spare, &mut *buffer.lock().unwrap_or_else(PoisonError::into_inner));
                for run in spare.runs.iter().filter(|run| !run.times.is_empty()) {
                    monitor.watch(run, means.entry(run.model.name.clone()).or_default());
                    if let Some(profile) = &run.model.monitor {
                        monitor.drop_rows(panes.count(run, profile));
                    }
                }
            }
        }
        if ends || panes.is_due() {
            panes.hand_over();
        }
        if ends {
            return;
        }
        drop(alive);
        std::thread::sleep(ROUND);
    }
}
