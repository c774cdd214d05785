//! Reading by model and time, and counting, with the help of the segments' indexes.

use crate::damage::{Damage, DamageKind, ReadReport};
use crate::error::LogError;
use crate::frames::{Frames, Item};
use crate::index::{self, Hours, Index};
use crate::reader::{DecisionFiles, DecisionSegment, walk};
use crate::record::{self, LoggedDecision, LoggedModel, Models, Record};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

const HOUR_MS: i64 = 3_600_000;

/// Numbers of one model's decisions in one hour.
#[derive(Debug, Clone, PartialEq)]
pub struct HourlyCount {
    /// Model that made the decisions.
    pub model: Arc<LoggedModel>,
    /// Beginning of the hour, epoch milliseconds. A decision belongs to the hour in which it was made, whenever the
    /// transaction happened.
    pub from_ms: i64,
    /// Number of decisions that the model made in the hour.
    pub decisions: u64,
    /// Number of them that were alerts, after exploration.
    pub alerts: u64,
}

/// Counts by the model's name, version and SHA-256, and the epoch hour.
type Counts = BTreeMap<(String, String, [u8; 32], i64), HourlyCount>;

impl DecisionFiles {
    /// Every decision of a model's versions made from `from_ms` and before `until_ms`, in the order of each segment,
    /// until `each` says not to go on. No version stands for all of them.
    ///
    /// Only blocks of about 4,096 records in which such a decision may stand are read. The report names all damage of the
    /// segments in that time, also of blocks that were not read. Indexes that are missing are made, which reads their
    /// segments once.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn read_of(
        &self,
        name: &str,
        versions: &[&str],
        from_ms: i64,
        until_ms: i64,
        mut each: impl FnMut(&LoggedDecision<'_>) -> bool,
    ) -> Result<ReadReport, LogError> {
        let wanted =
            |model: &LoggedModel| model.name == name && (versions.is_empty() || versions.contains(&&*model.version));
        let mut each = |record: &Record<'_>| match record {
            Record::Decision(decision) if wanted(decision.model) => each(decision),
            _ => true,
        };
        let mut report = ReadReport::default();
        for segment in self.segments_between(from_ms, until_ms)? {
            let Some((file, index)) = indexed(&segment, &mut report) else {
                walk(&segment, from_ms, until_ms, &mut report, &mut each);
                if report.complete { continue } else { break }
            };
            let ranges = index.ranges(wanted, from_ms, until_ms);
            let mut within =
                |record: &Record<'_>| !(from_ms..until_ms).contains(&record::time_of(record.id())) || each(record);
            for range in ranges {
                match read_range(&file, segment.path(), range, &index, &mut report, &mut within) {
                    Ok(goes_on) => report.complete &= goes_on,
                    Err(error) => report.refuse(segment.path(), &error),
                }
                if !report.complete {
                    return Ok(report);
                }
            }
        }
        Ok(report)
    }

    /// Returns the numbers of decisions and alerts of each model in each hour that has some of the time from `from_ms` until
    /// `until_ms` in it; hours are counted whole. The order is that of names, versions, SHA-256 and hours; models of one
    /// SHA-256 but another threshold are one. Sealed segments are counted by their indexes alone.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn counts(&self, from_ms: i64, until_ms: i64) -> Result<(Vec<HourlyCount>, ReadReport), LogError> {
        let (mut counts, mut report) = (Counts::new(), ReadReport::default());
        let from_ms = from_ms.div_euclid(HOUR_MS).saturating_mul(HOUR_MS);
        let until_ms = until_ms.saturating_sub(1).div_euclid(HOUR_MS).saturating_add(1).saturating_mul(HOUR_MS);
        let mut add = |models: &Models, hours: &Hours| {
            for (&(number, hour), &(decisions, alerts)) in hours {
                let hour_ms = hour.saturating_mul(HOUR_MS);
                let model = models.get(usize::from(number)).and_then(Option::as_ref);
                if let Some(model) = model.filter(|_| (from_ms..until_ms).contains(&hour_ms)) {
                    let key = (model.name.clone(), model.version.clone(), model.sha256, hour);
                    let none = || HourlyCount { model: Arc::clone(model), from_ms: hour_ms, decisions: 0, alerts: 0 };
                    let counted = counts.entry(key).or_insert_with(none);
                    counted.decisions += u64::from(decisions);
                    counted.alerts += u64::from(alerts);
                }
            }
        };
        for segment in self.segments_between(from_ms, until_ms)? {
            if let Some((_, index)) = indexed(&segment, &mut report) {
                add(&index.models, &index.hours);
                continue;
            }
            let (mut models, mut hours) = (Models::new(), Hours::new());
            walk(&segment, from_ms, until_ms, &mut report, &mut |record| {
                if let Record::Decision(decision) = record {
                    let is_known = |known: &Option<Arc<LoggedModel>>| {
                        known.as_ref().is_some_and(|known| Arc::ptr_eq(known, decision.model))
                    };
                    let place = models.iter().position(is_known).unwrap_or_else(|| {
                        models.push(Some(Arc::clone(decision.model)));
                        models.len() - 1
                    });
                    index::count(&mut hours, u16::try_from(place).unwrap_or(u16::MAX), decision);
                }
                true
            });
            add(&models, &hours);
        }
        Ok((counts.into_values().collect(), report))
    }
}

/// Returns a sealed segment's file and index, and adds the damage that the index knows to the report; none where the segment
/// is open, gone or unreadable, which reading it will tell.
pub(crate) fn indexed(segment: &DecisionSegment, report: &mut ReadReport) -> Option<(File, Index)> {
    if !segment.is_sealed() {
        return None;
    }
    let (file, path) = segment.open().ok().flatten()?;
    let index = Index::of(&file, &path).ok()?;
    for &(at, bytes, records) in &index.damages {
        let kind = if records == 0 { DamageKind::NoRecord } else { DamageKind::ModelLost { records } };
        report.add(Damage { file: path.clone(), at, bytes, kind });
    }
    Some((file, index))
}

/// Reads the records of a byte range that begins with a frame, and returns whether `each` always said to go on. Damage that
/// the index does not know, since it came later, is added to the report.
fn read_range(
    mut file: &File,
    path: &Path,
    (start, end): (u64, u64),
    index: &Index,
    report: &mut ReadReport,
    each: &mut impl FnMut(&Record<'_>) -> bool,
) -> io::Result<bool> {
    file.seek(SeekFrom::Start(start))?;
    let mut frames = Frames::from(file.take(end - start), start, index.models.clone());
    while let Some(item) = frames.next()? {
        match item {
            Item::Record { record, .. } => {
                if !each(&record) {
                    return Ok(false);
                }
            }
            Item::Gap { at, bytes, .. } => {
                let is_known = |&(known, length, _): &(u64, u64, u64)| known <= at && at < known + length;
                if !index.damages.iter().any(is_known) {
                    report.add(Damage { file: path.to_owned(), at, bytes, kind: DamageKind::NoRecord });
                }
            }
            Item::Orphan { .. } => {}
        }
    }
    Ok(true)
}
