//! Shadow scoring: candidates score what the live model has decided, off the response path.
//!
//! The response path copies the row into a bounded queue, or drops it and counts that; one thread looks at the queue
//! every few milliseconds and takes what waits, a few hundred rows at once, through every candidate, compares, and
//! records the scores in the decision log. It is not woken for each request: that would cost the request a system call.

use crate::models::ModelSlot;
use serin_analysis::evidence::Counts;
use serin_analysis::evidence::inputs::InputReferences;
use serin_analysis::evidence::paired::Paired;
use serin_analysis::evidence::segments::Segments;
use serin_decisions::{DecisionLog, NewShadow};
use serin_models::LoadedModel;
use serin_scoring::{ColumnKind, Decision, EncodedRow, EncodedRows, Translation};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

/// Most rows that wait, a text without a code counted as one; more are dropped and counted.
const WAITING: usize = 65_536;
/// Most rows that go through a candidate at once.
const BATCH: usize = 512;
/// Pauses between looks at the queue, while something comes and while nothing does.
const BUSY: Duration = Duration::from_millis(2);
const IDLE: Duration = Duration::from_millis(20);

/// Decisions of one request.
#[derive(Debug)]
struct Seen {
    live: Arc<LoadedModel>,
    /// Rows encoded for the live model.
    rows: EncodedRows,
    ids: Vec<[u8; 16]>,
    decisions: Vec<Decision>,
}

impl Seen {
    /// Room that it takes in the queue.
    fn size(&self) -> usize {
        size(&self.rows)
    }
}

/// Room that rows take in the queue: one for each row, and one for each text that is kept beside them.
fn size(rows: &EncodedRows) -> usize {
    rows.len() + rows.unknown_levels()
}

/// Counts of a candidate's decisions beside those of the live model.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    pub(crate) decisions: AtomicU64,
    pub(crate) alerts: AtomicU64,
    pub(crate) pass_to_alert: AtomicU64,
    pub(crate) alert_to_pass: AtomicU64,
    pub(crate) not_a_number: AtomicU64,
    /// Number of rows that the candidate could not score: a column is missing, or no model is loaded.
    pub(crate) unscored: AtomicU64,
    /// Columns of the live model whose values are counted one by one.
    columns: OnceLock<Vec<String>>,
    /// Counts by segment, score and input since the last `taken`; locked while a batch is added to the counters
    /// above, too.
    apart: Mutex<Counts>,
}

impl Compared {
    /// Counts by the values of these columns, too, from now on.
    pub(crate) fn count_segments(&self, columns: &[String]) {
        let _ = self.columns.set(columns.to_vec());
    }

    /// Counts since the start, and counts by segment, score and input since the last call: both of the same rows.
    pub(crate) fn taken(&self) -> (Paired, Counts) {
        let mut apart = self.apart();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (all, alerts) = (count(&self.decisions), count(&self.alerts));
        let (raised, lowered) = (count(&self.pass_to_alert), count(&self.alert_to_pass));
        let nan = count(&self.not_a_number);
        let paired = Paired {
            both: alerts.saturating_sub(raised),
            raised,
            lowered,
            neither: all.saturating_sub(alerts + lowered + nan),
            unscored: count(&self.unscored) + nan,
        };
        (paired, std::mem::take(&mut *apart))
    }

    fn apart(&self) -> MutexGuard<'_, Counts> {
        self.apart.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts rows of the live model by the values of some columns; of each row whether the candidate alerts, or has no number,
/// and whether the live one does.
fn segmented<'a>(
    names: &[String],
    live: &LoadedModel,
    rows: impl Iterator<Item = (&'a [f32], (Option<bool>, bool))>,
) -> Segments {
    let columns = &live.package.signature.columns;
    let places: Vec<usize> = names.iter().filter_map(|name| live.package.signature.position(name)).collect();
    let mut counted: HashMap<(usize, u32), Paired> = HashMap::new();
    for (row, said) in rows {
        for place in &places {
            // -0.0 and 0.0 are one value, and so are all that are no number.
            let value = if row[*place].is_nan() { f32::NAN } else { row[*place] + 0.0 };
            let one = counted.entry((*place, value.to_bits())).or_default();
            *match said {
                (None, _) => &mut one.unscored,
                (Some(true), true) => &mut one.both,
                (Some(true), false) => &mut one.raised,
                (Some(false), true) => &mut one.lowered,
                (Some(false), false) => &mut one.neither,
            } += 1;
        }
    }
    let mut segments = Segments::default();
    for ((place, bits), one) in counted {
        let value = f32::from_bits(bits);
        let value = match &columns[place].kind {
            _ if value.is_nan() => "missing".to_owned(),
            ColumnKind::Category { levels } => levels.get(value as usize).map_or("?", String::as_str).to_owned(),
            _ => value.to_string(),
        };
        segments.add(&format!("{}={value}", columns[place].name), &one);
    }
    segments
}

/// The candidates of a server.
#[derive(Debug)]
pub struct Shadow {
    candidates: Vec<(Arc<ModelSlot>, Compared)>,
    queue: Mutex<Vec<Seen>>,
    waiting: AtomicUsize,
    dropped: AtomicU64,
}

impl Shadow {
    /// Starts scoring; `log` keeps the scores.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(candidates: Vec<Arc<ModelSlot>>, log: Option<Arc<DecisionLog>>) -> std::io::Result<Arc<Self>> {
        let candidates = candidates.into_iter().map(|slot| (slot, Compared::default())).collect();
        let shadow = Arc::new(Self {
            candidates,
            queue: Mutex::default(),
            waiting: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
        });
        let weak = Arc::downgrade(&shadow);
        std::thread::Builder::new().name("shadow".to_owned()).spawn(move || score(&weak, log.as_deref()))?;
        Ok(shadow)
    }

    /// Takes what the live model has just decided on its rows, if there is room.
    pub(crate) fn offer(&self, live: &Arc<LoadedModel>, rows: &EncodedRows, ids: &[[u8; 16]], decisions: &[Decision]) {
        if self.waiting.load(Ordering::Relaxed) + size(rows) > WAITING {
            self.dropped.fetch_add(rows.len() as u64, Ordering::Relaxed);
            return;
        }
        self.waiting.fetch_add(size(rows), Ordering::Relaxed);
        let seen =
            Seen { live: Arc::clone(live), rows: rows.clone(), ids: ids.to_vec(), decisions: decisions.to_vec() };
        self.queue().push(seen);
    }

    /// Returns when everything that waits is scored, or after `longest`.
    pub(crate) fn drain(&self, longest: Duration) {
        let until = std::time::Instant::now() + longest;
        while self.waiting.load(Ordering::Relaxed) > 0 && std::time::Instant::now() < until {
            std::thread::sleep(BUSY);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Vec<Seen>> {
        // Nothing panics while it is held.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn candidates(&self) -> &[(Arc<ModelSlot>, Compared)] {
        &self.candidates
    }

    /// Number of rows that no candidate saw because the queue was full.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Live model and candidate of the rows that are scored, with what both need.
struct Pair {
    live: Arc<LoadedModel>,
    candidate: Arc<LoadedModel>,
    /// Makes the candidate's rows of the live model's; none where a column is missing or of another kind.
    translation: Option<Translation>,
    inputs: InputReferences,
}

fn score(shadow: &Weak<Shadow>, log: Option<&DecisionLog>) {
    // Of each candidate the last one.
    let mut pairs: Vec<Option<Pair>> = Vec::new();
    loop {
        let Some(shadow) = shadow.upgrade() else { return };
        let seen = std::mem::take(&mut *shadow.queue());
        let mut rest = &seen[..];
        while let Some(first) = rest.first() {
            // Rows of one live model go together, also while another takes its place.
            let mut rows = first.decisions.len();
            let fits = |next: &&Seen| {
                rows += next.decisions.len();
                Arc::ptr_eq(&next.live, &first.live) && rows <= BATCH
            };
            let (batch, after) = rest.split_at(1 + rest[1..].iter().take_while(fits).count());
            rest = after;
            let rows: usize = batch.iter().map(|seen| seen.decisions.len()).sum();
            pairs.resize_with(shadow.candidates.len(), || None);
            for ((slot, compared), pair) in shadow.candidates.iter().zip(&mut pairs) {
                match slot.live() {
                    Some(candidate) => compare(Pair::of(pair, &first.live, candidate), batch, compared, log),
                    None if slot.is_resting() => *pair = None,
                    None => {
                        compared.unscored.fetch_add(rows as u64, Ordering::Relaxed);
                    }
                }
            }
            shadow.waiting.fetch_sub(batch.iter().map(Seen::size).sum(), Ordering::Relaxed);
        }
        let pause = if seen.is_empty() { IDLE } else { BUSY };
        drop(shadow);
        std::thread::sleep(pause);
    }
}

fn compare(pair: &Pair, batch: &[Seen], compared: &Compared, log: Option<&DecisionLog>) {
    let Pair { live, candidate, .. } = pair;
    let rows: usize = batch.iter().map(|seen| seen.decisions.len()).sum();
    let Some(translation) = &pair.translation else {
        compared.unscored.fetch_add(rows as u64, Ordering::Relaxed);
        return;
    };
    let mut translated = translation.empty(rows);
    batch.iter().flat_map(|seen| seen.rows.rows()).for_each(|row| translation.translate(row, &mut translated));
    let mut scores = vec![0.0; rows];
    candidate.package.scores_into(&translated, 0, &mut scores);
    let stable_threshold = live.package.threshold;
    let (mut alerts, mut raised, mut lowered, mut nan) = (0, 0, 0, 0);
    let mut said = Vec::with_capacity(rows);
    let mut apart = Counts::default();
    let before = batch.iter().flat_map(|seen| seen.ids.iter().zip(&seen.decisions));
    let records: Vec<NewShadow> = before
        .zip(&scores)
        .map(|((id, live), score)| {
            let alert = Decision::new(*score, candidate.package.threshold).alert;
            alerts += u64::from(alert);
            raised += u64::from(alert && !live.alert);
            lowered += u64::from(!alert && live.alert);
            nan += u64::from(score.is_nan());
            apart.scores.count((live.score, stable_threshold), (*score, candidate.package.threshold));
            said.push(((!score.is_nan()).then_some(alert), live.alert));
            NewShadow { id: *id, score: *score, alert }
        })
        .collect();
    let rows_of_all = || batch.iter().flat_map(|seen| seen.rows.rows().map(EncodedRow::values));
    pair.inputs.count(&rows_of_all(), &mut apart.inputs);
    if let Some(names) = compared.columns.get().filter(|names| !names.is_empty()) {
        apart.segments = segmented(names, live, rows_of_all().zip(said));
    }
    // Together, so that nobody reads the rows of a batch in one and misses them in the other.
    let mut sum = compared.apart();
    for (counter, count) in [
        (&compared.decisions, rows as u64),
        (&compared.alerts, alerts),
        (&compared.pass_to_alert, raised),
        (&compared.alert_to_pass, lowered),
        (&compared.not_a_number, nan),
    ] {
        counter.fetch_add(count, Ordering::Relaxed);
    }
    sum.merge(&apart);
    drop(sum);
    if let Some(log) = log
        && let Err(error) = log.append_shadow(&candidate.deciding, &records)
    {
        tracing::warn!("shadow scores of {} are not recorded: {error}", candidate.name);
    }
}

impl Pair {
    /// The one that is known, or in its place that of these two.
    fn of<'a>(known: &'a mut Option<Self>, live: &Arc<LoadedModel>, candidate: Arc<LoadedModel>) -> &'a Self {
        let same = |pair: &mut Self| Arc::ptr_eq(&pair.live, live) && Arc::ptr_eq(&pair.candidate, &candidate);
        let pair = known.take_if(|pair| same(pair)).unwrap_or_else(|| {
            let inputs = live.monitor.as_ref().zip(candidate.monitor.as_ref());
            let inputs = inputs.map(|(live, candidate)| InputReferences::of(live, candidate)).unwrap_or_default();
            Self { translation: translated(live, &candidate), inputs, live: Arc::clone(live), candidate }
        });
        known.insert(pair)
    }
}

fn translated(live: &LoadedModel, candidate: &LoadedModel) -> Option<Translation> {
    Translation::between(&live.package.signature, &candidate.package.signature)
        .map_err(|error| {
            tracing::error!(
                "candidate {} {} scores nothing beside {} {}: {error}",
                candidate.name,
                candidate.version,
                live.name,
                live.version
            );
        })
        .ok()
}
