//! The demo's text: lines that stay, and at a terminal one line below them that moves.

use crate::commands::say;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// Where the story is told.
pub(super) struct Panel {
    start: Instant,
    bar: ProgressBar,
}

impl Panel {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        // The template is a constant; without it indicatif's own style is used. Nothing is drawn where there is no terminal.
        if let Ok(style) = ProgressStyle::with_template("      {spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { start: Instant::now(), bar }
    }

    /// Seconds since the story began.
    pub(super) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// A line that begins a chapter, with the time.
    pub(super) fn chapter(&self, text: impl std::fmt::Display) {
        self.bar.suspend(|| say(format_args!("{:>4.0} s  {text}", self.seconds())));
    }

    /// A line that stays.
    pub(super) fn line(&self, text: impl std::fmt::Display) {
        self.bar.suspend(|| say(format_args!("        {text}")));
    }

    /// What happens at the moment.
    pub(super) fn now(&self, text: impl Into<String>) {
        self.bar.set_message(text.into());
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
