//! The store through its public methods, on a SQLite file and on a real PostgreSQL: each test runs on both.
#![expect(clippy::unwrap_used, reason = "test code")]

use serin_artifacts::Artifacts;
use serin_store::{
    AlertChange, AlertEvent, Batch, GuardLooks, JobRuns, LabelTime, LifecycleStage, LookRecord, NewModelVersion,
    NewRun, RunSearch, Search, Store, StoreError, Tried, Undo,
};
use serin_testkit::Postgres;
use serin_tracking::{
    Change, LabelSource, LabelSubject, Metric, ModelUri, NewLabel, RunStatus, Stage, StoredPane, Tag,
};
use std::sync::{Arc, OnceLock, Weak};

fn change() -> Change {
    Change::new("ana", "test", 5)
}

/// One server for all tests of the process, stopped with the last of them.
fn postgres() -> Arc<Postgres> {
    static SERVER: OnceLock<std::sync::Mutex<Weak<Postgres>>> = OnceLock::new();
    let mut server = SERVER.get_or_init(|| std::sync::Mutex::new(Weak::new())).lock().unwrap();
    server.upgrade().unwrap_or_else(|| {
        let started = Arc::new(Postgres::start());
        *server = Arc::downgrade(&started);
        started
    })
}

struct Place {
    store: Store,
    folder: tempfile::TempDir,
    _server: Option<Arc<Postgres>>,
}

/// A new store on each database.
async fn places() -> Vec<Place> {
    let mut places = Vec::new();
    let server = postgres();
    for url in [None, Some(server.database())] {
        let folder = tempfile::tempdir().unwrap();
        let store = match &url {
            None => Store::open(folder.path()).await.unwrap(),
            Some(url) => {
                let artifacts = Artifacts::local(&folder.path().join("artifacts")).unwrap();
                Store::connect(&url.parse().unwrap(), artifacts).await.unwrap()
            }
        };
        store.ensure_default_experiment(1).await.unwrap();
        places.push(Place { store, folder, _server: url.map(|_| Arc::clone(&server)) });
    }
    places
}

async fn run(store: &Store) -> String {
    let new = NewRun { user: "ana".into(), start_time_ms: 1, ..NewRun::default() };
    store.create_run(new).await.unwrap().info.id
}

fn uri(text: &str) -> ModelUri {
    text.parse().unwrap()
}

fn version(name: &str, source: &str, run_id: &str) -> NewModelVersion {
    NewModelVersion {
        name: name.into(),
        create_model: true,
        source: source.into(),
        run_id: run_id.into(),
        ..NewModelVersion::default()
    }
}

#[tokio::test]
async fn versions_are_found_by_number_stage_alias_latest_run_and_path() {
    for place in places().await {
        let (store, cache) = (&place.store, place.folder.path().join("cache"));
        let run = run(store).await;
        let model = store.log_model(&run, "model", vec![("model.ubj".into(), b"x".to_vec())], 1).await.unwrap();
        let source = format!("models:/{}", model.id);
        for expected in 1..=3 {
            let new = NewModelVersion { model_id: model.id.clone(), ..version("fraud", &source, &run) };
            let made = store.create_model_version(new, change()).await.unwrap();
            assert_eq!(made.version, expected);
        }
        store.move_to_stage("fraud", 1, Stage::Production, true, change()).await.unwrap();
        store.move_to_stage("fraud", 2, Stage::Production, true, change()).await.unwrap();
        store.set_alias("fraud", "champion", 2, change()).await.unwrap();
        for (text, version) in [
            ("models:/fraud/3", 3),
            ("models:/fraud/production", 2),
            ("models:/fraud@champion", 2),
            ("models:/fraud/latest", 3),
            ("models:/fraud/Archived", 1),
        ] {
            assert_eq!(store.resolve(&uri(text), &cache).await.unwrap().version, Some(version), "{text}");
        }
        let path = store.resolve(&uri(&format!("runs:/{run}/model")), &cache).await.unwrap().path;
        assert_eq!(std::fs::read(path.join("model.ubj")).unwrap(), b"x");
        assert_eq!(store.resolve(&uri("some/folder"), &cache).await.unwrap().path.to_str(), Some("some/folder"));

        let error = store.resolve(&uri("models:/fraud@nobody"), &cache).await.unwrap_err();
        assert!(
            matches!(error, StoreError::NotFound(_)) && error.to_string().contains("3 (None), 2 (Production)"),
            "{error}"
        );
        let error = store.move_to_stage("fraud", 9, Stage::Production, true, change()).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound(_)));
        assert_eq!(
            store.resolve(&uri("models:/fraud/Production"), &cache).await.unwrap().version,
            Some(2),
            "a failed move archives nothing"
        );
        store.set_alias("fraud", "champion", 2, change()).await.unwrap();
        let history = store.model_history("fraud", 100, 0).await.unwrap();
        let told: Vec<String> =
            history.iter().rev().map(|row| format!("{:?} {} {}", row.version, row.change, row.target)).collect();
        assert_eq!(
            told,
            [
                "None model created ",
                "Some(1) created ",
                "Some(2) created ",
                "Some(3) created ",
                "Some(1) stage Production",
                "Some(1) stage Archived",
                "Some(2) stage Production",
                "Some(2) alias champion",
            ],
            "every change once, a repeated one not again"
        );
    }
    for bad in ["models:/fraud", "models:/@x", "runs:/abc", "runs:/abc/../x", "s3://bucket/x", ""] {
        assert!(bad.parse::<ModelUri>().is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_batch_is_whole_or_nothing_and_may_be_repeated() {
    for place in places().await {
        let store = &place.store;
        let run = run(store).await;
        let metric =
            |value: f64, step: i64| Metric { key: "auc".into(), value, timestamp_ms: 1, step, ..Metric::default() };
        let batch = |metrics: Vec<Metric>, params: &[(&str, &str)]| Batch {
            metrics,
            params: params.iter().map(|(key, value)| Tag::new(*key, *value)).collect(),
            tags: Vec::new(),
        };
        for _ in 0..2 {
            let metrics = vec![metric(0.5, 1), metric(f64::INFINITY, 3), metric(f64::NAN, 2)];
            store.log_batch(&run, batch(metrics, &[("eta", "0.1")])).await.unwrap();
        }
        let conflict = batch(vec![metric(0.9, 9)], &[("depth", "4"), ("eta", "0.2")]);
        assert!(store.log_batch(&run, conflict).await.unwrap_err().to_string().contains("not allowed"));
        assert!(matches!(store.log_batch("nope", Batch::default()).await, Err(StoreError::NotFound(_))));
        store.log_batch(&run, batch(Vec::new(), &[("depth", "5")])).await.unwrap();
        let found = store.run(&run).await.unwrap();
        assert_eq!(
            found.params,
            [Tag::new("depth", "5"), Tag::new("eta", "0.1")],
            "the conflicting batch left nothing"
        );
        assert_eq!((found.metrics[0].step, found.metrics[0].value), (3, f64::MAX), "the highest step is the latest");
        let history = store.metric_history(&run, "auc", 10, 0).await.unwrap();
        assert_eq!(history.iter().map(|m| m.step).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(history[1].value.is_nan());
        store.update_run(&run, Some(RunStatus::Finished), Some(9), None).await.unwrap();
    }
}

#[tokio::test]
async fn a_thousand_metrics_at_once_keep_the_latest_of_each_key() {
    for place in places().await {
        let store = &place.store;
        let run = run(store).await;
        let metrics = (0..1000)
            .map(|i| Metric {
                key: format!("m{}", i % 7),
                value: f64::from(i),
                timestamp_ms: 1,
                step: i64::from(999 - i),
                ..Metric::default()
            })
            .collect();
        store.log_batch(&run, Batch { metrics, ..Batch::default() }).await.unwrap();
        let found = store.run(&run).await.unwrap();
        let latest: Vec<(i64, f64)> = found.metrics.iter().map(|m| (m.step, m.value)).collect();
        assert_eq!(latest, (0..7).map(|i| (i64::from(999 - i), f64::from(i))).collect::<Vec<_>>());
        assert_eq!(store.metric_history(&run, "m0", 1000, 0).await.unwrap().len(), 143);
    }
}

#[tokio::test]
async fn names_that_leave_their_folder_are_refused() {
    for place in places().await {
        let run = run(&place.store).await;
        for name in ["../x", "a/b", "a\\b", "", ".hidden"] {
            assert!(place.store.log_model(&run, name, vec![], 1).await.is_err(), "{name:?}");
            assert!(place.store.log_model(&run, "model", vec![(name.into(), vec![])], 1).await.is_err(), "{name:?}");
        }
        for name in ["a/b", "a:b", "", "..", "a\\b"] {
            assert!(place.store.create_registered_model(name, None, vec![], change()).await.is_err(), "{name:?}");
        }
    }
}

#[tokio::test]
async fn values_wider_than_their_column_are_the_callers_mistake() {
    for place in places().await {
        let store = &place.store;
        let run = run(store).await;
        for source in [format!("s3://b/{}", "x".repeat(500)), "s3://b/\0".into()] {
            let error = store.create_model_version(version("fraud", &source, &run), change()).await.unwrap_err();
            assert!(matches!(error, StoreError::InvalidInput(_)), "{error:?}");
        }
        // MLflow's limit is 500, its PostgreSQL column has 256.
        let long = store.create_experiment(&"e".repeat(400), None, vec![], 1).await;
        assert!(matches!(long, Ok(_) | Err(StoreError::InvalidInput(_))), "{long:?}");
        let error = store.create_experiment(&"e".repeat(501), None, vec![], 1).await.unwrap_err();
        assert!(matches!(error, StoreError::InvalidInput(_)), "{error:?}");
    }
}

#[tokio::test]
async fn several_servers_may_start_on_a_new_database_at_once() {
    // SQLite refuses at once, without waiting, where two connections turn a new file to its write-ahead log.
    for _ in 0..20 {
        let state = tempfile::tempdir().unwrap();
        let starts = (0..6).map(|_| {
            let folder = state.path().to_owned();
            tokio::task::spawn_blocking(move || {
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                    let store = Store::open(&folder).await.unwrap();
                    store.ensure_default_experiment(1).await.unwrap();
                    run(&store).await;
                });
            })
        });
        for start in starts.collect::<Vec<_>>() {
            start.await.unwrap();
        }
    }
    let state = tempfile::tempdir().unwrap();
    let server = postgres();
    let url = server.database().parse().unwrap();
    let artifacts = Artifacts::local(&state.path().join("other")).unwrap();
    let (a, b) = tokio::join!(Store::connect(&url, artifacts.clone()), Store::connect(&url, artifacts));
    for store in [a.unwrap(), b.unwrap()] {
        store.ensure_default_experiment(1).await.unwrap();
        run(&store).await;
    }
}

#[tokio::test]
async fn many_writers_lose_nothing_and_one_number_is_given_once() {
    for place in places().await {
        let store = place.store.clone();
        let run = run(&store).await;
        let writers = (0..32).map(|writer| {
            let (store, run) = (store.clone(), run.clone());
            tokio::spawn(async move {
                for step in 0..10 {
                    let metric =
                        Metric { key: format!("w{writer}"), value: 1.0, timestamp_ms: 1, step, ..Metric::default() };
                    store.log_batch(&run, Batch { metrics: vec![metric], ..Batch::default() }).await.unwrap();
                }
                store.create_model_version(version("fraud", "s3://b/k", ""), change()).await.unwrap().version
            })
        });
        let mut versions = Vec::new();
        for writer in writers.collect::<Vec<_>>() {
            versions.push(writer.await.unwrap());
        }
        versions.sort_unstable();
        assert_eq!(versions, (1..=32).collect::<Vec<_>>());
        for writer in 0..32 {
            assert_eq!(store.metric_history(&run, &format!("w{writer}"), 100, 0).await.unwrap().len(), 10);
        }
    }
}

async fn found(store: &Store, filter: &str, order_by: &[&str]) -> Vec<String> {
    let search = Search {
        filter: filter.into(),
        order_by: order_by.iter().map(|text| (*text).to_owned()).collect(),
        limit: 100,
        offset: 0,
    };
    let asked = RunSearch { experiment_ids: vec![0], search, ..RunSearch::default() };
    store.search_runs(&asked).await.unwrap().items.into_iter().map(|run| run.info.name).collect()
}

#[tokio::test]
async fn runs_are_filtered_and_sorted_with_mlflows_rules_for_nan_and_absence() {
    for place in places().await {
        let store = &place.store;
        for (name, start, auc, kind) in [
            ("high", 1, Some(0.9), Some("a")),
            ("low", 2, Some(0.1), Some("b")),
            ("nan", 3, Some(f64::NAN), None),
            ("none", 4, None, Some("A")),
        ] {
            let new = NewRun { name: name.into(), start_time_ms: start, ..NewRun::default() };
            let id = store.create_run(new).await.unwrap().info.id;
            let metrics = auc.map(|value| Metric { key: "auc".into(), value, timestamp_ms: 1, ..Metric::default() });
            let params = kind.map(|kind| Tag::new("kind", kind));
            let batch = Batch {
                metrics: metrics.into_iter().collect(),
                params: params.into_iter().collect(),
                ..Batch::default()
            };
            store.log_batch(&id, batch).await.unwrap();
        }
        for (filter, order, expected) in [
            ("", &[][..], &["none", "nan", "low", "high"][..]),
            ("", &["metrics.auc DESC"], &["high", "low", "nan", "none"]),
            ("", &["metrics.auc"], &["low", "high", "nan", "none"]),
            ("", &["params.kind", "start_time ASC"], &["none", "high", "low", "nan"]),
            ("", &["start_time ASC", "metrics.auc"], &["high", "low", "nan", "none"]),
            ("metrics.auc > 0.5", &[], &["high"]),
            ("metrics.auc != 0.9", &["start_time"], &["low", "nan"]),
            ("params.kind != 'a'", &["start_time"], &["low", "none"]),
            ("params.kind LIKE 'a'", &[], &["high"]),
            ("params.kind ILIKE 'a'", &["start_time"], &["high", "none"]),
            ("params.kind IS NULL", &[], &["nan"]),
            ("params.kind IS NOT NULL AND start_time >= 2", &["start_time"], &["low", "none"]),
            ("attributes.run_name = 'low' and status = 'RUNNING'", &[], &["low"]),
            ("tags.`mlflow.runName` LIKE 'n%'", &["start_time"], &["nan", "none"]),
        ] {
            assert_eq!(found(store, filter, order).await, expected, "{filter} {order:?}");
        }
        // Page after page over all three kinds of metric.
        for size in 1..=5 {
            let (mut offset, mut names) = (0, Vec::new());
            loop {
                let search =
                    Search { order_by: vec!["metrics.auc DESC".into()], limit: size, offset, ..Search::default() };
                let asked = RunSearch { experiment_ids: vec![0], search, ..RunSearch::default() };
                let page = store.search_runs(&asked).await.unwrap();
                names.extend(page.items.into_iter().map(|run| run.info.name));
                let Some(next) = page.next else { break };
                offset = next;
            }
            assert_eq!(names, ["high", "low", "nan", "none"], "pages of {size}");
        }
        for bad in ["metrics.auc = 'x'", "foo = 'x'", "params.kind > 'a'", "status IN ('a')", "metrics.auc IS NULL"] {
            let search = Search { filter: bad.into(), limit: 1, ..Search::default() };
            let asked = RunSearch { experiment_ids: vec![0], search, ..RunSearch::default() };
            assert!(matches!(store.search_runs(&asked).await, Err(StoreError::InvalidInput(_))), "{bad}");
        }
    }
}

#[tokio::test]
async fn a_deleted_experiment_takes_its_runs_along_and_brings_them_back() {
    for place in places().await {
        let store = &place.store;
        let id = store.create_experiment("e", None, vec![], 1).await.unwrap();
        let run = store.create_run(NewRun { experiment_id: id, ..NewRun::default() }).await.unwrap().info.id;
        store.set_experiment_lifecycle(id, LifecycleStage::Deleted, 2).await.unwrap();
        assert_eq!(store.run_info(&run).await.unwrap().lifecycle_stage, LifecycleStage::Deleted);
        let error = store.log_batch(&run, Batch::default()).await.unwrap_err();
        assert!(error.to_string().contains("must be in the 'active' state"), "{error}");
        assert!(matches!(store.create_experiment("e", None, vec![], 1).await, Err(StoreError::Conflict(_))));
        assert!(store.set_experiment_lifecycle(id, LifecycleStage::Deleted, 2).await.is_err());
        store.set_experiment_lifecycle(id, LifecycleStage::Active, 3).await.unwrap();
        assert_eq!(store.run_info(&run).await.unwrap().lifecycle_stage, LifecycleStage::Active);
    }
}

#[tokio::test]
async fn a_panes_later_word_replaces_its_earlier_one_and_a_late_one_changes_nothing() {
    for place in places().await {
        let store = &place.store;
        let pane = |id: &str, sequence, body: &str| StoredPane {
            id: id.into(),
            model: "m".into(),
            version: "1".into(),
            from_ms: 3_600_000,
            sequence,
            body: body.into(),
        };
        store.put_panes(vec![pane("a/1", 2, "second"), pane("b/1", 1, "other")]).await.unwrap();
        store.put_panes(vec![pane("a/1", 1, "late"), pane("a/1", 2, "again")]).await.unwrap();
        store.put_panes(vec![pane("b/1", 3, "third")]).await.unwrap();
        let found = store.panes("m", 0, 3_600_001).await.unwrap();
        let bodies: Vec<&str> = found.iter().map(|pane| pane.body.as_str()).collect();
        assert_eq!(bodies, ["second", "third"]);
        let ahead = StoredPane { from_ms: 7_200_000, ..pane("c/1", 1, "ahead") };
        store.put_panes(vec![ahead]).await.unwrap();
        // What lies ahead of the time that is allowed waits.
        assert_eq!(store.watched_models(7_199_999).await.unwrap(), [("m".to_owned(), 3_600_000)]);
        assert_eq!(store.watched_models(7_200_000).await.unwrap(), [("m".to_owned(), 7_200_000)]);
        assert!(store.watched_models(3_599_999).await.unwrap().is_empty());
        assert_eq!(store.newest_pane("m", 7_200_000).await.unwrap(), Some(("1".to_owned(), 3_600_000)));
        assert_eq!(store.oldest_kept_hour("m", i64::MAX, 1).await.unwrap(), Some(7_200_000));
        assert_eq!(store.oldest_kept_hour("m", i64::MAX, 2).await.unwrap(), None, "there are no more than two");
        store.remove_panes("m", 3_600_001).await.unwrap();
        assert_eq!(store.panes("m", 0, i64::MAX).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn alerts_and_retrainings_keep_their_history() {
    for place in places().await {
        let store = &place.store;
        let look = |from_ms, until_ms, changes| LookRecord {
            job: "watch",
            model: "m".into(),
            from_ms,
            until_ms,
            changes,
            ..LookRecord::default()
        };
        let began = ["x", "y"].map(|subject| change_of(subject, AlertEvent::Began, 20)).to_vec();
        store.record_look(look(None, 20, began)).await.unwrap();
        // An alert that is on does not begin again.
        store.record_look(look(Some(20), 25, vec![change_of("x", AlertEvent::Began, 25)])).await.unwrap();
        store.record_look(look(Some(25), 30, vec![change_of("x", AlertEvent::Ended, 30)])).await.unwrap();
        assert_eq!(store.alerts_at("m", 29).await.unwrap().len(), 2);
        assert_eq!(store.alerts_at("m", 30).await.unwrap().len(), 1);
        let on: Vec<String> = store.alerts_on("m").await.unwrap().into_iter().map(|alert| alert.subject).collect();
        assert_eq!(on, ["y"]);
        for name in ["m", ""] {
            let all = store.alerts(name, 10, 0).await.unwrap();
            assert_eq!(all.iter().map(|alert| alert.resolved_at_ms).collect::<Vec<_>>(), [None, Some(30)], "{name:?}");
        }
        assert!(store.alerts("other", 10, 0).await.unwrap().is_empty());

        let id = store.begin_retraining("m", "drift", "x drifted", 40).await.unwrap();
        assert_eq!(store.retrainings("m", 10).await.unwrap()[0].ended_at_ms, None);
        store.end_retraining(&id, "discarded", Some(3), "no proof", 50).await.unwrap();
        let [ended] = &store.retrainings("m", 10).await.unwrap()[..] else { panic!("one retraining") };
        assert_eq!(
            (ended.outcome.as_deref(), ended.version, ended.ended_at_ms),
            (Some("discarded"), Some(3), Some(50))
        );
        let label = NewLabel {
            subject: LabelSubject::Transaction("t".into()),
            fraud: true,
            source: LabelSource::Chargeback,
            occurred_at_ms: None,
            known_at_ms: Some(45),
            amount: None,
        };
        store.put_labels(vec![label], 46).await.unwrap();
        assert_eq!(store.count_labels(LabelTime::Known, 45, 45).await.unwrap(), 1);
        assert_eq!(store.count_labels(LabelTime::Known, 46, 99).await.unwrap(), 0);
        assert_eq!(store.labels_between(LabelTime::Received, 46, 46).await.unwrap().len(), 1);
    }
}

/// Change of the alert `drift` of a subject, told to two receivers.
fn change_of(subject: &str, event: AlertEvent, at_ms: i64) -> AlertChange {
    AlertChange {
        rule: "drift".into(),
        subject: subject.into(),
        severity: "warning".into(),
        event,
        at_ms,
        message: "it drifted".into(),
        receivers: vec!["slack-1".into(), "email-2".into()],
    }
}

#[tokio::test]
async fn runs_of_jobs_are_counted_and_the_last_error_stays() {
    for place in places().await {
        let store = &place.store;
        let runs = |started_at_ms, error: Option<&str>| JobRuns {
            name: "watch".into(),
            model: "fraud \"ü\" {x}".into(),
            started_at_ms,
            ended_at_ms: started_at_ms + 1,
            error: error.map(Into::into),
            runs: 1,
            failures: i64::from(error.is_some()),
        };
        store.begin_job("watch", "fraud \"ü\" {x}", 5).await.unwrap();
        let begun = store.jobs().await.unwrap();
        assert_eq!((begun[0].started_at_ms, begun[0].ended_at_ms, begun[0].runs), (5, None, 0));
        store.end_job(runs(10, Some("away"))).await.unwrap();
        store.end_job(runs(20, None)).await.unwrap();
        store.end_job(JobRuns { name: "retention".into(), model: String::new(), ..runs(30, None) }).await.unwrap();
        let all = store.jobs().await.unwrap();
        assert_eq!(all.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), ["retention", "watch"]);
        let watch = &all[1];
        assert_eq!(
            (watch.succeeded_at_ms, watch.failed_at_ms, watch.error.as_deref()),
            (Some(21), Some(11), Some("away"))
        );
        assert_eq!((watch.runs, watch.failures, watch.started_at_ms), (2, 1, 20));
    }
}

// R17: an alert, its notices and the progress of the look are one.
#[tokio::test]
async fn a_look_is_written_whole_or_not_at_all_and_once() {
    for place in places().await {
        let store = &place.store;
        for _ in 0..2 {
            store.create_model_version(version("fraud", "s3://b/k", ""), change()).await.unwrap();
        }
        store.set_alias("fraud", "champion", 2, change()).await.unwrap();
        let undo = |only: i64| Undo {
            target: uri("models:/fraud@champion"),
            version: only,
            previous: 1,
            change: Change::new("serin guard", "it lost", 9),
        };
        let look = |from_ms, undo| LookRecord {
            job: "guard",
            model: "fraud".into(),
            from_ms,
            until_ms: 200,
            state: "[]".into(),
            changes: vec![change_of("promotion", AlertEvent::Happened, 200)],
            guard: Some(GuardLooks { promotion: "p".into(), looks: 2 }),
            undo,
            now_ms: 1000,
        };
        store
            .record_look(LookRecord { job: "guard", model: "fraud".into(), until_ms: 100, ..LookRecord::default() })
            .await
            .unwrap();
        let nothing = async || {
            assert!(store.alerts("fraud", 9, 0).await.unwrap().is_empty());
            assert!(store.due_deliveries("slack-1", 9999, 9).await.unwrap().is_empty());
            assert_eq!(store.progress("guard", "fraud").await.unwrap().unwrap().until_ms, 100);
            assert_eq!(store.guard_looks("p").await.unwrap(), 0);
        };
        // Version 1 is not at the alias: nothing of the look is kept. Nor is a look from another progress.
        for wrong in [look(Some(100), Some(undo(1))), look(Some(99), None), look(None, None)] {
            let error = store.record_look(wrong).await.unwrap_err();
            assert!(matches!(error, StoreError::Conflict(_)), "{error:?}");
            nothing().await;
        }
        store.record_look(look(Some(100), Some(undo(2)))).await.unwrap();
        assert_eq!(store.aliased_version("fraud", "champion").await.unwrap().version, 1);
        assert_eq!(store.guard_looks("p").await.unwrap(), 2);
        let ledger = store.model_history("fraud", 9, 0).await.unwrap();
        let by_guard: Vec<&str> =
            ledger.iter().filter(|entry| entry.actor == "serin guard").map(|entry| entry.change.as_str()).collect();
        assert_eq!(by_guard, ["rollout", "alias"]);
        assert_eq!(
            store.alerts("fraud", 9, 0).await.unwrap()[0].resolved_at_ms,
            Some(200),
            "over as soon as it is said"
        );
        for receiver in ["slack-1", "email-2"] {
            assert_eq!(store.due_deliveries(receiver, 1000, 9).await.unwrap().len(), 1);
        }
        let again = store.record_look(look(Some(100), None)).await.unwrap_err();
        assert!(matches!(again, StoreError::Conflict(_)), "another server has done it");
    }
}

#[tokio::test]
async fn each_delivery_has_its_own_state_and_an_end_waits_for_its_beginning() {
    for place in places().await {
        let store = &place.store;
        let look = |from_ms, until_ms, event| LookRecord {
            job: "watch",
            model: "m".into(),
            from_ms,
            until_ms,
            changes: vec![change_of("x", event, until_ms)],
            now_ms: until_ms,
            ..LookRecord::default()
        };
        store.record_look(look(None, 10, AlertEvent::Began)).await.unwrap();
        store.record_look(look(Some(10), 20, AlertEvent::Ended)).await.unwrap();
        let due = async |receiver: &str, now_ms: i64| store.due_deliveries(receiver, now_ms, 9).await.unwrap();
        let [first] = &due("slack-1", 20).await[..] else { panic!("the beginning alone") };
        assert!(first.notice.began);
        assert!(store.claim_delivery(first, 500).await.unwrap());
        assert!(!store.claim_delivery(first, 500).await.unwrap(), "another server has it");
        let failed = Tried::Failed { next_at_ms: 100, error: "away".into() };
        store.end_delivery(first, failed, 21).await.unwrap();
        assert!(due("slack-1", 99).await.is_empty(), "neither the beginning nor the end");
        let [again] = &due("slack-1", 100).await[..] else { panic!("the beginning again") };
        assert_eq!((again.notice.began, again.tries), (true, 1));
        store.end_delivery(again, Tried::Taken, 101).await.unwrap();
        let [end] = &due("slack-1", 100).await[..] else { panic!("the end") };
        assert_eq!((end.notice.began, end.notice.fired_at_ms, end.notice.at_ms), (false, 10, 20));
        // The other receiver has taken nothing; what was written before 15 is given up.
        let given_up = store.expire_deliveries(15, 200).await.unwrap();
        assert_eq!(given_up.len(), 1);
        assert_eq!((given_up[0].receiver.as_str(), given_up[0].notice.began), ("email-2", true));
        assert_eq!(due("email-2", 200).await.len(), 1);
        store.remove_notices(1000).await.unwrap();
        assert!(due("email-2", 200).await.is_empty() && due("slack-1", 200).await.is_empty());
    }
}
