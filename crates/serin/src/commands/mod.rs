//! One file a command. Those that a smaller build does not have say so there.

#[cfg(feature = "server")]
mod db;
#[cfg(feature = "train")]
mod demo;
#[cfg(feature = "train")]
mod drift;
#[cfg(feature = "train")]
mod evaluate;
#[cfg(feature = "train")]
mod export;
mod labelled;
#[cfg(feature = "train")]
mod labels;
mod last_good;
mod listening;
#[cfg(feature = "train")]
mod load;
#[cfg(feature = "train")]
mod monitor;
mod panes;
#[cfg(feature = "server")]
mod performance;
#[cfg(feature = "train")]
mod progress;
mod replay;
#[cfg(feature = "train")]
mod retrain;
mod rollout;
mod serve;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "train")]
mod simulate;
#[cfg(feature = "train")]
mod train;
#[cfg(feature = "server")]
mod up;
#[cfg(feature = "server")]
mod user;

use crate::cli::Command;
use anyhow::Context;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        #[cfg(feature = "server")]
        Command::Up(args) => runtime()?.block_on(up::run(&args)),
        #[cfg(feature = "server")]
        Command::Server(args) => runtime()?.block_on(server::run(&args)),
        #[cfg(feature = "server")]
        Command::Db(args) => runtime()?.block_on(db::run(&args)),
        #[cfg(feature = "server")]
        Command::User(args) => runtime()?.block_on(user::run(&args)),
        #[cfg(feature = "server")]
        Command::Performance(args) => runtime()?.block_on(performance::run(&args)),
        #[cfg(feature = "train")]
        Command::Monitor(args) => runtime()?.block_on(monitor::run(&args)),
        #[cfg(feature = "train")]
        Command::Retrain(args) => runtime()?.block_on(retrain::run(&args)),
        #[cfg(feature = "train")]
        Command::Labels(args) => runtime()?.block_on(labels::run(&args)),
        Command::Serve(args) => runtime()?.block_on(serve::run(&args)),
        Command::Rollout(args) => runtime()?.block_on(rollout::run(&args)),
        Command::Replay(args) => runtime()?.block_on(replay::run(&args)),
        #[cfg(feature = "train")]
        Command::Export(args) => runtime()?.block_on(export::run(&args)),
        #[cfg(feature = "train")]
        Command::Train(args) => runtime()?.block_on(train::run(&args)),
        #[cfg(feature = "train")]
        Command::Evaluate(args) => runtime()?.block_on(evaluate::run(&args)),
        #[cfg(feature = "train")]
        Command::Drift(args) => drift::run(&args),
        #[cfg(feature = "train")]
        Command::Simulate(args) => simulate::run(&args),
        #[cfg(feature = "train")]
        Command::Demo(args) => runtime()?.block_on(demo::run(&args)),
        #[cfg(not(feature = "train"))]
        _ => anyhow::bail!(
            "this serin was built for serving only; use the full build (cargo build -p serin) for this command"
        ),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime")
}

/// Epoch milliseconds now: the only clock; everything below is told the time.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// A name of a model or slot as one of a file.
fn file_name(name: &str) -> String {
    name.replace(['/', '\\', ':'], "_")
}

/// Ends the process with a status that means something other than failure.
#[cfg(feature = "train")]
#[expect(clippy::exit, reason = "the result is out and nothing is open")]
fn leave(status: i32) -> ! {
    std::process::exit(status)
}

/// A line of a command's result on standard output. A closed pipe ends the output, not the command.
fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
