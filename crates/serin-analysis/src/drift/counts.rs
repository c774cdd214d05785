//! Tests on the counts of a column's categories in both samples.

use super::special::{chi_square_sf, ln_gamma, normal_cdf};
use super::{DriftError, Method};

/// Pearson's chi-square: the current counts against the reference's, scaled.
pub(super) fn chi_square(counts: &[(u64, u64)]) -> f64 {
    let (r, c) = totals(counts);
    let statistic: f64 = counts
        .iter()
        .map(|(reference, current)| {
            let expected = *reference as f64 * (c / r);
            (*current as f64 - expected).powi(2) / expected
        })
        .sum();
    chi_square_sf(statistic, counts.len() as f64 - 1.0)
}

fn totals(counts: &[(u64, u64)]) -> (f64, f64) {
    let (r, c) = counts.iter().fold((0, 0), |(r, c), (a, b)| (r + a, c + b));
    (r as f64, c as f64)
}

/// Likelihood ratio, two-sided; the sizes must be the same.
pub(super) fn g_test(counts: &[(u64, u64)]) -> Result<f64, DriftError> {
    let (r, c) = totals(counts);
    if (r - c).abs() > 1.490_116_119_384_765_6e-8 * r.min(c) {
        return Err(DriftError::UnequalSizes { method: Method::GTest, reference: r, current: c });
    }
    let statistic: f64 = counts
        .iter()
        .map(|(reference, current)| {
            let x = *current as f64;
            if x == 0.0 { 0.0 } else { x * (x / *reference as f64).ln() }
        })
        .sum();
    Ok(chi_square_sf(2.0 * statistic, counts.len() as f64 - 1.0))
}

/// Two proportions: of everything but the first category.
pub(super) fn z_test(counts: &[(u64, u64)]) -> f64 {
    let (r, c) = totals(counts);
    if counts.len() == 1 {
        return 1.0;
    }
    let (first_r, first_c) = counts[0];
    let (p1, p2) = (1.0 - first_r as f64 / r, 1.0 - first_c as f64 / c);
    let pooled = (p1 * r + p2 * c) / (r + c);
    let z = (p1 - p2) / (pooled * (1.0 - pooled) * (1.0 / r + 1.0 / c)).sqrt();
    2.0 * (1.0 - normal_cdf(z.abs()))
}

/// Fisher's exact test, two-sided: all tables that are no likelier.
pub(super) fn fisher_exact(counts: &[(u64, u64)]) -> Result<f64, DriftError> {
    let (r, c) = totals(counts);
    if r != c {
        return Err(DriftError::UnequalSizes { method: Method::FisherExact, reference: r, current: c });
    }
    if counts.len() > 2 {
        return Err(DriftError::TooManyCategories(counts.len()));
    }
    let (a, b) = counts[0];
    let column = a + b;
    let ln_choose =
        |n: u64, k: u64| ln_gamma(n as f64 + 1.0) - ln_gamma(k as f64 + 1.0) - ln_gamma((n - k) as f64 + 1.0);
    let (n, all) = (r as u64, (r + c) as u64);
    let ln_p = |x: u64| ln_choose(n, x) + ln_choose(all - n, column - x) - ln_choose(all, column);
    let observed = ln_p(a);
    let possible = column.saturating_sub(all - n)..=column.min(n);
    let p: f64 = possible.map(ln_p).filter(|ln| *ln <= observed + 1e-7).map(f64::exp).sum();
    Ok(p.min(1.0))
}
