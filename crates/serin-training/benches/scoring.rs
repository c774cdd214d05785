//! `make bench-scoring`: our forest beside XGBoost's own predictor, same model, same rows, one run, one thread.
//!
//! 300 trees, depth 6, 30 features. All are timed in turns (ours, theirs, ours, …) and the fastest turn of each
//! counts, so that a noisy neighbour hits everybody. XGBoost is timed with one thread, and as a caller who sets
//! nothing gets it (a thread for every core). Answers are compared to the bit before anything is timed.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a benchmark prints")]

use serin_scoring::Forest;
use serin_training::xgboost::{Booster, DMatrix};
use std::hint::black_box;
use std::time::{Duration, Instant};

const COLUMNS: usize = 30;

fn random(state: &mut u64) -> f32 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 40) as f32 / (1u64 << 24) as f32
}

fn rows(count: usize, state: &mut u64) -> Vec<f32> {
    (0..count * COLUMNS).map(|_| if random(state) < 0.02 { f32::NAN } else { random(state) * 10.0 - 5.0 }).collect()
}

fn model(max_bin: &str) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252;
    let values = rows(100_000, &mut state);
    let labels: Vec<f32> = values
        .chunks(COLUMNS)
        .map(|row| {
            let signal: f32 = row
                .iter()
                .take(12)
                .filter(|v| !v.is_nan())
                .enumerate()
                .map(|(i, v)| if i % 2 == 0 { *v } else { v * v / 5.0 })
                .sum();
            f32::from(u8::from(signal + random(&mut state) * 8.0 > 24.0))
        })
        .collect();
    let mut train = DMatrix::from_dense(&values, COLUMNS).expect("rows");
    train.set_info("label", &labels).expect("labels");
    let parameters = [
        ("objective", "binary:logistic"),
        ("max_depth", "6"),
        ("eta", "0.1"),
        ("max_bin", max_bin),
        ("base_score", "0.5"),
    ];
    let parameters: Vec<_> = parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let mut booster = Booster::new(&parameters, &[&train]).expect("booster");
    for round in 0..300 {
        booster.update(round, &train).expect("round");
    }
    booster.save("ubj").expect("saves")
}

/// Fastest of several turns of each, in nanoseconds a row.
fn in_turns(
    count: usize,
    turns: usize,
    mut ours: impl FnMut(),
    mut theirs: impl FnMut(&Booster),
    boosters: [&Booster; 2],
) -> [f64; 3] {
    let mut best = [Duration::MAX; 3];
    let mut timed = |slot: usize, repeats: usize, work: &mut dyn FnMut()| {
        let start = Instant::now();
        for _ in 0..repeats {
            work();
        }
        best[slot] = best[slot].min(start.elapsed() / repeats as u32);
    };
    let repeats = (20_000 / count).max(1);
    for _ in 0..turns {
        timed(0, repeats, &mut ours);
        // XGBoost is so much slower that fewer repeats give it the same time.
        timed(1, (repeats / 50).max(1), &mut || theirs(boosters[0]));
        timed(2, (repeats / 50).max(1), &mut || theirs(boosters[1]));
    }
    best.map(|time| time.as_nanos() as f64 / count as f64)
}

/// Contributions of one row, walking through 512 of them.
fn contributions() {
    let bytes = model("256");
    let mut booster = Booster::from_bytes(&bytes).expect("loads");
    booster.set_parameter("nthread", "1").expect("one thread");
    let forest = Forest::from_bytes(&bytes).expect("loads");
    let explainer = forest.explainer().expect("covers");
    let mut state = 0x2545_F491_4F6C_DD1D;
    let input = rows(512, &mut state);
    let matrix = DMatrix::from_dense(&input, COLUMNS).expect("rows");
    let expected = booster.predict_contributions(&matrix).expect("predicts");
    let mut worst = 0.0_f32;
    for (row, expected) in input.chunks_exact(COLUMNS).zip(expected.chunks_exact(COLUMNS + 1)) {
        let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        for (found, expected) in forest.contributions(&explainer, row).iter().zip(expected) {
            worst = worst.max((found - expected).abs() / largest);
        }
    }
    let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
    for _ in 0..5 {
        let start = Instant::now();
        for row in input.chunks_exact(COLUMNS) {
            black_box(forest.contributions(&explainer, black_box(row)));
        }
        ours = ours.min(start.elapsed() / 512);
        let start = Instant::now();
        black_box(booster.predict_contributions(&matrix).expect("predicts"));
        theirs = theirs.min(start.elapsed() / 512);
    }
    println!(
        "\ncontributions of a row: ours {:.1} µs, XGBoost (1 thread) {:.1} µs, {:.1}x; largest difference {worst:.1e} of a row's largest (goal 40x, 1e-5)",
        ours.as_secs_f64() * 1e6,
        theirs.as_secs_f64() * 1e6,
        theirs.as_secs_f64() / ours.as_secs_f64()
    );
}

fn main() {
    contributions();
    if std::env::args().any(|argument| argument == "contributions") {
        return;
    }
    for max_bin in ["256", "4096"] {
        let bytes = model(max_bin);
        let mut booster = Booster::from_bytes(&bytes).expect("loads");
        booster.set_parameter("nthread", "1").expect("one thread");
        let as_it_comes = Booster::from_bytes(&bytes).expect("loads");
        let mut forest = Forest::from_bytes(&bytes).expect("loads");
        println!(
            "\n{} trees, depth 6, {COLUMNS} features, max_bin {max_bin} (ours: one thread; goals: 1 row 100x, batch 7x, portable 1 row 60x)",
            forest.num_trees()
        );
        println!(
            "{:<10} {:>8} {:>12} {:>20} {:>8} {:>20} {:>8}",
            "path", "rows", "ours ns/row", "XGBoost, 1 thread", "ratio", "XGBoost, as it comes", "ratio"
        );
        for path in forest.available_paths() {
            forest.use_path(path);
            for count in [1usize, 1_000, 100_000] {
                let mut state = 0x2545_F491_4F6C_DD1D;
                let input = rows(count.max(512), &mut state);
                let expected = booster.predict_dense(&input, COLUMNS, true).expect("predicts");
                let mut margins = vec![0.0; expected.len()];
                forest.margins_into(&input, &mut margins);
                assert!(
                    margins.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()),
                    "{path} differs from XGBoost"
                );
                // One row at a time walks through many rows: a single one would sit in every cache and predictor.
                let (mut at, mut theirs_at) = (0, 0);
                let mut out = vec![0.0; count];
                let slice = |at: &mut usize| {
                    *at = if (*at + 2 * count) * COLUMNS <= input.len() { *at + count } else { 0 };
                    &input[*at * COLUMNS..(*at + count) * COLUMNS]
                };
                let [ours, one, all] = in_turns(
                    count,
                    if count == 100_000 { 5 } else { 9 },
                    || forest.margins_into(black_box(slice(&mut at)), black_box(&mut out)),
                    |booster| {
                        drop(black_box(booster.predict_dense(slice(&mut theirs_at), COLUMNS, true).expect("predicts")));
                    },
                    [&booster, &as_it_comes],
                );
                println!(
                    "{:<10} {count:>8} {ours:>12.0} {one:>20.0} {:>7.1}x {all:>20.0} {:>7.1}x",
                    path.to_string(),
                    one / ours,
                    all / ours
                );
            }
        }
    }
}
