//! Decisions in outline, from the columns beside sealed segments.
#![expect(clippy::unwrap_used, reason = "test code")]

mod written;

use serin_decisions::{
    Assigned, DecisionFiles, DecisionIds, DecisionLog, DecisionOutline, Fallback, LogLimits, LoggedDecision,
    NewDecision, NewShadow, ReadReport, id_head, text_key,
};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use written::{NAME, Sample, files, model};

const START: i64 = 1_764_000_000_000;
const HOUR: i64 = 3_600_000;

/// Makes 30,000 decisions over ten hours in three segments, the last one open unless it is flushed, with everything that a decision may have, and candidates' scores
/// between them.
fn write(folder: &Path, is_flushed: bool) {
    static NOW: AtomicI64 = AtomicI64::new(START);
    let limits = LogLimits { segment_age_ms: i64::MAX, ..LogLimits::default() };
    let (log, _) = DecisionLog::open(folder, limits, || NOW.load(Ordering::Relaxed)).unwrap();
    let (models, ids) = (["1", "22", "333"].map(model), DecisionIds::default());
    for i in 0..30_000_i64 {
        let at_ms = START + i * 10 * HOUR / 30_000;
        NOW.store(at_ms, Ordering::Relaxed);
        let (name, entity) = (if i % 9 == 0 { String::new() } else { format!("tx-{i}") }, format!("card ü {}", i % 50));
        let new = NewDecision {
            id: ids.next(at_ms),
            event_time_ms: (i % 4 == 0).then_some(at_ms - 10 * HOUR * (i % 3)),
            score: if i % 1000 == 7 { f32::NAN } else { i as f32 / 30_000.0 },
            alert: i % 10 == 0,
            propensity: (i % 25 == 0).then_some(0.125 + i as f32 / 60_000.0),
            fallback: (i % 7 == 0).then(|| Fallback::ALL[i as usize / 7 % 4]),
            assigned: (i % 3 == 0).then_some(Assigned { weight: 500, candidate: i % 6 == 0 }),
            ..written::decision(&name, &entity)
        };
        log.append(&models[usize::from(i >= 20_000 && i % 10 == 0)], &[new]).unwrap();
        if i == 10_000 || i == 20_000 {
            log.flush().unwrap();
        }
        if i % 5 == 0 {
            log.append_shadow(&models[2], &[NewShadow { id: new.id, score: 0.25, alert: true }]).unwrap();
        }
    }
    if is_flushed {
        log.flush().unwrap();
    } else {
        std::mem::forget(log);
    }
}

/// What an outline says of a decision; scores as bits, so that NaN is equal to itself.
type Said = (u64, String, i64, i64, [u64; 2], u32, [bool; 2], Option<u32>, Option<&'static str>, Option<bool>);

fn of_outline(found: &DecisionOutline<'_>) -> Said {
    (
        found.id_head,
        found.model.version.clone(),
        found.at_ms(),
        found.happened_at_ms,
        [found.transaction_key, found.entity_key],
        found.score.to_bits(),
        [found.alert, found.asked_for_alert()],
        found.propensity.map(f32::to_bits),
        found.fallback.map(Fallback::name),
        found.candidate,
    )
}

fn of_whole(found: &LoggedDecision<'_>) -> Said {
    (
        id_head(&found.id),
        found.model.version.clone(),
        found.at_ms(),
        found.happened_at_ms(),
        [text_key(found.transaction_id), text_key(found.entity)],
        found.score.to_bits(),
        [found.alert, found.asked_for_alert()],
        found.propensity.map(f32::to_bits),
        found.fallback.map(Fallback::name),
        found.assigned.map(|assigned| assigned.candidate),
    )
}

/// Outlines in the order of their ids, each checked against the whole decision that it reads.
fn outlines(folder: &Path, versions: &[&str], from_ms: i64, until_ms: i64) -> (Vec<Said>, ReadReport) {
    let files = DecisionFiles::of(folder);
    let each = |found: &mut Vec<Said>, outline: &DecisionOutline<'_>| {
        let said = of_outline(outline);
        if let Some(whole) = outline.whole(of_whole) {
            assert_eq!(said, whole);
        }
        found.push(said);
    };
    let (parts, report) = files.outlines("fraud ü", versions, (from_ms, until_ms), Vec::new, each).unwrap();
    let mut found = parts.concat();
    found.sort_unstable();
    (found, report)
}

/// The same decisions by a scan of all records.
fn scanned(folder: &Path, versions: &[&str], from_ms: i64, until_ms: i64) -> Vec<Said> {
    let mut found = Vec::new();
    let report = DecisionFiles::of(folder).read(from_ms, until_ms, |decision| {
        if versions.is_empty() || versions.contains(&decision.model.version.as_str()) {
            found.push(of_whole(decision));
        }
        true
    });
    drop(report.unwrap());
    found.sort_unstable();
    found
}

#[test]
fn outlines_say_what_the_decisions_say() {
    for is_flushed in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), is_flushed);
        let sealed = files(folder.path(), "seg").len();
        assert_eq!(sealed, if is_flushed { 3 } else { 2 });
        for (versions, from_ms, until_ms) in [
            (&[][..], 0, i64::MAX),
            (&["22"], 0, i64::MAX),
            (&["1", "none"], START + HOUR, START + 2 * HOUR),
            (&["none"], 0, i64::MAX),
        ] {
            let (found, report) = outlines(folder.path(), versions, from_ms, until_ms);
            assert!(report.is_clean());
            assert_eq!(found, scanned(folder.path(), versions, from_ms, until_ms), "{versions:?}");
        }
        assert_eq!(files(folder.path(), "col").len(), sealed);
    }
}

#[test]
fn columns_that_are_missing_damaged_or_of_another_file_are_made_again() {
    let sample = Sample::of(30);
    let folder = Sample::folder(&sample.bytes, "seg");
    let columns = folder.path().join(format!("{NAME}.col"));
    let expected = scanned(folder.path(), &[], 0, i64::MAX);
    let found = || outlines(folder.path(), &[], 0, i64::MAX);
    assert_eq!((found().0, columns.exists()), (expected.clone(), true));
    let whole = std::fs::read(&columns).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&columns, &bytes[..if at % 2 == 0 { at } else { bytes.len() }]).unwrap();
        let (found, report) = found();
        assert!(report.is_clean());
        assert_eq!(found, expected, "byte {at}");
        assert_eq!(std::fs::read(&columns).unwrap(), whole, "byte {at}");
    }
    assert_eq!(DecisionFiles::of(folder.path()).erase("E1").unwrap().decisions, 6);
    assert!(!columns.exists(), "the entity's key goes with it");
    assert_eq!(found().0.len(), 24);
    std::fs::write(&columns, &whole).unwrap();
    assert_eq!(found().0, scanned(folder.path(), &[], 0, i64::MAX), "of the segment before the erasure");
    assert!(files(folder.path(), "partial").is_empty());
}

#[test]
fn a_folder_that_cannot_be_written_is_read_all_the_same() {
    let sample = Sample::of(30);
    let folder = Sample::folder(&sample.bytes, "seg");
    // A folder in the place of each file keeps it from being written, for root, too.
    for ending in ["col", "idx"] {
        std::fs::create_dir_all(folder.path().join(format!("{NAME}.{ending}/taken"))).unwrap();
    }
    let (found, report) = outlines(folder.path(), &[], 0, i64::MAX);
    assert!(report.is_clean());
    assert_eq!(found, scanned(folder.path(), &[], 0, i64::MAX));
}

// R16
#[test]
fn damage_is_reported_where_it_was_known_and_where_a_decision_is_read_whole() {
    let sample = Sample::of(30);
    for is_after in [false, true] {
        let mut bytes = sample.bytes.clone();
        bytes[sample.place("t20").start + 40] ^= 1;
        let folder = Sample::folder(if is_after { &sample.bytes } else { &bytes }, "seg");
        drop(outlines(folder.path(), &[], 0, i64::MAX));
        std::fs::write(folder.path().join(format!("{NAME}.seg")), &bytes).unwrap();
        let (found, report) = outlines(folder.path(), &[], 0, i64::MAX);
        assert_eq!(found.len(), if is_after { 30 } else { 29 });
        let at: Vec<u64> = report.damages.iter().map(|damage| damage.at).collect();
        assert_eq!(at, [sample.place("t20").start as u64]);
    }
}

#[test]
fn columns_go_with_their_segments_and_count_in_the_log_s_size() {
    let sample = Sample::of(4);
    let folder = Sample::folder(&sample.bytes, "seg");
    drop(outlines(folder.path(), &[], 0, i64::MAX));
    let size = |ending: &str| std::fs::metadata(folder.path().join(format!("{NAME}.{ending}"))).unwrap().len();
    let all = size("seg") + size("col") + size("idx");
    std::fs::write(folder.path().join("1763999999999-00000001-0.col"), "of a segment that is gone").unwrap();
    for (keep, left) in [(all, 1), (all - 1, 0)] {
        let limits = LogLimits { keep_bytes: Some(keep), ..LogLimits::default() };
        let (log, _) = DecisionLog::open(folder.path(), limits, written::clock).unwrap();
        log.tend(std::time::Duration::ZERO).unwrap();
        assert_eq!((files(folder.path(), "seg").len(), files(folder.path(), "col").len()), (left, left), "{keep}");
    }
}

#[test]
fn keys_of_texts_stay_the_same() {
    assert_eq!((text_key(""), text_key("tx-1"), text_key("card ü")), (0, 0xf262406561fb0d97, 0x957a6f850b7c70a4));
}
