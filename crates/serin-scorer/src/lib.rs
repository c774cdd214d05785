#![doc = include_str!("../README.md")]

pub mod canary_file;
pub mod environment;
mod last_good;
pub mod listening;
pub mod options;
mod panes;
pub mod registry;
pub mod serve;
pub mod telemetry;

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Epoch milliseconds now: the only clock; everything below is told the time.
#[must_use]
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// A line of a command's result on standard output. A closed pipe ends the output, not the command.
pub fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// A name of a model or slot as the name of a file.
#[must_use]
pub fn file_name(name: &str) -> String {
    name.replace(['/', '\\', ':'], "_")
}
