//! Segments that retention keeps until an export has them.
//!
//! An exporter, in whatever process, keeps a file `EXPORTER.exported` in the log's folder: one line
//! `SEGMENT FINGERPRINT` for each segment that it has taken over. While such a file exists, retention removes only
//! segments that stand in all of them with their present fingerprint; so a segment that an erasure rewrote waits for the
//! exporter again. This holds for the limit of bytes, too: an exporter that is given up must be taken out.

use crate::durable::{folder_of, replace_durably, sync_folder};
use crate::error::LogError;
use crate::reader::{DecisionFiles, DecisionSegment};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

const EXPORTED: &str = "exported";

impl DecisionFiles {
    /// Says which segments an exporter has taken over, by name and fingerprint; all others wait for it from now on,
    /// also when there are none yet. The name of the exporter is made of letters, digits and `-`.
    ///
    /// # Errors
    /// When the folder cannot be written, or the name is another one.
    pub fn set_exported<'a>(
        &self,
        exporter: &str,
        segments: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), LogError> {
        let path = self.hold_of(exporter)?;
        let lines: String = segments.into_iter().map(|(name, fingerprint)| format!("{name} {fingerprint}\n")).collect();
        replace_durably(&path, lines.as_bytes()).map_err(LogError::at(&path))
    }

    /// Takes an exporter out: retention waits for it no longer.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn forget_exporter(&self, exporter: &str) -> Result<(), LogError> {
        let path = self.hold_of(exporter)?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| sync_folder(folder_of(&path))).map_err(LogError::at(&path)),
        }
    }

    fn hold_of(&self, exporter: &str) -> Result<PathBuf, LogError> {
        let path = self.folder().join(format!("{exporter}.{EXPORTED}"));
        if exporter.is_empty() || !exporter.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(LogError::at(&path)(std::io::ErrorKind::InvalidFilename.into()));
        }
        Ok(path)
    }
}

/// Name of the job that writes the log as Parquet, among the exporters that retention waits for.
pub const PARQUET_EXPORTER: &str = "parquet";

/// Segments that the exporters of a folder have taken over.
#[derive(Debug)]
pub(crate) struct Holds {
    /// For each exporter, the lines of its file: segments with their fingerprints.
    exporters: Vec<HashSet<String>>,
}

impl Holds {
    pub(crate) fn of(folder: &Path) -> Result<Self, LogError> {
        let mut exporters = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(LogError::at(folder))? {
            let path = entry.map_err(LogError::at(folder))?.path();
            if path.extension().is_some_and(|kind| kind == EXPORTED) {
                let text = std::fs::read_to_string(&path).map_err(LogError::at(&path))?;
                exporters.push(text.lines().map(str::to_owned).collect());
            }
        }
        Ok(Self { exporters })
    }

    /// Returns whether an exporter still needs the segment.
    pub(crate) fn keeps(&self, path: &Path) -> bool {
        if self.exporters.is_empty() {
            return false;
        }
        let segment = DecisionSegment::at(path);
        let line = format!("{} {}", segment.name(), segment.fingerprint());
        !self.exporters.iter().all(|exported| exported.contains(&line))
    }
}
