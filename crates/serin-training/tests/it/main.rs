//! Tests against the XGBoost that is linked in.
#![expect(clippy::unwrap_used, reason = "test code")]
mod parity;
mod yardstick;
