//! Ids that decisions get when they are made, and numbers that stand for ids and texts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Makes ids of decisions: unique, and in order within a process.
#[derive(Debug)]
pub struct DecisionIds {
    process: [u8; 16],
    next: AtomicU64,
}

impl Default for DecisionIds {
    fn default() -> Self {
        Self { process: *uuid::Uuid::new_v4().as_bytes(), next: AtomicU64::new(0) }
    }
}

impl DecisionIds {
    /// Returns the next id, a UUID of version 7 (RFC 9562): milliseconds, then a counter of 40 bits among 34 random bits of
    /// the process.
    #[must_use]
    pub fn next(&self, now_ms: i64) -> [u8; 16] {
        let count = self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let p = &self.process;
        let random = [p[0], p[1], p[2], count[3], count[4], count[5], count[6], count[7], p[3], p[4]];
        *uuid::Builder::from_unix_timestamp_millis(now_ms.unsigned_abs(), &random).as_uuid().as_bytes()
    }
}

/// Returns a number for a text: the same for the same text on every machine, 0 for the empty one alone. FNV-1a, its bits mixed.
#[must_use]
pub fn text_key(text: &str) -> u64 {
    if text.is_empty() {
        return 0;
    }
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).max(1)
}

/// Returns the first half of a decision's id: its time in the upper 48 bits, and 16 bits that most decisions of one process
/// share.
#[must_use]
pub fn id_head(id: &[u8; 16]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *id;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}
