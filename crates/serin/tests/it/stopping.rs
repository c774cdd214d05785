//! Trainings and retrainings that a signal stops leave nothing at work for ever.
#![cfg(unix)]

use crate::peer::{serin, text};
use serin_store::{RunSearch, Search, Store};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn payments(folder: &Path) -> String {
    let data = folder.join("payments.parquet").display().to_string();
    let size = ["--customers", "300", "--terminals", "600", "--days", "45", "--seed", "3"];
    let out = serin(&[&["simulate", "--out", &data][..], &size].concat());
    assert!(out.status.success(), "{}", text(&out));
    data
}

fn started(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Names of a folder's runs with their statuses.
async fn statuses(store: &Store) -> Vec<String> {
    let Ok(experiment) = store.experiment_by_name("fraud_detection").await else { return Vec::new() };
    let search = Search { limit: 10, ..Search::default() };
    let asked = RunSearch { experiment_ids: vec![experiment.id], search, ..RunSearch::default() };
    let found = store.search_runs(&asked).await.unwrap();
    found.items.into_iter().map(|run| run.info.status.as_str().to_owned()).collect()
}

/// Sends a signal once a run is at work, and returns the exit status and what was printed.
async fn stopped(store: &Store, mut child: Child, signal: &str) -> (Option<i32>, String) {
    while !statuses(store).await.iter().any(|status| status == "RUNNING") {
        assert_eq!(child.try_wait().unwrap(), None, "it ended before it trained");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    let out = child.wait_with_output().unwrap();
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_that_is_stopped_is_marked_killed_and_a_retraining_failed() {
    let folder = tempfile::tempdir().unwrap();
    let (data, state) = (payments(folder.path()), folder.path().join("state").display().to_string());
    let columns = ["--label", "TX_FRAUD", "--time", "TX_DATETIME", "--amount", "TX_AMOUNT"];
    let train = ["train", &data, "--state", &state, "--features", "TX_AMOUNT,TX_DURING_NIGHT"];
    let first = serin(&[&train[..], &columns, &["--rounds", "5", "--alias", "champion"]].concat());
    assert!(first.status.success(), "{}", text(&first));
    let store = Store::open(Path::new(&state)).await.unwrap();
    let endless = ["--rounds", "10000000"];
    for signal in ["-INT", "-TERM"] {
        let (code, said) = stopped(&store, started(&[&train[..], &columns, &endless].concat()), signal).await;
        assert_eq!(code, Some(130), "{said}");
        assert!(said.contains("is marked KILLED"), "{said}");
        assert!(!statuses(&store).await.iter().any(|status| status == "RUNNING"), "{said}");
    }
    let retrain =
        ["retrain", "--state", &state, "--data", &data, "--as-of", "2018-05-17T00:00:00Z", "--min-frauds", "1"];
    let line = [&retrain[..], &columns, &["--"], &endless].concat();
    let (code, said) = stopped(&store, started(&line), "-INT").await;
    assert_eq!(code, Some(130), "{said}");
    let history = store.retrainings("fraud_detection", 5).await.unwrap();
    assert_eq!(history[0].outcome.as_deref(), Some("failed"));
    assert!(history[0].verdict.as_deref().is_some_and(|verdict| verdict.contains("stopped by a signal")), "{said}");
    let mut ended = statuses(&store).await;
    ended.sort();
    assert_eq!(ended, ["FINISHED", "KILLED", "KILLED", "KILLED"]);
}
