//! Tests against the XGBoost that is linked in.
#![expect(missing_docs, clippy::unwrap_used, reason = "test code")]
mod parity;
