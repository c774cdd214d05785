//! Every command and option.

mod decisions;
mod drift;
mod monitoring;
mod rollout;
mod training;

use clap::{Args, Parser, Subcommand};
use std::net::IpAddr;
use std::path::PathBuf;

pub(crate) use decisions::{Export, Logged, Replay, moment};
pub(crate) use drift::{Drift, FailOn};
pub(crate) use monitoring::{Counting, ImportLabels, Labels, LabelsCommand, Monitor, Performance, Retrain, ShowLabels};
pub(crate) use rollout::{Rollout, RolloutAction, Scoring};
pub(crate) use serin_scorer::options::{InvalidArgument, Reasons, Serve, State, age_ms};
pub(crate) use training::{Columns, Evaluate, ThresholdRule, Train, TrainingOptions};

/// A fraud-model pipeline in one binary: train, register, serve.
#[derive(Debug, Parser)]
#[command(
    version,
    propagate_version = true,
    after_help = "Start with `serin demo`, then train on your own file: `serin train --help`."
)]
pub(crate) struct Cli {
    /// Log more (or set SERIN_LOG, e.g. SERIN_LOG=serin_gateway=debug)
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything in one process: the tracking server and registry on :5000, the scoring server on :8000
    Up(Up),
    /// Track runs and register models: an MLflow server that any MLflow client talks to
    Server(Server),
    /// Back up, check, migrate the database; empty the trash
    Db(Db),
    /// Check the decision log: every record of it, and name what is damaged
    Log(Log),
    /// Users of a server that runs with --auth, their tokens and permissions
    User(User),
    /// Answer POST /predict with a registered model
    Serve(Serve),
    /// Release a version step by step: start, look, promote, abort; explain what a canary.yaml does
    Rollout(Rollout),
    /// Show logged decisions, re-score them to the same bits or with another model, erase them by entity
    Replay(Replay),
    /// What became known of transactions: import labels of a file, show what was said of one
    Labels(Labels),
    /// How decisions turned out, by the labels that are complete
    Performance(Performance),
    /// What the monitor would have said about the traffic in a file, hour by hour
    Monitor(Monitor),
    /// Write logged decisions as Parquet, for DuckDB, pandas and Spark
    Export(Export),
    /// Train a fraud model on a CSV or Parquet file, evaluate, package and register it
    Train(Box<Train>),
    /// Train the live model again on what has become known, judge it against the live one, make it challenger
    Retrain(Box<Retrain>),
    /// Score a labelled file with a model and print its metrics
    Evaluate(Evaluate),
    /// Compare the columns of two files: which have drifted, by Evidently's tests
    Drift(Drift),
    /// Generate transactions with known frauds (a stand-in for data you may not share)
    Simulate(Simulate),
    /// The whole loop in minutes: train, release, stop a bad version, notice a new fraud, learn it, replay a decision
    Demo(Demo),
}

#[derive(Debug, Args, Clone)]
#[command(
    after_help = "Options of the scoring server go behind --:\n  serin up -- --canary canary.yaml --fallback last-good,decline"
)]
pub(crate) struct Up {
    /// State folder of both
    #[arg(long, env = "SERIN_STATE", default_value = "serin-state")]
    pub(crate) state: PathBuf,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// Port of the tracking server
    #[arg(long, default_value_t = 5000)]
    pub(crate) port: u16,
    /// Port of the scoring server
    #[arg(long, default_value_t = 8000)]
    pub(crate) scoring_port: u16,
    /// Monitoring, alerts and retraining: a TOML file [default: serin.toml in the state folder, where there is one]
    #[arg(long, value_name = "FILE", env = "SERIN_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Options of `serin serve`
    #[arg(last = true, value_name = "SERVE OPTIONS")]
    pub(crate) serving: Vec<String>,
}

/// The decision log as files.
#[derive(Debug, Args, Clone)]
pub(crate) struct Log {
    #[command(subcommand)]
    pub(crate) command: LogCommand,
}

#[derive(Debug, Subcommand, Clone)]
pub(crate) enum LogCommand {
    /// Read every byte and say which are no records; ends with an error when there are any. Changes nothing
    Verify {
        /// Folder of the decision log [default: decisions/ in the state folder]
        #[arg(long, value_name = "DIR", env = "SERIN_DECISION_LOG")]
        decision_log: Option<PathBuf>,
        /// State folder
        #[arg(long, env = "SERIN_STATE", default_value = "serin-state")]
        state: PathBuf,
    },
}

/// The database and the artifact store.
#[derive(Debug, Args, Clone)]
pub(crate) struct Backend {
    /// State folder, for what the two options below do not name
    #[arg(long, global = true, env = "SERIN_STATE", default_value = "serin-state")]
    pub(crate) state: PathBuf,
    /// Database: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE; one that MLflow made is used as it is
    /// [default: serin.db in the state folder]
    #[arg(long, global = true, env = "MLFLOW_BACKEND_STORE_URI", value_name = "URI", hide_env_values = true)]
    pub(crate) backend_store_uri: Option<String>,
    /// Where artifacts lie: a folder, or s3://BUCKET/PREFIX (MLFLOW_S3_ENDPOINT_URL, AWS_ACCESS_KEY_ID, … are honoured)
    /// [default: artifacts/ in the state folder]
    #[arg(long, global = true, env = "MLFLOW_ARTIFACTS_DESTINATION", value_name = "URI")]
    pub(crate) artifacts_destination: Option<String>,
}

/// Work on the database while no command needs to stop.
#[derive(Debug, Args, Clone)]
pub(crate) struct Db {
    #[command(subcommand)]
    pub(crate) command: DbCommand,
    #[command(flatten)]
    pub(crate) backend: Backend,
}

#[derive(Debug, Subcommand, Clone)]
pub(crate) enum DbCommand {
    /// Bring the schema to this serin's (any command that opens the database does so too)
    Migrate,
    /// Copy the SQLite database into a new file while it is in use
    Backup {
        /// File to write; it must not exist
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Look for damage; ends with an error when there is any
    Check,
    /// Empty the trash: remove deleted runs, models and experiments with their artifacts, for good
    Gc {
        /// Only what was deleted at least so long ago: 30d, 12h, 90m or 0d for all of it
        #[arg(long, value_name = "AGE", default_value = "30d", value_parser = age_ms)]
        older_than: i64,
        /// Count, remove nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args, Clone)]
#[command(
    after_help = "Example:\n  serin user add ana --admin\n  serin user token ana          # MLFLOW_TRACKING_TOKEN for ana's scripts\n  serin user add bot --permission READ\n  serin user grant bot --model fraud_detection EDIT"
)]
pub(crate) struct User {
    #[command(subcommand)]
    pub(crate) command: UserCommand,
    #[command(flatten)]
    pub(crate) backend: Backend,
}

#[derive(Debug, Subcommand, Clone)]
pub(crate) enum UserCommand {
    /// Make a user, or change one; prints a new password unless one is given
    Add {
        name: String,
        /// May do everything
        #[arg(long)]
        admin: bool,
        /// What they may do where nothing else is granted: READ, EDIT, MANAGE or NO_PERMISSIONS
        #[arg(long, default_value = "READ", value_parser = permission)]
        permission: serin_store::Permission,
        /// Read the password from standard input instead of making one
        #[arg(long)]
        password_stdin: bool,
    },
    /// Print a new token
    Token {
        name: String,
        /// It ends after this: 30d, 12h, 90m [default: never]
        #[arg(long, value_name = "AGE", value_parser = age_ms)]
        expires_in: Option<i64>,
    },
    /// Say what a user may do with one experiment or model
    Grant {
        name: String,
        /// READ, EDIT, MANAGE or NO_PERMISSIONS
        #[arg(value_parser = permission)]
        permission: serin_store::Permission,
        /// Experiment, by name
        #[arg(long, required_unless_present = "model", conflicts_with = "model")]
        experiment: Option<String>,
        /// Registered model, by name
        #[arg(long)]
        model: Option<String>,
    },
    /// Remove a user with all tokens
    Remove { name: String },
    /// Show all users
    List,
}

#[derive(Debug, Args, Clone)]
#[command(
    after_help = "Examples:\n  serin server\n  serin server --backend-store-uri postgresql://mlflow:secret@db/mlflow --artifacts-destination s3://models/mlflow\n  export MLFLOW_TRACKING_URI=http://127.0.0.1:5000    # in the client's shell"
)]
pub(crate) struct Server {
    #[command(flatten)]
    pub(crate) backend: Backend,
    /// Folder of the decision log that performance is counted from: the one that the scoring server writes
    /// [default: decisions/ in the state folder]
    #[arg(long, value_name = "DIR", env = "SERIN_DECISION_LOG")]
    pub(crate) decision_log: Option<PathBuf>,
    /// Monitoring, alerts and retraining: a TOML file [default: serin.toml in the state folder, where there is one]
    #[arg(long, value_name = "FILE", env = "SERIN_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Address of a scoring server whose rollout and traffic the pages show and steer, such as http://fraud-api:8000;
    /// repeatable
    #[arg(long, value_name = "URL", env = "SERIN_SCORING_URL", value_delimiter = ',', value_parser = http_url)]
    pub(crate) scoring_url: Vec<String>,
    /// Key that those servers ask for
    #[arg(long, value_name = "KEY", env = "SERIN_SCORING_KEY", hide_env_values = true)]
    pub(crate) scoring_key: Option<String>,
    /// Clients read and write the artifact store themselves instead of through this server
    #[arg(long)]
    pub(crate) no_serve_artifacts: bool,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// Port to listen on
    #[arg(long, default_value_t = 5000)]
    pub(crate) port: u16,
    /// Path under which everything is served, e.g. /mlflow
    #[arg(long, value_name = "PATH", value_parser = static_prefix)]
    pub(crate) static_prefix: Option<String>,
    /// Everybody must say who they are: users are made with `serin user add`
    #[arg(long)]
    pub(crate) auth: bool,
    /// Host names that clients may use beside this machine's and private addresses, comma-separated; * allows all
    #[arg(long, env = "MLFLOW_SERVER_ALLOWED_HOSTS", value_name = "HOSTS", value_delimiter = ',')]
    pub(crate) allowed_hosts: Vec<String>,
    /// Origins of other sites whose pages may change things, comma-separated; * allows all
    #[arg(long, env = "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", value_name = "ORIGINS", value_delimiter = ',')]
    pub(crate) cors_allowed_origins: Vec<String>,
    /// Schemes that webhook URLs may have
    #[arg(
        long,
        env = "MLFLOW_WEBHOOK_ALLOWED_SCHEMES",
        value_name = "SCHEMES",
        value_delimiter = ',',
        default_value = "https"
    )]
    pub(crate) webhook_allowed_schemes: Vec<String>,
    /// Webhooks may also go to private addresses and to this machine: for development
    #[arg(long, env = "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS")]
    pub(crate) webhook_allow_private_ips: bool,
    /// Fernet key that encrypts webhooks' secrets in the database
    #[arg(long, env = "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY", value_name = "KEY", hide_env_values = true)]
    pub(crate) webhook_secret_encryption_key: Option<String>,
}

#[derive(Debug, Args, Clone)]
pub(crate) struct Simulate {
    /// File to write: .parquet, or .csv
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Number of customers
    #[arg(long, default_value_t = 5_000)]
    pub(crate) customers: usize,
    /// Number of terminals
    #[arg(long, default_value_t = 10_000)]
    pub(crate) terminals: usize,
    /// Number of days from 2018-04-01
    #[arg(long, default_value_t = 183)]
    pub(crate) days: u32,
    /// Seed: the same seed gives the same file
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// What goes wrong from a day on, repeatable: cents@60, new-pattern@60, shifted-population@60, null:COLUMN@60
    #[arg(long, value_name = "KIND@DAY")]
    pub(crate) drift: Vec<String>,
}

#[derive(Debug, Args, Clone)]
#[command(
    after_help = "Examples:\n  serin demo                  # a few minutes, then the dashboard stays open\n  serin demo --fast --exit    # fewer customers, no waiting at the end\n  serin demo --seed 7 --keep  # another world, kept for `serin up --state serin-demo`"
)]
pub(crate) struct Demo {
    /// Folder of the demo's state and data: emptied first, removed at the end
    #[arg(long, default_value = "serin-demo")]
    pub(crate) state: PathBuf,
    /// Keep the folder at the end
    #[arg(long)]
    pub(crate) keep: bool,
    /// Fewer customers
    #[arg(long)]
    pub(crate) fast: bool,
    /// Port of the dashboard and tracking server
    #[arg(long, default_value_t = 5000)]
    pub(crate) dashboard_port: u16,
    /// Port of the scoring server
    #[arg(long, default_value_t = 8000)]
    pub(crate) port: u16,
    /// Days of history before the first payment is decided
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(40..))]
    pub(crate) days: u32,
    /// Days of payments after the new fraud begins: the story ends with them at the latest
    #[arg(long, value_name = "N", default_value_t = 70, value_parser = clap::value_parser!(u32).range(1..=400))]
    pub(crate) fraud_days: u32,
    /// Number of customers
    #[arg(long, default_value_t = 2_000)]
    pub(crate) customers: usize,
    /// Seed of the simulation
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Stop at the end instead of leaving the dashboard open
    #[arg(long)]
    pub(crate) exit: bool,
}

fn name_value(text: &str) -> Result<(String, String), InvalidArgument> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(InvalidArgument("write NAME=VALUE".to_owned())),
    }
}

fn static_prefix(text: &str) -> Result<String, InvalidArgument> {
    let plain = text.starts_with('/') && text.len() > 1 && !text.ends_with('/') && !text.contains(['{', '}', '*', ' ']);
    if plain { Ok(text.to_owned()) } else { Err(InvalidArgument("write a path such as /mlflow".to_owned())) }
}

fn http_url(text: &str) -> Result<String, InvalidArgument> {
    let known = ["http://", "https://"].iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme));
    if known {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err(InvalidArgument("write an address such as http://fraud-api:8000".to_owned()))
    }
}

fn permission(text: &str) -> Result<serin_store::Permission, serin_store::UnknownPermission> {
    text.parse()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
