//! Turns a row that was encoded for one signature into a row of another.
//!
//! A feature means nothing without its signature: columns stand at other places in another version, and the code of a category is
//! its position in that version's own list of levels. A row of one version therefore reaches another version's forest only
//! through a [`Translation`].

use crate::rows::{EncodedRow, EncodedRows, SignatureId};
use crate::{ColumnKind, Signature};

/// Why rows of one signature cannot be made rows of another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TranslationError {
    /// The rows have no column of that name.
    #[error("the rows have no column {0:?}")]
    Missing(String),
    /// The column holds another kind of value in the two versions.
    #[error("column {column:?} is a {from} in the rows and a {to} in the model")]
    KindChanged {
        /// Name of the column.
        column: String,
        /// Kind that the column has in the rows.
        from: &'static str,
        /// Kind that the model expects.
        to: &'static str,
    },
    /// The signature of the rows is gone with their model, so that their category codes cannot be told apart.
    #[error("what the codes of column {0:?} meant in the rows is not known any more")]
    Unknown(String),
}

/// How one feature of the new row is made.
#[derive(Debug, Clone, PartialEq)]
enum Source {
    /// Copies the feature at this position, as it is.
    Copied(usize),
    /// Recodes the category at this position. `codes` has the new code for each old one, NaN where the new version does not
    /// know the level; `levels` are the new version's texts.
    Recoded { place: usize, codes: Vec<f32>, levels: Vec<String> },
}

/// Makes rows of one signature out of rows of another: positions and category codes.
#[derive(Debug, Clone, PartialEq)]
pub struct Translation {
    from: SignatureId,
    to: SignatureId,
    sources: Vec<Source>,
}

impl Translation {
    /// Makes a translation from rows of `from` to rows of `to`. A truth value may become a number (0 or 1), and nothing else
    /// changes its kind. A level that `to` does not know becomes NaN, as in a request.
    ///
    /// # Errors
    /// [`TranslationError`] with the first column of `to` that cannot be made.
    pub fn between(from: &Signature, to: &Signature) -> Result<Self, TranslationError> {
        let source = |wanted: &crate::Column| {
            let place = from.position(&wanted.name).ok_or_else(|| TranslationError::Missing(wanted.name.clone()))?;
            match (&from.columns[place].kind, &wanted.kind) {
                (ColumnKind::Category { levels: old }, ColumnKind::Category { levels: new }) => {
                    if old == new {
                        return Ok(Source::Copied(place));
                    }
                    let code = |level: &String| {
                        new.iter().position(|known| known == level).map_or(f32::NAN, |code| code as f32)
                    };
                    Ok(Source::Recoded { place, codes: old.iter().map(code).collect(), levels: new.clone() })
                }
                (ColumnKind::Number, ColumnKind::Number)
                | (ColumnKind::Boolean, ColumnKind::Boolean | ColumnKind::Number)
                | (ColumnKind::Timestamp, ColumnKind::Timestamp) => Ok(Source::Copied(place)),
                (old, new) => {
                    let (from, to) = (old.name(), new.name());
                    Err(TranslationError::KindChanged { column: wanted.name.clone(), from, to })
                }
            }
        };
        let sources = to.columns.iter().map(source).collect::<Result<_, _>>()?;
        Ok(Self { from: SignatureId::of(from), to: SignatureId::of(to), sources })
    }

    /// Makes a translation for rows of a version whose signature is gone, taken to have had the columns of `to` in their
    /// order.
    ///
    /// # Errors
    /// [`TranslationError::Unknown`] where `to` has a category: the codes were the lost version's own.
    pub fn assumed(to: &Signature) -> Result<Self, TranslationError> {
        let category = to.columns.iter().find(|column| matches!(column.kind, ColumnKind::Category { .. }));
        match category {
            Some(column) => Err(TranslationError::Unknown(column.name.clone())),
            None => Ok(Self::same(to)),
        }
    }

    /// Makes a translation for rows that are of `to` already.
    #[must_use]
    pub fn same(to: &Signature) -> Self {
        let id = SignatureId::of(to);
        Self { from: id, to: id, sources: (0..to.columns.len()).map(Source::Copied).collect() }
    }

    /// Number of features that a translated row has.
    #[must_use]
    pub fn width(&self) -> usize {
        self.sources.len()
    }

    /// Makes an empty list of rows of the other signature, with room for `rows`; [`Self::translate`] fills it.
    #[must_use]
    pub fn empty(&self, rows: usize) -> EncodedRows {
        EncodedRows::empty(self.to, self.sources.len(), rows)
    }

    /// Appends the translation of one row to `out`. A level that the row's own signature has no code for is looked up among
    /// the texts of the other one.
    ///
    /// # Panics
    /// When the row, or `out`, is of another signature than this was made for.
    pub fn translate(&self, row: EncodedRow<'_>, out: &mut EncodedRows) {
        assert_eq!(row.signature(), self.from, "a row of another signature");
        assert_eq!(out.signature(), self.to, "a list of rows of another signature");
        let (values, unknown) = (row.values(), row.unknown());
        out.push(self.sources.iter().map(|source| match source {
            Source::Copied(place) => values[*place],
            Source::Recoded { place, codes, levels } => match unknown.iter().find(|level| level.column == *place) {
                None => recoded(values[*place], codes),
                Some(sent) => {
                    levels.iter().position(|level| **level == *sent.text).map_or(f32::NAN, |code| code as f32)
                }
            },
        }));
    }

    /// The translation of rows, in their order.
    ///
    /// # Panics
    /// As [`Self::translate`].
    #[must_use]
    pub fn translate_all(&self, rows: &EncodedRows) -> EncodedRows {
        let mut out = self.empty(rows.len());
        rows.rows().for_each(|row| self.translate(row, &mut out));
        out
    }

    /// Appends the translation of one logged row, whose model the caller knows, to the row-major `out`. Logged features have no texts, so a
    /// level without a code stays missing.
    ///
    /// # Panics
    /// When `row` is shorter than the rows that this was made for.
    #[inline]
    pub fn append(&self, row: &[f32], out: &mut Vec<f32>) {
        out.extend(self.sources.iter().map(|source| match source {
            Source::Copied(place) => row[*place],
            Source::Recoded { place, codes, .. } => recoded(row[*place], codes),
        }));
    }

    /// The translation of one logged row, its length the width of the other signature.
    ///
    /// # Panics
    /// As [`Self::append`].
    #[must_use]
    pub fn row(&self, row: &[f32]) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.sources.len());
        self.append(row, &mut out);
        out
    }
}

/// The new code of an old one. What is no code, NaN among it, is no code of the new version either.
fn recoded(code: f32, codes: &[f32]) -> f32 {
    if code >= 0.0 && code.fract() == 0.0 { codes.get(code as usize).copied().unwrap_or(f32::NAN) } else { f32::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Column, ColumnValue};

    fn category(levels: &[&str]) -> ColumnKind {
        ColumnKind::Category { levels: levels.iter().map(|level| (*level).to_owned()).collect() }
    }

    fn signature(columns: &[(&str, ColumnKind)]) -> Signature {
        let column =
            |(name, kind): &(&str, ColumnKind)| Column { name: (*name).to_owned(), kind: kind.clone(), nullable: true };
        Signature { columns: columns.iter().map(column).collect() }
    }

    fn encoded(signature: &Signature, cells: &[(&str, ColumnValue<'_>)]) -> Vec<f32> {
        let cell =
            |name: &str| cells.iter().find(|(known, _)| *known == name).map_or(ColumnValue::Null, |(_, cell)| *cell);
        signature.columns.iter().map(|column| column.encode(cell(&column.name)).expect("it fits")).collect()
    }

    fn bits(row: &[f32]) -> Vec<u32> {
        row.iter().map(|value| if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() }).collect()
    }

    // R1: levels inserted, reordered and removed, columns moved: what is translated is what the cells would have become.
    #[test]
    fn a_translated_row_is_the_row_that_the_cells_would_have_become() {
        let kinds = [
            category(&["card", "wire"]),
            category(&["card", "crypto", "wire"]),
            category(&["wire", "card"]),
            category(&["card"]),
            category(&[]),
        ];
        for old in &kinds {
            for new in &kinds {
                let from = signature(&[("amount", ColumnKind::Number), ("channel", old.clone())]);
                let to = signature(&[("channel", new.clone()), ("amount", ColumnKind::Number)]);
                let translation = Translation::between(&from, &to).expect("the same columns");
                for text in ["card", "wire", "crypto", "cash", ""] {
                    let cells = [("amount", ColumnValue::Number(12.5)), ("channel", ColumnValue::Text(text))];
                    let ColumnKind::Category { levels } = old else { unreachable!("they are categories") };
                    // A level that the old version did not know is lost with its encoding.
                    let direct = if levels.iter().any(|level| level == text) {
                        encoded(&to, &cells)
                    } else {
                        vec![f32::NAN, 12.5]
                    };
                    assert_eq!(
                        bits(&translation.row(&encoded(&from, &cells))),
                        bits(&direct),
                        "{old:?} {new:?} {text}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_column_that_changed_its_kind_or_is_gone_is_named() {
        let text = signature(&[("channel", category(&["1", "2"]))]);
        let number = signature(&[("channel", ColumnKind::Number)]);
        let truth = signature(&[("channel", ColumnKind::Boolean)]);
        let time = signature(&[("channel", ColumnKind::Timestamp)]);
        for (from, to) in [(&number, &text), (&text, &number), (&number, &truth), (&time, &number), (&text, &time)] {
            let error = Translation::between(from, to).expect_err("another kind");
            assert!(error.to_string().contains("\"channel\""), "{error}");
        }
        assert_eq!(Translation::between(&truth, &number).map(|found| found.row(&[1.0])), Ok(vec![1.0]));
        let missing = Translation::between(&signature(&[]), &number).expect_err("no column");
        assert_eq!(missing, TranslationError::Missing("channel".to_owned()));
        assert_eq!(Translation::assumed(&number).map(|found| found.width()), Ok(1));
        assert_eq!(Translation::assumed(&text), Err(TranslationError::Unknown("channel".to_owned())));
    }

    #[test]
    fn what_is_no_code_becomes_missing() {
        let from = signature(&[("channel", category(&["a", "b"]))]);
        let to = signature(&[("channel", category(&["b", "a"]))]);
        let translation = Translation::between(&from, &to).expect("the same columns");
        for odd in [f32::NAN, -1.0, 0.5, 2.0, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(translation.row(&[odd])[0].is_nan(), "{odd}");
        }
        assert_eq!(translation.row(&[0.0]), [1.0]);
    }
}
