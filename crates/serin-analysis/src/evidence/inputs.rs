//! Whether the payments that come look like those a version was trained on: amounts in cents, swapped columns, a clock of
//! another time zone and a feature that was never filled change what it was trained on, column by column.
//!
//! Both versions' packages hold the distribution p, q of each column in their reference. What a payment's value x says is
//! ln p(x)/q(x) in nats, for the stable version when positive. The null is that its mean is at most a tolerance; bets
//! against it (Waudby-Smith & Ramdas 2024) are counts by what they pay, so that they may be added up. Where both
//! references are alike nothing is paid, whatever comes, at whatever hour: traffic alone proves nothing.

use super::mixture;
use super::paired::bets;
use crate::monitor::{ColumnReference, MonitorProfile};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Payoffs are whole multiples of 1/100 nat, rounded against what is to be shown.
const STEPS: f64 = 100.0;
/// Columns whose references are nearer to each other than this say nothing, nats.
const LEAST: f64 = 0.02;
/// A single value says no more than this, nats.
const MOST: f64 = 2.0;
/// Shares below this are taken for this: a reference does not know what is rare.
const RARE: f64 = 1e-3;
/// Cells that a column of many values is cut into, about.
const CELLS: f64 = 8.0;

/// What each live value says for one of two references, in the columns in which the references differ.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InputReferences(Vec<Column>);

#[derive(Debug, Clone, PartialEq)]
struct Column {
    name: String,
    /// Position of the column in the stable version's rows, from 0.
    place: usize,
    /// Upper bounds of the cells but the last, ascending, inclusive.
    bounds: Vec<f32>,
    /// What a value in each cell pays, in units of 1/[`STEPS`] nat.
    payoffs: Vec<i32>,
    missing: i32,
}

impl InputReferences {
    /// Takes the columns that both profiles have and in which their references differ.
    #[must_use]
    pub fn of(stable: &MonitorProfile, candidate: &MonitorProfile) -> Self {
        let column = |(place, column): (usize, &ColumnReference)| {
            let other = candidate.columns.iter().find(|other| other.name == column.name)?;
            // Codes of categories are each version's own.
            (!column.is_category && !other.is_category).then(|| Column::of(place, column, other)).flatten()
        };
        Self(stable.columns.iter().enumerate().filter_map(column).collect())
    }

    /// Counts rows, in the stable version's order of columns, into `counted`.
    pub fn count<'a>(&self, rows: &(impl Iterator<Item = &'a [f32]> + Clone), counted: &mut Inputs) {
        for column in &self.0 {
            let said = counted.0.entry(column.name.clone()).or_default();
            for value in rows.clone().filter_map(|row| row.get(column.place)) {
                let payoff = if value.is_finite() {
                    column.payoffs[column.bounds.partition_point(|bound| bound < value)]
                } else {
                    column.missing
                };
                *said.entry(payoff).or_default() += 1;
            }
        }
    }
}

impl Column {
    fn of(place: usize, stable: &ColumnReference, candidate: &ColumnReference) -> Option<Self> {
        let (p_missing, q_missing) = (stable.missing_share(), candidate.missing_share());
        let (p, q) = (stable.cumulative()?, candidate.cumulative());
        // One that was never there is missing in every row.
        let q = |value| q.as_ref().map_or(0.0, |q| q(value));
        let (mut bounds, mut below) = (Vec::new(), 0.0);
        for edge in stable.edges.values() {
            let share = p(*edge);
            if share - below >= 1.0 / CELLS {
                bounds.push(*edge);
                below = share;
            }
        }
        let says = |p: f64, q: f64| {
            let nats = (p.max(RARE) / q.max(RARE)).ln().clamp(-MOST, MOST);
            (nats * STEPS).floor() as i32
        };
        let ends =
            bounds.iter().map(|bound| (p(*bound), q(*bound))).chain([(1.0, if q_missing < 1.0 { 1.0 } else { 0.0 })]);
        let missing = says(p_missing, q_missing);
        let (mut before, mut payoffs) = ((0.0, 0.0), Vec::new());
        // What rows of the stable version's reference would say on average.
        let mut apart = p_missing * f64::from(missing) / STEPS;
        for (p, q) in ends {
            let (here, there) = ((p - before.0) * (1.0 - p_missing), (q - before.1) * (1.0 - q_missing));
            let payoff = says(here, there);
            apart += here * f64::from(payoff) / STEPS;
            payoffs.push(payoff);
            before = (p, q);
        }
        (apart >= LEAST).then(|| Self { name: stable.name.clone(), place, bounds, payoffs, missing })
    }
}

/// Live rows by column and by what their values say; counts of several processes may be added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Inputs(BTreeMap<String, BTreeMap<i32, u64>>);

impl Inputs {
    /// Adds the counts of another process.
    pub fn merge(&mut self, other: &Self) {
        for (name, said) in &other.0 {
            let mine = self.0.entry(name.clone()).or_default();
            said.iter().for_each(|(payoff, rows)| *mine.entry(*payoff).or_default() += rows);
        }
    }

    /// ln E against "in no column are live values on average more than `most` nats likelier in the stable version's reference
    /// than in the candidate's", and each column's mean in nats, the largest first.
    #[must_use]
    pub fn ln_e(&self, most: f64) -> (f64, Vec<(&str, f64)>) {
        if self.0.is_empty() {
            return (0.0, Vec::new());
        }
        let ln_e = mixture(self.0.values().map(|said| {
            let paid = said.iter().map(|(payoff, rows)| (*rows, f64::from(*payoff) / STEPS - most));
            bets(MOST + most, &paid.collect::<Vec<_>>())
        }));
        let mean = |said: &BTreeMap<i32, u64>| {
            let rows: u64 = said.values().sum();
            said.iter().map(|(payoff, rows)| f64::from(*payoff) / STEPS * *rows as f64).sum::<f64>() / rows as f64
        };
        let mut means: Vec<(&str, f64)> = self.0.iter().map(|(name, said)| (name.as_str(), mean(said))).collect();
        means.sort_by(|a, b| b.1.total_cmp(&a.1));
        (ln_e, means)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::{ReferenceRows, Watched};

    /// Makes the profile of one column from its values.
    fn profile(values: impl Iterator<Item = f32>) -> MonitorProfile {
        let features: Vec<f32> = values.collect();
        let columns = [Watched { name: "AMOUNT".to_owned(), levels: None, gain: 1.0 }];
        let scores = vec![0.1; features.len()];
        MonitorProfile::of(&ReferenceRows {
            columns: &columns,
            features: &features,
            times: &[],
            scores: &scores,
            threshold: 0.5,
        })
    }

    fn amounts(seed: u32) -> impl Iterator<Item = f32> {
        // A linear congruence is random enough for shares of cells.
        let mut state = seed;
        (0..4000).map(move |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 24) as f32).powi(2) * 300.0
        })
    }

    fn said(stable: &MonitorProfile, candidate: &MonitorProfile, live: impl Iterator<Item = f32>) -> (f64, Inputs) {
        let (references, mut counted) = (InputReferences::of(stable, candidate), Inputs::default());
        let live: Vec<f32> = live.collect();
        references.count(&live.chunks(1), &mut counted);
        (counted.ln_e(0.1).0, counted)
    }

    #[test]
    fn cents_a_clock_and_missing_values_are_told_from_what_comes() {
        let stable = profile(amounts(1));
        for (fault, wrong) in [
            ("cents", profile(amounts(2).map(|amount| amount * 100.0))),
            ("never there", profile(amounts(2).map(|_| f32::NAN))),
            ("half missing", profile(amounts(2).map(|amount| if amount < 75.0 { f32::NAN } else { amount }))),
        ] {
            let (ln_e, counted) = said(&stable, &wrong, amounts(3).take(200));
            assert!(ln_e > 7.0, "{fault}: {ln_e}");
            let mut twice = counted.clone();
            twice.merge(&counted);
            assert!(
                twice.ln_e(0.1).0 > ln_e
                    && counted.ln_e(0.1).1.first().is_some_and(|(name, nats)| *name == "AMOUNT" && *nats > 0.3)
            );
            // The other way round, the candidate is the one that is right.
            assert!(said(&wrong, &stable, amounts(3)).0 <= 0.0, "{fault}");
        }
        // One payment of ten is at night, of the candidate's three of ten: a clock that is wrong.
        let night = |share: usize| profile((0..1000).map(move |row| f32::from(u8::from(row % 10 < share))));
        let (ln_e, _) = said(&night(1), &night(4), (0..1000).map(|row| f32::from(u8::from(row % 10 < 1))));
        assert!(ln_e > 7.0, "{ln_e}");
    }

    #[test]
    fn alike_references_say_nothing_whatever_comes() {
        let (stable, again) = (profile(amounts(1)), profile(amounts(2)));
        for live in [vec![0.0; 5000], vec![299.0; 5000], vec![f32::NAN; 5000], vec![1e30; 5000]] {
            let (ln_e, _) = said(&stable, &again, live.into_iter());
            assert!(ln_e <= 0.0, "{ln_e}");
        }
        // New payments that the candidate has learnt and the stable version has not are its right.
        let (ln_e, _) =
            said(&stable, &profile(amounts(2).map(|amount| amount + 200.0)), amounts(3).map(|amount| amount + 200.0));
        assert!(ln_e < 0.0, "{ln_e}");
        assert_eq!(Inputs::default().ln_e(0.1), (0.0, Vec::new()));
    }

    #[test]
    fn its_mean_is_at_most_one_where_live_is_what_the_candidate_knows() {
        // One row of the candidate's own reference: the payoffs' mean is below zero, since -KL(q || p) is.
        let (stable, wrong) = (profile(amounts(1)), profile(amounts(2).map(|amount| amount * 3.0)));
        let mean =
            amounts(2).map(|amount| said(&stable, &wrong, std::iter::once(amount * 3.0)).0.exp()).sum::<f64>() / 4000.0;
        assert!(mean < 1.0, "{mean}");
    }
}
