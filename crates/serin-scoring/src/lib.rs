#![doc = include_str!("../README.md")]

mod columns;
mod decision;
pub mod forest;
mod package;
mod rows;
mod rules;
mod translation;

pub use columns::{CellError, Column, ColumnKind, ColumnValue, Signature};
pub use decision::Decision;
pub use forest::{Explainer, Forest, ForestError, ScoringPath};
pub use package::{GoldenRow, GoldenValue, Manifest, PackageError, REFERENCE_ROWS, ScoringPackage, sha256_hex};
pub use rows::{EncodedRow, EncodedRows, RowEncoder, SignatureId};
pub use rules::{Rule, Rules, RulesError};
pub use translation::{Translation, TranslationError};
