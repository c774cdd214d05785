//! Alerts reach every receiver: through restarts, absences and repetitions.

use crate::house::{DAY, HOUR, House, Inbox, MONDAY, clock, hours};
use serde_json::{Value, json};

/// Quiet until noon of Monday, then amounts in cents for six hours; the clock is at 18:00.
async fn cents(house: &House, jobs: &mut serin_control::Jobs, model: &str) {
    house.register_watched(model).await;
    house.traffic(model, hours(MONDAY - DAY, MONDAY + 12 * HOUR), 1.0).await;
    jobs.round().await;
    house.traffic(model, hours(MONDAY + 12 * HOUR, MONDAY + 18 * HOUR), 100.0).await;
    house.clock.set(MONDAY + 18 * HOUR);
    jobs.round().await;
}

// B7: a receiver that is away when an alert begins, a restart meanwhile.
#[tokio::test]
async fn a_receiver_that_is_away_hears_of_it_after_its_return_and_once() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock!());
    let (mut away, refusing, there) = (Inbox::away().await, Inbox::open().await, Inbox::open().await);
    refusing.answer(503);
    let settings = json!({
        "monitoring": { "min_decisions": 500 },
        "alerts": { "to": [
            { "kind": "webhook", "url": away.url() },
            { "kind": "webhook", "url": refusing.url() },
            { "kind": "webhook", "url": there.url() },
        ] },
    });
    let house = House::open(folder.path(), clock, settings.clone()).await;
    cents(&house, &mut house.jobs(), "m").await;
    let on = house.alerts("m").await;
    assert!(
        on.iter().any(|(rule, ..)| rule == "drift") && on.iter().any(|(rule, ..)| rule == "drifted-share"),
        "{on:?}"
    );
    assert_eq!(there.news().len(), on.len(), "{:?}", there.news());
    assert!(away.news().is_empty() && refusing.news().is_empty());
    let job = house.job("notifications", None).await;
    let error = job["error"].as_str().unwrap();
    assert!(error.contains("were not taken") && !error.contains("CHATSECRET"), "{error}");
    drop(house);

    // Minutes later, in another process.
    let house = House::open(folder.path(), clock, settings).await;
    let mut jobs = house.jobs();
    clock.pass(3 * 60_000);
    jobs.round().await;
    assert!(away.news().is_empty());
    away.come_back().await;
    refusing.answer(200);
    for _ in 0..3 {
        clock.pass(2 * 60_000);
        jobs.round().await;
    }
    let mut heard = there.news();
    heard.sort();
    for inbox in [&away, &refusing, &there] {
        let mut news = inbox.news();
        news.sort();
        assert_eq!(news, heard, "each exactly once");
    }
    assert_eq!(heard.len(), on.len());
}

#[tokio::test]
async fn the_end_of_an_alert_waits_for_its_beginning_and_what_nobody_takes_is_given_up_after_a_day() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock!());
    let inbox = Inbox::open().await;
    inbox.answer(500);
    let settings = json!({
        "monitoring": { "min_decisions": 100, "window_hours": 2 },
        "alerts": { "begin": 1, "end": 1, "mute": ["drifted-share"], "to": [{ "kind": "webhook", "url": inbox.url() }] },
    });
    let house = House::open(folder.path(), clock, settings).await;
    let mut jobs = house.jobs();
    cents(&house, &mut jobs, "m").await;
    house.traffic("m", hours(MONDAY + 18 * HOUR, MONDAY + 24 * HOUR), 1.0).await;
    clock.set(MONDAY + 24 * HOUR);
    jobs.round().await;
    let alerts = house.alerts("m").await;
    assert!(alerts.iter().all(|(.., resolved)| resolved.is_some()), "{alerts:?}");
    inbox.answer(200);
    for _ in 0..4 {
        clock.pass(3 * 60_000);
        jobs.round().await;
    }
    let states: Vec<String> =
        inbox.news().into_iter().filter(|(_, subject, _)| subject == "amount").map(|one| one.2).collect();
    assert_eq!(states, ["firing", "resolved"]);
    assert!(inbox.news().iter().all(|(rule, ..)| rule != "drifted-share"), "muted: {:?}", inbox.news());

    // Again cents, and nobody there for more than a day.
    inbox.answer(500);
    let heard = inbox.news().len();
    house.traffic("m", hours(MONDAY + 24 * HOUR, MONDAY + 54 * HOUR), 100.0).await;
    clock.set(MONDAY + 28 * HOUR);
    jobs.round().await;
    clock.set(MONDAY + 28 * HOUR + DAY + 1);
    jobs.round().await;
    inbox.answer(200);
    clock.pass(10 * 60_000);
    jobs.round().await;
    assert_eq!(inbox.news().len(), heard, "given up");
}

// R20, B7: Alertmanager takes what it is not told again for over.
#[tokio::test]
async fn alertmanager_is_told_again_every_minute_until_it_is_over() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock!());
    let inbox = Inbox::open().await;
    let settings = json!({
        "monitoring": { "min_decisions": 100, "window_hours": 2 },
        "alerts": { "begin": 1, "end": 1, "to": [{ "kind": "alertmanager", "url": inbox.root() }] },
    });
    let house = House::open(folder.path(), clock, settings).await;
    let mut jobs = house.jobs();
    cents(&house, &mut jobs, "m").await;
    let of_amount = |since: usize| -> Vec<Value> {
        let all = inbox.taken().into_iter().skip(since);
        let alerts = all.flat_map(|body| body.as_array().unwrap().clone());
        alerts.filter(|alert| alert["labels"]["subject"] == "amount" && alert["labels"]["rule"] == "drift").collect()
    };
    let ends = |alert: &Value| alert["endsAt"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
    for _ in 0..5 {
        let before = inbox.taken().len();
        clock.pass(60_000);
        jobs.round().await;
        let told = of_amount(before);
        assert_eq!(told.len(), 1, "once a minute");
        assert_eq!(ends(&told[0]), clock.now() + 300_000);
        clock.pass(5_000);
        let before = inbox.taken().len();
        jobs.round().await;
        assert!(of_amount(before).is_empty(), "not more often");
    }
    house.traffic("m", hours(MONDAY + 18 * HOUR, MONDAY + 24 * HOUR), 1.0).await;
    let before = inbox.taken().len();
    clock.set(MONDAY + 24 * HOUR + 1000);
    jobs.round().await;
    clock.pass(6_000);
    jobs.round().await;
    let told = of_amount(before);
    assert!(ends(told.last().unwrap()) <= clock.now(), "over: {told:?}");
    let before = inbox.taken().len();
    for _ in 0..3 {
        clock.pass(60_000);
        jobs.round().await;
    }
    assert!(of_amount(before).is_empty(), "and not told again");
}

// R17: looks of one hour by two servers, and repeated ones, count once.
#[tokio::test]
async fn two_servers_on_one_database_look_once_and_tell_once() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock!());
    let inbox = Inbox::open().await;
    let settings = json!({
        "monitoring": { "min_decisions": 100, "window_hours": 1 },
        "alerts": { "begin": 3, "to": [{ "kind": "webhook", "url": inbox.url() }] },
    });
    let house = House::open(folder.path(), clock, settings.clone()).await;
    let other = House::open(folder.path(), clock, settings).await;
    let (mut jobs, mut others) = (house.jobs(), other.jobs());
    house.register_watched("m").await;
    house.traffic("m", hours(MONDAY, MONDAY + 12 * HOUR), 1.0).await;
    jobs.round().await;
    others.round().await;
    house.traffic("m", hours(MONDAY + 12 * HOUR, MONDAY + 16 * HOUR), 100.0).await;
    for hour in 13..=16 {
        clock.set(MONDAY + hour * HOUR);
        for _ in 0..2 {
            tokio::join!(jobs.round(), others.round());
            clock.pass(31_000);
        }
    }
    let drift: Vec<_> = house.alerts("m").await.into_iter().filter(|(rule, ..)| rule == "drift").collect();
    let began: Vec<(&str, i64)> = drift.iter().map(|(_, subject, fired, _)| (subject.as_str(), *fired)).collect();
    assert_eq!(began, [("amount", MONDAY + 15 * HOUR)], "the third hour in a row");
    assert_eq!(inbox.news().iter().filter(|(rule, ..)| rule == "drift").count(), 1, "{:?}", inbox.news());
}
