//! `serin log`: the decision log as files.

use super::say;
use crate::cli::{Log, LogCommand};
use anyhow::bail;
use serin_decisions::verify;
use serin_scorer::serve::DECISIONS;

pub(crate) fn run(args: &Log) -> anyhow::Result<()> {
    let LogCommand::Verify { decision_log, state } = &args.command;
    let folder = decision_log.clone().unwrap_or_else(|| state.join(DECISIONS));
    if !folder.is_dir() {
        bail!("there is no decision log at {}: name its folder with --decision-log", folder.display());
    }
    let found = verify(&folder)?;
    for damage in &found.report.damages {
        say(format_args!("damaged: {damage}"));
    }
    for file in &found.report.unreadable {
        say(format_args!("cannot be read: {file}"));
    }
    for file in &found.misdated {
        say(format_args!("older records than the file's name says, which searches may pass over: {}", file.display()));
    }
    say(format_args!("{} records in {} segments", found.records, found.segments));
    if !found.is_clean() {
        let more = found.report.more_damages;
        let more = if more > 0 { format!(", {more} damages are not listed") } else { String::new() };
        bail!("the log is damaged in the places named above{more}; readers pass over them, and nothing removes them");
    }
    Ok(())
}
