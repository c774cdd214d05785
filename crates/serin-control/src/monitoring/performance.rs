//! Performance of a model's decisions: the decision log beside the labels.

use super::Monitoring;
use super::error::MonitoringError;
use serin_analysis::performance::{Explored, Maturity, Performance, Scored, measure};
use serin_decisions::{DecidingModel, DecisionFiles, Fallback, LoggedDecision};
use serin_scoring::{ColumnKind, Manifest, Signature};
use serin_store::{Store, StoreError};
use serin_tracking::{Labels, ModelUri};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most different values for which a column's segments are its values; with more, they are quarters of the rows.
const VALUES: usize = 10;
const DAY_MS: i64 = 86_400_000;

/// Property of decisions that the figures are split by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GroupBy {
    /// One group with all decisions.
    All,
    /// One group for each version that decided.
    Version,
    /// One group each for stable and candidate of a rollout, and for neither.
    Arm,
    /// One group for each day (UTC) of the transaction and version that decided.
    Day,
    /// One group for each segment of a column of the model.
    Segment(String),
}

/// Decisions to measure, and the rules to measure them by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PerformanceQuery {
    /// Name of the registered model.
    pub(crate) name: String,
    /// First moment of the transactions, epoch milliseconds.
    pub(crate) since_ms: i64,
    /// End of the transactions, epoch milliseconds; this moment is left out.
    pub(crate) until_ms: i64,
    /// Point in time whose knowledge counts, epoch milliseconds. `None` takes that of the newest transaction (for a
    /// log of the past that is played again).
    pub(crate) as_of_ms: Option<i64>,
    /// Rule for when labels are complete.
    pub(crate) maturity: Maturity,
    /// Property that the figures are split by.
    pub(crate) by: GroupBy,
    /// Column with the money at stake, where the label has no amount.
    pub(crate) amount: Option<String>,
    /// Cost of reviewing one alert, in the unit of the amounts.
    pub(crate) review_cost: f64,
    /// Number of cards looked at a day, for card precision.
    pub(crate) cards: usize,
}

impl PerformanceQuery {
    /// Query for everything a model decided, as of a point in time in epoch milliseconds.
    pub(crate) fn of(name: &str, as_of_ms: i64) -> Self {
        Self {
            name: name.to_owned(),
            since_ms: 0,
            until_ms: i64::MAX,
            as_of_ms: Some(as_of_ms),
            maturity: Maturity::default(),
            by: GroupBy::All,
            amount: None,
            review_cost: 0.0,
            cards: 100,
        }
    }
}

/// Text that names no way to split figures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}: figures are split by version, arm, day or segment:COLUMN")]
pub(crate) struct UnknownGrouping(String);

/// Column that a model does not have.
#[derive(Debug)]
struct MissingColumn(String);

impl std::str::FromStr for GroupBy {
    type Err = UnknownGrouping;

    fn from_str(text: &str) -> Result<Self, UnknownGrouping> {
        match (text, text.strip_prefix("segment:")) {
            ("all", _) => Ok(Self::All),
            ("version", _) => Ok(Self::Version),
            ("arm", _) => Ok(Self::Arm),
            ("day", _) => Ok(Self::Day),
            (_, Some(column)) if !column.is_empty() => Ok(Self::Segment(column.to_owned())),
            _ => Err(UnknownGrouping(text.to_owned())),
        }
    }
}

/// Figures by group, in the groups' order; one group, without a name, where they are not split.
///
/// # Errors
/// When there is no decision log, or no such column in the model.
pub(crate) async fn performance(
    store: &Store,
    monitoring: &Monitoring,
    query: &PerformanceQuery,
) -> Result<Vec<(String, Performance)>, MonitoringError> {
    let Some(folder) = monitoring.decisions.clone() else {
        return Err(MonitoringError::InvalidInput(
            "this server sees no decision log: start it with --decision-log on the folder that the scoring server writes".to_owned(),
        ));
    };
    if !folder.is_dir() {
        let message = format!(
            "there is no decision log at {}: name the folder that the scoring server writes with --decision-log",
            folder.display()
        );
        return Err(MonitoringError::InvalidInput(message));
    }
    let as_of_ms = query.as_of_ms.unwrap_or(i64::MAX);
    let labels = store.labels_known(query.since_ms.saturating_sub(DAY_MS), as_of_ms).await?;
    let signatures = match (&query.amount, &query.by) {
        (None, GroupBy::All | GroupBy::Version | GroupBy::Arm | GroupBy::Day) => HashMap::new(),
        _ => signatures(store, monitoring, &folder, &query.name).await?,
    };
    let query = query.clone();
    let counted = tokio::task::spawn_blocking(move || count(&folder, &query, &labels, &signatures)).await;
    counted.unwrap_or(Err(MonitoringError::Interrupted("counting the decision log")))
}

/// Columns of every version that decided, by the model file's SHA-256.
async fn signatures(
    store: &Store,
    monitoring: &Monitoring,
    folder: &Path,
    name: &str,
) -> Result<HashMap<[u8; 32], Signature>, MonitoringError> {
    let files = DecisionFiles::of(folder);
    let counts = tokio::task::spawn_blocking(move || files.counts(0, i64::MAX)).await;
    let (counts, report) = counts.map_err(|_| MonitoringError::Interrupted("reading the decision log"))??;
    report.warn();
    let mut found = HashMap::new();
    for model in counts.iter().map(|count| &count.model).filter(|model| model.name == name) {
        if found.contains_key(&model.sha256) || model.version.parse::<i64>().is_err() {
            continue;
        }
        let package = package(store, monitoring, name, &model.version).await?;
        if let Some(manifest) = manifest(&package).await {
            found.insert(model.sha256, manifest.signature);
        }
    }
    Ok(found)
}

/// Package folder of a version.
pub(crate) async fn package(
    store: &Store,
    monitoring: &Monitoring,
    name: &str,
    version: &str,
) -> Result<PathBuf, StoreError> {
    let version = version.parse().map_err(|_| StoreError::InvalidInput(format!("{version:?} is no version")))?;
    Ok(store.resolve(&ModelUri::Version(name.to_owned(), version), &monitoring.cache).await?.path)
}

/// Manifest of a package; `None` if the package is not serin's.
pub(crate) async fn manifest(package: &Path) -> Option<Manifest> {
    let bytes = tokio::fs::read(package.join("serin.json")).await.ok()?;
    Manifest::from_bytes(&bytes).ok()
}

fn count(
    folder: &Path,
    query: &PerformanceQuery,
    labels: &Labels,
    signatures: &HashMap<[u8; 32], Signature>,
) -> Result<Vec<(String, Performance)>, MonitoringError> {
    let mut groups = Groups::default();
    let mut unknown = None;
    let report = DecisionFiles::of(folder).read_of(&query.name, &[], query.since_ms.max(0), i64::MAX, |decision| {
        let at_ms = decision.happened_at_ms();
        let by_model = Fallback::is_of_a_model(decision.fallback);
        if !by_model || !(query.since_ms..query.until_ms).contains(&at_ms) {
            return true;
        }
        match scored(decision, at_ms, query, labels, signatures) {
            Ok((scored, value)) => groups.add(&query.by, decision, scored, value),
            Err(column) => unknown = Some(column),
        }
        unknown.is_none()
    })?;
    report.warn();
    if let Some(MissingColumn(column)) = unknown {
        return Err(MonitoringError::InvalidInput(format!("model {} has no column {column:?}", query.name)));
    }
    let groups = groups.by_name(&query.by, signatures);
    let newest = groups.values().flatten().map(|row| row.at_ms).max().unwrap_or(0);
    let as_of_ms = query.as_of_ms.unwrap_or(newest);
    let measured = groups
        .into_iter()
        .map(|(group, rows)| (group, measure(&rows, query.maturity, as_of_ms, query.review_cost, query.cards)));
    Ok(measured.collect())
}

/// Property of a decision by which its group is found again: its model's place in memory, its day, its arm.
type GroupKey = (usize, i64, u8);

/// Rows by group, while the log is read.
#[derive(Default)]
struct Groups {
    places: HashMap<GroupKey, usize>,
    /// Name of each group and its rows; two keys may have one name.
    rows: Vec<(String, Vec<Scored>)>,
    /// The model of each key, which keeps its place in memory.
    models: Vec<Arc<DecidingModel>>,
    /// Values of the segment's column, one for each row of the only group there is then.
    values: Vec<f32>,
}

impl Groups {
    fn add(&mut self, by: &GroupBy, decision: &LoggedDecision<'_>, scored: Scored, value: f32) {
        let model = decision.model;
        let address = Arc::as_ptr(model) as usize;
        let key = match by {
            GroupBy::All | GroupBy::Segment(_) => (0, 0, 0),
            GroupBy::Version => (address, 0, 0),
            GroupBy::Day => (address, scored.at_ms.div_euclid(DAY_MS), 0),
            GroupBy::Arm => (0, 0, decision.assigned.map_or(0, |assigned| 1 + u8::from(assigned.candidate))),
        };
        let place = *self.places.entry(key).or_insert_with(|| {
            let name = match by {
                GroupBy::All | GroupBy::Segment(_) => String::new(),
                GroupBy::Version => model.version.clone(),
                GroupBy::Day => {
                    let day = jiff::Timestamp::from_millisecond(scored.at_ms)
                        .map_or_else(|_| String::new(), |time| time.strftime("%F").to_string());
                    format!("{day} version {}", model.version)
                }
                GroupBy::Arm => ["no rollout", "stable", "candidate"][usize::from(key.2)].to_owned(),
            };
            self.models.push(Arc::clone(model));
            self.rows.push((name, Vec::new()));
            self.rows.len() - 1
        });
        self.rows[place].1.push(scored);
        if matches!(by, GroupBy::Segment(_)) {
            self.values.push(value);
        }
    }

    /// The rows of each group, in the order of the names; those of a column's segments are told apart here.
    fn by_name(self, by: &GroupBy, signatures: &HashMap<[u8; 32], Signature>) -> BTreeMap<String, Vec<Scored>> {
        let mut groups: BTreeMap<String, Vec<Scored>> = BTreeMap::new();
        let GroupBy::Segment(column) = by else {
            for (name, mut rows) in self.rows {
                groups.entry(name).or_default().append(&mut rows);
            }
            return groups;
        };
        let names = segment_names(&self.values, column, signatures);
        for (scored, name) in self.rows.into_iter().flat_map(|(_, rows)| rows).zip(names) {
            groups.entry(name).or_default().push(scored);
        }
        groups
    }
}

/// What is known of a decision, and its value in the segment's column.
fn scored(
    decision: &LoggedDecision<'_>,
    at_ms: i64,
    query: &PerformanceQuery,
    labels: &Labels,
    signatures: &HashMap<[u8; 32], Signature>,
) -> Result<(Scored, f32), MissingColumn> {
    let value = |column: &String| -> Result<f32, MissingColumn> {
        let signature = signatures.get(&decision.model.sha256);
        let place =
            signature.and_then(|signature| signature.position(column)).ok_or_else(|| MissingColumn(column.clone()))?;
        Ok(decision.features().nth(place).unwrap_or(f32::NAN))
    };
    let label = labels.find(&decision.id, decision.transaction_id);
    let amount = match (label.and_then(|label| label.amount), &query.amount) {
        (Some(amount), _) => amount,
        (None, Some(column)) => Some(f64::from(value(column)?)).filter(|amount| amount.is_finite()).unwrap_or(0.0),
        (None, None) => 0.0,
    };
    let scored = Scored {
        at_ms,
        score: decision.score,
        alert: decision.asked_for_alert(),
        explored: decision
            .propensity
            .map(|propensity| Explored { propensity: f64::from(propensity), let_through: !decision.alert }),
        fraud: label.map(|label| label.fraud),
        amount,
        card: if decision.entity.is_empty() { 0 } else { card(decision.entity) },
    };
    let value = if let GroupBy::Segment(column) = &query.by { value(column)? } else { f32::NAN };
    Ok((scored, value))
}

/// FNV-1a; 0 stays for "none".
fn card(entity: &str) -> u64 {
    entity
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
        .max(1)
}

/// Names the segment of each row by its value: the value itself where there are few, else the quarter of the rows.
fn segment_names(
    values: &[f32],
    column: &str,
    signatures: &HashMap<[u8; 32], Signature>,
) -> impl Iterator<Item = String> {
    let kind = signatures.values().find_map(|signature| Some(&signature.columns[signature.position(column)?].kind));
    let mut sorted: Vec<f32> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_by(f32::total_cmp);
    let mut distinct = sorted.clone();
    distinct.dedup();
    let quarter = move |share: usize| sorted[(sorted.len() - 1) * share / 4];
    values.iter().map(move |&value| match kind {
        _ if value.is_nan() => format!("{column} missing"),
        Some(ColumnKind::Category { levels }) => {
            let level = levels.get(value as usize).map_or("?", String::as_str);
            format!("{column}={level}")
        }
        _ if distinct.len() <= VALUES => format!("{column}={value}"),
        _ => {
            let place = (1..4).take_while(|share| value > quarter(*share)).count();
            // Numbered, so that they stand in order.
            format!("{column} {}. quarter ({} to {})", place + 1, quarter(place), quarter(place + 1))
        }
    })
}
