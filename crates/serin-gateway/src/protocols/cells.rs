//! JSON cells to encoded rows, checked one by one against the model's signature.

use serde_json::{Map, Value};
use serin_http::{ApiError, Detail, Place};
use serin_scoring::{CellError, ColumnValue, EncodedRows, RowEncoder, ScoringPackage, Signature};

/// Faults listed in one answer.
const MAX_DETAILS: usize = 20;

/// Path of a row in the body, such as `["body", "data", 3]`, made when it is needed.
pub(crate) type At<'a> = &'a dyn Fn() -> Vec<Place>;

/// Refuses no rows at all, and too many.
pub(crate) fn limited(rows: usize, max_rows: usize) -> Result<(), ApiError> {
    match rows {
        0 => Err(ApiError::invalid("there is no row to score")),
        rows if rows > max_rows => Err(ApiError::TooManyRows { rows, limit: max_rows }),
        _ => Ok(()),
    }
}

/// Encodes the cells of rows for a model, and collects what is wrong with them.
#[derive(Debug)]
pub(crate) struct Cells<'a> {
    signature: &'a Signature,
    rows: RowEncoder<'a>,
    faults: Vec<Detail>,
}

impl<'a> Cells<'a> {
    /// Cells of a package's rows, with room for `rows` of them.
    pub(crate) fn new(package: &'a ScoringPackage, rows: usize) -> Self {
        Self { signature: &package.signature, rows: package.encoder(rows), faults: Vec::new() }
    }

    /// The encoded rows, or what is wrong with the body.
    pub(crate) fn finish(self) -> Result<EncodedRows, ApiError> {
        if self.faults.is_empty() { Ok(self.rows.finish()) } else { Err(ApiError::Validation(self.faults)) }
    }

    /// Whether enough is wrong to stop looking.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.faults.len() >= MAX_DETAILS
    }

    pub(crate) fn fault(&mut self, kind: &'static str, loc: Vec<Place>, msg: impl Into<String>, input: &Value) {
        if self.faults.len() < MAX_DETAILS {
            self.faults.push(Detail { r#type: kind, loc, msg: msg.into(), input: shortened(input) });
        }
    }

    /// Rows of a list, by position or by name.
    pub(crate) fn rows(&mut self, rows: &[Value], named: bool, at: &dyn Fn(usize) -> Vec<Place>) {
        for (number, row) in rows.iter().enumerate() {
            match row {
                Value::Array(cells) if !named => self.positional(cells, row, &|| at(number)),
                Value::Object(cells) if named => self.named(cells, &|| at(number)),
                other => {
                    let (kind, msg) = match named {
                        false => ("list_type", "Input should be a valid list"),
                        true => ("dict_type", "Input should be a valid dictionary"),
                    };
                    self.fault(kind, at(number), msg, other);
                }
            }
            if self.is_hopeless() {
                break;
            }
        }
    }

    fn positional(&mut self, cells: &[Value], row: &Value, at: At<'_>) {
        let width = self.signature.columns.len();
        if cells.len() != width {
            let kind = if cells.len() < width { "too_short" } else { "too_long" };
            let msg = format!(
                "Row should have {width} values, not {}: the model's columns are {}",
                cells.len(),
                names(self.signature)
            );
            return self.fault(kind, at(), msg, row);
        }
        for (column, cell) in cells.iter().enumerate() {
            self.cell(column, cell, || [at(), vec![column.into()]].concat());
        }
    }

    /// A row by column names. Columns that may be missing may be left out.
    pub(crate) fn named(&mut self, cells: &Map<String, Value>, at: At<'_>) {
        let loc = |name: &str| [at(), vec![name.into()]].concat();
        for (name, value) in cells {
            if self.signature.position(name).is_none() {
                // A hint costs a look at every column, and nobody reads the hundredth.
                if self.is_hopeless() {
                    return;
                }
                let hint = no_column(self.signature, name);
                self.fault("extra_forbidden", loc(name), hint, value);
            }
        }
        for (index, column) in self.signature.columns.iter().enumerate() {
            match cells.get(&column.name) {
                Some(cell) => self.cell(index, cell, || loc(&column.name)),
                None => {
                    if self.rows.push(ColumnValue::Null).is_err() {
                        self.fault("missing", loc(&column.name), "Field required", &Value::Object(cells.clone()));
                    }
                }
            }
        }
    }

    /// Columns by their names, `rows` values each; `body` is what they stand in.
    pub(crate) fn columns(&mut self, columns: &[(&str, &[Value])], rows: usize, body: &'static str) {
        for number in 0..rows {
            let row = columns.iter().map(|(name, values)| ((*name).to_owned(), values[number].clone())).collect();
            self.named(&row, &|| vec![body.into(), number.into()]);
            if self.is_hopeless() {
                break;
            }
        }
    }

    /// One cell; the cells of a row come in the signature's order.
    pub(crate) fn cell(&mut self, column: usize, cell: &Value, loc: impl FnOnce() -> Vec<Place>) {
        debug_assert_eq!(column, self.rows.position(), "cells come in the order of the columns");
        let column = &self.signature.columns[column];
        let value = match cell {
            Value::Null => Some(ColumnValue::Null),
            Value::Bool(truth) => Some(ColumnValue::Boolean(*truth)),
            Value::Number(number) => number.as_f64().map(ColumnValue::Number),
            Value::String(text) => Some(ColumnValue::Text(text)),
            Value::Array(_) | Value::Object(_) => None,
        };
        // A list is encoded as missing, so that the cells behind it keep their columns.
        let encoded = self.rows.push(value.unwrap_or(ColumnValue::Null));
        let msg = match (value, encoded) {
            (None, _) => format!("Input should be a single value (column {:?})", column.name),
            (Some(_), Err(error)) => wrong(error, &column.name),
            (Some(_), Ok(())) => return,
        };
        self.fault("value_error", loc(), msg, cell);
    }
}

fn wrong(error: CellError, column: &str) -> String {
    format!("{error} (column {column:?})")
}

/// The faulty value, not a megabyte of it.
pub(crate) fn shortened(input: &Value) -> Value {
    match input {
        Value::String(text) if text.len() > 200 => Value::String(text.chars().take(200).collect::<String>() + "…"),
        Value::Array(items) if items.len() > 20 => Value::String(format!("a list of {} values", items.len())),
        Value::Object(fields) if fields.len() > 20 => Value::String(format!("an object of {} fields", fields.len())),
        other => other.clone(),
    }
}

pub(crate) fn no_column(signature: &Signature, name: &str) -> String {
    let lower = name.to_lowercase();
    let close = signature.columns.iter().find(|column| column.name.to_lowercase() == lower);
    let hint = close.map_or_else(
        || format!("the model's columns are {}", names(signature)),
        |column| format!("did you mean {:?}?", column.name),
    );
    format!("The model has no column {name:?}; {hint}")
}

fn names(signature: &Signature) -> String {
    signature.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
}
