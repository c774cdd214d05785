//! Reading a decision log, also while it is written.

use crate::damage::{Damage, DamageKind, ReadReport};
use crate::error::LogError;
use crate::frames::{Frames, Item};
use crate::record::{LoggedDecision, LoggedModel, Record, time_of};
use crate::segment::{self, CLOCK_STEP_MS, SEALED};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// The segments of a folder.
#[derive(Debug, Clone)]
pub struct DecisionFiles {
    folder: PathBuf,
}

/// One file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionSegment {
    created_ms: i64,
    path: PathBuf,
}

impl DecisionSegment {
    pub(crate) fn at(path: &Path) -> Self {
        Self { created_ms: segment::created_ms(path).unwrap_or_default(), path: path.to_owned() }
    }

    /// Opens the segment for reading, by its last name where it was sealed in the meantime; none where it is gone.
    pub(crate) fn open(&self) -> io::Result<Option<(File, PathBuf)>> {
        for path in [self.path.clone(), self.path.with_extension(SEALED)] {
            match File::open(&path) {
                Ok(file) => return Ok(Some((file, path))),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the segment is sealed: nothing more is written to it.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.path.extension().is_some_and(|kind| kind == SEALED)
    }

    /// Name of the file without its ending: it stays when the segment is sealed.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Returns whether the segment was last written so long before a point in time (epoch milliseconds) that it holds
    /// nothing from then on.
    fn is_older_than(&self, from_ms: i64) -> bool {
        const SLACK: Duration = Duration::from_secs(3600);
        let written = std::fs::metadata(&self.path).and_then(|found| found.modified());
        let from = u64::try_from(from_ms).ok().and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
        self.is_sealed()
            && written
                .is_ok_and(|written| from.is_some_and(|from| written.checked_add(SLACK).is_some_and(|w| w < from)))
    }

    /// Returns whether the segment was begun so long after a point in time (epoch milliseconds) that it holds nothing from
    /// before. A segment whose clock is set back is ended; smaller steps are allowed for.
    fn begins_after(&self, until_ms: i64) -> bool {
        self.created_ms >= until_ms.saturating_add(2 * CLOCK_STEP_MS)
    }

    /// Returns whether searches by time may pass the record over, because the segment claims to be younger. The score of a
    /// candidate stands in whatever segment was open then, and is never younger than the decision.
    pub(crate) fn is_begun_after(&self, record: &Record<'_>) -> bool {
        matches!(record, Record::Decision(decision) if self.begins_after(decision.at_ms().saturating_add(1)))
    }

    /// `LENGTH-MTIME_NS` of the file. Equal while the file is untouched; an erasure changes it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let found = std::fs::metadata(&self.path);
        let written = found.as_ref().ok().and_then(|found| found.modified().ok());
        let written = written.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        format!("{}-{}", found.map_or(0, |found| found.len()), written.as_nanos())
    }
}

impl DecisionFiles {
    /// Takes the segments of a folder; the folder is read when records are.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Every decision made from `from_ms` and before `until_ms`, in the order of each segment. `each` says whether to
    /// go on. Damage is passed over and reported; what is torn at the end of an open segment is not yet there.
    ///
    /// # Errors
    /// When the folder cannot be read. A file that cannot be read is in the report.
    pub fn read(
        &self,
        from_ms: i64,
        until_ms: i64,
        mut each: impl FnMut(&LoggedDecision<'_>) -> bool,
    ) -> Result<ReadReport, LogError> {
        self.records(from_ms, until_ms, |record| match record {
            Record::Decision(decision) => each(decision),
            Record::Shadow(_) => true,
        })
    }

    /// The models that made those decisions, each once by its SHA-256.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn models(&self, from_ms: i64, until_ms: i64) -> Result<(Vec<Arc<LoggedModel>>, ReadReport), LogError> {
        let mut models: Vec<Arc<LoggedModel>> = Vec::new();
        let report = self.read(from_ms, until_ms, |decision| {
            if !models.iter().any(|known| known.sha256 == decision.model.sha256) {
                models.push(Arc::clone(decision.model));
            }
            true
        })?;
        Ok((models, report))
    }

    /// Every record about a decision made from `from_ms` and before `until_ms`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn records(
        &self,
        from_ms: i64,
        until_ms: i64,
        mut each: impl FnMut(&Record<'_>) -> bool,
    ) -> Result<ReadReport, LogError> {
        let mut report = ReadReport::default();
        for segment in self.segments_between(from_ms, until_ms)? {
            walk(&segment, from_ms, until_ms, &mut report, &mut each);
            if !report.complete {
                break;
            }
        }
        Ok(report)
    }

    /// Segments that may hold decisions made from `from_ms` and before `until_ms`, in the order in which they were begun.
    pub(crate) fn segments_between(&self, from_ms: i64, until_ms: i64) -> Result<Vec<DecisionSegment>, LogError> {
        let mut found = self.segments()?;
        found.retain(|segment| !segment.is_older_than(from_ms) && !segment.begins_after(until_ms));
        Ok(found)
    }

    /// Every segment, in the order in which they were begun.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn segments(&self) -> Result<Vec<DecisionSegment>, LogError> {
        let found = segment::list(&self.folder, true)?;
        Ok(found.into_iter().map(|(created_ms, path)| DecisionSegment { created_ms, path }).collect())
    }

    /// Every record of one segment about a decision made from `from_ms` and before `until_ms`, until `each` says not to
    /// go on. A segment that is gone holds none.
    pub fn read_segment(
        &self,
        segment: &DecisionSegment,
        from_ms: i64,
        until_ms: i64,
        mut each: impl FnMut(&Record<'_>) -> bool,
    ) -> ReadReport {
        let mut report = ReadReport::default();
        walk(segment, from_ms, until_ms, &mut report, &mut each);
        report
    }

    /// Every record about a decision made from `from_ms` and before `until_ms`, the segment begun last first and each
    /// segment in its own order, until `each` says not to go on or `most_bytes` were read; the report is complete if
    /// everything was seen. `each` is told with `None` that a segment is over.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn newest(
        &self,
        from_ms: i64,
        until_ms: i64,
        most_bytes: u64,
        mut each: impl FnMut(Option<&Record<'_>>) -> bool,
    ) -> Result<ReadReport, LogError> {
        let mut left = most_bytes;
        let mut report = ReadReport::default();
        for segment in self.segments()?.iter().rev() {
            if segment.begins_after(until_ms) || segment.is_older_than(from_ms) {
                continue;
            }
            let size = std::fs::metadata(&segment.path).map_or(0, |found| found.len());
            if size <= left {
                left -= size;
                walk(segment, from_ms, until_ms, &mut report, &mut |record| each(Some(record)));
                report.complete = report.complete && each(None);
            } else {
                report.complete = false;
            }
            if !report.complete {
                break;
            }
        }
        Ok(report)
    }

    /// Every record about one decision, in whatever segment it stands, until `each` says not to go on.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn about(&self, id: &[u8; 16], mut each: impl FnMut(&Record<'_>) -> bool) -> Result<ReadReport, LogError> {
        let at_ms = time_of(id);
        self.records(at_ms, at_ms.saturating_add(1), |record| record.id() != id || each(record))
    }

    /// Looks a decision up by its id; `found` is called once with it. A decision that is not found may stand in what the
    /// report names.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn find<T>(
        &self,
        id: &[u8; 16],
        found: impl FnOnce(&LoggedDecision<'_>) -> T,
    ) -> Result<(Option<T>, ReadReport), LogError> {
        let (mut found, mut answer) = (Some(found), None);
        let report = self.about(id, |record| {
            if let Record::Decision(decision) = record {
                answer = found.take().map(|found| found(decision));
            }
            found.is_some()
        })?;
        Ok((answer, report))
    }
}

/// Reads one segment into `each` and the report, which is complete unless `each` said not to go on.
pub(crate) fn walk(
    segment: &DecisionSegment,
    from_ms: i64,
    until_ms: i64,
    report: &mut ReadReport,
    each: &mut impl FnMut(&Record<'_>) -> bool,
) {
    let (file, path) = match segment.open() {
        Ok(Some(opened)) => opened,
        Ok(None) => return,
        Err(error) => return report.refuse(&segment.path, &error),
    };
    let mut losses = Losses::of(&path);
    let read = walk_file(&file, &path, &mut losses, &mut |record| {
        !(from_ms..until_ms).contains(&time_of(record.id())) || each(record)
    });
    losses.report(report);
    match read {
        Ok(goes_on) => report.complete &= goes_on,
        Err(error) => report.refuse(&path, &error),
    }
}

/// Every record of an open file; whether `each` always said to go on.
fn walk_file(
    file: &File,
    path: &Path,
    losses: &mut Losses,
    each: &mut impl FnMut(&Record<'_>) -> bool,
) -> io::Result<bool> {
    let length = file.metadata()?.len();
    let is_sealed = path.extension().is_some_and(|kind| kind == SEALED);
    let mut frames = Frames::of(file.take(length));
    while let Some(item) = frames.next()? {
        match item {
            Item::Record { record, .. } => {
                if !each(&record) {
                    return Ok(false);
                }
            }
            Item::Orphan { at, frame, number } => losses.orphan(at, frame, number),
            // What ends an open segment is being written.
            Item::Gap { at, bytes, .. } if !is_sealed && at + bytes == length => {}
            Item::Gap { at, bytes, .. } => losses.gap(at, bytes),
        }
    }
    Ok(true)
}

/// Damage of one segment, as a walk over it finds it.
#[derive(Debug)]
pub(crate) struct Losses {
    file: PathBuf,
    gaps: Vec<(u64, u64)>,
    /// Records whose model was lost, by number of the model: offset of the first one, their bytes and their number.
    orphans: BTreeMap<u16, (u64, u64, u64)>,
}

impl Losses {
    pub(crate) fn of(file: &Path) -> Self {
        Self { file: file.to_owned(), gaps: Vec::new(), orphans: BTreeMap::new() }
    }

    pub(crate) fn gap(&mut self, at: u64, bytes: u64) {
        match self.gaps.last_mut() {
            Some((start, length)) if *start + *length == at => *length += bytes,
            _ => self.gaps.push((at, bytes)),
        }
    }

    pub(crate) fn orphan(&mut self, at: u64, frame: &[u8], number: u16) {
        let (_, bytes, records) = self.orphans.entry(number).or_insert((at, 0, 0));
        *bytes += frame.len() as u64;
        *records += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.gaps.is_empty() && self.orphans.is_empty()
    }

    pub(crate) fn gaps(&self) -> impl Iterator<Item = Damage> + '_ {
        self.gaps.iter().map(|&(at, bytes)| self.damage(at, bytes, DamageKind::NoRecord))
    }

    /// Damages of the segment: offset, bytes, and number of records whose model was lost; 0 of these where the bytes are no
    /// record.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.gaps.iter().map(|&(at, bytes)| (at, bytes, 0)).chain(self.orphans.values().copied())
    }

    pub(crate) fn report(&self, report: &mut ReadReport) {
        self.gaps().for_each(|damage| report.add(damage));
        for &(at, bytes, records) in self.orphans.values() {
            report.add(self.damage(at, bytes, DamageKind::ModelLost { records }));
        }
    }

    fn damage(&self, at: u64, bytes: u64, kind: DamageKind) -> Damage {
        Damage { file: self.file.clone(), at, bytes, kind }
    }
}
