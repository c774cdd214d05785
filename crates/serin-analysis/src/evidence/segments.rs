//! Evidence by segment: a candidate may be alike on the whole and flag half of one channel.

use super::mixture;
use super::paired::Paired;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most segments of a rollout; what comes beyond shares the last one. The error rate is divided by as many from the
/// beginning, so that it does not matter which ones come.
pub const SEGMENTS: usize = 32;
const OTHER: &str = "other segments";

/// What both versions would have done, by segment (`column=value`); counts of several processes may be added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Segments(BTreeMap<String, Paired>);

impl Segments {
    /// Adds counts to the segment of this name, or to the one that all segments beyond the limit share.
    pub fn add(&mut self, name: &str, counted: &Paired) {
        let own = self.0.contains_key(name) || self.0.len() < SEGMENTS - 1;
        self.0.entry(if own { name } else { OTHER }.to_owned()).or_default().merge(counted);
    }

    /// Adds the counts of another process.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(name, counted)| self.add(name, counted));
    }

    /// Iterates over the segments and their counts, ascending by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Paired)> {
        self.0.iter().map(|(name, counted)| (name.as_str(), counted))
    }

    /// ln E against "in every segment the candidate's alert rate is between 1/`r` and `r` times the stable version's", and the
    /// segment that says most.
    #[must_use]
    pub fn ln_e(&self, r: f64) -> (f64, Option<(&str, &Paired)>) {
        let each = |(name, counted)| {
            let counted: &Paired = counted;
            let (more, fewer) = (counted.ln_e_more_alerts(r), counted.ln_e_fewer_alerts(r));
            (name, counted, mixture([more, fewer].into_iter()))
        };
        let found: Vec<(&str, &Paired, f64)> = self.iter().map(each).collect();
        let silent = std::iter::repeat_n(0.0, SEGMENTS.saturating_sub(found.len()));
        let ln_e = mixture(found.iter().map(|(.., ln_e)| *ln_e).chain(silent));
        let worst = found.iter().max_by(|a, b| a.2.total_cmp(&b.2));
        (ln_e, worst.map(|(name, counted, _)| (*name, *counted)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_segment_of_many_is_heard_and_named() {
        let quiet = Paired { both: 100, raised: 5, lowered: 6, neither: 10_000, unscored: 0 };
        let mut segments = Segments::default();
        for number in 0..40 {
            segments.add(&format!("channel={number}"), &quiet);
        }
        assert_eq!(segments.iter().count(), SEGMENTS);
        let pooled = segments.iter().find(|(name, _)| *name == OTHER).expect("nine share one").1;
        assert_eq!(pooled.both, 900);
        assert!(segments.ln_e(2.0).0 < 0.0);
        segments.add("channel=7", &Paired { raised: 400, ..Paired::default() });
        let (ln_e, worst) = segments.ln_e(2.0);
        assert!(ln_e > 20.0 && worst.is_some_and(|(name, _)| name == "channel=7"), "{ln_e} {worst:?}");
        assert_eq!(Segments::default().ln_e(2.0), (0.0, None));
        let mut twice = segments.clone();
        twice.merge(&segments);
        assert_eq!(twice.iter().map(|(_, one)| one.both).sum::<u64>(), 2 * 4000);
    }
}
