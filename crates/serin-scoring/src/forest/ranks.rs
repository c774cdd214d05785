//! Ranks: where a value stands among a feature's thresholds.
//!
//! `x < threshold[k]` is `rank(x) <= k`, with rank(x) the number of thresholds that are <= x. Comparing small
//! integers instead of float32 is what lets one instruction decide 64 nodes.

/// The distinct thresholds of one feature, laid out for a search that looks at 16 at a time.
#[derive(Debug)]
pub(super) struct FeatureRanks {
    /// Column in the row.
    pub(super) feature: usize,
    pub(super) count: usize,
    /// `levels[0]` are the thresholds, ascending, padded with at least one NaN (never <= x) to a multiple of 16;
    /// `levels[n][i]` is the last of the i-th 16 of `levels[n-1]`. The top level has 16 entries.
    pub(super) levels: Vec<Vec<f32>>,
}

impl FeatureRanks {
    pub(super) fn new(feature: usize, mut thresholds: Vec<f32>) -> Self {
        thresholds.sort_unstable_by(f32::total_cmp);
        // -0.0 and 0.0 are one threshold: `==` merges them as the comparison with x does.
        thresholds.dedup_by(|a, b| a == b);
        let count = thresholds.len();
        let mut levels = vec![padded(thresholds)];
        while let Some(last) = levels.last().filter(|level| level.len() > 16) {
            let above = last.chunks_exact(16).map(|sixteen| sixteen[15]).collect();
            levels.push(padded(above));
        }
        Self { feature, count, levels }
    }

    /// Index of a threshold of this feature.
    pub(super) fn index_of(&self, threshold: f32) -> usize {
        self.levels[0][..self.count].partition_point(|c| *c < threshold)
    }

    pub(super) fn rank(&self, x: f32) -> usize {
        self.levels[0][..self.count].partition_point(|c| *c <= x)
    }
}

fn padded(mut values: Vec<f32>) -> Vec<f32> {
    // At least one NaN: a search never leaves the list at its end.
    let length = (values.len() + 1).next_multiple_of(16);
    values.resize(length, f32::NAN);
    values
}
