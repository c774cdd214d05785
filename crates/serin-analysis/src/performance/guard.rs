//! After a promotion: whether the version before it would have done better on the same matured transactions, in frauds found at
//! as many alerts and in money, with a stated probability of undoing a promotion that did no harm.

use super::compare::{Comparison, Difference, PairedRow, compare};
use crate::classification::steps;
use crate::draws::Draws;

/// Number of bootstrap samples for the intervals that are shown.
const RESAMPLES: usize = 1000;

/// How often and how strictly a promoted version is compared with the one before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GuardRules {
    /// Number of matured frauds at the first look; each next look comes at twice as many.
    pub min_frauds: u64,
    /// Number of looks after a promotion.
    pub looks: u32,
    /// Probability, at most, that a version as good as the one before it is undone by any of the looks (each test at its
    /// share of it, by Bonferroni).
    pub error: f64,
}

impl Default for GuardRules {
    /// Looks at 50, 100, 200, 400 and 800 frauds, and undoes one good promotion in a hundred at most.
    fn default() -> Self {
        Self { min_frauds: 50, looks: 5, error: 0.01 }
    }
}

impl GuardRules {
    /// Returns the number of looks, from 1, that are done with the look that is due at this many matured frauds, when `done`
    /// of them were done before; none where no further one is due. Where the frauds of several looks come at once, one look
    /// stands for them all.
    #[must_use]
    pub fn due(&self, done: u32, frauds: u64) -> Option<u32> {
        let passed = (0..self.looks).take_while(|look| frauds >> look >= self.min_frauds.max(1)).count() as u32;
        (passed > done).then_some(passed)
    }

    /// Probability of an error of one test: two figures at each look, one side.
    fn level(&self) -> f64 {
        self.error / f64::from(2 * self.looks.max(1))
    }
}

/// One matured transaction as both versions saw it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guarded {
    /// Time of the transaction, epoch milliseconds.
    pub at_ms: i64,
    /// True for a fraud, false for a genuine transaction.
    pub fraud: bool,
    /// Amount of the transaction, in the unit of the cost of a review.
    pub amount: f64,
    /// Score of the version before and of the promoted one, 0 to 1; NaN where it gave no number.
    pub scores: [f32; 2],
    /// Number of decisions that the row stands for.
    pub weight: f64,
}

/// Result of one look.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardVerdict {
    /// Comparison with as many alerts of each version as the promoted one raised: only the order of scores counts.
    pub at_budget: Comparison,
    /// Comparison with each version at its own threshold: what money says.
    pub at_thresholds: Comparison,
    /// Reason for which the promotion is to be undone; none where no loss is proven.
    pub loss: Option<String>,
}

/// Compares the version before (first) with the promoted one, each with its threshold. None where no row is a fraud. Cost
/// counts only where reviews cost something and frauds have amounts.
#[must_use]
pub fn guard(rows: &[Guarded], thresholds: [f32; 2], review_cost: f64, rules: &GuardRules) -> Option<GuardVerdict> {
    let alerts = rows.iter().filter(|row| row.scores[1] >= thresholds[1]).map(|row| row.weight).sum::<f64>();
    let equal = [line(rows, alerts), thresholds[1]];
    // What is neither fraud nor an alert adds nothing to recall and cost.
    let paired = |lines: [f32; 2]| {
        let pair = |row: &Guarded| {
            let alerts = [0, 1].map(|side| row.scores[side] >= lines[side]);
            let kept = row.fraud || alerts[0] || alerts[1];
            let Guarded { fraud, amount, scores, weight, .. } = *row;
            kept.then_some(PairedRow { fraud, amount, scores, alerts, weight })
        };
        rows.iter().filter_map(pair).collect::<Vec<_>>()
    };
    let (budget, own) = (paired(equal), paired(thresholds));
    let of = |rows: &[PairedRow]| compare(rows, review_cost, RESAMPLES, 0).filter(|found| found.frauds > 0);
    let (at_budget, at_thresholds) = (of(&budget)?, of(&own)?);
    let found = |row: &PairedRow| {
        let gain = f64::from(u8::from(row.alerts[1])) - f64::from(u8::from(row.alerts[0]));
        if row.fraud { row.weight * gain } else { 0.0 }
    };
    let saved = |row: &PairedRow| {
        let cost = |side: usize| match (row.alerts[side], row.fraud) {
            (true, _) => review_cost,
            (false, true) => row.amount,
            (false, false) => 0.0,
        };
        row.weight * (cost(0) - cost(1))
    };
    // Money says nothing while one side of it is unknown.
    let priced = review_cost > 0.0 && rows.iter().any(|row| row.fraud && row.amount > 0.0);
    let mut losses = Vec::new();
    let mut test = |name: &str, shown: &Difference, gains: Vec<f64>| {
        let p = by_chance(&gains, rules.level());
        if p <= rules.level() {
            losses.push(format!(
                "{name} is {:.4}, of the version before it {:.4} on the same transactions (difference {:.4}, 95 % interval {:.4} to {:.4}; by chance in {:.3} % at most)",
                shown.values[1], shown.values[0], -shown.gain, -shown.interval.1, -shown.interval.0, 100.0 * p
            ));
        }
    };
    test("recall at as many alerts", &at_budget.recall, budget.iter().map(found).collect());
    if priced {
        test("cost", &at_thresholds.cost, own.iter().map(saved).collect());
    }
    let loss = (!losses.is_empty()).then(|| format!("{} ({} matured frauds)", losses.join("; "), at_budget.frauds));
    Some(GuardVerdict { at_budget, at_thresholds, loss })
}

/// How likely gains with so low a sum are where neither version is better: each gain would be as likely to be the other
/// one's (paired randomisation; Fisher 1935). A bootstrap would take seven differences of one sign for a proof at 0.001, which
/// chance gives in 1 of 128. Accurate to a third around `level`.
fn by_chance(gains: &[f64], level: f64) -> f64 {
    let mut gains: Vec<f64> = gains.iter().copied().filter(|gain| *gain != 0.0).collect();
    // The flips are drawn by place, and the order of a log is chance.
    gains.sort_by(f64::total_cmp);
    let sum: f64 = gains.iter().sum();
    if sum >= 0.0 {
        return 1.0;
    }
    // Sums of another order differ in the last digits.
    let limit = sum + 1e-9 * gains.iter().map(|gain| gain.abs()).sum::<f64>();
    let flips = (10.0 / level).ceil() as u32;
    let mut draws = Draws(0);
    let mut as_low = 1u32;
    for _ in 0..flips {
        let (mut flipped, mut bits, mut left) = (0.0, 0u64, 0);
        for gain in &gains {
            if left == 0 {
                (bits, left) = (draws.below(1 << 63) as u64, 63);
            }
            flipped += if bits & 1 == 0 { *gain } else { -gain };
            (bits, left) = (bits >> 1, left - 1);
        }
        as_low += u32::from(flipped <= limit);
    }
    f64::from(as_low) / f64::from(flips + 1)
}

/// Returns the lowest threshold at which the version before raises no more alerts than these.
fn line(rows: &[Guarded], alerts: f64) -> f32 {
    let scored = rows.iter().filter(|row| !row.scores[0].is_nan());
    let (scores, weights): (Vec<f32>, Vec<f64>) = scored.map(|row| (row.scores[0], row.weight)).unzip();
    // Whatever they are: alerts of both kinds are counted.
    let steps = steps(&scores, &vec![0.0; scores.len()], &weights);
    let within = steps.iter().take_while(|step| step.false_positives <= alerts).last();
    within.map_or(f32::INFINITY, |step| step.threshold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_come_at_twice_as_many_frauds_and_end() {
        let rules = GuardRules::default();
        let due = |done, frauds| rules.due(done, frauds);
        assert_eq!((due(0, 49), due(0, 50), due(1, 99), due(1, 100)), (None, Some(1), None, Some(2)));
        assert_eq!((due(0, 900), due(5, 9000), due(0, 0)), (Some(5), None, None));
        assert_eq!(due(3, 60), None, "labels that were taken back do not repeat a look");
    }

    #[test]
    fn labels_that_come_late_skip_no_look() {
        // Five frauds a day, labels a month late, ten a day at the end of which all are known: each threshold is crossed once.
        let rules = GuardRules { min_frauds: 50, looks: 3, error: 0.01 };
        for delay in [5_u64, 15, 30] {
            let (mut done, mut looks) = (0, 0);
            for day in 0..120_u64 {
                let frauds = 5 * day.saturating_sub(delay);
                if let Some(now) = rules.due(done, frauds) {
                    (done, looks) = (now, looks + 1);
                }
            }
            assert_eq!((done, looks), (3, 3), "labels after {delay} days");
        }
    }

    /// Frauds score high with this probability, each version for itself; else as genuine ones do.
    fn rows(n: usize, found: [f64; 2], seed: u64) -> Vec<Guarded> {
        let mut draws = Draws(seed);
        let mut unit = || draws.below(1 << 24) as f64 / f64::from(1 << 24);
        (0..n)
            .map(|i| {
                let fraud = unit() < 0.02;
                let scores = found.map(|found| if fraud && unit() < found { 0.9 } else { (unit() * 0.8) as f32 });
                Guarded { at_ms: i as i64, fraud, amount: 100.0, scores, weight: 1.0 }
            })
            .collect()
    }

    #[test]
    fn a_loss_is_proven_and_chance_is_none() {
        let rules = GuardRules::default();
        let verdict = |found, seed| guard(&rows(10_000, found, seed), [0.79, 0.79], 1.0, &rules).expect("frauds");
        let worse = verdict([0.8, 0.4], 1);
        let reason = worse.loss.expect("half of the frauds are missed");
        assert!(reason.contains("recall at as many alerts") && reason.contains("cost"), "{reason}");
        let unpriced = guard(&rows(10_000, [0.8, 0.4], 1), [0.79, 0.79], 0.0, &rules).expect("frauds");
        assert!(unpriced.loss.is_some_and(|loss| !loss.contains("cost")));
        assert!(verdict([0.4, 0.8], 2).loss.is_none(), "better is no loss");
        // The same quality: 60 promotions, five looks' share of the error each.
        assert!((0..60).all(|seed| verdict([0.7, 0.7], 100 + seed).loss.is_none()));
        // The same version.
        let same: Vec<Guarded> =
            rows(5000, [0.7, 0.7], 3).iter().map(|row| Guarded { scores: [row.scores[1]; 2], ..*row }).collect();
        let found = guard(&same, [0.79, 0.79], 1.0, &rules).expect("frauds");
        assert_eq!((found.at_budget.recall.gain, found.at_thresholds.cost.gain, found.loss), (0.0, 0.0, None));
        assert!(guard(&[], [0.5, 0.5], 1.0, &rules).is_none());
        let genuine = [Guarded { at_ms: 0, fraud: false, amount: 1.0, scores: [f32::NAN, 0.9], weight: 1.0 }];
        assert!(guard(&genuine, [0.5, 0.5], 1.0, &rules).is_none());
    }

    #[test]
    fn a_budget_is_of_alerts_and_never_exceeded_by_ties() {
        let row = |score: f32| Guarded { at_ms: 0, fraud: true, amount: 1.0, scores: [score, 0.0], weight: 1.0 };
        let rows = [row(0.9), row(0.8), row(0.8), row(0.1), row(f32::NAN)];
        assert_eq!([0.0, 1.0, 2.0, 3.0, 9.0].map(|alerts| line(&rows, alerts)), [f32::INFINITY, 0.9, 0.9, 0.8, 0.1]);
    }

    #[test]
    fn chance_is_counted_exactly_where_few_rows_differ() {
        // Of n differences of one sign, 1 in 2^n; a bootstrap says e^-n.
        for (n, expected) in [(5, 1.0 / 32.0), (7, 1.0 / 128.0), (10, 1.0 / 1024.0)] {
            let found = by_chance(&vec![-1.0; n], 0.001);
            assert!((found - expected).abs() < 4.0 * (expected / 10_000.0).sqrt() + 2e-4, "{n}: {found}");
        }
        // Versions that differ in a handful of amounts: at level 0.05 no more than so many are losses.
        let mut draws = Draws(5);
        let losses = (0..4000)
            .filter(|_| {
                let n = 3 + draws.below(12);
                let mut gain = || (draws.below(100) + 1) as f64 * if draws.below(2) == 0 { 1.0 } else { -1.0 };
                by_chance(&(0..n).map(|_| gain()).collect::<Vec<_>>(), 0.05) <= 0.05
            })
            .count();
        assert!(losses <= 4000 / 20 + 45, "{losses} of 4000");
        assert_eq!((by_chance(&[], 0.01), by_chance(&[0.0, 1.0], 0.01)), (1.0, 1.0));
    }
}
