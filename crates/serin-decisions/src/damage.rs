//! Reports of what a reader of the log could not read.

use crate::error::LogError;
use std::fmt::{Display, Formatter};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Number of damages that a report lists one by one; what exceeds them is counted.
const LISTED: usize = 1000;

/// A range of a segment that is no record, or whose records cannot be attributed to a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Segment with the damage.
    pub file: PathBuf,
    /// Offset of the first damaged byte, counted from the start of the file.
    pub at: u64,
    /// Length of the damage in bytes. The bytes stay in the file.
    pub bytes: u64,
    /// Kind of the damage.
    pub kind: DamageKind,
}

/// Kind of a damage, and what is lost by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageKind {
    /// The bytes are no record: a flipped bit, a lost page, or the format of a later serin.
    NoRecord,
    /// Whole records that name a model whose own record was lost. They are given to nobody, since another model would
    /// take their place.
    ModelLost {
        /// Number of such records in the segment, from the first one at `at` on, not all of them next to each other.
        records: u64,
    },
}

impl Display for Damage {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { file, at, bytes, kind } = self;
        let file = file.display();
        match kind {
            DamageKind::NoRecord => write!(f, "{file}: {bytes} bytes from byte {at} on are no record"),
            DamageKind::ModelLost { records } => {
                write!(f, "{file}: {records} records from byte {at} on name a model whose record was lost")
            }
        }
    }
}

/// A file of the log that the operating system refused to read; the others were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// File that the operating system refused to read.
    pub file: PathBuf,
    /// The operating system's answer.
    pub error: ErrorKind,
}

impl Display for Unreadable {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.error)
    }
}

/// Report of one reading of the log: what it could not see. Reading never stops at damage.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a report names records that could not be read"]
pub struct ReadReport {
    /// True if the reading came to its end: neither the caller's closure nor a limit stopped it.
    pub complete: bool,
    /// Damages in the order in which they were met, at most 1,000.
    pub damages: Vec<Damage>,
    /// Number of damages beyond those in `damages`.
    pub more_damages: u64,
    /// Files that could not be read at all, or not to their end.
    pub unreadable: Vec<Unreadable>,
}

impl Default for ReadReport {
    fn default() -> Self {
        Self { complete: true, damages: Vec::new(), more_damages: 0, unreadable: Vec::new() }
    }
}

impl ReadReport {
    /// Returns whether every byte of every file that was looked at could be read.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damages.is_empty() && self.unreadable.is_empty()
    }

    /// Makes the first damage an error, for callers that can do nothing with a part of the log.
    ///
    /// # Errors
    /// When something could not be read.
    pub fn into_result(self) -> Result<(), LogError> {
        if let Some(Unreadable { file, error }) = self.unreadable.into_iter().next() {
            return Err(LogError::Io { path: file, source: error.into() });
        }
        match self.damages.into_iter().next() {
            Some(Damage { file, at, .. }) => Err(LogError::Damaged { file, at }),
            None => Ok(()),
        }
    }

    /// Writes what could not be read to the program's log as warnings: ten lines at most, then how many more there are.
    pub fn warn(&self) {
        const LINES: usize = 10;
        let damages = self.damages.iter().map(ToString::to_string);
        for line in self.unreadable.iter().map(ToString::to_string).chain(damages).take(LINES) {
            tracing::warn!("decision log: {line}");
        }
        let all = (self.unreadable.len() + self.damages.len()) as u64 + self.more_damages;
        if all > LINES as u64 {
            tracing::warn!("decision log: {} more damages", all - LINES as u64);
        }
    }

    /// Adds the report of another reading; the sum is complete only if both are.
    pub fn merge(&mut self, other: Self) {
        self.complete &= other.complete;
        self.more_damages += other.more_damages;
        self.unreadable.extend(other.unreadable);
        other.damages.into_iter().for_each(|damage| self.add(damage));
    }

    pub(crate) fn add(&mut self, damage: Damage) {
        if self.damages.len() < LISTED {
            self.damages.push(damage);
        } else {
            self.more_damages += 1;
        }
    }

    pub(crate) fn refuse(&mut self, file: &Path, error: &std::io::Error) {
        self.unreadable.push(Unreadable { file: file.to_owned(), error: error.kind() });
    }
}
