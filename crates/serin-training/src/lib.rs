#![doc = include_str!("../README.md")]

mod error;
mod evaluate;
mod fit;
mod package;
mod report;
mod svg;
pub mod xgboost;

pub use error::TrainingError;
pub use evaluate::{Evaluation, Window, evaluate};
pub use fit::{DEFAULTS, Fitted, Parameters, Round, fit};
pub use package::{PackageFile, PackageInputs, build_package};
pub use report::Report;
