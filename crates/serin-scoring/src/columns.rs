//! Columns of a model and how a value becomes a float32 feature: the one place, for training and serving.

use serde::{Deserialize, Serialize};

/// Kind of value that a column holds, and how it becomes a feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ColumnKind {
    /// Any number; rounded to float32 as numpy does.
    Number,
    /// True or false; becomes 1 or 0.
    Boolean,
    /// A point in time; becomes seconds since 1970 UTC, as far as float32 goes.
    Timestamp,
    /// A text out of a list; becomes its position in `levels`. A text outside the list is missing (NaN).
    Category {
        /// Texts seen in training, in order of first appearance by sorted text.
        levels: Vec<String>,
    },
}

impl ColumnKind {
    /// Returns the kind in words, for messages: `number`, `truth value`, `point in time` or `category`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Boolean => "truth value",
            Self::Timestamp => "point in time",
            Self::Category { .. } => "category",
        }
    }

    /// Returns the texts of a category in the order of their codes; none for other kinds.
    #[must_use]
    pub fn levels(&self) -> &[String] {
        match self {
            Self::Category { levels } => levels,
            _ => &[],
        }
    }
}

/// One input column of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Name in the training data; named rows are matched by it, case-sensitive.
    pub name: String,
    /// Type and, for categories, the encoding.
    #[serde(flatten)]
    pub kind: ColumnKind,
    /// True where the training data had missing values: only then is a missing value accepted.
    #[serde(default)]
    pub nullable: bool,
}

/// A value before encoding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ColumnValue<'a> {
    /// The value is missing.
    Null,
    /// A number; a timestamp as seconds since 1970 UTC.
    Number(f64),
    /// A truth value, true or false.
    Boolean(bool),
    /// A text, such as a category's level.
    Text(&'a str),
}

/// Why a value does not fit its column. The text is for the person who sent the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CellError {
    /// A text or a truth value where a number belongs.
    #[error("Input should be a valid number")]
    NotANumber,
    /// Something else than true, false, 0 or 1.
    #[error("Input should be true, false, 0 or 1")]
    NotABoolean,
    /// Something else than a text in a category column.
    #[error("Input should be a valid string: this column is a category")]
    NotAText,
    /// NaN, an infinity, or a number beyond float32.
    #[error("Input should be a finite number within float32's range")]
    NotFinite,
    /// No value, in a column that was never missing in training.
    #[error("Input should be present: this column had no missing values when the model was trained")]
    Missing,
}

impl Column {
    /// Returns the feature that `value` becomes; NaN for a missing value and for a text outside a category's levels.
    ///
    /// # Errors
    /// Returns an error when the value does not fit the column's kind, or is missing where the column is not nullable.
    #[inline]
    pub fn encode(&self, value: ColumnValue<'_>) -> Result<f32, CellError> {
        if value == ColumnValue::Null {
            return if self.nullable { Ok(f32::NAN) } else { Err(CellError::Missing) };
        }
        match (&self.kind, value) {
            (ColumnKind::Number | ColumnKind::Timestamp, ColumnValue::Number(number)) => {
                let feature = number as f32;
                if feature.is_finite() { Ok(feature) } else { Err(CellError::NotFinite) }
            }
            (ColumnKind::Number | ColumnKind::Timestamp, _) => Err(CellError::NotANumber),
            (ColumnKind::Boolean, ColumnValue::Boolean(truth)) => Ok(f32::from(u8::from(truth))),
            (ColumnKind::Boolean, ColumnValue::Number(number)) if number == 0.0 || number == 1.0 => Ok(number as f32),
            (ColumnKind::Boolean, _) => Err(CellError::NotABoolean),
            (ColumnKind::Category { levels }, ColumnValue::Text(text)) => {
                Ok(levels.iter().position(|level| level == text).map_or(f32::NAN, |code| code as f32))
            }
            (ColumnKind::Category { .. }, _) => Err(CellError::NotAText),
        }
    }

    /// Returns XGBoost's name of the feature's type: `float` for numbers and times, `i` for truth values, `c` for
    /// categories.
    #[must_use]
    pub fn xgboost_type(&self) -> &'static str {
        match self.kind {
            ColumnKind::Number | ColumnKind::Timestamp => "float",
            ColumnKind::Boolean => "i",
            ColumnKind::Category { .. } => "c",
        }
    }
}

/// The columns of a model, in the order of its features.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signature {
    /// Columns in feature order.
    pub columns: Vec<Column>,
}

impl Signature {
    /// Makes number columns named as in the model file, or `f0`, `f1`, … where it has no names.
    #[must_use]
    pub fn of_forest(forest: &crate::Forest) -> Self {
        let names = forest.feature_names();
        let columns = (0..forest.num_features())
            .map(|i| Column {
                name: names.get(i).cloned().unwrap_or_else(|| format!("f{i}")),
                kind: ColumnKind::Number,
                nullable: true,
            })
            .collect();
        Self { columns }
    }

    /// Makes an encoder of rows for this signature, with room for `rows`; a package's own
    /// [`encoder`](crate::ScoringPackage::encoder) knows its identity already and need not compute it.
    #[must_use]
    pub fn encoder(&self, rows: usize) -> crate::RowEncoder<'_> {
        crate::RowEncoder::new(self, crate::SignatureId::of(self), rows)
    }

    /// Returns the position of a column by name, from 0; none where there is no such column.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(kind: ColumnKind, nullable: bool) -> Column {
        Column { name: "x".into(), kind, nullable }
    }

    #[test]
    fn numbers_round_as_float32_and_must_be_finite() {
        let number = column(ColumnKind::Number, false);
        assert_eq!(number.encode(ColumnValue::Number(0.1)), Ok(0.1f32));
        assert_eq!(number.encode(ColumnValue::Number(f64::NAN)), Err(CellError::NotFinite));
        assert_eq!(number.encode(ColumnValue::Number(1e39)), Err(CellError::NotFinite));
        assert_eq!(number.encode(ColumnValue::Text("NaN")), Err(CellError::NotANumber));
        assert_eq!(number.encode(ColumnValue::Null), Err(CellError::Missing));
        assert!(column(ColumnKind::Number, true).encode(ColumnValue::Null).is_ok_and(f32::is_nan));
    }

    #[test]
    fn an_unseen_category_is_missing() {
        let levels = vec!["card".to_owned(), "wire".to_owned()];
        let category = column(ColumnKind::Category { levels }, false);
        assert_eq!(category.encode(ColumnValue::Text("wire")), Ok(1.0));
        assert!(category.encode(ColumnValue::Text("cash")).is_ok_and(f32::is_nan));
        assert_eq!(category.encode(ColumnValue::Number(1.0)), Err(CellError::NotAText));
    }
}
