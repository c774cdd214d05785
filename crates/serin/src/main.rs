#![doc = include_str!("../README.md")]

mod cli;
mod commands;
#[cfg(feature = "server")]
mod config;
mod registry;
mod telemetry;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    telemetry::start(cli.verbose, matches!(cli.command, cli::Command::Demo(_)));
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::report_failure(&error);
            ExitCode::FAILURE
        }
    }
}
