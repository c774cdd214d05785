//! Ranks: where a value stands among a feature's thresholds.
//!
//! `x < threshold[k]` is `rank(x) <= k`, with rank(x) the number of thresholds that are <= x. Comparing small
//! integers instead of float32 is what lets one instruction decide 64 nodes. The search counts among 16 at a
//! time, from the top level down, without a branch that depends on x.

/// Set in a rank where the value is missing; the rank itself is then 0, as no threshold is <= NaN.
pub(super) const MISSING: u16 = 1 << 15;
/// Thresholds of one feature that the rank's 15 bits and four levels can hold.
pub(super) const MAX_THRESHOLDS: usize = (1 << 15) - 2;

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Sixteen(pub(super) [f32; 16]);

/// The distinct thresholds of one feature.
#[derive(Debug)]
pub(super) struct FeatureRanks {
    /// Position of the column in a row, from 0.
    pub(super) column: usize,
    pub(super) count: usize,
    /// First sixteen of each level in [`RankTable::sixteens`], the top level first. The lowest level has all
    /// thresholds, ascending, each higher one the last of every sixteen below it; every level ends with at
    /// least one NaN (never <= x), so a search cannot leave it at its end.
    pub(super) starts: [u32; 4],
}

/// The thresholds of a whole forest.
#[derive(Debug)]
pub(super) struct RankTable {
    pub(super) features: Vec<FeatureRanks>,
    pub(super) sixteens: Vec<Sixteen>,
    /// Levels of every feature: as many as the largest needs.
    pub(super) levels: usize,
}

impl RankTable {
    /// Ranks of the features' thresholds, each feature with its own in any order; none where a feature has more than [`MAX_THRESHOLDS`].
    pub(super) fn new(thresholds: impl IntoIterator<Item = (usize, Vec<f32>)>) -> Option<Self> {
        let mut sorted: Vec<(usize, Vec<f32>)> = thresholds.into_iter().collect();
        let mut levels = 1;
        for (_, thresholds) in &mut sorted {
            thresholds.sort_unstable_by(f32::total_cmp);
            // -0.0 and 0.0 are one threshold: `==` merges them as the comparison with x does.
            thresholds.dedup_by(|a, b| a == b);
            if thresholds.len() > MAX_THRESHOLDS {
                return None;
            }
            while (thresholds.len() + 1).div_ceil(16) > 16usize.pow(levels - 1) {
                levels += 1;
            }
        }
        let mut table = Self { features: Vec::new(), sixteens: Vec::new(), levels: levels as usize };
        for (column, thresholds) in sorted {
            table.add(column, thresholds);
        }
        Some(table)
    }

    fn add(&mut self, column: usize, thresholds: Vec<f32>) {
        let count = thresholds.len();
        let mut starts = [0; 4];
        let mut level = thresholds;
        for start in starts[..self.levels].iter_mut().rev() {
            level.resize((level.len() + 1).next_multiple_of(16), f32::NAN);
            *start = self.sixteens.len() as u32;
            self.sixteens.extend(level.as_chunks::<16>().0.iter().map(|sixteen| Sixteen(*sixteen)));
            level = level.chunks_exact(16).map(|sixteen| sixteen[15]).collect();
        }
        self.features.push(FeatureRanks { column, count, starts });
    }

    /// Number of thresholds of the `feature`-th used feature that are <= x.
    pub(super) fn rank(&self, feature: usize, x: f32) -> usize {
        self.features[feature].starts[..self.levels]
            .iter()
            .fold(0, |at, start| at * 16 + count_up_to(&self.sixteens[*start as usize + at].0, x))
    }

    /// Index of a threshold among those of its feature.
    pub(super) fn index_of(&self, feature: usize, threshold: f32) -> usize {
        self.rank(feature, threshold) - 1
    }

    /// Ranks of a row, in the order of `features`.
    pub(super) fn rank_row(&self, row: &[f32], ranks: &mut [u16]) {
        rank_row!(self, row, ranks, |sixteen, x| count_up_to(sixteen, x));
    }
}

/// Four lanes, which every compiler turns into the vectors that every processor has. Never 16 in all: where all
/// are <= x, so is the last, and the level above went on to the next sixteen.
#[inline]
fn count_up_to(sixteen: &[f32; 16], x: f32) -> usize {
    let mut counts = [0i32; 4];
    for four in sixteen.as_chunks::<4>().0 {
        for (count, threshold) in counts.iter_mut().zip(four) {
            *count += i32::from(*threshold <= x);
        }
    }
    ((counts[0] + counts[1]) + (counts[2] + counts[3])) as usize
}

/// The search, once for every instruction set: a function cannot take its vector code as an argument and still
/// be compiled with the caller's instructions.
macro_rules! rank_row {
    ($table:expr, $row:expr, $ranks:expr, |$sixteen:ident, $x:ident| $count:expr) => {
        rank_row!(@levels 1 2 3 4, $table, $row, $ranks, |$sixteen, $x| $count)
    };
    // A loop of its own for every number of levels: the inner one is then unrolled.
    (@levels $($levels:literal)*, $table:expr, $row:expr, $ranks:expr, |$sixteen:ident, $x:ident| $count:expr) => {
        match $table.levels {
            $($levels => {
                for (feature, rank) in $table.features.iter().zip($ranks.iter_mut()) {
                    let $x = $row[feature.column];
                    let mut at = 0usize;
                    for start in &feature.starts[..$levels] {
                        let $sixteen = &$table.sixteens[*start as usize + at].0;
                        at = at * 16 + $count;
                    }
                    *rank = at as u16 | u16::from($x.is_nan()) << 15;
                }
            })*
            levels => unreachable!("{levels} levels of thresholds"),
        }
    };
}
pub(super) use rank_row;

/// A row's bytes for one table: `2 * MAX_WIDTH` of them; the rest lets any byte be an index.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct RankBytes(pub(super) [u8; 256]);

impl RankBytes {
    pub(super) const EMPTY: Self = Self([0; 256]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_counts_the_thresholds_up_to_x() {
        for count in [1usize, 15, 16, 17, 255, 256, 300, 4_095, 5_000] {
            let thresholds: Vec<f32> = (0..count).map(|i| i as f32).collect();
            let table = RankTable::new([(0, vec![7.5]), (3, thresholds)]).expect("fits");
            for x in [f32::NEG_INFINITY, -1.0, -0.0, 0.0, 0.5, 14.0, 15.0, 15.5, 16.0, 254.0, 4_094.0, 4_999.0, 1e9] {
                let expected = (0..count).filter(|i| *i as f32 <= x).count();
                assert_eq!(table.rank(1, x), expected, "{x} among {count}");
            }
            assert_eq!(table.rank(1, f32::INFINITY), count);
            let mut ranks = [0; 2];
            table.rank_row(&[8.0, 0.0, 0.0, f32::NAN], &mut ranks);
            assert_eq!(ranks, [1, MISSING]);
        }
        assert!(RankTable::new([(0, (0..40_000).map(|i| i as f32).collect())]).is_none());
    }
}
