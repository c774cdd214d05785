//! Two files compared column by column, as Evidently 0.7.23 would compare them.

mod column;
mod page;

pub use column::{ColumnComparison, Histogram, LeftOut, Methods};

use column::{comparable, compare_columns};
use serde_json::Value;
use serin_analysis::drift::evidently::{ColumnDrift, evidently_report};
use serin_dataset::{DatasetError, Table, TableColumn};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Error that says why two files could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum FileDriftError {
    /// A file cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A column of the reference is not in the current file.
    #[error("column {column:?} of {reference} is not in {current}")]
    MissingColumn {
        /// Name of the column.
        column: String,
        /// Pattern of the reference.
        reference: String,
        /// Pattern of the current file.
        current: String,
    },
    /// A column was there when the file was opened and is not there any more.
    #[error("column {column:?} of {file} vanished")]
    Vanished {
        /// Name of the column.
        column: String,
        /// Pattern of the file.
        file: String,
    },
    /// The comparison of a column panicked.
    #[error("a column could not be compared; the log says why")]
    Panicked,
    /// Every column was left out.
    #[error("there is no column of numbers or categories to compare: {}", list(.0))]
    NothingToCompare(Vec<(String, LeftOut)>),
}

/// Writes the columns that were left out as one line, each with the reason.
fn list(left_out: &[(String, LeftOut)]) -> String {
    left_out.iter().map(|(name, reason)| format!("{name} ({reason})")).collect::<Vec<_>>().join(", ")
}

/// What to compare, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct DriftOptions {
    /// Names of the columns to compare; empty for all of the reference.
    pub columns: Vec<String>,
    /// Test and threshold of each column, kind, or of all.
    pub methods: Methods,
    /// Share of drifted columns, 0 to 1, from which the whole has drifted.
    pub drift_share: f64,
    /// True if the page is to be made, whose histograms cost time.
    pub histograms: bool,
}

/// Step of a comparison that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriftStep {
    /// Bytes of a file are read.
    Reading,
    /// The columns of both files are compared one by one.
    Comparing,
}

/// Observer of a comparison: the step, how much of it is done, and how much there is in all.
pub type DriftProgress<'a> = &'a (dyn Fn(DriftStep, u64, u64) + Sync);

/// Comparison of two files.
#[derive(Debug)]
pub struct FileDrift {
    /// Columns that were compared, in the reference's order.
    pub columns: Vec<ColumnComparison>,
    /// Names of the columns that were not compared, and why.
    pub left_out: Vec<(String, LeftOut)>,
    /// Share of drifted columns, 0 to 1, from which the whole has drifted.
    pub drift_share: f64,
}

impl FileDrift {
    /// Number of columns that have drifted.
    #[must_use]
    pub fn drifted(&self) -> usize {
        self.columns.iter().filter(|column| column.tested.as_ref().is_ok_and(|drift| drift.drifted)).count()
    }

    /// Share of the compared columns that have drifted, 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.drifted() as f64 / self.columns.len().max(1) as f64
    }

    /// True if the share of drifted columns is that of a drift of the whole.
    #[must_use]
    pub fn has_drifted(&self) -> bool {
        self.share() >= self.drift_share
    }

    /// Returns the result in the shape of Evidently's reports, with the columns whose test could be made.
    #[must_use]
    pub fn evidently(&self) -> Value {
        let tested = |column: &ColumnComparison| Some(ColumnDrift::of(&column.name, column.tested.as_ref().ok()?));
        let tested: Vec<ColumnDrift> = self.columns.iter().filter_map(tested).collect();
        evidently_report(&tested, self.drift_share)
    }

    /// Returns the result as one HTML page for a person, with the names of the files.
    #[must_use]
    pub fn page(&self, reference: &str, current: &str) -> String {
        page::page(reference, current, self)
    }
}

/// Compares the files that two patterns name.
///
/// # Errors
/// When a file cannot be read, lacks a column of the reference, or no column can be compared.
pub fn compare_files(
    reference: &str,
    current: &str,
    options: &DriftOptions,
    progress: DriftProgress<'_>,
) -> Result<FileDrift, FileDriftError> {
    let open = |pattern| ComparedFile::open(pattern, &options.columns, progress);
    let files = [open(reference)?, open(current)?];
    if let Some(column) = files[0].names.iter().find(|name| !files[1].names.contains(name)) {
        let (reference, current) = (reference.to_owned(), current.to_owned());
        return Err(FileDriftError::MissingColumn { column: column.clone(), reference, current });
    }
    let (mut columns, mut left_out) = (Vec::new(), Vec::new());
    for (name, compared) in files[0].names.iter().zip(compare_all(&files, options, progress)?) {
        match compared {
            Ok(column) => columns.push(column),
            Err(reason) => left_out.push((name.clone(), reason)),
        }
    }
    if columns.is_empty() {
        return Err(FileDriftError::NothingToCompare(left_out));
    }
    Ok(FileDrift { columns, left_out, drift_share: options.drift_share })
}

/// One of the two files.
struct ComparedFile {
    pattern: String,
    names: Vec<String>,
    /// Columns of CSV, which is read in one go; those of Parquet are read one by one, so that few are in memory.
    whole: Option<Mutex<BTreeMap<String, TableColumn>>>,
}

impl ComparedFile {
    fn open(pattern: &str, only: &[String], progress: DriftProgress<'_>) -> Result<Self, FileDriftError> {
        let (names, single) = Table::names(pattern)?;
        let only = (!only.is_empty()).then_some(only);
        let names = only.map_or(names, <[String]>::to_vec);
        let read = || -> Result<_, FileDriftError> {
            let table = Table::read(pattern, only, &mut |_, done, all| progress(DriftStep::Reading, done, all))?;
            let columns = table.columns.into_iter().map(|column| (column.name.clone(), column));
            Ok(Mutex::new(columns.collect()))
        };
        Ok(Self { pattern: pattern.to_owned(), names, whole: if single { None } else { Some(read()?) } })
    }

    /// Takes a column out, so that its memory is free when it has been compared.
    fn take(&self, name: &str) -> Result<TableColumn, FileDriftError> {
        let column = match &self.whole {
            Some(columns) => columns.lock().unwrap_or_else(PoisonError::into_inner).remove(name),
            None => Table::read(&self.pattern, Some(&[name.to_owned()]), &mut |_, _, _| {})?.columns.pop(),
        };
        column.ok_or_else(|| FileDriftError::Vanished { column: name.to_owned(), file: self.pattern.clone() })
    }
}

/// A column of the result: compared, or left out.
type Compared = Result<ColumnComparison, LeftOut>;

/// Compares every column, on as many threads as there are cores; in the reference's order.
fn compare_all(
    files: &[ComparedFile; 2],
    options: &DriftOptions,
    progress: DriftProgress<'_>,
) -> Result<Vec<Compared>, FileDriftError> {
    let names = &files[0].names;
    let (next, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let compare = |name: &String| -> Result<Compared, FileDriftError> {
        let pair = comparable(files[0].take(name)?, files[1].take(name)?);
        Ok(pair.map(|pair| compare_columns(name.clone(), pair, &options.methods, options.histograms)))
    };
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(name) = names.get(number) else { return Ok(done) };
            done.push((number, compare(name)?));
            let finished = finished.fetch_add(1, Ordering::Relaxed) + 1;
            progress(DriftStep::Comparing, finished as u64, names.len() as u64);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(names.len().max(1));
    let results: Vec<Result<Vec<_>, FileDriftError>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or(Err(FileDriftError::Panicked))).collect()
    });
    let mut compared = Vec::new();
    for result in results {
        compared.extend(result?);
    }
    compared.sort_by_key(|(number, _)| *number);
    Ok(compared.into_iter().map(|(_, compared)| compared).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &std::path::Path, name: &str, text: &str) -> String {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn options() -> DriftOptions {
        DriftOptions { columns: Vec::new(), methods: Methods::default(), drift_share: 0.5, histograms: true }
    }

    #[test]
    fn a_file_is_compared_with_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let rows = |shift: usize| {
            (0..200).map(|i| format!("{}.5,{},2025-01-01T00:00:00\n", i + shift, i % 2)).collect::<String>()
        };
        let reference = file(folder.path(), "a.csv", &format!("amount,night,at\n{}", rows(0)));
        let current = file(folder.path(), "b.csv", &format!("amount,night,at\n{}", rows(500)));
        let steps = Mutex::new(Vec::new());
        let drift = compare_files(&reference, &current, &options(), &|step, done, all| {
            steps.lock().unwrap().push((step, done, all));
        })
        .unwrap();
        let names: Vec<&str> = drift.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["amount", "night"]);
        assert_eq!(drift.left_out, [("at".to_owned(), LeftOut::Times)]);
        assert_eq!((drift.drifted(), drift.share(), drift.has_drifted()), (1, 0.5, true));
        assert_eq!(drift.evidently()["metrics"].as_array().map(Vec::len), Some(3));
        let page = drift.page("a & b", "c");
        assert!(page.contains("a &amp; b") && page.contains("Drift: 1 of 2 columns"), "{page}");
        assert!(steps.lock().unwrap().contains(&(DriftStep::Comparing, 3, 3)));
    }

    #[test]
    fn what_cannot_be_compared_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let reference = file(folder.path(), "a.csv", "amount,at\n1.5,2025-01-01T00:00:00\n");
        let current = file(folder.path(), "b.csv", "at\n2025-01-02T00:00:00\n");
        let refused = |options: &DriftOptions| {
            compare_files(&reference, &current, options, &|_, _, _| {}).unwrap_err().to_string()
        };
        assert!(refused(&options()).contains("column \"amount\" of"), "{}", refused(&options()));
        let only = DriftOptions { columns: vec!["at".into()], ..options() };
        assert!(refused(&only).ends_with("to compare: at (points in time)"), "{}", refused(&only));
    }
}
