//! From a score to the fraction of frauds among such scores.

use crate::ranking;

/// Isotonic regression: the non-decreasing function with the least squared error (pool adjacent violators; Barlow and
/// others 1972), constant within a block, and for a score between two blocks that of the lower one.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Least score of a block and its fraction of frauds (0 to 1), both ascending.
    blocks: Vec<(f32, f64)>,
}

impl Calibration {
    /// Fits it to scores, 0/1 labels and weights above 0, one of each for each row; scores that are no number are left out.
    #[must_use]
    pub fn fit(scores: &[f32], labels: &[f32], weights: &[f64]) -> Self {
        let order = ranking::ascending(scores).into_iter().map(|row| row as usize);
        let mut pooling = Pooling::default();
        for row in order.filter(|row| !scores[*row].is_nan()) {
            pooling.add(scores[row], weights[row], f64::from(labels[row]) * weights[row]);
        }
        pooling.fitted()
    }

    /// Least score that means a fraction of frauds above 0; less than any score where all of them do.
    pub(super) fn least(&self) -> f32 {
        match self.blocks.iter().position(|(_, share)| *share > 0.0) {
            None | Some(0) => f32::NEG_INFINITY,
            Some(place) => self.blocks[place].0,
        }
    }

    /// Blocks by ascending score: the least score of each, and its fraction of frauds, 0 to 1.
    pub(super) fn blocks(&self) -> &[(f32, f64)] {
        &self.blocks
    }

    /// Returns the fraction of frauds that a score means, 0 to 1; NaN for a score that is no number, or where nothing was
    /// fitted.
    #[must_use]
    pub fn probability(&self, score: f32) -> f64 {
        if score.is_nan() {
            return f64::NAN;
        }
        let after = self.blocks.partition_point(|(start, _)| *start <= score);
        self.blocks.get(after.saturating_sub(1)).map_or(f64::NAN, |(_, share)| *share)
    }
}

/// A calibration that is being fitted to scores which come in ascending order.
#[derive(Debug, Default)]
pub(super) struct Pooling {
    /// Blocks: least score, rows, frauds, each with a greater fraction of frauds than the one before.
    pooled: Vec<(f32, f64, f64)>,
    /// Rows of the score that came last: score, rows, frauds.
    last: Option<(f32, f64, f64)>,
}

impl Pooling {
    /// Adds so many rows of one score with so many frauds among them.
    pub(super) fn add(&mut self, score: f32, rows: f64, frauds: f64) {
        match &mut self.last {
            // Equal scores cannot be told apart.
            Some((last, weight, fraud)) if *weight == 0.0 || *last == score => {
                *weight += rows;
                *fraud += frauds;
            }
            _ => {
                let before = self.last.replace((score, rows, frauds));
                self.pool(before);
            }
        }
    }

    /// Adds rows without a fraud, of many scores above the last one of which `least` is the least.
    pub(super) fn add_genuine_from(&mut self, least: f32, rows: f64) {
        let before = self.last.take();
        self.pool(before);
        self.pool(Some((least, rows, 0.0)));
    }

    fn pool(&mut self, block: Option<(f32, f64, f64)>) {
        self.pooled.extend(block);
        while let [.., (_, rows, frauds), (_, more, higher)] = self.pooled[..]
            && frauds * more >= higher * rows
        {
            self.pooled.pop();
            if let Some(last) = self.pooled.last_mut() {
                last.1 += more;
                last.2 += higher;
            }
        }
    }

    pub(super) fn fitted(mut self) -> Calibration {
        let last = self.last.take();
        self.pool(last);
        Calibration { blocks: self.pooled.into_iter().map(|(score, rows, frauds)| (score, frauds / rows)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_falls_and_keeps_the_mean() {
        let scores = [0.1, 0.2, 0.3, 0.4, 0.4, 0.6];
        let labels = [0.0, 1.0, 0.0, 0.0, 1.0, 1.0];
        let fitted = Calibration::fit(&scores, &labels, &[1.0; 6]);
        let found: Vec<f64> = scores.iter().map(|score| fitted.probability(*score)).collect();
        // By hand: 0 | (1, 0, {0, 1}) pooled to a half | 1.
        assert_eq!(found, [0.0, 0.5, 0.5, 0.5, 0.5, 1.0]);
        assert_eq!((fitted.probability(0.0), fitted.probability(2.0)), (0.0, 1.0));
        assert!(fitted.probability(f32::NAN).is_nan());
        assert!(Calibration::fit(&[], &[], &[]).probability(0.5).is_nan());
    }
}
