//! Evidence from requests that both versions have scored: nobody is exposed, and the traffic is all of it.

use super::mixture;
use serde::{Deserialize, Serialize};

const GRID: usize = 32;

/// Number of requests for each combination of what both versions would have done; counts of several processes may be added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paired {
    /// Requests on which both versions alert.
    pub both: u64,
    /// Requests on which only the candidate alerts.
    pub raised: u64,
    /// Requests on which only the stable version alerts.
    pub lowered: u64,
    /// Requests on which neither version alerts.
    pub neither: u64,
    /// Requests that the stable version scored with a number and the candidate did not: its score is NaN, or there is none.
    pub unscored: u64,
}

impl Paired {
    /// Adds the counts of another process.
    pub fn merge(&mut self, other: &Self) {
        self.both += other.both;
        self.raised += other.raised;
        self.lowered += other.lowered;
        self.neither += other.neither;
        self.unscored += other.unscored;
    }

    /// Number of requests that both versions have scored.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.both + self.raised + self.lowered + self.neither
    }

    /// Number of the candidate's alerts over that of the stable version's; none where the stable version has no alert.
    #[must_use]
    pub fn alert_ratio(&self) -> Option<f64> {
        let stable = self.both + self.lowered;
        (stable > 0).then(|| (self.both + self.raised) as f64 / stable as f64)
    }

    /// Fraction, 0 to 1, of the requests on which either version alerts where only one does: Jaccard's distance of the
    /// alerts. None where neither ever alerts.
    #[must_use]
    pub fn disagreement(&self) -> Option<f64> {
        let n = self.both + self.raised + self.lowered;
        (n > 0).then(|| (self.raised + self.lowered) as f64 / n as f64)
    }

    /// ln E, in nats, against "the candidate's alert rate is at most `r` times the stable version's".
    #[must_use]
    pub fn ln_e_more_alerts(&self, r: f64) -> f64 {
        // Of a request the bet pays x_c − r·x_s, whose mean is at most 0 under the null.
        bets(r, &[(self.both, 1.0 - r), (self.raised, 1.0), (self.lowered, -r)])
    }

    /// ln E, in nats, against "the candidate's alert rate is at least 1/`r` of the stable version's".
    #[must_use]
    pub fn ln_e_fewer_alerts(&self, r: f64) -> f64 {
        bets(r, &[(self.both, 1.0 - r), (self.lowered, 1.0), (self.raised, -r)])
    }

    /// ln E against "the candidate's alert rate is at least `r` times the stable version's", and against "at most 1/`r`":
    /// the smaller of both, since both must be refuted to show that it is in between.
    #[must_use]
    pub fn ln_e_alike(&self, r: f64) -> f64 {
        let not_more = bets(1.0, &[(self.both, r - 1.0), (self.raised, -1.0), (self.lowered, r)]);
        let not_fewer = bets(1.0, &[(self.both, r - 1.0), (self.lowered, -1.0), (self.raised, r)]);
        not_more.min(not_fewer)
    }
}

/// ln of the mixture of betting processes Π(1 + λ·payoff) over λ between 0 and what could lose everything, when `worst`
/// is the largest loss (Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSS-B 2024).
/// Payoffs are of a few kinds, so counts are all that must be kept.
pub(super) fn bets(worst: f64, outcomes: &[(u64, f64)]) -> f64 {
    mixture((1..=GRID).map(|j| {
        // Small bets find small differences in long runs, large ones large differences at once.
        let lambda = 0.98 / worst * 2_f64.powf(-8.0 * (1.0 - j as f64 / GRID as f64));
        outcomes.iter().map(|(count, payoff)| *count as f64 * (lambda * payoff).ln_1p()).sum()
    }))
}

/// ln E against "an event of the one kind is at most as likely as one of the other", as for discordant pairs.
#[must_use]
pub fn ln_e_discordant(worse: u64, better: u64) -> f64 {
    mixture((1..=GRID).map(|j| {
        let p = 0.5 + 0.5 * j as f64 / (GRID as f64 + 0.5);
        worse as f64 * (2.0 * p).ln() + better as f64 * (2.0 * (1.0 - p)).ln()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_mean_is_at_most_one_under_the_null() {
        // One request with candidate alert rate r times the stable one's: a known distribution over four outcomes.
        let r = 1.5;
        for overlap in [0.0, 0.5, 1.0] {
            let (s, c) = (0.2, 0.3);
            let both = overlap * s;
            let chances =
                [(both, [1, 0, 0]), (c - both, [0, 1, 0]), (s - both, [0, 0, 1]), (1.0 - c - s + both, [0, 0, 0])];
            let mean = |e: &dyn Fn(&Paired) -> f64| {
                chances.iter().fold(0.0, |sum, (chance, [both, raised, lowered])| {
                    let one = Paired { both: *both, raised: *raised, lowered: *lowered, ..Paired::default() };
                    sum + chance * e(&one).exp()
                })
            };
            assert!((mean(&|one| one.ln_e_more_alerts(r)) - 1.0).abs() < 1e-12);
            assert!(mean(&|one| one.ln_e_fewer_alerts(r)) < 1.0);
            assert!(mean(&|one| one.ln_e_alike(r)) <= 1.0 + 1e-12);
        }
    }

    #[test]
    fn one_sided_pairs_are_proof_soon_and_concordant_ones_never() {
        let first = (1..).find(|n| ln_e_discordant(*n, 0) >= 1000_f64.ln()).expect("some number");
        assert!((10..=16).contains(&first), "{first}");
        assert!(ln_e_discordant(500, 500) < 0.0);
        let alike = Paired { both: 100, raised: 3, lowered: 4, neither: 20_000, unscored: 0 };
        assert!(alike.ln_e_more_alerts(1.5) < 0.0 && alike.ln_e_fewer_alerts(1.5) < 0.0);
        assert!(alike.ln_e_alike(1.5) > 20_f64.ln(), "{}", alike.ln_e_alike(1.5));
        let doubled = Paired { both: 40, raised: 120, ..alike };
        assert!(doubled.ln_e_more_alerts(1.5) > 1000_f64.ln() && doubled.ln_e_alike(1.5) < 0.0);
        assert_eq!(Paired::default().alert_ratio(), None);
    }
}
