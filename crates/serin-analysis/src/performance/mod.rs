//! How decisions turned out, as far as that is known: metrics over matured rows, how many rows those are, and an estimate
//! for the rest that is called one.
//!
//! A row is *matured* when it is older than the delay after which labels are complete. Younger rows never count, though
//! some have labels: those that came early are mostly frauds, or mostly alerts, and the figures would be of them.

mod calibration;
mod compare;
mod guard;
mod measure;
mod tally;

use std::collections::BTreeMap;

pub use calibration::Calibration;
pub use compare::{Comparison, Difference, Gate, GateRules, PairedRow, compare, gate};
pub use guard::{GuardRules, GuardVerdict, Guarded, guard};
pub use tally::{MeasureRules, Tally};

const DAY_MS: i64 = 86_400_000;
/// Greatest number of points of a curve.
pub const POINTS: usize = 200;

/// One decision with what is known of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// Time of the transaction, epoch milliseconds.
    pub at_ms: i64,
    /// Number of the decision, such as its id: rows of one time are summed in its order.
    pub decision: u128,
    /// Score that the model gave, 0 to 1; NaN where it had no number.
    pub score: f32,
    /// True if the score reached the model's threshold, whatever exploration did then.
    pub alert: bool,
    /// What exploration did with the alert; none where it had no part.
    pub explored: Option<Explored>,
    /// True for a fraud, false for a genuine transaction; none without a label.
    pub fraud: Option<bool>,
    /// Amount of the transaction, in the unit of the cost of a review; 0 where none is known.
    pub amount: f64,
    /// Key of the card or customer, for card precision; 0 where none is known.
    pub card: u64,
}

/// What exploration did with an alert: let it through, to learn what becomes of such payments, or not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Explored {
    /// Probability with which the alert was let through, above 0 and at most 1.
    pub propensity: f64,
    /// True if the alert was let through, false if it was held.
    pub let_through: bool,
}

impl Scored {
    /// How many decisions this one stands for: an alert that exploration let through also for those like it that it did
    /// not, whose outcomes are of stopped payments or unknown (inverse propensity; Horvitz and Thompson 1952).
    fn weight(&self) -> f64 {
        match self.explored {
            None => 1.0,
            Some(explored) if explored.let_through => 1.0 / explored.propensity,
            Some(_) => 0.0,
        }
    }
}

/// Rule by which a row and its label count in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maturity {
    /// Age from which a row counts, milliseconds.
    pub delay_ms: i64,
    /// True if a matured row without a label counts as genuine, as where only chargebacks are reported; such a row is left
    /// out otherwise.
    pub unlabelled_is_genuine: bool,
}

impl Default for Maturity {
    /// Rows count after seven days; those without a label are left out.
    fn default() -> Self {
        Self { delay_ms: 7 * DAY_MS, unlabelled_is_genuine: false }
    }
}

impl Maturity {
    /// Returns the label that counts at `as_of_ms` (epoch milliseconds): none for a row that is too young, or about which
    /// nothing is known.
    #[must_use]
    pub fn label(&self, at_ms: i64, known: Option<bool>, as_of_ms: i64) -> Option<bool> {
        if !self.is_matured(at_ms, as_of_ms) {
            return None;
        }
        known.or(self.unlabelled_is_genuine.then_some(false))
    }

    /// Returns whether what happened at `at_ms` is old enough at `as_of_ms`, both epoch milliseconds.
    #[must_use]
    pub fn is_matured(&self, at_ms: i64, as_of_ms: i64) -> bool {
        at_ms.saturating_add(self.delay_ms) <= as_of_ms
    }
}

/// Scores and outcomes of one bin of the reliability curve, a tenth of the rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reliability {
    /// Number of rows in the bin.
    pub rows: u64,
    /// Mean score of the rows in the bin, 0 to 1.
    pub expected: f64,
    /// Fraction of the rows in the bin that are frauds, 0 to 1.
    pub observed: f64,
}

/// What performance would be, if scores meant what they meant on the matured rows (CBPE, NannyML's estimate): blind to
/// frauds that the model does not see. Over all rows, matured or not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Expected number of frauds.
    pub frauds: f64,
    /// Expected precision of the alerts, 0 to 1; NaN without an alert.
    pub precision: f64,
    /// Expected recall, 0 to 1; NaN without a fraud to expect.
    pub recall: f64,
    /// Expected average precision, 0 to 1.
    pub average_precision: f64,
}

/// How the decisions of a window turned out.
#[derive(Debug, Clone, PartialEq)]
pub struct Performance {
    /// Number of decisions in the window.
    pub decisions: u64,
    /// Number of decisions old enough to count.
    pub matured: u64,
    /// Number of matured decisions with a label; the metrics are of these.
    pub labelled: u64,
    /// Number of labelled decisions that are frauds.
    pub frauds: u64,
    /// Number of labelled decisions that are alerts which exploration let through: each stands for more, by its propensity.
    pub explored: u64,
    /// Number of matured alerts that exploration did not let through; those that it did stand for them.
    pub held: u64,
    /// Number of alerts among all decisions.
    pub alerts: u64,
    /// Metrics by name, as `serin evaluate` calls them; empty where no row counts, and without those that are not defined.
    pub metrics: BTreeMap<&'static str, f64>,
    /// Bins of the reliability curve, from low scores to high.
    pub reliability: Vec<Reliability>,
    /// Points (recall, precision) at falling thresholds, at most [`POINTS`] of them.
    pub precision_recall: Vec<(f64, f64)>,
    /// Estimate over all decisions; none without matured frauds to calibrate on.
    pub estimate: Option<Estimate>,
}

impl Performance {
    /// Fraction of all decisions whose outcome is known and counted, 0 to 1.
    #[must_use]
    pub fn coverage(&self) -> f64 {
        share(self.labelled, self.decisions)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Measures rows as of `as_of_ms`, epoch milliseconds, with 100 cards a day.
    fn measure(rows: &[Scored], maturity: Maturity, as_of_ms: i64, review_cost: f64) -> Performance {
        let frauds = rows.iter().filter(|row| row.fraud == Some(true)).count();
        let mut tally = Tally::by(MeasureRules { maturity, as_of_ms, review_cost, cards: 100, frauds });
        rows.iter().for_each(|row| tally.add(row));
        tally.measured()
    }

    fn row(day: i64, score: f32, fraud: Option<bool>) -> Scored {
        Scored {
            at_ms: day * DAY_MS,
            decision: 0,
            score,
            alert: score >= 0.5,
            explored: None,
            fraud,
            amount: 10.0,
            card: 1,
        }
    }

    #[test]
    fn young_rows_never_count_whatever_is_known_of_them() {
        let rows = [row(0, 0.9, Some(true)), row(0, 0.1, Some(false)), row(9, 0.8, Some(true)), row(1, 0.7, None)];
        let found = measure(&rows, Maturity::default(), 10 * DAY_MS, 1.0);
        assert_eq!((found.decisions, found.matured, found.labelled, found.frauds), (4, 3, 2, 1));
        assert_eq!(found.coverage(), 0.5);
        assert_eq!((found.metrics["recall"], found.metrics["cost"], found.metrics["auc_roc"]), (1.0, 1.0, 1.0));
        let genuine = Maturity { unlabelled_is_genuine: true, ..Maturity::default() };
        let found = measure(&rows, genuine, 10 * DAY_MS, 1.0);
        assert_eq!((found.labelled, found.metrics["precision"]), (3, 0.5));
    }

    #[test]
    fn nothing_one_class_and_no_number_have_answers() {
        let found = measure(&[], Maturity::default(), 0, 0.0);
        assert_eq!((found.decisions, found.metrics.len(), found.coverage()), (0, 0, 0.0));
        let found = measure(&[row(0, 0.2, Some(false))], Maturity::default(), 8 * DAY_MS, 0.0);
        assert!(!found.metrics.contains_key("auc_roc") && found.estimate.is_none());
        assert_eq!(found.metrics["recall"], 0.0);
        let rows = [row(0, f32::NAN, Some(true)), row(0, 0.7, Some(true)), row(0, 0.2, Some(false))];
        let found = measure(&rows, Maturity::default(), 8 * DAY_MS, 0.0);
        assert_eq!(found.metrics["recall"], 0.5);
        assert_eq!(found.reliability.iter().map(|bin| bin.rows).sum::<u64>(), 2);
        let mature_exactly = measure(&rows, Maturity::default(), 7 * DAY_MS, 0.0);
        assert_eq!(mature_exactly.matured, 3);
    }

    #[test]
    fn the_estimate_is_the_truth_where_the_scores_mean_the_same() {
        // 1,000 rows whose score is the probability of fraud, on a grid.
        let rows: Vec<Scored> =
            (0..1000).map(|i| row(i % 5, (i % 10) as f32 / 10.0, Some((i / 10) % 10 < i % 10))).collect();
        let found = measure(&rows, Maturity::default(), 20 * DAY_MS, 0.0);
        let estimate = found.estimate.expect("there are frauds");
        assert!((estimate.frauds - found.frauds as f64).abs() < 1e-6, "{estimate:?}");
        assert!((estimate.recall - found.metrics["recall"]).abs() < 1e-6);
        assert!((estimate.average_precision - found.metrics["average_precision"]).abs() < 1e-6);
    }

    #[test]
    fn an_alert_that_was_let_through_stands_for_those_that_were_not() {
        // 4,000 alerts of which 3 in 10 are frauds; a quarter was let through, and only those have labels that mean anything.
        let mut rows: Vec<Scored> =
            (0..4000).map(|i| row(0, 0.6 + (i % 7) as f32 / 100.0, Some(i / 4 % 10 < 3))).collect();
        for (number, row) in rows.iter_mut().enumerate() {
            row.explored = Some(Explored { propensity: 0.25, let_through: number % 4 == 0 });
        }
        // Held ones look genuine: nobody lost money on them.
        rows.iter_mut().filter(|row| row.weight() == 0.0).for_each(|row| row.fraud = Some(false));
        rows.extend((0..6000).map(|i| row(0, 0.1, Some(i % 100 == 0))));
        let found = measure(&rows, Maturity::default(), 8 * DAY_MS, 1.0);
        assert_eq!((found.explored, found.held, found.labelled, found.alerts), (1000, 3000, 7000, 4000));
        for (name, expected) in [
            ("precision", 0.3),
            ("recall", 1200.0 / 1260.0),
            ("alert_rate", 0.4),
            ("fraud_rate", 0.126),
            ("cost", 4000.0 + 600.0),
            ("cost_without_model", 12_600.0),
        ] {
            assert!((found.metrics[name] - expected).abs() < 1e-9, "{name} {}", found.metrics[name]);
        }
        assert!(!found.metrics.contains_key("card_precision"));
        assert!((found.estimate.expect("frauds").frauds - 1260.0).abs() < 10.0);
    }
}
