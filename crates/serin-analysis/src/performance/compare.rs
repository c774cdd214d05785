//! Two models on the same matured rows: what differs, how sure that is, and whether one may take the other's place.

use crate::classification::log_loss;
use crate::draws::Draws;
use crate::ranking;
use std::fmt::Write;

/// Probability that lies beyond each end of an interval: 95 % two-sided.
const TAIL: f64 = 0.025;

/// One matured row as both models saw it. In each pair the present model comes first, then the one that would replace it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairedRow {
    /// True for a fraud, false for a genuine transaction.
    pub fraud: bool,
    /// Amount of the transaction, in the unit of the cost of a review.
    pub amount: f64,
    /// Score of each model, a probability of fraud from 0 to 1; NaN where the model gave no number.
    pub scores: [f32; 2],
    /// Whether each model alerts, at its own threshold.
    pub alerts: [bool; 2],
    /// Number of rows that this row stands for; 1, where none was let through by exploration.
    pub weight: f64,
}

/// One figure of both models.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// The figure of the present model, then of the other one.
    pub values: [f64; 2],
    /// How much better the other model is, in the figure's unit: above 0 is better, whatever the figure.
    pub gain: f64,
    /// Lower and upper end of the gain's 95 % interval.
    pub interval: (f64, f64),
}

/// Two models compared on the same rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Number of rows that were compared.
    pub rows: u64,
    /// Number of the rows that are frauds.
    pub frauds: u64,
    /// Average precision, 0 to 1.
    pub average_precision: Difference,
    /// Fraction of the frauds that are alerts, 0 to 1.
    pub recall: Difference,
    /// Money lost: amounts of missed frauds, plus the cost of a review for each alert.
    pub cost: Difference,
    /// Whether an amount is known of any row. Without one the cost is that of the reviews alone, and no figure to judge by.
    pub has_amounts: bool,
    /// Mean negative log likelihood in nats: how well scores are probabilities.
    pub log_loss: Difference,
}

/// Figures of one model on weighted rows.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    average_precision: f64,
    recall: f64,
    cost: f64,
    log_loss: f64,
}

/// Order of the rows by one model's scores, and the log loss of each row in the order of the rows.
struct Ranked {
    /// Row index, and true if the row's score differs from the one before; descending by score, NaN counts as minus
    /// infinity.
    order: Vec<(u32, bool)>,
    losses: Vec<f64>,
}

impl Ranked {
    fn of(rows: &[PairedRow], side: usize) -> Self {
        let score = |row: u32| rows[row as usize].scores[side];
        let key = |row: u32| if score(row).is_nan() { f32::NEG_INFINITY } else { score(row) };
        let order = ranking::descending(&rows.iter().map(|row| row.scores[side]).collect::<Vec<f32>>());
        let starts = order.iter().enumerate().map(|(i, row)| (*row, i == 0 || key(order[i - 1]) != key(*row)));
        let loss = |row: &PairedRow| {
            let score = row.scores[side];
            // A score that is no number is as wrong as a score can be.
            let score = if score.is_nan() { f32::from(u8::from(!row.fraud)) } else { score };
            log_loss(&[score], &[f32::from(u8::from(row.fraud))], &[])
        };
        Self { order: starts.collect(), losses: rows.iter().map(loss).collect() }
    }

    fn figures(&self, rows: &[PairedRow], side: usize, weights: &[f64], review_cost: f64) -> Figures {
        let mut found = Figures::default();
        let (mut frauds, mut caught, mut all) = (0.0, 0.0, 0.0);
        for (row, weight) in rows.iter().zip(weights) {
            all += weight;
            if row.fraud {
                frauds += weight;
                caught += weight * f64::from(u8::from(row.alerts[side]));
            }
            if row.alerts[side] {
                found.cost += weight * review_cost;
            } else if row.fraud {
                found.cost += weight * row.amount;
            }
        }
        found.log_loss = self.losses.iter().zip(weights).map(|(loss, weight)| loss * weight).sum::<f64>() / all;
        if frauds == 0.0 {
            return found;
        }
        found.recall = caught / frauds;
        let (mut seen, mut hits, mut hits_before) = (0.0, 0.0, 0.0);
        for (row, starts) in &self.order {
            if *starts && seen > 0.0 {
                found.average_precision += (hits - hits_before) * hits / seen;
                hits_before = hits;
            }
            let weight = weights[*row as usize];
            seen += weight;
            hits += weight * f64::from(u8::from(rows[*row as usize].fraud));
        }
        if seen > 0.0 {
            found.average_precision += (hits - hits_before) * hits / seen;
        }
        found.average_precision /= frauds;
        found
    }
}

/// Compares both models on the rows. Intervals come from `resamples` paired bootstrap samples of rows (Efron's percentile
/// interval); rows of one card are taken as independent. The order of the rows changes nothing. None without rows.
#[must_use]
pub fn compare(rows: &[PairedRow], review_cost: f64, resamples: usize, seed: u64) -> Option<Comparison> {
    if rows.is_empty() {
        return None;
    }
    // A resample draws places: rows of another order, as several threads log them, would be other resamples.
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| {
        let PairedRow { fraud, amount, scores, alerts, weight } = row;
        (scores.map(f32::to_bits), *fraud, amount.to_bits(), *alerts, weight.to_bits())
    });
    let rows = &rows[..];
    let ranked = [Ranked::of(rows, 0), Ranked::of(rows, 1)];
    let both = |weights: &[f64]| [0, 1].map(|side| ranked[side].figures(rows, side, weights, review_cost));
    let found = both(&rows.iter().map(|row| row.weight).collect::<Vec<_>>());
    let mut draws = Draws(seed);
    let mut weights = vec![0.0; rows.len()];
    let mut samples: Vec<[Figures; 2]> = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        weights.fill(0.0);
        for _ in 0..rows.len() {
            let row = draws.below(rows.len() as u64);
            weights[row] += rows[row].weight;
        }
        samples.push(both(&weights));
    }
    let difference = |figure: fn(&Figures) -> f64, sign: f64| {
        let gain = |pair: &[Figures; 2]| sign * (figure(&pair[1]) - figure(&pair[0]));
        let mut gains: Vec<f64> = samples.iter().map(gain).collect();
        gains.sort_by(f64::total_cmp);
        let at = |share: f64| gains.get(((gains.len() as f64 - 1.0) * share).round() as usize).copied();
        let gain = gain(&found);
        let interval = (at(TAIL).unwrap_or(f64::NEG_INFINITY), at(1.0 - TAIL).unwrap_or(f64::INFINITY));
        Difference { values: found.each_ref().map(figure), gain, interval }
    };
    Some(Comparison {
        rows: rows.len() as u64,
        has_amounts: rows.iter().any(|row| row.amount != 0.0),
        frauds: rows.iter().filter(|row| row.fraud).count() as u64,
        average_precision: difference(|figures| figures.average_precision, 1.0),
        recall: difference(|figures| figures.recall, 1.0),
        cost: difference(|figures| figures.cost, -1.0),
        log_loss: difference(|figures| figures.log_loss, -1.0),
    })
}

/// What a challenger must show to go on to a rollout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GateRules {
    /// Least number of matured frauds to judge by.
    pub min_frauds: u64,
    /// Average precision, 0 to 1, that it may lose at the lower end of the interval.
    pub average_precision_margin: f64,
    /// Fraction of the present cost that it may add.
    pub cost_margin: f64,
    /// Fraction of the present log loss that it may add.
    pub log_loss_margin: f64,
    /// Factor by which it may take longer for a row than the champion, and microseconds for a row up to which any time is
    /// fine.
    pub latency: (f64, f64),
}

impl Default for GateRules {
    fn default() -> Self {
        Self {
            min_frauds: 50,
            average_precision_margin: 0.02,
            cost_margin: 0.05,
            log_loss_margin: 0.10,
            latency: (1.5, 20.0),
        }
    }
}

/// Whether a challenger may go on to a rollout, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// The challenger is not worse in anything and better in something; holds what it is better in.
    Accept(String),
    /// The challenger must not go on; holds every reason.
    Discard(String),
}

/// Judges a challenger. `latency_us` is the time for a row in microseconds, of the champion and of the challenger. The
/// challenger must be no worse by more than the margins even at the bad end of the intervals, and better in average
/// precision or cost even there.
#[must_use]
pub fn gate(found: Option<&Comparison>, latency_us: [f64; 2], rules: &GateRules) -> Gate {
    let Some(found) = found else { return Gate::Discard("there is no matured row to judge by".to_owned()) };
    let mut against = String::new();
    let mut object = |reason: std::fmt::Arguments<'_>| {
        let comma = if against.is_empty() { "" } else { "; " };
        let _ = write!(against, "{comma}{reason}");
    };
    if found.frauds < rules.min_frauds {
        object(format_args!("{} matured frauds, {} are needed to judge", found.frauds, rules.min_frauds));
    }
    let ap = &found.average_precision;
    if ap.interval.0 < -rules.average_precision_margin {
        object(format_args!(
            "average precision {:.4} against {:.4}: it may be worse by {:.4}",
            ap.values[1], ap.values[0], -ap.interval.0
        ));
    }
    let cost = found.has_amounts.then_some(("cost", &found.cost, rules.cost_margin));
    for (name, difference, margin) in cost.into_iter().chain([("log loss", &found.log_loss, rules.log_loss_margin)]) {
        if difference.interval.0 < -margin * difference.values[0].abs() {
            object(format_args!(
                "{name} {:.4} against {:.4}: it may be worse by {:.4}",
                difference.values[1], difference.values[0], -difference.interval.0
            ));
        }
    }
    let (times, unseen) = rules.latency;
    if latency_us[1] > unseen && latency_us[1] > times * latency_us[0] {
        object(format_args!("{:.1} µs a row against {:.1}", latency_us[1], latency_us[0]));
    }
    let better = [("average precision", ap)]
        .into_iter()
        .chain(cost.map(|(name, difference, _)| (name, difference)))
        .filter(|(_, difference)| difference.interval.0 > 0.0)
        .map(|(name, difference)| format!("{name} {:.4} against {:.4}", difference.values[1], difference.values[0]))
        .collect::<Vec<_>>();
    if better.is_empty() {
        object(format_args!(
            "no proof that it is better: average precision {:.4} against {:.4}, cost {:.2} against {:.2}",
            ap.values[1], ap.values[0], found.cost.values[1], found.cost.values[0]
        ));
    }
    if against.is_empty() {
        Gate::Accept(format!("not worse, and better in {}", better.join(" and ")))
    } else {
        Gate::Discard(against)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classification::{average_precision, steps};

    /// `skill`: how far frauds stand out in the challenger's scores; the champion's is 1.
    fn rows(n: usize, skill: f32) -> Vec<PairedRow> {
        let mut draws = Draws(7);
        let mut unit = || draws.below(1 << 24) as f32 / (1u32 << 24) as f32;
        (0..n)
            .map(|_| {
                let fraud = unit() < 0.02;
                let scores = [1.0, skill].map(|skill| {
                    let lift = if fraud { 0.5 * skill * unit() } else { 0.0 };
                    (unit() * 0.6 + lift).clamp(0.001, 0.999)
                });
                PairedRow { fraud, amount: 50.0, scores, alerts: scores.map(|score| score >= 0.6), weight: 1.0 }
            })
            .collect()
    }

    #[test]
    fn average_precision_is_that_of_the_whole_rows() {
        let rows = rows(3000, 1.5);
        let found = compare(&rows, 1.0, 50, 1).expect("rows");
        for side in 0..2 {
            let scores: Vec<f32> = rows.iter().map(|row| row.scores[side]).collect();
            let labels: Vec<f32> = rows.iter().map(|row| f32::from(u8::from(row.fraud))).collect();
            let expected = average_precision(&steps(&scores, &labels, &[]));
            assert!((found.average_precision.values[side] - expected).abs() < 1e-12);
        }
        assert!(found.average_precision.interval.0 <= found.average_precision.gain);
        assert!(found.average_precision.gain <= found.average_precision.interval.1);
        assert_eq!(compare(&rows, 1.0, 50, 1), compare(&rows, 1.0, 50, 1));
        let turned: Vec<PairedRow> = rows.iter().rev().copied().collect();
        assert_eq!(compare(&turned, 1.0, 50, 1), compare(&rows, 1.0, 50, 1), "the order of a log is chance");
        assert!(compare(&[], 1.0, 50, 1).is_none());
    }

    #[test]
    fn only_a_proven_gain_without_a_loss_is_accepted() {
        let rules = GateRules { log_loss_margin: 0.3, ..GateRules::default() };
        let judge = |skill, n| gate(compare(&rows(n, skill), 1.0, 300, 1).as_ref(), [1.0, 1.0], &rules);
        assert!(matches!(judge(3.0, 8000), Gate::Accept(_)), "{:?}", judge(3.0, 8000));
        assert!(matches!(judge(0.0, 8000), Gate::Discard(_)), "worse");
        let Gate::Discard(reason) = judge(3.0, 500) else { panic!("too few frauds must not pass") };
        assert!(reason.contains("matured frauds, 50 are needed"), "{reason}");
        let same: Vec<PairedRow> = rows(8000, 1.0)
            .into_iter()
            .map(|row| PairedRow { scores: [row.scores[0]; 2], alerts: [row.alerts[0]; 2], ..row })
            .collect();
        let Gate::Discard(reason) = gate(compare(&same, 1.0, 100, 1).as_ref(), [1.0, 1.0], &rules) else {
            panic!("the same model is no gain")
        };
        assert!(reason.contains("no proof that it is better"), "{reason}");
        let slow = gate(compare(&rows(8000, 3.0), 1.0, 100, 1).as_ref(), [10.0, 90.0], &rules);
        assert!(matches!(slow, Gate::Discard(reason) if reason.contains("90.0 µs")));
        assert!(matches!(gate(None, [1.0, 1.0], &rules), Gate::Discard(_)));
    }
}
