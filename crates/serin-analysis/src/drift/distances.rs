//! Distances between the distributions of a reference sample and a current sample.

use super::bins::{counts, distinct, filled, shares, sturges_edges};

/// Population stability index of the (reference, current) counts of each bin: Σ (r − c)·ln(r/c), 0 where both are alike.
pub(super) fn psi(counts: &[(u64, u64)]) -> f64 {
    let (reference, current) = shares(counts);
    let (reference, current) = (filled(&reference), filled(&current));
    reference.iter().zip(&current).map(|(r, c)| (r - c) * (r / c).ln()).sum()
}

/// Kullback-Leibler divergence of the reference from the current sample.
pub(super) fn kl_div(counts: &[(u64, u64)]) -> f64 {
    let (reference, current) = shares(counts);
    let (reference, current) = (filled(&reference), filled(&current));
    let (r, c): (f64, f64) = (reference.iter().sum(), current.iter().sum());
    reference.iter().zip(&current).map(|(p, q)| p / r * ((p / r) / (q / c)).ln()).sum()
}

/// Jensen-Shannon distance, natural logarithms: at most √ln 2.
pub(super) fn jensen_shannon(counts: &[(u64, u64)]) -> f64 {
    let (reference, current) = shares(counts);
    let term = |x: f64, m: f64| if x > 0.0 { x * (x / m).ln() } else { 0.0 };
    let (left, right) = reference.iter().zip(&current).fold((0.0, 0.0), |(left, right), (p, q)| {
        let m = f64::midpoint(*p, *q);
        (left + term(*p, m), right + term(*q, m))
    });
    ((left + right) / 2.0).max(0.0).sqrt()
}

/// Hellinger distance of the (reference, current) counts of each category, 0 to 1.
pub(super) fn hellinger_by_value(counts: &[(u64, u64)]) -> f64 {
    let (reference, current) = shares(counts);
    let overlap: f64 = reference.iter().zip(&current).map(|(p, q)| (p * q).sqrt()).sum();
    (1.0 - overlap.clamp(0.0, 1.0)).sqrt()
}

/// Hellinger distance of sorted numbers: densities in Sturges' bins over the distinct values.
pub(super) fn hellinger(reference: &[f64], current: &[f64], whole_numbers: bool) -> f64 {
    let mut all: Vec<f64> = reference.iter().chain(current).copied().collect();
    all.sort_unstable_by(f64::total_cmp);
    let (low, high) = (all[0], all[all.len() - 1]);
    let edges = sturges_edges(low, high, distinct(&all), whole_numbers);
    let densities = |values: &[f64]| {
        let counts = counts(values, &edges);
        let total: u64 = counts.iter().sum();
        let bins = counts.iter().zip(edges.windows(2));
        bins.map(|(count, edge)| *count as f64 / (edge[1] - edge[0]) / total as f64).collect::<Vec<f64>>()
    };
    let (p, q) = (densities(reference), densities(current));
    let width = (edges[edges.len() - 1] - edges[0]) / (edges.len() - 1) as f64;
    let overlap: f64 = p.iter().zip(&q).map(|(p, q)| (p * q).sqrt()).sum();
    (1.0 - (overlap * width).clamp(0.0, 1.0)).sqrt()
}

/// ∫ f(|F_R − F_C|) of sorted samples.
fn between(reference: &[f64], current: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    let (r, c) = (reference.len() as f64, current.len() as f64);
    let (mut i, mut j, mut sum) = (0, 0, 0.0);
    let next = |i: usize, j: usize| match (reference.get(i), current.get(j)) {
        (Some(a), Some(b)) => Some(a.min(*b)),
        (Some(a), None) => Some(*a),
        (None, Some(b)) => Some(*b),
        (None, None) => None,
    };
    let mut at = next(0, 0);
    while let Some(value) = at {
        while reference.get(i).is_some_and(|other| *other <= value) {
            i += 1;
        }
        while current.get(j).is_some_and(|other| *other <= value) {
            j += 1;
        }
        at = next(i, j);
        if let Some(after) = at {
            sum += f((i as f64 / r - j as f64 / c).abs()) * (after - value);
        }
    }
    sum
}

/// Wasserstein distance in standard deviations of the reference (0.001 at least).
pub(super) fn wasserstein_normed(reference: &[f64], current: &[f64]) -> f64 {
    let n = reference.len() as f64;
    let mean = reference.iter().sum::<f64>() / n;
    let deviation = (reference.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
    between(reference, current, |gap| gap) / deviation.max(0.001)
}

/// Energy distance √2·√∫(F_R − F_C)² of two sorted samples, in the square root of the column's unit.
pub(super) fn energy(reference: &[f64], current: &[f64]) -> f64 {
    std::f64::consts::SQRT_2 * between(reference, current, |gap| gap * gap).sqrt()
}
