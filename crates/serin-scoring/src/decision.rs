//! From score and threshold to a decision.

/// Decision of a model about one transaction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// Probability of fraud as XGBoost would answer it, float32.
    pub score: f32,
    /// True where the score reaches the threshold: the payment is to be stopped or reviewed.
    pub alert: bool,
}

impl Decision {
    /// Compares a score with the threshold, which is inclusive. A NaN score never alerts.
    #[must_use]
    pub fn new(score: f32, threshold: f32) -> Self {
        Self { score, alert: score >= threshold }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_is_inclusive_and_nan_is_no_alert() {
        assert!(Decision::new(0.5, 0.5).alert);
        assert!(!Decision::new(0.499_999_97, 0.5).alert);
        assert!(!Decision::new(f32::NAN, 0.0).alert);
    }
}
