//! One file a command.

mod db;
mod demo;
mod drift;
mod evaluate;
mod export;
mod labels;
mod load;
mod log;
mod monitor;
mod performance;
mod progress;
mod replay;
mod retrain;
mod rollout;
mod server;
mod serving;
mod simulate;
mod stopping;
mod train;
mod up;
mod user;

use crate::cli::Command;
use anyhow::Context;
pub(crate) use serin_scorer::now_ms;
use serin_scorer::say;

pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(args) => runtime()?.block_on(up::run(&args)),
        Command::Server(args) => runtime()?.block_on(server::run(&args)),
        Command::Db(args) => runtime()?.block_on(db::run(&args)),
        Command::Log(args) => log::run(&args),
        Command::User(args) => runtime()?.block_on(user::run(&args)),
        Command::Performance(args) => runtime()?.block_on(performance::run(&args)),
        Command::Monitor(args) => runtime()?.block_on(monitor::run(&args)),
        Command::Retrain(args) => runtime()?.block_on(retrain::run(&args)),
        Command::Labels(args) => runtime()?.block_on(labels::run(&args)),
        Command::Serve(args) => runtime()?.block_on(serving::run(&args)),
        Command::Rollout(args) => runtime()?.block_on(rollout::run(&args)),
        Command::Replay(args) => runtime()?.block_on(replay::run(&args)),
        Command::Export(args) => runtime()?.block_on(export::run(&args)),
        Command::Train(args) => runtime()?.block_on(train::run(&args)),
        Command::Evaluate(args) => runtime()?.block_on(evaluate::run(&args)),
        Command::Drift(args) => drift::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Demo(args) => runtime()?.block_on(demo::run(&args)),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime")
}

/// Ends the process with a status that means something other than failure.
#[expect(clippy::exit, reason = "the result is out and nothing is open")]
fn leave(status: i32) -> ! {
    std::process::exit(status)
}
