//! Metrics of a binary classifier, with scikit-learn's definitions and its answers in the odd cases.

use crate::ranking;
use std::collections::{BTreeMap, HashSet};

/// Counts at one threshold: all rows with a score at or above it are alerts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The threshold: a score that occurs.
    pub threshold: f32,
    /// Frauds among the alerts; the sum of their weights, where rows have some.
    pub true_positives: f64,
    /// Genuine rows among the alerts, likewise.
    pub false_positives: f64,
}

/// The weight of a row; 1 where there are none.
fn weight(weights: &[f64], row: usize) -> f64 {
    weights.get(row).copied().unwrap_or(1.0)
}

/// Counts at every distinct score, highest first, of rows with one score and one label each. Tied rows enter together.
///
/// NaN scores sort last, as the lowest. `weights` may be empty: every row counts 1 then, and the counts are exact.
#[must_use]
pub fn steps(scores: &[f32], labels: &[f32], weights: &[f64]) -> Vec<Step> {
    let key = |row: u32| if scores[row as usize].is_nan() { f32::NEG_INFINITY } else { scores[row as usize] };
    let mut steps: Vec<Step> = Vec::new();
    let (mut true_positives, mut false_positives) = (0.0, 0.0);
    for row in ranking::descending(scores) {
        if labels[row as usize] == 1.0 {
            true_positives += weight(weights, row as usize);
        } else {
            false_positives += weight(weights, row as usize);
        }
        let threshold = key(row);
        match steps.last_mut() {
            // `==`, so that -0.0 and 0.0 are one score.
            Some(last) if last.threshold == threshold => {
                (last.true_positives, last.false_positives) = (true_positives, false_positives);
            }
            _ => steps.push(Step { threshold, true_positives, false_positives }),
        }
    }
    steps
}

/// Area under the ROC curve by the trapezoid rule. NaN where only one class occurs (scikit-learn's
/// `roc_auc_score`).
#[must_use]
pub fn roc_auc(steps: &[Step]) -> f64 {
    let Some((positives, negatives)) = totals(steps) else { return f64::NAN };
    let (mut area, mut before) = (0.0, (0.0, 0.0));
    for step in steps {
        let now = (step.false_positives, step.true_positives);
        area += (now.0 - before.0) * (now.1 + before.1) / 2.0;
        before = now;
    }
    area / positives / negatives
}

/// Average precision: precision weighted by the recall that each threshold adds, no interpolation. 0 without
/// frauds (scikit-learn's `average_precision_score`).
#[must_use]
pub fn average_precision(steps: &[Step]) -> f64 {
    let positives = steps.last().map_or(0.0, |last| last.true_positives);
    if positives == 0.0 {
        return 0.0;
    }
    let (mut sum, mut before) = (0.0, 0.0);
    for step in steps {
        let precision = step.true_positives / (step.true_positives + step.false_positives);
        sum += (step.true_positives - before) * precision;
        before = step.true_positives;
    }
    sum / positives
}

/// Largest recall whose false-positive rate is at most `rate`. NaN where only one class occurs.
#[must_use]
pub fn recall_at_false_positive_rate(steps: &[Step], rate: f64) -> f64 {
    let Some((positives, negatives)) = totals(steps) else { return f64::NAN };
    let within = steps.iter().take_while(|step| step.false_positives / negatives <= rate).last();
    within.map_or(0.0, |step| step.true_positives / positives)
}

/// (frauds, genuine); None where one is absent.
fn totals(steps: &[Step]) -> Option<(f64, f64)> {
    let last = steps.last()?;
    (last.true_positives > 0.0 && last.false_positives > 0.0).then_some((last.true_positives, last.false_positives))
}

/// Mean negative log likelihood of probabilities, clipped by float64's epsilon as scikit-learn does;
/// one score and one 0/1 label for each row.
#[must_use]
pub fn log_loss(scores: &[f32], labels: &[f32], weights: &[f64]) -> f64 {
    mean(scores, labels, weights, |score, label| -likelihood(score, label == 1.0).ln())
}

/// Probability that a score gives to the label, clipped by float64's epsilon.
pub(crate) fn likelihood(score: f32, fraud: bool) -> f64 {
    let p = f64::from(score).clamp(f64::EPSILON, 1.0 - f64::EPSILON);
    if fraud { p } else { 1.0 - p }
}

/// Mean squared difference of probability and label, one of each for each row.
#[must_use]
pub fn brier(scores: &[f32], labels: &[f32], weights: &[f64]) -> f64 {
    mean(scores, labels, weights, |score, label| (f64::from(score) - f64::from(label)).powi(2))
}

fn mean(scores: &[f32], labels: &[f32], weights: &[f64], loss: impl Fn(f32, f32) -> f64) -> f64 {
    let losses = scores.iter().zip(labels).enumerate();
    let total = losses.map(|(row, (score, label))| loss(*score, *label) * weight(weights, row)).sum::<f64>();
    let rows = if weights.is_empty() { scores.len() as f64 } else { weights.iter().sum() };
    total / rows
}

/// Confusion counts at a threshold (inclusive).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Confusion {
    /// Frauds that were alerts: their number, or the sum of their weights where rows have weights.
    pub true_positives: f64,
    /// Genuine rows that were alerts, counted or weighted the same way.
    pub false_positives: f64,
    /// Frauds that were not alerts, counted or weighted the same way.
    pub false_negatives: f64,
    /// Genuine rows that were not alerts, counted or weighted the same way.
    pub true_negatives: f64,
}

impl Confusion {
    /// Counts rows, each with one score and one 0/1 label, by score >= threshold and label; `weights` may be empty.
    #[must_use]
    pub fn at(threshold: f32, scores: &[f32], labels: &[f32], weights: &[f64]) -> Self {
        let mut counts = Self::default();
        for (row, (score, label)) in scores.iter().zip(labels).enumerate() {
            counts.add(*score >= threshold, *label == 1.0, weight(weights, row));
        }
        counts
    }

    /// Adds one row of the given weight to the count of its case.
    pub fn add(&mut self, alert: bool, fraud: bool, weight: f64) {
        *match (alert, fraud) {
            (true, true) => &mut self.true_positives,
            (true, false) => &mut self.false_positives,
            (false, true) => &mut self.false_negatives,
            (false, false) => &mut self.true_negatives,
        } += weight;
    }

    /// Fraction of the alerts that are frauds, 0 to 1; 0 without alerts (scikit-learn's `zero_division=0`).
    #[must_use]
    pub fn precision(&self) -> f64 {
        ratio(self.true_positives, self.true_positives + self.false_positives)
    }

    /// Fraction of the frauds that are alerts, 0 to 1; 0 without frauds.
    #[must_use]
    pub fn recall(&self) -> f64 {
        ratio(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// Harmonic mean of precision and recall; 0 where undefined.
    #[must_use]
    pub fn f1(&self) -> f64 {
        ratio(2.0 * self.true_positives, 2.0 * self.true_positives + self.false_positives + self.false_negatives)
    }

    /// Fraction of all rows that are alerts, 0 to 1; 0 without rows.
    #[must_use]
    pub fn alert_rate(&self) -> f64 {
        let alerts = self.true_positives + self.false_positives;
        ratio(alerts, alerts + self.false_negatives + self.true_negatives)
    }
}

/// The figures that scores and labels, one of each for each row, give by name; `confusion` counts what was done. Those that are not defined are NaN.
/// `weights` may be empty: every row counts 1 then.
#[must_use]
pub fn figures(scores: &[f32], labels: &[f32], weights: &[f64], confusion: &Confusion) -> BTreeMap<&'static str, f64> {
    let losses = (log_loss(scores, labels, weights), brier(scores, labels, weights));
    figures_of(&steps(scores, labels, weights), losses, confusion)
}

/// [`figures`] of rows whose steps and whose losses ([`log_loss`] and [`brier`]) are counted already.
pub(crate) fn figures_of(
    steps: &[Step],
    (log_loss, brier): (f64, f64),
    confusion: &Confusion,
) -> BTreeMap<&'static str, f64> {
    BTreeMap::from([
        ("auc_roc", roc_auc(steps)),
        ("average_precision", average_precision(steps)),
        ("log_loss", log_loss),
        ("brier", brier),
        ("precision", confusion.precision()),
        ("recall", confusion.recall()),
        ("f1", confusion.f1()),
        ("alert_rate", confusion.alert_rate()),
        ("recall_at_fpr_0.1pct", recall_at_false_positive_rate(steps, 0.001)),
        ("recall_at_fpr_1pct", recall_at_false_positive_rate(steps, 0.01)),
    ])
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

/// Mean over days of the share of frauds among the `k` cards with the highest score of the day. A card's
/// score and label of a day are its largest; a card found fraudulent among the k leaves all later days
/// (Fraud Detection Handbook). Cards of equal score are taken by ascending key.
#[must_use]
pub fn card_precision(scores: &[f32], labels: &[f32], days: &[i64], cards: &[u64], k: usize) -> f64 {
    let mut by_day: BTreeMap<i64, Vec<(u64, f32, f32)>> = BTreeMap::new();
    let mut start = 0;
    while start < days.len() {
        // Rows of a day mostly stand together.
        let end = days[start..].iter().position(|day| *day != days[start]).map_or(days.len(), |more| start + more);
        by_day.entry(days[start]).or_default().extend((start..end).map(|row| (cards[row], scores[row], labels[row])));
        start = end;
    }
    let mut found = HashSet::new();
    let days = by_day.len();
    let mut total = 0.0;
    for mut rows in by_day.into_values() {
        rows.sort_unstable_by_key(|(card, ..)| *card);
        let of_cards = rows.chunk_by(|a, b| a.0 == b.0);
        let largest = of_cards.map(|rows| {
            let largest = |of: fn(&(u64, f32, f32)) -> f32| rows.iter().map(of).fold(f32::NEG_INFINITY, f32::max);
            (rows[0].0, largest(|row| row.1), largest(|row| row.2).max(0.0))
        });
        let mut ranked: Vec<_> = largest.filter(|(card, ..)| !found.contains(card)).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked.truncate(k);
        let hits: Vec<u64> = ranked.into_iter().filter(|(_, _, label)| *label == 1.0).map(|(card, ..)| card).collect();
        total += hits.len() as f64 / k as f64;
        found.extend(hits);
    }
    if days == 0 { f64::NAN } else { total / days as f64 }
}

/// Money lost at a threshold by rows with one score, label and amount each: the amounts of missed frauds, plus `review_cost` an alert. `weights` may
/// be empty.
#[must_use]
pub fn cost(threshold: f32, scores: &[f32], labels: &[f32], amounts: &[f64], weights: &[f64], review_cost: f64) -> f64 {
    let mut total = 0.0;
    for row in 0..scores.len() {
        if scores[row] >= threshold {
            total += review_cost * weight(weights, row);
        } else if labels[row] == 1.0 {
            total += amounts[row] * weight(weights, row);
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected values by hand from the definitions; conformance/ compares with scikit-learn itself.
    const SCORES: [f32; 8] = [0.9, 0.8, 0.8, 0.7, 0.4, 0.4, 0.2, 0.1];
    const LABELS: [f32; 8] = [1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0];

    #[test]
    fn ties_enter_together() {
        let steps = steps(&SCORES, &LABELS, &[]);
        assert_eq!(steps.len(), 6);
        assert!((roc_auc(&steps) - 0.8).abs() < 1e-15);
        let expected = 1.0 / 3.0 + 2.0 / 3.0 / 3.0 + 3.0 / 6.0 / 3.0;
        assert!((average_precision(&steps) - expected).abs() < 1e-15);
        assert!((recall_at_false_positive_rate(&steps, 0.2) - 2.0 / 3.0).abs() < 1e-15);
        assert!((recall_at_false_positive_rate(&steps, 0.0) - 1.0 / 3.0).abs() < 1e-15);
    }

    #[test]
    fn odd_cases_answer_as_scikit_learn() {
        let equal = steps(&[0.5; 4], &[1.0, 0.0, 0.0, 0.0], &[]);
        assert_eq!((roc_auc(&equal), average_precision(&equal)), (0.5, 0.25));
        let one_class = steps(&[0.1, 0.2], &[0.0, 0.0], &[]);
        assert!(roc_auc(&one_class).is_nan());
        assert_eq!(average_precision(&one_class), 0.0);
        assert!(roc_auc(&[]).is_nan());
        let nothing = Confusion::at(2.0, &SCORES, &LABELS, &[]);
        assert_eq!((nothing.precision(), nothing.recall(), nothing.f1()), (0.0, 0.0, 0.0));
        assert!(log_loss(&[1.0], &[0.0], &[]).is_finite());
    }

    #[test]
    fn a_detected_card_leaves_the_later_days() {
        let scores = [0.9, 0.1, 0.9, 0.8];
        let labels = [1.0, 0.0, 1.0, 1.0];
        assert!((card_precision(&scores, &labels, &[0, 0, 1, 1], &[1, 2, 1, 3], 1) - 1.0).abs() < 1e-15);
        // Without the rule card 1 would be counted again on day 1; k = 2 shows the empty place.
        assert!((card_precision(&scores, &labels, &[0, 0, 1, 1], &[1, 2, 1, 3], 2) - 0.5).abs() < 1e-15);
    }

    #[test]
    fn money_counts_misses_and_reviews() {
        let amounts = [100.0, 50.0, 1.0, 1.0, 70.0, 1.0, 1.0, 1.0];
        assert_eq!(cost(0.75, &SCORES, &LABELS, &amounts, &[], 2.0), 3.0 * 2.0 + 70.0);
    }

    #[test]
    fn a_weight_is_so_many_rows() {
        let (scores, labels) = ([0.9, 0.8, 0.3, 0.2], [1.0, 0.0, 1.0, 0.0]);
        let (weights, mut more) = ([3.0, 1.0, 2.0, 4.0], Confusion::default());
        let mut repeated = (Vec::new(), Vec::new());
        for row in 0..4 {
            more.add(scores[row] >= 0.5, labels[row] == 1.0, weights[row]);
            for _ in 0..weights[row] as usize {
                repeated.0.push(scores[row]);
                repeated.1.push(labels[row]);
            }
        }
        let found = figures(&scores, &labels, &weights, &more);
        let expected = figures(&repeated.0, &repeated.1, &[], &Confusion::at(0.5, &repeated.0, &repeated.1, &[]));
        for (name, value) in found {
            assert!((value - expected[name]).abs() < 1e-12, "{name}: {value} {}", expected[name]);
        }
    }
}
