//! One column of two files: its kind, its test and its histogram.

use serin_analysis::drift::{Drift, DriftError, Method, Samples, are_codes};
use serin_dataset::{TableColumn, Values};
use std::collections::BTreeMap;

/// Tests and thresholds by column, by kind, and for all; the closest one counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Methods {
    /// Tests of single columns, by name.
    pub columns: BTreeMap<String, Method>,
    /// Test of columns of numbers.
    pub numbers: Option<Method>,
    /// Test of columns of categories.
    pub categories: Option<Method>,
    /// Test of all columns; none for the one that suits the size, type and distinct values.
    pub all: Option<Method>,
    /// Score at which drift begins; none for each test's own.
    pub threshold: Option<f64>,
}

impl Methods {
    fn of(&self, name: &str, numbers: bool) -> Option<Method> {
        let by_kind = if numbers { self.numbers } else { self.categories };
        self.columns.get(name).copied().or(by_kind).or(self.all)
    }
}

/// Reason why a column is not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeftOut {
    /// More than half of the current texts differ from each other.
    #[error("free text")]
    FreeText,
    /// The column holds points in time, which always drift.
    #[error("points in time")]
    Times,
    /// The column has different types in the two files.
    #[error("another type on each side")]
    OtherType,
}

/// Bars of a histogram: the label of the bin, and the shares of the reference and of the current values in it.
pub type Histogram = Vec<(String, f64, f64)>;

/// A column that was compared.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnComparison {
    /// Name of the column.
    pub name: String,
    /// True for numbers, false for categories.
    pub numbers: bool,
    /// Result of the test.
    pub tested: Result<Drift, DriftError>,
    /// Share of missing values, 0 to 1, of the reference and of the current file.
    pub missing: [f64; 2],
    /// Values of both files in bins; empty where no histogram was asked for, or a file has no values.
    pub histogram: Histogram,
}

impl ColumnComparison {
    /// Returns Evidently's name of the column's kind: `num` or `cat`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        if self.numbers { "num" } else { "cat" }
    }
}

/// Values of a column in both files, in one kind.
#[derive(Debug, PartialEq)]
pub(super) enum Comparable {
    /// Numbers; `whole` is true if both types are those of whole numbers.
    Numbers { reference: Vec<f64>, current: Vec<f64>, whole: bool },
    /// Codes of categories, as places in `levels` where these are known.
    Categories { reference: Vec<f64>, current: Vec<f64>, levels: Vec<String> },
}

/// Gives a column the kind that pandas' types would give it, by Evidently's rules; the current file decides.
pub(super) fn comparable(reference: TableColumn, current: TableColumn) -> Result<Comparable, LeftOut> {
    let number = |truth: Option<bool>| truth.map_or(f64::NAN, |truth| f64::from(u8::from(truth)));
    Ok(match (reference.values, current.values) {
        (Values::Numbers { values: reference, whole: a }, Values::Numbers { values: current, whole: b }) => {
            if b && are_codes(&current) {
                Comparable::Categories { reference, current, levels: Vec::new() }
            } else {
                Comparable::Numbers { reference, current, whole: a && b }
            }
        }
        (Values::Booleans(reference), Values::Booleans(current)) => Comparable::Categories {
            reference: reference.into_iter().map(number).collect(),
            current: current.into_iter().map(number).collect(),
            levels: vec!["false".to_owned(), "true".to_owned()],
        },
        (Values::Texts { codes: a, levels: known }, Values::Texts { codes: b, levels: others }) => {
            let present = b.iter().flatten().count();
            if others.len() as f64 > 0.5 * present as f64 {
                return Err(LeftOut::FreeText);
            }
            // Codes in the order of the texts, over both files.
            let mut levels: Vec<String> = known.iter().chain(&others).cloned().collect();
            levels.sort();
            levels.dedup();
            let place = |text: &String| levels.binary_search(text).map_or(f64::NAN, |place| place as f64);
            let coded = |codes: Vec<Option<u32>>, texts: &[String]| {
                let places: Vec<f64> = texts.iter().map(place).collect();
                codes.into_iter().map(|code| code.map_or(f64::NAN, |code| places[code as usize])).collect()
            };
            let (reference, current) = (coded(a, &known), coded(b, &others));
            Comparable::Categories { reference, current, levels }
        }
        (Values::Times(_), Values::Times(_)) => return Err(LeftOut::Times),
        _ => return Err(LeftOut::OtherType),
    })
}

/// Tests a column, and puts its values in bins where `histogram` says so.
pub(super) fn compare_columns(name: String, pair: Comparable, methods: &Methods, histogram: bool) -> ColumnComparison {
    let share = |values: &[f64]| {
        let missing = values.iter().filter(|value| !value.is_finite()).count();
        missing as f64 / values.len().max(1) as f64
    };
    let (samples, numbers, missing, levels) = match pair {
        Comparable::Numbers { reference, current, whole } => {
            let missing = [share(&reference), share(&current)];
            (Samples::numbers(reference, current, whole), true, missing, Vec::new())
        }
        Comparable::Categories { reference, current, levels } => {
            let missing = [share(&reference), share(&current)];
            (Samples::categories(reference, current), false, missing, levels)
        }
    };
    let histogram = match &samples {
        Ok(samples) if histogram => labelled(samples.histogram(), &levels),
        _ => Vec::new(),
    };
    let tested = samples.and_then(|samples| samples.drift(methods.of(&name, numbers), methods.threshold));
    ColumnComparison { name, numbers, tested, missing, histogram }
}

/// Gives bins the text of their level, or else their number.
fn labelled(bars: Vec<(f64, f64, f64)>, levels: &[String]) -> Histogram {
    let label = |value: f64| {
        levels
            .get(value as usize)
            .cloned()
            .unwrap_or_else(|| format!("{value:.6}").trim_end_matches('0').trim_end_matches('.').to_owned())
    };
    bars.into_iter().map(|(value, reference, current)| (label(value), reference, current)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: Values) -> TableColumn {
        TableColumn { name: "x".into(), values }
    }

    fn numbers(values: Vec<f64>, whole: bool) -> TableColumn {
        column(Values::Numbers { values, whole })
    }

    fn texts(texts: &[&str]) -> TableColumn {
        let mut levels: Vec<String> = Vec::new();
        let mut codes = Vec::new();
        for text in texts {
            let known = levels.iter().position(|level| level == text);
            codes.push(Some(known.unwrap_or(levels.len()) as u32));
            if known.is_none() {
                levels.push((*text).to_owned());
            }
        }
        column(Values::Texts { codes, levels })
    }

    #[test]
    fn few_whole_numbers_are_categories_by_the_current_file() {
        let many: Vec<f64> = (0..20).map(f64::from).collect();
        let few = vec![1.0, 2.0, 1.0];
        let kind = |reference: TableColumn, current: TableColumn| comparable(reference, current).unwrap();
        assert!(matches!(kind(numbers(many.clone(), true), numbers(few.clone(), true)), Comparable::Categories { .. }));
        assert!(matches!(
            kind(numbers(few.clone(), true), numbers(many.clone(), true)),
            Comparable::Numbers { whole: true, .. }
        ));
        assert!(matches!(kind(numbers(few, true), numbers(many, false)), Comparable::Numbers { whole: false, .. }));
    }

    #[test]
    fn texts_get_codes_in_their_order_over_both_files() {
        let pair = comparable(texts(&["b", "c", "b", "c"]), texts(&["c", "a", "c", "a"])).unwrap();
        let levels = ["a", "b", "c"].map(str::to_owned).to_vec();
        let expected =
            Comparable::Categories { reference: vec![1.0, 2.0, 1.0, 2.0], current: vec![2.0, 0.0, 2.0, 0.0], levels };
        assert_eq!(pair, expected);
    }

    #[test]
    fn what_says_nothing_is_left_out() {
        let times = || column(Values::Times(vec![Some(0)]));
        assert_eq!(comparable(times(), times()), Err(LeftOut::Times));
        assert_eq!(comparable(texts(&["a", "a"]), texts(&["a", "b", "a"])), Err(LeftOut::FreeText));
        assert_eq!(comparable(texts(&["a", "a"]), numbers(vec![1.0], true)), Err(LeftOut::OtherType));
    }

    #[test]
    fn the_closest_method_counts() {
        let of_one = BTreeMap::from([("x".to_owned(), Method::Psi)]);
        let methods =
            Methods { columns: of_one, numbers: Some(Method::Ks), all: Some(Method::KlDiv), ..Methods::default() };
        assert_eq!(methods.of("x", true), Some(Method::Psi));
        assert_eq!(methods.of("y", true), Some(Method::Ks));
        assert_eq!(methods.of("y", false), Some(Method::KlDiv));
    }

    #[test]
    fn a_column_without_values_is_untestable_and_has_no_histogram() {
        let pair = Comparable::Numbers { reference: vec![1.0, f64::NAN], current: vec![f64::NAN], whole: false };
        let compared = compare_columns("x".into(), pair, &Methods::default(), true);
        assert_eq!(compared.tested, Err(DriftError::NoValues("current")));
        assert_eq!((compared.missing, compared.histogram, compared.numbers), ([0.5, 1.0], Vec::new(), true));
        let pair = Comparable::Categories {
            reference: vec![0.0, 1.0],
            current: vec![1.0, 1.0],
            levels: vec!["no".into(), "yes".into()],
        };
        let compared = compare_columns("x".into(), pair, &Methods::default(), true);
        assert_eq!(compared.histogram, [("no".to_owned(), 0.5, 0.0), ("yes".to_owned(), 0.5, 1.0)]);
    }
}
