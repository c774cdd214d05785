//! Sealing what a dead process left.
#![expect(clippy::unwrap_used, reason = "test code")]

mod written;

use serin_decisions::{DecidingModel, DecisionLog, LogError, LogLimits, Recovered};
use std::path::Path;
use std::sync::Arc;
use written::{NAME, Random, Sample, clock, decision, files, model, open, read, spoil};

fn recover(folder: &Path) -> Recovered {
    DecisionLog::open(folder, LogLimits::default(), clock).unwrap().1
}

#[test]
fn a_torn_tail_is_cut_and_the_rest_is_kept() {
    let sample = Sample::of(4);
    let last = sample.place("t3");
    for cut in 0..sample.bytes.len() {
        let folder = Sample::folder(&sample.bytes[..cut], "open");
        let recovered = recover(folder.path());
        let (found, report) = read(folder.path());
        assert_eq!(found, sample.left_by(&(cut..sample.bytes.len())), "cut at {cut}");
        assert!(report.is_clean() && recovered.report.is_clean(), "cut at {cut}: {recovered:?}");
        let whole =
            sample.frames.iter().map(|(range, _)| range.end).filter(|end| *end <= cut).max().unwrap_or(8.min(cut));
        let torn = if cut < 8 { cut } else { cut - whole };
        assert_eq!(recovered.torn_bytes, torn as u64, "cut at {cut}");
        assert_eq!(recovered.segments, usize::from(!found.is_empty()), "cut at {cut}");
        assert_eq!(recover(folder.path()), Recovered::default(), "nothing is left to do");
    }
    assert!(last.end <= sample.bytes.len());
}

// R15
#[test]
fn a_flipped_bit_is_not_a_cut_and_no_byte_of_the_file_is_lost() {
    let sample = Sample::of(2);
    // Every bit of the last record's length and CRC, and of the rest each fifth, which meets every bit of a byte.
    let last = 8 * sample.place("t1").start;
    for bit in (0..8 * sample.bytes.len()).filter(|bit| (last..last + 64).contains(bit) || bit % 5 == 0) {
        let (at, mut bytes) = (bit / 8, sample.bytes.clone());
        bytes[at] ^= 1 << (bit % 8);
        let folder = Sample::folder(&bytes, "open");
        let recovered = recover(folder.path());
        assert_eq!((recovered.segments, recovered.torn_bytes), (1, 0), "bit {bit}");
        assert!(!recovered.report.is_clean(), "bit {bit}");
        assert_eq!(std::fs::read(folder.path().join(format!("{NAME}.seg"))).unwrap(), bytes, "bit {bit}");
        assert_eq!(read(folder.path()).0, sample.left_by(&(at..at + 1)), "bit {bit}");
    }
}

// R15
#[test]
fn damage_before_a_torn_tail_keeps_everything_but_the_tail() {
    let sample = Sample::of(100);
    for seed in 0..100 {
        let mut random = Random(seed);
        let start = random.below(sample.bytes.len() / 2);
        let damage = start..start + 1 + random.below(200);
        let mut bytes = sample.bytes.clone();
        spoil(&mut bytes, damage.clone(), &mut random);
        let torn = sample.place("t99");
        bytes.truncate(torn.start + 1 + random.below(torn.len() - 1));
        let folder = Sample::folder(&bytes, "open");
        let recovered = recover(folder.path());
        let mut left = sample.left_by(&damage);
        left.retain(|name| name != "t99");
        assert_eq!(read(folder.path()).0, left, "seed {seed}");
        // Without its model, a record does not tell how long it ought to be: then the tail is kept, too.
        let is_known = left.iter().any(|name| name == "t97");
        let kept = std::fs::read(folder.path().join(format!("{NAME}.seg"))).unwrap();
        assert!(bytes.starts_with(&kept) && kept.len() >= torn.start, "seed {seed}");
        assert!(!is_known || kept.len() == torn.start, "seed {seed}");
        assert_eq!(recovered.torn_bytes, (bytes.len() - kept.len()) as u64);
    }
}

// R15
#[test]
fn zeros_of_a_lost_page_are_damage_and_no_records() {
    let sample = Sample::of(4);
    let mut bytes = sample.bytes;
    bytes.extend([0; 4096]);
    let folder = Sample::folder(&bytes, "open");
    let recovered = recover(folder.path());
    assert_eq!((recovered.torn_bytes, recovered.report.damages[0].bytes), (0, 4096));
    assert_eq!(read(folder.path()).0.len(), 4);
}

#[test]
fn a_name_that_is_taken_is_not_written_over() {
    let sample = Sample::of(4);
    let folder = Sample::folder(&sample.bytes, "open");
    std::fs::write(folder.path().join(format!("{NAME}.seg")), &sample.bytes).unwrap();
    recover(folder.path());
    assert_eq!(files(folder.path(), "seg").len(), 2);
    assert_eq!(read(folder.path()).0.len(), 8);
}

#[test]
fn a_segment_that_was_only_begun_is_removed_with_its_temporary_files() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        (format!("{NAME}.open"), &b"SERINDL1"[..]),
        ("1764000000001-00000001-1.open".to_owned(), b"SER"),
        ("1764000000002-00000001-1.open".to_owned(), b""),
        ("1764000000003-00000001-1.fresh".to_owned(), b"SERINDL1"),
        ("1764000000004-00000001-1.partial".to_owned(), b"old erasure"),
    ] {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    std::fs::write(folder.path().join("other.partial"), "of another program").unwrap();
    assert_eq!(recover(folder.path()).segments, 0);
    let mut left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    // The log that was opened and dropped has removed its own.
    assert_eq!(left, ["other.partial"]);
}

// R6
#[test]
fn the_decisions_of_two_models_are_written_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let (stable, candidate) = (model("1"), model("22"));
    log.append_groups(&[(&candidate, &[decision("a", "E")]), (&stable, &[decision("b", "E"), decision("c", "E")])])
        .unwrap();
    log.append_groups(&[(&candidate, &[]), (&stable, &[])]).unwrap();
    log.append_groups(&[]).unwrap();
    assert_eq!(read(folder.path()).0, ["a", "b", "c"]);
    // The second group cannot be written: neither is the first, nor its model's number taken.
    let new = Arc::new(DecidingModel { width: 4, ..(*model("333")).clone() });
    let third = model("4444");
    let refused = log.append_groups(&[(&third, &[decision("d", "E")]), (&new, &[decision("e", "E")])]);
    assert!(matches!(refused, Err(LogError::Width { expected: 4, found: 3 })), "{refused:?}");
    log.append_groups(&[(&stable, &[decision("f", "E")]), (&third, &[decision("g", "E")])]).unwrap();
    drop(log);
    let (found, report) = read(folder.path());
    assert_eq!(found, ["a", "b", "c", "f", "g"]);
    assert!(report.is_clean());
}
