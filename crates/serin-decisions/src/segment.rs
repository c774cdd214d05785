//! One segment: written, sealed, recovered, removed.

use crate::error::LogError;
use crate::record::{self, Frames, LoggedModel as DecidingModel, MAGIC, NewDecision, NewShadow};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Steps of the clock that are too small to matter, milliseconds; readers allow for more.
pub(crate) const CLOCK_STEP_MS: i64 = 60_000;

const OPEN: &str = "open";
const SEALED: &str = "seg";

/// When segments are sealed, and when they go.
#[derive(Debug, Clone, Copy)]
pub struct LogLimits {
    /// A segment is sealed from this size on, in bytes.
    pub segment_bytes: u64,
    /// A segment is sealed at this age, milliseconds.
    pub segment_age_ms: i64,
    /// Sealed segments older than this are removed, milliseconds.
    pub keep_ms: Option<i64>,
    /// The oldest sealed segments are removed while there is more than this, bytes.
    pub keep_bytes: Option<u64>,
}

impl Default for LogLimits {
    /// 64 MiB or an hour; everything is kept.
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, segment_age_ms: 3_600_000, keep_ms: None, keep_bytes: None }
    }
}

/// What an earlier process left behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Segments that were sealed.
    pub segments: usize,
    /// Bytes of torn records that were cut.
    pub torn_bytes: u64,
}

/// What is written.
pub(crate) enum Entry<'a> {
    Decision(&'a NewDecision<'a>),
    Shadow(&'a NewShadow),
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
}

impl Segment {
    pub(crate) fn create(folder: &Path, now_ms: i64, process: u32, number: usize) -> Result<Self, LogError> {
        let path = folder.join(format!("{now_ms:013}-{process:08x}-{number}.{OPEN}"));
        let failed = LogError::at(&path);
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
        // Tells others that its writer lives.
        file.lock().map_err(failed)?;
        if let Err(source) = file.write_all(MAGIC) {
            drop(std::fs::remove_file(&path));
            return Err(LogError::at(&path)(source));
        }
        Ok(Self { path, file, length: MAGIC.len() as u64, created_ms: now_ms, models: Vec::new(), buffer: Vec::new() })
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

    pub(crate) fn append<'a>(
        &mut self,
        model: &Arc<DecidingModel>,
        entries: impl Iterator<Item = Entry<'a>>,
    ) -> Result<(), LogError> {
        self.buffer.clear();
        let known = self.models.iter().position(|known| Arc::ptr_eq(known, model));
        let number = known.unwrap_or(self.models.len());
        let number = u16::try_from(number).map_err(|_| LogError::TooManyModels)?;
        if known.is_none() {
            record::put_model(&mut self.buffer, number, model);
        }
        for entry in entries {
            match entry {
                Entry::Decision(decision) => record::put_decision(&mut self.buffer, number, decision),
                Entry::Shadow(shadow) => record::put_shadow(&mut self.buffer, number, shadow),
            }
        }
        // One call: a process that is killed leaves all of a request, or a tail that recovery cuts.
        if let Err(source) = self.file.write_all(&self.buffer) {
            // What got there of it must not stand before the next record.
            let cut = self.file.set_len(self.length).and_then(|()| self.file.seek(SeekFrom::Start(self.length)));
            if let Err(error) = cut {
                tracing::error!("{}: a torn record cannot be cut: {error}", self.path.display());
            }
            return Err(LogError::at(&self.path)(source));
        }
        if known.is_none() {
            self.models.push(Arc::clone(model));
        }
        self.length += self.buffer.len() as u64;
        // One huge request must not hold its memory for ever.
        if self.buffer.capacity() > 1 << 20 {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// Syncs it and gives it its last name; removes it when nothing was decided.
    pub(crate) fn seal(self) -> Result<(), LogError> {
        let failed = LogError::at(&self.path);
        if !self.has_records() {
            return std::fs::remove_file(&self.path).map_err(failed);
        }
        self.file.sync_all().map_err(failed)?;
        std::fs::rename(&self.path, self.path.with_extension(SEALED)).map_err(failed)
    }
}

/// Segments of a folder in order of their creation, with that time; `open` ones too where asked.
pub(crate) fn list(folder: &Path, open: bool) -> Result<Vec<(i64, PathBuf)>, LogError> {
    let failed = LogError::at(folder);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        if kind != SEALED && !(open && kind == OPEN) {
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(created_ms) = name.split('-').next().and_then(|time| time.parse().ok()) {
            found.push((created_ms, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a live process writes it.
pub(crate) fn is_written(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == OPEN)
        && File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Seals what dead processes left behind.
pub(crate) fn recover(folder: &Path) -> Result<Recovered, LogError> {
    let mut recovered = Recovered::default();
    for (_, path) in list(folder, true)? {
        if path.extension().is_none_or(|kind| kind != OPEN) {
            continue;
        }
        let failed = LogError::at(&path);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            // Another process has just sealed it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(failed(source)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let bytes = std::fs::read(&path).map_err(failed)?;
        let (mut records, mut whole) = (0_u64, 0);
        if let Some(mut frames) = Frames::of(&bytes) {
            while frames.next_record().is_some() {
                records += 1;
            }
            whole = frames.whole();
        }
        recovered.torn_bytes += (bytes.len() - whole) as u64;
        if records == 0 {
            std::fs::remove_file(&path).map_err(failed)?;
            continue;
        }
        file.set_len(whole as u64).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&path, path.with_extension(SEALED)).map_err(failed)?;
        recovered.segments += 1;
    }
    Ok(recovered)
}

/// Removes sealed segments that are kept no longer.
pub(crate) fn expire(folder: &Path, limits: &LogLimits, now_ms: i64) -> Result<(), LogError> {
    if limits.keep_ms.is_none() && limits.keep_bytes.is_none() {
        return Ok(());
    }
    let segments = list(folder, false)?;
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    let mut total: u64 = segments.iter().map(|(_, path)| size(path)).sum();
    for (created_ms, path) in segments {
        // Its last decision is at most a segment's age younger than its first.
        let last_ms = created_ms.saturating_add(limits.segment_age_ms);
        let old = limits.keep_ms.is_some_and(|keep| now_ms.saturating_sub(last_ms) > keep);
        if !old && limits.keep_bytes.is_none_or(|keep| total <= keep) {
            break;
        }
        total -= size(&path);
        std::fs::remove_file(&path).map_err(LogError::at(&path))?;
    }
    Ok(())
}
