//! Decisions by version, arm and day, counted from the columns of the decision log.

use super::label_keys::LabelKeys;
use super::{DAY_MS, GroupBy, MonitoringError, PerformanceQuery};
use serin_analysis::performance::{Explored, MeasureRules, Performance, Scored, Tally};
use serin_decisions::{DecidingModel, DecisionFiles, DecisionOutline, Fallback, LoggedDecision, text_key};
use serin_scoring::{ColumnKind, Signature};
use serin_tracking::{Label, Labels};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Greatest number of groups that are measured at once.
const THREADS: usize = 4;
/// Number of groups whose places are remembered; a power of two.
const REMEMBERED: usize = 64;

/// Decisions that belong together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    All,
    Version(String),
    /// 0 for no rollout, 1 for its stable version, 2 for the candidate.
    Arm(u8),
    /// Epoch day (UTC) of the transaction, and the version that decided.
    Day(i64, String),
    Segment(String),
}

impl Group {
    /// Name of the group in answers; empty where nothing is split.
    pub(super) fn name(&self) -> String {
        match self {
            Self::All => String::new(),
            Self::Version(name) | Self::Segment(name) => name.clone(),
            Self::Arm(arm) => ["no rollout", "stable", "candidate"][usize::from(*arm)].to_owned(),
            Self::Day(day, version) => {
                let day = jiff::Timestamp::from_millisecond(day.saturating_mul(DAY_MS))
                    .map_or_else(|_| String::new(), |time| time.strftime("%F").to_string());
                format!("{day} version {version}")
            }
        }
    }

    /// Version that decided; empty where groups hold several.
    pub(super) fn version(&self) -> &str {
        match self {
            Self::Version(version) | Self::Day(_, version) => version,
            Self::All | Self::Arm(_) | Self::Segment(_) => "",
        }
    }
}

/// What decisions are counted by.
pub(super) struct Counting<'a> {
    pub(super) query: &'a PerformanceQuery,
    pub(super) rules: MeasureRules,
    labels: &'a Labels,
    keys: LabelKeys,
    /// Columns of each version that decided, by the model file's SHA-256.
    pub(super) signatures: &'a HashMap<[u8; 32], Signature>,
}

impl<'a> Counting<'a> {
    /// Where the query leaves the point in time to the newest transaction, the log is read for it first.
    pub(super) fn of(
        files: &DecisionFiles,
        query: &'a PerformanceQuery,
        labels: &'a Labels,
        signatures: &'a HashMap<[u8; 32], Signature>,
    ) -> Result<Self, MonitoringError> {
        let rules = MeasureRules {
            maturity: query.maturity,
            as_of_ms: query.as_of_ms.unwrap_or(0),
            review_cost: query.review_cost,
            cards: query.cards,
            frauds: labels.iter().filter(|label| label.fraud).count(),
        };
        let mut counting = Self { query, rules, labels, keys: LabelKeys::of(labels), signatures };
        if query.as_of_ms.is_none() {
            let newest = |newest: &mut i64, decision: &DecisionOutline<'_>| {
                if counting.takes(decision.happened_at_ms, decision.fallback) {
                    *newest = decision.happened_at_ms.max(*newest);
                }
            };
            let (newest, _) = files.outlines(&query.name, &[], (query.since_ms.max(0), i64::MAX), || 0, newest)?;
            counting.rules.as_of_ms = newest.into_iter().max().unwrap_or(0);
        }
        Ok(counting)
    }

    /// Returns whether a decision of that time (epoch milliseconds) counts: a model made it, and it lies in the window.
    pub(super) fn takes(&self, happened_at_ms: i64, fallback: Option<Fallback>) -> bool {
        Fallback::is_of_a_model(fallback) && (self.query.since_ms..self.query.until_ms).contains(&happened_at_ms)
    }

    /// What is known of a decision that was read whole.
    pub(super) fn scored(&self, decision: &LoggedDecision<'_>) -> Scored {
        let label = self.labels.find(&decision.id, decision.transaction_id);
        let column = || match column_of(self.signatures, decision, self.query.amount.as_ref()?)? {
            (ColumnKind::Number, amount) if amount.is_finite() => Some(f64::from(amount)),
            _ => None,
        };
        let alert = decision.asked_for_alert();
        scored(label, alert, decision, column)
    }

    /// What is known of a decision in outline; it is read whole where it has a label.
    fn outlined(&self, decision: &DecisionOutline<'_>) -> Scored {
        let labelled =
            if self.keys.may_have(decision) { decision.whole(|decision| self.scored(decision)) } else { None };
        labelled.unwrap_or_else(|| Scored {
            at_ms: decision.happened_at_ms,
            decision: u128::from(decision.id_head) << 64,
            score: decision.score,
            alert: decision.asked_for_alert(),
            explored: explored(decision.propensity, decision.alert),
            fraud: None,
            amount: 0.0,
            card: decision.entity_key,
        })
    }

    /// Returns whether the amounts of a model's decisions stand in a column.
    fn has_amounts(&self, model: &DecidingModel) -> bool {
        let column = || {
            let signature = self.signatures.get(&model.sha256)?;
            Some(&signature.columns[signature.position(self.query.amount.as_ref()?)?].kind)
        };
        column().is_some_and(|kind| *kind == ColumnKind::Number)
    }
}

fn scored(
    label: Option<&Label>,
    alert: bool,
    decision: &LoggedDecision<'_>,
    column: impl FnOnce() -> Option<f64>,
) -> Scored {
    Scored {
        at_ms: decision.happened_at_ms(),
        decision: u128::from_be_bytes(decision.id),
        score: decision.score,
        alert,
        explored: explored(decision.propensity, decision.alert),
        fraud: label.map(|label| label.fraud),
        amount: label.and_then(|label| label.amount).or_else(column).unwrap_or(0.0),
        card: text_key(decision.entity),
    }
}

fn explored(propensity: Option<f32>, alert: bool) -> Option<Explored> {
    propensity.map(|propensity| Explored { propensity: f64::from(propensity), let_through: !alert })
}

/// Kind and value of a decision's column, by the columns of the version that decided; none where it has no such column.
pub(super) fn column_of<'a>(
    signatures: &'a HashMap<[u8; 32], Signature>,
    decision: &LoggedDecision<'_>,
    column: &str,
) -> Option<(&'a ColumnKind, f32)> {
    let signature = signatures.get(&decision.model.sha256)?;
    let place = signature.position(column)?;
    Some((&signature.columns[place].kind, decision.features().nth(place).unwrap_or(f32::NAN)))
}

/// Property of a decision by which its group is found again: its model's place in memory, its day, its arm.
type GroupKey = (usize, i64, u8);

/// Tallies of the groups that one thread has met.
struct Groups<'a> {
    counting: &'a Counting<'a>,
    tallies: Vec<(Group, Tally)>,
    places: HashMap<GroupKey, usize>,
    remembered: [Option<(GroupKey, usize)>; REMEMBERED],
    /// The model of each key, which keeps its place in memory.
    models: Vec<Arc<DecidingModel>>,
}

impl<'a> Groups<'a> {
    fn of(counting: &'a Counting<'a>) -> Self {
        Self {
            counting,
            tallies: Vec::new(),
            places: HashMap::new(),
            remembered: [None; REMEMBERED],
            models: Vec::new(),
        }
    }

    fn add(&mut self, decision: &DecisionOutline<'_>) {
        if self.counting.takes(decision.happened_at_ms, decision.fallback) {
            let place = self.place(decision);
            self.tallies[place].1.add(&self.counting.outlined(decision));
        }
    }

    fn place(&mut self, decision: &DecisionOutline<'_>) -> usize {
        let address = Arc::as_ptr(decision.model) as usize;
        let arm = decision.candidate.map_or(0, |candidate| 1 + u8::from(candidate));
        let key = match self.counting.query.by {
            GroupBy::All | GroupBy::Segment(_) | GroupBy::Version => (address, 0, 0),
            GroupBy::Arm => (address, 0, arm),
            GroupBy::Day => (address, decision.happened_at_ms.div_euclid(DAY_MS), 0),
        };
        let short = (key.0 >> 4 ^ key.1 as usize ^ usize::from(key.2)) % REMEMBERED;
        match self.remembered[short] {
            Some((known, place)) if known == key => place,
            _ => {
                let place = self.places.get(&key).copied().unwrap_or_else(|| self.new_place(key, decision.model));
                self.remembered[short] = Some((key, place));
                place
            }
        }
    }

    /// Place of a key that was not met yet: that of its group, which is made where it is new.
    fn new_place(&mut self, key: GroupKey, model: &Arc<DecidingModel>) -> usize {
        let group = match self.counting.query.by {
            GroupBy::All | GroupBy::Segment(_) => Group::All,
            GroupBy::Version => Group::Version(model.version.clone()),
            GroupBy::Arm => Group::Arm(key.2),
            GroupBy::Day => Group::Day(key.1, model.version.clone()),
        };
        let place = self.tallies.iter().position(|(known, _)| *known == group).unwrap_or_else(|| {
            self.tallies.push((group, Tally::by(self.counting.rules)));
            self.tallies.len() - 1
        });
        if self.counting.has_amounts(model) {
            self.tallies[place].1.know_amounts();
        }
        self.models.push(Arc::clone(model));
        self.places.insert(key, place);
        place
    }
}

/// Tallies by version, arm or day.
pub(super) fn tallies(
    files: &DecisionFiles,
    counting: &Counting<'_>,
) -> Result<BTreeMap<Group, Tally>, MonitoringError> {
    let since_ms = counting.query.since_ms.max(0);
    let (parts, report) = files.outlines(
        &counting.query.name,
        &[],
        (since_ms, i64::MAX),
        || Groups::of(counting),
        |groups, decision| groups.add(decision),
    )?;
    report.warn();
    let mut tallies = BTreeMap::new();
    for (group, tally) in parts.into_iter().flat_map(|part| part.tallies) {
        super::join(&mut tallies, group, tally);
    }
    Ok(tallies)
}

/// Figures of each group, in the order of the groups; several are measured at once.
pub(super) fn measured(tallies: BTreeMap<String, Tally>) -> Vec<(String, Performance)> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS).min(tallies.len());
    let queue = Mutex::new(tallies.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        let mut done = Vec::new();
        while let Some((name, tally)) = next() {
            done.push((name, tally.measured()));
        }
        done
    };
    let mut found = std::thread::scope(|scope| {
        // Where no thread can be had, this one does the work alone.
        let spawn = |_| std::thread::Builder::new().name("figures".to_owned()).spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads).filter_map(spawn).collect();
        let mut found = work();
        for other in others {
            found.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        found
    });
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}
