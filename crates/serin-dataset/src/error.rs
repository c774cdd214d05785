//! Errors between a path and a dataset.

use std::path::PathBuf;

/// Error that says why data could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The file cannot be opened or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// File that was read.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// No file has that name, or the glob matches none.
    #[error("no file matches {0:?}")]
    NoFile(String),
    /// The file is not what its name says.
    #[error("{}: {message}", path.display())]
    File {
        /// File that was read.
        path: PathBuf,
        /// Message that says what is wrong with the file.
        message: String,
    },
    /// One cell or line does not fit.
    #[error("{}:{line}: column {column:?}: {message}", path.display())]
    Cell {
        /// File that was read.
        path: PathBuf,
        /// Line in a CSV file (the header is line 1), row in a Parquet file (from 1).
        line: u64,
        /// Name of the column.
        column: String,
        /// Message that says what is wrong with the cell or line.
        message: String,
    },
    /// A column was asked for that the file does not have.
    #[error("there is no column {name:?} in {}{}", path.display(), suggestion.as_ref().map_or(String::new(), |s| format!("; did you mean {s:?}?")))]
    NoColumn {
        /// Name of the column that was asked for.
        name: String,
        /// File that lacks the column.
        path: PathBuf,
        /// Name of a column in the file that is spelled alike, if there is one.
        suggestion: Option<String>,
    },
    /// The request cannot be met; the text says why.
    #[error("{0}")]
    Request(String),
}
