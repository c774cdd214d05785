//! Evidence that may be looked at as often as one likes.
//!
//! An e-value is a bet against a hypothesis: it stays below 1/α for ever with probability 1 − α while the hypothesis is
//! true (Ville 1939). All are kept as counts, so several processes' evidence is added up and judged as if it were one's;
//! all are returned as natural logarithms.

pub mod allocation;
pub mod guard;
pub mod inputs;
pub mod paired;
pub mod scores;
pub mod segments;
pub mod sharing;
mod verdict;

pub use verdict::{Component, Counts, Judgement, Limits, Verdict, judge};

/// ln of the mean of exp: the equal mixture of e-values.
fn mixture(ln_values: impl Iterator<Item = f64>) -> f64 {
    // Relative to the largest so far, so that nothing overflows.
    let (mut largest, mut sum, mut count) = (f64::NEG_INFINITY, 0.0, 0_u32);
    for value in ln_values {
        count += 1;
        if value > largest {
            sum = sum * (largest - value).exp() + 1.0;
            largest = value;
        } else {
            sum += (value - largest).exp();
        }
    }
    largest + (sum / f64::from(count)).ln()
}
