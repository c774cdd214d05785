//! Rows of features that know which signature they were encoded for.
//!
//! A feature means nothing without its signature: the second column, or the code 3 of a category, is another thing in another
//! version. [`EncodedRows`] come from a [`RowEncoder`], which goes by one signature, or from a
//! [`Translation`](crate::Translation), and a [`ScoringPackage`](crate::ScoringPackage) scores those of its own alone.

use crate::columns::{CellError, Column, ColumnValue, Signature};
use sha2::{Digest, Sha256};

/// Longest text of an unknown level that is kept beside a row, bytes; a longer one is a missing value and no more.
const LONGEST_LEVEL: usize = 255;

/// Identity of a signature by content: names, kinds and levels of its columns in their order. Versions with equal columns
/// share it, and their rows are interchangeable. What may be missing does not change what a feature means, so it is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SignatureId(u64);

impl SignatureId {
    /// Computes the identity of a signature: the first 64 bits of a SHA-256.
    #[must_use]
    pub fn of(signature: &Signature) -> Self {
        let mut sum = Sha256::new();
        let mut text = |text: &str| {
            sum.update((text.len() as u64).to_le_bytes());
            sum.update(text);
        };
        for column in &signature.columns {
            text(&column.name);
            text(column.kind.name());
            let levels = column.kind.levels();
            text(&levels.len().to_string());
            levels.iter().for_each(|level| text(level));
        }
        Self(sum.finalize()[..8].iter().fold(0, |id, byte| (id << 8) | u64::from(*byte)))
    }
}

/// A text of a category column for which the signature of its row has no code. Another version may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnknownLevel {
    row: usize,
    pub(crate) column: usize,
    pub(crate) text: Box<str>,
}

/// Rows encoded for one signature: row-major float32, n x width, NaN for a missing value.
#[derive(Debug, Clone)]
pub struct EncodedRows {
    signature: SignatureId,
    width: usize,
    count: usize,
    values: Vec<f32>,
    /// Texts without a code, in the order of their rows.
    unknown: Vec<UnknownLevel>,
}

/// One row of [`EncodedRows`].
#[derive(Debug, Clone, Copy)]
pub struct EncodedRow<'a> {
    signature: SignatureId,
    values: &'a [f32],
    unknown: &'a [UnknownLevel],
}

impl EncodedRows {
    /// Makes an empty list of rows of a signature of `width` columns, with room for `rows`.
    pub(crate) fn empty(signature: SignatureId, width: usize, rows: usize) -> Self {
        Self { signature, width, count: 0, values: Vec::with_capacity(rows * width), unknown: Vec::new() }
    }

    /// Appends a row whose features are of this signature.
    pub(crate) fn push(&mut self, features: impl Iterator<Item = f32>) {
        self.values.extend(features);
        self.count += 1;
        debug_assert_eq!(self.values.len(), self.count * self.width, "a row has a feature for each column");
    }

    /// Keeps the text of a cell of the row that is being encoded, where its column has no code for it.
    #[inline]
    fn keep_unknown_level(&mut self, column: usize, value: ColumnValue<'_>, encoded: Result<f32, CellError>) {
        if let ColumnValue::Text(text) = value
            && encoded.is_ok_and(f32::is_nan)
            && text.len() <= LONGEST_LEVEL
        {
            self.unknown.push(UnknownLevel { row: self.count, column, text: text.into() });
        }
    }

    /// Signature that the rows were encoded for.
    #[must_use]
    pub fn signature(&self) -> SignatureId {
        self.signature
    }

    /// Number of rows that are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Number of features of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// All features, row-major, n x width: for those who write or count them, who say which model they are of.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Number of texts without a code that are kept beside the rows.
    #[must_use]
    pub fn unknown_levels(&self) -> usize {
        self.unknown.len()
    }

    /// The row with this index, from 0.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn row(&self, index: usize) -> EncodedRow<'_> {
        assert!(index < self.count, "row {index} of {}", self.count);
        let unknown = match &self.unknown[..] {
            [] => &[][..],
            all => {
                let start = all.partition_point(|unknown| unknown.row < index);
                let end = all.partition_point(|unknown| unknown.row <= index);
                &all[start..end]
            }
        };
        let values = &self.values[index * self.width..(index + 1) * self.width];
        EncodedRow { signature: self.signature, values, unknown }
    }

    /// The rows in their order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = EncodedRow<'_>> + Clone {
        (0..self.count).map(move |index| self.row(index))
    }

    /// Appends the features of rows of the same signature. Texts without a code stay behind.
    ///
    /// # Panics
    /// When they are of another signature.
    pub fn extend(&mut self, more: &Self) {
        assert_eq!(self.signature, more.signature, "rows of two signatures do not go together");
        self.values.extend_from_slice(&more.values);
        self.count += more.count;
    }

    /// Removes all rows and keeps their memory for others of the same signature.
    pub fn clear(&mut self) {
        self.values.clear();
        self.unknown.clear();
        self.count = 0;
    }
}

impl<'a> EncodedRow<'a> {
    /// Signature that the row was encoded for.
    #[must_use]
    pub fn signature(self) -> SignatureId {
        self.signature
    }

    /// Features in the order of the signature's columns; NaN for a missing value.
    #[must_use]
    pub fn values(self) -> &'a [f32] {
        self.values
    }

    /// Texts of category columns for which the signature has no code.
    pub(crate) fn unknown(self) -> &'a [UnknownLevel] {
        self.unknown
    }
}

/// Encodes cells of rows for one signature: column by column, row after row.
#[derive(Debug)]
pub struct RowEncoder<'s> {
    columns: &'s [Column],
    /// Column of the next cell.
    next: usize,
    rows: EncodedRows,
}

impl<'s> RowEncoder<'s> {
    /// Makes an encoder for a signature whose identity is known, with room for `rows`.
    pub(crate) fn new(signature: &'s Signature, id: SignatureId, rows: usize) -> Self {
        Self { columns: &signature.columns, next: 0, rows: EncodedRows::empty(id, signature.columns.len(), rows) }
    }

    /// Encodes the cell of the next column. A cell that does not fit is missing in the row, so that those behind it keep
    /// their columns. A text without a code is missing, too, and kept beside the row for versions that know it.
    ///
    /// # Errors
    /// As [`Column::encode`].
    ///
    /// # Panics
    /// When the signature has no columns.
    #[inline]
    pub fn push(&mut self, value: ColumnValue<'_>) -> Result<(), CellError> {
        let encoded = self.columns[self.next].encode(value);
        self.rows.keep_unknown_level(self.next, value, encoded);
        self.rows.values.push(encoded.unwrap_or(f32::NAN));
        self.next += 1;
        if self.next == self.columns.len() {
            self.next = 0;
            self.rows.count += 1;
        }
        encoded.map(|_| ())
    }

    /// Encodes a whole row: `cell` gives the value for each column, in their order. Returns none, and adds no row, when it gives
    /// none or a value that does not fit.
    ///
    /// # Panics
    /// When a row was begun by [`push`](Self::push) and is not complete.
    #[inline]
    pub fn push_row<'v>(&mut self, mut cell: impl FnMut(usize) -> Option<ColumnValue<'v>>) -> Option<()> {
        assert_eq!(self.next, 0, "a row was begun");
        let (values, unknown) = (self.rows.values.len(), self.rows.unknown.len());
        let whole = self.columns.iter().enumerate().try_for_each(|(position, column)| {
            let value = cell(position)?;
            let encoded = column.encode(value);
            self.rows.keep_unknown_level(position, value, encoded);
            self.rows.values.push(encoded.ok()?);
            Some(())
        });
        match whole {
            Some(()) => self.rows.count += 1,
            None => {
                self.rows.values.truncate(values);
                self.rows.unknown.truncate(unknown);
            }
        }
        whole
    }

    /// Asks for room for more rows, in one allocation.
    pub fn reserve(&mut self, rows: usize) {
        self.rows.values.reserve(rows * self.columns.len());
    }

    /// Column of the next cell, from 0.
    #[must_use]
    pub fn position(&self) -> usize {
        self.next
    }

    /// The rows that are complete; cells of one that is not are dropped.
    #[must_use]
    pub fn finish(mut self) -> EncodedRows {
        let count = self.rows.count;
        self.rows.values.truncate(count * self.rows.width);
        self.rows.unknown.retain(|unknown| unknown.row < count);
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ColumnKind, Translation};

    fn signature(name: &str, levels: &[&str]) -> Signature {
        let levels = levels.iter().map(|level| (*level).to_owned()).collect();
        let column = |name: &str, kind| Column { name: name.to_owned(), kind, nullable: true };
        Signature { columns: vec![column("amount", ColumnKind::Number), column(name, ColumnKind::Category { levels })] }
    }

    fn encoded(signature: &Signature, rows: &[(f64, &str)]) -> EncodedRows {
        let mut encoder = RowEncoder::new(signature, SignatureId::of(signature), rows.len());
        for (amount, channel) in rows {
            assert_eq!(encoder.push(ColumnValue::Number(*amount)), Ok(()));
            assert_eq!(encoder.push(ColumnValue::Text(channel)), Ok(()));
        }
        encoder.finish()
    }

    #[test]
    fn a_signature_is_known_by_names_kinds_and_levels_in_their_order() {
        let id = |name, levels: &[&str]| SignatureId::of(&signature(name, levels));
        assert_eq!(id("channel", &["card", "wire"]), id("channel", &["card", "wire"]));
        for other in [
            id("canal", &["card", "wire"]),
            id("channel", &["wire", "card"]),
            id("channel", &["cardwire"]),
            id("channel", &["card", "wire", ""]),
        ] {
            assert_ne!(id("channel", &["card", "wire"]), other);
        }
    }

    #[test]
    fn a_cell_that_does_not_fit_leaves_the_others_at_their_columns() {
        let signature = signature("channel", &["card"]);
        let mut encoder = RowEncoder::new(&signature, SignatureId::of(&signature), 1);
        assert_eq!(encoder.push(ColumnValue::Boolean(true)), Err(CellError::NotANumber));
        assert_eq!(encoder.push(ColumnValue::Text("card")), Ok(()));
        assert_eq!(encoder.push(ColumnValue::Number(1.0)), Ok(()));
        let rows = encoder.finish();
        assert_eq!(rows.len(), 1, "a row that is not complete is none");
        assert!(rows.row(0).values()[0].is_nan() && rows.row(0).values()[1] == 0.0);
    }

    #[test]
    fn a_whole_row_is_encoded_as_its_cells_are_and_a_broken_one_leaves_nothing() {
        let signature = signature("channel", &["card"]);
        let id = SignatureId::of(&signature);
        let (mut whole, mut cells) = (RowEncoder::new(&signature, id, 1), RowEncoder::new(&signature, id, 1));
        let fits = [ColumnValue::Number(1.5), ColumnValue::Text("cash")];
        for broken in [Some(ColumnValue::Boolean(true)), None] {
            assert_eq!(whole.push_row(|column| if column == 0 { Some(fits[0]) } else { broken }), None);
            assert_eq!(whole.push_row(|column| if column == 1 { Some(fits[1]) } else { broken }), None);
        }
        assert_eq!(whole.push_row(|column| Some(fits[column])), Some(()));
        assert_eq!(whole.push_row(|_| Some(ColumnValue::Null)), Some(()));
        for value in [fits[0], fits[1], ColumnValue::Null, ColumnValue::Null] {
            assert_eq!(cells.push(value), Ok(()));
        }
        let (whole, cells) = (whole.finish(), cells.finish());
        assert_eq!((whole.len(), whole.unknown_levels()), (2, 1));
        let bits = |rows: &EncodedRows| rows.values().iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
        assert_eq!(bits(&whole), bits(&cells));
        assert_eq!(whole.row(0).unknown(), cells.row(0).unknown());
    }

    // R1: a level that only the other version knows reaches it.
    #[test]
    fn a_level_that_only_the_other_version_knows_is_not_lost() {
        let (old, new) = (signature("channel", &["card", "wire"]), signature("channel", &["card", "crypto", "wire"]));
        let translation = Translation::between(&old, &new).expect("the same columns");
        let rows = encoded(&old, &[(1.0, "wire"), (2.0, "crypto"), (3.0, "cash"), (4.0, "crypto"), (5.0, "card")]);
        assert_eq!((rows.len(), rows.unknown_levels()), (5, 3));
        assert!(rows.row(1).values()[1].is_nan(), "its own version has no code for it");
        let translated = translation.translate_all(&rows);
        assert_eq!(translated.signature(), SignatureId::of(&new));
        let codes: Vec<f32> = translated.rows().map(|row| row.values()[1]).collect();
        assert_eq!((codes[0], codes[1], codes[3], codes[4]), (2.0, 1.0, 1.0, 0.0));
        assert!(codes[2].is_nan(), "nobody knows cash");
        let mut together = translation.empty(0);
        together.extend(&translated);
        assert_eq!((together.len(), together.row(3).values()), (5, translated.row(3).values()));
        let long = "x".repeat(LONGEST_LEVEL + 1);
        assert_eq!(encoded(&old, &[(1.0, &long)]).unknown_levels(), 0);
    }

    #[test]
    #[should_panic(expected = "another signature")]
    fn rows_of_another_signature_are_not_translated() {
        let (old, new) = (signature("channel", &["card"]), signature("channel", &["wire"]));
        let translation = Translation::between(&old, &new).expect("the same columns");
        let _ = translation.translate_all(&encoded(&new, &[(1.0, "wire")]));
    }
}
