//! What a segment holds, byte by byte (little-endian).
//!
//! A segment is [`MAGIC`] and frames: `length u32 · CRC-32 u32 of the payload · payload`. A payload begins with its
//! kind:
//!
//! - 1, a decision: `flags u8 · model u16 · id 16 · score u32 · latency_ns u32 · [weight u16] · [event_time_ms i64] · length u8 ·
//!   transaction id · length u8 · entity · features f32… · [propensity f32]`
//! - 2, a model: `number u16 · threshold u32 · width u16 · sha256 32 · length u16 · name · length u16 · version`,
//!   before its first decision;
//! - 3, a candidate's score of a decision made elsewhere in the log: `flags u8 · model u16 · id 16 · score u32`.
//!
//! The time of a decision is in its id, a UUID of version 7.

use std::sync::Arc;

pub(super) const MAGIC: &[u8; 8] = b"SERINDL1";
/// Longest payload that is believed; a decision of 65,535 features is shorter.
const MAX_PAYLOAD: usize = 1 << 20;
const DECISION: u8 = 1;
const MODEL: u8 = 2;
const SHADOW: u8 = 3;
const ALERT: u8 = 1;
const EVENT_TIME: u8 = 2;
/// Two bits above it hold the position of the fallback in [`Fallback::ALL`].
const BY_FALLBACK: u8 = 4;
const FALLBACK_SHIFT: u8 = 3;

/// The decision belongs to a release: its weight follows the latency.
const ASSIGNED: u8 = 32;
const CANDIDATE: u8 = 64;

/// An alert that exploration might let through: with which probability stands at the end.
const EXPLORED: u8 = 128;

/// The share of a release, and whose the decision was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigned {
    /// The candidate's share of the traffic at that time, in units of 1/10,000.
    pub weight: u16,
    /// The candidate decided; the stable version otherwise.
    pub candidate: bool,
}

/// What decided where the model did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// The last model that was loaded and checked, kept for when none can be.
    LastGood,
    /// A score made of rules.
    Rules,
    /// Passed unseen.
    Allow,
    /// Stopped unseen.
    Decline,
}

impl Fallback {
    /// In the order of their numbers.
    pub const ALL: [Self; 4] = [Self::LastGood, Self::Rules, Self::Allow, Self::Decline];

    /// Whether a score is a model's, that of now or the last good one; by what decided in the model's place.
    #[must_use]
    pub fn is_of_a_model(fallback: Option<Self>) -> bool {
        matches!(fallback, None | Some(Self::LastGood))
    }

    /// As the command line and the answers call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LastGood => "last-good",
            Self::Rules => "rules",
            Self::Allow => "allow",
            Self::Decline => "decline",
        }
    }
}

/// The model that decided.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedModel {
    /// Registered name, or path.
    pub name: String,
    /// Version, or empty.
    pub version: String,
    /// Of the model file.
    pub sha256: [u8; 32],
    /// Scores from it up are alerts.
    pub threshold: f32,
    /// Features of a row.
    pub width: usize,
}

/// A decision to be written.
#[derive(Debug, Clone, Copy)]
pub struct NewDecision<'a> {
    /// UUID of version 7: unique, and when it was decided.
    pub id: [u8; 16],
    /// The caller's name of the transaction, or empty; at most 255 bytes.
    pub transaction_id: &'a str,
    /// Card, customer or terminal, or empty; at most 255 bytes.
    pub entity: &'a str,
    /// When the transaction happened, epoch milliseconds.
    pub event_time_ms: Option<i64>,
    /// Exactly what was scored.
    pub features: &'a [f32],
    /// Exactly what came out.
    pub score: f32,
    /// What was done.
    pub alert: bool,
    /// Of an alert that exploration might let through, with which probability; it was where `alert` is false.
    pub propensity: Option<f32>,
    /// What decided in the model's place.
    pub fallback: Option<Fallback>,
    /// The release it was a part of.
    pub assigned: Option<Assigned>,
    /// Nanoseconds from the request's head to the decision.
    pub latency_ns: u32,
}

/// What a candidate would have decided, to be written.
#[derive(Debug, Clone, Copy)]
pub struct NewShadow {
    /// Of the decision.
    pub id: [u8; 16],
    /// Exactly what came out.
    pub score: f32,
    /// What it would have done.
    pub alert: bool,
}

/// What a candidate would have decided.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedShadow<'a> {
    /// Of the decision.
    pub id: [u8; 16],
    /// The candidate.
    pub model: &'a Arc<LoggedModel>,
    /// Score's bits.
    pub score: f32,
    /// What it would have done.
    pub alert: bool,
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq)]
pub enum Record<'a> {
    /// What was decided.
    Decision(LoggedDecision<'a>),
    /// What a candidate would have decided.
    Shadow(LoggedShadow<'a>),
}

impl Record<'_> {
    /// Of the decision that it is about.
    pub(super) fn id(&self) -> &[u8; 16] {
        match self {
            Self::Decision(decision) => &decision.id,
            Self::Shadow(shadow) => &shadow.id,
        }
    }
}

/// A decision that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedDecision<'a> {
    /// UUID of version 7.
    pub id: [u8; 16],
    /// Who decided.
    pub model: &'a Arc<LoggedModel>,
    /// The caller's name of the transaction, or empty.
    pub transaction_id: &'a str,
    /// Card, customer or terminal, or empty.
    pub entity: &'a str,
    /// When the transaction happened, epoch milliseconds.
    pub event_time_ms: Option<i64>,
    /// Score's bits.
    pub score: f32,
    /// What was done.
    pub alert: bool,
    /// Of an alert that exploration might let through, with which probability; it was where `alert` is false.
    pub propensity: Option<f32>,
    /// What decided in the model's place; the score is the model's only without it, or by the last good one.
    pub fallback: Option<Fallback>,
    /// The release it was a part of.
    pub assigned: Option<Assigned>,
    /// Nanoseconds.
    pub latency_ns: u32,
    /// The features' bytes.
    features: &'a [u8],
}

impl LoggedDecision<'_> {
    /// When it was decided, epoch milliseconds.
    #[must_use]
    pub fn at_ms(&self) -> i64 {
        time_of(&self.id)
    }

    /// When the transaction happened, epoch milliseconds: when it was decided, where nobody said.
    #[must_use]
    pub fn happened_at_ms(&self) -> i64 {
        self.event_time_ms.unwrap_or_else(|| self.at_ms())
    }

    /// Whether the score asked for an alert, whatever exploration made of it.
    #[must_use]
    pub fn asked_for_alert(&self) -> bool {
        self.alert || self.propensity.is_some()
    }

    /// How many decisions it stands for where outcomes are counted: more than itself where exploration let it through, none
    /// where exploration held it (others stand for it then).
    #[must_use]
    pub fn stands_for(&self) -> Option<f32> {
        match self.propensity {
            None => Some(1.0),
            Some(_) if self.alert => None,
            Some(propensity) => Some(propensity.recip()),
        }
    }

    /// What was scored, to the bit.
    pub fn features(&self) -> impl ExactSizeIterator<Item = f32> + '_ {
        self.features.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
    }
}

/// Milliseconds of a UUID of version 7.
pub(super) fn time_of(id: &[u8; 16]) -> i64 {
    id[..6].iter().fold(0, |time, byte| (time << 8) | i64::from(*byte))
}

fn frame(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    fill(out);
    let payload = &out[start + 8..];
    let (length, crc) = (payload.len() as u32, crc32fast::hash(payload));
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

pub(super) fn put_model(out: &mut Vec<u8>, number: u16, model: &LoggedModel) {
    frame(out, |out| {
        out.push(MODEL);
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&model.threshold.to_bits().to_le_bytes());
        out.extend_from_slice(&(model.width as u16).to_le_bytes());
        out.extend_from_slice(&model.sha256);
        for text in [&model.name, &model.version] {
            let bytes = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
            out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
            out.extend_from_slice(bytes);
        }
    });
}

pub(super) fn put_decision(out: &mut Vec<u8>, model: u16, decision: &NewDecision<'_>) {
    frame(out, |out| {
        let alert = if decision.alert { ALERT } else { 0 };
        let timed = if decision.event_time_ms.is_some() { EVENT_TIME } else { 0 };
        let fallback = decision.fallback.map_or(0, |by| BY_FALLBACK | ((by as u8) << FALLBACK_SHIFT));
        let assigned =
            decision.assigned.map_or(0, |assigned| ASSIGNED | if assigned.candidate { CANDIDATE } else { 0 });
        let explored = if decision.propensity.is_some() { EXPLORED } else { 0 };
        out.extend_from_slice(&[DECISION, alert | timed | fallback | assigned | explored]);
        out.extend_from_slice(&model.to_le_bytes());
        out.extend_from_slice(&decision.id);
        out.extend_from_slice(&decision.score.to_bits().to_le_bytes());
        out.extend_from_slice(&decision.latency_ns.to_le_bytes());
        if let Some(assigned) = decision.assigned {
            out.extend_from_slice(&assigned.weight.to_le_bytes());
        }
        if let Some(time) = decision.event_time_ms {
            out.extend_from_slice(&time.to_le_bytes());
        }
        for text in [decision.transaction_id, decision.entity] {
            debug_assert!(text.len() <= 255, "the caller limits ids");
            out.push(text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        }
        for feature in decision.features {
            out.extend_from_slice(&feature.to_bits().to_le_bytes());
        }
        // At the end, so that an older serin reads the rest.
        if let Some(propensity) = decision.propensity {
            out.extend_from_slice(&propensity.to_bits().to_le_bytes());
        }
    });
}

pub(super) fn put_shadow(out: &mut Vec<u8>, model: u16, shadow: &NewShadow) {
    frame(out, |out| {
        out.extend_from_slice(&[SHADOW, if shadow.alert { ALERT } else { 0 }]);
        out.extend_from_slice(&model.to_le_bytes());
        out.extend_from_slice(&shadow.id);
        out.extend_from_slice(&shadow.score.to_bits().to_le_bytes());
    });
}

/// Reads what fits from the front of bytes.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn text(&mut self, length: usize) -> Option<&'a str> {
        std::str::from_utf8(self.take(length)?).ok()
    }
}

/// Walks the frames of one segment.
#[derive(Debug)]
pub(super) struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
    models: Vec<Arc<LoggedModel>>,
}

impl<'a> Frames<'a> {
    /// Of a whole segment; none when it is not one.
    #[must_use]
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        bytes.starts_with(MAGIC).then_some(Self { bytes, at: MAGIC.len(), models: Vec::new() })
    }

    /// Bytes that are whole so far; what is behind them at the end is torn.
    #[must_use]
    pub(super) fn whole(&self) -> usize {
        self.at
    }

    /// The next record with its frame's bytes; none at the end, or where the segment is torn.
    pub(super) fn next_record(&mut self) -> Option<(Record<'_>, &'a [u8])> {
        loop {
            let mut rest = Cursor(&self.bytes[self.at..]);
            let length = u32::from_le_bytes(rest.array()?) as usize;
            let crc = u32::from_le_bytes(rest.array()?);
            if length > MAX_PAYLOAD {
                return None;
            }
            let payload = rest.take(length)?;
            if crc32fast::hash(payload) != crc {
                return None;
            }
            match payload.first() {
                Some(&kind @ (DECISION | SHADOW)) => {
                    self.model_of(payload)?;
                    let start = self.at;
                    self.at += 8 + length;
                    let frame = &self.bytes[start..self.at];
                    let record = match kind {
                        DECISION => Record::Decision(self.decision(payload)?),
                        _ => Record::Shadow(self.shadow(payload)?),
                    };
                    return Some((record, frame));
                }
                Some(&MODEL) => {
                    let (number, model) = model(payload)?;
                    if number != self.models.len() {
                        return None;
                    }
                    self.models.push(Arc::new(model));
                }
                // A kind of a later serin.
                _ => {}
            }
            self.at += 8 + length;
        }
    }

    fn model_of(&self, payload: &[u8]) -> Option<&Arc<LoggedModel>> {
        self.models.get(usize::from(u16::from_le_bytes(payload.get(2..4)?.try_into().ok()?)))
    }

    fn decision(&self, payload: &'a [u8]) -> Option<LoggedDecision<'_>> {
        let model = self.model_of(payload)?;
        let flags = *payload.get(1)?;
        let mut rest = Cursor(payload.get(4..)?);
        let id = rest.array()?;
        let score = f32::from_bits(u32::from_le_bytes(rest.array()?));
        let latency_ns = u32::from_le_bytes(rest.array()?);
        let assigned = match flags & ASSIGNED {
            0 => None,
            _ => Some(Assigned { weight: u16::from_le_bytes(rest.array()?), candidate: flags & CANDIDATE != 0 }),
        };
        let event_time_ms = if flags & EVENT_TIME == 0 { None } else { Some(i64::from_le_bytes(rest.array()?)) };
        let [length] = rest.array()?;
        let transaction_id = rest.text(usize::from(length))?;
        let [length] = rest.array()?;
        let entity = rest.text(usize::from(length))?;
        let alert = flags & ALERT != 0;
        let fallback = (flags & BY_FALLBACK != 0).then(|| Fallback::ALL[usize::from(flags >> FALLBACK_SHIFT) & 3]);
        let features = rest.take(model.width * 4)?;
        let propensity =
            if flags & EXPLORED == 0 { None } else { Some(f32::from_bits(u32::from_le_bytes(rest.array()?))) };
        Some(LoggedDecision {
            id,
            model,
            transaction_id,
            entity,
            event_time_ms,
            score,
            alert,
            propensity,
            fallback,
            assigned,
            latency_ns,
            features,
        })
    }
}

impl Frames<'_> {
    fn shadow(&self, payload: &[u8]) -> Option<LoggedShadow<'_>> {
        let model = self.model_of(payload)?;
        let alert = payload.get(1)? & ALERT != 0;
        let mut rest = Cursor(payload.get(4..)?);
        let id = rest.array()?;
        let score = f32::from_bits(u32::from_le_bytes(rest.array()?));
        Some(LoggedShadow { id, model, score, alert })
    }
}

fn model(payload: &[u8]) -> Option<(usize, LoggedModel)> {
    let mut rest = Cursor(payload.get(1..)?);
    let number = usize::from(u16::from_le_bytes(rest.array()?));
    let threshold = f32::from_bits(u32::from_le_bytes(rest.array()?));
    let width = usize::from(u16::from_le_bytes(rest.array()?));
    let sha256 = rest.array()?;
    let length = usize::from(u16::from_le_bytes(rest.array()?));
    let name = rest.text(length)?.to_owned();
    let length = usize::from(u16::from_le_bytes(rest.array()?));
    let version = rest.text(length)?.to_owned();
    Some((number, LoggedModel { name, version, sha256, threshold, width }))
}
