//! Drift of one column, "evidently-0.7.23 semantics": the same tests, bins, defaults and thresholds as Evidently 0.7.23 with
//! SciPy 1.17, to the digits (<https://docs.evidentlyai.com/metrics/explainer_drift>).
//!
//! Where Evidently is at odds with itself we choose: values that are no finite numbers are always left out, and
//! `cramer_von_mises` answers small samples on which it breaks.

mod bins;
mod counts;
mod distances;
pub mod evidently;
mod kolmogorov;
mod ranks;
pub(crate) mod special;

use std::fmt;
use std::str::FromStr;

/// Rows of the reference up to which the default is a p-value.
const SMALL: usize = 1000;
/// Distinct whole numbers up to which a column is taken for categories.
const CODES: usize = 10;

/// A statistical test or distance that compares two samples of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "their names are what they are called everywhere")]
pub enum Method {
    Ks,
    Wasserstein,
    JensenShannon,
    Psi,
    KlDiv,
    Hellinger,
    ChiSquare,
    Z,
    TTest,
    MannWhitney,
    EppsSingleton,
    Anderson,
    CramerVonMises,
    Energy,
    GTest,
    FisherExact,
}

/// How a score is compared with the threshold to decide whether it is drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    AtMost,
    Below,
    AtLeast,
    Above,
}

impl Method {
    /// Every method, in the order of declaration.
    pub const ALL: [Self; 16] = [
        Self::Ks,
        Self::Wasserstein,
        Self::JensenShannon,
        Self::Psi,
        Self::KlDiv,
        Self::Hellinger,
        Self::ChiSquare,
        Self::Z,
        Self::TTest,
        Self::MannWhitney,
        Self::EppsSingleton,
        Self::Anderson,
        Self::CramerVonMises,
        Self::Energy,
        Self::GTest,
        Self::FisherExact,
    ];

    /// Returns six facts of a method: Evidently's name, its name in reports, its default threshold, how a score is compared
    /// with that, whether it takes numbers, and whether it takes categories.
    fn described(self) -> (&'static str, &'static str, f64, Rule, bool, bool) {
        match self {
            Self::Ks => ("ks", "K-S p_value", 0.05, Rule::AtMost, true, false),
            Self::Wasserstein => ("wasserstein", "Wasserstein distance (normed)", 0.1, Rule::AtLeast, true, false),
            Self::JensenShannon => ("jensenshannon", "Jensen-Shannon distance", 0.1, Rule::AtLeast, true, true),
            Self::Psi => ("psi", "PSI", 0.1, Rule::AtLeast, true, true),
            Self::KlDiv => ("kl_div", "Kullback-Leibler divergence", 0.1, Rule::AtLeast, true, true),
            Self::Hellinger => ("hellinger", "Hellinger distance", 0.1, Rule::AtLeast, true, true),
            Self::ChiSquare => ("chisquare", "chi-square p_value", 0.05, Rule::Below, false, true),
            Self::Z => ("z", "Z-test p_value", 0.05, Rule::Below, false, true),
            Self::TTest => ("t_test", "t_test", 0.05, Rule::Below, true, false),
            Self::MannWhitney => ("mannw", "Mann-Whitney U-rank test", 0.05, Rule::Below, true, false),
            Self::EppsSingleton => ("es", "Epps-Singleton", 0.05, Rule::Below, true, false),
            Self::Anderson => ("anderson", "Anderson-Darling", 0.1, Rule::Below, true, false),
            Self::CramerVonMises => ("cramer_von_mises", "Cramer-von Mises", 0.1, Rule::AtMost, true, false),
            Self::Energy => ("ed", "Energy-distance", 0.1, Rule::Above, true, false),
            Self::GTest => ("g_test", "g_test", 0.1, Rule::Below, false, true),
            Self::FisherExact => ("fisher_exact", "Fisher's Exact test", 0.1, Rule::Below, false, true),
        }
    }

    /// Returns the name that Evidently's reports show.
    #[must_use]
    pub fn display_name(self) -> &'static str {
        self.described().1
    }

    /// Returns the default threshold, in the unit of the method's score.
    #[must_use]
    pub fn threshold(self) -> f64 {
        self.described().2
    }

    /// Returns whether a score is drift at this threshold. NaN is never drift.
    #[must_use]
    pub fn is_drift(self, score: f64, threshold: f64) -> bool {
        match self.described().3 {
            Rule::AtMost => score <= threshold,
            Rule::Below => score < threshold,
            Rule::AtLeast => score >= threshold,
            Rule::Above => score > threshold,
        }
    }

    /// Returns whether the method is defined for numbers (`numbers` is true) or for categories (`numbers` is false).
    #[must_use]
    pub fn takes(self, numbers: bool) -> bool {
        let (.., of_numbers, of_categories) = self.described();
        if numbers { of_numbers } else { of_categories }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.described().0)
    }
}

/// Name of no statistical test.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no test {0:?}: there are {names}", names = Method::ALL.map(|method| method.to_string()).join(", "))]
pub struct UnknownMethod(String);

/// Reason why a test says nothing about two samples.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum DriftError {
    /// One side has no finite value.
    #[error("the {0} column has no values")]
    NoValues(&'static str),
    /// The method is not defined for samples of this kind.
    #[error("{method} is no test of {}", if *numbers { "numbers" } else { "categories" })]
    WrongKind {
        /// Method that was named.
        method: Method,
        /// True for samples of numbers, false for categories.
        numbers: bool,
    },
    /// The middle half of both samples is one value, so that [`Method::EppsSingleton`] has no scale.
    #[error("es needs values that differ: the middle half of both samples is one value")]
    NoSpread,
    /// The method compares samples of one size only.
    #[error("{method} compares samples of one size, not of {reference} and {current} values")]
    UnequalSizes {
        /// Method that was named.
        method: Method,
        /// Values of the reference.
        reference: f64,
        /// Values of the current side.
        current: f64,
    },
    /// [`Method::FisherExact`] compares two categories only; here is how many there are.
    #[error("fisher_exact compares two categories, not {0}")]
    TooManyCategories(usize),
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(name: &str) -> Result<Self, UnknownMethod> {
        Self::ALL.into_iter().find(|method| method.described().0 == name).ok_or_else(|| UnknownMethod(name.to_owned()))
    }
}

/// Returns whether a column of whole numbers is taken for one of categories: it is where the current side has at most ten
/// distinct values.
#[must_use]
pub fn are_codes(current: &[f64]) -> bool {
    let mut found: Vec<f64> = Vec::with_capacity(CODES);
    for value in current.iter().filter(|value| !value.is_nan()) {
        if !found.contains(value) {
            if found.len() == CODES {
                return false;
            }
            found.push(*value);
        }
    }
    true
}

/// Two samples of one column, sorted, without what is no finite number.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    reference: Vec<f64>,
    current: Vec<f64>,
    /// True for numbers; false for codes of categories whose order is that of the categories.
    numbers: bool,
    /// True if both columns hold whole numbers by their type.
    whole_numbers: bool,
}

/// Result of one test on one column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift {
    /// Test that gave the score.
    pub method: Method,
    /// p-value or distance, as the method gives it; NaN where the test says nothing.
    pub score: f64,
    /// Score at which drift begins.
    pub threshold: f64,
    /// True if the score counts as drift at this threshold.
    pub drifted: bool,
}

impl Samples {
    /// Makes samples of numbers. `whole_numbers` says that the columns have an integer type, which widens narrow bins.
    ///
    /// # Errors
    /// When a side has no finite value: nothing can be said then.
    pub fn numbers(reference: Vec<f64>, current: Vec<f64>, whole_numbers: bool) -> Result<Self, DriftError> {
        Self::of(reference, current, true, whole_numbers)
    }

    /// Makes samples of categories, as codes that have the categories' order; NaN is missing.
    ///
    /// # Errors
    /// As [`Self::numbers`].
    pub fn categories(reference: Vec<f64>, current: Vec<f64>) -> Result<Self, DriftError> {
        Self::of(reference, current, false, false)
    }

    fn of(
        mut reference: Vec<f64>,
        mut current: Vec<f64>,
        numbers: bool,
        whole_numbers: bool,
    ) -> Result<Self, DriftError> {
        for (side, values) in [("reference", &mut reference), ("current", &mut current)] {
            values.retain(|value| value.is_finite());
            if values.is_empty() {
                return Err(DriftError::NoValues(side));
            }
            // -0.0 and 0.0 are one value.
            values.iter_mut().for_each(|value| *value += 0.0);
            values.sort_unstable_by(f64::total_cmp);
        }
        Ok(Self { reference, current, numbers, whole_numbers })
    }

    /// The test that is used where none is named: by the reference's size and the number of distinct values.
    #[must_use]
    pub fn default_method(&self) -> Method {
        match (self.reference.len() <= SMALL, self.numbers, self.distinct()) {
            (true, true, 6..) => Method::Ks,
            (false, true, 6..) => Method::Wasserstein,
            (true, _, 3..) => Method::ChiSquare,
            (true, _, _) => Method::Z,
            (false, _, _) => Method::JensenShannon,
        }
    }

    /// The default test, or `method` with `threshold` or its own.
    ///
    /// # Errors
    /// When the test cannot be made on these samples, with the reason.
    pub fn drift(&self, method: Option<Method>, threshold: Option<f64>) -> Result<Drift, DriftError> {
        let method = match method {
            Some(method) if !method.takes(self.numbers) => {
                return Err(DriftError::WrongKind { method, numbers: self.numbers });
            }
            Some(method) => method,
            None => self.default_method(),
        };
        let threshold = threshold.unwrap_or(method.threshold());
        let score = self.score(method)?;
        Ok(Drift { method, score, threshold, drifted: method.is_drift(score, threshold) })
    }

    /// Score of a test or distance between the two samples, in the method's own scale.
    ///
    /// # Errors
    /// As [`Self::drift`].
    pub fn score(&self, method: Method) -> Result<f64, DriftError> {
        let (r, c) = (&self.reference[..], &self.current[..]);
        let by_value = || bins::by_value(r, c);
        let binned = || if self.numbers { bins::paired_counts(r, c, self.whole_numbers) } else { by_value() };
        Ok(match method {
            Method::Ks => kolmogorov::p_value(r, c),
            Method::Wasserstein => distances::wasserstein_normed(r, c),
            Method::JensenShannon => distances::jensen_shannon(&binned()),
            Method::Psi => distances::psi(&binned()),
            Method::KlDiv => distances::kl_div(&binned()),
            Method::Hellinger if self.numbers => distances::hellinger(r, c, self.whole_numbers),
            Method::Hellinger => distances::hellinger_by_value(&by_value()),
            Method::ChiSquare => counts::chi_square(&by_value()),
            Method::Z => counts::z_test(&by_value()),
            Method::TTest => ranks::t_test(r, c),
            Method::MannWhitney => ranks::mann_whitney(r, c),
            Method::EppsSingleton => ranks::epps_singleton(r, c)?,
            Method::Anderson => ranks::anderson_darling(r, c),
            Method::CramerVonMises => ranks::cramer_von_mises(r, c),
            Method::Energy => distances::energy(r, c),
            Method::GTest => counts::g_test(&by_value())?,
            Method::FisherExact => counts::fisher_exact(&by_value())?,
        })
    }

    /// Shares of both samples for a picture: of each value where there are few, else in forty bins of the reference's
    /// 1st to 99th percentile, beyond which the outer bins reach. First the value, or the bin's lower edge.
    #[must_use]
    pub fn histogram(&self) -> Vec<(f64, f64, f64)> {
        const BINS: usize = 40;
        let counts = bins::by_value(&self.reference, &self.current);
        let (r, c) = (self.reference.len() as f64, self.current.len() as f64);
        if counts.len() <= BINS || !self.numbers {
            let mut all: Vec<f64> = self.reference.iter().chain(&self.current).copied().collect();
            all.sort_unstable_by(f64::total_cmp);
            all.dedup();
            return all.into_iter().zip(counts).map(|(value, (a, b))| (value, a as f64 / r, b as f64 / c)).collect();
        }
        let at = |share: f64| self.reference[((self.reference.len() - 1) as f64 * share) as usize];
        let (low, high) = (at(0.01), at(0.99));
        let step = (high - low) / BINS as f64;
        let below = |values: &[f64], bin: usize| {
            if bin == BINS { values.len() } else { values.partition_point(|value| *value < low + step * bin as f64) }
        };
        let share = |values: &[f64], bin: usize| {
            let from = if bin == 0 { 0 } else { below(values, bin) };
            below(values, bin + 1).saturating_sub(from) as f64 / values.len() as f64
        };
        (0..BINS).map(|bin| (low + step * bin as f64, share(&self.reference, bin), share(&self.current, bin))).collect()
    }

    /// Different values of both sides together.
    #[must_use]
    pub fn distinct(&self) -> usize {
        bins::by_value(&self.reference, &self.current).len()
    }

    /// Rows of each side that were compared.
    #[must_use]
    pub fn rows(&self) -> (usize, usize) {
        (self.reference.len(), self.current.len())
    }
}

#[cfg(test)]
mod tests {
    use super::special::{chi_square_sf, normal_cdf};
    use super::*;

    fn recorded() -> serde_json::Value {
        serde_json::from_str(include_str!("../../tests/fixtures/evidently_vectors.json")).expect("JSON")
    }

    fn rows(name: &str) -> Vec<Vec<f64>> {
        let number = |value: &serde_json::Value| value.as_f64().unwrap_or_else(|| f64::from(u8::from(value == true)));
        let recorded = recorded();
        let rows = recorded["special_functions"][name]["rows"].as_array().expect(name);
        rows.iter().map(|row| row.as_array().expect("a row").iter().map(number).collect()).collect()
    }

    #[test]
    fn tails_are_scipys() {
        let near = |found: f64, expected: f64, what: &dyn fmt::Debug| {
            assert!(
                (found - expected).abs() <= 1e-9 * expected.abs().max(1e-3),
                "{what:?}: {found:e} for {expected:e}"
            );
        };
        for row in rows("chi2_sf") {
            near(chi_square_sf(row[0], row[1]), row[2], &row);
        }
        for row in rows("z_two_sided") {
            near(2.0 * (1.0 - normal_cdf(row[0].abs())), row[1], &row);
        }
        for row in rows("ks2samp_exact_two_sided") {
            near(kolmogorov::exact(row[0] as usize, row[1] as usize, row[2] as usize), row[4], &row);
        }
        for row in rows("kstwo_sf") {
            near(kolmogorov::one_sample_sf(row[0] as u64, row[1]), row[2], &row);
        }
    }
}
