//! The data plane's eyes: every decision into panes, off the response path.
//!
//! A thread that answers copies the row into its own buffer, or drops it and counts that; one thread empties the buffers a
//! few times a second into panes, an hour of events each, and hands panes that grew to where they are kept. After a
//! crash the rows since the last hand-over are missing from the panes; they are in the decision log.

use super::recent::{Last, Recent};
use serin_analysis::monitor::{Adwin, HOUR_MS, MonitorProfile, Pane};
use serin_decisions::thread_number;
use serin_models::LoadedModel;
use serin_scoring::Decision;
use serin_tracking::StoredPane;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Rows that one thread's buffer holds.
const ROWS: usize = 65_536;
/// Pause between two rounds of emptying.
const ROUND: Duration = Duration::from_millis(100);
/// Panes in memory above which those that grew are handed over at once. One that has not grown since is forgotten;
/// later rows of its hour make a new pane.
const PANES: usize = 256;

/// Receiver of finished and growing panes.
pub trait PaneSink: Send + std::fmt::Debug {
    /// Stores panes and returns true if it did; on false the same panes come again.
    fn keep(&self, panes: Vec<StoredPane>) -> bool;
}

/// Rows of one thread that wait to be counted.
#[derive(Debug, Default)]
struct Buffer {
    runs: Vec<(Arc<LoadedModel>, usize)>,
    features: Vec<f32>,
    scores: Vec<f32>,
    alerts: Vec<bool>,
    times: Vec<i64>,
}

impl Buffer {
    fn clear(&mut self) {
        self.runs.clear();
        self.features.clear();
        self.scores.clear();
        self.alerts.clear();
        self.times.clear();
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

    /// Takes what a model has just said, if there is room. `time` gives the time of a row's event.
    pub(crate) fn offer(
        &self,
        model: &Arc<LoadedModel>,
        features: &[f32],
        decisions: &[Decision],
        time: impl Fn(usize) -> i64,
    ) {
        if model.monitor.is_none() {
            return;
        }
        // Never waits: the other side only swaps it.
        let Ok(mut buffer) = self.buffers[thread_number() % self.buffers.len()].try_lock() else {
            self.dropped.fetch_add(decisions.len() as u64, Ordering::Relaxed);
            return;
        };
        if buffer.scores.len() + decisions.len() > ROWS {
            self.dropped.fetch_add(decisions.len() as u64, Ordering::Relaxed);
            return;
        }
        buffer.features.extend_from_slice(features);
        buffer.scores.extend(decisions.iter().map(|decision| decision.score));
        buffer.alerts.extend(decisions.iter().map(|decision| decision.alert));
        buffer.times.extend((0..decisions.len()).map(time));
        match buffer.runs.last_mut() {
            Some((last, rows)) if Arc::ptr_eq(last, model) => *rows += decisions.len(),
            _ => buffer.runs.push((Arc::clone(model), decisions.len())),
        }
    }

    /// Number of rows that were not watched because a buffer was full or in use.
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

    fn stream(&self, name: &str) -> Arc<Stream> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(streams.entry(name.to_owned()).or_default())
    }
}

/// Counts of one model version for one hour of event time, still in memory. `id` and `sequence` name the pane and its
/// state for the sink; each row sets `grew`, and storing the pane clears it.
struct Growing {
    model: Arc<LoadedModel>,
    pane: Pane,
    id: String,
    sequence: i64,
    grew: bool,
}

fn watch(monitor: &Weak<LiveMonitor>, sink: &dyn PaneSink, every: Duration) {
    let replica = uuid::Uuid::new_v4().simple().to_string();
    let mut panes: BTreeMap<([u8; 32], i64), Growing> = BTreeMap::new();
    let mut means: BTreeMap<String, [Adwin; 2]> = BTreeMap::new();
    let (mut spare, mut handed, mut made) = (Buffer::default(), Instant::now(), 0u64);
    loop {
        let alive = monitor.upgrade();
        let ends = alive.as_ref().is_none_or(|monitor| monitor.stopping.load(Ordering::Relaxed));
        if let Some(monitor) = &alive {
            for buffer in &monitor.buffers {
                spare.clear();
                std::mem::swap(&mut spare, &mut *buffer.lock().unwrap_or_else(PoisonError::into_inner));
                let (mut row, mut feature) = (0, 0);
                for (model, rows) in &spare.runs {
                    let width = model.package.signature.columns.len();
                    let part = Rows {
                        features: &spare.features[feature..feature + rows * width],
                        scores: &spare.scores[row..row + rows],
                        alerts: &spare.alerts[row..row + rows],
                        times: &spare.times[row..row + rows],
                    };
                    (row, feature) = (row + rows, feature + rows * width);
                    let stream = monitor.stream(&model.name);
                    stream.rows.fetch_add(*rows as u64, Ordering::Relaxed);
                    let means = means.entry(model.name.clone()).or_default();
                    for (score, alert) in part.scores.iter().zip(part.alerts) {
                        let changed = [means[0].push(f64::from(*score)), means[1].push(f64::from(u8::from(*alert)))];
                        for (counter, changed) in stream.changes.iter().zip(changed) {
                            counter.fetch_add(u64::from(changed), Ordering::Relaxed);
                        }
                    }
                    monitor.recent.push(model, part.features, part.scores, part.times);
                    if let Some(profile) = &model.monitor {
                        count(&mut panes, model, profile, &part, &mut || {
                            made += 1;
                            format!("{replica}/{made}")
                        });
                    }
                }
            }
        }
        if ends || handed.elapsed() >= every || panes.len() > PANES {
            hand_over(&mut panes, sink);
            handed = Instant::now();
        }
        if ends {
            return;
        }
        drop(alive);
        std::thread::sleep(ROUND);
    }
}

struct Rows<'a> {
    features: &'a [f32],
    scores: &'a [f32],
    alerts: &'a [bool],
    times: &'a [i64],
}

fn count(
    panes: &mut BTreeMap<([u8; 32], i64), Growing>,
    model: &Arc<LoadedModel>,
    profile: &MonitorProfile,
    rows: &Rows<'_>,
    name: &mut dyn FnMut() -> String,
) {
    let width = model.package.signature.columns.len();
    for (i, features) in rows.features.chunks_exact(width).enumerate() {
        let key = (model.deciding.sha256, rows.times[i].div_euclid(HOUR_MS));
        let growing = panes.entry(key).or_insert_with(|| Growing {
            model: Arc::clone(model),
            pane: Pane::new(profile, rows.times[i]),
            id: name(),
            sequence: 0,
            grew: false,
        });
        growing.pane.add(profile, features, rows.scores[i], rows.alerts[i]);
        growing.grew = true;
    }
}

fn hand_over(panes: &mut BTreeMap<([u8; 32], i64), Growing>, sink: &dyn PaneSink) {
    let grown: Vec<StoredPane> = panes
        .values_mut()
        .filter(|growing| growing.grew)
        .filter_map(|growing| {
            growing.sequence += 1;
            Some(StoredPane {
                id: growing.id.clone(),
                model: growing.model.name.clone(),
                version: growing.model.version.clone(),
                from_ms: growing.pane.from_ms,
                sequence: growing.sequence,
                body: serde_json::to_string(&growing.pane.sparse()).ok()?,
            })
        })
        .collect();
    if !grown.is_empty() && !sink.keep(grown) {
        // Nobody takes them: what does not fit goes, the oldest first.
        while panes.len() > 4 * PANES {
            panes.pop_first();
        }
        return;
    }
    // What rested since the last hand-over is over, mostly; a late event begins another pane about its hour.
    panes.retain(|_, growing| std::mem::take(&mut growing.grew));
}
