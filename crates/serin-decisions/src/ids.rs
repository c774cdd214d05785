//! Ids that decisions get when they are made.

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
