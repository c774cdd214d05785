//! Reading a log whose bytes are damaged.
#![expect(clippy::unwrap_used, reason = "test code")]

mod written;

use serin_decisions::{DamageKind, DecisionFiles, verify};
use written::{Held, NAME, Random, Sample, decision, model, open, read, shadows, spoil};

// R16
#[test]
fn a_flipped_bit_anywhere_costs_the_record_it_is_in_and_no_other() {
    let sample = Sample::of(12);
    for at in 0..sample.bytes.len() {
        let mut bytes = sample.bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let folder = Sample::folder(&bytes, "seg");
        let (found, report) = read(folder.path());
        assert_eq!(found, sample.left_by(&(at..at + 1)), "byte {at}");
        assert!(report.complete && !report.is_clean(), "byte {at}");
        let gap = report.damages.iter().find(|damage| damage.kind == DamageKind::NoRecord).unwrap();
        assert!((gap.at..gap.at + gap.bytes).contains(&(at as u64)), "byte {at}: {gap}");
        assert_eq!(std::fs::read(folder.path().join(format!("{NAME}.seg"))).unwrap(), bytes, "reading changes nothing");
    }
}

// R15, R16
#[test]
fn what_stands_outside_any_damaged_range_is_read_in_order() {
    let sample = Sample::of(300);
    for seed in 0..400 {
        let mut random = Random(seed);
        let length = 1 + random.below([1, 8, 60, 400, 9000][seed as usize % 5]);
        let start = random.below(sample.bytes.len() - length);
        let damage = start..start + length;
        let mut bytes = sample.bytes.clone();
        match seed % 3 {
            0 => bytes[damage.clone()].fill(0),
            _ => spoil(&mut bytes, damage.clone(), &mut random),
        }
        let is_changed = |range: &std::ops::Range<usize>| bytes[range.clone()] != sample.bytes[range.clone()];
        // Zeros may fall on zeros.
        let first = sample.frames.iter().find(|(range, _)| is_changed(range));
        let last = sample.frames.iter().rfind(|(range, _)| is_changed(range));
        let changed = first.map_or(0..0, |(first, _)| first.start..last.unwrap().0.end);
        let folder = Sample::folder(&bytes, "seg");
        let (found, report) = read(folder.path());
        assert_eq!(found, sample.left_by(&changed), "seed {seed}: {damage:?}");
        assert_eq!(report.is_clean(), bytes == sample.bytes, "seed {seed}");
    }
}

// R16
#[test]
fn decisions_of_a_model_whose_record_is_lost_are_counted_and_given_to_no_other() {
    let sample = Sample::of(30);
    let (place, _) = sample.frames.iter().find(|(_, held)| *held == Held::Model(0)).unwrap();
    let mut bytes = sample.bytes.clone();
    bytes[place.start + 20] ^= 1;
    let folder = Sample::folder(&bytes, "seg");
    let mut versions = std::collections::BTreeSet::new();
    let report = DecisionFiles::of(folder.path()).read(0, i64::MAX, |decision| {
        versions.insert(decision.model.version.clone());
        true
    });
    assert_eq!(versions.into_iter().collect::<Vec<_>>(), ["22"]);
    let kinds: Vec<_> = report.unwrap().damages.iter().map(|damage| damage.kind).collect();
    assert_eq!(kinds, [DamageKind::NoRecord, DamageKind::ModelLost { records: 15 }]);
    assert_eq!(shadows(folder.path()), 10);
}

// R15
#[test]
fn the_format_of_a_later_serin_is_reported_and_never_removed() {
    for kind in ["seg", "open"] {
        let mut bytes = b"SERINDL2".to_vec();
        bytes.extend((0..5000_u32).flat_map(|i| (i % 251).to_le_bytes()));
        let folder = Sample::folder(&bytes, kind);
        let log = open(folder.path());
        log.append(&model("1"), &[decision("new", "E")]).unwrap();
        let (found, report) = read(folder.path());
        assert_eq!(found, ["new"]);
        assert_eq!((report.damages[0].at, report.damages[0].bytes), (0, bytes.len() as u64));
        assert_eq!(std::fs::read(folder.path().join(format!("{NAME}.seg"))).unwrap(), bytes);
    }
}

// R16
#[test]
fn a_file_that_cannot_be_read_does_not_hide_the_others() {
    let sample = Sample::of(3);
    let folder = Sample::folder(&sample.bytes, "seg");
    // A folder under a segment's name cannot be read, whoever runs the test.
    std::fs::create_dir(folder.path().join("1763999999999-00000001-0.seg")).unwrap();
    let (found, report) = read(folder.path());
    assert_eq!(found, ["t0", "t1", "t2"]);
    assert_eq!(report.unreadable.len(), 1);
    assert!(report.into_result().unwrap_err().to_string().contains("1763999999999"));
}

#[test]
fn every_way_of_reading_goes_on_behind_damage() {
    let sample = Sample::of(40);
    let mut bytes = sample.bytes.clone();
    let place = sample.place("t20");
    bytes[place.start + 30] ^= 8;
    let folder = Sample::folder(&bytes, "seg");
    let log = DecisionFiles::of(folder.path());
    let mut names = Vec::new();
    let newest = log.newest(0, i64::MAX, u64::MAX, |record| {
        names.extend(record.map(|_| 1));
        true
    });
    assert_eq!((names.len(), newest.unwrap().damages.len()), (39 + 13, 1));
    let id: [u8; 16] = sample.bytes[sample.place("t39")][12..28].try_into().unwrap();
    let (found, report) = log.find(&id, |decision| decision.transaction_id.to_owned()).unwrap();
    assert_eq!((found.as_deref(), report.damages.len()), (Some("t39"), 1));
    let (models, report) = log.models(0, i64::MAX).unwrap();
    assert_eq!((models.len(), report.damages.len()), (2, 1));
    let report = log.read_segment(&log.segments().unwrap()[0], 0, i64::MAX, |_| true);
    assert_eq!(report.damages[0].at, place.start as u64);
    assert!(report.complete);
}

#[test]
fn a_check_of_the_whole_log_names_damage_and_counts_records() {
    let sample = Sample::of(40);
    let folder = Sample::folder(&sample.bytes, "seg");
    let clean = verify(folder.path()).unwrap();
    assert!(clean.is_clean());
    assert_eq!((clean.segments, clean.records), (1, 40 + 13));
    let mut bytes = sample.bytes.clone();
    bytes[sample.place("t5").end - 1] ^= 1;
    std::fs::write(folder.path().join(format!("{NAME}.seg")), &bytes).unwrap();
    std::fs::write(folder.path().join("2764000000000-00000001-0.seg"), &sample.bytes).unwrap();
    let found = verify(folder.path()).unwrap();
    assert_eq!((found.segments, found.records, found.report.damages.len(), found.misdated.len()), (2, 105, 1, 1));
}

#[test]
fn garbage_is_searched_in_one_pass() {
    // Each place of the file claims to begin the longest record there can be: the search for the next whole record must
    // not take the CRC of them all. 8 MiB would be 2 TiB of CRCs.
    let sample = Sample::of(2);
    let first = sample.place("t0");
    let mut bytes = sample.bytes.clone();
    let mut claim = sample.bytes[first.clone()].to_vec();
    claim.truncate(40);
    claim[..4].copy_from_slice(&200_000_u32.to_le_bytes());
    // A model that is unknown fits any number of features.
    claim[10..12].copy_from_slice(&999_u16.to_le_bytes());
    while bytes.len() < 8 << 20 {
        bytes.extend_from_slice(&claim);
    }
    bytes.extend_from_slice(&sample.bytes[first]);
    let folder = Sample::folder(&bytes, "seg");
    let (found, report) = read(folder.path());
    assert_eq!(found, ["t0", "t1", "t0"]);
    assert_eq!(report.damages.len(), 1);
}

#[test]
fn a_missing_folder_is_an_error_and_not_an_empty_log() {
    let folder = tempfile::tempdir().unwrap();
    DecisionFiles::of(&folder.path().join("missing")).segments().unwrap_err();
}
