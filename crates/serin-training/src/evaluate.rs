//! Every metric of a scored window, by name.

use serin_analysis::classification::{Confusion, card_precision, cost, figures};
use serin_analysis::threshold::Rule;
use serin_dataset::Dataset;
use serin_scoring::Forest;
use std::collections::BTreeMap;

const DAY_MS: i64 = 86_400_000;

/// Scores of a window of rows, and its length.
#[derive(Debug)]
pub struct Window {
    /// Score of each row, 0 to 1, in row order.
    pub scores: Vec<f32>,
    /// Length of the window in days, at least one.
    pub days: f64,
}

/// Figures of a model on one window.
#[derive(Debug)]
pub struct Evaluation {
    /// Scores of the window's rows, and its length.
    pub window: Window,
    /// Threshold that the rule chose: scores from it up are alerts.
    pub threshold: f32,
    /// Metric values by name; a metric that needs a missing column is left out.
    pub metrics: BTreeMap<String, f64>,
}

/// Scores `dataset` and computes its metrics. The threshold is `rule`'s choice on the same rows, so the figures
/// at the threshold are those that the rule promises on this window, not an estimate for the next.
#[must_use]
pub fn evaluate(forest: &Forest, dataset: &Dataset, rule: Rule, review_cost: f64) -> Evaluation {
    let mut scores = vec![0.0; dataset.rows()];
    forest.margins_into(&dataset.features, &mut scores);
    forest.scores_from_margins(&mut scores);
    let days: Vec<i64> = dataset.times.iter().map(|ms| ms.div_euclid(DAY_MS)).collect();
    let first_last = days.iter().min().zip(days.iter().max());
    let length = first_last.map_or(1.0, |(first, last)| (last - first + 1) as f64);
    let labels = &dataset.labels;
    let (amounts, weights) = (&dataset.amounts, dataset.weights.iter().copied().map(f64::from).collect::<Vec<_>>());
    let threshold = rule.choose(&scores, labels, amounts, &weights, length);

    let mut metrics = figures(&scores, labels, &weights, &Confusion::at(threshold, &scores, labels, &weights));
    metrics.insert("rows", labels.len() as f64);
    metrics.insert("frauds", f64::from(labels.iter().sum::<f32>()));
    // Which cards come first says nothing of those that a row stands for.
    if !dataset.entities.is_empty() && !days.is_empty() && weights.is_empty() {
        metrics.insert("card_precision_at_100", card_precision(&scores, labels, &days, &dataset.entities, 100));
    }
    if !amounts.is_empty() {
        let at = |threshold| cost(threshold, &scores, labels, amounts, &weights, review_cost);
        metrics.insert("cost", at(threshold));
        metrics.insert("cost_without_model", at(f32::INFINITY));
    }
    let metrics = metrics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Evaluation { window: Window { scores, days: length }, threshold, metrics }
}
