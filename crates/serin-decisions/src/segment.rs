//! One segment: made, written, sealed.

use crate::durable::{folder_of, sync_folder};
use crate::error::LogError;
use crate::record::{self, LoggedModel as DecidingModel, MAGIC, NewDecision, NewShadow};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Greatest step of the clock that is too small to matter, milliseconds; readers allow for more.
pub(crate) const CLOCK_STEP_MS: i64 = 60_000;

/// Ending of the file name of a segment that is written, or that a dead process left.
pub(crate) const OPEN: &str = "open";
/// Ending of the file name of a segment to which nothing more is written.
pub(crate) const SEALED: &str = "seg";
/// Ending of the file name of a segment that is being made.
pub(crate) const FRESH: &str = "fresh";

/// Ending of the file name of an index.
pub(crate) const INDEX: &str = "idx";
/// Ending of the file name of columns.
pub(crate) const COLUMNS: &str = "col";
/// Endings of the names of files that are made of a sealed segment, stand beside it, and go with it.
pub(crate) const BESIDE: [&str; 2] = [INDEX, COLUMNS];

/// Limits at which segments are sealed, and at which they are removed.
#[derive(Debug, Clone, Copy)]
pub struct LogLimits {
    /// Size from which a segment is sealed, bytes.
    pub segment_bytes: u64,
    /// Age at which a segment is sealed, milliseconds.
    pub segment_age_ms: i64,
    /// Age from which sealed segments are removed, milliseconds; none keeps them.
    pub keep_ms: Option<i64>,
    /// Size of the log above which the oldest sealed segments are removed, bytes; none keeps them.
    pub keep_bytes: Option<u64>,
}

impl Default for LogLimits {
    /// Segments are sealed at 64 MiB or an hour; everything is kept.
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, segment_age_ms: 3_600_000, keep_ms: None, keep_bytes: None }
    }
}

/// Records of one model that are written together.
#[derive(Clone, Copy)]
pub(crate) enum Entries<'a> {
    Decisions(&'a [NewDecision<'a>]),
    Shadows(&'a [NewShadow]),
}

/// A segment that is being written. Dropped unsealed, it is sealed by the next process.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    file: File,
    length: u64,
    created_ms: i64,
    models: Vec<Arc<DecidingModel>>,
    buffer: Vec<u8>,
    /// True after a failed write whose bytes could not be cut: nothing may be written behind them.
    is_torn: bool,
}

impl Segment {
    /// Makes a segment. It takes its name only when it is locked, so that no recovery takes it for a dead process's.
    pub(crate) fn create(folder: &Path, now_ms: i64, process: u32, number: usize) -> Result<Self, LogError> {
        let path = folder.join(format!("{now_ms:013}-{process:08x}-{number}.{OPEN}"));
        let fresh = path.with_extension(FRESH);
        let failed = LogError::at(&path);
        let mut file = OpenOptions::new().write(true).create_new(true).open(&fresh).map_err(failed)?;
        // Tells others that its writer lives.
        let begun = file.lock().and_then(|()| file.write_all(MAGIC)).and_then(|()| std::fs::rename(&fresh, &path));
        if let Err(source) = begun {
            drop(std::fs::remove_file(&fresh));
            return Err(failed(source));
        }
        Ok(Self {
            path,
            file,
            length: MAGIC.len() as u64,
            created_ms: now_ms,
            models: Vec::new(),
            buffer: Vec::new(),
            is_torn: false,
        })
    }

    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    pub(crate) fn has_records(&self) -> bool {
        self.length > MAGIC.len() as u64
    }

    pub(crate) fn created_ms(&self) -> i64 {
        self.created_ms
    }

    /// Returns whether the segment ends with a torn record that could not be cut.
    pub(crate) fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// Writes the records of one request, all of them or none.
    pub(crate) fn append<'a>(
        &mut self,
        groups: impl Iterator<Item = (&'a Arc<DecidingModel>, Entries<'a>)>,
    ) -> Result<(), LogError> {
        let known = self.models.len();
        let written = self.encode(groups).and_then(|()| self.write());
        if written.is_err() {
            self.models.truncate(known);
        }
        written
    }

    fn encode<'a>(
        &mut self,
        groups: impl Iterator<Item = (&'a Arc<DecidingModel>, Entries<'a>)>,
    ) -> Result<(), LogError> {
        self.buffer.clear();
        for (model, entries) in groups {
            let number = self.number_of(model)?;
            match entries {
                Entries::Decisions(decisions) => {
                    for decision in decisions {
                        if decision.features.len() != model.width {
                            return Err(LogError::Width { expected: model.width, found: decision.features.len() });
                        }
                        record::put_decision(&mut self.buffer, number, decision);
                    }
                }
                Entries::Shadows(shadows) => {
                    shadows.iter().for_each(|shadow| record::put_shadow(&mut self.buffer, number, shadow));
                }
            }
        }
        Ok(())
    }

    /// Returns the model's number in this segment; its record is written before its first decision.
    fn number_of(&mut self, model: &Arc<DecidingModel>) -> Result<u16, LogError> {
        let known = self.models.iter().position(|known| Arc::ptr_eq(known, model));
        let number = u16::try_from(known.unwrap_or(self.models.len())).map_err(|_| LogError::TooManyModels)?;
        if known.is_none() {
            record::put_model(&mut self.buffer, number, model);
            self.models.push(Arc::clone(model));
        }
        Ok(number)
    }

    /// Hands the buffer to the kernel. One call: a process that is killed leaves all of a request, or a tail that
    /// recovery cuts.
    fn write(&mut self) -> Result<(), LogError> {
        if let Err(source) = self.file.write_all(&self.buffer) {
            self.is_torn = self.cut().is_err();
            return Err(LogError::at(&self.path)(source));
        }
        self.length += self.buffer.len() as u64;
        // One huge request must not hold its memory for ever.
        if self.buffer.capacity() > 1 << 20 {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// Cuts what got into the file of a failed write.
    fn cut(&mut self) -> std::io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length)).map(drop)
    }

    /// Syncs it, gives it its last name and syncs the folder; removes it when nothing was decided. Where a torn record
    /// can still not be cut, the segment stays for the next recovery, and readers read it as it is.
    pub(crate) fn seal(mut self) -> Result<PathBuf, LogError> {
        if self.is_torn {
            self.cut().map_err(LogError::at(&self.path))?;
        }
        let failed = LogError::at(&self.path);
        let sealed = self.path.with_extension(SEALED);
        if !self.has_records() {
            std::fs::remove_file(&self.path).map_err(failed)?;
            return Ok(sealed);
        }
        self.file.sync_all().map_err(failed)?;
        std::fs::rename(&self.path, &sealed).and_then(|()| sync_folder(folder_of(&sealed))).map_err(failed)?;
        Ok(sealed)
    }
}

/// Lists the segments of a folder in order of their creation, with that time (epoch milliseconds); `open` ones too where
/// asked.
pub(crate) fn list(folder: &Path, open: bool) -> Result<Vec<(i64, PathBuf)>, LogError> {
    let failed = LogError::at(folder);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        if kind != SEALED && !(open && kind == OPEN) {
            continue;
        }
        if let Some(created_ms) = created_ms(&path) {
            found.push((created_ms, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Removes what was made of a segment and stands beside it. It can be made again, and what stays is removed when a process
/// opens the log.
pub(crate) fn remove_beside(path: &Path) {
    BESIDE.iter().for_each(|ending| drop(std::fs::remove_file(path.with_extension(ending))));
}

/// Returns the bytes that a sealed segment takes, with what stands beside it.
pub(crate) fn size_on_disk(path: &Path) -> u64 {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    size(path) + BESIDE.iter().map(|ending| size(&path.with_extension(ending))).sum::<u64>()
}

/// Returns when the segment of that name was begun, epoch milliseconds; none where a file is called otherwise.
pub(crate) fn created_ms(path: &Path) -> Option<i64> {
    path.file_name()?.to_str()?.split_once('-')?.0.parse().ok()
}

/// Returns whether a live process writes the segment.
pub(crate) fn is_written(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == OPEN)
        && File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment on a device that takes no byte and cannot be cut.
    fn on_a_full_device(folder: &Path) -> Segment {
        let mut segment = Segment::create(folder, 1, 1, 1).unwrap();
        segment.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        segment
    }

    // R22
    #[test]
    fn a_segment_whose_torn_record_cannot_be_cut_says_so_and_is_not_sealed() {
        let folder = tempfile::tempdir().unwrap();
        let mut segment = on_a_full_device(folder.path());
        let model = Arc::new(DecidingModel {
            name: "m".into(),
            version: "1".into(),
            sha256: [0; 32],
            threshold: 0.5,
            width: 0,
        });
        let shadows = [NewShadow { id: [0; 16], score: 0.5, alert: false }];
        assert!(!segment.is_torn());
        let failed = segment.append(std::iter::once((&model, Entries::Shadows(&shadows))));
        assert!(matches!(failed, Err(LogError::Io { .. })), "{failed:?}");
        assert!(segment.is_torn() && segment.models.is_empty());
        segment.seal().unwrap_err();
        assert!(list(folder.path(), false).unwrap().is_empty());
    }
}
