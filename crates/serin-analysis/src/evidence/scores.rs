//! How the scores of both versions are spread, on requests that both have scored.
//!
//! A score means what it is beside its own version's threshold, so cells are of odds over the threshold's odds: a version
//! trained with other weights of the classes has all its odds multiplied, its threshold's too, and stays where it was.

use super::mixture;
use super::paired::Paired;
use serde::{Deserialize, Serialize};

/// Odds of the score over those of the threshold at which one cell ends and the next begins; from 1 up are alerts.
const BOUNDS: [f64; 6] = [1.0 / 64.0, 1.0 / 16.0, 0.25, 1.0, 4.0, 16.0];
const CELLS: usize = BOUNDS.len() + 1;

/// Requests by the cell of the stable version's score and by that of the candidate's; counts of several processes may be added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scores([[u64; CELLS]; CELLS]);

impl Scores {
    /// Counts a request: each version's score and threshold. What is no probability is left out, from both.
    pub fn count(&mut self, stable: (f32, f32), candidate: (f32, f32)) {
        if let (Some(stable), Some(candidate)) = (cell(stable), cell(candidate)) {
            self.0[stable][candidate] += 1;
        }
    }

    /// Adds the counts of another process.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.as_flattened_mut().iter_mut().zip(other.0.as_flattened()) {
            *mine += theirs;
        }
    }

    /// ln E against "from each bound up the candidate has at most `r` times the scores that the stable version has from the bound
    /// below up, and the other way round", and what the bound that says most shows. The step between both is there because
    /// scores lie close together: an honest retrain moves many of them over a bound at once.
    #[must_use]
    pub fn ln_e(&self, r: f64) -> (f64, String) {
        let beyond = |candidate_leads: bool, bound: usize| {
            let mut counted = Paired::default();
            for (stable, row) in self.0.iter().enumerate() {
                for (candidate, rows) in row.iter().enumerate() {
                    let (leading, other) = if candidate_leads { (candidate, stable) } else { (stable, candidate) };
                    *match (leading > bound, other > bound - 1) {
                        (true, true) => &mut counted.both,
                        (true, false) => &mut counted.raised,
                        (false, true) => &mut counted.lowered,
                        (false, false) => &mut counted.neither,
                    } += rows;
                }
            }
            counted
        };
        let all = [true, false].into_iter().flat_map(|leads| (1..BOUNDS.len()).map(move |bound| (leads, bound)));
        let found: Vec<_> = all
            .map(|(leads, bound)| {
                let counted = beyond(leads, bound);
                (counted.ln_e_more_alerts(r), leads, bound, counted)
            })
            .collect();
        let ln_e = mixture(found.iter().map(|(ln_e, ..)| *ln_e));
        let worst = found.iter().max_by(|a, b| a.0.total_cmp(&b.0));
        let described = worst.filter(|(.., counted)| counted.both + counted.raised > 0).map(|(_, leads, bound, counted)| {
            let (mine, theirs) = (counted.both + counted.raised, counted.both + counted.lowered);
            let (who, other) = if *leads { ("candidate", "stable version") } else { ("stable version", "candidate") };
            let factor = |odds: f64| if odds < 1.0 { format!("1/{:.0}", 1.0 / odds) } else { format!("{odds:.0}") };
            let (from, below) = (factor(BOUNDS[*bound]), factor(BOUNDS[*bound - 1]));
            format!("{mine} scores of the {who} from {from} times its threshold's odds up, {theirs} of the {other} from {below} times up")
        });
        (ln_e, described.unwrap_or_else(|| "nothing to compare yet".to_owned()))
    }
}

/// Returns the cell, from 0, of a score beside its threshold; none where either is no probability.
fn cell((score, threshold): (f32, f32)) -> Option<usize> {
    let (score, threshold) = (f64::from(score), f64::from(threshold));
    let are_probabilities = (0.0..=1.0).contains(&score) && threshold > 0.0 && threshold < 1.0;
    if !are_probabilities {
        return None;
    }
    // Without dividing by a score of 1.
    let (odds, unit) = (score * (1.0 - threshold), (1.0 - score) * threshold);
    Some(BOUNDS.iter().take_while(|bound| odds >= **bound * unit).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_seen_beside_its_threshold() {
        let cells = [(0.0, 0.5), (0.5, 0.5), (1.0, 0.5), (0.49, 0.5), (0.02, 0.02), (0.9999, 0.5)].map(cell);
        assert_eq!(cells, [Some(0), Some(4), Some(6), Some(3), Some(4), Some(6)]);
        // All odds nine times as large, the threshold's too.
        assert_eq!(cell((0.3, 0.5)), cell((2.7 / 3.4, 0.9)));
        for none in [(f32::NAN, 0.5), (1.5, 0.5), (-0.1, 0.5), (0.5, 0.0), (0.5, 1.0), (0.5, f32::NAN)] {
            assert_eq!(cell(none), None);
        }
    }

    #[test]
    fn another_spread_is_heard_and_placed_and_the_same_is_not() {
        let (mut same, mut sharper, mut honest) = (Scores::default(), Scores::default(), Scores::default());
        for number in 0..2000 {
            let score = f32::from(number as u16) / 2000.0;
            same.count((score, 0.5), (score, 0.5));
            // Alerts are the same, and all of them certain.
            sharper.count((score, 0.5), (if score >= 0.5 { 0.999 } else { score }, 0.5));
            // A knot of scores just above a bound lies just below it.
            honest.count((if score > 0.9 { 0.95 } else { 0.1 }, 0.5), (if score > 0.9 { 0.94 } else { 0.1 }, 0.5));
        }
        same.count((f32::NAN, 0.5), (0.1, 0.5));
        assert!(same.ln_e(1.5).0 < 0.0 && honest.ln_e(1.5).0 < 0.0);
        let (ln_e, found) = sharper.ln_e(1.5);
        assert!(ln_e > 50.0, "{ln_e}");
        assert_eq!(
            found,
            "1000 scores of the candidate from 16 times its threshold's odds up, 400 of the stable version from 4 times up"
        );
        let mut twice = sharper;
        twice.merge(&sharper);
        assert!(twice.ln_e(1.5).0 > ln_e && Scores::default().ln_e(4.0).0.abs() < 1e-12);
        assert_eq!(Scores::default().ln_e(4.0).1, "nothing to compare yet");
        // Its own mirror image, with the other one named.
        let mut blunter = Scores::default();
        (0..400).for_each(|_| blunter.count((0.999, 0.5), (0.6, 0.5)));
        assert!(blunter.ln_e(4.0).1.starts_with("400 scores of the stable version from 16 times"));
    }
}
