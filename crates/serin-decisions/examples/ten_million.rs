//! Times the index on a log of ten million decisions of 15 features against a full scan in the same run.
//!
//! `cargo run --release -p serin-decisions --example ten_million [DECISIONS [FOLDER]]`; a folder that is named is filled and kept, and
//! nothing is timed but the filling.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement")]

use serin_decisions::{
    DecidingModel, DecisionFiles, DecisionIds, DecisionLog, DecisionOutline, LogLimits, NewDecision,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

const START: i64 = 1_764_000_000_000;
const DAY: i64 = 86_400_000;
const DAYS: i64 = 30;
static NOW: AtomicI64 = AtomicI64::new(START);

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = run();
    println!("{what:<52} {:>10.1} ms", start.elapsed().as_secs_f64() * 1000.0);
    done
}

fn main() {
    let count: i64 = std::env::args().nth(1).map_or(10_000_000, |count| count.parse().unwrap());
    let scratch = tempfile::tempdir_in(std::env::var("TMPDIR").unwrap_or_else(|_| "/tmp".to_owned())).unwrap();
    let kept = std::env::args().nth(2);
    let folder = kept.as_ref().map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    let model = |version: &str, sha: u8| {
        Arc::new(DecidingModel {
            name: "fraud".into(),
            version: version.into(),
            sha256: [sha; 32],
            threshold: 0.5,
            width: 15,
        })
    };
    // One version each ten days, and a candidate at 5 % on the last day of each.
    let models: Vec<_> = (0..=3).map(|i| model(&i.to_string(), i)).collect();
    let ids = DecisionIds::default();
    let clock = || NOW.load(Ordering::Relaxed);
    let (log, _) = DecisionLog::open(&folder, LogLimits::default(), clock).unwrap();
    timed(&format!("append {count} decisions, ten a request"), || {
        for request in 0..count / 10 {
            let now = START + DAYS * DAY * request / (count / 10);
            NOW.store(now, Ordering::Relaxed);
            let day = (now - START) / DAY;
            let is_candidate = day % 10 == 9 && request % 20 == 0;
            let by = &models[(day / 10) as usize + usize::from(is_candidate)];
            let features = [request as f32; 15];
            let names: [String; 10] = std::array::from_fn(|i| format!("TX-{}", request * 10 + i as i64));
            let cards: [String; 10] = std::array::from_fn(|i| format!("card-{}", (request * 7 + i as i64) % 50_000));
            let decisions: [NewDecision<'_>; 10] = std::array::from_fn(|i| NewDecision {
                id: ids.next(now),
                transaction_id: &names[i],
                entity: &cards[i],
                event_time_ms: Some(now),
                features: &features,
                score: ((request * 10 + i as i64) % 9973) as f32 / 9973.0,
                alert: (request * 10 + i as i64) % 9973 > 9800,
                propensity: None,
                fallback: None,
                assigned: None,
                latency_ns: 0,
            });
            log.append(by, &decisions).unwrap();
        }
        log.flush().unwrap();
    });
    drop(log);
    if kept.is_some() {
        return;
    }
    let files = DecisionFiles::of(&folder);
    let sizes = |kind: &str| {
        let found = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap());
        let found = found.filter(|entry| entry.path().extension().is_some_and(|end| end == kind));
        found.map(|entry| entry.metadata().unwrap().len()).fold((0, 0), |(n, sum), size| (n + 1, sum + size))
    };
    println!(
        "segments, bytes: {:?}; indexes, bytes: {:?}; columns, bytes: {:?}",
        sizes("seg"),
        sizes("idx"),
        sizes("col")
    );
    let first = timed("counts, with the indexes that are missing", || files.counts(0, i64::MAX).unwrap().0);
    let counts = timed("counts, from the indexes", || files.counts(0, i64::MAX).unwrap().0);
    assert_eq!(first, counts);
    let scanned = timed("counts, by a full scan", || {
        let mut found = (0, 0);
        let report = files.read(0, i64::MAX, |decision| {
            found = (found.0 + 1, found.1 + u64::from(decision.alert));
            true
        });
        assert!(report.unwrap().is_clean());
        found
    });
    for what in ["outlines of all", "outlines of all, again"] {
        let outlined = timed(what, || {
            let each = |sum: &mut (u64, u64), outline: &DecisionOutline<'_>| {
                *sum = (sum.0 + 1, sum.1 + u64::from(outline.alert));
            };
            let (sums, report) = files.outlines("fraud", &[], (0, i64::MAX), || (0, 0), each).unwrap();
            assert!(report.is_clean());
            sums.into_iter().fold((0, 0), |all, sum| (all.0 + sum.0, all.1 + sum.1))
        });
        assert_eq!(outlined, scanned);
    }
    let sum = counts.iter().fold((0, 0), |(n, alerts), count| (n + count.decisions, alerts + count.alerts));
    assert_eq!((sum.0, sum.1), scanned);
    for (what, version, day) in
        [("a version's day", "0", 5), ("a candidate's day at 5 %", "1", 9), ("an absent version's", "2", 5)]
    {
        let (from, until) = (START + day * DAY, START + (day + 1) * DAY);
        let read = timed(&format!("read_of, {what}"), || {
            let mut found = 0_u64;
            let report = files.read_of("fraud", &[version], from, until, |decision| {
                found += u64::from(decision.features().len() == 15);
                true
            });
            assert!(report.unwrap().is_clean());
            found
        });
        let scanned = timed(&format!("the same by a scan of all ({read} decisions)"), || {
            let mut found = 0_u64;
            let report = files.read(0, i64::MAX, |decision| {
                found += u64::from(decision.model.version == version && (from..until).contains(&decision.at_ms()));
                true
            });
            assert!(report.unwrap().is_clean());
            found
        });
        assert_eq!(read, scanned);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap());
}
