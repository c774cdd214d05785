//! Promise 1: our forest gives XGBoost's float32 margin, bit for bit.

use serin_scoring::{Forest, ScoringPath};
use serin_training::xgboost::{Booster, DMatrix};

/// A small deterministic generator; the test must not depend on a library's stream.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }
}

struct Case {
    name: &'static str,
    columns: usize,
    rounds: usize,
    parameters: &'static [(&'static str, &'static str)],
    /// Columns of whole numbers below 12, declared categorical.
    categories: usize,
    formats: &'static [&'static str],
}

const CASES: [Case; 9] = [
    Case {
        name: "logistic hist",
        columns: 30,
        rounds: 70,
        parameters: &[("objective", "binary:logistic"), ("max_depth", "6"), ("base_score", "0.5")],
        categories: 0,
        formats: &["ubj", "json"],
    },
    Case {
        name: "automatic base score",
        columns: 15,
        rounds: 40,
        parameters: &[("objective", "binary:logistic"), ("max_bin", "4096")],
        categories: 0,
        formats: &["ubj", "json"],
    },
    Case {
        name: "exact, depth 8",
        columns: 40,
        rounds: 30,
        parameters: &[("objective", "binary:logistic"), ("tree_method", "exact"), ("max_depth", "8")],
        categories: 0,
        formats: &["ubj", "json"],
    },
    Case {
        name: "approx, depth 3",
        columns: 5,
        rounds: 130,
        parameters: &[("objective", "binary:logitraw"), ("tree_method", "approx"), ("max_depth", "3")],
        categories: 0,
        formats: &["ubj"],
    },
    Case {
        name: "deep lossguide",
        columns: 10,
        rounds: 20,
        parameters: &[
            ("objective", "binary:logistic"),
            ("grow_policy", "lossguide"),
            ("max_depth", "0"),
            ("max_leaves", "60"),
        ],
        categories: 0,
        formats: &["ubj", "json"],
    },
    Case {
        name: "regression",
        columns: 8,
        rounds: 30,
        parameters: &[("objective", "reg:squarederror"), ("max_depth", "5")],
        categories: 0,
        formats: &["ubj"],
    },
    Case {
        name: "softprob",
        columns: 12,
        rounds: 15,
        parameters: &[("objective", "multi:softprob"), ("num_class", "4")],
        categories: 0,
        formats: &["ubj", "json"],
    },
    Case {
        name: "dart",
        columns: 10,
        rounds: 25,
        parameters: &[("objective", "binary:logistic"), ("booster", "dart"), ("rate_drop", "0.3")],
        categories: 0,
        formats: &["ubj", "json"],
    },
    Case {
        name: "categories",
        columns: 6,
        rounds: 25,
        parameters: &[("objective", "binary:logistic"), ("max_cat_to_onehot", "4")],
        categories: 3,
        formats: &["ubj", "json"],
    },
];

fn odd_value(random: &mut Random) -> f32 {
    [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-41, -1e-41, f32::MAX, f32::MIN]
        [random.next() as usize % 9]
}

#[test]
fn margins_and_scores_equal_xgboosts_to_the_bit() {
    for (number, case) in CASES.iter().enumerate() {
        let mut random = Random(0x9E37_79B9 + number as u64);
        let (rows, columns) = (3_000, case.columns);
        let cell = |random: &mut Random, column: usize| {
            if column < case.categories {
                (random.next() % 12) as f32
            } else if column % 3 == 1 {
                (random.next() % 40) as f32 / 8.0
            } else {
                random.unit() * 100.0 - 50.0
            }
        };
        let mut values = Vec::with_capacity(rows * columns);
        let mut labels = Vec::with_capacity(rows);
        for _ in 0..rows {
            let first = values.len();
            for column in 0..columns {
                let missing = random.unit() < 0.05;
                values.push(if missing { f32::NAN } else { cell(&mut random, column) });
            }
            let signal: f32 = values[first..].iter().filter(|v| !v.is_nan()).take(4).sum();
            labels.push(match case.parameters[0].1 {
                "multi:softprob" => (signal.abs() as u32 % 4) as f32,
                "reg:squarederror" => signal,
                _ => f32::from(u8::from(signal + random.unit() * 40.0 > 20.0)),
            });
        }
        let mut train = DMatrix::from_dense(&values, columns).unwrap();
        train.set_info("label", &labels).unwrap();
        let types: Vec<&str> = (0..columns).map(|c| if c < case.categories { "c" } else { "float" }).collect();
        train.set_features("feature_type", &types).unwrap();
        let mut parameters: Vec<(String, String)> =
            case.parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        parameters.push(("seed".into(), number.to_string()));
        let mut booster = Booster::new(&parameters, &[&train]).unwrap();
        for round in 0..case.rounds {
            booster.update(round, &train).unwrap();
        }

        // Unseen rows, with every odd value, and the thresholds themselves (multiples of 1/8 are shared).
        let mut unseen: Vec<f32> = (0..2_000 * columns)
            .map(|i| {
                let column = i % columns;
                match random.next() % 10 {
                    0 if column >= case.categories => odd_value(&mut random),
                    1 if column < case.categories => [f32::NAN, 11.0, 12.0, 40.0][random.next() as usize % 4],
                    _ => cell(&mut random, column),
                }
            })
            .collect();
        unseen.extend_from_slice(&values);
        for format in case.formats {
            let bytes = booster.save(format).unwrap();
            // XGBoost's answer from the same file: what a Python user would see.
            let peer = Booster::from_bytes(&bytes).unwrap();
            let margins = peer.predict_dense(&unseen, columns, true).unwrap();
            let scores = peer.predict_dense(&unseen, columns, false).unwrap();
            let mut forest = Forest::from_bytes(&bytes).unwrap_or_else(|e| panic!("{} {format}: {e}", case.name));
            compare_contributions(&forest, &peer, &values, columns, case);
            let paths = forest.available_paths();
            assert_eq!(
                paths.len() == 1,
                matches!(case.name, "deep lossguide" | "categories"),
                "{}: {paths:?}",
                case.name
            );
            for path in paths {
                forest.use_path(path);
                let mut ours = vec![0.0; margins.len()];
                forest.margins_into(&unseen, &mut ours);
                assert_same(&ours, &margins, &format!("{} {format} {path} margins", case.name));
                forest.scores_from_margins(&mut ours);
                if path == ScoringPath::Walk {
                    assert_same(&ours, &scores, &format!("{} {format} scores", case.name));
                }
            }
        }
    }
}

/// Of the first rows: within 1e-5 of the row's largest, which is XGBoost's own rounding.
fn compare_contributions(forest: &Forest, peer: &Booster, rows: &[f32], columns: usize, case: &Case) {
    if forest.num_outputs() > 1 {
        assert!(forest.explainer().is_err());
        return;
    }
    let rows = &rows[..300 * columns];
    let mut matrix = DMatrix::from_dense(rows, columns).unwrap();
    let types: Vec<&str> = (0..columns).map(|c| if c < case.categories { "c" } else { "float" }).collect();
    matrix.set_features("feature_type", &types).unwrap();
    let expected = peer.predict_contributions(&matrix).unwrap();
    let explainer = forest.explainer().unwrap();
    for (row, expected) in rows.chunks_exact(columns).zip(expected.chunks_exact(columns + 1)) {
        let found = forest.contributions(&explainer, row);
        let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        for (column, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!(
                (found - expected).abs() <= 1e-5 * largest,
                "{}, column {column}: {found} instead of {expected}, largest {largest}",
                case.name
            );
        }
    }
}

fn assert_same(ours: &[f32], theirs: &[f32], what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let wrong = ours.iter().zip(theirs).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    assert_eq!(wrong, 0, "{what}: {wrong} of {} differ", ours.len());
}

#[test]
fn a_sliced_model_and_best_iteration_agree() {
    let mut random = Random(7);
    let values: Vec<f32> = (0..500 * 4).map(|_| random.unit()).collect();
    let labels: Vec<f32> = values.chunks(4).map(|row| f32::from(u8::from(row[0] > 0.5))).collect();
    let mut train = DMatrix::from_dense(&values, 4).unwrap();
    train.set_info("label", &labels).unwrap();
    let mut booster = Booster::new(&[("objective".into(), "binary:logistic".into())], &[&train]).unwrap();
    for round in 0..20 {
        booster.update(round, &train).unwrap();
    }
    booster.set_attribute("best_iteration", "6").unwrap();
    let limited = Forest::from_bytes(&booster.save("ubj").unwrap()).unwrap().up_to_best_iteration();
    let sliced = Forest::from_bytes(&booster.first_rounds(7).unwrap().save("ubj").unwrap()).unwrap();
    assert_eq!((limited.num_trees(), sliced.num_trees()), (7, 7));
    for row in values.chunks(4) {
        assert_eq!(limited.margin(row).to_bits(), sliced.margin(row).to_bits());
    }
}
