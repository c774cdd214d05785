//! Peers: margins recorded from Python XGBoost (`tests/fixtures`), and the paths against each other on random
//! forests. Parity with XGBoost's own predictor on trained models is tested where XGBoost is linked
//! (serin-training).

use super::*;
use proptest::prelude::*;

const MODEL: &[u8] = include_bytes!("../../tests/fixtures/model.ubj");

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn all_margins(forest: &mut Forest, rows: &[f32]) -> Vec<(ScoringPath, Vec<u32>)> {
    let count = rows.len() / forest.num_features();
    forest
        .available_paths()
        .into_iter()
        .map(|path| {
            assert!(forest.use_path(path));
            let mut margins = vec![0.0; count * forest.num_outputs()];
            forest.margins_into(rows, &mut margins);
            (path, margins.into_iter().map(f32::to_bits).collect())
        })
        .collect()
}

#[test]
fn recorded_margins_are_met_to_the_bit_on_every_path() {
    let mut forest = Forest::from_bytes(MODEL).expect("the fixture loads");
    assert_eq!((forest.num_trees(), forest.num_features(), forest.num_outputs()), (300, 30, 1));
    assert_ne!(forest.available_paths()[0], ScoringPath::Walk, "the fixture suits the fast paths");
    let cases = [
        (&include_bytes!("../../tests/fixtures/rows.f32")[..], &include_bytes!("../../tests/fixtures/margins.f32")[..]),
        (
            &include_bytes!("../../tests/fixtures/rows_missing.f32")[..],
            &include_bytes!("../../tests/fixtures/margins_missing.f32")[..],
        ),
    ];
    for (rows, expected) in cases {
        let expected: Vec<u32> = floats(expected).into_iter().map(f32::to_bits).collect();
        for (path, margins) in all_margins(&mut forest, &floats(rows)) {
            assert_eq!(margins.len(), 2000);
            assert!(margins == expected, "{path}: margins differ from XGBoost's");
        }
    }
}

#[test]
fn one_row_and_many_rows_agree() {
    let forest = Forest::from_bytes(MODEL).expect("loads");
    let rows = floats(include_bytes!("../../tests/fixtures/rows_missing.f32"));
    let mut together = vec![0.0; 2000];
    forest.margins_into(&rows, &mut together);
    for (row, margin) in rows.chunks(30).zip(together).take(50) {
        assert_eq!(forest.margin(row).to_bits(), margin.to_bits());
    }
}

#[test]
fn truncated_files_are_refused_at_every_length() {
    let step = 997;
    for end in (0..MODEL.len()).step_by(step).chain([MODEL.len() - 1]) {
        assert!(Forest::from_bytes(&MODEL[..end]).is_err(), "{end} bytes were accepted");
    }
}

/// A random tree as JSON; node ids in allocation order as XGBoost numbers them.
fn tree_json(splits: &[(usize, f32, bool, u8)], max_depth: usize) -> serde_json::Value {
    let (mut left, mut right, mut index, mut value, mut default_left) = (vec![], vec![], vec![], vec![], vec![]);
    let mut open = std::collections::VecDeque::from([0usize]);
    let mut depth_of = vec![0usize];
    let mut i = 0;
    while let Some(id) = open.pop_front() {
        let (feature, threshold, dl, grow) = splits[i % splits.len()];
        i += 1;
        let splits_here = depth_of[id] < max_depth && grow > 40 && i < splits.len();
        if splits_here {
            let children = depth_of.len();
            depth_of.push(depth_of[id] + 1);
            depth_of.push(depth_of[id] + 1);
            open.push_back(children);
            open.push_back(children + 1);
            left.push(children as i32);
            right.push(children as i32 + 1);
        } else {
            left.push(-1);
            right.push(-1);
        }
        index.push(feature);
        // Leaves that could add up to infinity are refused at load.
        value.push(if splits_here { threshold } else { threshold.clamp(-1e35, 1e35) });
        default_left.push(u8::from(dl));
    }
    serde_json::json!({
        "left_children": left, "right_children": right, "split_indices": index,
        "split_conditions": value, "default_left": default_left,
    })
}

fn forest_json(trees: &[serde_json::Value], features: usize, classes: usize) -> Vec<u8> {
    let info: Vec<usize> = (0..trees.len()).map(|t| t % classes.max(1)).collect();
    let objective = if classes > 1 { "multi:softprob" } else { "binary:logistic" };
    serde_json::to_vec(&serde_json::json!({
        "version": [3, 4, 1],
        "learner": {
            "attributes": {}, "feature_names": [], "feature_types": [],
            "gradient_booster": {"name": "gbtree", "model": {
                "gbtree_model_param": {"num_parallel_tree": "1"}, "trees": trees, "tree_info": info}},
            "learner_model_param": {"base_score": "5E-1", "num_class": if classes > 1 { classes.to_string() } else { "0".into() },
                "num_feature": features.to_string(), "num_target": "1"},
            "objective": {"name": objective},
        }
    }))
    .expect("serialises")
}

fn value() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => (-40i32..40).prop_map(|v| v as f32 / 8.0),
        2 => any::<f32>().prop_filter("finite", |v| v.is_finite()),
        1 => Just(0.0), 1 => Just(-0.0), 1 => Just(f32::MIN_POSITIVE / 4.0), 1 => Just(f32::MAX),
    ]
}

fn input() -> impl Strategy<Value = f32> {
    prop_oneof![8 => value(), 1 => Just(f32::NAN), 1 => Just(f32::INFINITY), 1 => Just(f32::NEG_INFINITY)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn every_path_gives_the_same_bits(
        features in prop_oneof![1usize..8, 30usize..36, 60usize..80],
        classes in prop_oneof![3 => Just(1usize), 1 => Just(3usize)],
        depth in 0usize..10,
        count in prop_oneof![1usize..10, 60usize..140],
        seeds in prop::collection::vec((any::<prop::sample::Index>(), value(), any::<bool>(), any::<u8>()), 700),
        cells in prop::collection::vec(input(), 80 * 9),
    ) {
        let splits: Vec<_> = seeds.iter().map(|(f, v, d, g)| (f.index(features), *v, *d, *g)).collect();
        let trees: Vec<_> = (0..count).map(|t| {
            let from = (t * 37) % 400;
            tree_json(&splits[from..], depth)
        }).collect();
        let mut forest = Forest::from_bytes(&forest_json(&trees, features, classes)).expect("a valid forest");
        // Values equal to thresholds are the ones that matter: half of the cells are some threshold.
        let mut rows: Vec<f32> = cells.iter().take(9 * features).copied().collect();
        for (i, cell) in rows.iter_mut().enumerate() {
            if i % 2 == 0 { *cell = splits[i % splits.len()].1; }
        }
        let results = all_margins(&mut forest, &rows);
        let (_, walked) = results.last().expect("walk is always there");
        for (path, margins) in &results {
            prop_assert_eq!(margins, walked, "{} differs from walk", path);
        }
    }
}

#[test]
fn many_thresholds_are_cut_into_several_tables() {
    let trees: Vec<_> = (0..40)
        .map(|t| {
            let splits: Vec<_> = (0..63).map(|i| (i % 2, (t * 63 + i * 7) as f32 * 0.25, i % 3 == 0, 255u8)).collect();
            tree_json(&splits, 6)
        })
        .collect();
    let mut forest = Forest::from_bytes(&forest_json(&trees, 2, 1)).expect("valid");
    assert!(forest.quantised.as_ref().is_some_and(|q| q.tables.len() > 1 && q.ranks.features[0].count > 256));
    let rows: Vec<f32> = (0..4000).map(|i| (i as f32).mul_add(0.17, -5.0)).collect();
    let results = all_margins(&mut forest, &rows);
    assert!(results.iter().all(|(_, margins)| *margins == results[0].1));
}

// F8: infinite margins, and NaN of two infinities, are damage and no opinion.
#[test]
fn leaves_that_can_add_up_to_infinity_are_refused() {
    let trees = |value: f32, count: usize| -> Vec<_> {
        let leaf = || {
            serde_json::json!({"left_children": [-1], "right_children": [-1], "split_indices": [0],
            "split_conditions": [value], "default_left": [0]})
        };
        (0..count).map(|_| leaf()).collect()
    };
    let load = |value, count, classes| Forest::from_bytes(&forest_json(&trees(value, count), 2, classes));
    for (value, count, classes) in [(f32::MAX, 1, 1), (-1e38, 2, 1), (1e36, 171, 1), (1e38, 6, 3)] {
        let error = load(value, count, classes).expect_err("too large").to_string();
        assert!(error.contains("beyond what float32 holds"), "{error}");
    }
    assert!(load(1e38, 1, 1).is_ok() && load(1e36, 169, 1).is_ok() && load(1e38, 3, 3).is_ok());
}

#[test]
fn hostile_files_are_refused_with_a_reason() {
    let leaf = || {
        serde_json::json!({"left_children": [-1], "right_children": [-1], "split_indices": [0],
        "split_conditions": [0.5], "default_left": [0]})
    };
    let with = |key: &str, value: serde_json::Value| {
        let mut tree = serde_json::json!({"left_children": [1, -1, -1], "right_children": [2, -1, -1],
            "split_indices": [0, 0, 0], "split_conditions": [0.5, 1.0, 2.0], "default_left": [0, 0, 0]});
        tree[key] = value;
        forest_json(&[tree], 2, 1)
    };
    let refused = |bytes: &[u8], reason: &str| {
        let error = Forest::from_bytes(bytes).expect_err(reason).to_string();
        assert!(error.contains(reason), "{error:?} does not say {reason:?}");
    };
    assert!(Forest::from_bytes(&forest_json(&[leaf()], 2, 1)).is_ok());
    refused(&with("left_children", serde_json::json!([0, -1, -1])), "reached twice");
    refused(&with("right_children", serde_json::json!([1, -1, -1])), "reached twice");
    refused(&with("left_children", serde_json::json!([7, -1, -1])), "has children");
    refused(&with("split_indices", serde_json::json!([9, 0, 0])), "splits on column 9");
    refused(&with("split_indices", serde_json::json!([0, 0])), "split_indices has 2 entries");
    refused(b"", "first byte");
    refused(b"binf\0\0", "old binary");
    refused(b"{L\x7f\xff\xff\xff\xff\xff\xff\xff", "bytes expected");
    refused(&[b"{L\0\0\0\0\0\0\0\x07learner".as_slice(), &b"[".repeat(100_000)].concat(), "invalid type");
    refused(&[b"{L\0\0\0\0\0\0\0\x01x".as_slice(), &b"[".repeat(100_000)].concat(), "nested deeper");
    refused(b"{L\0\0\0\0\0\0\0\x01x[$d#L\x00\xff\xff\xff\xff\xff\xff\xff", "elements announced");
    let text = String::from_utf8(forest_json(&[leaf()], 2, 1)).expect("JSON");
    refused(text.replace("binary:logistic", "rank:ndcg").as_bytes(), "rank:ndcg");
    refused(text.replace("\"gbtree\"", "\"gblinear\"").as_bytes(), "gblinear");
    refused(text.replace("5E-1", "[0.1,0.2]").as_bytes(), "2 base scores");
    refused(text.replace("\"2\"", "\"99999999999\"").as_bytes(), "limit");
}

/// Models written by XGBoost 1.7.6, 2.1.4 and 3.2.0 (`conformance/make_forest_fixtures.py`), both formats.
#[test]
fn files_of_every_xgboost_generation_give_their_margins() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/versions");
    let mut models = 0;
    for entry in std::fs::read_dir(folder).expect("fixtures") {
        let path = entry.expect("entry").path();
        if path.extension().is_some_and(|e| e == "f32") {
            continue;
        }
        let mut forest = Forest::from_bytes(&std::fs::read(&path).expect("model"))
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let recorded = floats(&std::fs::read(path.with_extension("f32")).expect("rows and margins"));
        let (rows, margins) = recorded.split_at(200 * 6);
        let expected: Vec<u32> = margins.iter().map(|m| m.to_bits()).collect();
        for (way, found) in all_margins(&mut forest, rows) {
            assert!(found == expected, "{} on {way}", path.display());
        }
        models += 1;
    }
    assert_eq!(models, 36, "3 versions, 6 kinds, 2 formats");
}

#[test]
fn recorded_contributions_are_met_and_sum_up_to_the_margin() {
    let forest = Forest::from_bytes(MODEL).expect("the fixture loads");
    let explainer = forest.explainer().expect("the fixture has covers");
    let rows = floats(include_bytes!("../../tests/fixtures/rows.f32"));
    let expected = floats(include_bytes!("../../tests/fixtures/contributions.f32"));
    for (row, expected) in rows.chunks_exact(30).zip(expected.chunks_exact(31)) {
        let found = forest.contributions(&explainer, row);
        let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= 1e-5 * largest, "{found} {expected}");
        }
        let sum: f64 = found.iter().map(|value| f64::from(*value)).sum();
        assert!((sum - f64::from(forest.margin(row))).abs() < 1e-4, "{sum} {}", forest.margin(row));
    }
}
