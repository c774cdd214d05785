//! Two-moment cells: a column counted between fixed values of its reference, so that windows of any length are sums of
//! hours, replicas are added up, and the distance between two distributions is known within stated bounds.
//!
//! The K edges are values that occur in the reference; every edge is a cell of its own (an integer, a flag, a category's
//! code stays exact), and so is each gap between two edges and each side beyond them: 2K + 1 cells. Beside the count, a
//! gap keeps the sum of its values, from which the area between two distribution functions over the gap follows up to
//! where they cross.

use serde::{Deserialize, Serialize};

/// Number of edges that are asked for; flat and heavy-tailed columns get fewer.
const EDGES: usize = 128;

/// Edges between the cells of one column, ascending.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Edges(Vec<f32>);

impl Edges {
    /// Makes edges from the values of a reference, in any order: values at which half the share of rows below and half the
    /// share of the range cross multiples of 1/128. Values that are not finite are left out; without any there is one cell.
    #[must_use]
    pub fn of(values: &[f32]) -> Self {
        let mut sorted: Vec<f32> = values.iter().copied().filter(|value| value.is_finite()).map(|v| v + 0.0).collect();
        sorted.sort_unstable_by(f32::total_cmp);
        let (Some(&low), Some(&high)) = (sorted.first(), sorted.last()) else { return Self(Vec::new()) };
        let range = f64::from(high) - f64::from(low);
        let (n, mut next) = (sorted.len() as f64, 0.0);
        let mut edges: Vec<f32> = Vec::new();
        for (place, value) in sorted.iter().enumerate() {
            // Of equal values the last one has the share of rows up to them.
            if sorted.get(place + 1) == Some(value) {
                continue;
            }
            let of_range = if range > 0.0 { (f64::from(*value) - f64::from(low)) / range } else { 1.0 };
            let crossed = (place as f64 + 1.0) / n / 2.0 + of_range / 2.0;
            if *value == low || *value == high || crossed * EDGES as f64 >= next {
                edges.push(*value);
                next = (crossed * EDGES as f64).floor() + 1.0;
            }
        }
        Self(edges)
    }

    /// Makes edges of the codes 0 to `levels` - 1; further codes share one cell.
    #[must_use]
    pub fn of_codes(levels: usize) -> Self {
        Self((0..levels.min(4 * EDGES)).map(|code| code as f32).collect())
    }

    /// Number of cells: 2K + 1 for K edges.
    #[must_use]
    pub fn cells(&self) -> usize {
        2 * self.0.len() + 1
    }

    /// The edges themselves, ascending and without repeats.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    fn cell(&self, value: f32) -> usize {
        let below = self.0.partition_point(|edge| *edge < value);
        2 * below + usize::from(self.0.get(below) == Some(&value))
    }
}

/// Number of rows and sum of values in each cell of one column.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CellCounts {
    /// Number of rows without a finite value; they are in no cell.
    pub missing: u64,
    counts: Vec<u64>,
    sums: Vec<f64>,
}

/// A cell that is not empty, as it travels: number, rows, and the sum of their values.
type Cell = (u16, u64, f64);

/// Counts without the empty cells, as they are stored and sent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SparseCounts {
    missing: u64,
    cells: Vec<Cell>,
}

impl CellCounts {
    /// Makes counts of no rows, with all the cells that the edges have.
    #[must_use]
    pub fn new(edges: &Edges) -> Self {
        Self { missing: 0, counts: vec![0; edges.cells()], sums: vec![0.0; edges.cells()] }
    }

    /// Counts one value in its cell; a value that is not finite counts as missing.
    pub fn add(&mut self, edges: &Edges, value: f32) {
        if !value.is_finite() {
            self.missing += 1;
            return;
        }
        let cell = edges.cell(value);
        self.counts[cell] += 1;
        self.sums[cell] += f64::from(value);
    }

    /// Adds the counts of other rows over the same edges.
    pub fn merge(&mut self, other: &Self) {
        self.missing += other.missing;
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        for (mine, theirs) in self.sums.iter_mut().zip(&other.sums) {
            *mine += theirs;
        }
    }

    /// Number of rows with a finite value.
    #[must_use]
    pub fn present(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Number of rows, missing ones included.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.present() + self.missing
    }

    /// Mean of the finite values; NaN without any.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.sums.iter().sum::<f64>() / self.present() as f64
    }

    /// Returns the counts without their empty cells, to store or to send.
    #[must_use]
    pub fn sparse(&self) -> SparseCounts {
        let cells = self.counts.iter().zip(&self.sums).enumerate().filter(|(_, (count, _))| **count > 0);
        let cells = cells.map(|(cell, (count, sum))| (cell as u16, *count, *sum));
        SparseCounts { missing: self.missing, cells: cells.collect() }
    }

    /// Adds counts that were stored or sent; a cell that the edges do not have is left out.
    pub fn merge_sparse(&mut self, other: &SparseCounts) {
        self.missing += other.missing;
        for (cell, count, sum) in &other.cells {
            if let (Some(mine), Some(total)) =
                (self.counts.get_mut(usize::from(*cell)), self.sums.get_mut(usize::from(*cell)))
            {
                *mine += count;
                *total += sum;
            }
        }
    }

    /// Returns each cell's fraction of the rows that have a value; none without any.
    #[must_use]
    pub fn shares(&self) -> Option<Shares> {
        let present = self.present();
        (present > 0).then(|| {
            let n = present as f64;
            Shares {
                cells: self.counts.iter().map(|count| *count as f64 / n).collect(),
                sums: self.sums.iter().map(|sum| sum / n).collect(),
            }
        })
    }
}

/// A distribution over cells: each cell's share, and what its values add to the mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Shares {
    cells: Vec<f64>,
    sums: Vec<f64>,
}

impl Shares {
    /// Iterates over (value, share), ascending: edges as they are, what lies between two at its mean.
    pub(super) fn masses(&self, edges: &Edges) -> impl Iterator<Item = (f64, f64)> {
        let edges = edges.values();
        let cells = self.cells.iter().zip(&self.sums).enumerate().filter(|(_, (share, _))| **share > 0.0);
        cells.map(move |(cell, (share, sum))| {
            // Odd cells are edges.
            let value = if cell % 2 == 1 { f64::from(edges[cell / 2]) } else { sum / share };
            (value, *share)
        })
    }

    /// Returns the share of rows up to a value, 0 to 1; within a gap as if its values were spread evenly.
    pub(super) fn at_most(&self, edges: &Edges, value: f32) -> f64 {
        let cell = edges.cell(value);
        let whole: f64 = self.cells[..cell].iter().sum();
        let within = match edges.values().get((cell / 2).wrapping_sub(1)..=cell / 2) {
            _ if cell % 2 == 1 => 1.0,
            Some([from, to]) => f64::from(value - from) / f64::from(to - from),
            // Beyond the edges a reference has nothing.
            _ => 0.0,
        };
        whole + self.cells[cell] * within
    }

    /// Mixes distributions by their weights, which need not add up to one; none where there are no parts.
    #[must_use]
    pub fn mixed(parts: &[(f64, Shares)]) -> Option<Self> {
        let total: f64 = parts.iter().map(|(weight, _)| weight).sum();
        let first = &parts.first()?.1;
        let mut mixed = Self { cells: vec![0.0; first.cells.len()], sums: vec![0.0; first.sums.len()] };
        for (weight, part) in parts {
            for (mine, theirs) in mixed.cells.iter_mut().zip(&part.cells) {
                *mine += weight / total * theirs;
            }
            for (mine, theirs) in mixed.sums.iter_mut().zip(&part.sums) {
                *mine += weight / total * theirs;
            }
        }
        Some(mixed)
    }
}

/// Bounds of the 1-Wasserstein distance between a reference and another distribution, in units of the column. The
/// reference has no mass beyond its edges.
#[must_use]
pub fn wasserstein(edges: &Edges, reference: &Shares, current: &Shares) -> (f64, f64) {
    let edges = edges.values();
    let (Some(&first), Some(&last)) = (edges.first(), edges.last()) else { return (0.0, 0.0) };
    let outer = |shares: &Shares| {
        let end = shares.cells.len() - 1;
        // Beyond the edges the other distribution function is 0 or 1: the areas are exact.
        let below = shares.cells[0] * f64::from(first) - shares.sums[0];
        let above = shares.sums[end] - shares.cells[end] * f64::from(last);
        (below, above)
    };
    let ((low_r, high_r), (low_c, high_c)) = (outer(reference), outer(current));
    let mut lower = (low_r - low_c).abs() + (high_r - high_c).abs();
    let mut upper = lower;
    let (mut r, mut c) = (reference.cells[0], current.cells[0]);
    for (gap, pair) in edges.windows(2).enumerate() {
        let (point, open) = (2 * gap + 1, 2 * gap + 2);
        let (from, to) = (f64::from(pair[0]), f64::from(pair[1]));
        let width = to - from;
        // Up to and with the edge, and below the next one.
        let (r_from, c_from) = (r + reference.cells[point], c + current.cells[point]);
        let (r_to, c_to) = (r_from + reference.cells[open], c_from + current.cells[open]);
        let area = |from: f64, shares: &Shares| from * width + shares.cells[open] * to - shares.sums[open];
        let difference = area(r_from, reference) - area(c_from, current);
        // How far one can lie above and below the other within the gap.
        let positive = width * (r_to - c_from).max(0.0);
        let negative = width * (c_to - r_from).max(0.0);
        let term = difference.abs();
        lower += term;
        upper += if positive == 0.0 || negative == 0.0 {
            term
        } else if difference >= 0.0 {
            term + 2.0 * negative.min((positive - difference).max(0.0))
        } else {
            term + 2.0 * positive.min((negative + difference).max(0.0))
        };
        (r, c) = (r_to, c_to);
    }
    (lower, upper.max(lower))
}

/// Jensen-Shannon distance (natural logarithms) of the cells. Exact where each cell is one value; else values that
/// share a cell are taken for one, which can only lower it.
#[must_use]
pub fn jensen_shannon(reference: &Shares, current: &Shares) -> f64 {
    let term = |x: f64, m: f64| if x > 0.0 { x * (x / m).ln() } else { 0.0 };
    let sum: f64 = reference
        .cells
        .iter()
        .zip(&current.cells)
        .map(|(p, q)| {
            let m = f64::midpoint(*p, *q);
            term(*p, m) + term(*q, m)
        })
        .sum();
    (sum / 2.0).max(0.0).sqrt()
}

/// Returns whether every cell that both use is one value, so that [`jensen_shannon`] is exact.
#[must_use]
pub(super) fn are_values(reference: &Shares, current: &Shares) -> bool {
    let open = |shares: &Shares| shares.cells.iter().step_by(2).all(|share| *share == 0.0);
    open(reference) && open(current)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::{Method, Samples};

    fn counts(edges: &Edges, values: &[f32]) -> CellCounts {
        let mut counts = CellCounts::new(edges);
        values.iter().for_each(|value| counts.add(edges, *value));
        counts
    }

    /// Low-discrepancy points: a quarter each uniform, squared, integers and far out.
    fn sample(n: usize, shift: f32, scale: f32) -> Vec<f32> {
        let unit = |i: usize, step: f64| (i as f64 * step).fract() as f32;
        (0..n)
            .map(|i| {
                let u = unit(i, 0.618_033_988_75);
                shift
                    + scale
                        * match i % 4 {
                            0 => u,
                            1 => u * u * 3.0,
                            2 => (u * 5.0).floor(),
                            _ => 1.0 / (0.02 + unit(i, 0.414_213_562_37)),
                        }
            })
            .collect()
    }

    #[test]
    fn the_exact_distance_lies_within_the_bounds() {
        let reference = sample(20_000, 0.0, 1.0);
        let edges = Edges::of(&reference);
        assert!(edges.cells() <= 2 * (EDGES + 3) + 1, "{}", edges.cells());
        let wide = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
        let shares = counts(&edges, &reference).shares().expect("rows");
        let mean = wide(&reference).iter().sum::<f64>() / 20_000.0;
        let sd = (wide(&reference).iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 20_000.0).sqrt();
        for (n, shift, scale) in
            [(20_000, 0.0, 1.0), (700, 0.0, 1.0), (5000, 0.3, 1.0), (5000, 0.0, 1.3), (5000, -9.0, 4.0), (1, 0.0, 1.0)]
        {
            let current = sample(n, shift, scale);
            let (low, high) = wasserstein(&edges, &shares, &counts(&edges, &current).shares().expect("rows"));
            let samples = Samples::numbers(wide(&reference), wide(&current), false).expect("rows");
            let exact = samples.score(Method::Wasserstein).expect("a score");
            let slack = 1e-6 + exact * 1e-6;
            assert!(
                low / sd <= exact + slack && exact <= high / sd + slack,
                "{n} {shift} {scale}: {low} {exact} {high}"
            );
            assert!((high - low) / sd < 0.07, "{n} {shift} {scale}: {low} to {high}");
        }
    }

    #[test]
    fn sums_of_parts_are_the_whole_and_travel() {
        let values = sample(3000, 0.0, 1.0);
        let edges = Edges::of(&values[..1000]);
        let whole = counts(&edges, &values);
        let mut sum = CellCounts::new(&edges);
        for part in [&values[2000..], &values[..500], &values[500..2000]] {
            let sent = serde_json::to_string(&counts(&edges, part).sparse()).expect("JSON");
            sum.merge_sparse(&serde_json::from_str(&sent).expect("JSON"));
        }
        assert_eq!((sum.rows(), sum.counts.clone()), (whole.rows(), whole.counts.clone()));
        assert!((sum.mean() - whole.mean()).abs() < 1e-9);
    }

    #[test]
    fn few_values_are_cells_of_their_own() {
        let edges = Edges::of(&[0.0, 1.0, 1.0, -0.0]);
        assert_eq!(edges.values(), [0.0, 1.0]);
        let reference = counts(&edges, &[0.0, 0.0, 1.0, 0.0]).shares().expect("rows");
        let current = counts(&edges, &[1.0, 1.0, f32::NAN, 0.0, -0.0]);
        assert_eq!((current.missing, current.present()), (1, 4));
        let current = current.shares().expect("rows");
        let exact = Samples::categories(vec![0.0, 0.0, 1.0, 0.0], vec![1.0, 1.0, 0.0, 0.0]).expect("rows");
        let exact = exact.score(Method::JensenShannon).expect("a score");
        assert!((jensen_shannon(&reference, &current) - exact).abs() < 1e-15);
        assert!(are_values(&reference, &current));
        assert!(!are_values(&reference, &counts(&edges, &[0.5]).shares().expect("rows")));
        assert_eq!(Edges::of(&[]).cells(), 1);
        assert!(CellCounts::new(&Edges::of(&[])).shares().is_none());
    }
}
