//! Erasing an entity.
#![expect(clippy::unwrap_used, reason = "test code")]

mod written;

use serin_decisions::DecisionFiles;
use written::{Held, NAME, Random, Sample, decision, files, model, open, read, spoil};

/// Names that stay when `E1` is erased from what a range of damage left.
fn without_e1(sample: &Sample, damage: &std::ops::Range<usize>) -> Vec<String> {
    let of_e1 = |name: &String| {
        sample
            .frames
            .iter()
            .any(|(_, held)| matches!(held, Held::Decision(id, entity, _) if id == name && entity == "E1"))
    };
    sample.left_by(damage).into_iter().filter(|name| !of_e1(name)).collect()
}

// R14
#[test]
fn an_erasure_reaches_behind_damage_and_takes_nobody_else() {
    let sample = Sample::of(60);
    for kind in ["seg", "open"] {
        for seed in 0..100 {
            let mut random = Random(seed);
            let start = random.below(sample.bytes.len() - 300);
            let damage = start..start + 1 + random.below(300);
            let mut bytes = sample.bytes.clone();
            spoil(&mut bytes, damage.clone(), &mut random);
            let folder = Sample::folder(&bytes, kind);
            let before = read(folder.path()).0.len();
            let erased = DecisionFiles::of(folder.path()).erase("E1").unwrap();
            let (left, report) = read(folder.path());
            assert_eq!(left, without_e1(&sample, &damage), "{kind}, seed {seed}");
            assert!(erased.decisions >= before - left.len() && !erased.is_complete(), "{kind}, seed {seed}");
            // The damaged bytes are there, and nothing around them but the entity's frames is gone.
            let kept = std::fs::read(folder.path().join(format!("{NAME}.seg"))).unwrap();
            assert!(kept.windows(damage.len()).any(|bytes_there| *bytes_there == bytes[damage.clone()]), "seed {seed}");
            assert!(!report.is_clean());
            // Again, it changes nothing.
            assert_eq!(DecisionFiles::of(folder.path()).erase("E1").unwrap().decisions, 0);
            assert_eq!(std::fs::read(folder.path().join(format!("{NAME}.seg"))).unwrap(), kept);
        }
    }
}

// R14
#[test]
fn an_entity_in_a_damaged_record_is_named_and_not_called_erased() {
    let sample = Sample::of(10);
    let mut bytes = sample.bytes.clone();
    // The features of a decision of E1; its entity's text is still there.
    let place = sample.place("t6");
    bytes[place.end - 1] ^= 1;
    let folder = Sample::folder(&bytes, "seg");
    let files = DecisionFiles::of(folder.path());
    let erased = files.erase("E1").unwrap();
    assert_eq!((erased.decisions, erased.is_complete()), (1, false));
    assert!(erased.suspect[0].at <= place.start as u64 + 30 && erased.unread.damages.is_empty());
    let other = files.erase("E3").unwrap();
    assert_eq!((other.decisions, other.is_complete(), other.suspect.len()), (2, false, 0));
    assert_eq!(other.unread.damages.len(), 1);
}

// R14
#[test]
fn decisions_whose_model_is_lost_are_erased_too() {
    let sample = Sample::of(20);
    let (place, _) = sample.frames.iter().find(|(_, held)| *held == Held::Model(1)).unwrap();
    let mut bytes = sample.bytes.clone();
    bytes[place.start + 12] ^= 1;
    let folder = Sample::folder(&bytes, "seg");
    let erased = DecisionFiles::of(folder.path()).erase("E1").unwrap();
    assert_eq!(erased.decisions, 4);
    let kept = std::fs::read(folder.path().join(format!("{NAME}.seg"))).unwrap();
    assert!(!kept.windows(3).any(|bytes| bytes == b"\x02E1"));
}

// R14
#[test]
fn a_clean_log_is_erased_completely_and_leftovers_go() {
    let sample = Sample::of(10);
    let folder = Sample::folder(&sample.bytes, "seg");
    std::fs::write(folder.path().join(format!("{NAME}.partial")), b"E1 of an erasure that was killed").unwrap();
    let random = "0123456789abcdef0123456789abcdef";
    std::fs::write(folder.path().join(format!("{NAME}.seg.{random}.partial")), b"E1").unwrap();
    let erased = DecisionFiles::of(folder.path()).erase("E1").unwrap();
    assert_eq!((erased.decisions, erased.is_complete()), (2, true));
    assert!(files(folder.path(), "partial").is_empty());
    let bytes = std::fs::read(folder.path().join(format!("{NAME}.seg"))).unwrap();
    assert!(!bytes.windows(2).any(|window| window == b"E1"));
    assert_eq!(read(folder.path()).0.len(), 8);
    assert!(read(folder.path()).1.is_clean());
}

// R14
#[test]
fn a_segment_that_is_written_or_cannot_be_read_is_named_and_the_others_are_done() {
    let sample = Sample::of(10);
    let folder = Sample::folder(&sample.bytes, "seg");
    std::fs::create_dir(folder.path().join("1763999999999-00000001-0.seg")).unwrap();
    let log = open(folder.path());
    log.append(&model("1"), &[decision("new", "E1")]).unwrap();
    let erased = DecisionFiles::of(folder.path()).erase("E1").unwrap();
    let written = files(folder.path(), "open").len();
    assert!(written > 0);
    assert_eq!((erased.decisions, erased.open_segments, erased.unread.unreadable.len()), (2, written, 1));
    assert!(!erased.is_complete());
}

#[test]
fn the_empty_entity_and_odd_ones_are_erased_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let long = "ü".repeat(200);
    let cut = "ü".repeat(127);
    let entities = ["", "", "\0", "karte é 💳", &long, "a"];
    for (i, entity) in entities.iter().enumerate() {
        log.append(&model("1"), &[decision(&i.to_string(), entity)]).unwrap();
    }
    drop(log);
    let files = DecisionFiles::of(folder.path());
    // A text is cut to 255 bytes between two characters, so that the record stays readable.
    for (entity, count) in [("", 2), ("\0", 1), ("karte é 💳", 1), (&cut, 1), ("b", 0)] {
        let erased = files.erase(entity).unwrap();
        assert_eq!((erased.decisions, erased.is_complete()), (count, true), "{entity:?}");
    }
    assert_eq!(read(folder.path()).0, ["5"]);
}
