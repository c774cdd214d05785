//! `serin up`: the tracking server and the scoring server in one process, on one state folder.

use super::serving::Full;
use super::{say, server};
use crate::cli::{Cli, Command, Up};
use clap::Parser;
use serin_scorer::listening::Shutdown;
use serin_scorer::serve;

pub(crate) async fn run(args: &Up) -> anyhow::Result<()> {
    let (host, state) = (args.host.to_string(), args.state.display().to_string());
    let parsed = |command: &str, port: u16, more: &[String]| {
        let own =
            ["serin", command, "--host", &host, "--state", &state, "--port", &port.to_string()].map(str::to_owned);
        // A mistake in what stands behind -- is answered as `serin serve` would answer it.
        Cli::parse_from(own.iter().chain(more)).command
    };
    let config: Vec<String> =
        args.config.iter().flat_map(|file| ["--config".to_owned(), file.display().to_string()]).collect();
    let Command::Server(server_options) = parsed("server", args.port, &config) else {
        unreachable!("the command is named")
    };
    let tracking = server::start(&server_options).await?;
    let mut more = args.serving.clone();
    let is_given = |option: &str, more: &[String]| {
        more.iter().any(|given| given.strip_prefix(option).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')))
    };
    // Monitoring by the payments' own time is for traffic of the past, of whatever day.
    if crate::config::read(args.config.as_deref(), &args.state)?.goes_by_events() && !is_given("--max-event-age", &more)
    {
        more.extend(["--max-event-age", "36500d"].map(str::to_owned));
    }
    for (option, value) in [("--wait-for-model", None), ("--poll", Some("0.2"))] {
        if !is_given(option, &more) {
            more.extend([Some(option), value].into_iter().flatten().map(str::to_owned));
        }
    }
    let Command::Serve(mut serving) = parsed("serve", args.scoring_port, &more) else {
        unreachable!("the command is named")
    };
    // The registry is this process's own, whatever the environment says.
    serving.state.tracking_uri = None;
    let scoring = serve::start(&serving, &Full).await?;
    tracking.show(scoring.to_string());
    let shutdown = Shutdown::catch()?;
    tracking.announce(&server_options);
    say(format_args!("scoring {} on {scoring} (API: /docs)", serving.model.join(", ")));
    shutdown.requested().await;
    scoring.stop().await;
    tracking.stop().await;
    Ok(())
}
