//! What retention removes, and what it keeps.
#![expect(clippy::unwrap_used, reason = "test code")]

mod written;

use serin_decisions::{DecisionFiles, DecisionLog, LogLimits, RetentionClock};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use written::{START, Sample, decision, files, model, read};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// A folder with one sealed segment for each of the last `days` days before `START`.
fn log_of(days: i64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let bytes = Sample::of(2).bytes;
    for day in 1..=days {
        std::fs::write(folder.path().join(format!("{:013}-00000001-0.seg", START - day * DAY)), &bytes).unwrap();
    }
    folder
}

fn kept(folder: &Path) -> usize {
    files(folder, "seg").len()
}

fn limits(days: i64) -> LogLimits {
    LogLimits { keep_ms: Some(days * DAY), ..LogLimits::default() }
}

/// A log with a clock of its own, in a static that each caller names.
macro_rules! log_with_clock {
    ($folder:expr, $limits:expr, $clock:ident, $at:expr) => {{
        static $clock: AtomicI64 = AtomicI64::new(0);
        $clock.store($at, Ordering::Relaxed);
        let (log, _) = DecisionLog::open($folder, $limits, || $clock.load(Ordering::Relaxed)).unwrap();
        (log, &$clock)
    }};
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

#[test]
fn segments_go_when_their_last_decision_is_too_old() {
    let folder = log_of(10);
    let (log, _) = log_with_clock!(folder.path(), limits(5), CLOCK, START);
    // The log ended a day ago, so that long the clock was not watched.
    log.tend(hours(12)).unwrap();
    assert_eq!(kept(folder.path()), 5);
}

// R23
#[test]
fn a_clock_that_jumps_ahead_removes_nothing() {
    let folder = log_of(10);
    let (log, clock) = log_with_clock!(folder.path(), limits(20), CLOCK, START);
    log.tend(hours(12)).unwrap();
    for jump in [1, 30, 365, 40_000] {
        clock.store(START + jump * DAY, Ordering::Relaxed);
        log.tend(Duration::from_secs(1)).unwrap();
        clock.store(START, Ordering::Relaxed);
        log.tend(Duration::from_secs(1)).unwrap();
    }
    assert_eq!(kept(folder.path()), 10);
    // If it stays there, each day of it makes at most two days old.
    clock.store(START + 365 * DAY, Ordering::Relaxed);
    for _ in 0..6 * 24 {
        log.tend(hours(1)).unwrap();
    }
    let now = kept(folder.path());
    assert!((7..=9).contains(&now), "{now}");
}

// R23
#[test]
fn a_process_that_starts_with_a_wrong_clock_removes_nothing_however_often_it_starts() {
    let folder = log_of(10);
    let wrong = START + 400 * DAY;
    for _ in 0..5 {
        let (log, _) = log_with_clock!(folder.path(), limits(20), CLOCK, wrong);
        log.append(&model("1"), &[decision("new", "E")]).unwrap();
        log.tend(Duration::from_secs(1)).unwrap();
        log.flush().unwrap();
        log.tend(Duration::from_secs(1)).unwrap();
    }
    assert_eq!(kept(folder.path()), 10 + 5);
}

// R23
#[test]
fn decisions_made_while_the_clock_stood_in_the_past_are_not_old_when_it_returns() {
    let folder = tempfile::tempdir().unwrap();
    let (log, clock) = log_with_clock!(folder.path(), limits(20), CLOCK, 5 * DAY);
    log.append(&model("1"), &[decision("new", "E")]).unwrap();
    log.flush().unwrap();
    clock.store(START, Ordering::Relaxed);
    for _ in 0..19 {
        log.tend(hours(24)).unwrap();
    }
    assert_eq!(read(folder.path()).0, ["new"]);
}

#[test]
fn the_retention_clock_follows_the_wall_clock_and_is_never_ahead_of_it() {
    let minute = Duration::from_secs(60);
    let mut clock = RetentionClock::starting(START, Some(START - HOUR));
    // An hour's stop is made good in an hour.
    let times: Vec<i64> = (1..=60).map(|i| clock.advance(START + i * 60_000, minute) - START).collect();
    assert_eq!((times[0], times[29], times[59]), (-HOUR + 120_000, 0, HOUR));
    assert_eq!(clock.advance(START + 2 * HOUR, minute), START + HOUR + 120_000);
    assert_eq!(clock.advance(0, minute), 0, "set back");
    assert_eq!(clock.advance(START + 2 * HOUR, minute), START + HOUR + 240_000, "and returned");
    assert_eq!(RetentionClock::starting(START, Some(START + DAY)), RetentionClock::starting(START, None));
}

// R16
#[test]
fn what_an_export_does_not_have_yet_is_not_removed() {
    let folder = log_of(10);
    let (log, _) = log_with_clock!(folder.path(), limits(5), CLOCK, START);
    let files = DecisionFiles::of(folder.path());
    let exported = |days: &[usize]| {
        let segments = files.segments().unwrap();
        let names: Vec<_> = days.iter().map(|day| (segments[*day].name(), segments[*day].fingerprint())).collect();
        files.set_exported("parquet", names.iter().map(|(name, print)| (name.as_str(), print.as_str()))).unwrap();
    };
    exported(&[]);
    log.tend(hours(12)).unwrap();
    assert_eq!(kept(folder.path()), 10, "nothing is exported");
    exported(&[0, 1]);
    log.tend(hours(1)).unwrap();
    assert_eq!(kept(folder.path()), 8);
    // An erasure that rewrites an exported segment makes it wait again.
    exported(&[0]);
    assert_eq!(files.erase("E1").unwrap().decisions, 8);
    log.tend(hours(1)).unwrap();
    assert_eq!(kept(folder.path()), 8);
    files.set_exported("../x", []).unwrap_err();
    files.forget_exporter("parquet").unwrap();
    log.tend(hours(1)).unwrap();
    assert_eq!(kept(folder.path()), 5);
}

#[test]
fn the_oldest_segments_go_when_there_is_too_much() {
    let folder = log_of(10);
    let size = Sample::of(2).bytes.len() as u64;
    let limits = LogLimits { keep_bytes: Some(4 * size), ..LogLimits::default() };
    let (log, _): (Arc<DecisionLog>, _) = log_with_clock!(folder.path(), limits, CLOCK, START);
    log.tend(Duration::ZERO).unwrap();
    let left = files(folder.path(), "seg");
    assert_eq!(left.len(), 4);
    assert!(left[0].to_string_lossy().contains(&format!("{}", START - 4 * DAY)));
}
