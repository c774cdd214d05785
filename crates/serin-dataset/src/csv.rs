//! CSV in (also .gz): types from the first rows, then line by line in chunks.

use crate::DatasetError;
use crate::dataset::{Cells, Collect, ColumnRequest};
use crate::timestamp::parse_timestamp;
use serin_scoring::ColumnKind;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows that decide a column's type.
const INFERENCE_ROWS: usize = 10_000;
const ROWS_PER_CHUNK: usize = 8_192;
const NULLS: [&str; 8] = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"];

struct Counted {
    file: File,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

type Lines = csv::Reader<Box<dyn Read>>;

fn open(path: &Path) -> Result<(Lines, Arc<AtomicU64>), DatasetError> {
    let file = File::open(path).map_err(|source| DatasetError::Io { path: path.into(), source })?;
    let bytes = Arc::new(AtomicU64::new(0));
    let counted = BufReader::with_capacity(1 << 16, Counted { file, bytes: Arc::clone(&bytes) });
    let gzip = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    let input: Box<dyn Read> =
        if gzip { Box::new(flate2::bufread::MultiGzDecoder::new(counted)) } else { Box::new(counted) };
    Ok((csv::ReaderBuilder::new().from_reader(input), bytes))
}

fn line_error(path: &Path, error: &csv::Error) -> DatasetError {
    let line = error.position().map_or(0, csv::Position::line);
    let message = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("line {line}: {len} fields, the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => format!("line {line}: not UTF-8"),
        _ => format!("line {line}: {error}"),
    };
    DatasetError::File { path: path.into(), message }
}

pub(crate) fn columns(path: &Path) -> Result<Vec<ColumnRequest>, DatasetError> {
    let (mut reader, _) = open(path)?;
    let names = reader.headers().map_err(|e| line_error(path, &e))?.clone();
    let mut seen: Vec<Option<ColumnKind>> = vec![None; names.len()];
    for record in reader.records().take(INFERENCE_ROWS) {
        let record = record.map_err(|e| line_error(path, &e))?;
        for (kind, field) in seen.iter_mut().zip(&record) {
            if !is_null(field) {
                *kind = Some(merge(kind.take(), kind_of(field)));
            }
        }
    }
    let mut wanted: Vec<ColumnRequest> = Vec::with_capacity(names.len());
    for (name, kind) in names.iter().zip(seen) {
        if wanted.iter().any(|column| column.name == name) {
            return Err(DatasetError::File { path: path.into(), message: format!("two columns are called {name:?}") });
        }
        wanted.push(ColumnRequest { name: name.to_owned(), kind: kind.unwrap_or(ColumnKind::Number) });
    }
    Ok(wanted)
}

fn is_null(field: &str) -> bool {
    NULLS.contains(&field.trim())
}

fn kind_of(field: &str) -> ColumnKind {
    if field.trim().parse::<f64>().is_ok() {
        ColumnKind::Number
    } else if boolean(field).is_some() {
        ColumnKind::Boolean
    } else if parse_timestamp(field).is_some() {
        ColumnKind::Timestamp
    } else {
        ColumnKind::Category { levels: Vec::new() }
    }
}

fn merge(before: Option<ColumnKind>, now: ColumnKind) -> ColumnKind {
    match before {
        None => now,
        Some(before) if before == now => now,
        Some(_) => ColumnKind::Category { levels: Vec::new() },
    }
}

fn boolean(field: &str) -> Option<bool> {
    match field.trim() {
        // Inference takes 1 and 0 for numbers first; they come here where a model says the column is a truth.
        "true" | "True" | "TRUE" | "1" => Some(true),
        "false" | "False" | "FALSE" | "0" => Some(false),
        _ => None,
    }
}

pub(crate) fn read(
    path: &Path,
    builder: &mut dyn Collect,
    report: &mut dyn FnMut(usize, u64),
) -> Result<(), DatasetError> {
    let (mut reader, bytes) = open(path)?;
    let names = reader.headers().map_err(|e| line_error(path, &e))?.clone();
    let mut places = Vec::with_capacity(builder.wanted().len());
    for wanted in builder.wanted() {
        let place = names.iter().position(|name| name == wanted.name);
        places.push(place.ok_or_else(|| DatasetError::NoColumn {
            name: wanted.name.clone(),
            path: path.into(),
            suggestion: None,
        })?);
    }
    let wanted = builder.wanted().to_vec();
    let for_a_model = builder.is_for_a_model();
    let mut record = csv::StringRecord::new();
    let mut lines: Vec<u64> = Vec::with_capacity(ROWS_PER_CHUNK);
    let mut cells = empty(&wanted);
    loop {
        let more = reader.read_record(&mut record).map_err(|e| line_error(path, &e))?;
        if more {
            let line = record.position().map_or(0, csv::Position::line);
            for ((column, place), cells) in wanted.iter().zip(&places).zip(&mut cells) {
                let field = record.get(*place).unwrap_or("");
                push(cells, field).map_err(|expected| DatasetError::Cell {
                    path: path.into(),
                    line,
                    column: column.name.clone(),
                    message: match for_a_model {
                        true => {
                            format!("{field:?} is not {expected}, as this column was when the model was trained")
                        }
                        false => format!(
                            "{field:?} is not {expected}, as the first {INFERENCE_ROWS} rows of this column are"
                        ),
                    },
                })?;
            }
            lines.push(line);
        }
        if lines.len() == ROWS_PER_CHUNK || (!more && !lines.is_empty()) {
            builder.push(&cells, path, &|row| lines[row])?;
            report(lines.len(), bytes.load(Ordering::Relaxed));
            lines.clear();
            cells = empty(&wanted);
        }
        if !more {
            return Ok(());
        }
    }
}

fn empty(wanted: &[ColumnRequest]) -> Vec<Cells> {
    wanted
        .iter()
        .map(|column| match column.kind {
            ColumnKind::Number => Cells::Numbers(Vec::with_capacity(ROWS_PER_CHUNK)),
            ColumnKind::Boolean => Cells::Booleans(Vec::with_capacity(ROWS_PER_CHUNK)),
            ColumnKind::Timestamp => Cells::Times(Vec::with_capacity(ROWS_PER_CHUNK)),
            ColumnKind::Category { .. } => Cells::Texts(Vec::with_capacity(ROWS_PER_CHUNK)),
        })
        .collect()
}

fn push(cells: &mut Cells, field: &str) -> Result<(), &'static str> {
    let null = is_null(field);
    match cells {
        Cells::Numbers(v) if null => v.push(f64::NAN),
        Cells::Numbers(v) => v.push(field.trim().parse().map_err(|_| "a number")?),
        Cells::Booleans(v) if null => v.push(None),
        Cells::Booleans(v) => v.push(Some(boolean(field).ok_or("true or false")?)),
        Cells::Times(v) | Cells::Integers(v) if null => v.push(None),
        Cells::Times(v) | Cells::Integers(v) => v.push(Some(parse_timestamp(field).ok_or("a timestamp")?)),
        Cells::Texts(v) => v.push((!null).then(|| field.to_owned())),
    }
    Ok(())
}
