//! Whole columns of a file, as they are: for looking at data, not for training.

use crate::DatasetError;
use crate::dataset::{Cells, Collect, ColumnRequest};
use crate::read::{Progress, columns_of, read_into};
use serin_scoring::ColumnKind;
use std::collections::HashMap;
use std::path::Path;

/// Values of a column, one for each row.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Numbers; NaN is missing.
    Numbers {
        /// Numbers, one for each row.
        values: Vec<f64>,
        /// True if all are there and whole: by type in Parquet, by value in CSV.
        whole: bool,
    },
    /// True or false for each row; `None` is missing.
    Booleans(Vec<Option<bool>>),
    /// Texts, as places in `levels`.
    Texts {
        /// Place of each row's text in `levels`; `None` is missing.
        codes: Vec<Option<u32>>,
        /// Different texts, in order of first appearance.
        levels: Vec<String>,
    },
    /// Points in time, epoch milliseconds, one for each row; `None` is missing.
    Times(Vec<Option<i64>>),
}

/// Column of a table, by its name.
#[derive(Debug, Clone, PartialEq)]
pub struct TableColumn {
    /// Name of the column.
    pub name: String,
    /// Values of the column, one for each row.
    pub values: Values,
}

/// Columns of one length, read from a file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// Columns, in the file's order.
    pub columns: Vec<TableColumn>,
}

impl Table {
    /// Names of the columns of the first file, and whether single ones are read without the others (Parquet).
    ///
    /// # Errors
    /// When there is no such file, or it cannot be read.
    pub fn names(pattern: &str) -> Result<(Vec<String>, bool), DatasetError> {
        let (available, parquet) = columns_of(pattern)?;
        Ok((available.into_iter().map(|column| column.name).collect(), parquet))
    }

    /// Reads the files that `pattern` names, all columns or those in `only`.
    ///
    /// # Errors
    /// With file, line and column where a cell does not fit; files must agree in their columns.
    pub fn read(pattern: &str, only: Option<&[String]>, progress: Progress<'_>) -> Result<Self, DatasetError> {
        let mut collected = read_into(pattern, progress, |available, path| Columns::new(available, only, path))?;
        for column in &mut collected.columns {
            if let Values::Numbers { values, whole } = &mut column.values {
                // A column with a hole in it is one of floats, as pandas has it.
                *whole = *whole && values.iter().all(|value| value.fract() == 0.0);
            }
        }
        Ok(Self { columns: collected.columns })
    }
}

struct Columns {
    wanted: Vec<ColumnRequest>,
    columns: Vec<TableColumn>,
    known: Vec<HashMap<String, u32>>,
}

impl Columns {
    fn new(available: &[ColumnRequest], only: Option<&[String]>, path: &Path) -> Result<Self, DatasetError> {
        let missing = only.into_iter().flatten().find(|name| !available.iter().any(|column| column.name == **name));
        if let Some(name) = missing {
            return Err(DatasetError::NoColumn { name: name.clone(), path: path.into(), suggestion: None });
        }
        let wanted: Vec<ColumnRequest> =
            available.iter().filter(|column| only.is_none_or(|only| only.contains(&column.name))).cloned().collect();
        let empty = |kind: &ColumnKind| match kind {
            ColumnKind::Number => Values::Numbers { values: Vec::new(), whole: true },
            ColumnKind::Boolean => Values::Booleans(Vec::new()),
            ColumnKind::Timestamp => Values::Times(Vec::new()),
            ColumnKind::Category { .. } => Values::Texts { codes: Vec::new(), levels: Vec::new() },
        };
        let columns =
            wanted.iter().map(|column| TableColumn { name: column.name.clone(), values: empty(&column.kind) });
        Ok(Self { columns: columns.collect(), known: vec![HashMap::new(); wanted.len()], wanted })
    }
}

impl Collect for Columns {
    fn wanted(&self) -> &[ColumnRequest] {
        &self.wanted
    }

    fn is_for_a_model(&self) -> bool {
        false
    }

    fn reserve(&mut self, rows: usize) {
        for column in &mut self.columns {
            match &mut column.values {
                Values::Numbers { values, .. } => values.reserve(rows),
                Values::Booleans(values) => values.reserve(rows),
                Values::Texts { codes, .. } => codes.reserve(rows),
                Values::Times(values) => values.reserve(rows),
            }
        }
    }

    fn push(&mut self, columns: &[Cells], path: &Path, _: &dyn Fn(usize) -> u64) -> Result<(), DatasetError> {
        for ((column, cells), known) in self.columns.iter_mut().zip(columns).zip(&mut self.known) {
            match (&mut column.values, cells) {
                (Values::Numbers { values, .. }, Cells::Integers(more)) => {
                    values.extend(more.iter().map(|value| value.map_or(f64::NAN, |value| value as f64)));
                }
                (Values::Numbers { values, whole }, Cells::Numbers(more)) => {
                    // Floats of Parquet are floats whatever they hold; CSV says nothing of its types.
                    *whole &= !crate::read::is_parquet(path);
                    values.extend_from_slice(more);
                }
                (Values::Booleans(values), Cells::Booleans(more)) => values.extend_from_slice(more),
                (Values::Times(values), Cells::Times(more)) => values.extend_from_slice(more),
                (Values::Texts { codes, levels }, Cells::Texts(more)) => {
                    codes.extend(more.iter().map(|text| {
                        let text = text.as_ref()?;
                        if let Some(code) = known.get(text) {
                            return Some(*code);
                        }
                        let code = levels.len() as u32;
                        levels.push(text.clone());
                        known.insert(text.clone(), code);
                        Some(code)
                    }));
                }
                _ => {
                    let message = format!("column {:?} has another type than in the first file", column.name);
                    return Err(DatasetError::File { path: path.into(), message });
                }
            }
        }
        Ok(())
    }
}
