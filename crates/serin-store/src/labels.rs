//! Labels: verdicts on a transaction, fraud or genuine, by whom and when. Rows are only ever added, so that any past
//! answer can be given again; the same statement is kept once, however often and in whatever order it comes.

use crate::sql::{Row, Value, args};
use crate::{Store, StoreError};
use serin_tracking::{Label, LabelSource, LabelSubject, Labels, LabelsStored, NewLabel};
use sha2::{Digest, Sha256};

/// Rows of one statement: eight values each, well below SQLite's 32,766.
const ROWS: usize = 500;
/// Longest id of a transaction, as the decision log has it.
const MAX_ID: usize = 255;

/// Time of a label by which labels are selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelTime {
    /// Time from which the verdict is known.
    Known,
    /// Time at which the server received the label.
    Received,
}

impl LabelTime {
    fn column(self) -> &'static str {
        match self {
            Self::Known => "known_at",
            Self::Received => "received_at",
        }
    }
}

/// Refuses a label without a subject, with an amount that is no number, or that contradicts its source.
fn check(label: &NewLabel) -> Result<(), StoreError> {
    match &label.subject {
        LabelSubject::Transaction(id) if id.is_empty() => Err(StoreError::invalid("transaction_id is empty")),
        LabelSubject::Transaction(id) if id.len() > MAX_ID => {
            Err(StoreError::InvalidInput(format!("transaction_id {:?}… is longer than {MAX_ID} bytes", cut(id))))
        }
        _ if label.amount.is_some_and(|amount| !amount.is_finite()) => {
            Err(StoreError::invalid("amount is not a finite number"))
        }
        _ if label.source == LabelSource::TimeoutGenuine && label.fraud => {
            Err(StoreError::invalid("source timeout-genuine says genuine, the label says fraud"))
        }
        _ => Ok(()),
    }
}

/// 32 hex digits that identify the statement. When it came is no part of it, so that sending it again changes nothing.
fn id(label: &NewLabel) -> String {
    let mut hash = Sha256::new();
    hash.update(label.subject.key());
    hash.update([0, u8::from(label.fraud), label.source as u8]);
    let present = |hash: &mut Sha256, bits: Option<i64>| {
        hash.update([u8::from(bits.is_some())]);
        hash.update(bits.unwrap_or(0).to_le_bytes());
    };
    present(&mut hash, label.occurred_at_ms);
    present(&mut hash, label.known_at_ms);
    present(&mut hash, label.amount.map(|amount| amount.to_bits().cast_signed()));
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

const COLUMNS: &str = "subject, fraud, source, occurred_at, known_at, received_at, amount";

fn label(row: &Row) -> Result<Label, StoreError> {
    let damaged = |what: &str| StoreError::damaged("serin_labels", format!("a label has no {what}"));
    Ok(Label {
        subject: LabelSubject::of_key(&row.text(0)?).ok_or_else(|| damaged("subject"))?,
        fraud: row.bool(1)?,
        source: row.text(2)?.parse().map_err(|_| damaged("known source"))?,
        occurred_at_ms: row.opt_int(3)?,
        known_at_ms: row.int(4)?,
        received_at_ms: row.int(5)?,
        amount: row.opt_real(6)?,
    })
}

impl Store {
    /// Keeps labels, all of them or none.
    ///
    /// # Errors
    /// With the number of the first one (from 0) that cannot be, or when the database fails.
    pub async fn put_labels(&self, labels: Vec<NewLabel>, now_ms: i64) -> Result<LabelsStored, StoreError> {
        for (number, label) in labels.iter().enumerate() {
            check(label).map_err(|error| match error {
                StoreError::InvalidInput(message) => StoreError::InvalidInput(format!("label {number}: {message}")),
                other => other,
            })?;
        }
        self.write(move |connection| {
            Box::pin(async move {
                let mut stored = LabelsStored::default();
                for chunk in labels.chunks(ROWS) {
                    let mut values: Vec<Value> = Vec::with_capacity(chunk.len() * 8);
                    for label in chunk {
                        values.extend(args![
                            id(label),
                            label.subject.key(),
                            label.fraud,
                            label.source.name(),
                            label.occurred_at_ms,
                            label.known_at_ms.unwrap_or(now_ms),
                            now_ms,
                            label.amount,
                        ]);
                    }
                    let rows = connection.values_list(chunk.len(), 8);
                    let sql =
                        format!("INSERT INTO serin_labels (id, {COLUMNS}) VALUES {rows} ON CONFLICT (id) DO NOTHING");
                    let new = connection.execute(sql, values).await?;
                    stored.new += new;
                    stored.known += chunk.len() as u64 - new;
                }
                Ok(stored)
            })
        })
        .await
    }

    /// Everything ever said about a transaction or decision, as it was learnt.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn label_history(&self, subject: &LabelSubject) -> Result<Vec<Label>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM serin_labels WHERE subject = $1 ORDER BY known_at, received_at, id");
        self.reader().rows(sql, args![subject.key()]).await?.iter().map(label).collect()
    }

    /// Labels that take precedence among all that were known at `as_of_ms` and not before `from_ms`, epoch
    /// milliseconds. Nothing is known of a transaction before it happens.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn labels_known(&self, from_ms: i64, as_of_ms: i64) -> Result<Labels, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM serin_labels WHERE known_at >= $1 AND known_at <= $2");
        let rows = self.reader().rows(sql, args![from_ms, as_of_ms]).await?;
        Ok(Labels::of(rows.iter().map(label).collect::<Result<Vec<_>, _>>()?))
    }

    /// Number of labels whose time is from `from_ms` to `until_ms`, epoch milliseconds.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_labels(&self, by: LabelTime, from_ms: i64, until_ms: i64) -> Result<i64, StoreError> {
        let column = by.column();
        let sql = format!("SELECT COUNT(*) FROM serin_labels WHERE {column} >= $1 AND {column} <= $2");
        let row = self.reader().row(sql, args![from_ms, until_ms]).await?;
        row.map_or(Ok(0), |row| row.int(0))
    }

    /// Labels whose time is from `from_ms` to `until_ms`, epoch milliseconds; of each subject the one that takes precedence.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn labels_between(&self, by: LabelTime, from_ms: i64, until_ms: i64) -> Result<Labels, StoreError> {
        let column = by.column();
        let sql = format!("SELECT {COLUMNS} FROM serin_labels WHERE {column} >= $1 AND {column} <= $2");
        let rows = self.reader().rows(sql, args![from_ms, until_ms]).await?;
        Ok(Labels::of(rows.iter().map(label).collect::<Result<Vec<_>, _>>()?))
    }
}
