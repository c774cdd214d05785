//! Tests on the order of numbers, and on their means. Sorted samples everywhere.

use super::DriftError;
use super::bins::by_value;
use super::special::{bessel_k_times_exp, chi_square_sf, ln_gamma, normal_sf, student_two_sided};
use std::collections::BTreeMap;

/// Student's t with a pooled variance, two-sided.
pub(super) fn t_test(reference: &[f64], current: &[f64]) -> f64 {
    let moments = |values: &[f64]| {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        (n, mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>())
    };
    let ((r, mean_r, square_r), (c, mean_c, square_c)) = (moments(reference), moments(current));
    let dof = r + c - 2.0;
    let deviation = ((square_r + square_c) / dof * (1.0 / r + 1.0 / c)).sqrt();
    student_two_sided((mean_r - mean_c) / deviation, dof)
}

/// Mann-Whitney's U, against "the reference tends to be smaller".
pub(super) fn mann_whitney(reference: &[f64], current: &[f64]) -> f64 {
    let (r, c) = (reference.len() as f64, current.len() as f64);
    let n = r + c;
    let (mut before, mut rank_sum, mut ties) = (0.0, 0.0, 0.0);
    for (a, b) in by_value(reference, current) {
        let t = (a + b) as f64;
        rank_sum += a as f64 * (before + (t + 1.0) / 2.0);
        ties += t.powi(3) - t;
        before += t;
    }
    let u = r * c - (rank_sum - r * (r + 1.0) / 2.0);
    if r.min(c) <= 8.0 && ties == 0.0 {
        return exact_u(reference.len(), current.len(), u as usize);
    }
    let deviation = (r * c / 12.0 * ((n + 1.0) - ties / (n * (n - 1.0)))).sqrt();
    normal_sf((u - r * c / 2.0 - 0.5) / deviation)
}

/// P(U ≥ u) without ties: counts of partitions, row by row.
fn exact_u(r: usize, c: usize, u: usize) -> f64 {
    // Ways to reach each value with i of the one and j of the other; adding one of the first passes j of the second.
    let mut ways = vec![vec![0.0; r * c + 1]; c + 1];
    for row in &mut ways {
        row[0] = 1.0;
    }
    for _ in 0..r {
        let mut next = vec![vec![0.0; r * c + 1]; c + 1];
        for j in 0..=c {
            for value in 0..=r * c {
                let mut count = if value >= j { ways[j][value - j] } else { 0.0 };
                if j > 0 {
                    count += next[j - 1][value];
                }
                next[j][value] = count;
            }
        }
        ways = next;
    }
    let all: f64 = ways[c].iter().sum();
    ways[c][u.min(r * c)..].iter().sum::<f64>() / all
}

/// Two-sample Cramér-von Mises: exact up to 20 values a side, asymptotic beyond (Anderson 1962; Csörgő & Faraway 1996).
pub(super) fn cramer_von_mises(reference: &[f64], current: &[f64]) -> f64 {
    let (r, c) = (reference.len() as f64, current.len() as f64);
    let n = r + c;
    let (mut before, mut i, mut j) = (0.0, 0.0, 0.0);
    let (mut left, mut right) = (0.0, 0.0);
    for (a, b) in by_value(reference, current) {
        let rank = before + ((a + b) as f64 + 1.0) / 2.0;
        for _ in 0..a {
            i += 1.0;
            left += (rank - i) * (rank - i);
        }
        for _ in 0..b {
            j += 1.0;
            right += (rank - j) * (rank - j);
        }
        before += (a + b) as f64;
    }
    let u = r * left + c * right;
    if r.max(c) <= 20.0 {
        return exact_cramer_von_mises(reference.len(), current.len(), u);
    }
    let k = r * c;
    let t = u / (k * n) - (4.0 * k - 1.0) / (6.0 * n);
    let mean = (1.0 + 1.0 / n) / 6.0;
    let variance = (n + 1.0) * (4.0 * k * n - 3.0 * (r * r + c * c) - 2.0 * k) / (45.0 * n * n * 4.0 * k);
    let limit = 1.0 / 6.0 + (t - mean) / (45.0 * variance).sqrt();
    if limit < 0.003 { 1.0 } else { (1.0 - limiting_cramer_von_mises(limit)).max(0.0) }
}

/// Distribution function of the Cramér-von Mises statistic's limit.
fn limiting_cramer_von_mises(x: f64) -> f64 {
    let mut sum = 0.0;
    for k in 0..1000 {
        let k = f64::from(k);
        let y = 4.0 * k + 1.0;
        let q = y * y / (16.0 * x);
        let front = (ln_gamma(k + 0.5) - ln_gamma(k + 1.0)).exp() / (std::f64::consts::PI.powf(1.5) * x.sqrt());
        let term = front * y.sqrt() * bessel_k_times_exp(0.25, q);
        sum += term;
        if term.abs() < 1e-7 {
            break;
        }
    }
    sum
}

/// P(statistic ≥ observed) over all orders of the values.
fn exact_cramer_von_mises(r: usize, c: usize, u: f64) -> f64 {
    let (m, n) = (r as u64, c as u64);
    let divisor = {
        let (mut a, mut b) = (m, n);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let multiple = m / divisor * n;
    let (a, b) = (multiple / m, multiple / n);
    // Half-ranks of ties make u a multiple of a quarter; the statistic in units in which every order's is whole.
    let mn = (m * n) as f64;
    let observed = (multiple * multiple * (m + n)) as f64 * (6.0 * u - mn * (4.0 * mn - 1.0)) / (6.0 * mn * mn);
    // Ways to each sum of squared differences, path by path through the grid.
    let mut row: Vec<BTreeMap<u64, f64>> = vec![BTreeMap::new(); c + 1];
    for i in 0..=r {
        for j in 0..=c {
            let square = (a * i as u64).abs_diff(b * j as u64).pow(2);
            let mut here: BTreeMap<u64, f64> = BTreeMap::new();
            if i == 0 && j == 0 {
                here.insert(0, 1.0);
            }
            let from_left = if j > 0 { Some(&row[j - 1]) } else { None };
            let from_above = if i > 0 { Some(&row[j]) } else { None };
            for (sum, ways) in from_left.into_iter().chain(from_above).flatten() {
                *here.entry(sum + square).or_default() += ways;
            }
            row[j] = here;
        }
    }
    let all: f64 = row[c].values().sum();
    row[c].iter().filter(|(sum, _)| **sum as f64 >= observed - 1e-9).map(|(_, ways)| ways).sum::<f64>() / all
}

/// k-sample Anderson-Darling for two, with mid-ranks (Scholz & Stephens 1987); p between 0.001 and 0.25.
pub(super) fn anderson_darling(reference: &[f64], current: &[f64]) -> f64 {
    const B0: [f64; 7] = [0.675, 1.281, 1.645, 1.96, 2.326, 2.573, 3.085];
    const B1: [f64; 7] = [-0.245, 0.25, 0.678, 1.149, 1.822, 2.364, 3.615];
    const B2: [f64; 7] = [-0.105, -0.305, -0.362, -0.391, -0.396, -0.345, -0.154];
    const LEVELS: [f64; 7] = [0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.001];
    let (r, c) = (reference.len() as f64, current.len() as f64);
    let n = r + c;
    let mut statistic = 0.0;
    let (mut before, mut upto_r, mut upto_c) = (0.0, 0.0, 0.0);
    for (a, b) in by_value(reference, current) {
        let (a, b) = (a as f64, b as f64);
        let l = a + b;
        upto_r += a;
        upto_c += b;
        let middle = before + l / 2.0;
        let below = middle * (n - middle) - n * l / 4.0;
        for (size, upto, own) in [(r, upto_r, a), (c, upto_c, b)] {
            let m = upto - own / 2.0;
            if below > 0.0 {
                statistic += l / n * (n * m - middle * size).powi(2) / below / size;
            }
        }
        before += l;
    }
    statistic *= (n - 1.0) / n;
    let count = n as usize;
    let harmonic: f64 = (1..count).map(|j| 1.0 / j as f64).sum();
    let (mut g, mut tail) = (0.0, 0.0);
    for t in 1..count.saturating_sub(1) {
        tail += 1.0 / (count - t) as f64;
        g += tail / (t + 1) as f64;
    }
    let (h, hh, k) = (harmonic, 1.0 / r + 1.0 / c, 2.0);
    let a = (4.0 * g - 6.0) * (k - 1.0) + (10.0 - 6.0 * g) * hh;
    let b = (2.0 * g - 4.0) * k * k + 8.0 * h * k + (2.0 * g - 14.0 * h - 4.0) * hh - 8.0 * h + 4.0 * g - 6.0;
    let cc = (6.0 * h + 2.0 * g - 2.0) * k * k + (4.0 * h - 4.0 * g + 6.0) * k + (2.0 * h - 6.0) * hh + 4.0 * h;
    let d = (2.0 * h + 6.0) * k * k - 4.0 * h * k;
    let variance = (a * n.powi(3) + b * n * n + cc * n + d) / ((n - 1.0) * (n - 2.0) * (n - 3.0));
    let standardised = (statistic - 1.0) / variance.sqrt();
    let critical: [f64; 7] = std::array::from_fn(|i| B0[i] + B1[i] + B2[i]);
    if standardised < critical[0] {
        return 0.25;
    }
    if standardised > critical[6] {
        return 0.001;
    }
    let [constant, linear, square] = quadratic(&critical, &LEVELS.map(f64::ln));
    (constant + linear * standardised + square * standardised * standardised).exp()
}

/// Least squares of y on 1, x, x².
fn quadratic(x: &[f64; 7], y: &[f64; 7]) -> [f64; 3] {
    let mut rows = [[0.0; 4]; 3];
    for (x, y) in x.iter().zip(y) {
        let powers = [1.0, *x, x * x];
        for i in 0..3 {
            for j in 0..3 {
                rows[i][j] += powers[i] * powers[j];
            }
            rows[i][3] += powers[i] * y;
        }
    }
    solve(rows)
}

/// Solves three linear equations by Gauss elimination with pivots; each row holds three coefficients and the right side.
fn solve(mut rows: [[f64; 4]; 3]) -> [f64; 3] {
    for i in 0..3 {
        let pivot = (i..3).max_by(|a, b| rows[*a][i].abs().total_cmp(&rows[*b][i].abs())).unwrap_or(i);
        rows.swap(i, pivot);
        for other in 0..3 {
            if other != i {
                let (factor, with) = (rows[other][i] / rows[i][i], rows[i]);
                for (cell, by) in rows[other].iter_mut().zip(with) {
                    *cell -= factor * by;
                }
            }
        }
    }
    std::array::from_fn(|i| rows[i][3] / rows[i][i])
}

/// Epps and Singleton's test of empirical characteristic functions (J. Stat. Comput. Simul. 26, 1986).
pub(super) fn epps_singleton(reference: &[f64], current: &[f64]) -> Result<f64, DriftError> {
    let mut all: Vec<f64> = reference.iter().chain(current).copied().collect();
    all.sort_unstable_by(f64::total_cmp);
    let percentile = |share: f64| {
        let place = share * (all.len() - 1) as f64;
        let (low, high) = (all[place.floor() as usize], all[place.ceil() as usize]);
        low + (high - low) * place.fract()
    };
    let half_range = (percentile(0.75) - percentile(0.25)) / 2.0;
    if half_range == 0.0 {
        return Err(DriftError::NoSpread);
    }
    let points = [0.4 / half_range, 0.8 / half_range];
    let at = |x: f64| [(points[0] * x).cos(), (points[1] * x).cos(), (points[0] * x).sin(), (points[1] * x).sin()];
    let moments = |values: &[f64]| {
        let n = values.len() as f64;
        let mut mean = [0.0; 4];
        for value in values {
            for (sum, part) in mean.iter_mut().zip(at(*value)) {
                *sum += part / n;
            }
        }
        let mut covariance = [[0.0; 4]; 4];
        for value in values {
            let parts = at(*value);
            for i in 0..4 {
                for j in 0..4 {
                    covariance[i][j] += (parts[i] - mean[i]) * (parts[j] - mean[j]) / n;
                }
            }
        }
        (n, mean, covariance)
    };
    let ((r, mean_r, cov_r), (c, mean_c, cov_c)) = (moments(reference), moments(current));
    let n = r + c;
    let pooled: [[f64; 4]; 4] =
        std::array::from_fn(|i| std::array::from_fn(|j| n / r * cov_r[i][j] + n / c * cov_c[i][j]));
    let difference: [f64; 4] = std::array::from_fn(|i| mean_r[i] - mean_c[i]);
    let (values, vectors) = eigen(pooled);
    let largest = values.iter().copied().fold(0.0_f64, |most, value| most.max(value.abs()));
    let (mut statistic, mut rank) = (0.0, 0.0);
    for k in 0..4 {
        // As NumPy tells a rank: relative to the largest singular value.
        if values[k].abs() <= largest * 4.0 * f64::EPSILON {
            continue;
        }
        rank += 1.0;
        let along: f64 = (0..4).map(|i| vectors[i][k] * difference[i]).sum();
        statistic += along * along / values[k];
    }
    statistic *= n;
    if r.max(c) < 25.0 {
        statistic /= 1.0 + n.powf(-0.45) + 10.1 * (r.powf(-1.7) + c.powf(-1.7));
    }
    Ok(chi_square_sf(statistic, rank))
}

/// Eigenvalues and eigenvectors (columns) of a symmetric matrix, by Jacobi's rotations.
fn eigen(mut a: [[f64; 4]; 4]) -> ([f64; 4], [[f64; 4]; 4]) {
    let mut vectors: [[f64; 4]; 4] = std::array::from_fn(|i| std::array::from_fn(|j| if i == j { 1.0 } else { 0.0 }));
    for _ in 0..100 {
        let off: f64 = (0..4).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i][j] * a[i][j]).sum();
        if off < 1e-300 {
            break;
        }
        for p in 0..3 {
            for q in p + 1..4 {
                if a[p][q] == 0.0 {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let t = if theta == 0.0 { 1.0 } else { t };
                let cos = 1.0 / (t * t + 1.0).sqrt();
                let sin = t * cos;
                for row in &mut a {
                    let (x, y) = (row[p], row[q]);
                    (row[p], row[q]) = (cos * x - sin * y, sin * x + cos * y);
                }
                let (upper, lower) = (a[p], a[q]);
                a[p] = std::array::from_fn(|k| cos * upper[k] - sin * lower[k]);
                a[q] = std::array::from_fn(|k| sin * upper[k] + cos * lower[k]);
                for row in &mut vectors {
                    let (x, y) = (row[p], row[q]);
                    (row[p], row[q]) = (cos * x - sin * y, sin * x + cos * y);
                }
            }
        }
    }
    (std::array::from_fn(|i| a[i][i]), vectors)
}
