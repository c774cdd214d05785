//! Walks the frames of one segment, and goes on behind what is no frame.
//!
//! The walk holds a window of the file, about 1 MiB, whatever the file's size. Where no whole frame stands, it looks at
//! each following byte for one: a header whose length fits the shape of a known kind, and a CRC that fits the payload.
//! Nearly all bytes fail the shape, so the search is linear; the CRCs of long candidates, which could make it quadratic
//! on bytes chosen for it, have a budget for each damage. The price of looking everywhere is that a damaged record whose
//! own text is a whole frame, CRC and model number included, is read as that frame.

use crate::record::{self, LATER_FIELDS, MAGIC, MAX_KNOWN_PAYLOAD, MAX_PAYLOAD, MODEL, Models, Record, Shape};
use std::io::{self, Read};
use std::sync::Arc;

/// Number of bytes read at once.
const CHUNK: usize = 256 << 10;
/// Bytes of a frame's header: length and CRC, four bytes each.
const HEADER: usize = 8;
/// Candidates of the search up to this payload are checked without limit.
const SHORT: usize = 4 << 10;
/// Number of bytes in longer candidates whose CRC one damage may cost.
const BUDGET: usize = 1 << 30;

/// A piece of a segment. Offsets count from the start of the file.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    /// A whole record with its frame's bytes.
    Record { at: u64, frame: &'a [u8], record: Record<'a> },
    /// A whole frame of a decision or a shadow whose model's record was lost.
    Orphan { at: u64, frame: &'a [u8], number: u16 },
    /// Bytes that are no frame. `is_torn`: they end the file and are the beginning of a record whose writer died.
    Gap { at: u64, bytes: u64, is_torn: bool },
}

/// The walk's next step, without the borrow of the window.
enum Step {
    Frame(usize),
    Gap { at: u64, bytes: u64, is_torn: bool },
    End,
}

/// Reads a segment, or a part of one, front to back.
#[derive(Debug)]
pub(crate) struct Frames<R> {
    source: R,
    window: Vec<u8>,
    /// Offset of the window's first byte in the file.
    base: u64,
    /// Position of the walk in the window, from 0.
    at: usize,
    is_at_end: bool,
    /// The first bytes are not looked at yet.
    is_new: bool,
    models: Models,
}

impl<R: Read> Frames<R> {
    /// Walks a whole segment from its first byte.
    pub(crate) fn of(source: R) -> Self {
        Self { source, window: Vec::new(), base: 0, at: 0, is_at_end: false, is_new: true, models: Vec::new() }
    }

    /// Walks a part of a segment that begins with a frame at `base`, where these models are known.
    pub(crate) fn from(source: R, base: u64, models: Models) -> Self {
        Self { source, window: Vec::new(), base, at: 0, is_at_end: false, is_new: false, models }
    }

    /// Models that were met so far, by number.
    pub(crate) fn models(&self) -> &Models {
        &self.models
    }

    /// The next piece; none at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Item<'_>>> {
        let length = match self.step()? {
            Step::End => return Ok(None),
            Step::Gap { at, bytes, is_torn } => return Ok(Some(Item::Gap { at, bytes, is_torn })),
            Step::Frame(length) => length,
        };
        let start = self.at - length;
        let at = self.base + start as u64;
        let frame = &self.window[start..self.at];
        let payload = &frame[HEADER..];
        let Some(number) = record::number_of(payload) else {
            return Ok(Some(Item::Gap { at, bytes: length as u64, is_torn: false }));
        };
        let Some(model) = self.models.get(usize::from(number)).and_then(Option::as_ref) else {
            return Ok(Some(Item::Orphan { at, frame, number }));
        };
        Ok(Some(match record::decode(payload, model) {
            Some(record) => Item::Record { at, frame, record },
            None => Item::Gap { at, bytes: length as u64, is_torn: false },
        }))
    }

    /// Moves behind the next record, or behind what is none.
    fn step(&mut self) -> io::Result<Step> {
        if std::mem::take(&mut self.is_new) && self.fill(1)? {
            self.fill(MAGIC.len())?;
            if !self.rest().starts_with(MAGIC) {
                let is_torn = MAGIC.starts_with(self.rest());
                return self.gap(is_torn);
            }
            self.at += MAGIC.len();
        }
        loop {
            if !self.fill(1)? {
                return Ok(Step::End);
            }
            let Some(length) = self.whole_frame()? else {
                let is_torn = self.is_torn();
                return self.gap(is_torn);
            };
            let payload = self.at + HEADER..self.at + HEADER + length;
            self.at = payload.end;
            let kind = self.window[payload.start];
            match kind {
                record::DECISION | record::SHADOW => return Ok(Step::Frame(HEADER + length)),
                MODEL if !self.meet(payload.clone()) => {
                    let bytes = (HEADER + length) as u64;
                    return Ok(Step::Gap { at: self.base + self.at as u64 - bytes, bytes, is_torn: false });
                }
                // A model, or a kind of a later serin.
                _ => {}
            }
        }
    }

    /// Takes a model's record in; false where it contradicts another one.
    fn meet(&mut self, payload: std::ops::Range<usize>) -> bool {
        let Some((number, model)) = record::model(&self.window[payload]) else { return false };
        let number = usize::from(number);
        if self.models.len() <= number {
            // Those between had their records lost.
            self.models.resize(number + 1, None);
        }
        match &self.models[number] {
            Some(known) => known.sha256 == model.sha256 && known.width == model.width && known.version == model.version,
            None => {
                self.models[number] = Some(Arc::new(model));
                true
            }
        }
    }

    /// Length of the payload of the whole frame at the walk's place; none where there is none.
    fn whole_frame(&mut self) -> io::Result<Option<usize>> {
        if !self.fill(HEADER)? {
            return Ok(None);
        }
        let (length, crc) = header(self.rest());
        // No payload is empty: eight zeros of a lost page are no frame.
        if length == 0 || length > MAX_PAYLOAD || !self.fill(HEADER + length)? {
            return Ok(None);
        }
        Ok((crc32fast::hash(&self.rest()[HEADER..HEADER + length]) == crc).then_some(length))
    }

    /// Returns whether the bytes from here to the file's end are the beginning of one record. A whole record whose length was
    /// damaged is not: its shape says that it is all there.
    fn is_torn(&self) -> bool {
        let rest = self.rest();
        if rest.len() < HEADER {
            return true;
        }
        let (length, _) = header(rest);
        let payload = &rest[HEADER..];
        if length == 0 || length > MAX_PAYLOAD || length <= payload.len() {
            return false;
        }
        match record::shape(payload, &self.models) {
            Shape::Short => true,
            Shape::Exactly(expected) => {
                payload.len() < expected && (expected..=expected + LATER_FIELDS).contains(&length)
            }
            Shape::AtLeast(expected) => payload.len() < expected,
            Shape::Unknown => false,
        }
    }

    /// Moves from what is no frame to the next whole one, or to the end.
    fn gap(&mut self, is_torn: bool) -> io::Result<Step> {
        let start = self.base + self.at as u64;
        let mut budget = BUDGET;
        self.at += 1;
        loop {
            let all = self.fill(HEADER + MAX_KNOWN_PAYLOAD)?;
            let rest = self.rest();
            let places = if all { rest.len() - HEADER - MAX_KNOWN_PAYLOAD + 1 } else { rest.len() };
            let found = (0..places).find(|place| is_frame(&rest[*place..], &self.models, &mut budget));
            self.at += found.unwrap_or(places);
            if found.is_some() || !all {
                let bytes = self.base + self.at as u64 - start;
                return Ok(Step::Gap { at: start, bytes, is_torn: is_torn && found.is_none() });
            }
        }
    }

    fn rest(&self) -> &[u8] {
        &self.window[self.at..]
    }

    /// Reads until so many bytes stand in the window from the walk's place on; false where the file ends before.
    fn fill(&mut self, bytes: usize) -> io::Result<bool> {
        if self.window.len() - self.at >= bytes {
            return Ok(true);
        }
        self.window.drain(..self.at);
        self.base += self.at as u64;
        self.at = 0;
        while self.window.len() < bytes && !self.is_at_end {
            let wanted = CHUNK.max(bytes - self.window.len()) as u64;
            self.is_at_end = self.source.by_ref().take(wanted).read_to_end(&mut self.window)? == 0;
        }
        Ok(self.window.len() >= bytes)
    }
}

/// Length of the payload and its CRC, of at least eight bytes.
fn header(bytes: &[u8]) -> (usize, u32) {
    let [a, b, c, d, e, f, g, h] = bytes.first_chunk().copied().unwrap_or_default();
    (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]))
}

/// Returns whether a whole frame of a known kind begins with these bytes, which may lie anywhere in a damaged file.
fn is_frame(bytes: &[u8], models: &Models, budget: &mut usize) -> bool {
    if bytes.len() <= HEADER {
        return false;
    }
    let (length, crc) = header(bytes);
    if length == 0 || length > MAX_KNOWN_PAYLOAD {
        return false;
    }
    let Some(payload) = bytes.get(HEADER..HEADER + length) else { return false };
    let fits = match record::shape(payload, models) {
        Shape::Exactly(expected) => (expected..=expected + LATER_FIELDS).contains(&length),
        Shape::AtLeast(expected) => length >= expected,
        Shape::Short | Shape::Unknown => false,
    };
    if !fits {
        return false;
    }
    if length > SHORT {
        let Some(left) = budget.checked_sub(length) else { return false };
        *budget = left;
    }
    crc32fast::hash(payload) == crc
}
