//! Labels: whether transactions turned out to be frauds, as it becomes known after they were decided.

use std::fmt;
use std::str::FromStr;

/// Where a label comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LabelSource {
    /// Nobody complained in time: any other source knows better, whenever it spoke.
    TimeoutGenuine,
    /// A transaction picked at random was looked at.
    RandomReview,
    /// Somebody looked at an alert.
    Analyst,
    /// The cardholder or the bank took the money back.
    Chargeback,
}

impl LabelSource {
    /// Every source, in the order of declaration.
    pub const ALL: [Self; 4] = [Self::TimeoutGenuine, Self::RandomReview, Self::Analyst, Self::Chargeback];

    /// Returns the name of the source, as labels are sent with it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TimeoutGenuine => "timeout-genuine",
            Self::RandomReview => "random-review",
            Self::Analyst => "analyst",
            Self::Chargeback => "chargeback",
        }
    }
}

impl fmt::Display for LabelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Name of no source of labels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no source {0:?}: write one of {names}", names = LabelSource::ALL.map(LabelSource::name).join(", "))]
pub struct UnknownLabelSource(String);

impl FromStr for LabelSource {
    type Err = UnknownLabelSource;

    fn from_str(text: &str) -> Result<Self, UnknownLabelSource> {
        let known = Self::ALL.into_iter().find(|source| source.name().eq_ignore_ascii_case(text));
        known.ok_or_else(|| UnknownLabelSource(text.to_owned()))
    }
}

/// Transaction or decision that a label is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LabelSubject {
    /// The caller's name of a transaction, at most 255 bytes; it need not have come yet.
    Transaction(String),
    /// The id of a decision.
    Decision([u8; 16]),
}

impl LabelSubject {
    /// Returns the subject as one text: `t:ID` of a transaction, `d:UUID` of a decision.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Transaction(id) => format!("t:{id}"),
            Self::Decision(id) => format!("d:{}", uuid::Uuid::from_bytes(*id)),
        }
    }

    /// Reads [`Self::key`] back; none for anything else.
    #[must_use]
    pub fn of_key(key: &str) -> Option<Self> {
        let (kind, id) = key.split_once(':')?;
        match kind {
            "t" => Some(Self::Transaction(id.to_owned())),
            "d" => Some(Self::Decision(*uuid::Uuid::parse_str(id).ok()?.as_bytes())),
            _ => None,
        }
    }
}

/// A label that was sent and is not stored yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLabel {
    /// Transaction or decision that the label is about.
    pub subject: LabelSubject,
    /// True for a fraud, false for a genuine transaction.
    pub fraud: bool,
    /// Where the label comes from.
    pub source: LabelSource,
    /// Time of the transaction, epoch milliseconds; none where the sender does not say.
    pub occurred_at_ms: Option<i64>,
    /// Time since which the label is known, epoch milliseconds; none stands for the time at which it was received.
    pub known_at_ms: Option<i64>,
    /// Amount of the transaction, in the data's own unit; none where the sender does not say.
    pub amount: Option<f64>,
}

/// Result of storing labels that were sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LabelsStored {
    /// Number of labels that were new.
    pub new: u64,
    /// Number of labels that were stored already.
    pub known: u64,
}
