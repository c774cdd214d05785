//! Panes that are still in memory: a bounded number of hours, whatever times the payments have.

use super::live::{PaneSink, Run};
use serin_analysis::monitor::{HOUR_MS, MonitorProfile, Pane};
use serin_models::LoadedModel;
use serin_tracking::StoredPane;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most panes in memory, some 4 KB each for a model of thirty columns. Before another one is made, all are handed over and
/// forgotten; later rows of their hours make new panes, and sums stay exact.
const PANES: usize = 256;

/// Counts of one model version for one hour of event time, still in memory. `id` and `sequence` name the pane and its
/// state for the sink; each row sets `grew`, and storing the pane clears it.
struct OpenPane {
    model: Arc<LoadedModel>,
    pane: Pane,
    id: String,
    sequence: i64,
    grew: bool,
}

/// Hour since 1970, and SHA-256 of the model file: panes are ordered by time first.
type Key = (i64, [u8; 32]);

/// Panes of one server that are still in memory, and who takes them.
pub(super) struct OpenPanes<'s> {
    sink: &'s dyn PaneSink,
    every: Duration,
    replica: String,
    made: u64,
    open: BTreeMap<Key, OpenPane>,
    handed: Instant,
    /// True if the sink did not take the panes the last time.
    is_refused: bool,
}

impl<'s> OpenPanes<'s> {
    /// Makes an empty set; the panes that grew are due every `every`.
    pub(super) fn new(sink: &'s dyn PaneSink, every: Duration) -> Self {
        let replica = uuid::Uuid::new_v4().simple().to_string();
        Self { sink, every, replica, made: 0, open: BTreeMap::new(), handed: Instant::now(), is_refused: false }
    }

    /// Whether the panes that grew are due.
    pub(super) fn is_due(&self) -> bool {
        self.handed.elapsed() >= self.every
    }

    /// Counts rows hour by hour, so that each hour is opened once. Returns the number of rows whose pane had to go for want
    /// of room, because the sink takes none.
    pub(super) fn count(&mut self, run: &Run, profile: &MonitorProfile) -> u64 {
        let hour = |row: &usize| run.times[*row].div_euclid(HOUR_MS);
        let mut order: Vec<usize> = (0..run.times.len()).collect();
        if !order.is_sorted_by_key(hour) {
            order.sort_by_key(hour);
        }
        let mut dropped = 0;
        for rows in order.chunk_by(|a, b| hour(a) == hour(b)) {
            let key = (hour(&rows[0]), run.model.deciding.sha256);
            if !self.open.contains_key(&key) && self.open.len() >= PANES {
                dropped += self.make_room();
            }
            let (made, replica) = (&mut self.made, &self.replica);
            let growing = self.open.entry(key).or_insert_with(|| {
                *made += 1;
                OpenPane {
                    model: Arc::clone(&run.model),
                    pane: Pane::new(profile, run.times[rows[0]]),
                    id: format!("{replica}/{made}"),
                    sequence: 0,
                    grew: false,
                }
            });
            for row in rows {
                growing.pane.add(profile, run.rows.row(*row).values(), run.scores[*row], run.alerts[*row]);
            }
            growing.grew = true;
        }
        dropped
    }

    /// Makes room for a pane. Where the sink takes none the oldest hour goes; returns its rows that nobody has.
    fn make_room(&mut self) -> u64 {
        // A sink that has just refused is not asked again for every hour of a request.
        if (!self.is_refused || self.is_due()) && self.hand_over() {
            self.open.clear();
            return 0;
        }
        let oldest = self.open.pop_first();
        oldest.filter(|(_, growing)| growing.grew).map_or(0, |(_, growing)| growing.pane.rows())
    }

    /// Hands the panes that grew to the sink, and forgets those that have rested since the last time: their hour is over,
    /// mostly. False if the sink did not take them.
    pub(super) fn hand_over(&mut self) -> bool {
        let grown = self.open.values_mut().filter(|growing| growing.grew);
        let grown: Vec<StoredPane> = grown
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
        self.handed = Instant::now();
        self.is_refused = !grown.is_empty() && !self.sink.keep(grown);
        if !self.is_refused {
            self.open.retain(|_, growing| std::mem::take(&mut growing.grew));
        }
        !self.is_refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serin_analysis::monitor::{ReferenceRows, SparsePane, Watched};
    use serin_scoring::ColumnValue;
    use serin_tracking::ResolvedModel;
    use std::collections::HashSet;
    use std::sync::Mutex;

    const WIDTH: usize = 30;

    /// Keeps what it is given, or refuses all.
    #[derive(Debug, Default)]
    struct Sink {
        refuses: bool,
        calls: Mutex<Vec<Vec<StoredPane>>>,
    }

    impl PaneSink for Sink {
        fn keep(&self, panes: Vec<StoredPane>) -> bool {
            self.calls.lock().expect("no test panics here").push(panes);
            !self.refuses
        }
    }

    fn profile() -> MonitorProfile {
        let columns: Vec<Watched> =
            (0..WIDTH).map(|i| Watched { name: format!("f{i}"), levels: None, gain: 1.0 }).collect();
        let features: Vec<f32> = (0..WIDTH * 100).map(|i| i as f32).collect();
        let scores = [0.5; 100];
        MonitorProfile::of(&ReferenceRows {
            columns: &columns,
            features: &features,
            times: &[],
            scores: &scores,
            threshold: 0.5,
        })
    }

    /// Rows with these times.
    fn run(times: Vec<i64>) -> Run {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../serin-scoring/tests/fixtures/model.ubj").into();
        let resolved = ResolvedModel { name: None, version: None, path };
        let model = Arc::new(LoadedModel::load(&resolved, 0).expect("the fixture loads"));
        let mut encoder = model.package.encoder(times.len());
        (0..times.len() * WIDTH).for_each(|_| encoder.push(ColumnValue::Number(1.0)).expect("a number"));
        let rows = encoder.finish();
        Run { model, rows, scores: vec![0.5; times.len()], alerts: vec![false; times.len()], times }
    }

    // R8: ten thousand timestamps in one request made ten thousand panes in memory.
    #[test]
    fn any_number_of_hours_is_counted_in_a_bounded_number_of_panes() {
        let (profile, sink) = (profile(), Sink::default());
        let mut panes = OpenPanes::new(&sink, Duration::from_secs(3600));
        // Two thousand hours in no order, five rows each.
        let times: Vec<i64> = (0..10_000).map(|i| (i * 7919 % 2000) * HOUR_MS + i % 1000).collect();
        assert_eq!(panes.count(&run(times), &profile), 0);
        assert!(panes.open.len() <= PANES, "{}", panes.open.len());
        assert!(panes.hand_over());
        let calls = sink.calls.lock().expect("no test panics here");
        assert!(calls.iter().all(|panes| panes.len() <= PANES));
        let stored: Vec<&StoredPane> = calls.iter().flatten().collect();
        let ids: HashSet<&str> = stored.iter().map(|pane| pane.id.as_str()).collect();
        assert_eq!((stored.len(), ids.len()), (2000, 2000), "each hour is opened once, and stored once");
        for pane in stored {
            let mut whole = Pane::new(&profile, pane.from_ms);
            whole.merge(&serde_json::from_str::<SparsePane>(&pane.body).expect("a pane"));
            assert_eq!(whole.rows(), 5);
        }
    }

    #[test]
    fn where_nobody_takes_panes_the_oldest_hours_go_and_their_rows_are_counted() {
        let (profile, sink) = (profile(), Sink { refuses: true, ..Sink::default() });
        let mut panes = OpenPanes::new(&sink, Duration::from_secs(3600));
        let times: Vec<i64> = (0..PANES as i64 + 40).flat_map(|hour| [hour * HOUR_MS; 2]).collect();
        assert_eq!(panes.count(&run(times), &profile), 80);
        assert_eq!(panes.open.first_key_value().map(|((hour, _), _)| *hour), Some(40));
        assert_eq!(sink.calls.lock().expect("no test panics here").len(), 1, "it is not asked for every hour again");
    }
}
