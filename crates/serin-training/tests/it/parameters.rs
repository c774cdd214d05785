//! What `--set` promises reaches XGBoost and does what it says.

use serin_dataset::Dataset;
use serin_scoring::{Column, ColumnKind, Forest, Signature};
use serin_training::{Fitted, Parameters, TrainingError, fit};

const ROWS: usize = 4_000;

/// Three columns; fraud is likelier with more of the first, less of the second, and noise.
fn rows(seed: u64) -> Dataset {
    let mut state = seed;
    let mut unit = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let mut features = Vec::new();
    let mut labels = Vec::new();
    for _ in 0..ROWS {
        let (a, b, c) = (unit(), unit(), unit());
        features.extend([a, b, c]);
        labels.push(f32::from(u8::from(a - b + 1.5 * unit() > 1.5)));
    }
    let columns =
        ["a", "b", "c"].map(|name| Column { name: name.into(), kind: ColumnKind::Number, nullable: false }).to_vec();
    Dataset {
        signature: Signature { columns },
        features,
        labels,
        times: vec![],
        entities: vec![],
        amounts: vec![],
        weights: vec![],
    }
}

fn train(set: &[(&str, &str)], rounds: usize, early_stopping: Option<usize>) -> Result<Fitted, TrainingError> {
    let set = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let valid = early_stopping.is_some().then(|| rows(2));
    fit(&rows(1), valid.as_ref(), &Parameters { set, rounds, early_stopping }, &mut |_| {})
}

fn mean_score(fitted: &Fitted) -> f32 {
    let forest = Forest::from_bytes(&fitted.model).unwrap();
    let rows = rows(3);
    rows.features.chunks(3).map(|row| forest.score(row)).sum::<f32>() / ROWS as f32
}

#[test]
fn monotone_constraints_hold_on_every_path_through_the_forest() {
    let falls = |fitted: &Fitted| {
        let forest = Forest::from_bytes(&fitted.model).unwrap();
        let mut worst = 0.0f32;
        for row in rows(4).features.chunks(3).take(200) {
            let margins: Vec<f32> = (0..=50).map(|i| forest.margin(&[i as f32 / 50.0, row[1], row[2]])).collect();
            worst = margins.windows(2).fold(worst, |worst, pair| worst.max(pair[0] - pair[1]));
        }
        worst
    };
    let free = train(&[("max_depth", "6"), ("eta", "0.3")], 60, None).unwrap();
    let bound = train(&[("max_depth", "6"), ("eta", "0.3"), ("monotone_constraints", "(1,-1,0)")], 60, None).unwrap();
    assert!(falls(&free) > 0.1, "without constraints noise makes the margin fall somewhere");
    assert!(falls(&bound) <= 1e-5, "{}", falls(&bound));
}

#[test]
fn scale_pos_weight_raises_the_scores() {
    let plain = mean_score(&train(&[], 30, None).unwrap());
    let weighted = mean_score(&train(&[("scale_pos_weight", "10")], 30, None).unwrap());
    assert!(weighted > plain + 0.1, "{plain} {weighted}");
}

#[test]
fn every_tree_method_trains_and_seeds_are_kept() {
    for method in ["hist", "approx", "exact"] {
        let set = [("tree_method", method), ("subsample", "0.5")];
        let with = |seed| train(&[set[0], set[1], ("seed", seed)], 10, None).unwrap().model;
        assert_eq!(with("1"), with("1"), "{method}: the same seed gives the same bytes");
        assert_ne!(with("1"), with("2"), "{method}: another seed draws other rows");
    }
    assert!(matches!(train(&[("tree_method", "magic")], 1, None), Err(TrainingError::Xgboost(_))));
}

#[test]
fn early_stopping_follows_the_last_metric_named() {
    let set = [("eta", "0.5"), ("max_depth", "8"), ("eval_metric", "logloss"), ("eval_metric", "aucpr")];
    let fitted = train(&set, 500, Some(5)).unwrap();
    let (best, value) = fitted.best.unwrap();
    assert_eq!(fitted.rounds, best + 1);
    assert!(fitted.rounds < 100, "stopped at {}", fitted.rounds);
    let curve: Vec<(usize, f64)> = fitted
        .history
        .iter()
        .filter(|(_, set, metric, _)| set == "valid" && metric == "aucpr")
        .map(|(round, _, _, value)| (*round, *value))
        .collect();
    let largest = curve.iter().map(|(_, value)| *value).fold(f64::MIN, f64::max);
    assert_eq!(value, largest, "an area is better when larger");
    assert_eq!(curve.iter().find(|(_, v)| *v == largest).unwrap().0, best, "the first of equals");
    assert_eq!(curve.last().unwrap().0, best + 5);
    let forest = Forest::from_bytes(&fitted.model).unwrap();
    assert_eq!((forest.num_trees(), forest.best_iteration()), (fitted.rounds, Some(best)));
}

#[test]
fn unknown_parameters_are_refused_by_name() {
    let refused = train(&[("max_dept", "3"), ("eta", "0.1")], 3, None);
    assert!(matches!(refused, Err(TrainingError::UnknownParameter(name)) if name == "max_dept"));
}

// XGBoost warns the thread that trains: each of them asks for its own warnings, and hears no other's.
#[test]
fn unknown_parameters_are_refused_on_every_thread_and_known_ones_on_none() {
    let trained = |name: &'static str| move || train(&[(name, "3")], 3, None).map(|fitted| fitted.rounds);
    for _ in 0..2 {
        let threads =
            ["max_dept", "max_depth", "max_dept", "max_depth"].map(|name| (name, std::thread::spawn(trained(name))));
        for (name, thread) in threads {
            match thread.join().unwrap() {
                Err(TrainingError::UnknownParameter(unknown)) => {
                    assert_eq!((unknown.as_str(), name), ("max_dept", "max_dept"));
                }
                Ok(rounds) => assert_eq!((rounds, name), (3, "max_depth")),
                Err(other) => panic!("{name}: {other}"),
            }
        }
    }
}
