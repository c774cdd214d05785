//! Progress bars on standard error; nothing where it is not a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::sync::{Mutex, PoisonError};

/// A bar over `total` steps of `what`.
pub(crate) fn bar(what: &'static str, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let style = ProgressStyle::with_template("{prefix:>12} {bar:40} {percent:>3}% {msg}");
    // The template is a constant; without it indicatif's own style is used.
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.set_prefix(what);
    bar
}

/// Bars of the steps of one work, which come one after another; the last one ends with the value.
#[derive(Default)]
pub(crate) struct Steps(Mutex<Option<(&'static str, ProgressBar)>>);

impl Steps {
    /// Shows how much of the step `what` is done, and returns its bar; the bar of the step before ends.
    pub(crate) fn show(&self, what: &'static str, done: u64, total: u64) -> ProgressBar {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, bar)) = &*shown
            && *before != what
        {
            bar.finish_and_clear();
            *shown = None;
        }
        let (_, bar) = shown.get_or_insert_with(|| (what, self::bar(what, total)));
        bar.set_length(total);
        bar.set_position(done);
        bar.clone()
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if let Some((_, bar)) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner) {
            bar.finish_and_clear();
        }
    }
}
