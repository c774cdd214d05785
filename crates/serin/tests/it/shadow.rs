//! Candidates beside the live model, from outside.

use crate::peer::{FEATURES, Server, serin, text, train, trained};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn wait<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

fn counted(server: &Server, name: &str, labels: &[&str]) -> u64 {
    let metrics = server.get("/metrics").1;
    let line = metrics.lines().find(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("no {name} {labels:?}: {metrics}"))
}

#[test]
fn a_candidate_scores_what_the_live_model_decides() {
    let state = tempfile::tempdir().unwrap();
    std::fs::copy(trained().join("payments.parquet"), state.path().join("payments.parquet")).unwrap();
    train(state.path(), &["--stage", "Production"]);
    train(state.path(), &["--set", "max_depth=1", "--alert-rate", "0.5", "--alias", "challenger"]);
    let challenger = "models:/fraud_detection@challenger";
    let server = Server::start(state.path(), &["--shadow", challenger, "--shadow", "models:/fraud_detection/1"]);
    let features: Vec<Value> = (0..40)
        .map(|i| FEATURES.split(',').zip([f64::from(i) * 30.0, 0.0, 1.0, 9.0, f64::from(i % 5) / 4.0]).collect())
        .collect();
    let transactions: Vec<Value> = features.iter().map(|features| json!({ "features": features })).collect();
    let mut made = Vec::new();
    for batch in transactions.chunks(7) {
        let (status, answer) =
            server.post("/v1/decisions", "application/json", &json!({ "transactions": batch }).to_string());
        assert_eq!(status, 200, "{answer}");
        made.extend(answer["decisions"].as_array().unwrap().clone());
    }
    let rows = |candidate: &str, result: &str| {
        counted(
            &server,
            "serin_shadow_rows_total",
            &[&format!("candidate=\"{candidate}\""), &format!("result=\"{result}\"")],
        )
    };
    let all = |candidate: &str| {
        ["agree", "pass_to_alert", "alert_to_pass"].iter().map(|result| rows(candidate, result)).sum::<u64>()
    };
    wait("both score all of it", || (all(challenger) == 40 && all("models:/fraud_detection/1") == 40).then_some(()));
    assert_eq!(rows("models:/fraud_detection/1", "agree"), 40, "the live model agrees with itself");
    assert!(rows(challenger, "pass_to_alert") > 0, "a model that alerts on half of all disagrees");
    assert_eq!(counted(&server, "serin_shadow_dropped_total", &[]), 0);
    let listed: Value = serde_json::from_str(&server.get("/v1/models").1).unwrap();
    assert_eq!((&listed["shadow"][0]["version"], &listed["shadow"][0]["uri"]), (&json!("2"), &json!(challenger)));

    let id = made[3]["decision_id"].as_str().unwrap();
    let out = serin(&["replay", "--json", "--id", id, "--state", state.path().to_str().unwrap()]);
    let shown: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{}", text(&out)));
    let shadow = shown["shadow"].as_array().unwrap();
    assert_eq!(shadow.len(), 2, "{shown}");
    let own = shadow.iter().find(|shadow| shadow["model"]["version"] == "1").unwrap();
    assert_eq!((&own["score"], &own["action"]), (&shown["score"], &shown["action"]));

    // The alias moves: the new candidate takes its place while the server runs.
    train(state.path(), &["--set", "max_depth=2", "--alias", "challenger"]);
    wait("the candidate follows its alias", || {
        let listed: Value = serde_json::from_str(&server.get("/v1/models").1).unwrap();
        (listed["shadow"][0]["version"] == "3").then_some(())
    });
}

#[test]
fn a_candidate_that_cannot_score_does_not_hinder() {
    let bare = concat!(env!("CARGO_MANIFEST_DIR"), "/../serin-scoring/tests/fixtures/model.ubj");
    let server =
        Server::start(trained(), &["--no-decision-log", "--shadow", bare, "--shadow", "models:/fraud_detection/77"]);
    assert_eq!(server.predict(r#"{"data":[[57.16,1,0,3,0.0],[5000,0,1,9,1.0]]}"#).0, 200);
    for candidate in [bare, "models:/fraud_detection/77"] {
        let labels = [format!("candidate=\"{candidate}\""), "result=\"unscored\"".to_owned()];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        wait("its rows are counted", || (counted(&server, "serin_shadow_rows_total", &labels) == 2).then_some(()));
    }
    assert_eq!(server.get("/readyz").0, 200);
}
