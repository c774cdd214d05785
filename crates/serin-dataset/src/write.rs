//! Simulated transactions to Parquet or CSV, with the 23 columns of the published data.

use crate::simulate::{NULLABLE, Simulation, Transaction};
use arrow::array::{ArrayRef, Float64Array, Int32Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

/// Why the file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", path.display())]
pub struct WriteError {
    path: std::path::PathBuf,
    message: String,
}

/// Ids, time and flags come before the amount and the windowed columns in `NULLABLE`'s order.
const LEADING: [&str; 10] = [
    "TRANSACTION_ID",
    "TX_DATETIME",
    "CUSTOMER_ID",
    "TERMINAL_ID",
    "TX_TIME_SECONDS",
    "TX_TIME_DAYS",
    "TX_FRAUD",
    "TX_FRAUD_SCENARIO",
    "TX_DURING_WEEKEND",
    "TX_DURING_NIGHT",
];

/// Runs the simulation into `path` (`.parquet`, else CSV) and returns the number of rows; `progress` is told
/// the day after each. The file appears under its name only when it is complete.
///
/// # Errors
/// When the file cannot be written.
pub fn write_transactions(
    simulation: &Simulation,
    path: &Path,
    progress: &mut dyn FnMut(u32),
) -> Result<u64, WriteError> {
    let failed = |message: String| WriteError { path: path.into(), message };
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let file = BufWriter::new(File::create(partial).map_err(|e| failed(e.to_string()))?);
    let mut rows = 0;
    if path.extension().is_some_and(|extension| extension == "parquet") {
        let schema = schema();
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let mut writer =
            ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties)).map_err(|e| failed(e.to_string()))?;
        simulation.run(|day, transactions| {
            rows += transactions.len() as u64;
            let batch = batch(&schema, transactions).map_err(|e| failed(e.to_string()))?;
            writer.write(&batch).map_err(|e| failed(e.to_string()))?;
            progress(day);
            Ok(())
        })?;
        writer.close().map_err(|e| failed(e.to_string()))?;
    } else {
        let mut file = file;
        let header = LEADING.iter().chain(&NULLABLE).copied().collect::<Vec<_>>().join(",");
        writeln!(file, "{header}").map_err(|e| failed(e.to_string()))?;
        simulation.run(|day, transactions| {
            rows += transactions.len() as u64;
            for transaction in transactions {
                csv_line(&mut file, transaction).map_err(|e| failed(e.to_string()))?;
            }
            progress(day);
            Ok(())
        })?;
        file.flush().map_err(|e| failed(e.to_string()))?;
    }
    std::fs::rename(partial, path).map_err(|e| failed(e.to_string()))?;
    Ok(rows)
}

fn schema() -> Arc<Schema> {
    let kind = |name: &str| match name {
        "TX_DATETIME" => DataType::Timestamp(TimeUnit::Microsecond, None),
        _ => DataType::Int32,
    };
    let leading = LEADING.iter().map(|name| Field::new(*name, kind(name), false));
    let values = NULLABLE.iter().map(|name| Field::new(*name, DataType::Float64, true));
    Arc::new(Schema::new(leading.chain(values).collect::<Vec<_>>()))
}

fn leading(t: &Transaction) -> [i64; 10] {
    let day = t.seconds / 86_400;
    [
        i64::from(t.id),
        t.time_ms() * 1_000,
        i64::from(t.customer),
        i64::from(t.terminal),
        t.seconds,
        day,
        i64::from(t.scenario > 0),
        i64::from(t.scenario),
        i64::from(t.during_weekend()),
        i64::from(t.during_night()),
    ]
}

fn batch(schema: &Arc<Schema>, transactions: &[Transaction]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let heads: Vec<[i64; 10]> = transactions.iter().map(leading).collect();
    let tails: Vec<[f64; 13]> = transactions.iter().map(Transaction::columns).collect();
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(23);
    for column in 0..LEADING.len() {
        let values = heads.iter().map(|row| row[column]);
        arrays.push(match column {
            1 => Arc::new(TimestampMicrosecondArray::from_iter_values(values)),
            _ => Arc::new(Int32Array::from_iter_values(values.map(|value| value as i32))),
        });
    }
    for column in 0..NULLABLE.len() {
        let values = tails.iter().map(|row| Some(row[column]).filter(|value| !value.is_nan()));
        arrays.push(Arc::new(values.collect::<Float64Array>()));
    }
    RecordBatch::try_new(Arc::clone(schema), arrays)
}

fn csv_line(out: &mut impl Write, t: &Transaction) -> std::io::Result<()> {
    let head = leading(t);
    let time = jiff::Timestamp::from_millisecond(t.time_ms()).map_err(std::io::Error::other)?;
    write!(out, "{},{}", head[0], time.strftime("%Y-%m-%d %H:%M:%S"))?;
    for value in &head[2..] {
        write!(out, ",{value}")?;
    }
    for value in t.columns() {
        if value.is_nan() {
            out.write_all(b",")?;
        } else {
            write!(out, ",{value}")?;
        }
    }
    out.write_all(b"\n")
}
