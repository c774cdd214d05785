//! The store through its public methods, on a real file.
#![expect(clippy::unwrap_used, reason = "test code")]

use serin_store::{Change, Metric, ModelUri, NewRun, RunStatus, Stage, Store, StoreError};

const CHANGE: Change<'static> = Change { actor: "ana", reason: "test", at_ms: 5 };

async fn run(store: &Store) -> String {
    store.create_run(&NewRun { experiment: "fraud", name: "first", user: "ana", start_time_ms: 1 }).await.unwrap()
}

fn uri(text: &str) -> ModelUri {
    text.parse().unwrap()
}

#[tokio::test]
async fn versions_are_found_by_number_stage_alias_latest_run_and_path() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path()).await.unwrap();
    let run = run(&store).await;
    let folder = store.put_folder(&run, "model", vec![("model.ubj".into(), b"x".to_vec())]).await.unwrap();
    let source = folder.to_str().unwrap();
    for expected in 1..=3 {
        assert_eq!(store.create_version("fraud", source, &run, CHANGE).await.unwrap(), expected);
    }
    store.move_to_stage("fraud", 1, Stage::Production, CHANGE).await.unwrap();
    store.move_to_stage("fraud", 2, Stage::Production, CHANGE).await.unwrap();
    store.set_alias("fraud", "champion", 2, CHANGE).await.unwrap();
    for (text, version) in [
        ("models:/fraud/3", 3),
        ("models:/fraud/production", 2),
        ("models:/fraud@champion", 2),
        ("models:/fraud/latest", 3),
        ("models:/fraud/Archived", 1),
    ] {
        assert_eq!(store.resolve(&uri(text)).await.unwrap().version, Some(version), "{text}");
    }
    assert_eq!(store.resolve(&uri(&format!("runs:/{run}/model"))).await.unwrap().path, folder);
    assert_eq!(store.resolve(&uri("some/folder")).await.unwrap().path.to_str(), Some("some/folder"));

    let error = store.resolve(&uri("models:/fraud@nobody")).await.unwrap_err();
    assert!(
        matches!(error, StoreError::NotFound { .. }) && error.to_string().contains("3 (None), 2 (Production)"),
        "{error}"
    );
    let error = store.move_to_stage("fraud", 9, Stage::Production, CHANGE).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }));
    assert_eq!(
        store.resolve(&uri("models:/fraud/Production")).await.unwrap().version,
        Some(2),
        "a failed move archives nothing"
    );
    for bad in ["models:/fraud", "models:/@x", "runs:/abc", "runs:/abc/../x", "s3://bucket/x", ""] {
        assert!(bad.parse::<ModelUri>().is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_batch_is_whole_or_nothing_and_may_be_repeated() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path()).await.unwrap();
    let run = run(&store).await;
    let metric = |value: f64, step: i64| Metric { key: "auc".into(), value, timestamp_ms: 1, step };
    let params = vec![("eta".to_owned(), "0.1".to_owned())];
    for _ in 0..2 {
        store.log_batch(&run, &[metric(0.5, 1), metric(f64::NAN, 2), metric(f64::INFINITY, 3)], &params).await.unwrap();
    }
    let other = vec![("depth".to_owned(), "4".to_owned()), ("eta".to_owned(), "0.2".to_owned())];
    assert!(store.log_batch(&run, &[metric(0.9, 9)], &other).await.unwrap_err().to_string().contains("cannot become"));
    assert!(matches!(store.log_batch("nope", &[], &[]).await, Err(StoreError::NotFound { .. })));
    store.log_batch(&run, &[], &[("depth".to_owned(), "5".to_owned())]).await.unwrap();
    store.finish_run(&run, RunStatus::Finished, 9).await.unwrap();
}

#[tokio::test]
async fn names_that_leave_their_folder_are_refused() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path()).await.unwrap();
    let run = run(&store).await;
    for name in ["../x", "a/b", "a\\b", "", ".hidden"] {
        assert!(store.put_folder(&run, name, vec![]).await.is_err(), "{name:?}");
        assert!(store.put_folder(&run, "model", vec![(name.into(), vec![])]).await.is_err(), "{name:?}");
    }
    assert!(store.create_version("a/b", "x", &run, CHANGE).await.is_err());
}

#[tokio::test]
async fn two_processes_may_open_a_new_state_at_once() {
    let state = tempfile::tempdir().unwrap();
    let (a, b) = tokio::join!(Store::open(state.path()), Store::open(state.path()));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_ne!(run(&a).await, run(&b).await);
}
