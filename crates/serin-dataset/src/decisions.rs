//! Logged decisions to Parquet: one row a decision, one column a feature.

use crate::DatasetError;
use arrow::array::{
    ArrayRef, BooleanBuilder, Float32Builder, ListBuilder, RecordBatch, StringBuilder, TimestampMillisecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Number of rows that are gathered before they are encoded.
const BATCH: usize = 8192;
const ROW_GROUP: usize = 65_536;

/// One logged decision; texts that are empty become null in the file.
#[derive(Debug, Clone, Copy)]
pub struct DecisionRow<'a> {
    /// UUID of the decision, as text.
    pub decision_id: &'a str,
    /// Time of the decision, epoch milliseconds.
    pub at_ms: i64,
    /// Id of the transaction, as the caller named it.
    pub transaction_id: &'a str,
    /// Card, customer or terminal that the transaction is about.
    pub entity: &'a str,
    /// Time of the transaction, epoch milliseconds, where the caller gave it.
    pub event_time_ms: Option<i64>,
    /// Probability of fraud, 0 to 1.
    pub score: f32,
    /// Score from which a decision is an alert, 0 to 1.
    pub threshold: f32,
    /// True if the payment was alerted on, false if it passed.
    pub alert: bool,
    /// Probability with which exploration lets such an alert through, where the model alerted; it did where `alert`
    /// is false.
    pub propensity: Option<f32>,
    /// Name of the fallback that decided in the model's place; `None` where the model decided.
    pub fallback: Option<&'a str>,
    /// Time from the request to the decision, microseconds.
    pub latency_us: f32,
    /// Names of the columns that moved the score most, each with what it added to the margin; empty where nobody
    /// asked.
    pub reasons: &'a [(&'a str, f32)],
    /// Features of the decision, as many as the file has names; NaN (missing) becomes null.
    pub features: &'a [f32],
}

/// Writes one file; it appears under its name when it is finished.
#[derive(Debug)]
pub struct DecisionWriter {
    path: PathBuf,
    partial: PathBuf,
    schema: Arc<Schema>,
    writer: ArrowWriter<File>,
    columns: Columns,
    rows: u64,
}

#[derive(Debug, Default)]
struct Columns {
    decision_id: StringBuilder,
    at: TimestampMillisecondBuilder,
    transaction_id: StringBuilder,
    entity: StringBuilder,
    timestamp: TimestampMillisecondBuilder,
    score: Float32Builder,
    threshold: Float32Builder,
    alert: BooleanBuilder,
    propensity: Float32Builder,
    fallback: StringBuilder,
    latency_us: Float32Builder,
    reasons: ListBuilder<StringBuilder>,
    contributions: ListBuilder<Float32Builder>,
    features: Vec<Float32Builder>,
    rows: usize,
}

impl DecisionWriter {
    /// Begins a file for decisions on these features. A name of a feature that is a column's own gets `feature_`
    /// before it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &Path, features: &[String]) -> Result<Self, DatasetError> {
        let io = |source| DatasetError::Io { path: path.into(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        let list = |item| DataType::List(Arc::new(Field::new_list_field(item, true)));
        let time = || DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let mut fields = vec![
            Field::new("decision_id", DataType::Utf8, false),
            Field::new("at", time(), false),
            Field::new("transaction_id", DataType::Utf8, true),
            Field::new("entity", DataType::Utf8, true),
            Field::new("timestamp", time(), true),
            Field::new("score", DataType::Float32, false),
            Field::new("threshold", DataType::Float32, false),
            Field::new("alert", DataType::Boolean, false),
            Field::new("propensity", DataType::Float32, true),
            Field::new("fallback", DataType::Utf8, true),
            Field::new("latency_us", DataType::Float32, false),
            Field::new("reasons", list(DataType::Utf8), true),
            Field::new("reason_contributions", list(DataType::Float32), true),
        ];
        for name in features {
            let taken = fields.iter().any(|field| field.name() == name);
            let name = if taken { format!("feature_{name}") } else { name.clone() };
            fields.push(Field::new(name, DataType::Float32, true));
        }
        let schema = Arc::new(Schema::new(fields));
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP))
            .build();
        let file = File::create(&partial).map_err(io)?;
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties));
        let writer = writer.map_err(|error| failed(path, &error))?;
        let columns =
            Columns { features: features.iter().map(|_| Float32Builder::new()).collect(), ..Columns::default() };
        Ok(Self { path: path.into(), partial, schema, writer, columns, rows: 0 })
    }

    /// Adds the row of one decision to the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn push(&mut self, row: &DecisionRow<'_>) -> Result<(), DatasetError> {
        let columns = &mut self.columns;
        let filled = |value: &str| (!value.is_empty()).then(|| value.to_owned());
        columns.decision_id.append_value(row.decision_id);
        columns.at.append_value(row.at_ms);
        columns.transaction_id.append_option(filled(row.transaction_id));
        columns.entity.append_option(filled(row.entity));
        columns.timestamp.append_option(row.event_time_ms);
        columns.score.append_value(row.score);
        columns.threshold.append_value(row.threshold);
        columns.alert.append_value(row.alert);
        columns.propensity.append_option(row.propensity);
        columns.fallback.append_option(row.fallback);
        columns.latency_us.append_value(row.latency_us);
        for (name, contribution) in row.reasons {
            columns.reasons.values().append_value(name);
            columns.contributions.values().append_value(*contribution);
        }
        columns.reasons.append(!row.reasons.is_empty());
        columns.contributions.append(!row.reasons.is_empty());
        for (column, value) in columns.features.iter_mut().zip(row.features) {
            column.append_option(Some(*value).filter(|value| !value.is_nan()));
        }
        columns.rows += 1;
        self.rows += 1;
        if columns.rows == BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), DatasetError> {
        let columns = &mut self.columns;
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(columns.decision_id.finish()),
            Arc::new(columns.at.finish().with_timezone("UTC")),
            Arc::new(columns.transaction_id.finish()),
            Arc::new(columns.entity.finish()),
            Arc::new(columns.timestamp.finish().with_timezone("UTC")),
            Arc::new(columns.score.finish()),
            Arc::new(columns.threshold.finish()),
            Arc::new(columns.alert.finish()),
            Arc::new(columns.propensity.finish()),
            Arc::new(columns.fallback.finish()),
            Arc::new(columns.latency_us.finish()),
            Arc::new(columns.reasons.finish()),
            Arc::new(columns.contributions.finish()),
        ];
        arrays.extend(columns.features.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
        columns.rows = 0;
        let batch =
            RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(|error| failed(&self.path, &error))?;
        self.writer.write(&batch).map_err(|error| failed(&self.path, &error))
    }

    /// Ends the file and returns its rows.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<u64, DatasetError> {
        self.flush()?;
        self.writer.close().map_err(|error| failed(&self.path, &error))?;
        std::fs::rename(&self.partial, &self.path)
            .map_err(|source| DatasetError::Io { path: self.path.clone(), source })?;
        Ok(self.rows)
    }
}

fn failed(path: &Path, error: &dyn std::fmt::Display) -> DatasetError {
    DatasetError::File { path: path.into(), message: format!("cannot be written as Parquet: {error}") }
}
