//! Routes for operators of a scoring server: health, metrics, models, the rollout, exact drift of the last rows.

pub(crate) mod exact;
pub(crate) mod health;
pub(crate) mod models;
pub(crate) mod rollout;
