//! The published benchmark (Fraud Detection Handbook), to its three digits. `make yardstick` prints it.

use serin_analysis::threshold::Rule;
use serin_dataset::simulate::FEATURES;
use serin_dataset::{Dataset, Roles, TimeSplit, parse_timestamp, read};
use serin_scoring::Forest;
use serin_training::{Parameters, evaluate, fit};
use std::path::Path;

/// The data has no licence to redistribute: it lies beside the project where there is a copy.
fn published() -> Option<Dataset> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/handbook_2018-04-01_2018-08-14.parquet");
    if !path.exists() {
        println!("SKIPPED: {} is not there (published data, not redistributable)", path.display());
        return None;
    }
    let roles = Roles {
        label: "TX_FRAUD".into(),
        time: Some("TX_DATETIME".into()),
        entity: Some("CUSTOMER_ID".into()),
        amount: Some("TX_AMOUNT".into()),
        features: Some(FEATURES.map(str::to_owned).to_vec()),
        ..Roles::default()
    };
    Some(read(path.to_str().unwrap(), &roles, &mut |_, _, _| {}).unwrap())
}

fn week(start: &str) -> TimeSplit {
    TimeSplit {
        train_from_ms: parse_timestamp(start).unwrap(),
        train_days: 7,
        delay_days: 7,
        test_days: 7,
        drop_known_entities: true,
    }
}

fn run(
    data: &Dataset,
    split: &TimeSplit,
    rounds: usize,
    set: &[(&str, &str)],
) -> (usize, usize, usize, usize, [f64; 3]) {
    let split = split.split(data).unwrap();
    let (train, test) = (data.take(&split.train), data.take(&split.test));
    let set = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let fitted = fit(&train, None, &Parameters { set, rounds, early_stopping: None }, &mut |_| {}).unwrap();
    let forest = Forest::from_bytes(&fitted.model).unwrap();
    let metrics = evaluate(&forest, &test, Rule::Fixed(0.5), 0.0).metrics;
    let frauds = |d: &Dataset| d.labels.iter().sum::<f32>() as usize;
    let row = [metrics["auc_roc"], metrics["average_precision"], metrics["card_precision_at_100"]];
    (train.rows(), frauds(&train), test.rows(), frauds(&test), row)
}

#[test]
fn the_published_row_is_reproduced_and_our_defaults_beat_it() {
    let Some(data) = published() else { return };
    let split = week("2018-07-25");
    // XGBoost's own depth and learning rate, as published.
    let exact = [("tree_method", "exact"), ("base_score", "0.5"), ("max_depth", "6"), ("eta", "0.3")];
    let (train, train_frauds, test, test_frauds, row) = run(&data, &split, 100, &exact);
    println!("{:<42} {:>6} {:>6} {:>8}", "100 trees, eta .3, depth 6", "AUC", "AP", "CP@100");
    println!("{:<42} {:>6} {:>6} {:>8}", "published", ".862", ".639", ".273");
    println!("{:<42} {:>6.3} {:>6.3} {:>8.3}", "exact, base_score .5", row[0], row[1], row[2]);
    assert_eq!((train, train_frauds, test, test_frauds), (67_240, 598, 58_264, 385));
    assert_eq!(row.map(|v| (v * 1e3).round()), [862.0, 639.0, 273.0]);

    let (.., ours) = run(&data, &split, 100, &[]);
    println!("{:<42} {:>6.3} {:>6.3} {:>8.3}", "serin's defaults", ours[0], ours[1], ours[2]);
    assert!(ours.iter().zip([0.869, 0.644, 0.277]).all(|(value, least)| *value >= least), "{ours:?}");
}

#[test]
fn prequential_validation_meets_the_published_average_precision() {
    let Some(data) = published() else { return };
    let set = [("tree_method", "exact"), ("base_score", "0.5"), ("max_depth", "3"), ("eta", "0.3")];
    let folds = ["2018-06-20", "2018-06-27", "2018-07-04", "2018-07-11"];
    let values: Vec<f64> = folds.iter().map(|start| run(&data, &week(start), 50, &set).4[1]).collect();
    let mean = values.iter().sum::<f64>() / 4.0;
    let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 4.0).sqrt();
    println!(
        "prequential, 50 trees, eta .3, depth 3, four folds: AP {mean:.3} +- {deviation:.3} (published .708 +- .02)"
    );
    assert_eq!((mean * 1e3).round(), 708.0);
}
