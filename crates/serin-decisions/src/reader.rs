//! Reading a decision log, also while it is written.

use crate::error::LogError;
use crate::record::{Frames, LoggedDecision, LoggedModel, MAGIC, Record, time_of};
use crate::segment::{self, CLOCK_STEP_MS, is_written};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// The segments of a folder.
#[derive(Debug, Clone)]
pub struct DecisionFiles {
    folder: PathBuf,
}

/// One file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionSegment {
    created_ms: i64,
    path: PathBuf,
}

impl DecisionSegment {
    /// Whether nothing more is written to it.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.path.extension().is_some_and(|kind| kind == "seg")
    }

    /// Name of the file without its ending: it stays when the segment is sealed.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Whether it was last written so long before a point in time that it holds nothing from then on.
    fn is_older_than(&self, from_ms: i64) -> bool {
        const SLACK: Duration = Duration::from_secs(3600);
        let written = std::fs::metadata(&self.path).and_then(|found| found.modified());
        let from = u64::try_from(from_ms).ok().and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
        self.is_sealed()
            && written
                .is_ok_and(|written| from.is_some_and(|from| written.checked_add(SLACK).is_some_and(|w| w < from)))
    }

    /// When it was begun and what it holds, as far as the file system tells: both change when it is rewritten.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let found = std::fs::metadata(&self.path);
        let written = found.as_ref().ok().and_then(|found| found.modified().ok());
        let written = written.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        format!("{}-{}", found.map_or(0, |found| found.len()), written.as_nanos())
    }
}

/// What [`DecisionFiles::erase`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Decisions removed.
    pub decisions: usize,
    /// Segments that a live process writes, and that were left alone.
    pub open_segments: usize,
}

impl DecisionFiles {
    /// Of a folder.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Every decision made from `from_ms` and before `until_ms`, in the order of each segment. `each` says whether to
    /// go on.
    ///
    /// # Errors
    /// When a file cannot be read, or a sealed one is damaged; what is torn at the end of an open one is not yet
    /// there.
    pub fn read(
        &self,
        from_ms: i64,
        until_ms: i64,
        mut each: impl FnMut(&LoggedDecision<'_>) -> bool,
    ) -> Result<(), LogError> {
        self.records(from_ms, until_ms, |record| match record {
            Record::Decision(decision) => each(decision),
            Record::Shadow(_) => true,
        })
    }

    /// The models that made those decisions, each once by its SHA-256.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn models(&self, from_ms: i64, until_ms: i64) -> Result<Vec<Arc<LoggedModel>>, LogError> {
        let mut models: Vec<Arc<LoggedModel>> = Vec::new();
        self.read(from_ms, until_ms, |decision| {
            if !models.iter().any(|known| known.sha256 == decision.model.sha256) {
                models.push(Arc::clone(decision.model));
            }
            true
        })?;
        Ok(models)
    }

    /// Every record about a decision made from `from_ms` and before `until_ms`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn records(
        &self,
        from_ms: i64,
        until_ms: i64,
        mut each: impl FnMut(&Record<'_>) -> bool,
    ) -> Result<(), LogError> {
        for segment in self.segments()? {
            if segment.is_older_than(from_ms) {
                continue;
            }
            // A segment whose clock is set back is ended; smaller steps are allowed for.
            if segment.created_ms >= until_ms.saturating_add(2 * CLOCK_STEP_MS) {
                break;
            }
            if !self.read_segment(&segment, from_ms, until_ms, &mut each)? {
                break;
            }
        }
        Ok(())
    }

    /// Every segment, in the order in which they were begun.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn segments(&self) -> Result<Vec<DecisionSegment>, LogError> {
        let found = segment::list(&self.folder, true)?;
        Ok(found.into_iter().map(|(created_ms, path)| DecisionSegment { created_ms, path }).collect())
    }

    /// Every record of one segment about a decision made from `from_ms` and before `until_ms`; whether `each` said to
    /// go on. A segment that is gone holds none.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_segment(
        &self,
        segment: &DecisionSegment,
        from_ms: i64,
        until_ms: i64,
        mut each: impl FnMut(&Record<'_>) -> bool,
    ) -> Result<bool, LogError> {
        let path = &segment.path;
        let bytes = match std::fs::read(path).or_else(|_| std::fs::read(path.with_extension("seg"))) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
            Err(source) => return Err(LogError::at(path)(source)),
        };
        let Some(mut frames) = Frames::of(&bytes) else {
            return Err(damaged(path, 0));
        };
        while let Some((record, _)) = frames.next_record() {
            if (from_ms..until_ms).contains(&time_of(record.id())) && !each(&record) {
                return Ok(false);
            }
        }
        if frames.whole() < bytes.len() && segment.is_sealed() {
            return Err(damaged(path, frames.whole()));
        }
        Ok(true)
    }

    /// Every record about a decision made from `from_ms` and before `until_ms`, the segment begun last first and each
    /// segment in its own order, until `each` says not to go on or `most_bytes` were read; whether everything was seen.
    /// `each` is told with `None` that a segment is over.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn newest(
        &self,
        from_ms: i64,
        until_ms: i64,
        most_bytes: u64,
        mut each: impl FnMut(Option<&Record<'_>>) -> bool,
    ) -> Result<bool, LogError> {
        let mut left = most_bytes;
        for segment in self.segments()?.iter().rev() {
            let is_newer = segment.created_ms >= until_ms.saturating_add(2 * CLOCK_STEP_MS);
            if is_newer || segment.is_older_than(from_ms) {
                continue;
            }
            let size = std::fs::metadata(&segment.path).map_or(0, |found| found.len());
            if size > left {
                return Ok(false);
            }
            left -= size;
            let goes_on = self.read_segment(segment, from_ms, until_ms, |record| each(Some(record)))?;
            if !goes_on || !each(None) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Every record about one decision, in whatever segment it stands, until `each` says not to go on.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn about(&self, id: &[u8; 16], mut each: impl FnMut(&Record<'_>) -> bool) -> Result<(), LogError> {
        let at_ms = time_of(id);
        self.records(at_ms, at_ms.saturating_add(1), |record| record.id() != id || each(record))
    }

    /// Looks a decision up by its id; `found` is called once with it.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn find<T>(&self, id: &[u8; 16], found: impl FnOnce(&LoggedDecision<'_>) -> T) -> Result<Option<T>, LogError> {
        let (mut found, mut answer) = (Some(found), None);
        self.about(id, |record| {
            if let Record::Decision(decision) = record {
                answer = found.take().map(|found| found(decision));
            }
            found.is_some()
        })?;
        Ok(answer)
    }

    /// Removes every decision about an entity from the segments that no process writes.
    ///
    /// # Errors
    /// When a segment is damaged or cannot be written; each one is either as it was or without the entity.
    pub fn erase(&self, entity: &str) -> Result<Erased, LogError> {
        let mut erased = Erased::default();
        for (_, path) in segment::list(&self.folder, true)? {
            if is_written(&path) {
                erased.open_segments += 1;
                continue;
            }
            let failed = LogError::at(&path);
            let bytes = std::fs::read(&path).map_err(failed)?;
            let mut frames = Frames::of(&bytes).ok_or_else(|| damaged(&path, 0))?;
            let (mut kept, mut copied, mut removed) = (MAGIC.to_vec(), MAGIC.len(), 0);
            while let Some((record, frame)) = frames.next_record() {
                // What candidates said of it holds nothing of the entity's.
                let gone = matches!(&record, Record::Decision(decision) if decision.entity == entity);
                let end = frames.whole();
                // Models stand between decisions, and stay.
                kept.extend_from_slice(&bytes[copied..end - frame.len()]);
                if gone {
                    removed += 1;
                } else {
                    kept.extend_from_slice(frame);
                }
                copied = end;
            }
            if removed == 0 {
                continue;
            }
            let partial = path.with_extension("partial");
            let mut file = std::fs::File::create(&partial).map_err(failed)?;
            file.write_all(&kept).and_then(|()| file.sync_all()).map_err(failed)?;
            std::fs::rename(&partial, &path).map_err(failed)?;
            erased.decisions += removed;
        }
        Ok(erased)
    }
}

fn damaged(file: &Path, at: usize) -> LogError {
    LogError::Damaged { file: file.to_owned(), at: at as u64 }
}
