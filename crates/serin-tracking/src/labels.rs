//! What becomes known of transactions after they were decided.

use std::fmt;
use std::str::FromStr;

/// Who says so.
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
    /// All of them.
    pub const ALL: [Self; 4] = [Self::TimeoutGenuine, Self::RandomReview, Self::Analyst, Self::Chargeback];

    /// As labels are sent.
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

impl FromStr for LabelSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|source| source.name().eq_ignore_ascii_case(text));
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no source {text:?}: write one of {names}")
        })
    }
}

/// What a label is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LabelSubject {
    /// The caller's name of a transaction, at most 255 bytes; it need not have come yet.
    Transaction(String),
    /// The id of a decision.
    Decision([u8; 16]),
}

impl LabelSubject {
    /// `t:ID` of a transaction, `d:UUID` of a decision.
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

/// A label that was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLabel {
    /// What it is about.
    pub subject: LabelSubject,
    /// Fraud, or genuine.
    pub fraud: bool,
    /// Who says so.
    pub source: LabelSource,
    /// When the transaction happened, epoch milliseconds.
    pub occurred_at_ms: Option<i64>,
    /// Since when it is known, epoch milliseconds; since it was received without it.
    pub known_at_ms: Option<i64>,
    /// Money at stake.
    pub amount: Option<f64>,
}

/// What came of labels that were sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LabelsStored {
    /// Statements that were new.
    pub new: u64,
    /// Statements that were kept already.
    pub known: u64,
}
