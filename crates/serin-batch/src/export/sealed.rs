//! One pass over the sealed segments of a log: what is new or rewritten is exported, what retention may remove is named.

use super::{ExportError, ExportedSegment, Exporter};
use crate::models::ModelRegistry;
use serin_decisions::{DecisionFiles, DecisionSegment, PARQUET_EXPORTER, replace_durably};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// File in the folder of the log that says which segments are exported, and to what files.
const EXPORTED: &str = "exported.json";

/// Exports every sealed segment of the log in `folder` that `destination` does not have as it is now, remembers in the folder what was
/// exported, and lets retention remove it at the next pass. `destination` names the folder or bucket in that record; `open` makes
/// the exporter to it, when there is something to export.
///
/// # Errors
/// When the log cannot be read, or a file cannot be written. What was exported before stays remembered.
pub async fn export_sealed<R: ModelRegistry>(
    folder: &Path,
    destination: &str,
    open: impl Fn() -> Result<Exporter<R>, ExportError>,
) -> Result<(), ExportError> {
    let mut book = ExportBook::read(folder, destination);
    let files = DecisionFiles::of(folder);
    let segments: Vec<DecisionSegment> = files.segments()?.into_iter().filter(DecisionSegment::is_sealed).collect();
    // Of a segment that is rewritten meanwhile the record holds what was there before, so that it is exported again.
    let states: Vec<(String, String)> =
        segments.iter().map(|segment| (segment.name(), segment.fingerprint())).collect();
    // Once a pass is enough: what is exported in this one retention may have after the next.
    let done = states.iter().filter(|(name, print)| book.has(name, print));
    files.set_exported(PARQUET_EXPORTER, done.map(|(name, print)| (name.as_str(), print.as_str())))?;
    let mut opened = None;
    for (segment, (name, print)) in segments.iter().zip(&states) {
        if book.has(name, print) {
            continue;
        }
        let exporter = match &mut opened {
            Some(exporter) => exporter,
            none => none.insert(open()?),
        };
        let exported = exporter.export(&files, segment, 0..i64::MAX).await?;
        for file in book.outdated(name, &exported) {
            exporter.remove(file).await?;
        }
        book.add(name, print, exported.files)?;
    }
    book.keep(&states.into_iter().map(|(name, _)| name).collect())
}

/// Record of what was exported.
#[derive(Debug)]
struct ExportBook {
    path: PathBuf,
    /// Folder or bucket of the exports.
    destination: String,
    /// By the segment's name: `DESTINATION FINGERPRINT` at the time of the export, and the files that it became.
    segments: HashMap<String, (String, Vec<String>)>,
}

impl ExportBook {
    /// Reads the record of a log; one that is missing or damaged is empty, and everything is exported again.
    fn read(folder: &Path, destination: &str) -> Self {
        let path = folder.join(EXPORTED);
        let segments =
            std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { path, destination: destination.to_owned(), segments }
    }

    /// True if the destination has the segment `name` with this fingerprint: neither rewritten since, as by an erasure, nor
    /// exported elsewhere.
    fn has(&self, name: &str, print: &str) -> bool {
        self.segments.get(name).is_some_and(|(state, _)| *state == self.state(print))
    }

    fn state(&self, print: &str) -> String {
        format!("{} {print}", self.destination)
    }

    /// Files that an earlier export of the segment wrote to the same destination and that `exported` does not replace.
    fn outdated<'a>(&'a self, name: &str, exported: &'a ExportedSegment) -> impl Iterator<Item = &'a String> {
        let here = format!("{} ", self.destination);
        let before = self.segments.get(name).filter(|(state, _)| state.starts_with(&here));
        before.into_iter().flat_map(|(_, files)| files).filter(|file| !exported.files.contains(file))
    }

    fn add(&mut self, name: &str, print: &str, files: Vec<String>) -> Result<(), ExportError> {
        self.segments.insert(name.to_owned(), (self.state(print), files));
        self.write()
    }

    /// Forgets the segments whose names are not in `known`, those of the log: what retention removed stays in the export.
    fn keep(&mut self, known: &HashSet<String>) -> Result<(), ExportError> {
        let before = self.segments.len();
        self.segments.retain(|name, _| known.contains(name));
        if self.segments.len() == before { Ok(()) } else { self.write() }
    }

    fn write(&self) -> Result<(), ExportError> {
        let written = serde_json::to_vec(&self.segments).map_err(std::io::Error::from);
        written.and_then(|bytes| replace_durably(&self.path, &bytes)).map_err(ExportError::at(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::Reasons;
    use crate::models::RegistryFailure;
    use serin_artifacts::Artifacts;
    use serin_decisions::{DecidingModel, DecisionIds, DecisionLog, LogLimits, NewDecision};
    use serin_tracking::{ModelUri, ResolvedModel};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const NOW_MS: i64 = 1_764_064_800_000;

    /// Registry without a model.
    struct Nothing;

    impl ModelRegistry for Nothing {
        async fn resolve(&self, uri: &ModelUri) -> Result<ResolvedModel, RegistryFailure> {
            Err(format!("there is no {uri}").into())
        }
    }

    /// A log with one sealed segment, which holds a decision about each entity.
    fn sealed(folder: &Path, entities: &[&str]) {
        let (log, _) = DecisionLog::open(folder, LogLimits::default(), || NOW_MS).unwrap();
        let model = Arc::new(DecidingModel {
            name: "fraud".into(),
            version: "3".into(),
            sha256: [7; 32],
            threshold: 0.5,
            width: 2,
        });
        for entity in entities {
            let decision = NewDecision {
                id: DecisionIds::default().next(NOW_MS),
                transaction_id: "",
                entity,
                event_time_ms: None,
                features: &[1.0, 2.0],
                score: 0.25,
                alert: false,
                propensity: None,
                fallback: None,
                assigned: None,
                latency_ns: 1000,
            };
            log.append(&model, &[decision]).unwrap();
        }
        drop(log);
        // Whoever opens the folder next seals what the process before it left.
        let _ = DecisionLog::open(folder, LogLimits::default(), || NOW_MS).unwrap();
    }

    #[tokio::test]
    async fn a_segment_is_exported_once_and_again_when_it_was_rewritten() {
        let (log, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        sealed(log.path(), &["card-1", "card-2"]);
        let opened = AtomicUsize::new(0);
        let open = || {
            opened.fetch_add(1, Ordering::Relaxed);
            Ok(Exporter::new(Artifacts::local(out.path())?, Nothing, Reasons::None, NOW_MS))
        };
        let destination = out.path().display().to_string();
        let held = || std::fs::read_to_string(log.path().join("parquet.exported")).unwrap();
        export_sealed(log.path(), &destination, open).await.unwrap();
        let folder = out.path().join("model=fraud/version=3/hour=2025-11-25T10");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        assert_eq!((held().lines().count(), opened.load(Ordering::Relaxed)), (0, 1));
        export_sealed(log.path(), &destination, open).await.unwrap();
        assert_eq!((held().lines().count(), opened.load(Ordering::Relaxed)), (1, 1), "it is there, and may go");

        let erased = DecisionFiles::of(log.path()).erase("card-1").unwrap();
        assert_eq!(erased.decisions, 1);
        export_sealed(log.path(), &destination, open).await.unwrap();
        assert_eq!((held().lines().count(), opened.load(Ordering::Relaxed)), (0, 2), "rewritten, it is held again");

        assert_eq!(DecisionFiles::of(log.path()).erase("card-2").unwrap().decisions, 1);
        export_sealed(log.path(), &destination, open).await.unwrap();
        assert_eq!(std::fs::read_dir(&folder).map_or(0, |files| files.count()), 0, "no decision is left");
    }

    #[tokio::test]
    async fn another_destination_gets_every_segment() {
        let (log, out, other) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        sealed(log.path(), &["card-1"]);
        for folder in [out.path(), other.path()] {
            let open = || Ok(Exporter::new(Artifacts::local(folder)?, Nothing, Reasons::All, NOW_MS));
            export_sealed(log.path(), &folder.display().to_string(), open).await.unwrap();
            assert!(folder.join("model=fraud").is_dir());
        }
    }
}
