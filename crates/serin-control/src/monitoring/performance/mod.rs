//! Performance of a model's decisions: the decision log beside the labels.

mod groups;
mod label_keys;
mod segments;

pub(crate) use label_keys::LabelKeys;

use super::Monitoring;
use super::error::MonitoringError;
use groups::{Counting, Group, measured};
use serin_analysis::performance::{Maturity, Performance, Tally};
use serin_decisions::DecisionFiles;
use serin_scoring::{ColumnKind, Manifest, Signature};
use serin_store::{Store, StoreError};
use serin_tracking::{Labels, ModelUri};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

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
    counted(store, monitoring, query, |tallies| measured(by_name(tallies))).await
}

/// Figures by version and by day and version, of one reading of the decision log.
///
/// # Errors
/// When there is no decision log, or no such column in the model.
pub(crate) async fn performance_by_version_and_day(
    store: &Store,
    monitoring: &Monitoring,
    query: &PerformanceQuery,
) -> Result<[Vec<(String, Performance)>; 2], MonitoringError> {
    let query = PerformanceQuery { by: GroupBy::Day, ..query.clone() };
    let measure = |days: BTreeMap<Group, Tally>| {
        let mut versions: BTreeMap<String, Tally> = BTreeMap::new();
        for (group, tally) in &days {
            join(&mut versions, group.version().to_owned(), tally.clone());
        }
        [measured(versions), measured(by_name(days))]
    };
    counted(store, monitoring, &query, measure).await
}

/// Tallies by the names of their groups, in the order of the names.
fn by_name(tallies: BTreeMap<Group, Tally>) -> BTreeMap<String, Tally> {
    let mut named = BTreeMap::new();
    tallies.into_iter().for_each(|(group, tally)| join(&mut named, group.name(), tally));
    named
}

fn join<K: Ord>(tallies: &mut BTreeMap<K, Tally>, key: K, tally: Tally) {
    match tallies.entry(key) {
        std::collections::btree_map::Entry::Vacant(place) => drop(place.insert(tally)),
        std::collections::btree_map::Entry::Occupied(mut place) => place.get_mut().join(tally),
    }
}

/// Counts the decision log on a thread of its own, and makes figures of what was counted.
async fn counted<T: Send + 'static>(
    store: &Store,
    monitoring: &Monitoring,
    query: &PerformanceQuery,
    measure: impl FnOnce(BTreeMap<Group, Tally>) -> T + Send + 'static,
) -> Result<T, MonitoringError> {
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
    let counted = tokio::task::spawn_blocking(move || count(&folder, &query, &labels, &signatures).map(measure)).await;
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
) -> Result<BTreeMap<Group, Tally>, MonitoringError> {
    let files = DecisionFiles::of(folder);
    let counting = Counting::of(&files, query, labels, signatures)?;
    let tallies = match &query.by {
        GroupBy::Segment(column) => segments::tallies(&files, &counting, column)?,
        _ => groups::tallies(&files, &counting)?,
    };
    if !tallies.is_empty() {
        if let GroupBy::Segment(column) = &query.by {
            known(column, &query.name, signatures, |_| true)?;
        }
        if let Some(column) = &query.amount {
            known(column, &query.name, signatures, |kind| *kind == ColumnKind::Number)?;
        }
    }
    Ok(tallies)
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

#[cfg(test)]
mod tests {
    use super::*;
    use serin_decisions::Fallback;
    use serin_decisions::{DecidingModel, DecisionIds, DecisionLog, LogLimits, NewDecision};
    use serin_scoring::Column;
    use serin_tracking::{Label, LabelSource, LabelSubject};
    use std::sync::Arc;

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
        let counted = counted.map(|tallies| measured(by_name(tallies))).map_err(|error| error.to_string())?;
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

    // Labels by transaction and by decision, before and after their delay, and payments of other models between.
    #[test]
    fn labels_are_found_without_reading_what_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let (log, _) = DecisionLog::open(folder.path(), LogLimits::default(), || NOW - 20 * DAY_MS).unwrap();
        let ids = DecisionIds::default();
        let model = |name: &str, version: &str| {
            let (name, version) = (name.to_owned(), version.to_owned());
            Arc::new(DecidingModel { name, version, sha256: [1; 32], threshold: 0.5, width: 1 })
        };
        let models = [model("fraud", "1"), model("fraud", "2"), model("other", "1")];
        let mut labels = Vec::new();
        for number in 0..3000_usize {
            let at_ms = NOW - 20 * DAY_MS + number as i64 * DAY_MS / 150;
            let (id, name) = (ids.next(at_ms), if number % 11 == 0 { String::new() } else { format!("t{number}") });
            let decision = NewDecision {
                id,
                transaction_id: &name,
                entity: "",
                event_time_ms: None,
                features: &[number as f32],
                score: (number % 10) as f32 / 10.0,
                alert: number % 10 >= 5,
                propensity: None,
                fallback: (number % 13 == 0).then_some(Fallback::Rules),
                assigned: None,
                latency_ns: 0,
            };
            log.append(&models[number % 3], &[decision]).unwrap();
            let subject = match number % 4 {
                0 if !name.is_empty() => LabelSubject::Transaction(name),
                1 => LabelSubject::Decision(id),
                _ => continue,
            };
            labels.push(Label {
                subject,
                fraud: number % 8 < 2,
                source: LabelSource::Chargeback,
                occurred_at_ms: None,
                known_at_ms: NOW,
                received_at_ms: NOW,
                amount: None,
            });
        }
        log.flush().unwrap();
        let labels = Labels::of(labels);
        let signatures = HashMap::from([([1; 32], signature(&[]))]);
        for unlabelled_is_genuine in [false, true] {
            let maturity = Maturity { unlabelled_is_genuine, ..Maturity::default() };
            let amount = Some("amount".to_owned());
            let query =
                PerformanceQuery { by: GroupBy::Version, amount, maturity, ..PerformanceQuery::of("fraud", NOW) };
            let found = measured(by_name(count(folder.path(), &query, &labels, &signatures).unwrap()));
            for (version, (name, found)) in found.iter().enumerate() {
                let numbers = (0..3000).filter(|number| number % 3 == version && number % 13 != 0);
                let is_labelled =
                    |number: &usize| number % 4 == 1 || number.is_multiple_of(4) && !number.is_multiple_of(11);
                // The last seven days are too young.
                let matured: Vec<usize> = numbers.clone().filter(|number| *number <= 13 * 150).collect();
                let labelled: Vec<usize> = matured.iter().copied().filter(is_labelled).collect();
                let frauds: Vec<usize> = labelled.iter().copied().filter(|number| number % 8 < 2).collect();
                let counted = if unlabelled_is_genuine { matured.len() } else { labelled.len() };
                let expected = [numbers.count(), matured.len(), counted, frauds.len()].map(|count| count as u64);
                assert_eq!([found.decisions, found.matured, found.labelled, found.frauds], expected, "version {name}");
                let lost: usize = frauds.iter().filter(|number| *number % 10 < 5).sum();
                assert_eq!(found.metrics["cost"], lost as f64);
            }
            assert_eq!(found.len(), 2);
        }
    }
}
