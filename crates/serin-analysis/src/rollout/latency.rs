//! Histogram of the candidate's answer times, and its quantiles.

/// Upper bounds of the latency buckets, milliseconds; one more bucket is open above.
pub const LATENCY_BOUNDS_MS: [f64; 10] = [0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 250.0, 1000.0];

/// Number of answers in each latency bucket; the last is open above.
pub type LatencyCounts = [u64; LATENCY_BOUNDS_MS.len() + 1];

/// Quantile `q` (0 to 1) of the counted answer times, milliseconds; `None` without any.
///
/// Within a bucket the times are taken to be spread evenly, as Prometheus' `histogram_quantile` does. A quantile in the
/// open bucket is infinite: the histogram does not know how slow those answers were.
#[must_use]
pub fn latency_quantile_ms(counts: &LatencyCounts, q: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    let rank = q * all as f64;
    let (mut below, mut lower) = (0, 0.0);
    for (count, upper) in counts.iter().zip(LATENCY_BOUNDS_MS.into_iter().chain([f64::INFINITY])) {
        if *count > 0 && (below + count) as f64 >= rank {
            let within = (rank - below as f64).max(0.0) / *count as f64;
            return Some(if upper.is_finite() { (upper - lower).mul_add(within, lower) } else { upper });
        }
        (below, lower) = (below + count, upper);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let mut counts = LatencyCounts::default();
        assert_eq!(latency_quantile_ms(&counts, 0.99), None);
        // R30: all answers took 260 ms; Flagger's own limit of 500 ms must not fail.
        counts[9] = 1000;
        let p99 = latency_quantile_ms(&counts, 0.99).unwrap_or_default();
        assert!((p99 - 992.5).abs() < 1e-9, "{p99}");
        counts = LatencyCounts::default();
        (counts[2], counts[9]) = (990, 10);
        assert_eq!(latency_quantile_ms(&counts, 0.99), Some(1.0));
        (counts[2], counts[10]) = (980, 20);
        assert_eq!(latency_quantile_ms(&counts, 0.99), Some(f64::INFINITY));
        assert_eq!(latency_quantile_ms(&[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0.5), Some(0.125));
    }
}
