#![doc = include_str!("../README.md")]

mod cli;
mod commands;
mod config;
mod registry;

use clap::Parser;
use serin_scorer::telemetry;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    telemetry::start(cli.verbose, matches!(cli.command, cli::Command::Demo(_)));
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::report_failure("serin", &error);
            ExitCode::FAILURE
        }
    }
}
