//! The matrix that training works on, built chunk by chunk.

use crate::DatasetError;
use crate::timestamp::{epoch_number, parse_timestamp};
use serin_scoring::{Column, ColumnKind, Signature};
use std::collections::HashMap;
use std::path::Path;

/// Names of the columns that play a part in training.
#[derive(Debug, Clone, Default)]
pub struct Roles {
    /// Column of labels, 0/1 or true/false: 1 is fraud.
    pub label: String,
    /// Column with the time of the event.
    pub time: Option<String>,
    /// Column with the card or customer, for card precision.
    pub entity: Option<String>,
    /// Column with the amount of money, for cost. Stays a feature.
    pub amount: Option<String>,
    /// Column with the number of rows that each row stands for; never a feature.
    pub weight: Option<String>,
    /// Features in this order, or none at all; None takes every column that is not label, time or entity.
    pub features: Option<Vec<String>>,
    /// Names of columns that are never features.
    pub exclude: Vec<String>,
    /// A model's columns: they become the features, in its order and with its encodings, so that the rows mean
    /// what they meant in training. Replaces `features`; a text that the model does not know is missing, as in
    /// serving.
    pub signature: Option<Signature>,
}

/// Rows ready for training or evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Columns of `features`, in their order, with their encodings.
    pub signature: Signature,
    /// Features, row-major, `signature.columns.len()` in a row; NaN is missing.
    pub features: Vec<f32>,
    /// Label of each row: 1 for fraud, 0 for genuine.
    pub labels: Vec<f32>,
    /// Time of each row's event, epoch milliseconds; empty without a time column.
    pub times: Vec<i64>,
    /// Entity key of each row (an integer itself, the hash of a text); empty without an entity column.
    pub entities: Vec<u64>,
    /// Amount of money of each row; empty without an amount column.
    pub amounts: Vec<f64>,
    /// Number of rows that each row stands for, above 0; empty where each stands for itself.
    pub weights: Vec<f32>,
}

impl Dataset {
    /// Number of rows in the dataset.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.labels.len()
    }

    /// Number of features in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.signature.columns.len()
    }

    /// Appends the rows of another dataset with the same columns.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        debug_assert_eq!(self.signature, other.signature);
        let before = self.rows();
        self.features.extend_from_slice(&other.features);
        self.labels.extend_from_slice(&other.labels);
        self.times.extend_from_slice(&other.times);
        self.entities.extend_from_slice(&other.entities);
        self.amounts.extend_from_slice(&other.amounts);
        if !self.weights.is_empty() || !other.weights.is_empty() {
            self.weights.resize(before, 1.0);
            self.weights.extend_from_slice(&other.weights);
            self.weights.resize(self.labels.len(), 1.0);
        }
        self
    }

    /// Copies the given rows, in the given order.
    #[must_use]
    pub fn take(&self, rows: &[usize]) -> Self {
        let width = self.width();
        let mut features = Vec::with_capacity(rows.len() * width);
        for &row in rows {
            features.extend_from_slice(&self.features[row * width..(row + 1) * width]);
        }
        Self {
            signature: self.signature.clone(),
            features,
            labels: rows.iter().map(|&row| self.labels[row]).collect(),
            times: pick(&self.times, rows),
            entities: pick(&self.entities, rows),
            amounts: pick(&self.amounts, rows),
            weights: pick(&self.weights, rows),
        }
    }
}

fn pick<T: Copy>(values: &[T], rows: &[usize]) -> Vec<T> {
    if values.is_empty() { Vec::new() } else { rows.iter().map(|&row| values[row]).collect() }
}

/// One column of one chunk, as a file format delivers it.
#[derive(Debug)]
pub(crate) enum Cells {
    /// Numbers, one for each row; NaN is missing.
    Numbers(Vec<f64>),
    /// Whole numbers, exact (ids beyond 2^53).
    Integers(Vec<Option<i64>>),
    Booleans(Vec<Option<bool>>),
    /// Times, epoch milliseconds, one for each row; `None` is missing.
    Times(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
}

/// A column that some role needs: its place in the file's chunk, and its inferred kind.
#[derive(Debug, Clone)]
pub(crate) struct ColumnRequest {
    pub(crate) name: String,
    pub(crate) kind: ColumnKind,
}

/// Takes what a file format delivers, chunk by chunk.
pub(crate) trait Collect {
    /// Columns to deliver, in this order.
    fn wanted(&self) -> &[ColumnRequest];
    /// True if the column types are those of a model, false if they are those of the first file.
    fn is_for_a_model(&self) -> bool;
    /// Announces the number of rows that will come.
    fn reserve(&mut self, rows: usize);
    /// A chunk; `line_of` names a row of the chunk in the file.
    fn push(&mut self, columns: &[Cells], path: &Path, line_of: &dyn Fn(usize) -> u64) -> Result<(), DatasetError>;
}

/// Collects chunks into a [`Dataset`].
#[derive(Debug)]
pub(crate) struct Builder {
    wanted: Vec<ColumnRequest>,
    feature_positions: Vec<usize>,
    label: usize,
    time: Option<usize>,
    entity: Option<usize>,
    amount: Option<usize>,
    weight: Option<usize>,
    levels: Vec<HashMap<String, usize>>,
    /// Given: its encodings are closed.
    signature: Option<Signature>,
    nullable: Vec<bool>,
    features: Vec<f32>,
    labels: Vec<f32>,
    times: Vec<i64>,
    entities: Vec<u64>,
    amounts: Vec<f64>,
    weights: Vec<f32>,
}

impl Collect for Builder {
    fn wanted(&self) -> &[ColumnRequest] {
        &self.wanted
    }

    fn is_for_a_model(&self) -> bool {
        self.signature.is_some()
    }

    fn reserve(&mut self, rows: usize) {
        self.features.reserve_exact(rows.saturating_mul(self.feature_positions.len()));
        self.labels.reserve_exact(rows);
        if self.time.is_some() {
            self.times.reserve_exact(rows);
        }
        if self.entity.is_some() {
            self.entities.reserve_exact(rows);
        }
        if self.amount.is_some() {
            self.amounts.reserve_exact(rows);
        }
        if self.weight.is_some() {
            self.weights.reserve_exact(rows);
        }
    }

    fn push(&mut self, columns: &[Cells], path: &Path, line_of: &dyn Fn(usize) -> u64) -> Result<(), DatasetError> {
        let rows = columns.first().map_or(0, Cells::len);
        let width = self.feature_positions.len();
        let start = self.features.len();
        self.features.resize(start + rows * width, f32::NAN);
        for (at, &position) in self.feature_positions.iter().enumerate() {
            let levels = &mut self.levels[position];
            let name = &self.wanted[position].name;
            let mut missing = false;
            for row in 0..rows {
                let value = feature(&columns[position], row, levels, self.signature.is_none());
                if value.is_infinite() {
                    let message = "infinite, or too large for float32".to_owned();
                    return Err(DatasetError::Cell {
                        path: path.into(),
                        line: line_of(row),
                        column: name.clone(),
                        message,
                    });
                }
                missing |= value.is_nan();
                self.features[start + row * width + at] = value;
            }
            self.nullable[position] |= missing;
        }
        let cell = |position: usize, row: usize, message: String| DatasetError::Cell {
            path: path.into(),
            line: line_of(row),
            column: self.wanted[position].name.clone(),
            message,
        };
        for row in 0..rows {
            let label = number(&columns[self.label], row);
            if label != 0.0 && label != 1.0 {
                return Err(cell(self.label, row, format!("a label is 0 or 1, found {label}")));
            }
            self.labels.push(label as f32);
            if let Some(position) = self.time {
                let time = time(&columns[position], row);
                self.times.push(time.ok_or_else(|| cell(position, row, "no timestamp that can be read".into()))?);
            }
            if let Some(position) = self.entity {
                let key = entity(&columns[position], row);
                self.entities.push(key.ok_or_else(|| cell(position, row, "an entity cannot be missing".into()))?);
            }
            if let Some(position) = self.amount {
                let amount = number(&columns[position], row);
                if !amount.is_finite() {
                    return Err(cell(position, row, "an amount cannot be missing".into()));
                }
                self.amounts.push(amount);
            }
            if let Some(position) = self.weight {
                let weight = number(&columns[position], row) as f32;
                if !weight.is_finite() || weight <= 0.0 {
                    return Err(cell(position, row, format!("a weight is above 0, found {weight}")));
                }
                self.weights.push(weight);
            }
        }
        Ok(())
    }
}

impl Builder {
    /// `available` are the file's columns with their kinds.
    pub(crate) fn new(roles: &Roles, available: &[ColumnRequest], path: &Path) -> Result<Self, DatasetError> {
        let known = |name: &str| roles.signature.as_ref()?.columns.iter().find(|column| column.name == name);
        let find = |name: &str| {
            let mut found = available.iter().find(|column| column.name == name).cloned();
            if let (Some(found), Some(known)) = (&mut found, known(name)) {
                found.kind = known.kind.clone();
            }
            found.ok_or_else(|| no_column(name, available, path))
        };
        let mut wanted: Vec<ColumnRequest> = Vec::new();
        let mut place = |column: ColumnRequest| match wanted.iter().position(|w| w.name == column.name) {
            Some(position) => position,
            None => {
                wanted.push(column);
                wanted.len() - 1
            }
        };
        let not_features: Vec<&str> =
            [Some(&roles.label), roles.time.as_ref(), roles.entity.as_ref(), roles.weight.as_ref()]
                .into_iter()
                .flatten()
                .map(String::as_str)
                .collect();
        let mut feature_positions = Vec::new();
        let of_model = roles.signature.as_ref().map(|s| s.columns.iter().map(|c| c.name.clone()).collect());
        match of_model.as_ref().or(roles.features.as_ref()) {
            Some(names) => {
                for name in names {
                    if *name == roles.label {
                        return Err(DatasetError::Request(format!("the label {name:?} cannot be a feature")));
                    }
                    feature_positions.push(place(find(name)?));
                }
            }
            None => {
                for name in &roles.exclude {
                    find(name)?;
                }
                for column in available {
                    if !not_features.contains(&column.name.as_str()) && !roles.exclude.contains(&column.name) {
                        feature_positions.push(place(column.clone()));
                    }
                }
            }
        }
        // An empty list is asked for where only labels are wanted.
        if feature_positions.is_empty() && roles.features.as_ref().is_none_or(|names| !names.is_empty()) {
            return Err(DatasetError::Request("no feature columns are left; name some with --features".into()));
        }
        let label = place(find(&roles.label)?);
        let mut optional = |name: &Option<String>| name.as_deref().map(|n| find(n).map(&mut place)).transpose();
        let time = optional(&roles.time)?;
        let entity = optional(&roles.entity)?;
        let amount = optional(&roles.amount)?;
        let weight = optional(&roles.weight)?;
        let count = wanted.len();
        let levels = wanted.iter().map(|column| match &column.kind {
            ColumnKind::Category { levels } => levels.iter().cloned().zip(0..).collect(),
            _ => HashMap::new(),
        });
        Ok(Self {
            levels: levels.collect(),
            signature: roles.signature.clone(),
            wanted,
            feature_positions,
            label,
            time,
            entity,
            amount,
            weight,
            nullable: vec![false; count],
            features: Vec::new(),
            labels: Vec::new(),
            times: Vec::new(),
            entities: Vec::new(),
            amounts: Vec::new(),
            weights: Vec::new(),
        })
    }

    pub(crate) fn finish(mut self) -> Dataset {
        let signature = self.signature.take().unwrap_or_else(|| self.sort_levels());
        Dataset {
            signature,
            features: self.features,
            labels: self.labels,
            times: self.times,
            entities: self.entities,
            amounts: self.amounts,
            weights: self.weights,
        }
    }

    /// Codes were given by first appearance; a file read in another order must give the same model.
    fn sort_levels(&mut self) -> Signature {
        let width = self.feature_positions.len();
        let mut columns = Vec::with_capacity(width);
        for (at, &position) in self.feature_positions.iter().enumerate() {
            let wanted = &self.wanted[position];
            let mut kind = wanted.kind.clone();
            if let ColumnKind::Category { levels } = &mut kind {
                let mut sorted: Vec<(String, usize)> = std::mem::take(&mut self.levels[position]).into_iter().collect();
                sorted.sort();
                let mut code_of = vec![0.0f32; sorted.len()];
                for (code, (_, provisional)) in sorted.iter().enumerate() {
                    code_of[*provisional] = code as f32;
                }
                for row in 0..self.labels.len() {
                    let cell = &mut self.features[row * width + at];
                    if !cell.is_nan() {
                        *cell = code_of[*cell as usize];
                    }
                }
                *levels = sorted.into_iter().map(|(text, _)| text).collect();
            }
            columns.push(Column { name: wanted.name.clone(), kind, nullable: self.nullable[position] });
        }
        Signature { columns }
    }
}

impl Cells {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Numbers(v) => v.len(),
            Self::Integers(v) | Self::Times(v) => v.len(),
            Self::Booleans(v) => v.len(),
            Self::Texts(v) => v.len(),
        }
    }
}

/// A text that `levels` does not have gets the next code where they `grow`, else it is missing.
fn feature(cells: &Cells, row: usize, levels: &mut HashMap<String, usize>, grow: bool) -> f32 {
    match cells {
        Cells::Times(v) => v[row].map_or(f32::NAN, |ms| (ms as f64 / 1e3) as f32),
        Cells::Texts(v) => v[row].as_ref().map_or(f32::NAN, |text| {
            let next = levels.len();
            match levels.get(text) {
                Some(code) => *code as f32,
                None if !grow => f32::NAN,
                None => {
                    levels.insert(text.clone(), next);
                    next as f32
                }
            }
        }),
        other => number(other, row) as f32,
    }
}

fn number(cells: &Cells, row: usize) -> f64 {
    match cells {
        Cells::Numbers(v) => v[row],
        Cells::Integers(v) => v[row].map_or(f64::NAN, |i| i as f64),
        Cells::Booleans(v) => v[row].map_or(f64::NAN, |b| f64::from(u8::from(b))),
        Cells::Times(_) | Cells::Texts(_) => f64::NAN,
    }
}

fn time(cells: &Cells, row: usize) -> Option<i64> {
    match cells {
        Cells::Times(v) => v[row],
        Cells::Texts(v) => parse_timestamp(v[row].as_deref()?),
        other => epoch_number(number(other, row)),
    }
}

fn entity(cells: &Cells, row: usize) -> Option<u64> {
    match cells {
        Cells::Integers(v) => v[row].map(|i| i as u64),
        Cells::Texts(v) => v[row].as_deref().map(|text| fnv(text.as_bytes())),
        Cells::Numbers(v) => {
            (!v[row].is_nan()).then(|| if v[row].fract() == 0.0 { v[row] as i64 as u64 } else { v[row].to_bits() })
        }
        Cells::Booleans(_) | Cells::Times(_) => None,
    }
}

/// Keys that a text has in [`Dataset::entities`]: in a column of texts, and in one of whole numbers.
pub fn keys_of(text: &str) -> impl Iterator<Item = u64> {
    std::iter::once(fnv(text.as_bytes())).chain(text.parse::<i64>().ok().map(i64::cast_unsigned))
}

/// FNV-1a, 64 bit: stable across runs, which std's hasher is not.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

fn no_column(name: &str, available: &[ColumnRequest], path: &Path) -> DatasetError {
    let lower = name.to_lowercase();
    let suggestion = available
        .iter()
        .map(|column| &column.name)
        .find(|other| {
            let other = other.to_lowercase();
            other == lower || other.contains(&lower) || lower.contains(&other)
        })
        .cloned();
    DatasetError::NoColumn { name: name.to_owned(), path: path.into(), suggestion }
}
