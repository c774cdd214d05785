//! The decision log through its files.
#![expect(clippy::unwrap_used, reason = "test code")]

use serin_decisions::{
    Assigned, DecidingModel, DecisionFiles, DecisionIds, DecisionLog, Fallback, LogLimits, NewDecision, ReadReport,
    Recovered,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

const START: i64 = 1_764_000_000_000;
static IDS: LazyLock<DecisionIds> = LazyLock::new(DecisionIds::default);

/// Shows the start for ever: a test that moves time has a clock of its own.
fn clock() -> i64 {
    START
}

fn model(version: &str) -> Arc<DecidingModel> {
    Arc::new(DecidingModel {
        name: "fraud ü".into(),
        version: version.into(),
        sha256: [7; 32],
        threshold: 0.25,
        width: 3,
    })
}

fn append(log: &DecisionLog, model: &Arc<DecidingModel>, names: &[&str]) -> Vec<[u8; 16]> {
    let features = [f32::NAN, -0.0, f32::from_bits(1)];
    let ids: Vec<_> = names.iter().map(|_| IDS.next(clock())).collect();
    let decisions: Vec<_> = names
        .iter()
        .zip(&ids)
        .map(|(name, id)| NewDecision {
            id: *id,
            transaction_id: name,
            entity: "card é",
            event_time_ms: (*name != "no time").then_some(-5),
            features: &features,
            score: 0.75,
            alert: *name != "no time",
            propensity: Some(0.05),
            fallback: None,
            assigned: Some(Assigned { weight: 2500, candidate: true }),
            latency_ns: 12,
        })
        .collect();
    log.append(model, &decisions).unwrap();
    ids
}

fn names(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let read = DecisionFiles::of(folder).read(0, i64::MAX, |decision| {
        found.push(decision.transaction_id.to_owned());
        true
    });
    assert!(read.unwrap().is_clean());
    found
}

fn files(folder: &Path, kind: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == kind));
    found.sort();
    found
}

fn open(folder: &Path, limits: LogLimits) -> (Arc<DecisionLog>, Recovered) {
    DecisionLog::open(folder, limits, clock).unwrap()
}

#[test]
fn a_decision_is_read_back_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path(), LogLimits::default());
    let ids = append(&log, &model("7"), &["a", "no time", ""]);
    assert!(ids.is_sorted() && ids[0] != ids[1]);
    let files = DecisionFiles::of(folder.path());
    let seen = files.find(&ids[0], |decision| {
        let bits: Vec<u32> = decision.features().map(f32::to_bits).collect();
        assert_eq!(bits, [f32::NAN.to_bits(), (-0.0_f32).to_bits(), 1]);
        assert_eq!((decision.transaction_id, decision.entity, decision.event_time_ms), ("a", "card é", Some(-5)));
        assert_eq!((decision.score.to_bits(), decision.alert, decision.latency_ns), (0.75_f32.to_bits(), true, 12));
        assert_eq!((decision.propensity, decision.asked_for_alert()), (Some(0.05), true));
        assert_eq!((decision.model.name.as_str(), decision.model.version.as_str()), ("fraud ü", "7"));
        decision.at_ms()
    });
    assert_eq!(seen.unwrap().0, Some(clock()), "while the segment is open");
    let second = files.find(&ids[1], |decision| (decision.event_time_ms, decision.alert, decision.asked_for_alert()));
    assert_eq!(second.unwrap().0, Some((None, false, true)), "let through");
    assert_eq!(files.find(&[0; 16], |_| ()).unwrap(), (None, ReadReport::default()));
    drop(log);
    assert_eq!(names(folder.path()), ["a", "no time", ""], "and when it is sealed");
}

#[test]
fn a_torn_tail_is_cut_and_the_rest_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let whole = {
        let (log, _) = open(folder.path(), LogLimits::default());
        append(&log, &model("1"), &["one"]);
        append(&log, &model("2"), &["two"]);
        log.flush().unwrap();
        std::fs::read(&files(folder.path(), "seg")[0]).unwrap()
    };
    let begun = whole.windows(3).position(|bytes| bytes == b"two").unwrap();
    for cut in (0..whole.len()).rev() {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(state.path().join("0000000000001-00000001-0.open"), &whole[..cut]).unwrap();
        let (log, recovered) = open(state.path(), LogLimits::default());
        append(&log, &model("3"), &["three"]);
        let expected: &[&str] = if cut == whole.len() {
            &["one", "two", "three"]
        } else if recovered.segments == 1 {
            &["one", "three"]
        } else {
            &["three"]
        };
        assert_eq!(names(state.path()), expected, "cut at {cut} of {}", whole.len());
        assert!(cut > begun || recovered.torn_bytes <= cut as u64);
    }
    // R15: a flipped bit is not a cut. It costs the record it is in, and those of a model whose record it hits.
    for (at, left) in [(9, &["two"][..]), (40, &["two"]), (begun, &["one"]), (whole.len() - 1, &["one"])] {
        let state = tempfile::tempdir().unwrap();
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        std::fs::write(state.path().join("0000000000001-00000001-0.open"), &bytes).unwrap();
        let (_, recovered) = open(state.path(), LogLimits::default());
        assert_eq!((recovered.segments, recovered.torn_bytes), (1, 0), "byte {at}");
        let mut found = Vec::new();
        let read = DecisionFiles::of(state.path()).read(0, i64::MAX, |decision| {
            found.push(decision.transaction_id.to_owned());
            true
        });
        assert_eq!(found, left, "byte {at}");
        let damage = read.unwrap().damages[0].to_string();
        assert!(damage.contains("are no record") && damage.contains(".seg"), "{damage}");
    }
}

#[test]
fn what_a_live_process_writes_is_left_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = open(folder.path(), LogLimits::default());
    append(&first, &model("1"), &["a"]);
    let (second, recovered) = open(folder.path(), LogLimits::default());
    assert_eq!(recovered, Recovered::default());
    append(&second, &model("1"), &["b"]);
    append(&first, &model("1"), &["c"]);
    let mut found = names(folder.path());
    found.sort();
    assert_eq!(found, ["a", "b", "c"]);
}

#[test]
fn segments_end_and_go_by_size_and_age() {
    static NOW: AtomicI64 = AtomicI64::new(START);
    let folder = tempfile::tempdir().unwrap();
    let limits =
        LogLimits { segment_bytes: 2000, segment_age_ms: 1000, keep_bytes: Some(5000), ..LogLimits::default() };
    let (log, _) = DecisionLog::open(folder.path(), limits, || NOW.load(Ordering::Relaxed)).unwrap();
    let live = model("1");
    for _ in 0..100 {
        append(&log, &live, &["x"]);
    }
    log.flush().unwrap();
    log.tend(Duration::ZERO).unwrap();
    let sealed = files(folder.path(), "seg");
    let bytes: u64 = sealed.iter().map(|path| std::fs::metadata(path).unwrap().len()).sum();
    assert!(!sealed.is_empty() && bytes <= 5000, "the oldest segments go");
    assert!(names(folder.path()).len() < 100);
    append(&log, &live, &["last"]);
    NOW.fetch_add(2000, Ordering::Relaxed);
    log.tend(Duration::ZERO).unwrap();
    assert!(files(folder.path(), "open").is_empty(), "an old segment is sealed though small");
    assert_eq!(names(folder.path()).last().map(String::as_str), Some("last"));
}

#[test]
fn an_entity_is_erased_from_what_is_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path(), LogLimits::default());
    let live = model("1");
    let ids: Vec<_> = (0..4).map(|_| IDS.next(clock())).collect();
    let decision = |i: usize, entity| NewDecision {
        id: ids[i],
        transaction_id: "t",
        entity,
        event_time_ms: None,
        features: &[1.0, 2.0, 3.0],
        score: 0.5,
        alert: false,
        propensity: None,
        fallback: Some(Fallback::ALL[i]),
        assigned: None,
        latency_ns: 0,
    };
    log.append(&live, &[decision(0, "ana"), decision(1, "bob")]).unwrap();
    log.append(&model("2"), &[decision(2, "ana"), decision(3, "carl")]).unwrap();
    let decisions = DecisionFiles::of(folder.path());
    let open_now = decisions.erase("ana").unwrap();
    // Threads that decide have segments of their own; how many there are depends on the thread that runs this test.
    assert_eq!((open_now.decisions, open_now.open_segments), (0, files(folder.path(), "open").len()));
    log.flush().unwrap();
    assert_eq!(decisions.erase("ana").unwrap().decisions, 2);
    assert_eq!(decisions.erase("ana").unwrap().decisions, 0);
    let mut left = Vec::new();
    let report = decisions
        .read(0, i64::MAX, |d| {
            left.push((d.id, d.entity.to_owned(), d.model.version.clone(), d.fallback));
            true
        })
        .unwrap();
    assert!(report.is_clean());
    let of =
        |i: usize, entity: &str, version: &str| (ids[i], entity.to_owned(), version.to_owned(), Some(Fallback::ALL[i]));
    assert_eq!(left, [of(1, "bob", "1"), of(3, "carl", "2")]);
    let bytes = std::fs::read(&files(folder.path(), "seg")[0]).unwrap();
    assert!(!bytes.windows(3).any(|window| window == b"ana"));
}

#[test]
fn thirty_features_take_at_most_200_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path(), LogLimits::default());
    let wide = Arc::new(DecidingModel { width: 30, ..(*model("1")).clone() });
    for _ in 0..1000 {
        let decision = NewDecision {
            id: IDS.next(clock()),
            transaction_id: "TX-20261125-0001",
            entity: "card-123456",
            event_time_ms: Some(clock()),
            features: &[1.5; 30],
            score: 0.5,
            alert: false,
            propensity: None,
            fallback: None,
            assigned: None,
            latency_ns: 0,
        };
        log.append(&wide, &[decision]).unwrap();
    }
    log.flush().unwrap();
    let size = std::fs::metadata(&files(folder.path(), "seg")[0]).unwrap().len();
    assert!(size <= 200 * 1000, "{size}");
}

#[test]
fn a_clock_that_jumps_loses_and_hides_nothing() {
    static CLOCK: AtomicI64 = AtomicI64::new(START);
    fn jumping() -> i64 {
        CLOCK.load(Ordering::Relaxed)
    }
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = DecisionLog::open(folder.path(), LogLimits::default(), jumping).unwrap();
    let live = model("1");
    let week = 7 * 86_400_000;
    // Forward a week, back two, a second back (which is nothing), and forward again.
    let times = [START, START + week, START - week, START - week - 1000, START];
    let mut ids = Vec::new();
    for (i, time) in times.into_iter().enumerate() {
        CLOCK.store(time, Ordering::Relaxed);
        let id = IDS.next(jumping());
        let decision = NewDecision {
            id,
            transaction_id: &format!("{i}"),
            entity: "",
            event_time_ms: None,
            features: &[1.0, 2.0, 3.0],
            score: 0.5,
            alert: false,
            propensity: None,
            fallback: None,
            assigned: None,
            latency_ns: 0,
        };
        log.append(&live, &[decision]).unwrap();
        ids.push(id);
    }
    let decisions = DecisionFiles::of(folder.path());
    for (i, id) in ids.iter().enumerate() {
        let (found, _) = decisions.find(id, |decision| (decision.transaction_id.to_owned(), decision.at_ms())).unwrap();
        assert_eq!(found, Some((format!("{i}"), times[i])));
    }
    assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), ids.len());
    let mut between = Vec::new();
    let report = decisions
        .read(START - week - 2000, START - week + 1, |decision| {
            between.push(decision.transaction_id.to_owned());
            true
        })
        .unwrap();
    assert!(report.is_clean());
    between.sort();
    assert_eq!(between, ["2", "3"]);
}
