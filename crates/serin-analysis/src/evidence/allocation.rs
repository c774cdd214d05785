//! The allocation e-process: tests whether the candidate has more of the events than its share of traffic explains.
//!
//! Request t goes to the candidate with probability w, independently of everything else. Given that an event (an error,
//! a slow answer, an alert) happened, it is the candidate's with probability w·r / (1 − w + w·r), where r is the ratio
//! of the two rates, whatever the base rate is and however it moves. For the null r ≤ r₀ the mixture of likelihood
//! ratios over alternatives r₁ > r₀ is a non-negative supermartingale, so by Ville's inequality it ever reaches 1/α with
//! probability at most α: at any time, however often it is looked at, through any change of weights.
//! (Lindon & Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022, with a tolerance r₀.)

use super::mixture;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::AddAssign;

/// Number of alternatives in the mixture.
const GRID: usize = 48;
/// Largest ratio of the two rates among the alternatives.
const LARGEST: f64 = 400.0;

/// Number of events of each arm while one weight was set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// Number of events of the candidate.
    pub candidate: u64,
    /// Number of events of the stable version.
    pub stable: u64,
}

impl AddAssign for Events {
    fn add_assign(&mut self, other: Self) {
        self.candidate += other.candidate;
        self.stable += other.stable;
    }
}

/// Events of both arms at each weight; counts of several processes may be added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// Events by the candidate's weight, in units of 1/10,000.
    by_weight: BTreeMap<u32, Events>,
}

impl Allocation {
    /// Adds events that happened while the candidate's weight was `weight` (in units of 1/10,000). At no or full weight there
    /// is nothing to compare, and they say nothing of whose they are.
    pub fn add(&mut self, weight: u32, events: Events) {
        *self.by_weight.entry(weight).or_default() += events;
    }

    /// Adds the counts of another process.
    pub fn merge(&mut self, other: &Self) {
        for (weight, events) in &other.by_weight {
            self.add(*weight, *events);
        }
    }

    /// Events of both arms so far.
    #[must_use]
    pub fn events(&self) -> Events {
        let mut sum = Events::default();
        self.by_weight.values().for_each(|events| sum += *events);
        sum
    }

    /// Iterates over the weights at which both arms had requests.
    fn compared(&self) -> impl Iterator<Item = (&u32, &Events)> + Clone {
        self.by_weight.iter().filter(|(weight, _)| (1..10_000).contains(*weight))
    }

    /// ln E, in nats, against "the candidate's rate is at most `r0` times the stable version's".
    #[must_use]
    pub fn ln_e_above(&self, r0: f64) -> f64 {
        ln_e(r0, &self.compared().map(|(weight, events)| (f64::from(*weight) / 1e4, *events)))
    }

    /// ln E, in nats, against "the candidate's rate is at least `r0` times the stable version's": the arms change places.
    #[must_use]
    pub fn ln_e_below(&self, r0: f64) -> f64 {
        let swapped = |events: &Events| Events { candidate: events.stable, stable: events.candidate };
        ln_e(1.0 / r0, &self.compared().map(|(weight, events)| (1.0 - f64::from(*weight) / 1e4, swapped(events))))
    }
}

fn ln_e(r0: f64, steps: &(impl Iterator<Item = (f64, Events)> + Clone)) -> f64 {
    mixture((1..=GRID).map(|j| {
        let r1 = r0 * (LARGEST / r0).powf(j as f64 / GRID as f64);
        steps.clone().fold(0.0, |sum, (w, events)| {
            let n = (events.candidate + events.stable) as f64;
            let shrink = ((1.0 - w + w * r1) / (1.0 - w + w * r0)).ln();
            sum + events.candidate as f64 * (r1 / r0).ln() - n * shrink
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(weight: u32, candidate: u64, stable: u64) -> Allocation {
        let mut allocation = Allocation::default();
        allocation.add(weight, Events { candidate, stable });
        allocation
    }

    #[test]
    fn nothing_seen_proves_nothing() {
        assert!(Allocation::default().ln_e_above(1.25).abs() < 1e-12);
        // At no and at full weight there is no comparison.
        assert!(with(0, 0, 500).ln_e_above(1.25).abs() < 1e-12 && with(10_000, 500, 0).ln_e_above(1.25).abs() < 1e-12);
        // They are known all the same, as a share of the candidate's requests.
        assert_eq!(with(10_000, 500, 0).events(), Events { candidate: 500, stable: 0 });
    }

    #[test]
    fn its_mean_is_one_at_the_edge_of_the_null() {
        // One event, whose it is with the probability at r = r0: the expectation of E is exactly 1.
        for (weight, r0) in [(500, 1.25), (5000, 1.25), (2500, 0.5)] {
            let w = f64::from(weight) / 1e4;
            let p = w * r0 / (1.0 - w + w * r0);
            let mean =
                p * with(weight, 1, 0).ln_e_above(r0).exp() + (1.0 - p) * with(weight, 0, 1).ln_e_above(r0).exp();
            assert!((mean - 1.0).abs() < 1e-12, "{mean}");
            let mean =
                p * with(weight, 1, 0).ln_e_below(r0).exp() + (1.0 - p) * with(weight, 0, 1).ln_e_below(r0).exp();
            assert!((mean - 1.0).abs() < 1e-12, "{mean}");
        }
    }

    #[test]
    fn many_events_do_not_overflow_and_parts_add_up() {
        let huge = with(500, 1 << 40, 1 << 20);
        assert!(huge.ln_e_above(1.25).is_finite() && huge.ln_e_above(1.25) > 1e9 && huge.ln_e_below(1.0).is_finite());
        let (mut a, b) = (with(500, 3, 9), with(2500, 4, 2));
        let mut both = with(500, 3, 9);
        both.add(2500, Events { candidate: 4, stable: 2 });
        a.merge(&b);
        assert_eq!(a, both);
        assert_eq!(a.events(), Events { candidate: 7, stable: 11 });
    }
}
