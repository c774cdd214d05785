//! Tests that need no stable version to compare with: a share of events, and the split of the traffic.

use super::mixture;

const GRID: usize = 48;

/// ln E against "an event happens on at most a share `most` of the requests": catches what is broken when there is
/// nothing to compare it with. Mixture over shares above `most`, evenly in their logarithm.
#[must_use]
pub fn ln_e_share(events: u64, requests: u64, most: f64) -> f64 {
    let quiet = requests.saturating_sub(events);
    mixture((1..=GRID).map(|j| {
        let share = most * (0.95_f64.max(most) / most).powf(j as f64 / GRID as f64);
        let share = share.min(1.0 - 1e-9);
        events as f64 * (share / most).ln() + quiet as f64 * ((1.0 - share) / (1.0 - most)).ln()
    }))
}

/// ln E against "requests are split as they should be": Beta-binomial against binomial, weight by weight (Lindon & Malek,
/// NeurIPS 2022). `steps` are weight (between 0 and 1), the candidate's requests and all requests.
#[must_use]
pub fn ln_e_split(steps: &[(f64, u64, u64)]) -> f64 {
    /// Sum of the Beta mixture's two parameters: how sharply it sits around the weight.
    const CONCENTRATION: f64 = 100.0;
    steps.iter().filter(|(weight, _, _)| *weight > 0.0 && *weight < 1.0).fold(0.0, |sum, (weight, candidate, all)| {
        let (a, b) = (CONCENTRATION * weight, CONCENTRATION * (1.0 - weight));
        let (x, y) = (*candidate as f64, all.saturating_sub(*candidate) as f64);
        sum + ln_beta(a + x, b + y) - ln_beta(a, b) - x * weight.ln() - y * (1.0 - weight).ln()
    })
}

fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// Stirling's series after shifting the argument above 10; good to 1e-12 for positive arguments.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 10.0 {
        shift += x.ln();
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series =
        (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square * (1.0 / 1680.0 - square / 1188.0)))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gamma_function_is_known_at_some_places() {
        for (x, expected) in [(1.0, 0.0), (2.0, 0.0), (0.5, 0.572_364_942_924_700_1), (11.0, 15.104_412_573_075_516)] {
            assert!((ln_gamma(x) - expected).abs() < 1e-11, "{x}: {}", ln_gamma(x));
        }
    }

    #[test]
    fn means_are_one_under_the_null() {
        for most in [0.001, 0.01, 0.5] {
            let mean = most * ln_e_share(1, 1, most).exp() + (1.0 - most) * ln_e_share(0, 1, most).exp();
            assert!((mean - 1.0).abs() < 1e-12);
        }
        for weight in [0.05, 0.5] {
            let mean =
                weight * ln_e_split(&[(weight, 1, 1)]).exp() + (1.0 - weight) * ln_e_split(&[(weight, 0, 1)]).exp();
            assert!((mean - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn detection_is_as_fast_as_simulated_before() {
        // At an SLO of 1 % and alpha 0.001: everything fails.
        let first = (1..).find(|n| ln_e_share(*n, *n, 0.01) >= 1000_f64.ln()).expect("some number");
        assert!(first <= 3, "{first}");
        // A quarter instead of a twentieth goes to the candidate.
        assert!(ln_e_split(&[(0.05, 250, 1000)]) > 1e4_f64.ln() && ln_e_split(&[(0.05, 52, 1000)]) < 0.0);
    }
}
