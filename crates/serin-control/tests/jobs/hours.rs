//! Which hours are looked at: none is lost by a restart or by an event of the future, and closed hours are no outage.

use crate::house::{DAY, HOUR, House, MONDAY, clock, hours};
use serde_json::json;

/// 2026-11-27T15:46:57 in microseconds, taken for milliseconds: the year 58,876.
const MICROSECONDS: i64 = 1_795_794_417_727_000;

// R9, B2: one payment with a wrong time.
#[tokio::test]
async fn an_event_of_the_far_future_blinds_no_monitor_and_removes_nothing() {
    for clock_of_monitor in ["wall", "events"] {
        let (folder, clock) = (tempfile::tempdir().unwrap(), clock!());
        clock.set(MONDAY + 12 * HOUR);
        let settings = json!({ "monitoring": { "min_decisions": 500, "clock": clock_of_monitor, "keep_days": 2 } });
        let house = House::open(folder.path(), clock, settings).await;
        house.register_watched("m").await;
        house.traffic("m", hours(MONDAY - DAY, MONDAY + 12 * HOUR), 1.0).await;
        let mut jobs = house.jobs();
        jobs.round().await;
        for far in [MICROSECONDS / HOUR * HOUR, i64::MAX / HOUR * HOUR] {
            house.traffic("m", [far], 1.0).await;
        }
        house.traffic("m", hours(MONDAY + 12 * HOUR, MONDAY + 20 * HOUR), 100.0).await;
        clock.set(MONDAY + 19 * HOUR);
        jobs.round().await;
        let alerts = house.alerts("m").await;
        assert!(alerts.iter().any(|(rule, ..)| rule == "drift"), "{clock_of_monitor}: {alerts:?}");
        let shown = house.get("/v1/drift?name=m").await;
        assert_eq!(shown["until"], json!(MONDAY + 20 * HOUR), "{shown}");
        assert!(shown["decisions"].as_u64().unwrap() >= 2400, "{shown}");
        let kept = house.store.panes("m", 0, i64::MAX).await.unwrap();
        assert_eq!(kept.len(), 24 + 20 + 2, "the far ones wait, and nothing goes for them");

        // Another process goes on where this one ended.
        drop(jobs);
        let mut jobs = house.jobs();
        clock.set(MONDAY + 20 * HOUR);
        jobs.round().await;
        let looked = house.get("/v1/retrainings?name=m").await["looked_until"].as_i64().unwrap();
        assert!((MONDAY + 19 * HOUR..=MONDAY + 20 * HOUR).contains(&looked), "{looked}");
    }
}

#[tokio::test]
async fn an_hour_ahead_of_the_clock_waits_until_its_time_has_come() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock!());
    let house = House::open(folder.path(), clock, json!({ "monitoring": { "min_decisions": 100 } })).await;
    house.register_watched("m").await;
    house.traffic("m", hours(MONDAY, MONDAY + 12 * HOUR), 1.0).await;
    house.traffic("m", [MONDAY + 15 * HOUR], 1.0).await;
    assert_eq!(house.get("/v1/drift?name=m").await["until"], json!(MONDAY + 12 * HOUR));
    clock.pass(3 * HOUR);
    assert_eq!(house.get("/v1/drift?name=m").await["until"], json!(MONDAY + 16 * HOUR));
}

// R19: the process is away over three midnights.
#[tokio::test]
async fn a_restart_skips_no_hour_and_no_day() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock!());
    let settings = json!({ "monitoring": { "min_decisions": 500 } });
    let house = House::open(folder.path(), clock, settings).await;
    house.register_watched("m").await;
    house.traffic("m", hours(MONDAY - DAY, MONDAY + 12 * HOUR), 1.0).await;
    house.jobs().round().await;
    // One look that finds something, then a restart: the next one is the second in a row.
    house.traffic("m", hours(MONDAY + 12 * HOUR, MONDAY + 36 * HOUR), 100.0).await;
    house.traffic("m", hours(MONDAY + 36 * HOUR, MONDAY + 84 * HOUR), 1.0).await;
    for until in [13, 14, 15, 16, 84] {
        clock.set(MONDAY + until * HOUR);
        house.jobs().round().await;
    }
    let alerts = house.alerts("m").await;
    let drift: Vec<_> = alerts.iter().filter(|(rule, subject, ..)| rule == "drift" && subject == "amount").collect();
    assert_eq!(drift.len(), 1, "{alerts:?}");
    let (began, ended) = (drift[0].2 - MONDAY, drift[0].3.unwrap() - MONDAY);
    assert!((14 * HOUR..18 * HOUR).contains(&began), "while it lasted: {}", began / HOUR);
    assert!((37 * HOUR..72 * HOUR).contains(&ended), "while nobody looked: {}", ended / HOUR);
    for job in ["guard", "performance"] {
        let progress = house.store.progress(job, "m").await.unwrap().unwrap();
        assert_eq!(progress.until_ms, MONDAY + 3 * DAY, "{job}");
    }
    assert_eq!(house.get("/v1/retrainings?name=m").await["looked_until"], json!(MONDAY + 84 * HOUR));
}

#[tokio::test]
async fn an_outage_is_told_and_traffic_that_comes_back_ends_it() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock!());
    let settings = json!({ "monitoring": { "min_decisions": 500 }, "alerts": { "end": 1 } });
    let house = House::open(folder.path(), clock, settings).await;
    house.register_watched("m").await;
    house.traffic("m", hours(MONDAY - DAY, MONDAY + 12 * HOUR), 1.0).await;
    let mut jobs = house.jobs();
    let services = async || {
        let alerts = house.alerts("m").await.into_iter().filter(|(rule, ..)| rule == "service");
        alerts.map(|(_, _, fired, ended)| (fired - MONDAY, ended.map(|at| at - MONDAY))).collect::<Vec<_>>()
    };
    for hour in 12..=40 {
        clock.set(MONDAY + hour * HOUR);
        jobs.round().await;
    }
    // Hours without traffic since 12:00: two of them are an outage, twice in a row an alert.
    assert_eq!(services().await, [(15 * HOUR, None)]);
    house.traffic("m", [MONDAY + 40 * HOUR], 1.0).await;
    clock.set(MONDAY + 41 * HOUR);
    jobs.round().await;
    assert_eq!(services().await, [(15 * HOUR, Some(41 * HOUR))]);
}
