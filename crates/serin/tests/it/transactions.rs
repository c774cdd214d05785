//! Bounds of what requests say about transactions: ids, entities, times. One place checks them for every protocol.

use crate::peer::{FEATURES, Server, serin, text, trained};
use serde_json::{Value, json};

fn features() -> Value {
    FEATURES.split(',').zip([57.0, 0.0, 1.0, 9.0, 0.5]).collect()
}

/// Sends one transaction with these fields beside its features.
fn decide(server: &Server, fields: &Value) -> (u16, Value) {
    let mut transaction = json!({ "features": features() });
    transaction.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    server.post("/v1/decisions", "application/json", &json!({ "transactions": [transaction] }).to_string())
}

fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

// B2, R9: a payment in microseconds, or of the year 2400, moved the monitor's "now" for ever.
#[test]
fn a_time_that_cannot_be_is_refused_and_the_right_value_named() {
    let server = Server::start(trained(), &["--no-decision-log"]);
    let now = now_ms();
    for (timestamp, expected) in [
        (json!(now / 1000), format!("seconds: send {}", now / 1000 * 1000)),
        (json!(now * 1000), format!("microseconds: send {now}")),
        (json!(now * 1_000_000), format!("nanoseconds: send {now}")),
        (json!("2400-01-01T00:00:00Z"), "one hour ahead".to_owned()),
        (json!(13_569_465_600_000_i64), "one hour ahead".to_owned()),
        (json!(now + 3 * 3_600_000), "one hour ahead".to_owned()),
        (json!("1960-01-01T00:00:00Z"), "before 1973".to_owned()),
        (json!(0), "before 1973".to_owned()),
        (json!(-1), "before 1973".to_owned()),
        (json!(i64::MIN), "before 1973".to_owned()),
        (json!(i64::MAX), "nanoseconds".to_owned()),
        (json!(u64::MAX), "whole epoch milliseconds".to_owned()),
        (json!(now as f64 + 0.5), "whole epoch milliseconds".to_owned()),
        (json!(1e300), "whole epoch milliseconds".to_owned()),
        (json!([now]), "RFC 3339, or epoch milliseconds".to_owned()),
    ] {
        let (status, answer) = decide(&server, &json!({ "timestamp": timestamp }));
        let detail = &answer["detail"][0];
        assert_eq!((status, &detail["loc"][3]), (422, &json!("timestamp")), "{timestamp}: {answer}");
        assert!(detail["msg"].as_str().unwrap().contains(&expected), "{timestamp}: {answer}");
    }
    // Old payments are decided, those of a clock that is half an hour ahead, too.
    for timestamp in [json!("2018-04-01T00:00:00+02:00"), json!(now + 1_800_000), json!(now), Value::Null] {
        let (status, answer) = decide(&server, &json!({ "timestamp": timestamp }));
        assert_eq!(status, 200, "{timestamp}: {answer}");
    }
}

#[test]
fn ids_and_entities_are_bounded_on_every_protocol() {
    let log = tempfile::tempdir().unwrap();
    let mut server = Server::start(trained(), &["--decision-log", log.path().to_str().unwrap()]);
    let long = "é".repeat(128);
    for (name, given, expected) in [
        ("transaction_id", long.as_str(), "255 bytes"),
        ("entity", long.as_str(), "255 bytes"),
        ("transaction_id", "a\nb", "control characters"),
        ("entity", "\u{0}", "control characters"),
        ("entity", "\u{9b}2J", "control characters"),
    ] {
        let (status, answer) = decide(&server, &json!({ name: given }));
        let detail = &answer["detail"][0];
        assert_eq!((status, &detail["loc"][3]), (422, &json!(name)), "{given:?}: {answer}");
        assert!(detail["msg"].as_str().unwrap().contains(expected), "{answer}");
    }
    let (status, answer) = decide(&server, &json!({ "model": "x".repeat(10_000) }));
    assert_eq!(status, 422, "a field of no transaction: {answer}");
    let named = json!({ "model": "x".repeat(100_000), "transactions": [{ "features": features() }] }).to_string();
    let (status, answer) = server.post("/v1/decisions", "application/json", &named);
    assert!(status == 404 && answer.to_string().len() < 1000, "a message is no echo of a megabyte");

    let infer = |id: &str, rows: usize| {
        let data: Vec<f64> = (0..rows).flat_map(|_| [57.0, 0.0, 1.0, 9.0, 0.5]).collect();
        let inputs = json!([{ "name": "x", "shape": [rows, 5], "datatype": "FP64", "data": data }]);
        let body = json!({ "id": id, "inputs": inputs }).to_string();
        server.post("/v2/models/fraud_detection/infer", "application/json", &body)
    };
    for (id, rows) in [("a\tb", 1), (long.as_str(), 1), (&"x".repeat(254)[..], 2)] {
        let (status, answer) = infer(id, rows);
        assert!(status == 400 && answer["error"].as_str().unwrap().starts_with("id: "), "{id:?}: {answer}");
    }
    // Odd ones that are whole.
    for (id, rows) in [("日本 ☂ \"'<>&", 1), ("batch", 2), ("", 2)] {
        assert_eq!(infer(id, rows).0, 200, "{id}");
    }
    let (status, answer) = decide(&server, &json!({ "transaction_id": "x".repeat(255), "entity": "e/1" }));
    assert_eq!(status, 200, "{answer}");
    assert!(server.terminate().success());
    let mut logged = Vec::new();
    let read = serin_decisions::DecisionFiles::of(log.path()).read(0, i64::MAX, |decision| {
        logged.push(decision.transaction_id.to_owned());
        true
    });
    assert!(read.unwrap().is_clean());
    logged.sort();
    let whole = "x".repeat(255);
    assert_eq!(logged, ["", "", "batch/0", "batch/1", &whole, "日本 ☂ \"'<>&"], "what was sent is what is logged");
}

#[test]
fn old_payments_keep_their_time_in_the_log() {
    let log = tempfile::tempdir().unwrap();
    let mut server = Server::start(trained(), &["--decision-log", log.path().to_str().unwrap()]);
    assert_eq!(decide(&server, &json!({ "transaction_id": "old", "timestamp": 1_522_540_800_000_i64 })).0, 200);
    assert!(server.terminate().success());
    let mut times = Vec::new();
    let read = serin_decisions::DecisionFiles::of(log.path()).read(0, i64::MAX, |decision| {
        times.push(decision.event_time_ms);
        true
    });
    assert!(read.unwrap().is_clean());
    assert_eq!(times, [Some(1_522_540_800_000)]);
}

/// A model file of one column `x` and one tree: its leaf is `high` where x is above 0, and 0 elsewhere.
fn stump(objective: &str, high: f64) -> Value {
    let tree = json!({
        "left_children": [1, -1, -1], "right_children": [2, -1, -1], "split_indices": [0, 0, 0],
        "split_conditions": [0.5, 0.0, high], "default_left": [1, 0, 0], "split_type": [0, 0, 0],
        "categories": [], "categories_nodes": [], "categories_segments": [], "categories_sizes": [],
        "tree_param": { "num_nodes": "3", "size_leaf_vector": "1", "num_feature": "1", "num_deleted": "0" },
        "base_weights": [0.0, 0.0, 0.0], "loss_changes": [0.0, 0.0, 0.0], "sum_hessian": [2.0, 1.0, 1.0],
        "parents": [2147483647, 0, 0], "id": 0,
    });
    json!({
        "learner": {
            "attributes": {}, "feature_names": ["x"], "feature_types": ["float"],
            "gradient_booster": {
                "model": { "gbtree_model_param": { "num_parallel_tree": "1", "num_trees": "1" },
                    "iteration_indptr": [0, 1], "tree_info": [0], "trees": [tree] },
                "name": "gbtree",
            },
            "learner_model_param": { "base_score": "5E-1", "num_class": "0", "num_feature": "1", "num_target": "1" },
            "objective": { "name": objective },
        },
        "version": [3, 0, 0],
    })
}

// F2: exp(200) is beyond float32. Such a row was let through as `pass` with 200 OK, and nothing counted it.
#[test]
fn a_score_that_is_not_finite_is_no_score() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.json");
    std::fs::write(&file, stump("count:poisson", 200.0).to_string()).unwrap();
    let model = file.to_str().unwrap();
    let infer = |x: f64| json!({ "inputs": [{ "name": "x", "shape": [1], "datatype": "FP64", "data": [x] }] });
    let ask = |server: &Server, x: f64| {
        [
            ("/predict", json!({ "data": [[x]] })),
            ("/v1/decisions", json!({ "transactions": [{ "features": { "x": x } }] })),
            ("/invocations", json!({ "instances": [[x]] })),
            ("/v2/models/model/infer", infer(x)),
        ]
        .map(|(path, body)| server.post(path, "application/json", &body.to_string()))
    };
    let server = Server::start(folder.path(), &["-m", model]);
    assert!(ask(&server, 0.0).iter().all(|(status, _)| *status == 200), "what has a score is decided");
    for (status, answer) in ask(&server, 1.0) {
        assert!(status == 503 && answer.to_string().contains("finite"), "{status} {answer}");
    }
    let body = json!({ "data": [[0.0], [1.0], [0.0]] }).to_string();
    assert_eq!(server.predict(&body).0, 503, "a batch is answered whole or not at all");
    assert!(server.get("/metrics").1.contains("serin_unscored_total{reason=\"not_finite\"} 5"));
    drop(server);

    let server = Server::start(folder.path(), &["-m", model, "--fallback", "decline"]);
    let [predicted, decided, _, inferred] = ask(&server, 1.0);
    assert_eq!((predicted.0, &predicted.1["predictions"]), (200, &json!([1])));
    let made = &decided.1["decisions"][0];
    assert_eq!((&made["fallback"], &made["action"], &made["score"]), (&json!("decline"), &json!("alert"), &json!(1.0)));
    assert_eq!(inferred.1["outputs"][1]["data"], json!([1]));
    assert_eq!(server.predict(&body).1["predictions"], json!([1, 1, 1]), "exp(0) is above 0.5, too");
}

// F8: leaves that can add up to infinity are damage, and no opinion on any payment.
#[test]
fn a_forest_whose_margin_can_overflow_is_refused_at_load() {
    let folder = tempfile::tempdir().unwrap();
    for (high, refused) in [(3.0e38, true), (f64::from(f32::MAX), true), (-3.0e38, true), (1.0e38, false)] {
        let file = folder.path().join("model.json");
        std::fs::write(&file, stump("binary:logistic", high).to_string()).unwrap();
        if refused {
            let out = serin(&["serve", "--port", "0", "-m", file.to_str().unwrap()]);
            assert!(!out.status.success() && text(&out).contains("beyond what float32 holds"), "{}", text(&out));
        } else {
            let server = Server::start(folder.path(), &["-m", file.to_str().unwrap()]);
            assert_eq!(server.predict(r#"{"data":[[1.0]]}"#).1["predictions"], json!([1]));
        }
    }
}
