//! The decision log as Parquet, for DuckDB, pandas and Spark.
//!
//! A segment becomes a file for each model and hour in it, under the segment's name, so exporting it again replaces
//! what it was.

mod sealed;

pub use sealed::export_sealed;

use crate::causes::with_causes;
use crate::models::{ModelRegistry, hex, load_decider};
use serin_artifacts::{ArtifactError, ArtifactPath, Artifacts};
use serin_dataset::{DatasetError, DecisionRow, DecisionWriter};
use serin_decisions::{
    DecidingModel, DecisionFiles, DecisionSegment, Fallback, LogError, LoggedDecision, ReadReport, Record,
};
use serin_models::LoadedModel;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Number of reasons of a decision, the strongest first.
const REASONS: usize = 5;
const HOUR_MS: i64 = 3_600_000;

/// Error that says why decisions could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log cannot be read, or a segment not to its end.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A Parquet file cannot be written.
    #[error(transparent)]
    Parquet(#[from] DatasetError),
    /// The folder or bucket does not take the files.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The folder for files that are being written cannot be made.
    #[error("cannot make a temporary folder")]
    Scratch(#[source] std::io::Error),
    /// A file of this machine cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Path of the file or folder that could not be used.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
}

impl ExportError {
    fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// Decisions whose reasons are exported with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reasons {
    /// No decision gets reasons.
    #[default]
    None,
    /// Decisions whose score asked for an alert.
    Alerts,
    /// Every decision of a model.
    All,
}

/// Widens a range of epoch milliseconds to whole hours: a file holds an hour of a segment, and one that was written of a part of it
/// would take the place of the whole.
#[must_use]
pub fn whole_hours(times_ms: Range<i64>) -> Range<i64> {
    let until = times_ms.end;
    let up = until.checked_add(HOUR_MS - 1).map_or(until, |until| until.div_euclid(HOUR_MS) * HOUR_MS);
    times_ms.start.div_euclid(HOUR_MS) * HOUR_MS..up
}

/// Files that a segment became.
#[derive(Debug, Default)]
pub struct ExportedSegment {
    /// Number of decisions in the files.
    pub rows: u64,
    /// Paths of the files below the destination, in ascending order.
    pub files: Vec<String>,
}

/// Writes segments of the log as Parquet.
#[derive(Debug)]
pub struct Exporter<R> {
    destination: Artifacts,
    registry: R,
    reasons: Reasons,
    /// Time of the loading of models, epoch milliseconds.
    now_ms: i64,
    /// Models that decided, by the SHA-256 of their file.
    deciders: HashMap<[u8; 32], Decider>,
}

/// A model that decided. The log holds features by position; their names are the model's.
#[derive(Debug)]
struct Decider {
    names: Vec<String>,
    /// The model itself; one that is gone has no reasons to give.
    model: Option<LoadedModel>,
}

impl<R: ModelRegistry> Exporter<R> {
    /// Makes an exporter to a folder or bucket, which asks `registry` for the models that decided. `now_ms` is the time of
    /// their loading, epoch milliseconds.
    #[must_use]
    pub fn new(destination: Artifacts, registry: R, reasons: Reasons, now_ms: i64) -> Self {
        Self { destination, registry, reasons, now_ms, deciders: HashMap::new() }
    }

    async fn know(&mut self, model: &DecidingModel) {
        if self.deciders.contains_key(&model.sha256) {
            return;
        }
        let decider = match load_decider(&self.registry, model, self.now_ms).await {
            Ok(loaded) => {
                let columns = &loaded.package.signature.columns;
                Decider { names: columns.iter().map(|column| column.name.clone()).collect(), model: Some(loaded) }
            }
            Err(error) => {
                let error = with_causes(&error);
                tracing::warn!("{} {}: features are named f0, f1, … ({error})", model.name, model.version);
                Decider { names: (0..model.width).map(|i| format!("f{i}")).collect(), model: None }
            }
        };
        self.deciders.insert(model.sha256, decider);
    }

    /// Writes the decisions of a segment that were made in `times_ms` (epoch milliseconds, whole hours), a file for each
    /// model and hour. Damage within the segment stays there for ever, and the records around it are exported.
    ///
    /// # Errors
    /// When the segment cannot be read to its end, so that it is exported when it can be, or a file cannot be written.
    pub async fn export(
        &mut self,
        files: &DecisionFiles,
        segment: &DecisionSegment,
        times_ms: Range<i64>,
    ) -> Result<ExportedSegment, ExportError> {
        let mut deciders: Vec<Arc<DecidingModel>> = Vec::new();
        let report = files.read_segment(segment, times_ms.start, times_ms.end, |record| {
            if let Record::Decision(decision) = record
                && !deciders.iter().any(|known| known.sha256 == decision.model.sha256)
            {
                deciders.push(Arc::clone(decision.model));
            }
            true
        });
        report.warn();
        readable(report)?;
        for decider in &deciders {
            self.know(decider).await;
        }
        let scratch = tempfile::tempdir().map_err(ExportError::Scratch)?;
        let mut writers: HashMap<String, DecisionWriter> = HashMap::new();
        let mut failure = None;
        let report = files.read_segment(segment, times_ms.start, times_ms.end, |record| {
            let Record::Decision(decision) = record else { return true };
            let file = file_of(decision, &segment.name());
            let path = scratch.path().join(&file);
            // A segment that is still written may have grown since its models were loaded: it is exported again when it is sealed.
            let Some(decider) = self.deciders.get(&decision.model.sha256) else { return true };
            let written = match writers.get_mut(&file) {
                Some(writer) => decider.push(writer, decision, self.reasons),
                None => DecisionWriter::create(&path, &decider.names)
                    .and_then(|writer| decider.push(writers.entry(file).or_insert(writer), decision, self.reasons)),
            };
            failure = written.err();
            failure.is_none()
        });
        if let Some(error) = failure {
            return Err(error.into());
        }
        readable(report)?;
        let mut exported = ExportedSegment::default();
        for (file, writer) in writers {
            exported.rows += writer.finish()?;
            let path = scratch.path().join(&file);
            let bytes = std::fs::read(&path).map_err(ExportError::at(&path))?;
            self.destination.put_bytes(&ArtifactPath::new(&file)?, bytes).await?;
            exported.files.push(file);
        }
        exported.files.sort();
        Ok(exported)
    }

    /// Removes a file that an earlier export of a segment wrote.
    async fn remove(&self, file: &str) -> Result<(), ExportError> {
        Ok(self.destination.delete(&ArtifactPath::new(file)?).await?)
    }
}

/// Refuses a segment whose file could not be read to its end.
fn readable(report: ReadReport) -> Result<(), LogError> {
    if report.unreadable.is_empty() { Ok(()) } else { report.into_result() }
}

impl Decider {
    fn push(
        &self,
        writer: &mut DecisionWriter,
        decision: &LoggedDecision<'_>,
        reasons: Reasons,
    ) -> Result<(), DatasetError> {
        let features: Vec<f32> = decision.features().collect();
        let explained = match reasons {
            Reasons::None => false,
            Reasons::Alerts => decision.asked_for_alert(),
            Reasons::All => true,
        };
        // What no model decided has no reasons that a model could give.
        let model = self.model.as_ref().filter(|_| explained && Fallback::is_of_a_model(decision.fallback));
        let strongest = model.and_then(|model| model.strongest(&features, REASONS).ok()).unwrap_or_default();
        let strongest = strongest.iter().map(|(position, part)| (self.names[*position].as_str(), *part));
        writer.push(&DecisionRow {
            decision_id: &uuid::Uuid::from_bytes(decision.id).to_string(),
            at_ms: decision.at_ms(),
            transaction_id: decision.transaction_id,
            entity: decision.entity,
            event_time_ms: decision.event_time_ms,
            score: decision.score,
            threshold: decision.model.threshold,
            alert: decision.alert,
            propensity: decision.propensity,
            fallback: decision.fallback.map(Fallback::name),
            latency_us: decision.latency_ns as f32 / 1e3,
            reasons: &strongest.collect::<Vec<_>>(),
            features: &features,
        })
    }
}

/// Path of a decision's file: `model=NAME/version=V/hour=2026-11-25T10/SEGMENT-MODEL.parquet`, as DuckDB and Spark read
/// partitions.
fn file_of(decision: &LoggedDecision<'_>, segment: &str) -> String {
    path_of(decision.model, decision.at_ms(), segment)
}

fn path_of(model: &DecidingModel, at_ms: i64, segment: &str) -> String {
    let plain = |text: &str| {
        let kept = |c: char| if c.is_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' };
        text.chars().map(kept).collect::<String>()
    };
    let hour = jiff::Timestamp::from_millisecond(at_ms)
        .map_or_else(|_| "unknown".to_owned(), |time| time.strftime("%Y-%m-%dT%H").to_string());
    let version = if model.version.is_empty() { "none" } else { &model.version };
    // Two files can have been one name's one version, as after a registry was made anew.
    let sha256 = hex(&model.sha256[..4]);
    format!("model={}/version={version}/hour={hour}/{segment}-{sha256}.parquet", plain(&model.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_of_whole_hours() {
        assert_eq!(whole_hours(0..i64::MAX), 0..i64::MAX);
        assert_eq!(whole_hours(HOUR_MS + 1..2 * HOUR_MS), HOUR_MS..2 * HOUR_MS);
        assert_eq!(whole_hours(HOUR_MS..2 * HOUR_MS + 1), HOUR_MS..3 * HOUR_MS);
        assert_eq!(whole_hours(-1..-1), -HOUR_MS..0);
    }

    #[test]
    fn a_file_is_named_by_model_version_hour_and_segment() {
        let mut model = DecidingModel {
            name: "fraud/detection 2".into(),
            version: "7".into(),
            sha256: [0xab; 32],
            threshold: 0.5,
            width: 1,
        };
        let at_ms = 1_764_064_800_000;
        assert_eq!(
            path_of(&model, at_ms, "0001"),
            "model=fraud_detection_2/version=7/hour=2025-11-25T10/0001-abababab.parquet"
        );
        model.version = String::new();
        assert!(path_of(&model, at_ms, "0001").starts_with("model=fraud_detection_2/version=none/"));
    }
}
