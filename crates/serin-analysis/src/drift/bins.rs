//! How values become shares: one bin a distinct value, or Sturges' bins over both samples together.

/// A share that is no share is replaced by this, or by a millionth of the smallest one where that is smaller.
const FILL: f64 = 1e-4;
/// Distinct values of the reference up to which each has a bin of its own.
const DISTINCT: usize = 20;

/// Number of distinct values of a sorted slice.
pub(super) fn distinct(sorted: &[f64]) -> usize {
    if sorted.is_empty() { 0 } else { 1 + sorted.windows(2).filter(|pair| pair[0] != pair[1]).count() }
}

/// Edges as NumPy makes them for `bins="sturges"`: of `n` values between `low` and `high`.
pub(super) fn sturges_edges(low: f64, high: f64, n: usize, whole_numbers: bool) -> Vec<f64> {
    let mut width = (high - low) / ((n as f64).log2() + 1.0);
    let (low, high) = if low == high { (low - 0.5, high + 0.5) } else { (low, high) };
    if whole_numbers && width > 0.0 && width < 1.0 {
        width = 1.0;
    }
    // In this form and no other: where log2 is whole, the last bit decides between two numbers of bins.
    let count = if width > 0.0 { ((high - low) / width).ceil() as usize } else { 1 };
    let step = (high - low) / count as f64;
    let mut edges: Vec<f64> = (0..count).map(|i| i as f64 * step + low).collect();
    edges.push(high);
    edges
}

/// Values of a sorted slice in each bin; bins are closed on the left, the last one on both sides.
pub(super) fn counts(sorted: &[f64], edges: &[f64]) -> Vec<u64> {
    let below = |edge: f64| sorted.partition_point(|value| *value < edge);
    let last = edges.len() - 1;
    let mut places: Vec<usize> = edges[..last].iter().map(|edge| below(*edge)).collect();
    places.push(sorted.partition_point(|value| *value <= edges[last]));
    places.windows(2).map(|pair| (pair[1] - pair[0]) as u64).collect()
}

/// Counts of both samples, sorted, in the bins that psi, kl_div and jensenshannon use.
pub(super) fn paired_counts(reference: &[f64], current: &[f64], whole_numbers: bool) -> Vec<(u64, u64)> {
    if distinct(reference) <= DISTINCT {
        return by_value(reference, current);
    }
    let low = reference[0].min(current[0]);
    let high = reference[reference.len() - 1].max(current[current.len() - 1]);
    let edges = sturges_edges(low, high, reference.len() + current.len(), whole_numbers);
    counts(reference, &edges).into_iter().zip(counts(current, &edges)).collect()
}

/// Counts of each distinct value; both sorted.
pub(super) fn by_value(reference: &[f64], current: &[f64]) -> Vec<(u64, u64)> {
    let (mut i, mut j) = (0, 0);
    let mut found = Vec::new();
    while i < reference.len() || j < current.len() {
        let value = match (reference.get(i), current.get(j)) {
            (Some(a), Some(b)) => a.min(*b),
            (Some(a), None) => *a,
            (None, Some(b)) => *b,
            (None, None) => break,
        };
        let count = |values: &[f64], at: &mut usize| {
            let from = *at;
            while values.get(*at).is_some_and(|other| *other == value) {
                *at += 1;
            }
            (*at - from) as u64
        };
        found.push((count(reference, &mut i), count(current, &mut j)));
    }
    found
}

/// Counts to shares of each side.
pub(super) fn shares(counts: &[(u64, u64)]) -> (Vec<f64>, Vec<f64>) {
    let (r, c) = counts.iter().fold((0, 0), |(r, c), (a, b)| (r + a, c + b));
    (
        counts.iter().map(|(a, _)| *a as f64 / r as f64).collect(),
        counts.iter().map(|(_, b)| *b as f64 / c as f64).collect(),
    )
}

/// Shares without zeros; they do not add up to 1 then.
pub(super) fn filled(shares: &[f64]) -> Vec<f64> {
    let smallest = shares.iter().copied().filter(|share| *share > 0.0).fold(f64::INFINITY, f64::min);
    let fill = if smallest <= FILL { smallest / 1e6 } else { FILL };
    shares.iter().map(|share| if *share == 0.0 { fill } else { *share }).collect()
}
