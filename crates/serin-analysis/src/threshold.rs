//! Where to draw the line between alert and no alert.

use crate::classification::steps;

/// Rule by which the threshold of a model is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// The threshold is this score; nothing is computed.
    Fixed(f32),
    /// The threshold lets at most this fraction of rows, 0 to 1, be alerts.
    AlertRate(f64),
    /// The threshold lets at most this many alerts a day be raised, on average over the window.
    ReviewCapacity(f64),
    /// The threshold loses the least money: amounts of missed frauds, plus this cost for each alert that is reviewed.
    Cost(f64),
}

impl Rule {
    /// Returns the threshold that the rule gives on scored, labelled rows. `days` is the length of the window. `amounts` is
    /// read by [`Rule::Cost`] only. `weights` may be empty: every row counts 1 then. Rows of equal score stay together on
    /// the quiet side, so that a budget is never exceeded.
    #[must_use]
    pub fn choose(self, scores: &[f32], labels: &[f32], amounts: &[f64], weights: &[f64], days: f64) -> f32 {
        let rows = if weights.is_empty() { scores.len() as f64 } else { weights.iter().sum() };
        match self {
            Self::Fixed(threshold) => threshold,
            Self::AlertRate(rate) => budget(scores, labels, weights, rate * rows),
            Self::ReviewCapacity(per_day) => budget(scores, labels, weights, per_day * days),
            Self::Cost(review) => cheapest(scores, labels, amounts, weights, review),
        }
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(threshold) => write!(f, "threshold {threshold}"),
            Self::AlertRate(rate) => write!(f, "alert rate {rate}"),
            Self::ReviewCapacity(per_day) => write!(f, "review capacity {per_day}/day"),
            Self::Cost(review) => write!(f, "least cost, review cost {review}"),
        }
    }
}

/// Text that names no rule for a threshold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no rule for a threshold")]
pub struct UnknownRule(String);

impl std::str::FromStr for Rule {
    type Err = UnknownRule;

    /// Reads what `Display` writes, as model packages keep it.
    fn from_str(text: &str) -> Result<Self, UnknownRule> {
        let number = |prefix: &str, suffix: &str| text.strip_prefix(prefix)?.strip_suffix(suffix)?.parse::<f64>().ok();
        let fixed = || text.strip_prefix("threshold ")?.parse().ok().map(Self::Fixed);
        fixed()
            .or_else(|| number("alert rate ", "").map(Self::AlertRate))
            .or_else(|| number("review capacity ", "/day").map(Self::ReviewCapacity))
            .or_else(|| number("least cost, review cost ", "").map(Self::Cost))
            .ok_or_else(|| UnknownRule(text.to_owned()))
    }
}

/// Returns the least threshold above every score, so that nothing is an alert.
fn above_all(scores: &[f32]) -> f32 {
    scores.iter().copied().fold(0.0f32, f32::max).next_up()
}

fn budget(scores: &[f32], labels: &[f32], weights: &[f64], alerts: f64) -> f32 {
    let steps = steps(scores, labels, weights);
    let affordable = |step: &&crate::classification::Step| step.true_positives + step.false_positives <= alerts;
    steps.iter().take_while(affordable).last().map_or_else(|| above_all(scores), |step| step.threshold)
}

fn cheapest(scores: &[f32], labels: &[f32], amounts: &[f64], weights: &[f64], review: f64) -> f32 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let weight = |row: usize| weights.get(row).copied().unwrap_or(1.0);
    let missed_all: f64 =
        (0..scores.len()).filter(|&row| labels[row] == 1.0).map(|row| amounts[row] * weight(row)).sum();
    let (mut best, mut least, mut now) = (above_all(scores), missed_all, missed_all);
    for (place, &row) in order.iter().enumerate() {
        now += weight(row) * (review - if labels[row] == 1.0 { amounts[row] } else { 0.0 });
        let tied = order.get(place + 1).is_some_and(|next| scores[*next] == scores[row]);
        if !tied && now < least {
            (best, least) = (scores[row], now);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_as_it_is_written() {
        for rule in [Rule::Fixed(0.1), Rule::AlertRate(1e-7), Rule::ReviewCapacity(200.0), Rule::Cost(2.5)] {
            assert_eq!(rule.to_string().parse(), Ok(rule));
        }
        assert!("alert rate often".parse::<Rule>().is_err());
    }

    const SCORES: [f32; 5] = [0.9, 0.8, 0.8, 0.3, 0.1];
    const LABELS: [f32; 5] = [1.0, 0.0, 1.0, 0.0, 0.0];

    #[test]
    fn a_budget_is_never_exceeded_by_ties() {
        assert_eq!(
            Rule::AlertRate(0.4).choose(&SCORES, &LABELS, &[], &[], 1.0),
            0.9,
            "0.8 twice would be three alerts"
        );
        assert_eq!(Rule::AlertRate(0.6).choose(&SCORES, &LABELS, &[], &[], 1.0), 0.8);
        assert_eq!(Rule::ReviewCapacity(1.0).choose(&SCORES, &LABELS, &[], &[], 3.0), 0.8);
        assert!(Rule::AlertRate(0.0).choose(&SCORES, &LABELS, &[], &[], 1.0) > 0.9);
    }

    #[test]
    fn the_cheapest_line_weighs_missed_money_against_reviews() {
        let amounts = [100.0, 1.0, 30.0, 1.0, 1.0];
        assert_eq!(Rule::Cost(5.0).choose(&SCORES, &LABELS, &amounts, &[], 1.0), 0.8);
        assert_eq!(Rule::Cost(20.0).choose(&SCORES, &LABELS, &amounts, &[], 1.0), 0.9);
        assert!(Rule::Cost(200.0).choose(&SCORES, &LABELS, &amounts, &[], 1.0) > 0.9);
    }
}
