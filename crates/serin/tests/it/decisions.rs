//! The decision log and its replay, from outside.

use crate::peer::{FEATURES, Server, serin, text, train, trained};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn transaction(id: &str, amount: f64) -> Value {
    let features: Value = FEATURES.split(',').zip([amount, 0.0, 1.0, 9.0, 0.7]).collect();
    json!({ "transaction_id": id, "entity": format!("card-{id}"), "timestamp": 1_764_000_000_000_i64, "features": features })
}

fn decide(server: &Server, ids: &[&str]) -> Vec<Value> {
    let transactions: Vec<Value> =
        ids.iter().enumerate().map(|(i, id)| transaction(id, 10.0 + 1000.0 * i as f64)).collect();
    let (status, answer) =
        server.post("/v1/decisions", "application/json", &json!({ "transactions": transactions }).to_string());
    assert_eq!(status, 200, "{answer}");
    answer["decisions"].as_array().unwrap().clone()
}

fn replay(log: &Path, state: &Path, arguments: &[&str]) -> (bool, String) {
    let mut all = vec!["replay", "--json", "--decision-log", log.to_str().unwrap(), "--state", state.to_str().unwrap()];
    all.extend_from_slice(arguments);
    let out = serin(&all);
    (out.status.success(), text(&out))
}

#[test]
fn a_decision_is_replayed_to_the_same_bits_after_a_restart() {
    let log = tempfile::tempdir().unwrap();
    let options = ["--decision-log", log.path().to_str().unwrap()];
    let mut server = Server::start(trained(), &options);
    let made = decide(&server, &["a", "b"]);
    let id = made[1]["decision_id"].as_str().unwrap();
    let check = || {
        let (good, shown) = replay(log.path(), trained(), &["--id", id]);
        assert!(good, "{shown}");
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["replayed"]["same_bits"], true);
        assert_eq!((&shown["score"], &shown["action"]), (&made[1]["score"], &made[1]["action"]));
        let sum: f64 = shown["contributions"].as_object().unwrap().values().map(|value| value.as_f64().unwrap()).sum();
        let odds = shown["score"].as_f64().unwrap() / (1.0 - shown["score"].as_f64().unwrap());
        assert!((sum - odds.ln()).abs() < 1e-4, "contributions add up to the margin");
        assert_eq!((&shown["transaction_id"], &shown["entity"]), (&json!("b"), &json!("card-b")));
        assert_eq!(
            (&shown["features"]["TX_AMOUNT"], &shown["timestamp"]),
            (&json!(1010), &json!("2025-11-24T16:00:00Z"))
        );
    };
    check();
    assert!(server.terminate().success());
    check();
    let server = Server::start(trained(), &options);
    decide(&server, &["c"]);
    check();

    let (good, said) = replay(log.path(), trained(), &["--id", "019ab000-0000-7000-8000-000000000000"]);
    assert!(!good && said.contains("has no decision"), "{said}");
    let (good, said) = replay(log.path(), trained(), &["--id", "x"]);
    assert!(!good && said.contains("not the id"), "{said}");
    let (good, said) = replay(&log.path().join("none"), trained(), &["--id", id]);
    assert!(!good && said.contains("no decision log at"), "{said}");
    let (good, said) = replay(log.path(), trained(), &[]);
    assert!(!good && said.contains("--model"), "{said}");
}

#[test]
fn logged_traffic_goes_through_another_version() {
    let state = tempfile::tempdir().unwrap();
    std::fs::copy(trained().join("payments.parquet"), state.path().join("payments.parquet")).unwrap();
    train(state.path(), &["--stage", "Production"]);
    train(state.path(), &["--set", "max_depth=1", "--alias", "challenger"]);
    let server = Server::start(state.path(), &[]);
    for i in 0..5 {
        decide(&server, &[&format!("x{i}"), "y", "z"]);
    }
    server.predict(r#"{"data":[[1,0,0,1,0.5],[9000,1,1,9,1.0]]}"#);
    let log = state.path().join("decisions");
    let (good, same) = replay(&log, state.path(), &["--model", "models:/fraud_detection/1"]);
    let same: Value = serde_json::from_str(&same).unwrap_or_else(|_| panic!("{same}"));
    assert!(good && same["decisions"] == 17 && same["same_bits"] == 17 && same["pass_to_alert"] == 0, "{same}");
    let (good, other) =
        replay(&log, state.path(), &["--model", "models:/fraud_detection@challenger", "--since", "2026-01-01"]);
    let other: Value = serde_json::from_str(&other).unwrap_or_else(|_| panic!("{other}"));
    assert!(good && other["decisions"] == 17 && other["same_bits"].as_u64().unwrap() < 17, "{other}");
    assert!(other["mean_abs_score_difference"].as_f64().unwrap() > 0.0);
    // Labels for four of them, one corrected later, and one for nobody.
    let labels = state.path().join("labels.csv");
    std::fs::write(&labels, "tx,fraud,amount\nx0,1,10\nx1,0,10\nx2,0,10\nx3,1,250.5\nx1,1,10\nnobody,1,5\n").unwrap();
    let by_labels = format!("{}:tx,fraud,amount", labels.display());
    let version = ["--model", "models:/fraud_detection/1", "--labels", &by_labels];
    let (good, judged) = replay(&log, state.path(), &version);
    let judged = &serde_json::from_str::<Value>(&judged).unwrap_or_else(|_| panic!("{judged}"))["labelled"];
    assert!(good && judged["decisions"] == 4 && judged["frauds"] == 3, "{judged}");
    assert_eq!(judged["logged"], judged["now"], "the same model");
    let caught = judged["now"]["caught"].as_u64().unwrap();
    let missed = if caught == 3 { 0.0 } else { 270.5 };
    assert!(caught == 0 || caught == 3, "they are alike: {judged}");
    assert_eq!(
        (&judged["now"]["missed_amount"], &judged["now"]["recall"]),
        (&json!(missed), &json!(caught as f64 / 3.0))
    );
    assert_eq!(judged["now"]["roc_auc"], 0.5);
    let plain = serin(&[&["replay", "--state", state.path().to_str().unwrap()][..], &version].concat());
    assert!(text(&plain).contains("4 decisions, 3 frauds"), "{}", text(&plain));
    let wrong = ["--model", "models:/fraud_detection/1", "--labels", labels.to_str().unwrap()];
    let (good, said) = replay(&log, state.path(), &wrong);
    assert!(!good && said.contains("FILE:ID,LABEL"), "{said}");
    let (good, none) = replay(&log, state.path(), &["--model", "models:/fraud_detection/1", "--until", "2026-01-01"]);
    assert!(!good && none.contains("no decision in that time"), "{none}");
    let bare = concat!(env!("CARGO_MANIFEST_DIR"), "/../serin-scoring/tests/fixtures/model.ubj");
    let (good, wide) = replay(&log, state.path(), &["--model", bare]);
    assert!(!good && wide.contains("decided without a column"), "{wide}");

    let (good, open) = replay(&log, state.path(), &["--erase-entity", "card-y"]);
    assert!(!good && open.contains("being written"), "{open}");
    drop(server);
    // The killed server's segments are sealed by the next one.
    drop(Server::start(state.path(), &[]));
    let (good, erased) = replay(&log, state.path(), &["--erase-entity", "card-y"]);
    assert!(good && erased.contains("removed 5 decisions"), "{erased}");
    let (_, left) = replay(&log, state.path(), &["--model", "models:/fraud_detection/1"]);
    assert_eq!(serde_json::from_str::<Value>(&left).unwrap()["decisions"], 12);
}

#[test]
fn a_killed_server_has_every_decision_it_acknowledged() {
    let log = tempfile::tempdir().unwrap();
    let options = ["--decision-log", log.path().to_str().unwrap()];
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let mut server = Server::start(trained(), &options);
        let answered = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (address, answered) = (server.address.clone(), Arc::clone(&answered));
                std::thread::spawn(move || ids_until_it_dies(&address, &format!("{round}-{client}"), &answered))
            })
            .collect();
        // In the middle of the traffic, each time after more of it.
        let start = Instant::now();
        while answered.load(Ordering::Relaxed) < 60 + 70 * round {
            assert!(start.elapsed() < Duration::from_secs(60), "nothing is answered");
            std::thread::sleep(Duration::from_millis(1));
        }
        server.process.kill().unwrap();
        server.process.wait().unwrap();
        for client in clients {
            acknowledged.extend(client.join().unwrap());
        }
    }
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    drop(Server::start(trained(), &options));
    let mut found = std::collections::HashSet::new();
    let read = serin_decisions::DecisionFiles::of(log.path()).read(0, i64::MAX, |decision| {
        assert!(found.insert(uuid::Uuid::from_bytes(decision.id).to_string()), "twice");
        true
    });
    assert!(read.unwrap().is_clean(), "no record is damaged");
    let missing: Vec<_> = acknowledged.iter().filter(|id| !found.contains(*id)).collect();
    assert!(missing.is_empty(), "{} of {} are missing", missing.len(), acknowledged.len());
}

/// Sends decisions over one connection, keeps the ids of whole answers and counts these.
fn ids_until_it_dies(address: &str, name: &str, answered: &AtomicUsize) -> Vec<String> {
    let mut ids = Vec::new();
    let Ok(mut stream) = TcpStream::connect(address) else { return ids };
    let body = json!({ "transactions": [transaction(name, 3.0), transaction(name, 4.0)] }).to_string();
    let request = format!(
        "POST /v1/decisions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut buffer = [0; 4096];
    while stream.write_all(request.as_bytes()).is_ok() {
        let mut answer = Vec::new();
        loop {
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 => answer.extend_from_slice(&buffer[..count]),
                _ => return ids,
            }
            let text = String::from_utf8_lossy(&answer);
            if let Some(answer) =
                text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str::<Value>(body).ok())
            {
                ids.extend(
                    answer["decisions"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|made| made["decision_id"].as_str().unwrap().to_owned()),
                );
                answered.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
    }
    ids
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_refuses_or_drops_as_it_was_told() {
    let bare = concat!(env!("CARGO_MANIFEST_DIR"), "/../serin-scoring/tests/fixtures/model.ubj");
    let row = format!(r#"{{"data":[[{}]]}}"#, vec!["0.5"; 30].join(","));
    for (policy, expected) in [("refuse", 503), ("drop-and-count", 200)] {
        let log = tempfile::tempdir().unwrap();
        // Each thread that answers has a file of its own, so there is one thread: which of several a connection falls to is chance.
        let options =
            format!("--threads 1 -m {bare} --decision-log {} --decision-log-full {policy}", log.path().display());
        let server = Server::with_small_files(4, &options);
        let mut statuses = Vec::new();
        for _ in 0..200 {
            statuses.push(server.predict(&row).0);
        }
        assert_eq!((statuses[0], statuses[199]), (200, expected), "{policy}");
        assert!(statuses.is_sorted(), "once full it stays full: {statuses:?}");
        assert_eq!(server.get("/healthz").0, 200);
        let metrics = server.get("/metrics").1;
        let result = if policy == "refuse" { "refused" } else { "dropped" };
        let label = format!("serin_decisions_unlogged_total{{result=\"{result}\"}} ");
        let counted: u64 = metrics.lines().find_map(|line| line.strip_prefix(&label)).unwrap().parse().unwrap();
        assert!(counted > 100, "{metrics}");
        drop(server);
        drop(Server::start(trained(), &["--decision-log", log.path().to_str().unwrap()]));
        let mut kept = 0;
        let read = serin_decisions::DecisionFiles::of(log.path()).read(0, i64::MAX, |_| {
            kept += 1;
            true
        });
        assert!(read.unwrap().is_clean(), "no record is damaged");
        assert!(kept > 10 && kept < 200, "what was written before is whole: {kept}");
    }
}
