//! What can go wrong between a path and a dataset.

use std::path::PathBuf;

/// Why data could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The file cannot be opened or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// File.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// No file has that name, or the glob matches none.
    #[error("no file matches {0:?}")]
    NoFile(String),
    /// The file is not what its name says.
    #[error("{}: {message}", path.display())]
    File {
        /// File.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// One cell or line does not fit.
    #[error("{}:{line}: column {column:?}: {message}", path.display())]
    Cell {
        /// File.
        path: PathBuf,
        /// Line in a CSV file (the header is line 1), row in a Parquet file (from 1).
        line: u64,
        /// Column name.
        column: String,
        /// What is wrong.
        message: String,
    },
    /// A column was asked for that is not there.
    #[error("there is no column {name:?} in {}{}", path.display(), suggestion.as_ref().map_or(String::new(), |s| format!("; did you mean {s:?}?")))]
    NoColumn {
        /// Asked for.
        name: String,
        /// File.
        path: PathBuf,
        /// A column with a similar name.
        suggestion: Option<String>,
    },
    /// The request cannot be met.
    #[error("{0}")]
    Request(String),
}
