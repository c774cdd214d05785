//! Index of a sealed segment, in a small file beside it, so that readers skip what they do not need.
//!
//! `NAME.idx` (little-endian) is: `SERINIX1 · segment's length u64 · models · hours · blocks · damages · CRC-32 u32 of
//! all before`. Each of the four lists begins with its length as u32; the items are:
//!
//! - a model: its frame as in the segment;
//! - an hour of a model: `model u16 · epoch hour i64 · decisions u32 · alerts u32`;
//! - a block of up to 4,096 records: `offset u64 · earliest and latest decision, epoch ms i64 i64 · models u64`, where bit
//!   n of the last says that model n decided in it, and bit 63 that a model from number 63 on did;
//! - a damage: `offset u64 · bytes u64 · records u64`, the last being 0 where the bytes are no record.
//!
//! An index is made from its segment alone, by the log's own thread or by the first reader that misses it. One that is
//! missing, damaged or made for another length of the segment is made again; where it cannot be written, the reader
//! works without.

use crate::columns::{ColumnsMaker, take};
use crate::durable::replace_durably;
use crate::frames::{Frames, Item};
use crate::reader::Losses;
use crate::record::{self, LoggedDecision, Models, Record};
use crate::segment::{COLUMNS, INDEX};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"SERINIX1";
/// Greatest number of records in one block.
const BLOCK: u32 = 4096;
const HOUR_MS: i64 = 3_600_000;

/// Numbers of decisions and alerts by number of the model and epoch hour.
pub(crate) type Hours = BTreeMap<(u16, i64), (u32, u32)>;

/// Adds a decision to its model's hour.
pub(crate) fn count(hours: &mut Hours, number: u16, decision: &LoggedDecision<'_>) {
    let (decisions, alerts) = hours.entry((number, decision.at_ms().div_euclid(HOUR_MS))).or_default();
    *decisions += 1;
    *alerts += u32::from(decision.alert);
}

/// A run of records in a segment, up to the next block or the segment's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) offset: u64,
    from_ms: i64,
    last_ms: i64,
    models: u64,
}

impl Block {
    /// Returns whether the block may hold a decision of one of these models from `from_ms` on and before `until_ms`.
    fn may_hold(&self, models: u64, from_ms: i64, until_ms: i64) -> bool {
        self.models & models != 0 && self.from_ms < until_ms && from_ms <= self.last_ms
    }
}

/// Contents of one sealed segment: its models, hours, blocks and damage.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Index {
    length: u64,
    pub(crate) models: Models,
    pub(crate) hours: Hours,
    blocks: Vec<Block>,
    /// Damages: offset, bytes, and number of records whose model was lost, 0 for bytes that are no record.
    pub(crate) damages: Vec<(u64, u64, u64)>,
}

impl Index {
    /// Reads the index beside an open segment; makes and writes it where there is none that fits.
    pub(crate) fn of(file: &File, path: &Path) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let beside = path.with_extension(INDEX);
        let known = std::fs::read(&beside).ok().and_then(|bytes| Self::decode(&bytes));
        if let Some(known) = known.filter(|known| known.length == length) {
            return Ok(known);
        }
        Self::made(file, path).map(|(index, _)| index)
    }

    /// Makes a segment's index and columns in one reading and writes them beside it; where that cannot be, they are returned
    /// all the same. The columns come as the bytes of their file.
    pub(crate) fn made(file: &File, path: &Path) -> io::Result<(Self, Vec<u8>)> {
        let (index, columns) = Self::scan(file, path, file.metadata()?.len())?;
        let columns = columns.encode(index.length);
        for (ending, bytes) in [(INDEX, &index.encode()), (COLUMNS, &columns)] {
            let beside = path.with_extension(ending);
            if let Err(error) = replace_durably(&beside, bytes) {
                tracing::debug!("{}: {error}", beside.display());
            }
        }
        Ok((index, columns))
    }

    /// Makes index and columns of a segment that was just sealed; one that is gone again needs none.
    pub(crate) fn make(path: &Path) {
        let made = File::open(path).and_then(|file| Self::made(&file, path).map(drop));
        if let Err(error) = made
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("{}: no index: {error}", path.display());
        }
    }

    fn scan(mut file: &File, path: &Path, length: u64) -> io::Result<(Self, ColumnsMaker)> {
        file.seek(SeekFrom::Start(0))?;
        let (mut made, mut columns) = (Self { length, ..Self::default() }, ColumnsMaker::default());
        let (mut frames, mut losses, mut records) = (Frames::of(file), Losses::of(path), BLOCK);
        while let Some(item) = frames.next()? {
            match item {
                Item::Record { at, frame, record } => {
                    if records == BLOCK {
                        made.blocks.push(Block { offset: at, from_ms: i64::MAX, last_ms: i64::MIN, models: 0 });
                        records = 0;
                    }
                    records += 1;
                    if let (Record::Decision(decision), Some(block)) = (&record, made.blocks.last_mut()) {
                        let number = record::number_of(&frame[8..]).unwrap_or(u16::MAX);
                        block.from_ms = block.from_ms.min(decision.at_ms());
                        block.last_ms = block.last_ms.max(decision.at_ms());
                        block.models |= record::model_bit(number);
                        count(&mut made.hours, number, decision);
                        columns.add(at, number, frame[9], decision);
                    }
                }
                Item::Orphan { at, frame, number } => losses.orphan(at, frame, number),
                Item::Gap { at, bytes, .. } => losses.gap(at, bytes),
            }
        }
        made.models = frames.models().clone();
        made.damages = losses.ranges().collect();
        Ok((made, columns))
    }

    /// Returns whether a model decided in the segment from `from_ms` on and before `until_ms`, to the hour.
    fn is_in(&self, number: u16, from_ms: i64, until_ms: i64) -> bool {
        let hours = (number, from_ms.div_euclid(HOUR_MS))..=(number, until_ms.saturating_sub(1).div_euclid(HOUR_MS));
        !hours.is_empty() && self.hours.range(hours).next().is_some()
    }

    /// Returns the byte ranges in which decisions from `from_ms` on and before `until_ms` of the wanted models stand, each
    /// beginning with a frame; neighbouring blocks are one range.
    pub(crate) fn ranges(
        &self,
        wanted: impl Fn(&record::LoggedModel) -> bool,
        from_ms: i64,
        until_ms: i64,
    ) -> Vec<(u64, u64)> {
        let numbers = self.models.iter().enumerate().filter_map(|(number, model)| {
            let number = number as u16;
            let is_wanted = model.as_ref().is_some_and(|model| wanted(model));
            (is_wanted && self.is_in(number, from_ms, until_ms)).then(|| record::model_bit(number))
        });
        let models = numbers.fold(0, |all, bit| all | bit);
        let ends = self.blocks.iter().skip(1).map(|block| block.offset).chain(std::iter::once(self.length));
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (block, end) in self.blocks.iter().zip(ends) {
            if block.may_hold(models, from_ms, until_ms) {
                match ranges.last_mut() {
                    Some((_, last)) if *last == block.offset => *last = end,
                    _ => ranges.push((block.offset, end)),
                }
            }
        }
        ranges
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(self.length.to_le_bytes());
        let models =
            || self.models.iter().enumerate().filter_map(|(number, model)| Some((model.as_ref()?, number as u16)));
        put_length(&mut out, models().count());
        models().for_each(|(model, number)| record::put_model(&mut out, number, model));
        put_length(&mut out, self.hours.len());
        for (&(number, hour), &(decisions, alerts)) in &self.hours {
            out.extend(number.to_le_bytes());
            out.extend(hour.to_le_bytes());
            out.extend(decisions.to_le_bytes());
            out.extend(alerts.to_le_bytes());
        }
        put_length(&mut out, self.blocks.len());
        for block in &self.blocks {
            out.extend(block.offset.to_le_bytes());
            out.extend(block.from_ms.to_le_bytes());
            out.extend(block.last_ms.to_le_bytes());
            out.extend(block.models.to_le_bytes());
        }
        put_length(&mut out, self.damages.len());
        for (at, bytes, records) in &self.damages {
            [at, bytes, records].into_iter().for_each(|number| out.extend(number.to_le_bytes()));
        }
        let crc = crc32fast::hash(&out);
        out.extend(crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut rest = body.strip_prefix(MAGIC)?;
        let mut found = Self { length: u64::from_le_bytes(take(&mut rest)?), ..Self::default() };
        for _ in 0..length(&mut rest)? {
            let size = length(&mut rest)?;
            let _crc: [u8; 4] = take(&mut rest)?;
            let (payload, behind) = rest.split_at_checked(size)?;
            rest = behind;
            let (number, model) = record::model(payload)?;
            found.models.resize(found.models.len().max(usize::from(number) + 1), None);
            found.models[usize::from(number)] = Some(Arc::new(model));
        }
        for _ in 0..length(&mut rest)? {
            let key = (u16::from_le_bytes(take(&mut rest)?), i64::from_le_bytes(take(&mut rest)?));
            let counts = (u32::from_le_bytes(take(&mut rest)?), u32::from_le_bytes(take(&mut rest)?));
            found.hours.insert(key, counts);
        }
        for _ in 0..length(&mut rest)? {
            found.blocks.push(Block {
                offset: u64::from_le_bytes(take(&mut rest)?),
                from_ms: i64::from_le_bytes(take(&mut rest)?),
                last_ms: i64::from_le_bytes(take(&mut rest)?),
                models: u64::from_le_bytes(take(&mut rest)?),
            });
        }
        for _ in 0..length(&mut rest)? {
            let [at, bytes, records] = [take(&mut rest)?, take(&mut rest)?, take(&mut rest)?].map(u64::from_le_bytes);
            found.damages.push((at, bytes, records));
        }
        rest.is_empty().then_some(found)
    }
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend((length as u32).to_le_bytes());
}

fn length(rest: &mut &[u8]) -> Option<usize> {
    Some(u32::from_le_bytes(take(rest)?) as usize)
}
