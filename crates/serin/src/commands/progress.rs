//! Progress bars on standard error; nothing where it is not a terminal.

use indicatif::{ProgressBar, ProgressStyle};

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
