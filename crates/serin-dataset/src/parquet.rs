//! Parquet in, by record batches of the columns that are needed.

use crate::DatasetError;
use crate::dataset::{Cells, Collect, ColumnRequest};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMillisecondType};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use serin_scoring::ColumnKind;
use std::fs::File;
use std::path::Path;

const ROWS_PER_BATCH: usize = 16_384;

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, DatasetError> {
    let file = File::open(path).map_err(|source| DatasetError::Io { path: path.into(), source })?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| not_parquet(path, &e))
}

fn not_parquet(path: &Path, error: &dyn std::fmt::Display) -> DatasetError {
    DatasetError::File { path: path.into(), message: format!("cannot be read as Parquet: {error}") }
}

pub(crate) fn columns(path: &Path) -> Result<Vec<ColumnRequest>, DatasetError> {
    let builder = open(path)?;
    Ok(builder
        .schema()
        .fields()
        .iter()
        .filter_map(|field| Some(ColumnRequest { name: field.name().clone(), kind: kind_of(field.data_type())? }))
        .collect())
}

/// Kind of column for an Arrow type; `None` for types that no role can use (lists, structs, binary).
fn kind_of(data_type: &DataType) -> Option<ColumnKind> {
    match data_type {
        DataType::Boolean => Some(ColumnKind::Boolean),
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Some(ColumnKind::Timestamp),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(ColumnKind::Category { levels: Vec::new() }),
        DataType::Dictionary(_, value) => kind_of(value),
        other if other.is_numeric() => Some(ColumnKind::Number),
        _ => None,
    }
}

pub(crate) fn read(
    path: &Path,
    builder: &mut dyn Collect,
    report: &mut dyn FnMut(usize, u64),
) -> Result<(), DatasetError> {
    let reader = open(path)?;
    let total = reader.metadata().file_metadata().num_rows().max(0) as usize;
    let size = std::fs::metadata(path).map_or(0, |meta| meta.len());
    let schema = reader.schema().clone();
    let mut roots = Vec::with_capacity(builder.wanted().len());
    for wanted in builder.wanted() {
        let Ok(index) = schema.index_of(&wanted.name) else {
            return Err(DatasetError::NoColumn { name: wanted.name.clone(), path: path.into(), suggestion: None });
        };
        let kind = kind_of(schema.field(index).data_type());
        if kind.as_ref().map(std::mem::discriminant) != Some(std::mem::discriminant(&wanted.kind)) {
            let before = if builder.is_for_a_model() { "when the model was trained" } else { "in the first file" };
            let message = format!("column {:?} has another type than {before}", wanted.name);
            return Err(DatasetError::File { path: path.into(), message });
        }
        roots.push(index);
    }
    let mask = ProjectionMask::roots(reader.parquet_schema(), roots);
    let reader: ParquetRecordBatchReader =
        reader.with_projection(mask).with_batch_size(ROWS_PER_BATCH).build().map_err(|e| not_parquet(path, &e))?;
    builder.reserve(total);
    let mut done = 0;
    for batch in reader {
        let batch = batch.map_err(|e| not_parquet(path, &e))?;
        let mut cells = Vec::with_capacity(builder.wanted().len());
        for wanted in builder.wanted() {
            let column = batch.column_by_name(&wanted.name);
            let column = column.ok_or_else(|| not_parquet(path, &format!("column {:?} vanished", wanted.name)))?;
            cells.push(to_cells(column).map_err(|e| not_parquet(path, &format!("column {:?}: {e}", wanted.name)))?);
        }
        let first = done as u64 + 1;
        builder.push(&cells, path, &|row| first + row as u64)?;
        done += batch.num_rows();
        report(batch.num_rows(), if total == 0 { size } else { size * done as u64 / total as u64 });
    }
    Ok(())
}

fn to_cells(column: &ArrayRef) -> Result<Cells, arrow::error::ArrowError> {
    let data_type = match column.data_type() {
        DataType::Dictionary(_, value) => value.as_ref().clone(),
        other => other.clone(),
    };
    Ok(match data_type {
        DataType::Boolean => Cells::Booleans(cast(column, &DataType::Boolean)?.as_boolean().iter().collect()),
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            let millis = cast(column, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
            Cells::Times(millis.as_primitive::<TimestampMillisecondType>().iter().collect())
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let texts = cast(column, &DataType::Utf8)?;
            Cells::Texts(texts.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect())
        }
        other if other.is_integer() && other != DataType::UInt64 => {
            Cells::Integers(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().iter().collect())
        }
        _ => {
            let numbers = cast(column, &DataType::Float64)?;
            let numbers = numbers.as_primitive::<Float64Type>();
            Cells::Numbers(if numbers.null_count() == 0 {
                numbers.values().to_vec()
            } else {
                numbers.iter().map(|value| value.unwrap_or(f64::NAN)).collect()
            })
        }
    })
}
