//! Reading by model and time, and counting, with indexes.
#![expect(clippy::unwrap_used, reason = "test code")]

mod written;

use serin_decisions::{DamageKind, DecisionFiles, DecisionIds, DecisionLog, LogLimits, NewDecision};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use written::{NAME, Sample, files, model};

const START: i64 = 1_764_000_000_000;
const HOUR: i64 = 3_600_000;
const NAMES: [&str; 2] = ["1", "22"];

/// Makes a log of 40,000 decisions over ten hours: each tenth by version 22 from the sixth hour on, each hundredth an alert.
fn write(folder: &Path, is_flushed: bool) {
    static NOW: AtomicI64 = AtomicI64::new(START);
    let limits = LogLimits { segment_bytes: 1 << 20, ..LogLimits::default() };
    let (log, _) = DecisionLog::open(folder, limits, || NOW.load(Ordering::Relaxed)).unwrap();
    let (models, ids) = (NAMES.map(model), DecisionIds::default());
    for i in 0..40_000_i64 {
        let at_ms = START + i * 10 * HOUR / 40_000;
        NOW.store(at_ms, Ordering::Relaxed);
        let name = i.to_string();
        let new = NewDecision { id: ids.next(at_ms), alert: i % 100 == 0, ..written::decision(&name, "E") };
        log.append(&models[usize::from(i >= 24_000 && i % 10 == 0)], &[new]).unwrap();
    }
    if is_flushed {
        log.flush().unwrap();
    } else {
        std::mem::forget(log);
    }
}

/// Transaction ids by `read_of` and by a scan of all, which must be the same.
fn read_of(folder: &Path, versions: &[&str], from_ms: i64, until_ms: i64) -> Vec<String> {
    let files = DecisionFiles::of(folder);
    let (mut found, mut scanned) = (Vec::new(), Vec::new());
    let report = files.read_of("fraud ü", versions, from_ms, until_ms, |decision| {
        found.push(decision.transaction_id.to_owned());
        true
    });
    assert!(report.unwrap().is_clean());
    let report = files.read(from_ms, until_ms, |decision| {
        if versions.is_empty() || versions.contains(&decision.model.version.as_str()) {
            scanned.push(decision.transaction_id.to_owned());
        }
        true
    });
    assert!(report.unwrap().is_clean());
    assert_eq!(found, scanned);
    found
}

#[test]
fn a_read_by_version_and_time_finds_what_a_scan_finds() {
    for is_flushed in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), is_flushed);
        assert_eq!(read_of(folder.path(), &[], 0, i64::MAX).len(), 40_000);
        assert_eq!(read_of(folder.path(), &["1"], START, START + HOUR).len(), 4000);
        assert_eq!(read_of(folder.path(), &["22"], START, START + 6 * HOUR).len(), 0);
        assert_eq!(read_of(folder.path(), &["22", "none"], START + 6 * HOUR + 1, START + 7 * HOUR).len(), 399);
        assert_eq!(read_of(folder.path(), &["none"], 0, i64::MAX).len(), 0);
    }
}

#[test]
fn counts_by_model_and_hour_are_those_of_a_scan() {
    for is_flushed in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), is_flushed);
        let (counts, report) = DecisionFiles::of(folder.path()).counts(0, i64::MAX).unwrap();
        assert!(report.is_clean());
        let of = |version: &str| {
            let its = counts.iter().filter(|count| count.model.version == version);
            its.fold((0, 0, 0), |sum, count| (sum.0 + 1, sum.1 + count.decisions, sum.2 + count.alerts))
        };
        // 16:00 on a full hour is the tenth hour's end, so ten hours from the start cross eleven on the clock.
        let hours = if START % HOUR == 0 { 10 } else { 11 };
        assert_eq!(of("1"), (hours, 40_000 - 1600, 240));
        assert_eq!((of("22").1, of("22").2), (1600, 160));
        let (some, _) = DecisionFiles::of(folder.path()).counts(START, START + 1).unwrap();
        assert!(some.iter().all(|count| count.from_ms == START.div_euclid(HOUR) * HOUR));
    }
}

#[test]
fn an_index_that_is_missing_damaged_or_of_another_file_is_made_again() {
    let sample = Sample::of(30);
    let folder = Sample::folder(&sample.bytes, "seg");
    let log = DecisionFiles::of(folder.path());
    let index = folder.path().join(format!("{NAME}.idx"));
    let counts = || log.counts(0, i64::MAX).unwrap().0.iter().map(|count| count.decisions).sum::<u64>();
    assert_eq!((counts(), index.exists()), (30, true));
    let whole = std::fs::read(&index).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&index, &bytes[..if at % 2 == 0 { at } else { bytes.len() }]).unwrap();
        assert_eq!(counts(), 30, "byte {at}");
        assert_eq!(std::fs::read(&index).unwrap(), whole, "byte {at}");
    }
    assert_eq!(log.erase("E1").unwrap().decisions, 6);
    assert_eq!(counts(), 24);
    std::fs::write(&index, &whole).unwrap();
    assert_eq!(counts(), 24, "of the segment before the erasure");
    assert!(files(folder.path(), "partial").is_empty());
}

// R16
#[test]
fn damage_is_reported_with_an_index_too_whether_it_came_before_or_after() {
    let sample = Sample::of(30);
    for is_after in [false, true] {
        let mut bytes = sample.bytes.clone();
        bytes[sample.place("t20").start + 40] ^= 1;
        let folder = Sample::folder(if is_after { &sample.bytes } else { &bytes }, "seg");
        let log = DecisionFiles::of(folder.path());
        drop(log.counts(0, i64::MAX).unwrap());
        std::fs::write(folder.path().join(format!("{NAME}.seg")), &bytes).unwrap();
        let mut found = Vec::new();
        let report = log.read_of("fraud ü", &["1"], 0, i64::MAX, |decision| {
            found.push(decision.transaction_id.to_owned());
            true
        });
        let mut left = sample.left_by(&sample.place("t20"));
        left.retain(|name| name[1..].parse::<u32>().unwrap() % 2 == 0);
        assert_eq!(found, left);
        let kinds: Vec<_> = report.unwrap().damages.iter().map(|damage| damage.kind).collect();
        assert_eq!(kinds, [DamageKind::NoRecord]);
    }
}

#[test]
fn indexes_go_with_their_segments() {
    let sample = Sample::of(4);
    let folder = Sample::folder(&sample.bytes, "seg");
    drop(DecisionFiles::of(folder.path()).counts(0, i64::MAX).unwrap());
    std::fs::write(folder.path().join("1763999999999-00000001-0.idx"), "of a segment that is gone").unwrap();
    let limits = LogLimits { keep_bytes: Some(0), ..LogLimits::default() };
    let (log, _) = DecisionLog::open(folder.path(), limits, written::clock).unwrap();
    assert_eq!(files(folder.path(), "idx").len(), 1);
    log.tend(std::time::Duration::ZERO).unwrap();
    assert_eq!((files(folder.path(), "seg").len(), files(folder.path(), "idx").len()), (0, 0));
}
