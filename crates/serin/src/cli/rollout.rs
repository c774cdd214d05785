//! Options of rollouts.

use super::State;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args, Clone)]
#[command(
    after_help = "A scoring server releases versions when it has the rules:\n  serin serve -m models:/fraud_detection@champion --canary canary.yaml\nThen:\n  serin rollout start --model fraud_detection --to 8\n  serin rollout status --watch\n  serin rollout explain canary.yaml --rps 20"
)]
pub(crate) struct Rollout {
    #[command(subcommand)]
    pub(crate) action: RolloutAction,
}

#[derive(Debug, Subcommand, Clone)]
pub(crate) enum RolloutAction {
    /// Name the version that should become live, by pointing an alias at it
    Start {
        /// Registered model
        #[arg(long, default_value = "fraud_detection")]
        model: String,
        /// Version
        #[arg(long, value_name = "VERSION")]
        to: i64,
        /// Alias that the scoring server watches
        #[arg(long, default_value = "challenger")]
        alias: String,
        #[command(flatten)]
        state: State,
    },
    /// Phase, weight, evidence and history
    Status {
        #[command(flatten)]
        server: Scoring,
        /// Look again every second until it has ended
        #[arg(long)]
        watch: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Promote the candidate now, whatever gates and evidence say
    Promote(Scoring),
    /// Roll back now
    Abort(Scoring),
    /// Stay at this weight
    Pause(Scoring),
    /// Go on
    Resume(Scoring),
    /// Try a version that was rolled back again, as a new attempt
    Retry(Scoring),
    /// Check a canary.yaml and say what it does
    Explain {
        /// File
        file: PathBuf,
        /// Requests a second, for how soon harm is seen
        #[arg(long, default_value_t = 20.0, value_name = "N")]
        rps: f64,
        /// Alerts among them
        #[arg(long, default_value_t = 0.005, value_name = "SHARE")]
        alert_rate: f64,
    },
}

/// The scoring server that releases.
#[derive(Debug, Args, Clone)]
pub(crate) struct Scoring {
    /// Address of the scoring server
    #[arg(long, default_value = "http://127.0.0.1:8000", env = "SERIN_SCORING_URI", value_name = "URL")]
    pub(crate) server: String,
    /// Its API key, where it asks for one
    #[arg(long, env = "SERIN_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub(crate) api_key: Option<String>,
}
