//! Builders of logs for the tests.
#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses a part")]

use serin_decisions::{
    DecidingModel, DecisionFiles, DecisionIds, DecisionLog, LogLimits, NewDecision, NewShadow, ReadReport, Record,
};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// What all clocks show that no test moves.
pub(crate) const START: i64 = 1_764_000_000_000;
/// Name of the segment that [`Sample`]s are put under.
pub(crate) const NAME: &str = "1764000000000-00000001-0";
static IDS: LazyLock<DecisionIds> = LazyLock::new(DecisionIds::default);

pub(crate) fn clock() -> i64 {
    START
}

pub(crate) fn model(version: &str) -> Arc<DecidingModel> {
    Arc::new(DecidingModel {
        name: "fraud ü".into(),
        version: version.into(),
        sha256: [version.len() as u8; 32],
        threshold: 0.25,
        width: 3,
    })
}

/// A decision of three features without anything special.
pub(crate) fn decision<'a>(transaction_id: &'a str, entity: &'a str) -> NewDecision<'a> {
    NewDecision {
        id: IDS.next(START),
        transaction_id,
        entity,
        event_time_ms: None,
        features: &[1.0, 2.0, 3.0],
        score: 0.5,
        alert: false,
        propensity: None,
        fallback: None,
        assigned: None,
        latency_ns: 0,
    }
}

pub(crate) fn open(folder: &Path) -> Arc<DecisionLog> {
    DecisionLog::open(folder, LogLimits::default(), clock).unwrap().0
}

/// Transaction ids of a folder's decisions, and what could not be read.
pub(crate) fn read(folder: &Path) -> (Vec<String>, ReadReport) {
    let mut found = Vec::new();
    let report = DecisionFiles::of(folder).read(0, i64::MAX, |decision| {
        found.push(decision.transaction_id.to_owned());
        true
    });
    (found, report.unwrap())
}

/// Number of candidates' scores in a folder.
pub(crate) fn shadows(folder: &Path) -> usize {
    let mut found = 0;
    let report = DecisionFiles::of(folder).records(0, i64::MAX, |record| {
        found += usize::from(matches!(record, Record::Shadow(_)));
        true
    });
    drop(report.unwrap());
    found
}

/// Files of a folder with an ending, by name.
pub(crate) fn files(folder: &Path, kind: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == kind));
    found.sort();
    found
}

/// What a frame of a [`Sample`] holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    /// The model of that number.
    Model(usize),
    /// A decision with its transaction's id, its entity, and its model's number.
    Decision(String, String, usize),
    /// A candidate's score, with the candidate's number.
    Shadow(usize),
}

/// A sealed segment of two models, with what stands where.
pub(crate) struct Sample {
    pub(crate) bytes: Vec<u8>,
    pub(crate) frames: Vec<(Range<usize>, Held)>,
}

impl Sample {
    /// `count` decisions `t0`, `t1`, … of entities `E0` to `E4`, made by versions "1" and "22" in turn, each third with a
    /// candidate's score.
    pub(crate) fn of(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        let models = [model("1"), model("22")];
        let mut held = Vec::new();
        for i in 0..count {
            let (name, entity) = (format!("t{i}"), format!("E{}", i % 5));
            let new = NewDecision { event_time_ms: (i % 4 == 0).then_some(7), ..decision(&name, &entity) };
            log.append(&models[i % 2], &[new]).unwrap();
            if i < 2 {
                held.push(Held::Model(i));
            }
            held.push(Held::Decision(name.clone(), entity.clone(), i % 2));
            if i % 3 == 2 {
                log.append_shadow(&models[1], &[NewShadow { id: new.id, score: 0.25, alert: true }]).unwrap();
                held.push(Held::Shadow(1));
            }
        }
        log.flush().unwrap();
        let bytes = std::fs::read(&files(folder.path(), "seg")[0]).unwrap();
        let (mut at, mut frames) = (8, Vec::new());
        for held in held {
            let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
            frames.push((at..at + 8 + length, held));
            at += 8 + length;
        }
        assert_eq!(at, bytes.len());
        Self { bytes, frames }
    }

    /// A folder with the bytes as its only segment, of that ending.
    pub(crate) fn folder(bytes: &[u8], kind: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(format!("{NAME}.{kind}")), bytes).unwrap();
        folder
    }

    /// Transaction ids of the decisions that damage to a range leaves: whole ones whose model is whole.
    pub(crate) fn left_by(&self, damage: &Range<usize>) -> Vec<String> {
        let is_whole = |range: &Range<usize>| range.end <= damage.start || damage.end <= range.start;
        let whole = || self.frames.iter().filter(|(range, _)| is_whole(range)).map(|(_, held)| held);
        let left = whole().filter_map(|held| match held {
            Held::Decision(name, _, model) if whole().any(|other| *other == Held::Model(*model)) => Some(name.clone()),
            _ => None,
        });
        left.collect()
    }

    /// Where a decision stands.
    pub(crate) fn place(&self, name: &str) -> Range<usize> {
        let found = self.frames.iter().find(|(_, held)| matches!(held, Held::Decision(id, ..) if id == name));
        found.unwrap().0.clone()
    }
}

/// A generator of numbers from a seed (splitmix64), so that a failure can be repeated.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % most as u64) as usize
    }
}

/// Changes every byte of a range.
pub(crate) fn spoil(bytes: &mut [u8], range: Range<usize>, random: &mut Random) {
    bytes[range].iter_mut().for_each(|byte| *byte ^= 1 + random.below(255) as u8);
}
