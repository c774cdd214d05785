//! Bad days of registry, model file and clock budget: what decides then, and that it is marked.

use crate::peer::{FEATURES, Server, serin, text, train, trained};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

const CHEAP: [f64; 5] = [3.0, 0.0, 0.0, 2.0, 0.0];
const DEAR: [f64; 5] = [900.0, 0.0, 0.0, 2.0, 0.0];

/// Nobody listens there.
const GONE: [&str; 2] = ["--tracking-uri", "http://127.0.0.1:9"];

fn decide(server: &Server, rows: &[[f64; 5]]) -> (u16, Value) {
    let transaction = |row: &[f64; 5]| json!({ "features": FEATURES.split(',').zip(*row).collect::<Value>() });
    let body = json!({ "transactions": rows.iter().map(transaction).collect::<Vec<_>>(), "explain": "all" });
    server.post("/v1/decisions", "application/json", &body.to_string())
}

/// Head of the answer to `/predict`, and its body.
fn predict(server: &Server, row: &[f64]) -> (String, Value) {
    let body = json!({ "data": [row] }).to_string();
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let head =
        format!("POST /predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), serde_json::from_str(body).unwrap())
}

fn replayed(state: &Path, id: &Value) -> Value {
    let out = serin(&["replay", "--json", "--id", id.as_str().unwrap(), "--state", state.to_str().unwrap()]);
    serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{}", text(&out)))
}

/// A state folder of its own with version 1 in Production.
fn own_state() -> tempfile::TempDir {
    let state = tempfile::tempdir().unwrap();
    std::fs::copy(trained().join("payments.parquet"), state.path().join("payments.parquet")).unwrap();
    train(state.path(), &["--stage", "Production"]);
    state
}

#[test]
fn the_last_good_model_answers_when_the_registry_is_gone() {
    let state = own_state();
    let refused = serin(&[&["serve", "--port", "0", "--state", state.path().to_str().unwrap()][..], &GONE].concat());
    assert!(!refused.status.success(), "without a fallback there is nothing to start with");

    let server = Server::start(state.path(), &["--fallback", "last-good,decline"]);
    let (_, before) = decide(&server, &[CHEAP, DEAR]);
    assert!(before["decisions"][0].get("fallback").is_none(), "{before}");
    drop(server);

    let server = Server::start(state.path(), &[&["--fallback", "last-good,decline"][..], &GONE].concat());
    assert_eq!(server.get("/readyz").0, 200);
    let (status, after) = decide(&server, &[CHEAP, DEAR]);
    assert_eq!(status, 200, "{after}");
    for (before, after) in before["decisions"].as_array().unwrap().iter().zip(after["decisions"].as_array().unwrap()) {
        assert_eq!((&before["score"], &before["action"]), (&after["score"], &after["action"]));
        assert_eq!((&after["fallback"], &after["model_version"]), (&json!("last-good"), &json!("1")));
    }
    assert!(predict(&server, &CHEAP).0.contains("serin-fallback: last-good"));
    assert!(server.get("/metrics").1.contains("serin_fallbacks_total{fallback=\"last-good\"} 3"));
    let shown = replayed(state.path(), &after["decisions"][1]["decision_id"]);
    assert_eq!((&shown["fallback"], &shown["replayed"]["same_bits"]), (&json!("last-good"), &json!(true)));

    // Only its columns are used where it is not to decide.
    let server = Server::start(state.path(), &[&["--fallback", "allow"][..], &GONE].concat());
    let (_, allowed) = decide(&server, &[DEAR]);
    let made = &allowed["decisions"][0];
    assert_eq!((&made["fallback"], &made["action"]), (&json!("allow"), &json!("pass")), "{allowed}");
    assert!(made.get("reasons").is_none());
    assert_eq!(server.predict(r#"{"data":[[1,2]]}"#).0, 422, "and rows are still checked against them");
}

#[test]
fn decisions_that_come_too_late_fall_back_as_declared() {
    let rules = tempfile::NamedTempFile::new().unwrap();
    let written = json!({ "threshold": 0.5, "otherwise": 0.1, "rules": [{ "feature": "TX_AMOUNT", "at_least": 500, "score": 0.8 }] });
    std::fs::write(rules.path(), written.to_string()).unwrap();
    let state = own_state();
    let by_rules = format!("last-good,rules:{}", rules.path().display());
    let server = Server::start(state.path(), &["--deadline", "0.000001", "--fallback", &by_rules]);
    let (status, made) = decide(&server, &[CHEAP, DEAR]);
    assert_eq!(status, 200, "{made}");
    let of = |i: usize| {
        let made = &made["decisions"][i];
        (made["fallback"].clone(), made["score"].as_f64().unwrap() as f32, made["action"].clone())
    };
    assert_eq!(of(0), (json!("rules"), 0.1, json!("pass")));
    assert_eq!(of(1), (json!("rules"), 0.8, json!("alert")));
    let (head, predicted) = predict(&server, &DEAR);
    assert!(head.contains("serin-fallback: rules") && predicted["predictions"] == json!([1]), "{head} {predicted}");
    let shown = replayed(state.path(), &made["decisions"][1]["decision_id"]);
    assert_eq!((&shown["fallback"], &shown["replayed"]["same_bits"]), (&json!("rules"), &Value::Null));
    let all =
        serin(&["replay", "--json", "--model", "models:/fraud_detection/1", "--state", state.path().to_str().unwrap()]);
    let all: Value = serde_json::from_slice(&all.stdout).unwrap();
    assert_eq!((&all["decisions"], &all["by_fallback"]), (&json!(0), &json!(3)), "{all}");

    let server = Server::start(state.path(), &["--deadline", "0.000001"]);
    let (status, refused) = decide(&server, &[CHEAP]);
    assert!(status == 503 && refused["detail"].as_str().unwrap().contains("--fallback"), "{status} {refused}");
    let server = Server::start(state.path(), &["--deadline", "30", "--fallback", "decline"]);
    let (head, _) = predict(&server, &CHEAP);
    assert!(head.starts_with("http/1.1 200") && !head.contains("serin-fallback"), "in time the model decides: {head}");
}

#[test]
fn what_a_fallback_cannot_be_is_said_at_the_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), r#"{"threshold": 0.5, "rules": []}"#).unwrap();
    let empty = format!("rules:{}", file.path().display());
    for (fallback, expected) in [
        ("block", "there are last-good, rules:FILE, allow and decline"),
        ("rules:/nowhere/rules.json", "cannot read /nowhere/rules.json"),
        (empty.as_str(), "rules is empty"),
    ] {
        let out = serin(&["serve", "--port", "0", "--state", trained().to_str().unwrap(), "--fallback", fallback]);
        assert!(!out.status.success() && text(&out).contains(expected), "{}", text(&out));
    }
}

#[test]
fn a_model_that_is_corrupted_in_place_is_refused_and_the_loaded_one_goes_on() {
    fn models(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                models(&path, found);
            } else if path.file_name().is_some_and(|name| name == "model.ubj") {
                found.push(path);
            }
        }
    }
    let state = own_state();
    let server = Server::start(state.path(), &["--fallback", "last-good"]);
    let (_, before) = decide(&server, &[CHEAP]);
    let mut files = Vec::new();
    models(&state.path().join("artifacts"), &mut files);
    assert_eq!(files.len(), 1, "{files:?}");
    let mut bytes = std::fs::read(&files[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&files[0], bytes).unwrap();
    assert_eq!(decide(&server, &[CHEAP]).1["decisions"][0]["score"], before["decisions"][0]["score"]);
    drop(server);
    let refused = serin(&["serve", "--port", "0", "--state", state.path().to_str().unwrap()]);
    assert!(!refused.status.success() && text(&refused).contains("SHA-256"), "{}", text(&refused));
    let server = Server::start(state.path(), &["--fallback", "last-good"]);
    let (_, after) = decide(&server, &[CHEAP]);
    let made = &after["decisions"][0];
    assert_eq!((&made["score"], &made["fallback"]), (&before["decisions"][0]["score"], &json!("last-good")));
    let models: Value = serde_json::from_str(&server.get("/v1/models").1).unwrap();
    assert!(models["models"][0]["refused"]["reason"].as_str().unwrap().contains("SHA-256"), "{models}");
}
