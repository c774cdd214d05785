//! What callers, the log and the evidence see while a version is released: two versions with other levels, every protocol.

use crate::categories::{payments, train};
use crate::grpc::Infer;
use crate::peer::Server;
use serde_json::{Value, json};
use serin_decisions::Assigned;
use std::collections::HashMap;
use std::time::{Duration, Instant};

const CHANNELS: [&str; 3] = ["card", "crypto", "wire"];

/// A release that moves to half of the traffic and stays there, since the gate before the promotion is shut.
const CANARY: &str = "
apiVersion: flagger.app/v1beta1
kind: Canary
metadata:
  name: fraud-detection
  annotations: {serin.dev/min-shadow: 1ms, serin.dev/evidence: 'off'}
spec:
  targetRef: {name: fraud-detection}
  analysis:
    interval: 50ms
    threshold: 3
    stepWeights: [50]
    webhooks: [{name: gate, type: confirm-promotion, url: 'http://127.0.0.1:9/shut'}]
";

/// A state folder with version 1 (card, wire) as champion and version 2 (card, crypto, wire) as challenger, and what each
/// says of a payment by channel when it is alone.
struct Versions {
    state: tempfile::TempDir,
    alone: HashMap<(&'static str, &'static str), f64>,
}

fn score_of(made: &Value) -> f64 {
    made["score"].as_f64().unwrap()
}

fn decide(server: &Server, transactions: &Value) -> (u16, Value) {
    server.post("/v1/decisions", "application/json", &json!({ "transactions": transactions }).to_string())
}

fn payment(id: &str, channel: &str) -> Value {
    json!({ "transaction_id": id, "features": { "amount": 12.0, "channel": channel } })
}

impl Versions {
    fn trained() -> Self {
        let state = tempfile::tempdir().unwrap();
        let files = ["first.csv", "second.csv"].map(|name| state.path().join(name));
        payments(&files[0], &["card", "wire"]);
        payments(&files[1], &CHANNELS);
        train(state.path(), &files[0], "champion");
        train(state.path(), &files[1], "challenger");
        let mut alone = HashMap::new();
        for version in ["1", "2"] {
            let uri = format!("models:/fraud_detection/{version}");
            let server = Server::start(state.path(), &["-m", &uri, "--no-decision-log"]);
            for channel in CHANNELS {
                let (status, answer) = decide(&server, &json!([payment("", channel)]));
                assert_eq!(status, 200, "{answer}");
                alone.insert((version, channel), score_of(&answer["decisions"][0]));
            }
        }
        assert_ne!(alone[&("2", "crypto")], alone[&("2", "wire")]);
        Self { state, alone }
    }

    fn serve(&self, canary: &str, more: &[&str]) -> Server {
        let file = self.state.path().join("canary.yaml");
        std::fs::write(&file, canary).unwrap();
        let champion = "models:/fraud_detection@champion";
        let options = ["-m", champion, "--canary", file.to_str().unwrap(), "--fast-canary"];
        Server::start(self.state.path(), &[&options[..], more].concat())
    }

    /// Every decision in the log, by transaction id: version, score, and part in the release.
    fn logged(&self) -> HashMap<String, (String, f32, Option<Assigned>)> {
        let mut found = HashMap::new();
        let files = serin_decisions::DecisionFiles::of(&self.state.path().join("decisions"));
        let read = files.read(0, i64::MAX, |decision| {
            let made = (decision.model.version.clone(), decision.score, decision.assigned);
            found.insert(decision.transaction_id.to_owned(), made);
            true
        });
        assert!(read.unwrap().is_clean());
        found
    }
}

/// The release as the server shows it, once it is as it should be.
fn wait(server: &Server, what: &str, is_reached: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let shown: Value = serde_json::from_str(&server.get("/v1/rollout").1).unwrap();
        if is_reached(&shown) {
            return shown;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{what}: {shown}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends payments until the candidate has its share.
fn warm_up(server: &Server, weight: f64) {
    wait(server, "the candidate decides", |shown| {
        decide(server, &json!([{ "features": { "amount": 1.0, "channel": "card" } }]));
        shown["candidate_weight"].as_f64().is_some_and(|now| now >= weight)
    });
}

// B11 and R1: the version that an answer names is the one that scored the row, to the bit, on every protocol; a level that
// only the candidate knows reaches it; a pinned request takes no part.
#[test]
fn an_answer_names_the_version_that_scored_the_row() {
    let versions = Versions::trained();
    let mut server = versions.serve(CANARY, &[]);
    warm_up(&server, 0.5);
    // By transaction id: channel, version and score as they were answered.
    let mut answered: HashMap<String, (&str, String, f64)> = HashMap::new();
    for number in 0..60 {
        let channel = CHANNELS[number % 3];
        let id = format!("own-{number}");
        let made = decide(&server, &json!([payment(&id, channel)])).1["decisions"][0].clone();
        answered.insert(id, (channel, made["model_version"].as_str().unwrap().to_owned(), score_of(&made)));

        let infer = |path: &str, id: &str| {
            let inputs = json!([
                { "name": "amount", "shape": [1], "datatype": "FP64", "data": [12.0] },
                { "name": "channel", "shape": [1], "datatype": "BYTES", "data": [channel] },
            ]);
            let body = json!({ "id": id, "inputs": inputs }).to_string();
            let (status, answer) = server.post(path, "application/json", &body);
            assert_eq!((status, &answer["id"]), (200, &json!(id)), "{answer}");
            (answer["model_version"].as_str().unwrap().to_owned(), answer["outputs"][0]["data"][0].as_f64().unwrap())
        };
        let id = format!("rest-{number}");
        let (version, score) = infer("/v2/models/fraud_detection/infer", &id);
        answered.insert(id, (channel, version, score));
        let id = format!("pinned-{number}");
        let (version, score) = infer("/v2/models/fraud_detection/versions/1/infer", &id);
        assert_eq!(version, "1", "a pinned request is scored by its version");
        answered.insert(id, (channel, version, score));

        let (texts, outputs) = (("channel", &[channel][..]), &["score", "decision_id"][..]);
        for (version, id) in [("", format!("grpc-{number}")), ("1", format!("pinned-grpc-{number}"))] {
            let numbers = ("amount", &[12.0][..]);
            let infer = Infer { model: "fraud_detection", version, id: &id, numbers, texts, outputs };
            let answer = infer.call(&server.address).unwrap();
            assert_eq!(answer.id, id);
            assert_eq!(answer.texts("decision_id").map(|ids| ids[0].len()), Some(36));
            assert!(version.is_empty() || answer.version == version);
            answered.insert(id, (channel, answer.version.clone(), f64::from(answer.scores()[0])));
        }
    }
    let odd = Infer {
        model: "fraud_detection",
        version: "",
        id: "a\u{7f}",
        numbers: ("amount", &[1.0]),
        texts: ("channel", &["card"]),
        outputs: &[],
    };
    let (status, message) = odd.call(&server.address).unwrap_err();
    assert!(status == 3 && message.contains("control characters"), "{status} {message}");
    assert!(server.terminate().success());

    let logged = versions.logged();
    for (id, (channel, version, score)) in &answered {
        let own = versions.alone[&(if version == "1" { "1" } else { "2" }, *channel)];
        assert_eq!(*score as f32, own as f32, "{id}: version {version} of {channel}");
        let (by, logged_score, assigned) = &logged[id];
        assert_eq!((by, *logged_score), (version, *score as f32), "{id}: the log says the same");
        assert_eq!(assigned.is_some(), !id.starts_with("pinned"), "{id}: {assigned:?}");
    }
    for protocol in ["own", "rest", "grpc"] {
        let by =
            |version: &str| answered.iter().filter(|(id, made)| id.starts_with(protocol) && made.1 == version).count();
        assert!(by("1") > 10 && by("2") > 10, "{protocol}: both decide");
    }
}

#[test]
fn a_batch_of_two_versions_says_row_by_row_who_scored_it() {
    let versions = Versions::trained();
    let mut server = versions.serve(CANARY, &[]);
    warm_up(&server, 0.5);
    let (amounts, channels) = ([12.0; 30], [CHANNELS; 10].concat());
    let inputs = json!([
        { "name": "amount", "shape": [30], "datatype": "FP64", "data": amounts },
        { "name": "channel", "shape": [30], "datatype": "BYTES", "data": channels },
    ]);
    let body = json!({ "id": "rest", "inputs": inputs }).to_string();
    let (status, rest) = server.post("/v2/models/fraud_detection/infer", "application/json", &body);
    assert!(status == 200 && rest["model_version"].is_null(), "no one version: {rest}");
    assert_eq!(
        (&rest["outputs"][2]["name"], &rest["outputs"][2]["datatype"]),
        (&json!("model_version"), &json!("BYTES"))
    );
    let infer = Infer {
        model: "fraud_detection",
        version: "",
        id: "grpc",
        numbers: ("amount", &amounts),
        texts: ("channel", &channels),
        outputs: &[],
    };
    let grpc = infer.call(&server.address).unwrap();
    assert_eq!(grpc.version, "");
    let by_grpc = grpc.texts("model_version").unwrap();
    assert!(server.terminate().success());
    let logged = versions.logged();
    for (row, channel) in channels.iter().enumerate() {
        let by_rest = rest["outputs"][2]["data"][row].as_str().unwrap();
        let score = rest["outputs"][0]["data"][row].as_f64().unwrap() as f32;
        for (id, version, score) in [("rest", by_rest, score), ("grpc", by_grpc[row].as_str(), grpc.scores()[row])] {
            let (by, logged_score, _) = &logged[&format!("{id}/{row}")];
            assert_eq!((by.as_str(), *logged_score), (version, score), "{id}/{row}");
            let own = versions.alone[&(if version == "1" { "1" } else { "2" }, *channel)];
            assert_eq!(score, own as f32, "{id}/{row}: version {version} of {channel}");
        }
    }
}

// R24: a probe that sends one id again and again shares an arm with itself: it is one event, and not a thousand.
#[test]
fn a_transaction_that_is_sent_again_counts_once() {
    let versions = Versions::trained();
    let mut server = versions.serve(CANARY, &[]);
    warm_up(&server, 0.5);
    for number in 0..40 {
        let id = format!("once-{number}");
        for _ in 0..3 {
            assert_eq!(decide(&server, &json!([payment(&id, "wire"), payment(&id, "wire")])).0, 200);
        }
    }
    let of_candidate = |made: &(String, f32, Option<Assigned>)| made.2.is_some_and(|assigned| assigned.candidate);
    // What counts: each id once, and every payment without one.
    let (mut distinct, mut nameless) = (std::collections::HashSet::new(), 0);
    let files = serin_decisions::DecisionFiles::of(&versions.state.path().join("decisions"));
    let read = files.read(0, i64::MAX, |decision| {
        let made = (String::new(), decision.score, decision.assigned);
        match (of_candidate(&made), decision.transaction_id) {
            (true, "") => nameless += 1,
            (true, id) => {
                distinct.insert(id.to_owned());
            }
            _ => {}
        }
        true
    });
    assert!(read.unwrap().is_clean());
    let expected = distinct.len() + nameless;
    assert!(distinct.len() > 5, "both arms have some");
    wait(&server, "what is exposed", |shown| shown["exposed_requests"] == json!(expected));
    // The last ids once more change nothing: a payment without an id, counted after them, says when they have been seen.
    decide(&server, &json!([payment("once-0", "wire"), payment("once-39", "wire")]));
    let mut more = 0;
    while more == 0 {
        let made = decide(&server, &json!([{ "features": { "amount": 1.0, "channel": "card" } }])).1;
        more += usize::from(made["decisions"][0]["model_version"] == "2");
    }
    wait(&server, "what is exposed later", |shown| shown["exposed_requests"] == json!(expected + 1));
    assert!(server.terminate().success());
}

// R6: a request that is refused because the log is full was evidence, at each of its retries.
#[test]
#[cfg(target_os = "linux")]
fn a_refused_request_is_neither_logged_nor_evidence() {
    let versions = Versions::trained();
    let canary = versions.state.path().join("canary.yaml");
    std::fs::write(&canary, CANARY).unwrap();
    // The state of the release is smaller than the log may become.
    let options = format!(
        "--poll 0.1 --threads 1 -m models:/fraud_detection@champion --canary {} --fast-canary --state {}",
        canary.display(),
        versions.state.path().display()
    );
    let server = Server::with_small_files(48, &options);
    warm_up(&server, 0.5);
    let (mut refused, mut number) = (0, 0);
    while refused < 150 {
        let id = format!("{}-{number}", "x".repeat(200));
        refused += u64::from(decide(&server, &json!([payment(&id, "card")])).0 == 503);
        number += 1;
        assert!(number < 5000, "the log never fills");
    }
    let mut by_candidate = 0;
    let files = serin_decisions::DecisionFiles::of(&versions.state.path().join("decisions"));
    let read = files.read(0, i64::MAX, |decision| {
        by_candidate += u64::from(decision.assigned.is_some_and(|assigned| assigned.candidate));
        true
    });
    drop(read);
    assert!(by_candidate > 10);
    // Two looks later nothing else has come.
    let looks = |shown: &Value| shown["track"].as_array().map_or(0, Vec::len);
    let shown = wait(&server, "what is exposed", |shown| shown["exposed_requests"] == json!(by_candidate));
    let later = wait(&server, "two more looks", |later| looks(later) >= looks(&shown) + 2);
    assert_eq!(later["exposed_requests"], json!(by_candidate));
}

// R5: the deadline binds the candidate, too: it decided though the request's time was over.
#[test]
fn a_candidate_is_bound_by_the_deadline() {
    let versions = Versions::trained();
    let server = versions.serve(CANARY, &["--deadline", "0.000001", "--fallback", "decline"]);
    warm_up(&server, 0.5);
    let transactions: Vec<Value> = (0..50).map(|number| payment(&format!("late-{number}"), "wire")).collect();
    let (status, answer) = decide(&server, &json!(transactions));
    assert_eq!(status, 200, "{answer}");
    for made in answer["decisions"].as_array().unwrap() {
        assert_eq!((&made["fallback"], &made["model_version"]), (&json!("decline"), &json!("1")), "{made}");
    }
    assert!(server.get("/metrics").1.contains("serin_unscored_total{reason=\"late\"}"));
}

// F3: rows of batches were not timed, so `request-duration` had no data, and the release stayed at its first step for ever.
#[test]
fn batches_are_timed_too() {
    let versions = Versions::trained();
    let metric = "[25, 50]\n    metrics: [{name: request-duration, thresholdRange: {max: 60000}}]";
    let canary = CANARY.replace("[50]", metric);
    let server = versions.serve(&canary, &[]);
    let batch: Vec<Value> = (0..20).map(|_| json!({ "features": { "amount": 1.0, "channel": "card" } })).collect();
    wait(&server, "the second step", |shown| {
        assert_eq!(decide(&server, &json!(batch)).0, 200);
        shown["candidate_weight"].as_f64().is_some_and(|weight| weight >= 0.5)
    });
}
