//! Columns of a sealed segment, in a file beside it: what figures need of each decision, so that counting millions of them
//! reads 43 bytes of each, and neither features nor texts.
//!
//! `NAME.col` (little-endian) is: `SERINCO1 · segment's length u64 · number of blocks u32 · blocks · CRC-32 u32 of all
//! before · the blocks' columns, one block after the other`.
//!
//! - A block in the list is: `rows u32 · propensities u32 · offset u64 · earliest and latest decision, epoch ms i64 i64 ·
//!   models u64, as in the index · CRC-32 u32 of its columns`. It holds up to 4,096 decisions in the segment's order.
//! - Its columns are, each for all rows: `first half of the id, big-endian u64 · time of the transaction, epoch ms i64 · key
//!   of the transaction u64 · key of the entity u64 · score f32 · offset of the frame behind the block's u32 · model u16 ·
//!   flags u8`, and then `propensity f32` of those rows whose flags say that there is one. A key is [`text_key`].
//!
//! Columns are made of their segment alone, together with its index. A file that is missing, damaged or made for another
//! length of the segment is made again; where it cannot be written, the reader works without.

use crate::ids::{id_head, text_key};
use crate::record::{self, Flags, LoggedDecision};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const MAGIC: &[u8; 8] = b"SERINCO1";
/// Greatest number of rows in one block.
const ROWS: u32 = 4096;
/// Bytes of the file before the list of blocks.
const START: usize = 20;
/// Bytes of a block in the list.
const LISTED: usize = 44;
/// Bytes of a row without its propensity.
const ROW: usize = 43;

/// A block in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ColumnBlock {
    rows: u32,
    propensities: u32,
    offset: u64,
    from_ms: i64,
    last_ms: i64,
    models: u64,
    crc: u32,
}

impl ColumnBlock {
    /// Returns whether the block may hold a decision of one of these models from `from_ms` on and before `until_ms`, epoch
    /// milliseconds.
    pub(crate) fn may_hold(&self, models: u64, from_ms: i64, until_ms: i64) -> bool {
        self.models & models != 0 && self.from_ms < until_ms && from_ms <= self.last_ms
    }

    fn bytes(&self) -> usize {
        self.rows as usize * ROW + self.propensities as usize * 4
    }
}

/// One block while it is made.
#[derive(Debug, Default)]
struct Making {
    rows: u32,
    offset: u64,
    from_ms: i64,
    last_ms: i64,
    models: u64,
    ids: Vec<u8>,
    times: Vec<u8>,
    transactions: Vec<u8>,
    entities: Vec<u8>,
    scores: Vec<u8>,
    offsets: Vec<u8>,
    numbers: Vec<u8>,
    flags: Vec<u8>,
    propensities: Vec<u8>,
}

/// Columns of a segment that is being read.
#[derive(Debug, Default)]
pub(crate) struct ColumnsMaker {
    making: Making,
    blocks: Vec<ColumnBlock>,
    columns: Vec<u8>,
}

impl ColumnsMaker {
    /// Adds the decision whose frame stands at `at`, with the number of its model and its flags.
    pub(crate) fn add(&mut self, at: u64, number: u16, flags: u8, decision: &LoggedDecision<'_>) {
        let is_far = at - self.making.offset > u64::from(u32::MAX);
        if self.making.rows > 0 && (self.making.rows == ROWS || is_far) {
            self.end_block();
        }
        let making = &mut self.making;
        if making.rows == 0 {
            (making.offset, making.from_ms, making.last_ms) = (at, i64::MAX, i64::MIN);
        }
        making.rows += 1;
        making.from_ms = making.from_ms.min(decision.at_ms());
        making.last_ms = making.last_ms.max(decision.at_ms());
        making.models |= record::model_bit(number);
        making.ids.extend(id_head(&decision.id).to_be_bytes());
        making.times.extend(decision.happened_at_ms().to_le_bytes());
        making.transactions.extend(text_key(decision.transaction_id).to_le_bytes());
        making.entities.extend(text_key(decision.entity).to_le_bytes());
        making.scores.extend(decision.score.to_bits().to_le_bytes());
        making.offsets.extend(((at - making.offset) as u32).to_le_bytes());
        making.numbers.extend(number.to_le_bytes());
        making.flags.push(flags);
        if let Some(propensity) = decision.propensity {
            making.propensities.extend(propensity.to_bits().to_le_bytes());
        }
    }

    fn end_block(&mut self) {
        let done = std::mem::take(&mut self.making);
        let start = self.columns.len();
        for column in [
            done.ids,
            done.times,
            done.transactions,
            done.entities,
            done.scores,
            done.offsets,
            done.numbers,
            done.flags,
            // At the end, where its length moves no other column.
            done.propensities.clone(),
        ] {
            self.columns.extend(column);
        }
        self.blocks.push(ColumnBlock {
            rows: done.rows,
            propensities: (done.propensities.len() / 4) as u32,
            offset: done.offset,
            from_ms: done.from_ms,
            last_ms: done.last_ms,
            models: done.models,
            crc: crc32fast::hash(&self.columns[start..]),
        });
    }

    /// Returns the bytes of the file, for a segment of that length.
    pub(crate) fn encode(mut self, length: u64) -> Vec<u8> {
        if self.making.rows > 0 {
            self.end_block();
        }
        let mut out = MAGIC.to_vec();
        out.extend(length.to_le_bytes());
        out.extend((self.blocks.len() as u32).to_le_bytes());
        for block in &self.blocks {
            out.extend(block.rows.to_le_bytes());
            out.extend(block.propensities.to_le_bytes());
            out.extend(block.offset.to_le_bytes());
            out.extend(block.from_ms.to_le_bytes());
            out.extend(block.last_ms.to_le_bytes());
            out.extend(block.models.to_le_bytes());
            out.extend(block.crc.to_le_bytes());
        }
        let crc = crc32fast::hash(&out);
        out.extend(crc.to_le_bytes());
        out.extend(self.columns);
        out
    }
}

/// Where the bytes of columns are.
#[derive(Debug)]
pub(crate) enum Source {
    Disk(File),
    Memory(Vec<u8>),
}

impl Source {
    fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Disk(file) => file.read_exact_at(buffer, at),
            Self::Memory(bytes) => {
                let there = usize::try_from(at).ok().and_then(|at| bytes.get(at..)?.get(..buffer.len()));
                buffer.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

/// Columns of one sealed segment, ready to be read block by block.
#[derive(Debug)]
pub(crate) struct Columns {
    source: Source,
    /// Each block with the offset of its columns.
    blocks: Vec<(ColumnBlock, u64)>,
}

impl Columns {
    /// Reads the list of blocks; none where the bytes are damaged or of another segment.
    pub(crate) fn open(source: Source, length: u64) -> Option<Self> {
        let mut head = [0; START];
        source.read(0, &mut head).ok()?;
        let mut rest = head.strip_prefix(MAGIC)?;
        if u64::from_le_bytes(take(&mut rest)?) != length {
            return None;
        }
        let count = u32::from_le_bytes(take(&mut rest)?);
        // A frame takes more than 8 bytes: a count beyond that is damage, and no reason to take so much memory.
        if u64::from(count) > length / 8 {
            return None;
        }
        let mut listed = vec![0; START + count as usize * LISTED + 4];
        source.read(0, &mut listed).ok()?;
        let (body, crc) = listed.split_last_chunk()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (mut rest, mut at) = (&body[START..], listed.len() as u64);
        let mut blocks = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let block = ColumnBlock {
                rows: u32::from_le_bytes(take(&mut rest)?),
                propensities: u32::from_le_bytes(take(&mut rest)?),
                offset: u64::from_le_bytes(take(&mut rest)?),
                from_ms: i64::from_le_bytes(take(&mut rest)?),
                last_ms: i64::from_le_bytes(take(&mut rest)?),
                models: u64::from_le_bytes(take(&mut rest)?),
                crc: u32::from_le_bytes(take(&mut rest)?),
            };
            blocks.push((block, at));
            at += block.bytes() as u64;
        }
        Some(Self { source, blocks })
    }

    /// Returns the blocks of the segment in its order.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = ColumnBlock> + '_ {
        self.blocks.iter().map(|(block, _)| *block)
    }

    /// Reads the columns of the block at a place of the list into the buffer; false where they are damaged.
    pub(crate) fn read(&self, place: usize, buffer: &mut Vec<u8>) -> bool {
        let Some((block, at)) = self.blocks.get(place) else { return false };
        buffer.resize(block.bytes(), 0);
        self.source.read(*at, buffer).is_ok() && crc32fast::hash(buffer) == block.crc
    }
}

/// A row of columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ColumnRow {
    pub(crate) id_head: u64,
    pub(crate) happened_at_ms: i64,
    pub(crate) transaction_key: u64,
    pub(crate) entity_key: u64,
    pub(crate) score: f32,
    /// Offset of the decision's frame in the segment.
    pub(crate) offset: u64,
    pub(crate) number: u16,
    pub(crate) flags: Flags,
    pub(crate) propensity: Option<f32>,
}

/// Calls `each` with the rows of a block whose columns were read into `bytes`.
pub(crate) fn each_row(block: &ColumnBlock, bytes: &[u8], mut each: impl FnMut(&ColumnRow)) {
    let rows = block.rows as usize;
    let (eights, rest) = bytes.split_at(rows * 32);
    let (fours, rest) = rest.split_at(rows * 8);
    let (twos, rest) = rest.split_at(rows * 2);
    let (flags, propensities) = rest.split_at(rows);
    let (eights, fours) = (eights.as_chunks::<8>().0, fours.as_chunks::<4>().0);
    let (ids, eights) = eights.split_at(rows);
    let (times, eights) = eights.split_at(rows);
    let (transactions, entities) = eights.split_at(rows);
    let (scores, offsets) = fours.split_at(rows);
    let numbers = twos.as_chunks::<2>().0;
    let mut propensities = propensities.as_chunks::<4>().0.iter();
    let float = |bytes: [u8; 4]| f32::from_bits(u32::from_le_bytes(bytes));
    for row in 0..rows {
        let flags = Flags(flags[row]);
        let propensity = if flags.is_explored() { propensities.next().map(|bytes| float(*bytes)) } else { None };
        each(&ColumnRow {
            id_head: u64::from_be_bytes(ids[row]),
            happened_at_ms: i64::from_le_bytes(times[row]),
            transaction_key: u64::from_le_bytes(transactions[row]),
            entity_key: u64::from_le_bytes(entities[row]),
            score: float(scores[row]),
            offset: block.offset + u64::from(u32::from_le_bytes(offsets[row])),
            number: u16::from_le_bytes(numbers[row]),
            flags,
            propensity,
        });
    }
}

/// Takes the first bytes of what is left; none where there are too few.
pub(crate) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*taken)
}
