//! Logs to standard error: text on a terminal, JSON lines otherwise. `SERIN_LOG` sets the filter.

use std::io::{IsTerminal, Write};
use tracing_subscriber::EnvFilter;

/// `quiet` says nothing below an error where nobody asked for more: for commands that tell what happens themselves.
pub fn start(verbose: bool, quiet: bool) {
    let default = match (verbose, quiet) {
        (true, _) => "info,serin=debug,serin_scorer=debug,serin_gateway=debug,serin_control=debug",
        (false, true) => "error",
        (false, false) => "info",
    };
    let filter = EnvFilter::try_from_env("SERIN_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if std::io::stderr().is_terminal() {
        builder.init();
    } else {
        builder.json().init();
    }
}

/// The error and its causes in one line each: no stack trace reaches a person.
pub fn report_failure(program: &str, error: &anyhow::Error) {
    let mut out = std::io::stderr().lock();
    // Nothing is left to do when standard error is closed.
    let _ = writeln!(out, "{program}: {error}");
    for cause in error.chain().skip(1) {
        let _ = writeln!(out, "  because {cause}");
    }
}
