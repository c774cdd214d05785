//! Removing what is kept no longer, without trusting a clock that jumps.

use crate::durable::{replace_durably, sync_folder};
use crate::error::LogError;
use crate::exports;
use crate::segment::{self, LogLimits};
use std::path::Path;
use std::time::Duration;

/// Holds the time of a log's [`RetentionClock`] over restarts, as decimal epoch milliseconds.
const CLOCK_FILE: &str = "retention.clock";
/// Time that the clock goes before it is written down again, milliseconds.
const SAVED_EVERY_MS: i64 = 3_600_000;

/// Clock by which segments grow old.
///
/// It never runs ahead of the wall clock, never faster than twice the monotonic time that passes, and begins where an
/// earlier process left it, or at the log's newest segment. A wall clock that jumps ahead therefore makes at most one
/// more day old with each day that passes, however far it jumped and however often the process starts, and jumps nothing
/// when it comes back. The price: after a stop of a week, retention is up to date again a week later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionClock {
    trusted_ms: i64,
}

impl RetentionClock {
    /// Begins at `last_ms`, the last time known from before, unless that lies ahead of the wall clock; both epoch
    /// milliseconds. Without one, there is nothing that could be too old, and the wall clock is believed.
    #[must_use]
    pub fn starting(wall_ms: i64, last_ms: Option<i64>) -> Self {
        Self { trusted_ms: last_ms.map_or(wall_ms, |last_ms| last_ms.min(wall_ms)) }
    }

    /// Lets monotonic time pass; returns the time in epoch milliseconds, never later than `wall_ms`.
    pub fn advance(&mut self, wall_ms: i64, passed: Duration) -> i64 {
        let most_ms = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX).saturating_mul(2);
        // A wall clock that was set back does not set this one back: it would need as long to return.
        self.trusted_ms = self.trusted_ms.max(wall_ms.min(self.trusted_ms.saturating_add(most_ms)));
        self.trusted_ms.min(wall_ms)
    }
}

/// Retention of one log by one process.
#[derive(Debug)]
pub(crate) struct Retention {
    clock: RetentionClock,
    saved_ms: Option<i64>,
    /// Monotonic time since the process opened the log.
    running: Duration,
    /// Mark of this process in the names of its own segments.
    process: String,
}

impl Retention {
    pub(crate) fn of(folder: &Path, limits: &LogLimits, wall_ms: i64, process: u32) -> Result<Self, LogError> {
        let saved_ms = std::fs::read_to_string(folder.join(CLOCK_FILE)).ok().and_then(|text| text.trim().parse().ok());
        let newest = segment::list(folder, true)?.last().map(|(created_ms, _)| *created_ms);
        let newest_ms = newest.map(|created_ms| created_ms.saturating_add(limits.segment_age_ms));
        let clock = RetentionClock::starting(wall_ms, saved_ms.or(newest_ms));
        let behind_ms = wall_ms.saturating_sub(clock.trusted_ms);
        if limits.keep_ms.is_some_and(|keep_ms| behind_ms > keep_ms) {
            tracing::warn!(
                "the clock stands {} hours after the decision log's end: retention catches up an hour an hour",
                behind_ms / 3_600_000
            );
        }
        Ok(Self { clock, saved_ms, running: Duration::ZERO, process: format!("{process:08x}") })
    }

    /// Removes sealed segments that are kept no longer, the oldest first.
    pub(crate) fn expire(
        &mut self,
        folder: &Path,
        limits: &LogLimits,
        wall_ms: i64,
        passed: Duration,
    ) -> Result<(), LogError> {
        let now_ms = self.clock.advance(wall_ms, passed);
        self.running = self.running.saturating_add(passed);
        if limits.keep_ms.is_none() && limits.keep_bytes.is_none() {
            return Ok(());
        }
        let segments = segment::list(folder, false)?;
        let sizes: Vec<u64> = segments.iter().map(|(_, path)| segment::size_on_disk(path)).collect();
        let mut total: u64 = sizes.iter().sum();
        let mut holds = None;
        let mut is_changed = false;
        for ((created_ms, path), size) in segments.into_iter().zip(sizes) {
            // Its last decision is at most a segment's age younger than its first.
            let last_ms = created_ms.saturating_add(limits.segment_age_ms);
            let old = limits
                .keep_ms
                .is_some_and(|keep_ms| now_ms.saturating_sub(last_ms) > keep_ms && !self.is_young(&path, keep_ms));
            if !old && limits.keep_bytes.is_none_or(|keep| total <= keep) {
                continue;
            }
            let holds = match &holds {
                Some(known) => known,
                None => holds.insert(exports::Holds::of(folder)?),
            };
            if holds.keeps(&path) {
                continue;
            }
            total -= size;
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(LogError::at(&path)(error)),
                _ => is_changed = true,
            }
            segment::remove_beside(&path);
        }
        if is_changed {
            sync_folder(folder).map_err(LogError::at(folder))?;
        }
        self.save(folder, limits)
    }

    /// Returns whether this process wrote the segment less than `keep_ms` of monotonic time ago, whatever its name says: it
    /// was begun while the clock stood in the past.
    fn is_young(&self, path: &Path, keep_ms: i64) -> bool {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_own = name.split('-').nth(1) == Some(self.process.as_str());
        is_own && self.running.as_millis() < u128::from(keep_ms.unsigned_abs())
    }

    /// Writes the clock down, about once an hour.
    fn save(&mut self, folder: &Path, limits: &LogLimits) -> Result<(), LogError> {
        let now_ms = self.clock.trusted_ms;
        let is_due = self.saved_ms.is_none_or(|saved_ms| now_ms.saturating_sub(saved_ms) >= SAVED_EVERY_MS);
        if limits.keep_ms.is_none() || !is_due {
            return Ok(());
        }
        let path = folder.join(CLOCK_FILE);
        replace_durably(&path, now_ms.to_string().as_bytes()).map_err(LogError::at(&path))?;
        self.saved_ms = Some(now_ms);
        Ok(())
    }
}
