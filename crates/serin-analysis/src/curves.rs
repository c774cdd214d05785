//! Points for the plots of a report.

use crate::classification::Step;

/// One bin of a reliability diagram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationBin {
    /// Mean score of the rows in the bin, 0 to 1.
    pub predicted: f64,
    /// Fraction of the rows in the bin that are frauds, 0 to 1.
    pub observed: f64,
    /// Number of rows in the bin, at least 1.
    pub count: u64,
}

/// Calibration of scores with one 0/1 label each, in uniform bins over [0, 1]; empty ones are left out (scikit-learn's `calibration_curve`): a score on an
/// inner edge belongs to the bin below it.
#[must_use]
pub fn calibration(scores: &[f32], labels: &[f32], bins: usize) -> Vec<CalibrationBin> {
    let mut sums = vec![(0.0, 0.0, 0u64); bins];
    for (score, label) in scores.iter().zip(labels) {
        let score = f64::from(*score);
        let inner = (1..bins).take_while(|edge| score > *edge as f64 / bins as f64).count();
        let sum = &mut sums[inner];
        *sum = (sum.0 + score, sum.1 + f64::from(*label), sum.2 + 1);
    }
    sums.into_iter()
        .filter(|sum| sum.2 > 0)
        .map(|(predicted, observed, count)| CalibrationBin {
            predicted: predicted / count as f64,
            observed: observed / count as f64,
            count,
        })
        .collect()
}

/// Rows in each of `bins` uniform bins over [0, 1]; 1 belongs to the last.
#[must_use]
pub fn histogram(scores: &[f32], bins: usize) -> Vec<u64> {
    let mut counts = vec![0; bins];
    for score in scores.iter().filter(|score| !score.is_nan()) {
        let bin = (f64::from(*score) * bins as f64) as usize;
        counts[bin.min(bins - 1)] += 1;
    }
    counts
}

/// Points (false-positive rate, recall) of the ROC curve, from (0, 0) to (1, 1); empty without steps.
#[must_use]
pub fn roc(steps: &[Step]) -> Vec<(f64, f64)> {
    let Some(last) = steps.last() else { return Vec::new() };
    let (positives, negatives) = (last.true_positives.max(1.0), last.false_positives.max(1.0));
    let points = steps.iter().map(|s| (s.false_positives / negatives, s.true_positives / positives));
    std::iter::once((0.0, 0.0)).chain(points).collect()
}

/// Points (recall, precision) of the precision-recall curve, by rising recall; one point for each step.
#[must_use]
pub fn precision_recall(steps: &[Step]) -> Vec<(f64, f64)> {
    let positives = steps.last().map_or(1.0, |last| last.true_positives.max(1.0));
    steps
        .iter()
        .map(|s| (s.true_positives / positives, s.true_positives / (s.true_positives + s.false_positives)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_belong_to_the_bin_below() {
        let bins = calibration(&[0.0, 0.5, 0.500_001, 1.0], &[0.0, 1.0, 0.0, 1.0], 2);
        assert_eq!(bins.iter().map(|b| b.count).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(histogram(&[0.0, 0.5, 1.0, f32::NAN], 2), [1, 2]);
    }
}
