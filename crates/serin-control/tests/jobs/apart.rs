//! Jobs are apart: what fails in one keeps no other one from running, and is seen.

use crate::house::{DAY, HOUR, House, MONDAY, clock, deciding, decision, hours, log_of};
use serde_json::json;
use serin_control::{Launcher, RetrainingOrder};
use serin_decisions::{DecisionIds, DecisionLog, LogLimits};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const ODD: &str = "fraud \"ü\" {x}";

// R16: performance cannot be read (a column that the deciding version lacks); the same midnight has the look that begins an alert.
#[tokio::test]
async fn a_step_that_fails_keeps_no_other_step_and_no_other_model_from_running() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock!());
    let settings = json!({ "monitoring": { "min_decisions": 500, "amount": "NOPE" } });
    let house = House::open(folder.path(), clock, settings).await;
    for model in [ODD, "second"] {
        house.register_watched(model).await;
    }
    // A version whose package is no model of serin's: its hours cannot be compared.
    house.register("broken", vec![("model.ubj".into(), b"x".to_vec())]).await;
    let (log, _) = DecisionLog::open(&log_of(folder.path()), LogLimits::default(), clock.read).unwrap();
    let id = DecisionIds::default().next(MONDAY);
    let made = decision(id, "t", MONDAY + DAY - 7 * DAY - HOUR);
    log.append(&deciding(ODD, 1), &[made]).unwrap();
    log.flush().unwrap();

    let mut jobs = house.jobs();
    for model in [ODD, "second", "broken"] {
        house.traffic(model, hours(MONDAY - DAY, MONDAY + 12 * HOUR), 1.0).await;
    }
    jobs.round().await;
    for model in [ODD, "second", "broken"] {
        house.traffic(model, hours(MONDAY + 12 * HOUR, MONDAY + 26 * HOUR), 100.0).await;
    }
    clock.set(MONDAY + 26 * HOUR);
    jobs.round().await;

    for model in [ODD, "second"] {
        let alerts = house.alerts(model).await;
        assert!(alerts.iter().any(|(rule, subject, ..)| rule == "drift" && subject == "amount"), "{model}: {alerts:?}");
        let watch = house.job("watch", Some(model)).await;
        assert_eq!((&watch["failures"], &watch["error"]), (&json!(0), &json!(null)), "{watch}");
        assert_eq!(watch["succeeded_at"], json!(clock.now()));
        assert_eq!(house.job("guard", Some(model)).await["failures"], 0);
    }
    let failed = house.job("performance", Some(ODD)).await;
    assert_eq!(failed["failures"], 1, "{failed}");
    assert!(failed["error"].as_str().unwrap().contains("NOPE"), "{failed}");
    assert_eq!(house.job("performance", Some("second")).await["failures"], 0);
    let broken = house.job("watch", Some("broken")).await;
    assert!(broken["error"].as_str().unwrap().contains("monitor.json"), "{broken}");

    let metrics = house.page("/metrics").await;
    let escaped = "fraud \\\"ü\\\" {x}";
    assert!(
        metrics.contains(&format!("serin_job_failures_total{{job=\"performance\",model=\"{escaped}\"}} 1")),
        "{metrics}"
    );
    let seconds = clock.now() / 1000;
    let line = format!("serin_job_last_success_timestamp_seconds{{job=\"watch\",model=\"second\"}} {seconds}");
    assert!(metrics.contains(&line), "{line}\n{metrics}");
    let page = house.page("/settings").await;
    assert!(page.contains("<h2>Jobs</h2>") && page.contains("fails</span>") && page.contains("retention"), "{page}");
}

#[derive(Debug, Default)]
struct PanicsOnce(AtomicU32);

impl Launcher for PanicsOnce {
    fn retrain(
        &self,
        _: RetrainingOrder,
    ) -> Pin<Box<dyn Future<Output = Result<(), serin_control::RetrainingFailure>> + Send>> {
        let first = self.0.fetch_add(1, Ordering::SeqCst) == 0;
        Box::pin(async move {
            assert!(!first, "no such trainer");
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_panic_is_written_down_and_the_job_is_run_again_later() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock!());
    let settings = json!({
        "monitoring": { "every_seconds": 30 },
        "retraining": { "enabled": true, "on_labels": null, "schedule": "* * * * *", "cool_down_days": 0 },
    });
    let house = House::open(folder.path(), clock, settings).await;
    house.register_watched("m").await;
    house.traffic("m", hours(MONDAY, MONDAY + 12 * HOUR), 1.0).await;
    let launcher = Arc::new(PanicsOnce::default());
    let mut jobs = house.jobs_with(Arc::clone(&launcher) as Arc<dyn Launcher>);
    jobs.round().await;
    // The schedule counts from the first look on.
    clock.pass(HOUR);
    jobs.round().await;
    let failed = house.job("retraining", Some("m")).await;
    assert_eq!(failed["error"], "the job panicked: no such trainer", "{failed}");
    assert_eq!((&failed["failures"], launcher.0.load(Ordering::SeqCst)), (&json!(1), 1));
    assert_eq!(house.get("/v1/retrainings?name=m").await["running"], false);

    clock.pass(29_000);
    jobs.round().await;
    assert_eq!(launcher.0.load(Ordering::SeqCst), 1, "not before its pause is over");
    clock.pass(1_000);
    jobs.round().await;
    assert_eq!(launcher.0.load(Ordering::SeqCst), 2);
    let again = house.job("retraining", Some("m")).await;
    assert_eq!((&again["failures"], &again["succeeded_at"]), (&json!(1), &json!(clock.now())), "{again}");
    assert!(again["failed_at"].as_i64() < again["succeeded_at"].as_i64());
}
