//! Reading what figures need of millions of decisions, on several threads, without their features and texts.

use crate::columns::{self, Columns, Source as Bytes};
use crate::damage::{Damage, DamageKind, ReadReport};
use crate::error::LogError;
use crate::ids::{id_head, text_key};
use crate::index::Index;
use crate::indexed::indexed;
use crate::reader::{DecisionFiles, DecisionSegment, walk};
use crate::record::{self, Fallback, LoggedDecision, LoggedModel, Models, Record};
use crate::segment::COLUMNS;
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Greatest number of threads that read at once.
const THREADS: usize = 4;
/// Bytes of a decision's frame that are read first; a longer frame is read twice.
const FRAME: usize = 512;
/// Bytes of a frame's length and CRC-32.
const HEADER: usize = 8;

/// What figures need of one decision, without its features and texts.
#[derive(Debug, Clone, Copy)]
pub struct DecisionOutline<'a> {
    /// Model that made the decision, or in whose place a fallback did.
    pub model: &'a Arc<LoggedModel>,
    /// First half of the decision's id, see [`id_head`].
    pub id_head: u64,
    /// Time of the transaction, epoch milliseconds; that of the decision where nobody said.
    pub happened_at_ms: i64,
    /// [`text_key`] of the caller's name of the transaction; 0 without one.
    pub transaction_key: u64,
    /// [`text_key`] of the card, customer or terminal; 0 without one.
    pub entity_key: u64,
    /// Score that was given, to the bit.
    pub score: f32,
    /// True if the payment was treated as an alert; false where exploration let it through.
    pub alert: bool,
    /// Probability with which exploration lets such an alert through, above 0; none where exploration had no part.
    pub propensity: Option<f32>,
    /// What decided in the model's place; none where the model decided.
    pub fallback: Option<Fallback>,
    /// True if the candidate of a release decided, false if the stable version did; none without a release.
    pub candidate: Option<bool>,
    source: Source<'a>,
}

/// Where the whole decision is.
#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    Read(&'a LoggedDecision<'a>),
    At { offset: u64, file: &'a File, lost: &'a RefCell<Vec<u64>> },
}

impl<'a> DecisionOutline<'a> {
    fn of(decision: &'a LoggedDecision<'a>) -> Self {
        Self {
            model: decision.model,
            id_head: id_head(&decision.id),
            happened_at_ms: decision.happened_at_ms(),
            transaction_key: text_key(decision.transaction_id),
            entity_key: text_key(decision.entity),
            score: decision.score,
            alert: decision.alert,
            propensity: decision.propensity,
            fallback: decision.fallback,
            candidate: decision.assigned.map(|assigned| assigned.candidate),
            source: Source::Read(decision),
        }
    }

    /// Time of the decision, epoch milliseconds.
    #[must_use]
    pub fn at_ms(&self) -> i64 {
        (self.id_head >> 16) as i64
    }

    /// Returns whether the score asked for an alert, whatever exploration made of it.
    #[must_use]
    pub fn asked_for_alert(&self) -> bool {
        self.alert || self.propensity.is_some()
    }

    /// Reads the decision with its texts and features. None where its record was damaged since the columns were made; the
    /// report of the reading names it.
    pub fn whole<T>(&self, read: impl FnOnce(&LoggedDecision<'_>) -> T) -> Option<T> {
        let (offset, file, lost) = match self.source {
            Source::Read(decision) => return Some(read(decision)),
            Source::At { offset, file, lost } => (offset, file, lost),
        };
        let frame = frame_at(file, offset).ok().flatten();
        let payload = frame.as_ref().and_then(|frame| record::decode(&frame[HEADER..], self.model));
        match payload {
            Some(Record::Decision(decision)) if id_head(&decision.id) == self.id_head => Some(read(&decision)),
            _ => {
                lost.borrow_mut().push(offset);
                None
            }
        }
    }
}

/// Reads the whole frame at an offset; none where there is none.
fn frame_at(file: &File, offset: u64) -> io::Result<Option<Vec<u8>>> {
    let mut frame = vec![0; FRAME];
    let mut there = 0;
    while there < frame.len() {
        match file.read_at(&mut frame[there..], offset + there as u64)? {
            0 => break,
            more => there += more,
        }
    }
    let Some(&[a, b, c, d, e, f, g, h]) = frame[..there].first_chunk() else { return Ok(None) };
    let (length, crc) = (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]));
    if length == 0 || length > record::MAX_PAYLOAD {
        return Ok(None);
    }
    frame.resize(HEADER + length, 0);
    if frame.len() > there {
        file.read_exact_at(&mut frame[there..], offset + there as u64)?;
    }
    Ok((crc32fast::hash(&frame[HEADER..]) == crc).then_some(frame))
}

impl DecisionFiles {
    /// Every decision of a model's versions made from `from_ms` and before `until_ms`, epoch milliseconds, in outline. No version
    /// stands for all of them.
    ///
    /// Several threads read, each some of the segments. Each gives what it reads to a sum of its own, which `begin` makes and
    /// `each` adds to; the sums are returned, in no order. Damage is reported as by [`Self::read_of`], but that of records which
    /// came after the index is seen only where a decision is read whole.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn outlines<S: Send>(
        &self,
        name: &str,
        versions: &[&str],
        (from_ms, until_ms): (i64, i64),
        begin: impl Fn() -> S + Sync,
        each: impl Fn(&mut S, &DecisionOutline<'_>) + Sync,
    ) -> Result<(Vec<S>, ReadReport), LogError> {
        let wanted =
            |model: &LoggedModel| model.name == name && (versions.is_empty() || versions.contains(&&*model.version));
        let segments = self.segments_between(from_ms, until_ms)?;
        let next = AtomicUsize::new(0);
        let work = || {
            let (mut sum, mut report, mut buffer) = (begin(), ReadReport::default(), Vec::new());
            while let Some(segment) = segments.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut each = |outline: &DecisionOutline<'_>| each(&mut sum, outline);
                read(segment, &wanted, (from_ms, until_ms), &mut report, &mut buffer, &mut each);
            }
            (sum, report)
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS).min(segments.len());
        let parts = std::thread::scope(|scope| {
            // Where no thread can be had, this one does the work alone.
            let spawn = |_| std::thread::Builder::new().name("outlines".to_owned()).spawn_scoped(scope, work).ok();
            let others: Vec<_> = (1..threads).filter_map(spawn).collect();
            let mut parts = vec![work()];
            for other in others {
                parts.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            parts
        });
        let (mut sums, mut report) = (Vec::new(), ReadReport::default());
        for (sum, part) in parts {
            sums.push(sum);
            report.merge(part);
        }
        report.damages.sort_by(|a, b| (&a.file, a.at).cmp(&(&b.file, b.at)));
        Ok((sums, report))
    }
}

/// Reads one segment by its columns, or record by record where it has none.
fn read(
    segment: &DecisionSegment,
    wanted: &impl Fn(&LoggedModel) -> bool,
    (from_ms, until_ms): (i64, i64),
    report: &mut ReadReport,
    buffer: &mut Vec<u8>,
    each: &mut impl FnMut(&DecisionOutline<'_>),
) {
    let Some((file, index)) = indexed(segment, report) else {
        walk(segment, from_ms, until_ms, report, &mut |record| {
            if let Record::Decision(decision) = record
                && wanted(decision.model)
            {
                each(&DecisionOutline::of(decision));
            }
            true
        });
        return;
    };
    if let Err(error) = read_columns(segment, &file, &index, wanted, (from_ms, until_ms), report, buffer, each) {
        report.refuse(segment.path(), &error);
    }
}

#[expect(clippy::too_many_arguments, reason = "the state of one reading")]
fn read_columns(
    segment: &DecisionSegment,
    file: &File,
    index: &Index,
    wanted: &impl Fn(&LoggedModel) -> bool,
    (from_ms, until_ms): (i64, i64),
    report: &mut ReadReport,
    buffer: &mut Vec<u8>,
    each: &mut impl FnMut(&DecisionOutline<'_>),
) -> io::Result<()> {
    let is_wanted = |model: &Option<Arc<LoggedModel>>| model.clone().filter(|model| wanted(model));
    let models: Models = index.models.iter().map(is_wanted).collect();
    let bits = |(number, model): (usize, &Option<Arc<LoggedModel>>)| {
        model.as_ref().map_or(0, |_| record::model_bit(u16::try_from(number).unwrap_or(u16::MAX)))
    };
    let bits = models.iter().enumerate().map(bits).fold(0, |all, bit| all | bit);
    if bits == 0 {
        return Ok(());
    }
    let mut columns = columns_of(file, segment.path())?;
    let blocks: Vec<_> = columns.blocks().enumerate().collect();
    let lost = RefCell::new(Vec::new());
    for (place, block) in blocks.iter().filter(|(_, block)| block.may_hold(bits, from_ms, until_ms)) {
        if !columns.read(*place, buffer) {
            columns = columns_made(file, segment.path())?;
            if !columns.read(*place, buffer) {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        columns::each_row(block, buffer, |row| {
            let Some(model) = models.get(usize::from(row.number)).and_then(Option::as_ref) else { return };
            let outline = DecisionOutline {
                model,
                id_head: row.id_head,
                happened_at_ms: row.happened_at_ms,
                transaction_key: row.transaction_key,
                entity_key: row.entity_key,
                score: row.score,
                alert: row.flags.alert(),
                propensity: row.propensity,
                fallback: row.flags.fallback(),
                candidate: row.flags.candidate(),
                source: Source::At { offset: row.offset, file, lost: &lost },
            };
            if (from_ms..until_ms).contains(&outline.at_ms()) {
                each(&outline);
            }
        });
    }
    for at in lost.into_inner() {
        report.add(Damage { file: segment.path().to_owned(), at, bytes: 0, kind: DamageKind::NoRecord });
    }
    Ok(())
}

/// Opens the columns beside an open segment; makes and writes them where there are none that fit.
fn columns_of(file: &File, path: &Path) -> io::Result<Columns> {
    let length = file.metadata()?.len();
    let beside = File::open(path.with_extension(COLUMNS)).map(Bytes::Disk);
    match beside.ok().and_then(|source| Columns::open(source, length)) {
        Some(found) => Ok(found),
        None => columns_made(file, path),
    }
}

/// Makes the columns of an open segment from its bytes, and writes them beside it.
fn columns_made(file: &File, path: &Path) -> io::Result<Columns> {
    let (_, columns) = Index::made(file, path)?;
    let length = file.metadata()?.len();
    Columns::open(Bytes::Memory(columns), length).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
