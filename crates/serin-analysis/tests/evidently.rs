//! Every recorded column case of Evidently 0.7.23, every reproducible test, to 1e-9.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "test code")]

use serde_json::Value;
use serin_analysis::drift::{Method, Samples};
use std::collections::BTreeSet;

fn recorded() -> Value {
    serde_json::from_str(include_str!("fixtures/evidently_vectors.json")).unwrap()
}

/// NaN and infinities are recorded as texts.
fn number(value: &Value) -> f64 {
    match value {
        Value::Number(number) => number.as_f64().unwrap(),
        Value::String(text) => text.to_lowercase().parse().unwrap(),
        _ => f64::NAN,
    }
}

/// Large samples are recorded by their recipe: fractions of multiples of the golden ratio.
fn generated(case: &Value) -> Option<Samples> {
    let recipe = case.get("generator")?;
    let side = |name: &str, count: &str, offset: u64| -> Vec<f64> {
        let u = (0..case[count].as_u64().unwrap()).map(|i| ((i + offset) as f64 * 0.618_033_988_749_894_9).fract());
        let of: fn(f64) -> f64 = match recipe[name].as_str().unwrap() {
            "u" => |u| u,
            "0.97*u+0.01" => |u| 0.97 * u + 0.01,
            "u*u" => |u| u * u,
            "u*u*u" => |u| u * u * u,
            "u*10" => |u| u * 10.0,
            "u*0.99" => |u| u * 0.99,
            other => panic!("{other}"),
        };
        u.map(of).collect()
    };
    Some(Samples::numbers(side("reference", "n_ref", 1), side("current", "n_cur", 100_003), false).unwrap())
}

fn samples(case: &Value) -> Samples {
    if let Some(samples) = generated(case) {
        return samples;
    }
    let side = |name: &str| case[name].as_array().unwrap();
    let (reference, current) = (side("reference"), side("current"));
    if case["column_type"] == "num" {
        let numbers = |values: &[Value]| values.iter().map(number).collect();
        return Samples::numbers(numbers(reference), numbers(current), false).unwrap();
    }
    let known: BTreeSet<String> =
        reference.iter().chain(current).filter(|value| !value.is_null()).map(Value::to_string).collect();
    let code = |value: &Value| match value {
        Value::Number(number) => number.as_f64().unwrap(),
        Value::Null => f64::NAN,
        text => {
            let text = text.to_string();
            known.iter().position(|known| *known == text).unwrap() as f64
        }
    };
    Samples::categories(reference.iter().map(code).collect(), current.iter().map(code).collect()).unwrap()
}

#[test]
fn every_recorded_score_comes_out_the_same() {
    let recorded = recorded();
    let (mut scores, mut errors, mut worst, mut worst_of) = (0, 0, 0.0_f64, String::new());
    let mut wrong = Vec::new();
    for case in recorded["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let samples = samples(case);
        for (method, expected) in case["stattests"].as_object().unwrap() {
            // Permutations of NumPy's old generator, which nobody else has.
            let Ok(method) = method.parse::<Method>() else { continue };
            if expected.get("error").is_some() {
                errors += 1;
                // There Evidently breaks on a type of NumPy's; we answer.
                let answers = method == Method::CramerVonMises;
                assert_eq!(samples.score(method).is_ok(), answers, "{name} {method}: {expected}");
                continue;
            }
            let (found, score) = (samples.score(method).unwrap(), number(&expected["score"]));
            let difference =
                if score.is_nan() && found.is_nan() { 0.0 } else { (found - score).abs() / score.abs().max(1e-6) };
            // A tail of 1e-28 may differ in its digits, not in its size.
            let allowed = if score.abs() < 1e-12 { 1e-5 } else { 1e-9 };
            // Its p is a difference from 1, so only its absolute error is bounded; and of small samples Evidently's copy counts a
            // fraction of an order, which an exact count has not.
            let bounded = method == Method::CramerVonMises && (found - score).abs() < 1e-10;
            if (difference.is_nan() || difference > allowed) && !bounded {
                wrong.push(format!("{name} {method}: {found:e} for {score:e}"));
            }
            if difference > worst && !bounded && score.abs() >= 1e-12 {
                (worst, worst_of) = (difference, format!("{name} {method}"));
            }
            let threshold = number(&expected["threshold"]);
            assert_eq!(threshold, method.threshold(), "{method}");
            assert_eq!(method.is_drift(found, threshold), expected["drifted"] == true, "{name} {method}");
            scores += 1;
        }
        let drift = samples.drift(None, None).unwrap();
        let default = &case["default"];
        assert_eq!(drift.method.display_name(), default["method"], "{name}");
        assert_eq!(drift.drifted, default["status"] == "FAIL", "{name}");
        assert_eq!(drift.threshold, number(&default["threshold"]), "{name}");
    }
    println!("{scores} scores, largest difference {worst:e} ({worst_of}); {errors} errors");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(scores > 250, "{scores}");
}
