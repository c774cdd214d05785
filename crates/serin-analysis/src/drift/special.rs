//! Functions that p-values need, to about 1e-13 relative.

/// ln Γ(x), x > 0.
pub(super) fn ln_gamma(x: f64) -> f64 {
    libm::lgamma(x)
}

/// Φ(z), as Cephes computes it: small values on the left, differences from 1 on the right.
pub(super) fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

/// 1 − Φ(z), without cancellation.
pub(super) fn normal_sf(z: f64) -> f64 {
    0.5 * libm::erfc(z / std::f64::consts::SQRT_2)
}

/// Upper tail of the chi-square distribution: Q(dof/2, x/2).
pub(super) fn chi_square_sf(x: f64, dof: f64) -> f64 {
    if x.is_nan() || dof <= 0.0 {
        return f64::NAN;
    }
    if x <= 0.0 {
        return 1.0;
    }
    if x.is_infinite() {
        return 0.0;
    }
    upper_gamma(dof / 2.0, x / 2.0)
}

/// Regularised upper incomplete gamma: the series below the mean, a continued fraction (Lentz) above.
fn upper_gamma(a: f64, x: f64) -> f64 {
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
        while term > sum * 1e-17 {
            n += 1.0;
            term *= x / n;
            sum += term;
        }
        return 1.0 - front * sum;
    }
    let tiny = 1e-300;
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1.0 / tiny, 1.0 / b);
    let mut h = d;
    for i in 1..10_000 {
        let an = -f64::from(i) * (f64::from(i) - a);
        b += 2.0;
        d = 1.0 / clear(an * d + b, tiny);
        c = clear(b + an / c, tiny);
        let step = d * c;
        h *= step;
        if (step - 1.0).abs() < 1e-16 {
            break;
        }
    }
    front * h
}

fn clear(x: f64, tiny: f64) -> f64 {
    if x.abs() < tiny { tiny } else { x }
}

/// Two-sided tail of Student's t.
pub(crate) fn student_two_sided(t: f64, dof: f64) -> f64 {
    if t.is_nan() {
        return f64::NAN;
    }
    if t.is_infinite() {
        return 0.0;
    }
    incomplete_beta(dof / 2.0, 0.5, dof / (dof + t * t))
}

/// Regularised incomplete beta by its continued fraction (Lentz).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp() / a;
    let tiny = 1e-300;
    let (mut c, mut d) = (1.0, 1.0 / clear(1.0 - (a + b) * x / (a + 1.0), tiny));
    let mut h = d;
    for m in 1..100_000 {
        let m = f64::from(m);
        for numerator in [
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        ] {
            d = 1.0 / clear(1.0 + numerator * d, tiny);
            c = clear(1.0 + numerator / c, tiny);
            h *= d * c;
        }
        if (d * c - 1.0).abs() < 1e-16 {
            break;
        }
    }
    front * h
}

/// e^(−x)·K_ν(x) for x > 0, from ∫₀^∞ e^(−x·cosh t)·cosh(νt) dt: the trapezoid rule converges faster than any power.
pub(super) fn bessel_k_times_exp(order: f64, x: f64) -> f64 {
    let step = 1.0 / 64.0;
    let term = |t: f64| (-x - x * t.cosh()).exp() * (order * t).cosh();
    let (mut sum, mut t) = (0.5 * term(0.0), step);
    loop {
        let next = term(t);
        sum += next;
        if next < sum * 1e-18 || next == 0.0 {
            return sum * step;
        }
        t += step;
    }
}
