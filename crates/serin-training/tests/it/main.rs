//! Tests against the XGBoost that is linked in.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "test code; the yardstick prints its table")]
mod parameters;
mod parity;
mod yardstick;
