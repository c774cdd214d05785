//! Errors that a training can end with.

use crate::xgboost::XgboostError;

/// Why no model came out.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// XGBoost refused data or a parameter value.
    #[error(transparent)]
    Xgboost(#[from] XgboostError),
    /// A `--set` that XGBoost does not know.
    #[error("XGBoost does not know the parameter {0}; see https://xgboost.readthedocs.io/en/stable/parameter.html")]
    UnknownParameter(String),
    /// The data cannot be learnt from.
    #[error("{0}")]
    Data(String),
    /// The trained model does not score as XGBoost does: a defect, never a user's mistake.
    #[error("the trained model failed its own check: {0}")]
    SelfCheck(String),
}
