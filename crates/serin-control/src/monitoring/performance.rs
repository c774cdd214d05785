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
    let mut segments = match &query.by {
        GroupBy::Segment(column) => Some(Segments::of(column, signatures)),
        _ => None,
    };
    let report = DecisionFiles::of(folder).read_of(&query.name, &[], query.since_ms.max(0), i64::MAX, |decision| {
        let at_ms = decision.happened_at_ms();
        let by_model = Fallback::is_of_a_model(decision.fallback);
        if by_model && (query.since_ms..query.until_ms).contains(&at_ms) {
            groups.add(&query.by, decision, scored(decision, at_ms, query, labels, signatures));
            segments.iter_mut().for_each(|segments| segments.add(decision));
        }
        true
    })?;
    report.warn();
    if !groups.rows.is_empty() {
        if let GroupBy::Segment(column) = &query.by {
            known(column, &query.name, signatures, |_| true)?;
        }
        if let Some(column) = &query.amount {
            known(column, &query.name, signatures, |kind| *kind == ColumnKind::Number)?;
        }
    }
    let groups = groups.by_name(segments);
    let newest = groups.values().flatten().map(|row| row.at_ms).max().unwrap_or(0);
    let as_of_ms = query.as_of_ms.unwrap_or(newest);
    let measured = groups
        .into_iter()
        .map(|(group, rows)| (group, measure(&rows, query.maturity, as_of_ms, query.review_cost, query.cards)));
    Ok(measured.collect())
}

/// Refuses a column that no version in the log has, or none of a fitting kind.
fn known(
    column: &str,
    name: &str,
    signatures: &HashMap<[u8; 32], Signature>,
    fits: impl Fn(&ColumnKind) -> bool,
) -> Result<(), MonitoringError> {
    let kinds: Vec<&ColumnKind> = signatures
        .values()
        .filter_map(|signature| signature.position(column).map(|place| &signature.columns[place].kind))
        .collect();
    if kinds.is_empty() {
        return Err(MonitoringError::InvalidInput(format!(
            "model {name} has no column {column:?} in any version that decided"
        )));
    }
    if !kinds.iter().any(|kind| fits(kind)) {
        let kind = kinds[0].name();
        return Err(MonitoringError::InvalidInput(format!("{column:?} is a {kind}: an amount is a number")));
    }
    Ok(())
}

/// Property of a decision by which its group is found again: its model's place in memory, its day, its arm.
type GroupKey = (usize, i64, u8);

/// Rows by group, while the log is read; one group, where segments tell the rows apart.
#[derive(Default)]
struct Groups {
    places: HashMap<GroupKey, usize>,
    /// Name of each group and its rows; two keys may have one name.
    rows: Vec<(String, Vec<Scored>)>,
    /// The model of each key, which keeps its place in memory.
    models: Vec<Arc<DecidingModel>>,
}

impl Groups {
    fn add(&mut self, by: &GroupBy, decision: &LoggedDecision<'_>, scored: Scored) {
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
    }

    /// The rows of each group, in the order of the names.
    fn by_name(self, segments: Option<Segments<'_>>) -> BTreeMap<String, Vec<Scored>> {
        let mut groups: BTreeMap<String, Vec<Scored>> = BTreeMap::new();
        if let Some(segments) = segments {
            let rows = self.rows.into_iter().flat_map(|(_, rows)| rows);
            for (scored, name) in rows.zip(segments.names()) {
                groups.entry(name).or_default().push(scored);
            }
            return groups;
        }
        for (name, mut rows) in self.rows {
            groups.entry(name).or_default().append(&mut rows);
        }
        groups
    }
}

/// Segments of a column, one a row in the order in which the rows came: each by the columns of the version that decided.
struct Segments<'a> {
    column: &'a str,
    signatures: &'a HashMap<[u8; 32], Signature>,
    /// Names of segments, each once, and the place of each.
    names: Vec<String>,
    places: HashMap<String, usize>,
    rows: Vec<SegmentRow>,
}

/// Segment of one row.
#[derive(Clone, Copy)]
enum SegmentRow {
    /// Place of its name in [`Segments::names`].
    Named(usize),
    /// Value of a column that is no category; its segment depends on the other values.
    Number(f32),
}

impl<'a> Segments<'a> {
    fn of(column: &'a str, signatures: &'a HashMap<[u8; 32], Signature>) -> Self {
        Self { column, signatures, names: Vec::new(), places: HashMap::new(), rows: Vec::new() }
    }

    fn add(&mut self, decision: &LoggedDecision<'_>) {
        let column = self.column;
        let row = match column_of(self.signatures, decision, column) {
            None => self.named(format!("{column} not in version {}", decision.model.version)),
            Some((_, value)) if value.is_nan() => self.named(format!("{column} missing")),
            Some((ColumnKind::Category { levels }, code)) => {
                let level = levels.get(code as usize).map_or("?", String::as_str);
                self.named(format!("{column}={level}"))
            }
            Some((_, value)) => SegmentRow::Number(value),
        };
        self.rows.push(row);
    }

    fn named(&mut self, name: String) -> SegmentRow {
        let next = self.names.len();
        let place = *self.places.entry(name).or_insert_with_key(|name| {
            self.names.push(name.clone());
            next
        });
        SegmentRow::Named(place)
    }

    /// Name of each row's segment. A number's is its value where there are few, else the quarter of the rows.
    fn names(self) -> impl Iterator<Item = String> {
        let column = self.column.to_owned();
        let number = |row: &SegmentRow| if let SegmentRow::Number(value) = row { Some(*value) } else { None };
        let mut sorted: Vec<f32> = self.rows.iter().filter_map(number).collect();
        sorted.sort_by(f32::total_cmp);
        let mut distinct = sorted.clone();
        distinct.dedup();
        let quarter = move |share: usize| sorted[(sorted.len() - 1) * share / 4];
        self.rows.into_iter().map(move |row| match row {
            SegmentRow::Named(place) => self.names[place].clone(),
            SegmentRow::Number(value) if distinct.len() <= VALUES => format!("{column}={value}"),
            SegmentRow::Number(value) => {
                let place = (1..4).take_while(|share| value > quarter(*share)).count();
                // Numbered, so that they stand in order.
                format!("{column} {}. quarter ({} to {})", place + 1, quarter(place), quarter(place + 1))
            }
        })
    }
}

/// Kind and value of a decision's column, by the columns of the version that decided; none where it has no such column.
fn column_of<'a>(
    signatures: &'a HashMap<[u8; 32], Signature>,
    decision: &LoggedDecision<'_>,
    column: &str,
) -> Option<(&'a ColumnKind, f32)> {
    let signature = signatures.get(&decision.model.sha256)?;
    let place = signature.position(column)?;
    Some((&signature.columns[place].kind, decision.features().nth(place).unwrap_or(f32::NAN)))
}

/// What is known of a decision.
fn scored(
    decision: &LoggedDecision<'_>,
    at_ms: i64,
    query: &PerformanceQuery,
    labels: &Labels,
    signatures: &HashMap<[u8; 32], Signature>,
) -> Scored {
    let label = labels.find(&decision.id, decision.transaction_id);
    let column = || match column_of(signatures, decision, query.amount.as_ref()?)? {
        (ColumnKind::Number, amount) if amount.is_finite() => Some(f64::from(amount)),
        _ => None,
    };
    Scored {
        at_ms,
        score: decision.score,
        alert: decision.asked_for_alert(),
        explored: decision
            .propensity
            .map(|propensity| Explored { propensity: f64::from(propensity), let_through: !decision.alert }),
        fraud: label.map(|label| label.fraud),
        amount: label.and_then(|label| label.amount).or_else(column).unwrap_or(0.0),
        card: if decision.entity.is_empty() { 0 } else { card(decision.entity) },
    }
}

/// FNV-1a; 0 stays for "none".
fn card(entity: &str) -> u64 {
    entity
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serin_decisions::{DecisionIds, DecisionLog, LogLimits, NewDecision};
    use serin_scoring::Column;

    const NOW: i64 = 1_764_000_000_000;

    /// Columns `amount` and `channel`, the second a category of these levels; with no level it is missing.
    fn signature(levels: &[&str]) -> Signature {
        let column = |name: &str, kind| Column { name: name.to_owned(), kind, nullable: true };
        let mut columns = vec![column("amount", ColumnKind::Number)];
        if !levels.is_empty() {
            let levels = levels.iter().map(|level| (*level).to_owned()).collect();
            columns.push(column("channel", ColumnKind::Category { levels }));
        }
        Signature { columns }
    }

    /// Decisions of each version, each with the channel's code; the amounts are 0, 1, 2, …
    fn log(folder: &Path, versions: &[(&str, &[f32])]) {
        let (log, _) = DecisionLog::open(folder, LogLimits::default(), || NOW).unwrap();
        let ids = DecisionIds::default();
        for (number, (version, codes)) in versions.iter().enumerate() {
            let model = Arc::new(DecidingModel {
                name: "fraud".into(),
                version: (*version).to_owned(),
                sha256: [number as u8; 32],
                threshold: 0.5,
                width: 2,
            });
            for (at, code) in codes.iter().enumerate() {
                let decision = NewDecision {
                    id: ids.next(NOW),
                    transaction_id: "t",
                    entity: "",
                    event_time_ms: None,
                    features: &[at as f32, *code],
                    score: 0.5,
                    alert: true,
                    propensity: None,
                    fallback: None,
                    assigned: None,
                    latency_ns: 0,
                };
                log.append(&model, &[decision]).unwrap();
            }
        }
        log.flush().unwrap();
    }

    fn segments(folder: &Path, by: &str, signatures: &[Signature]) -> Result<Vec<(String, u64)>, String> {
        let query = PerformanceQuery { by: by.parse().unwrap(), ..PerformanceQuery::of("fraud", NOW) };
        let signatures = signatures.iter().enumerate().map(|(number, found)| ([number as u8; 32], found.clone()));
        let counted = count(folder, &query, &Labels::default(), &signatures.collect());
        let counted = counted.map_err(|error| error.to_string())?;
        Ok(counted.into_iter().map(|(name, found)| (name, found.decisions)).collect())
    }

    // A code is a level of the version that decided; another version's levels are others.
    #[test]
    fn a_category_is_told_by_the_levels_of_the_version_that_decided() {
        let folder = tempfile::tempdir().unwrap();
        log(folder.path(), &[("1", &[0.0, 1.0, 1.0, f32::NAN]), ("2", &[0.0, 1.0, 2.0, 9.0]), ("3", &[0.0])]);
        let signatures = [signature(&["card", "wire"]), signature(&["card", "crypto", "wire"]), signature(&[])];
        let expected = [
            ("channel missing", 1),
            ("channel not in version 3", 1),
            ("channel=?", 1),
            ("channel=card", 2),
            ("channel=crypto", 1),
            ("channel=wire", 3),
        ];
        for _ in 0..8 {
            let found = segments(folder.path(), "segment:channel", &signatures).unwrap();
            assert_eq!(found, expected.map(|(name, count)| (name.to_owned(), count)));
        }
        let refused = segments(folder.path(), "segment:chanel", &signatures).unwrap_err();
        assert!(refused.contains("model fraud has no column \"chanel\" in any version that decided"), "{refused}");
        let few = segments(folder.path(), "segment:amount", &signatures).unwrap();
        assert_eq!(few[0], ("amount=0".to_owned(), 3));
    }

    #[test]
    fn numbers_of_many_values_are_told_by_quarters_over_all_versions() {
        let folder = tempfile::tempdir().unwrap();
        log(folder.path(), &[("1", &[0.0; 40]), ("2", &[0.0; 80])]);
        let found = segments(folder.path(), "segment:amount", &[signature(&["card"]), signature(&["card"])]).unwrap();
        assert_eq!((found.len(), found.iter().map(|(_, count)| count).sum::<u64>()), (4, 120));
        assert!(found[0].0.starts_with("amount 1. quarter (0 to "), "{found:?}");
    }

    #[test]
    fn versions_and_days_are_groups_whatever_segments_they_lie_in() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            log(folder.path(), &[("1", &[0.0; 4]), ("2", &[0.0; 5])]);
        }
        let by = |by: &str| segments(folder.path(), by, &[]).unwrap();
        assert_eq!(by("version"), [("1".to_owned(), 12), ("2".to_owned(), 15)]);
        assert_eq!(by("day"), [("2025-11-24 version 1".to_owned(), 12), ("2025-11-24 version 2".to_owned(), 15)]);
        assert_eq!(by("arm"), [("no rollout".to_owned(), 27)]);
        assert_eq!(by("all"), [(String::new(), 27)]);
    }
}
