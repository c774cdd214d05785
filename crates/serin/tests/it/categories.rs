//! Versions whose categories have other levels, from outside: each scores what the payment says, not another version's code.

use crate::peer::{Server, serin, text};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// Payments by channel and amount: a wire is a fraud four times in five, anything else once in twenty.
pub(crate) fn payments(file: &Path, channels: &[&str]) {
    let mut csv = "amount,channel,fraud\n".to_owned();
    for row in 0..3000_u32 {
        let channel = channels[row as usize % channels.len()];
        let fraud = if channel == "wire" { row % 5 != 0 } else { row % 20 == 0 };
        writeln!(csv, "{},{channel},{}", row % 97, u8::from(fraud)).unwrap();
    }
    std::fs::write(file, csv).unwrap();
}

pub(crate) fn train(state: &Path, file: &Path, alias: &str) {
    let out = serin(&[
        "train",
        file.to_str().unwrap(),
        "--label",
        "fraud",
        "--random-split",
        "0.3",
        "--rounds",
        "15",
        "--alias",
        alias,
        "--state",
        state.to_str().unwrap(),
    ]);
    assert!(out.status.success(), "{}", text(&out));
}

fn decided(server: &Server, channel: &str) -> Value {
    let body = json!({ "transactions": [{ "features": { "amount": 12.0, "channel": channel } }] }).to_string();
    let (status, answer) = server.post("/v1/decisions", "application/json", &body);
    assert_eq!(status, 200, "{answer}");
    answer["decisions"][0].clone()
}

// R1: version 2 knows a level between two of version 1's, so that every code behind it means another level.
#[test]
fn a_candidate_scores_the_level_that_was_sent_and_not_the_live_versions_code() {
    let state = tempfile::tempdir().unwrap();
    let files = ["first.csv", "second.csv"].map(|name| state.path().join(name));
    payments(&files[0], &["card", "wire"]);
    payments(&files[1], &["card", "crypto", "wire"]);
    train(state.path(), &files[0], "champion");
    train(state.path(), &files[1], "challenger");
    let challenger = "models:/fraud_detection@challenger";

    let alone = Server::start(state.path(), &["-m", challenger, "--no-decision-log"]);
    let own = ["card", "wire"].map(|channel| decided(&alone, channel)["score"].as_f64().unwrap());
    assert!(own[1] > own[0] + 0.3, "a wire is the fraud: {own:?}");
    drop(alone);

    let mut beside = Server::start(state.path(), &["-m", "models:/fraud_detection@champion", "--shadow", challenger]);
    let made = ["card", "wire"].map(|channel| decided(&beside, channel)["decision_id"].as_str().unwrap().to_owned());
    let said = |id: &str| -> Option<f64> {
        let out = serin(&["replay", "--json", "--id", id, "--state", state.path().to_str().unwrap()]);
        let shown: Value = serde_json::from_slice(&out.stdout).ok()?;
        shown["shadow"][0]["score"].as_f64()
    };
    // The shadow scores off the response path; the log has its word when it has scored.
    let shadows = made.each_ref().map(|id| {
        (0..600)
            .find_map(|_| {
                std::thread::sleep(std::time::Duration::from_millis(50));
                said(id)
            })
            .expect("the candidate scores what was decided")
    });
    assert_eq!(shadows, own, "in the shadow the candidate says what it says alone");
    assert!(beside.terminate().success());

    // Replay of the log through the candidate, and of the candidate's levels that version 1 does not know.
    let out = serin(&["replay", "--json", "--model", challenger, "--state", state.path().to_str().unwrap()]);
    let replayed: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{}", text(&out)));
    assert_eq!((&replayed["decisions"], &replayed["not_a_number"]), (&json!(2), &json!(0)), "{replayed}");
}

#[test]
fn a_column_that_changed_its_kind_is_named_and_nothing_is_scored_by_it() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("payments.csv");
    payments(&file, &["card", "wire"]);
    train(state.path(), &file, "champion");
    let codes = std::fs::read_to_string(&file).unwrap().replace(",card,", ",0,").replace(",wire,", ",1,");
    std::fs::write(&file, codes).unwrap();
    train(state.path(), &file, "challenger");
    let mut server = Server::start(state.path(), &["-m", "models:/fraud_detection@champion"]);
    decided(&server, "wire");
    assert!(server.terminate().success());
    let out =
        serin(&["replay", "--model", "models:/fraud_detection@challenger", "--state", state.path().to_str().unwrap()]);
    let said = text(&out);
    assert!(!out.status.success() && said.contains("\"channel\"") && said.contains("category"), "{said}");
}
