//! Checking every byte of a whole log.

use crate::damage::ReadReport;
use crate::error::LogError;
use crate::reader::DecisionFiles;
use std::path::{Path, PathBuf};

/// Report of a check of a whole log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "a check may have found damage"]
pub struct Verified {
    /// Number of segments that were read.
    pub segments: usize,
    /// Number of whole records in them.
    pub records: u64,
    /// Damages, records whose model was lost, and files that could not be read.
    pub report: ReadReport,
    /// Segments with records of an earlier time than their name allows: the clock was set back, or a file was renamed.
    /// Searches by time may pass such records over.
    pub misdated: Vec<PathBuf>,
}

impl Verified {
    /// Returns whether every byte of the log is a record that searches find.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.report.is_clean() && self.misdated.is_empty()
    }
}

/// Reads every byte of a log: the CRC of each frame, whether its model is known, and whether the records of a segment are
/// not older than the segment. Changes nothing.
///
/// # Errors
/// When the folder cannot be read.
pub fn verify(folder: &Path) -> Result<Verified, LogError> {
    let files = DecisionFiles::of(folder);
    let mut verified = Verified::default();
    for segment in files.segments()? {
        let mut is_misdated = false;
        let report = files.read_segment(&segment, i64::MIN, i64::MAX, |record| {
            verified.records += 1;
            is_misdated |= segment.is_begun_after(record);
            true
        });
        verified.segments += 1;
        if is_misdated {
            verified.misdated.push(segment.path().to_owned());
        }
        verified.report.merge(report);
    }
    Ok(verified)
}
