//! Failures of the decision log, by what the caller can do about them.

use std::path::{Path, PathBuf};

/// A failed read or write of decision files.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refused a file or folder: full disk, missing permission, vanished mount.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder that was being read or written.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A segment holds bytes that are no record. What stands before and behind them can be read.
    #[error("{}: damaged at byte {at}; the records around the damage can be read", file.display())]
    Damaged {
        /// Segment with the damage.
        file: PathBuf,
        /// Offset of the first byte that is no record, counted from the start of the file.
        at: u64,
    },
    /// A decision has another number of features than its model reads; it would be unreadable.
    #[error("a decision of {found} features was given to the log for a model of {expected}")]
    Width {
        /// Number of features that the model reads.
        expected: usize,
        /// Number of features of the decision.
        found: usize,
    },
    /// One segment would hold more than 65,536 models.
    #[error("a segment holds at most 65,536 models")]
    TooManyModels,
}

impl LogError {
    /// Makes an error that names the file or folder at which the operating system failed.
    pub(crate) fn at(path: &Path) -> impl Fn(std::io::Error) -> Self + Copy + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
