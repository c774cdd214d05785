//! A dataset as Parquet, so that it is read back as the same dataset.

use crate::Dataset;
use crate::write::WriteError;
use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMillisecondArray, UInt8Array,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serin_scoring::ColumnKind;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Names of the columns beside the features.
pub const ROLE_COLUMNS: [&str; 5] = ["__label", "__time", "__entity", "__amount", "__weight"];
/// Rows written at once.
const BATCH: usize = 65_536;

/// Writes features under their names and, where there are any, the label, time, entity, amount and weight under
/// [`ROLE_COLUMNS`]. The file appears under its name only when it is complete.
///
/// # Errors
/// When it cannot be written.
pub fn write_dataset(dataset: &Dataset, path: &Path) -> Result<(), WriteError> {
    let failed = |message: String| WriteError::new(path, message);
    let mut fields: Vec<Field> = dataset
        .signature
        .columns
        .iter()
        .map(|column| {
            let kind = match column.kind {
                ColumnKind::Number => DataType::Float32,
                ColumnKind::Boolean => DataType::Boolean,
                ColumnKind::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, None),
                ColumnKind::Category { .. } => DataType::Utf8,
            };
            Field::new(&column.name, kind, true)
        })
        .collect();
    let roles = [
        (true, DataType::UInt8),
        (!dataset.times.is_empty(), DataType::Timestamp(TimeUnit::Millisecond, None)),
        (!dataset.entities.is_empty(), DataType::Int64),
        (!dataset.amounts.is_empty(), DataType::Float64),
        (!dataset.weights.is_empty(), DataType::Float32),
    ];
    for ((present, kind), name) in roles.into_iter().zip(ROLE_COLUMNS) {
        if present {
            fields.push(Field::new(name, kind, false));
        }
    }
    let schema = Arc::new(Schema::new(fields));
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let file = File::create(partial).map_err(|error| failed(error.to_string()))?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties));
    let mut writer = writer.map_err(|error| failed(error.to_string()))?;
    for start in (0..dataset.rows()).step_by(BATCH) {
        let arrays = arrays(dataset, start, (start + BATCH).min(dataset.rows()));
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(|error| failed(error.to_string()))?;
        writer.write(&batch).map_err(|error| failed(error.to_string()))?;
    }
    writer.close().map_err(|error| failed(error.to_string()))?;
    std::fs::rename(partial, path).map_err(|error| failed(error.to_string()))
}

fn arrays(dataset: &Dataset, from: usize, until: usize) -> Vec<ArrayRef> {
    let width = dataset.width();
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(width + 5);
    for (place, column) in dataset.signature.columns.iter().enumerate() {
        let values =
            (from..until).map(|row| Some(dataset.features[row * width + place]).filter(|value| !value.is_nan()));
        arrays.push(match &column.kind {
            ColumnKind::Number => Arc::new(values.collect::<Float32Array>()),
            ColumnKind::Boolean => Arc::new(values.map(|value| value.map(|v| v != 0.0)).collect::<BooleanArray>()),
            ColumnKind::Timestamp => {
                let ms = values.map(|value| value.map(|seconds| (f64::from(seconds) * 1e3) as i64));
                Arc::new(ms.collect::<TimestampMillisecondArray>())
            }
            ColumnKind::Category { levels } => {
                let text = |code: f32| levels.get(code as usize).map(String::as_str);
                Arc::new(values.map(|value| value.and_then(text)).collect::<StringArray>())
            }
        });
    }
    arrays.push(Arc::new(UInt8Array::from_iter_values(dataset.labels[from..until].iter().map(|label| *label as u8))));
    if !dataset.times.is_empty() {
        arrays.push(Arc::new(TimestampMillisecondArray::from(dataset.times[from..until].to_vec())));
    }
    if !dataset.entities.is_empty() {
        let keys = dataset.entities[from..until].iter().map(|key| key.cast_signed());
        arrays.push(Arc::new(Int64Array::from_iter_values(keys)));
    }
    if !dataset.amounts.is_empty() {
        arrays.push(Arc::new(Float64Array::from(dataset.amounts[from..until].to_vec())));
    }
    if !dataset.weights.is_empty() {
        arrays.push(Arc::new(Float32Array::from(dataset.weights[from..until].to_vec())));
    }
    arrays
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Roles, read};
    use serin_scoring::{Column, Signature};

    #[test]
    fn it_is_read_back_as_it_was() {
        let column = |name: &str, kind, nullable| Column { name: name.into(), kind, nullable };
        let levels = vec!["card".to_owned(), "wire".to_owned()];
        let dataset = Dataset {
            signature: Signature {
                columns: vec![
                    column("x", ColumnKind::Number, true),
                    column("flag", ColumnKind::Boolean, false),
                    column("at", ColumnKind::Timestamp, false),
                    column("kind", ColumnKind::Category { levels }, true),
                ],
            },
            features: vec![0.1, 1.0, 1_522_540_800.0, 1.0, f32::NAN, 0.0, 0.0, f32::NAN, -3e38, 1.0, 128.0, 0.0],
            labels: vec![1.0, 0.0, 0.0],
            times: vec![3, -1, 1_522_540_800_123],
            entities: vec![7, u64::MAX, 0],
            amounts: vec![0.1, 2.5, 1e9],
            weights: vec![1.0, 0.5, 20.0],
        };
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rows.parquet");
        write_dataset(&dataset, &path).expect("it is written");
        let [label, time, entity, amount, weight] = ROLE_COLUMNS.map(str::to_owned);
        let roles = Roles {
            label,
            time: Some(time),
            entity: Some(entity),
            amount: Some(amount),
            weight: Some(weight),
            features: Some(dataset.signature.columns.iter().map(|column| column.name.clone()).collect()),
            ..Roles::default()
        };
        let found = read(&path.display().to_string(), &roles, &mut |_, _, _| {}).expect("it is read");
        let bits = |dataset: &Dataset| dataset.features.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&found), bits(&dataset));
        let plain = |dataset: Dataset| Dataset { features: Vec::new(), ..dataset };
        assert_eq!(plain(found), plain(dataset));
    }
}
