//! Which decisions may have a label, told without reading them.

use serin_decisions::{DecisionOutline, id_head, text_key};
use serin_tracking::{LabelSubject, Labels};
use std::collections::HashSet;

/// Bits for each label: one decision without a label in so many is looked up in vain.
const BITS_A_LABEL: usize = 16;
const FEWEST_BITS: usize = 1 << 12;

/// Keys of transactions and decisions that have labels.
#[derive(Debug)]
pub(crate) struct LabelKeys {
    /// Bits at the places of the keys: most decisions are done with after one look here.
    bits: Vec<u64>,
    /// Bits of a mixed key that are not its place.
    shift: u32,
    keys: HashSet<u64>,
    /// True if some label names a decision and not a transaction.
    has_decisions: bool,
}

impl LabelKeys {
    pub(crate) fn of(labels: &Labels) -> Self {
        let size = (labels.len() * BITS_A_LABEL).next_power_of_two().max(FEWEST_BITS);
        let mut found = Self {
            bits: vec![0; size / 64],
            shift: 64 - size.trailing_zeros(),
            keys: HashSet::with_capacity(labels.len()),
            has_decisions: false,
        };
        for label in labels.iter() {
            let key = match &label.subject {
                LabelSubject::Transaction(id) => text_key(id),
                LabelSubject::Decision(id) => {
                    found.has_decisions = true;
                    id_head(id)
                }
            };
            let place = found.place(key);
            found.bits[place / 64] |= 1 << (place % 64);
            found.keys.insert(key);
        }
        found
    }

    fn place(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    fn has(&self, key: u64) -> bool {
        let place = self.place(key);
        self.bits[place / 64] >> (place % 64) & 1 == 1 && self.keys.contains(&key)
    }

    /// Returns whether the decision may have a label: it has none where this is false, and hardly ever has none where it is true.
    pub(crate) fn may_have(&self, decision: &DecisionOutline<'_>) -> bool {
        decision.transaction_key != 0 && self.has(decision.transaction_key)
            || self.has_decisions && self.has(decision.id_head)
    }
}
