//! Labels: whether transactions turned out to be frauds, as it becomes known after they were decided.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
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

/// Label that is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// Transaction or decision that the label is about.
    pub subject: LabelSubject,
    /// True for fraud, false for genuine.
    pub fraud: bool,
    /// Kind of source that gave the verdict.
    pub source: LabelSource,
    /// Time at which the transaction happened, epoch milliseconds; none where the sender does not say.
    pub occurred_at_ms: Option<i64>,
    /// Time from which the verdict is known, epoch milliseconds.
    pub known_at_ms: i64,
    /// Time at which the server received the label, epoch milliseconds.
    pub received_at_ms: i64,
    /// Amount of money at stake, a finite number; none where the sender does not say.
    pub amount: Option<f64>,
}

impl Label {
    /// Whether this label takes precedence over another one about the same transaction. Only what the labels say
    /// decides, so that the order in which they came changes nothing: any source beats a timeout, then the later
    /// knowledge, then the weightier source, then fraud.
    #[must_use]
    pub fn overrules(&self, other: &Self) -> bool {
        let rank = |label: &Self| {
            let spoken = label.source != LabelSource::TimeoutGenuine;
            // Amounts only break ties between labels that say the same otherwise.
            (spoken, label.known_at_ms, label.source, label.fraud, label.amount.map(|amount| amount.to_bits()))
        };
        rank(self) > rank(other)
    }
}

/// Labels that take precedence, one for each transaction or decision.
#[derive(Debug, Clone, Default)]
pub struct Labels {
    transactions: HashMap<String, Label>,
    decisions: HashMap<[u8; 16], Label>,
}

impl Labels {
    /// Keeps of all labels, in any order, the one that takes precedence for each subject.
    pub fn of(labels: impl IntoIterator<Item = Label>) -> Self {
        let mut found = Self::default();
        for label in labels {
            match &label.subject {
                LabelSubject::Transaction(id) => keep(found.transactions.entry(id.clone()), label),
                LabelSubject::Decision(id) => keep(found.decisions.entry(*id), label),
            }
        }
        found
    }

    /// Label of a decision, by its own id or its transaction's; of two, the one that takes precedence. An empty
    /// `transaction_id` is not looked up.
    #[must_use]
    pub fn find(&self, decision: &[u8; 16], transaction_id: &str) -> Option<&Label> {
        let own = if self.decisions.is_empty() { None } else { self.decisions.get(decision) };
        let is_named = !transaction_id.is_empty() && !self.transactions.is_empty();
        let transaction = if is_named { self.transactions.get(transaction_id) } else { None };
        match (own, transaction) {
            (Some(own), Some(transaction)) => Some(if transaction.overrules(own) { transaction } else { own }),
            (own, transaction) => own.or(transaction),
        }
    }

    /// Every label that takes precedence, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Label> {
        self.transactions.values().chain(self.decisions.values())
    }

    /// Number of transactions and decisions with a label.
    #[must_use]
    pub fn len(&self) -> usize {
        self.transactions.len() + self.decisions.len()
    }

    /// Whether there is no label at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn keep<K>(place: Entry<'_, K, Label>, label: Label) {
    match place {
        Entry::Occupied(mut present) => {
            if label.overrules(present.get()) {
                present.insert(label);
            }
        }
        Entry::Vacant(none) => {
            none.insert(label);
        }
    }
}

/// Result of storing labels that were sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LabelsStored {
    /// Number of labels that were new.
    pub new: u64,
    /// Number of labels that were stored already.
    pub known: u64,
}
