//! The decision log as Parquet, for DuckDB, pandas and Spark: `serin export`, and the same as a job beside the server.
//!
//! A segment becomes a file for each model and hour in it, under the segment's name, so exporting it again replaces
//! what it was.

use super::replay::{files, hex, load_logged, range};
use super::{progress, say};
use crate::cli::{Export, Reasons, State};
use anyhow::{Context, bail};
use serin_artifacts::{ArtifactPath, Artifacts};
use serin_dataset::{DatasetError, DecisionRow, DecisionWriter};
use serin_decisions::{
    DecidingModel, DecisionFiles, DecisionSegment, Fallback, LoggedDecision, PARQUET_EXPORTER, ReadReport, Record,
    replace_durably,
};
use serin_models::LoadedModel;
use serin_scorer::environment::s3_settings;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Reasons of a decision, the strongest first.
const REASONS: usize = 5;
/// Between two looks for sealed segments.
const EVERY: Duration = Duration::from_secs(15);
const HOUR_MS: i64 = 3_600_000;
/// In the folder of the log: which segments are exported, and to what files.
const EXPORTED: &str = "exported.json";

pub(crate) async fn run(args: &Export) -> anyhow::Result<()> {
    let files = files(&args.logged)?;
    let range = hours(range(&args.logged));
    let mut exporter = Exporter::to(&args.out, args.reasons, &args.logged.state)?;
    let segments = files.segments()?;
    let bar = progress::bar("exporting", segments.len() as u64);
    let (mut rows, mut written) = (0, 0);
    for segment in &segments {
        let done = exporter.export(&files, segment, range).await?;
        (rows, written) = (rows + done.rows, written + done.files.len());
        bar.inc(1);
    }
    bar.finish_and_clear();
    if rows == 0 {
        bail!("the log has no decision in that time");
    }
    say(format_args!("{rows} decisions in {written} Parquet files below {}", args.out));
    Ok(())
}

/// A range widened to whole hours, epoch milliseconds: a file holds an hour of a segment, and one that was written of a part
/// of it would take the place of the whole.
fn hours((since, until): (i64, i64)) -> (i64, i64) {
    let up = until.checked_add(HOUR_MS - 1).map_or(until, |until| until.div_euclid(HOUR_MS) * HOUR_MS);
    (since.div_euclid(HOUR_MS) * HOUR_MS, up)
}

/// Exports what is sealed, now and every so often; what was exported is kept in mind across restarts.
pub(crate) async fn keep_exporting(log: PathBuf, out: String, reasons: Reasons, state: State) {
    loop {
        if let Err(error) = export_sealed(&log, &out, reasons, &state).await {
            tracing::warn!("decisions are not exported to {out}, and will be tried again: {error:#}");
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn export_sealed(log: &Path, out: &str, reasons: Reasons, state: &State) -> anyhow::Result<()> {
    let list = log.join(EXPORTED);
    let mut exported: HashMap<String, (String, Vec<String>)> =
        std::fs::read(&list).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let files = DecisionFiles::of(log);
    let mut exporter = None;
    let segments: Vec<DecisionSegment> = files.segments()?.into_iter().filter(DecisionSegment::is_sealed).collect();
    // Once a pass is enough: what is exported in this one retention may have after the next.
    release(&files, &segments, &exported, out)?;
    for segment in &segments {
        // Rewritten, as by an erasure, or bound for another place, it is exported again.
        let wanted = format!("{out} {}", segment.fingerprint());
        let before = exported.get(&segment.name());
        if before.is_some_and(|(done, _)| *done == wanted) {
            continue;
        }
        let exporter = match &mut exporter {
            Some(exporter) => exporter,
            none => none.insert(Exporter::to(out, reasons, state)?),
        };
        let done = exporter.export(&files, segment, (0, i64::MAX)).await?;
        if let Some((_, gone)) = before.filter(|(done, _)| done.starts_with(&format!("{out} "))) {
            for file in gone.iter().filter(|file| !done.files.contains(file)) {
                exporter.out.delete(&ArtifactPath::new(file)?).await?;
            }
        }
        exported.insert(segment.name(), (wanted, done.files));
        save(&list, &exported)?;
    }
    // What retention removed from the log stays in the export, and needs no mention here.
    let known: HashSet<String> = segments.iter().map(DecisionSegment::name).collect();
    if exported.keys().any(|name| !known.contains(name)) {
        exported.retain(|name, _| known.contains(name));
        save(&list, &exported)?;
    }
    Ok(())
}

/// Lets retention have the segments that are exported to `out` as they are now, and no other.
fn release(
    files: &DecisionFiles,
    segments: &[DecisionSegment],
    exported: &HashMap<String, (String, Vec<String>)>,
    out: &str,
) -> anyhow::Result<()> {
    let done: Vec<(String, String)> = segments
        .iter()
        .map(|segment| (segment.name(), segment.fingerprint()))
        .filter(|(name, print)| exported.get(name).is_some_and(|(done, _)| *done == format!("{out} {print}")))
        .collect();
    Ok(files.set_exported(PARQUET_EXPORTER, done.iter().map(|(name, print)| (name.as_str(), print.as_str())))?)
}

fn save(list: &Path, exported: &HashMap<String, (String, Vec<String>)>) -> anyhow::Result<()> {
    Ok(replace_durably(list, &serde_json::to_vec(exported)?)?)
}

/// Refuses a segment whose file could not be read to its end: it is exported when it can be. Damage within a segment stays there
/// for ever, and the records around it are exported.
fn whole(report: ReadReport) -> anyhow::Result<()> {
    if report.unreadable.is_empty() { Ok(()) } else { Ok(report.into_result()?) }
}

/// What became of a segment.
#[derive(Debug, Default)]
struct Exported {
    rows: u64,
    files: Vec<String>,
}

/// Writes segments as Parquet.
struct Exporter {
    out: Artifacts,
    state: State,
    reasons: Reasons,
    /// Who decided, by SHA-256.
    models: HashMap<[u8; 32], Decider>,
}

/// A model that decided. The log holds features by position; their names are the model's.
struct Decider {
    names: Vec<String>,
    /// Not there any more, it has no reasons to give.
    model: Option<LoadedModel>,
}

impl Exporter {
    /// To a folder, or to `s3://bucket/prefix`.
    fn to(out: &str, reasons: Reasons, state: &State) -> anyhow::Result<Self> {
        let artifacts = match out.starts_with("s3://") {
            true => Artifacts::s3(out, s3_settings())?,
            false => Artifacts::local(Path::new(out))?,
        };
        Ok(Self { out: artifacts, state: state.clone(), reasons, models: HashMap::new() })
    }

    async fn meet(&mut self, model: &Arc<DecidingModel>) {
        if self.models.contains_key(&model.sha256) {
            return;
        }
        let decider = match load_logged(&self.state, model).await {
            Ok(loaded) => {
                let columns = &loaded.package.signature.columns;
                Decider { names: columns.iter().map(|column| column.name.clone()).collect(), model: Some(loaded) }
            }
            Err(error) => {
                tracing::warn!("{} {}: features are named f0, f1, … ({error:#})", model.name, model.version);
                Decider { names: (0..model.width).map(|i| format!("f{i}")).collect(), model: None }
            }
        };
        self.models.insert(model.sha256, decider);
    }

    async fn export(
        &mut self,
        files: &DecisionFiles,
        segment: &DecisionSegment,
        (since, until): (i64, i64),
    ) -> anyhow::Result<Exported> {
        let mut models: Vec<Arc<DecidingModel>> = Vec::new();
        let report = files.read_segment(segment, since, until, |record| {
            if let Record::Decision(decision) = record
                && !models.iter().any(|known| known.sha256 == decision.model.sha256)
            {
                models.push(Arc::clone(decision.model));
            }
            true
        });
        report.warn();
        whole(report)?;
        for model in &models {
            self.meet(model).await;
        }
        let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
        let mut writers: HashMap<String, DecisionWriter> = HashMap::new();
        let mut failure = None;
        let report = files.read_segment(segment, since, until, |record| {
            let Record::Decision(decision) = record else { return true };
            let file = file_of(decision, &segment.name());
            let path = scratch.path().join(&file);
            // A segment that is still written may have grown since its models were met: it is exported again when it is sealed.
            let Some(decider) = self.models.get(&decision.model.sha256) else { return true };
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
        whole(report)?;
        let mut done = Exported::default();
        for (file, writer) in writers {
            done.rows += writer.finish()?;
            let bytes = std::fs::read(scratch.path().join(&file))?;
            self.out.put_bytes(&ArtifactPath::new(&file)?, bytes).await?;
            done.files.push(file);
        }
        done.files.sort();
        Ok(done)
    }
}

impl Decider {
    fn push(
        &self,
        writer: &mut DecisionWriter,
        decision: &LoggedDecision<'_>,
        reasons: Reasons,
    ) -> Result<(), DatasetError> {
        let features: Vec<f32> = decision.features().collect();
        let wanted = match reasons {
            Reasons::None => false,
            Reasons::Alerts => decision.asked_for_alert(),
            Reasons::All => true,
        };
        // What no model decided has no reasons that a model could give.
        let model = self.model.as_ref().filter(|_| wanted && Fallback::is_of_a_model(decision.fallback));
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

/// `model=NAME/version=V/hour=2026-11-25T10/SEGMENT-MODEL.parquet`, as DuckDB and Spark read partitions.
fn file_of(decision: &LoggedDecision<'_>, segment: &str) -> String {
    let plain = |text: &str| {
        let kept = |c: char| if c.is_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' };
        text.chars().map(kept).collect::<String>()
    };
    let model = decision.model;
    let hour = jiff::Timestamp::from_millisecond(decision.at_ms())
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
        assert_eq!(hours((0, i64::MAX)), (0, i64::MAX));
        assert_eq!(hours((HOUR_MS + 1, 2 * HOUR_MS)), (HOUR_MS, 2 * HOUR_MS));
        assert_eq!(hours((HOUR_MS, 2 * HOUR_MS + 1)), (HOUR_MS, 3 * HOUR_MS));
        assert_eq!(hours((-1, -1)), (-HOUR_MS, 0));
    }
}
