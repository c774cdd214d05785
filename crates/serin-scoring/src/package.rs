//! The model package: what stands beside the model file so that it can be served and checked.
//!
//! `serin.json` is read here; MLmodel, conda.yaml and the reports are for other readers.

use crate::columns::{CellError, ColumnValue, Signature};
use crate::forest::{Forest, ForestError};
use crate::rows::{EncodedRow, EncodedRows, RowEncoder, SignatureId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Version of `serin.json`'s layout; a later one is refused, not guessed at.
const FORMAT: u32 = 1;
/// Name of the file of a package with rows that the model was not trained on: row-major float32, little-endian, the columns
/// in the model's order and then the score.
pub const REFERENCE_ROWS: &str = "reference.f32";

/// Contents of a package's `serin.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Layout version of this file.
    pub format: u32,
    /// File name of the XGBoost model inside the package.
    pub model_file: String,
    /// SHA-256 of the model file, lower-case hex.
    pub model_sha256: String,
    /// Input columns and their encodings.
    pub signature: Signature,
    /// Names of columns in front of people, by column name; a column without one goes by its own name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub descriptions: BTreeMap<String, String>,
    /// Score from which a row is an alert, inclusive.
    pub threshold: f32,
    /// Rule by which the threshold was chosen, as on the command line.
    pub threshold_rule: String,
    /// Rows with the answers that the model gave when it was trained.
    pub golden_rows: Vec<GoldenRow>,
    /// Fingerprint of the training rows: SHA-256 over names, features and labels.
    pub data_sha256: String,
    /// Evaluation on the test window, by metric name.
    pub metrics: BTreeMap<String, f64>,
    /// Versions of what made the model (serin, xgboost).
    pub versions: BTreeMap<String, String>,
}

/// A value of a golden row as a client would send it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum GoldenValue {
    /// The value is missing.
    Null,
    /// A number or truth value.
    Number(f64),
    /// The level of a category.
    Text(String),
}

impl GoldenValue {
    fn as_column_value(&self) -> ColumnValue<'_> {
        match self {
            Self::Null => ColumnValue::Null,
            Self::Number(number) => ColumnValue::Number(*number),
            Self::Text(text) => ColumnValue::Text(text),
        }
    }
}

/// One row with the margin that the model must give it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GoldenRow {
    /// Values in the order of the signature.
    pub values: Vec<GoldenValue>,
    /// Bits of the expected margin, a float32.
    pub margin_bits: u32,
}

/// Why a package cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The model file cannot be read as a forest.
    #[error(transparent)]
    Forest(#[from] ForestError),
    /// `serin.json` is not valid, or of a later format.
    #[error("serin.json: {0}")]
    Manifest(String),
    /// Model file and manifest do not belong together.
    #[error("the model does not match its signature: {0}")]
    Mismatch(String),
    /// A golden row gives another answer than at training time.
    #[error("golden row {row} scores {found:e}, but {expected:e} was recorded when the model was trained{hint}")]
    Golden {
        /// Index of the row among the golden rows, from 0.
        row: usize,
        /// Margin that the row has now.
        found: f32,
        /// Margin that was recorded at training time.
        expected: f32,
        /// Further observation that may explain the difference; empty without one.
        hint: String,
    },
}

/// A model ready to decide: forest, columns and threshold, checked against each other.
#[derive(Debug)]
pub struct ScoringPackage {
    /// Trees that give a row its score.
    pub forest: Forest,
    /// Input columns of the model, in the order of its features.
    pub signature: Signature,
    /// Names of columns in front of people, by column name.
    pub descriptions: BTreeMap<String, String>,
    /// Score from which a row is an alert, inclusive.
    pub threshold: f32,
    /// SHA-256 of the model file's bytes, lower-case hex.
    pub model_sha256: String,
    /// Identity of the signature, which the rows that are scored must have.
    signature_id: SignatureId,
}

impl Manifest {
    /// Layout version that this build writes.
    #[must_use]
    pub fn format() -> u32 {
        FORMAT
    }

    /// Reads the bytes of a `serin.json`.
    ///
    /// # Errors
    /// Returns an error when they are not valid, or of a later format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PackageError> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| PackageError::Manifest(e.to_string()))?;
        if manifest.format > FORMAT {
            return Err(PackageError::Manifest(format!(
                "format {} is newer than this serin reads ({FORMAT}); upgrade serin",
                manifest.format
            )));
        }
        Ok(manifest)
    }
}

impl ScoringPackage {
    /// Makes a package from its manifest and the bytes of its model file; hash, column names and golden rows are checked.
    ///
    /// # Errors
    /// Returns an error that names the column, row or hash which does not match.
    pub fn new(manifest: &Manifest, model: &[u8]) -> Result<Self, PackageError> {
        let model_sha256 = sha256_hex(model);
        if model_sha256 != manifest.model_sha256 {
            return Err(PackageError::Mismatch(format!(
                "{} has SHA-256 {model_sha256}, serin.json says {}",
                manifest.model_file, manifest.model_sha256
            )));
        }
        let forest = Forest::from_bytes(model)?;
        let signature = manifest.signature.clone();
        check_columns(&forest, &signature)?;
        if !(manifest.threshold.is_finite()) {
            return Err(PackageError::Manifest("threshold is not a number".into()));
        }
        let package = Self {
            forest,
            signature,
            descriptions: manifest.descriptions.clone(),
            threshold: manifest.threshold,
            model_sha256,
            signature_id: SignatureId::of(&manifest.signature),
        };
        package.check_golden_rows(&manifest.golden_rows)?;
        Ok(package)
    }

    /// Makes a package from a bare XGBoost model: columns as the file names them, threshold 0.5.
    ///
    /// # Errors
    /// Returns an error when the forest cannot be read or has several outputs.
    pub fn of_bare_model(forest: Forest, model: &[u8]) -> Result<Self, PackageError> {
        let signature = Signature::of_forest(&forest);
        check_columns(&forest, &signature)?;
        let descriptions = BTreeMap::new();
        let signature_id = SignatureId::of(&signature);
        Ok(Self { forest, signature, descriptions, threshold: 0.5, model_sha256: sha256_hex(model), signature_id })
    }

    /// Makes an encoder of rows for this package, with room for `rows`.
    #[must_use]
    pub fn encoder(&self, rows: usize) -> RowEncoder<'_> {
        RowEncoder::new(&self.signature, self.signature_id, rows)
    }

    /// Scores the rows from index `first` on, as many as `scores` has room for. A score is finite and so is its margin; where
    /// either is not, the model has said nothing about the row, and NaN stands in its place.
    ///
    /// # Panics
    /// When the rows are of another signature, or too few.
    pub fn scores_into(&self, rows: &EncodedRows, first: usize, scores: &mut [f32]) {
        assert_eq!(rows.signature(), self.signature_id, "rows of another signature are not scored");
        let width = rows.width();
        self.forest.margins_into(&rows.values()[first * width..(first + scores.len()) * width], scores);
        let only_finite = |scores: &mut [f32]| {
            scores.iter_mut().filter(|score| !score.is_finite()).for_each(|score| *score = f32::NAN);
        };
        only_finite(scores);
        self.forest.scores_from_margins(scores);
        only_finite(scores);
    }

    /// Scores one row; none where the score or its margin is not finite.
    ///
    /// # Panics
    /// When the row is of another signature.
    #[must_use]
    pub fn score(&self, row: EncodedRow<'_>) -> Option<f32> {
        assert_eq!(row.signature(), self.signature_id, "a row of another signature is not scored");
        Some(row.values())
            .map(|values| self.forest.margin(values))
            .filter(|margin| margin.is_finite())
            .map(|margin| self.forest.score_of_margin(margin))
            .filter(|score| score.is_finite())
    }

    /// Appends the features of one row, given in column order, to `features`.
    ///
    /// # Errors
    /// Returns the index of the first column that does not fit, and why.
    pub fn encode(&self, values: &[ColumnValue<'_>], features: &mut Vec<f32>) -> Result<(), (usize, CellError)> {
        for (i, (column, value)) in self.signature.columns.iter().zip(values).enumerate() {
            features.push(column.encode(*value).map_err(|error| (i, error))?);
        }
        Ok(())
    }

    fn check_golden_rows(&self, rows: &[GoldenRow]) -> Result<(), PackageError> {
        for (index, row) in rows.iter().enumerate() {
            if row.values.len() != self.signature.columns.len() {
                return Err(PackageError::Manifest(format!(
                    "golden row {index} has {} values for {} columns",
                    row.values.len(),
                    self.signature.columns.len()
                )));
            }
            let values: Vec<_> = row.values.iter().map(GoldenValue::as_column_value).collect();
            let mut features = Vec::with_capacity(values.len());
            if let Err((column, error)) = self.encode(&values, &mut features) {
                let name = &self.signature.columns[column].name;
                return Err(PackageError::Mismatch(format!("golden row {index}, column {name:?}: {error}")));
            }
            let found = self.forest.margin(&features);
            if found.to_bits() != row.margin_bits {
                let expected = f32::from_bits(row.margin_bits);
                let hint = self.swap_that_explains(&features, row.margin_bits);
                return Err(PackageError::Golden { row: index, found, expected, hint });
            }
        }
        Ok(())
    }

    /// Two columns in the wrong order are the commonest cause; name them when that is it.
    fn swap_that_explains(&self, features: &[f32], expected: u32) -> String {
        let mut row = features.to_vec();
        for a in 0..row.len() {
            for b in a + 1..row.len() {
                row.swap(a, b);
                let explained = self.forest.margin(&row).to_bits() == expected && features[a] != features[b];
                row.swap(a, b);
                if explained {
                    let (a, b) = (&self.signature.columns[a].name, &self.signature.columns[b].name);
                    return format!("; it would match with columns {a:?} and {b:?} swapped");
                }
            }
        }
        String::new()
    }
}

fn check_columns(forest: &Forest, signature: &Signature) -> Result<(), PackageError> {
    if forest.num_outputs() != 1 {
        return Err(PackageError::Mismatch(format!(
            "a fraud model has one output, this one has {} ({})",
            forest.num_outputs(),
            forest.objective()
        )));
    }
    if forest.num_features() != signature.columns.len() {
        return Err(PackageError::Mismatch(format!(
            "the model file has {} features, the signature {} columns",
            forest.num_features(),
            signature.columns.len()
        )));
    }
    for (i, (file, column)) in forest.feature_names().iter().zip(&signature.columns).enumerate() {
        if *file != column.name {
            return Err(PackageError::Mismatch(format!(
                "column {i} is {file:?} in the model file and {:?} in the signature",
                column.name
            )));
        }
    }
    Ok(())
}

/// Returns the SHA-256 of bytes as 64 lower-case hex digits.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
