//! What every HTTP route shares.

pub(crate) mod error;
pub(crate) mod openapi;
