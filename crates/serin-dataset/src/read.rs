//! One entry for every format: expand the path, look at the first file, stream all of them.

use crate::dataset::{Builder, Collect, ColumnRequest, Dataset, Roles};
use crate::{DatasetError, csv, parquet};
use std::path::{Path, PathBuf};

/// Told after every chunk: rows so far, and the bytes read of all bytes.
pub type Progress<'a> = &'a mut dyn FnMut(usize, u64, u64);

/// Reads the files that `pattern` names (a path, or a glob such as `data/2018-*.parquet`) in name order.
///
/// # Errors
/// With file, line and column where a cell does not fit; files must agree in their columns.
pub fn read(pattern: &str, roles: &Roles, progress: Progress<'_>) -> Result<Dataset, DatasetError> {
    let builder = read_into(pattern, progress, |available, path| Builder::new(roles, available, path))?;
    let dataset = builder.finish();
    if dataset.rows() == 0 {
        return Err(DatasetError::File { path: pattern.into(), message: "there are no rows".into() });
    }
    Ok(dataset)
}

/// Columns of the first of the files, and whether it is Parquet.
pub(crate) fn columns_of(pattern: &str) -> Result<(Vec<ColumnRequest>, bool), DatasetError> {
    let first = &expand(pattern)?[0];
    let parquet = is_parquet(first);
    Ok((if parquet { parquet::columns(first)? } else { csv::columns(first)? }, parquet))
}

/// Streams the files into what `begin` makes for the columns of the first one.
pub(crate) fn read_into<C: Collect>(
    pattern: &str,
    progress: Progress<'_>,
    begin: impl FnOnce(&[ColumnRequest], &Path) -> Result<C, DatasetError>,
) -> Result<C, DatasetError> {
    let paths = expand(pattern)?;
    let mut total = 0;
    for path in &paths {
        total += std::fs::metadata(path).map_err(|source| DatasetError::Io { path: path.clone(), source })?.len();
    }
    let first = &paths[0];
    let available = if is_parquet(first) { parquet::columns(first)? } else { csv::columns(first)? };
    let mut builder = begin(&available, first)?;
    let (mut rows, mut done) = (0, 0);
    for path in &paths {
        let size = std::fs::metadata(path).map_or(0, |meta| meta.len());
        let mut report = |more: usize, bytes: u64| {
            rows += more;
            progress(rows, done + bytes.min(size), total);
        };
        if is_parquet(path) {
            parquet::read(path, &mut builder, &mut report)?;
        } else {
            csv::read(path, &mut builder, &mut report)?;
        }
        done += size;
    }
    Ok(builder)
}

pub(crate) fn is_parquet(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("parquet") || extension.eq_ignore_ascii_case("pq"))
}

fn expand(pattern: &str) -> Result<Vec<PathBuf>, DatasetError> {
    let literal = PathBuf::from(pattern);
    if literal.is_file() {
        return Ok(vec![literal]);
    }
    let matches = glob::glob(pattern).map_err(|e| DatasetError::Request(format!("{pattern:?}: {e}")))?;
    let mut paths: Vec<PathBuf> = matches.filter_map(Result::ok).filter(|path| path.is_file()).collect();
    paths.sort();
    if paths.is_empty() { Err(DatasetError::NoFile(pattern.to_owned())) } else { Ok(paths) }
}
