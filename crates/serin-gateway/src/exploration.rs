//! Lets some alerts through, on purpose: of a payment that was stopped nobody learns whether it was a fraud, so figures and
//! later models would be of the rest only. With what probability is logged beside the decision, and each such payment
//! later stands for those like it.

/// Fraction of the share at the threshold that is still let through at a score of 1: sure frauds teach little and
/// cost most.
const AT_ONE: f64 = 0.1;

/// Share of alerts at the threshold that are let through, above 0 and at most 0.5.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exploration(f64);

/// Number that is no share of alerts to let through.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{0} is not above 0 and at most 0.5")]
pub struct InvalidShare(f64);

impl Exploration {
    /// `share` of the alerts whose score is the threshold, above 0 and at most a half; falling in a straight line to a
    /// tenth of it at a score of 1.
    ///
    /// # Errors
    /// When it is not.
    pub fn new(share: f64) -> Result<Self, InvalidShare> {
        if share > 0.0 && share <= 0.5 { Ok(Self(share)) } else { Err(InvalidShare(share)) }
    }

    /// Probability with which an alert of this score is let through, 0 to 0.5.
    pub(crate) fn propensity(self, score: f32, threshold: f32) -> f32 {
        let (score, threshold) = (f64::from(score), f64::from(threshold));
        let above = if threshold < 1.0 { ((score - threshold) / (1.0 - threshold)).clamp(0.0, 1.0) } else { 0.0 };
        (self.0 * (1.0 - (1.0 - AT_ONE) * above)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_falls_with_the_score_and_is_never_none() {
        let explore = Exploration::new(0.2).expect("a share");
        let near = |score, threshold, expected: f32| (explore.propensity(score, threshold) - expected).abs() < 1e-6;
        assert!(near(0.5, 0.5, 0.2) && near(0.75, 0.5, 0.11) && near(1.0, 0.5, 0.02));
        assert!(near(1.0, 1.0, 0.2) && near(0.5, 1.5, 0.2));
        for wrong in [0.0, -0.1, 0.51, f64::NAN] {
            assert!(Exploration::new(wrong).is_err());
        }
    }
}
