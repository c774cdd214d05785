//! Layout of a segment, byte by byte (little-endian).
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
//!
//! A later format may append fields to a payload and may add kinds; readers skip both. A format that must not be read as
//! this one changes [`MAGIC`] and uses none of the kinds 1 to 3: a reader that meets unknown first bytes cannot tell
//! them from damage, looks for whole records of these kinds behind them, and reports the rest.

use std::sync::Arc;

pub(super) const MAGIC: &[u8; 8] = b"SERINDL1";
/// Longest payload that is believed, bytes; a decision of 65,535 features is shorter.
pub(super) const MAX_PAYLOAD: usize = 1 << 20;
/// Longest payload of the kinds below, with [`LATER_FIELDS`]: a decision of 65,535 features and two texts of 255 bytes.
pub(super) const MAX_KNOWN_PAYLOAD: usize = 44 + 2 * 255 + 4 * 65_535 + LATER_FIELDS;
/// Bytes that fields of a later format may take at the end of a payload.
pub(super) const LATER_FIELDS: usize = 64;
/// Greatest length of a text in a decision, bytes.
const MAX_TEXT: usize = 255;
pub(super) const DECISION: u8 = 1;
pub(super) const MODEL: u8 = 2;
pub(super) const SHADOW: u8 = 3;
const ALERT: u8 = 1;
const EVENT_TIME: u8 = 2;
/// Two bits above it hold the position of the fallback in [`Fallback::ALL`].
const BY_FALLBACK: u8 = 4;
const FALLBACK_SHIFT: u8 = 3;

/// The decision belongs to a release: its weight follows the latency.
const ASSIGNED: u8 = 32;
const CANDIDATE: u8 = 64;

/// Flag of an alert that exploration might let through; its probability stands at the end.
const EXPLORED: u8 = 128;

/// Share of a release in the traffic, and the version that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigned {
    /// The candidate's share of the traffic at that time, in units of 1/10,000.
    pub weight: u16,
    /// True if the candidate decided, false if the stable version did.
    pub candidate: bool,
}

/// What decided in the model's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// The last model that was loaded and checked, kept for when none can be.
    LastGood,
    /// A score made of rules on the payment's columns.
    Rules,
    /// The payment passed unseen: score 0, no alert.
    Allow,
    /// The payment was stopped unseen: score 1, an alert.
    Decline,
}

impl Fallback {
    /// Every fallback, in the order of the numbers that records hold.
    pub const ALL: [Self; 4] = [Self::LastGood, Self::Rules, Self::Allow, Self::Decline];

    /// Returns whether a score is a model's: that of the live one (`fallback` is none) or of the last good one.
    #[must_use]
    pub fn is_of_a_model(fallback: Option<Self>) -> bool {
        matches!(fallback, None | Some(Self::LastGood))
    }

    /// Returns the name of the fallback on the command line and in answers.
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

/// Model that decided or scored, as the log keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedModel {
    /// Name of the registered model, or the path of one that is not registered.
    pub name: String,
    /// Version of the registered model; empty for one that is not registered.
    pub version: String,
    /// SHA-256 of the model file's bytes; tells apart two files registered under one version.
    pub sha256: [u8; 32],
    /// Score from which a decision is an alert, inclusive.
    pub threshold: f32,
    /// Number of features in one decision; each record holds exactly this many float32.
    pub width: usize,
}

/// A decision to be written.
#[derive(Debug, Clone, Copy)]
pub struct NewDecision<'a> {
    /// UUID of version 7: unique, and holds the time of the decision.
    pub id: [u8; 16],
    /// The caller's name of the transaction; empty without one, cut to 255 bytes.
    pub transaction_id: &'a str,
    /// Card, customer or terminal of the transaction; empty without one, cut to 255 bytes.
    pub entity: &'a str,
    /// Time of the transaction, epoch milliseconds; none where nobody said.
    pub event_time_ms: Option<i64>,
    /// Features that were scored, to the bit, in the model's order; [`LoggedModel::width`] of them.
    pub features: &'a [f32],
    /// Score that came out, to the bit.
    pub score: f32,
    /// True if the payment was treated as an alert; false where exploration let it through.
    pub alert: bool,
    /// Probability with which exploration lets such an alert through, above 0; it did where `alert` is false. None where
    /// exploration had no part.
    pub propensity: Option<f32>,
    /// What decided in the model's place; none where the model decided.
    pub fallback: Option<Fallback>,
    /// Share and version of the release that the decision was a part of; none without a release.
    pub assigned: Option<Assigned>,
    /// Nanoseconds from the request's head to the decision.
    pub latency_ns: u32,
}

/// Score of a candidate for a decision made elsewhere, to be written.
#[derive(Debug, Clone, Copy)]
pub struct NewShadow {
    /// Id of the decision that the score is about.
    pub id: [u8; 16],
    /// Score that came out, to the bit.
    pub score: f32,
    /// True if the candidate would have alerted.
    pub alert: bool,
}

/// Score of a candidate for a decision made elsewhere, as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedShadow<'a> {
    /// Id of the decision that the score is about.
    pub id: [u8; 16],
    /// Candidate that gave the score.
    pub model: &'a Arc<LoggedModel>,
    /// Score of the candidate, to the bit.
    pub score: f32,
    /// True if the candidate would have alerted.
    pub alert: bool,
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq)]
pub enum Record<'a> {
    /// A decision that was made.
    Decision(LoggedDecision<'a>),
    /// The score of a candidate for a decision.
    Shadow(LoggedShadow<'a>),
}

impl Record<'_> {
    /// Returns the id of the decision that the record is about.
    pub(super) fn id(&self) -> &[u8; 16] {
        match self {
            Self::Decision(decision) => &decision.id,
            Self::Shadow(shadow) => &shadow.id,
        }
    }
}

/// A decision as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedDecision<'a> {
    /// UUID of version 7: unique, and holds the time of the decision.
    pub id: [u8; 16],
    /// Model that made the decision, or in whose place a fallback did.
    pub model: &'a Arc<LoggedModel>,
    /// The caller's name of the transaction; empty without one.
    pub transaction_id: &'a str,
    /// Card, customer or terminal of the transaction; empty without one.
    pub entity: &'a str,
    /// Time of the transaction, epoch milliseconds; none where nobody said.
    pub event_time_ms: Option<i64>,
    /// Score that was given, to the bit.
    pub score: f32,
    /// True if the payment was treated as an alert; false where exploration let it through.
    pub alert: bool,
    /// Probability with which exploration lets such an alert through, above 0; it did where `alert` is false. None where
    /// exploration had no part.
    pub propensity: Option<f32>,
    /// What decided in the model's place; the score is a model's only without it, or where the last good model decided.
    pub fallback: Option<Fallback>,
    /// Share and version of the release that the decision was a part of; none without a release.
    pub assigned: Option<Assigned>,
    /// Nanoseconds from the request's head to the decision.
    pub latency_ns: u32,
    /// Bytes of the features, float32, little-endian.
    features: &'a [u8],
}

impl LoggedDecision<'_> {
    /// Time of the decision, epoch milliseconds.
    #[must_use]
    pub fn at_ms(&self) -> i64 {
        time_of(&self.id)
    }

    /// Time of the transaction, epoch milliseconds; that of the decision where nobody said.
    #[must_use]
    pub fn happened_at_ms(&self) -> i64 {
        self.event_time_ms.unwrap_or_else(|| self.at_ms())
    }

    /// Returns whether the score asked for an alert, whatever exploration made of it.
    #[must_use]
    pub fn asked_for_alert(&self) -> bool {
        self.alert || self.propensity.is_some()
    }

    /// Number of decisions that this one stands for where outcomes are counted: more than itself where exploration let it
    /// through, none where exploration held it (others stand for it then).
    #[must_use]
    pub fn stands_for(&self) -> Option<f32> {
        match self.propensity {
            None => Some(1.0),
            Some(_) if self.alert => None,
            Some(propensity) => Some(propensity.recip()),
        }
    }

    /// Features that were scored, to the bit, in the model's order.
    pub fn features(&self) -> impl ExactSizeIterator<Item = f32> + '_ {
        self.features.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
    }
}

/// Returns the milliseconds since 1970 in a UUID of version 7.
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
            let bytes = &text.as_bytes()[..text.floor_char_boundary(usize::from(u16::MAX))];
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
            // A longer text would make the record unreadable.
            let text = &text[..text.floor_char_boundary(MAX_TEXT)];
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

/// Models of one segment by their numbers; none where the model's record was lost.
pub(super) type Models = Vec<Option<Arc<LoggedModel>>>;

/// Length that a payload ought to have, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// The bytes end before they tell.
    Short,
    /// Length in bytes, without fields of later formats.
    Exactly(usize),
    /// At least this many bytes, and whole features of a model that is not known.
    AtLeast(usize),
    /// The payload is of no kind that this format has.
    Unknown,
}

/// Returns the shape of the payload that begins with `bytes`.
pub(super) fn shape(bytes: &[u8], models: &Models) -> Shape {
    let found = match bytes.first() {
        None => None,
        Some(&DECISION) => decision_shape(bytes, models),
        Some(&MODEL) => model_shape(bytes),
        Some(&SHADOW) => Some(Shape::Exactly(24)),
        Some(_) => Some(Shape::Unknown),
    };
    found.unwrap_or(Shape::Short)
}

fn decision_shape(bytes: &[u8], models: &Models) -> Option<Shape> {
    let flags = *bytes.get(1)?;
    let model = models.get(usize::from(number_of(bytes)?)).and_then(Option::as_ref);
    let mut length = 28;
    length += if flags & ASSIGNED == 0 { 0 } else { 2 };
    length += if flags & EVENT_TIME == 0 { 0 } else { 8 };
    for _ in 0..2 {
        length += 1 + usize::from(*bytes.get(length)?);
    }
    length += if flags & EXPLORED == 0 { 0 } else { 4 };
    Some(model.map_or(Shape::AtLeast(length), |model| Shape::Exactly(length + 4 * model.width)))
}

fn model_shape(bytes: &[u8]) -> Option<Shape> {
    let mut length = 41;
    for _ in 0..2 {
        length += 2 + usize::from(u16::from_le_bytes(bytes.get(length..length + 2)?.try_into().ok()?));
    }
    Some(Shape::Exactly(length))
}

/// Bit of a model in a set of models of one segment; from number 63 on they share the last one.
pub(super) fn model_bit(number: u16) -> u64 {
    1 << number.min(63)
}

/// Returns the number of the model that a decision's or a candidate's payload names.
pub(super) fn number_of(payload: &[u8]) -> Option<u16> {
    Some(u16::from_le_bytes(payload.get(2..4)?.try_into().ok()?))
}

/// Returns the entity in a decision's payload, which is read without knowing the model; none for other kinds.
pub(super) fn entity_of(payload: &[u8]) -> Option<&[u8]> {
    let flags = *payload.get(1).filter(|_| payload[0] == DECISION)?;
    let mut rest = Cursor(payload.get(28..)?);
    rest.take(if flags & ASSIGNED == 0 { 0 } else { 2 })?;
    rest.take(if flags & EVENT_TIME == 0 { 0 } else { 8 })?;
    let [length] = rest.array()?;
    rest.take(usize::from(length))?;
    let [length] = rest.array()?;
    rest.take(usize::from(length))
}

/// Returns the record in a payload of kind [`DECISION`] or [`SHADOW`]; none where it does not have the format.
pub(super) fn decode<'a>(payload: &'a [u8], model: &'a Arc<LoggedModel>) -> Option<Record<'a>> {
    match *payload.first()? {
        DECISION => decision(payload, model).map(Record::Decision),
        SHADOW => shadow(payload, model).map(Record::Shadow),
        _ => None,
    }
}

/// Flags of a decision, the second byte of its payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flags(pub(super) u8);

impl Flags {
    fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    pub(super) fn alert(self) -> bool {
        self.has(ALERT)
    }

    /// True if exploration might let the alert through: a probability stands with the decision.
    pub(super) fn is_explored(self) -> bool {
        self.has(EXPLORED)
    }

    pub(super) fn fallback(self) -> Option<Fallback> {
        self.has(BY_FALLBACK).then(|| Fallback::ALL[usize::from(self.0 >> FALLBACK_SHIFT) & 3])
    }

    /// True if the candidate of a release decided, false if the stable version did; none without a release.
    pub(super) fn candidate(self) -> Option<bool> {
        self.has(ASSIGNED).then(|| self.has(CANDIDATE))
    }
}

fn decision<'a>(payload: &'a [u8], model: &'a Arc<LoggedModel>) -> Option<LoggedDecision<'a>> {
    let flags = Flags(*payload.get(1)?);
    let mut rest = Cursor(payload.get(4..)?);
    let id = rest.array()?;
    let score = f32::from_bits(u32::from_le_bytes(rest.array()?));
    let latency_ns = u32::from_le_bytes(rest.array()?);
    let assigned = match flags.candidate() {
        None => None,
        Some(candidate) => Some(Assigned { weight: u16::from_le_bytes(rest.array()?), candidate }),
    };
    let event_time_ms = if !flags.has(EVENT_TIME) { None } else { Some(i64::from_le_bytes(rest.array()?)) };
    let [length] = rest.array()?;
    let transaction_id = rest.text(usize::from(length))?;
    let [length] = rest.array()?;
    let entity = rest.text(usize::from(length))?;
    let features = rest.take(model.width * 4)?;
    let propensity = if !flags.is_explored() { None } else { Some(f32::from_bits(u32::from_le_bytes(rest.array()?))) };
    Some(LoggedDecision {
        id,
        model,
        transaction_id,
        entity,
        event_time_ms,
        score,
        alert: flags.alert(),
        propensity,
        fallback: flags.fallback(),
        assigned,
        latency_ns,
        features,
    })
}

fn shadow<'a>(payload: &[u8], model: &'a Arc<LoggedModel>) -> Option<LoggedShadow<'a>> {
    let alert = payload.get(1)? & ALERT != 0;
    let mut rest = Cursor(payload.get(4..)?);
    let id = rest.array()?;
    let score = f32::from_bits(u32::from_le_bytes(rest.array()?));
    Some(LoggedShadow { id, model, score, alert })
}

/// Returns the model in a payload of kind [`MODEL`], after its number in the segment.
pub(super) fn model(payload: &[u8]) -> Option<(u16, LoggedModel)> {
    let mut rest = Cursor(payload.get(1..)?);
    let number = u16::from_le_bytes(rest.array()?);
    let threshold = f32::from_bits(u32::from_le_bytes(rest.array()?));
    let width = usize::from(u16::from_le_bytes(rest.array()?));
    let sha256 = rest.array()?;
    let length = usize::from(u16::from_le_bytes(rest.array()?));
    let name = rest.text(length)?.to_owned();
    let length = usize::from(u16::from_le_bytes(rest.array()?));
    let version = rest.text(length)?.to_owned();
    Some((number, LoggedModel { name, version, sha256, threshold, width }))
}
