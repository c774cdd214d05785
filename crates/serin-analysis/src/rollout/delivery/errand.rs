//! Tasks of which one runs at a time.

/// Time after which a task that failed is begun again, milliseconds.
const AGAIN_MS: i64 = 2000;

/// Whether a task is under way, and when it may be begun again after a failure.
#[derive(Debug, Default)]
pub(super) struct Errand {
    is_running: bool,
    /// Time before which the task is not begun again, epoch milliseconds; 0 before the first failure.
    after_ms: i64,
}

impl Errand {
    /// Returns whether the task is under way.
    pub(super) fn is_running(&self) -> bool {
        self.is_running
    }

    /// Begins the task, unless it is under way or rests after a failure. A clock that was set back makes no rest longer.
    pub(super) fn begin(&mut self, now_ms: i64) -> bool {
        let rests = now_ms < self.after_ms && self.after_ms - now_ms <= AGAIN_MS;
        let begins = !self.is_running && !rests;
        self.is_running |= begins;
        begins
    }

    /// Notes that the task has ended, whatever came of it.
    pub(super) fn end(&mut self) {
        self.is_running = false;
    }

    /// Lets the task rest after a failure.
    pub(super) fn rest(&mut self, now_ms: i64) {
        self.after_ms = now_ms + AGAIN_MS;
    }

    /// Forgets the failures of an attempt that is over.
    pub(super) fn forget_failure(&mut self) {
        self.after_ms = 0;
    }
}
