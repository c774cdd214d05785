//! The two-sample Kolmogorov-Smirnov test, with the choices of SciPy 1.17 (`ks_2samp`, two-sided, method auto): exact up to
//! 10,000 rows on the larger side, and beyond that the one-sample distribution at the rounded effective size.

use super::special::ln_gamma;

/// Rows of the larger side up to which the exact distribution is used.
const EXACT: usize = 10_000;

/// Largest difference of the empirical distribution functions; both sides sorted.
pub(super) fn distance(reference: &[f64], current: &[f64]) -> f64 {
    let (r, c) = (reference.len() as f64, current.len() as f64);
    let (mut i, mut j, mut largest) = (0, 0, 0.0_f64);
    while i < reference.len() && j < current.len() {
        let value = reference[i].min(current[j]);
        while i < reference.len() && reference[i] <= value {
            i += 1;
        }
        while j < current.len() && current[j] <= value {
            j += 1;
        }
        largest = largest.max((i as f64 / r - j as f64 / c).abs());
    }
    largest
}

/// Returns the p-value, 0 to 1, of two sorted samples.
pub(super) fn p_value(reference: &[f64], current: &[f64]) -> f64 {
    let d = distance(reference, current);
    let (r, c) = (reference.len(), current.len());
    if r.max(c) <= EXACT {
        let divisor = gcd(r, c);
        let multiple = r / divisor * c;
        return exact(r, c, (d * multiple as f64).round() as usize);
    }
    one_sample_sf((r as f64 * c as f64 / (r + c) as f64).round() as u64, d)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// P(D ≥ h / lcm) when both sides come from one distribution.
pub(super) fn exact(r: usize, c: usize, h: usize) -> f64 {
    if h == 0 {
        return 1.0;
    }
    let p = if r == c { equal_sizes(r, h) } else { outside(r.max(c), r.min(c), h) };
    p.clamp(0.0, 1.0)
}

/// By reflection: an alternating sum, folded from its last term.
fn equal_sizes(n: usize, h: usize) -> f64 {
    let mut p = 0.0;
    for k in (0..=n / h).rev() {
        let mut product = 1.0;
        for j in 0..h {
            product *= (n as f64 - (k * h) as f64 - j as f64) / (n as f64 + (k * h) as f64 + j as f64 + 1.0);
        }
        p = product * (1.0 - p);
    }
    2.0 * p
}

/// Probability that a random lattice path from (0, 0) to (m, n) leaves the band |n·x − m·y| < h·gcd, column by column.
fn outside(m: usize, n: usize, h: usize) -> f64 {
    let divisor = gcd(m, n);
    let (mg, ng, h) = ((m / divisor) as i64, (n / divisor) as i64, h as i64);
    let last = n as i64 + 1;
    // Cells j of a column that lie within the band.
    let window = |i: i64| {
        let from = ((ng * i - h).div_euclid(mg) + 1).max(0).min(n as i64);
        let to = (ng * i + h + mg - 1).div_euclid(mg).min(last);
        (from, to)
    };
    let (mut before_from, mut before_to) = (0, window(0).1);
    // Probability of having been outside already; inside the first column nobody has.
    let mut column = vec![0.0; before_to as usize];
    for i in 1..=m as i64 {
        let (from, to) = window(i);
        if to <= from {
            return 1.0;
        }
        let mut next = Vec::with_capacity((to - from) as usize);
        let mut below = if from == 0 { 0.0 } else { 1.0 };
        for j in from..to {
            let left = if (before_from..before_to).contains(&j) { column[(j - before_from) as usize] } else { 1.0 };
            below = (left * i as f64 + below * j as f64) / (i + j) as f64;
            next.push(below);
        }
        (before_from, before_to, column) = (from, to, next);
    }
    column.last().copied().unwrap_or(1.0)
}

/// P(D_n ≥ d) of the one-sample two-sided statistic (Simard & L'Ecuyer, "Computing the two-sided Kolmogorov-Smirnov
/// distribution", J. Stat. Software 39, 2011, with SciPy's choice of methods).
pub(super) fn one_sample_sf(n: u64, d: f64) -> f64 {
    if n == 0 || d.is_nan() {
        return f64::NAN;
    }
    let nf = n as f64;
    let t = nf * d;
    let y = t * d;
    if d >= 1.0 {
        return 0.0;
    }
    if t <= 0.5 {
        return 1.0;
    }
    if t <= 1.0 {
        // n!·((2t − 1)/n)^n
        return 1.0 - (ln_gamma(nf + 1.0) + nf * ((2.0 * t - 1.0) / nf).ln()).exp();
    }
    if t >= nf - 1.0 {
        return 2.0 * (1.0 - d).powf(nf);
    }
    if d >= 0.5 {
        return 2.0 * one_sided(n, d);
    }
    if n <= 140 {
        return if y <= 4.0 { 1.0 - durbin(n, d) } else { 2.0 * one_sided(n, d) };
    }
    if y >= 370.0 {
        return 0.0;
    }
    if y >= 2.2 {
        return (2.0 * one_sided(n, d)).min(1.0);
    }
    let cdf = if n <= 100_000 && nf * d.powf(1.5) <= 1.4 { durbin(n, d) } else { pelz_good(nf, d) };
    (1.0 - cdf).clamp(0.0, 1.0)
}

/// Probability of the one-sided tail, by Smirnov's sum.
fn one_sided(n: u64, d: f64) -> f64 {
    let nf = n as f64;
    let top = (nf * (1.0 - d)).floor() as u64;
    let mut sum = 0.0;
    for j in 0..=top {
        let jf = j as f64;
        let left = 1.0 - d - jf / nf;
        if left <= 0.0 {
            continue;
        }
        let ln = ln_gamma(nf + 1.0) - ln_gamma(jf + 1.0) - ln_gamma(nf - jf + 1.0)
            + (jf - 1.0) * (d + jf / nf).ln()
            + (nf - jf) * left.ln();
        sum += ln.exp();
    }
    d * sum
}

/// Durbin's matrix, its power taken with an exponent apart (Marsaglia, Tsang & Wang, J. Stat. Software 8, 2003).
fn durbin(n: u64, d: f64) -> f64 {
    let nd = n as f64 * d;
    let k = nd.ceil() as usize;
    let m = 2 * k - 1;
    let h = k as f64 - nd;
    let mut matrix = vec![0.0; m * m];
    for i in 0..m {
        for j in 0..m {
            if i + 1 >= j {
                matrix[i * m + j] = 1.0;
            }
        }
    }
    for i in 0..m {
        matrix[i * m] -= h.powi(i as i32 + 1);
        matrix[(m - 1) * m + i] -= h.powi((m - i) as i32);
    }
    if 2.0 * h > 1.0 {
        matrix[(m - 1) * m] += (2.0 * h - 1.0).powi(m as i32);
    }
    for i in 0..m {
        for j in 0..m {
            if i + 1 > j {
                let mut factorial = 1.0;
                for g in 1..=(i + 1 - j) {
                    factorial *= g as f64;
                }
                matrix[i * m + j] /= factorial;
            }
        }
    }
    let (power, mut exponent) = raised(&matrix, m, n);
    let mut value = power[(k - 1) * m + k - 1];
    for i in 1..=n {
        value *= i as f64 / n as f64;
        if value < 1e-140 {
            value *= 1e140;
            exponent -= 140;
        }
    }
    value * 10_f64.powi(exponent)
}

fn raised(matrix: &[f64], m: usize, n: u64) -> (Vec<f64>, i32) {
    if n == 1 {
        return (matrix.to_vec(), 0);
    }
    let (half, exponent) = raised(matrix, m, n / 2);
    let mut square = product(&half, &half, m);
    let mut exponent = 2 * exponent;
    if n % 2 == 1 {
        square = product(matrix, &square, m);
    }
    if square[(m / 2) * m + m / 2] > 1e140 {
        square.iter_mut().for_each(|value| *value *= 1e-140);
        exponent += 140;
    }
    (square, exponent)
}

fn product(a: &[f64], b: &[f64], m: usize) -> Vec<f64> {
    let mut out = vec![0.0; m * m];
    for i in 0..m {
        for k in 0..m {
            let factor = a[i * m + k];
            for j in 0..m {
                out[i * m + j] += factor * b[k * m + j];
            }
        }
    }
    out
}

/// Pelz and Good's expansion of the distribution function (J. R. Stat. Soc. B 38, 1976).
fn pelz_good(n: f64, d: f64) -> f64 {
    let z = d * n.sqrt();
    let (z2, z3, z4, z6, z7) = (z * z, z.powi(3), z.powi(4), z.powi(6), z.powi(7));
    let pi2 = std::f64::consts::PI.powi(2);
    let pi4 = pi2 * pi2;
    let pi6 = pi4 * pi2;
    let root = (2.0 * std::f64::consts::PI).sqrt();
    let (mut k0, mut k1, mut k2, mut k3) = (0.0, 0.0, 0.0, 0.0);
    for i in 0..200 {
        let m = f64::from(2 * i + 1);
        let (m2, m4, m6) = (m * m, m.powi(4), m.powi(6));
        let q = (-pi2 * m2 / (8.0 * z2)).exp();
        k0 += q;
        k1 += q * (-z2 + pi2 * m2 / 4.0);
        k2 += q * (6.0 * z6 + 2.0 * z4 + (2.0 * z4 - 5.0 * z2) * pi2 * m2 / 4.0 + pi4 * (1.0 - 2.0 * z2) * m4 / 16.0);
        k3 += q
            * (-30.0 * z6 - 90.0 * z6 * z2
                + pi2 * (135.0 * z4 - 96.0 * z6) * m2 / 4.0
                + pi4 * (-60.0 * z2 + 212.0 * z4) * m4 / 16.0
                + pi6 * (5.0 - 30.0 * z2) * m6 / 64.0);
        if q < 1e-300 {
            break;
        }
    }
    let (mut tail2, mut tail3) = (0.0, 0.0);
    for i in 1..200 {
        let k = f64::from(i);
        let q = (-pi2 * k * k / (2.0 * z2)).exp();
        tail2 += k * k * q;
        tail3 += (3.0 * z2 - pi2 * k * k) * k * k * q;
        if q < 1e-300 {
            break;
        }
    }
    let k0 = k0 * root / z;
    let k1 = k1 * root / (6.0 * z4);
    let k2 = k2 * root / (72.0 * z7) - root * pi2 / (36.0 * z3) * tail2;
    let k3 = k3 * root / (6480.0 * z7 * z3) + root * pi2 / (216.0 * z6) * tail3;
    k0 + k1 / n.sqrt() + k2 / n + k3 / n.powf(1.5)
}
