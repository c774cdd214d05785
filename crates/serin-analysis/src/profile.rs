//! What a column looked like in training: the reference that drift is measured against.

use serde::{Deserialize, Serialize};

/// Summary of one column's values in training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnProfile {
    /// Name of the column.
    pub name: String,
    /// Number of rows, missing values included.
    pub count: u64,
    /// Number of rows in which the value is missing.
    pub missing: u64,
    /// Mean of the values that are present; none without any.
    pub mean: Option<f64>,
    /// Population standard deviation of the values that are present; none without any.
    pub deviation: Option<f64>,
    /// Minimum, 1st to 99th percentile and maximum by linear interpolation: 101 values, or empty where no value is present.
    pub quantiles: Vec<f32>,
}

impl ColumnProfile {
    /// Summarises `values`; NaN is missing.
    #[must_use]
    pub fn of(name: &str, values: impl Iterator<Item = f32>) -> Self {
        let mut count = 0;
        let mut present: Vec<f32> = values.inspect(|_| count += 1).filter(|value| !value.is_nan()).collect();
        present.sort_unstable_by(f32::total_cmp);
        let n = present.len();
        let mean = (n > 0).then(|| present.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64);
        let deviation =
            mean.map(|mean| (present.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n as f64).sqrt());
        let quantile = |percent: usize| {
            let place = percent as f64 / 100.0 * (n - 1) as f64;
            let (low, high) = (present[place.floor() as usize], present[place.ceil() as usize]);
            (f64::from(low) + (f64::from(high) - f64::from(low)) * place.fract()) as f32
        };
        let quantiles = if n == 0 { Vec::new() } else { (0..=100).map(quantile).collect() };
        Self { name: name.to_owned(), count, missing: count - n as u64, mean, deviation, quantiles }
    }
}

/// Profiles of every feature and of the score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReferenceProfile {
    /// Profile of every feature, in signature order.
    pub columns: Vec<ColumnProfile>,
    /// Profile of the scores on the test window.
    pub score: ColumnProfile,
    /// Fraction of the rows that are alerts at the threshold on the test window, 0 to 1.
    pub alert_rate: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_one_and_missing_values_are_summarised() {
        let none = ColumnProfile::of("x", [f32::NAN].into_iter());
        assert_eq!((none.count, none.missing, none.mean, none.quantiles.len()), (1, 1, None, 0));
        let one = ColumnProfile::of("x", [2.0].into_iter());
        assert_eq!((one.mean, one.deviation, one.quantiles[50]), (Some(2.0), Some(0.0), 2.0));
        let few = ColumnProfile::of("x", [3.0, 1.0, f32::NAN, 2.0].into_iter());
        assert_eq!((few.missing, few.quantiles[25], few.quantiles[100]), (1, 1.5, 3.0));
    }
}
