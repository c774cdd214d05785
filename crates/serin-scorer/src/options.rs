//! Options of a scoring server.

use clap::Args;
use serin_gateway::Exploration;
use std::net::IpAddr;
use std::path::PathBuf;

/// Where runs and models are kept.
#[derive(Debug, Args, Clone)]
pub struct State {
    /// State folder (serin.db and artifacts/); copy it while stopped to back it up
    #[arg(long, env = "SERIN_STATE", default_value = "serin-state")]
    pub state: PathBuf,
    /// Use this registry instead of the state folder: the address of a tracking server (serin's or MLflow's, http(s)://…)
    #[arg(long, env = "MLFLOW_TRACKING_URI", value_name = "URI")]
    pub tracking_uri: Option<String>,
}

/// Options of `serin serve`, and of `serin-scorer`.
#[derive(Debug, Args, Clone)]
pub struct Serve {
    /// models:/NAME/Production, models:/NAME/3, models:/NAME@champion, runs:/ID/model, or a path; once for each model,
    /// the first answers where a request names none
    #[arg(long, short, env = "MODEL_URI", default_value = "models:/fraud_detection/Production", value_delimiter = ',')]
    pub model: Vec<String>,
    /// A candidate that scores everything the first model decides, off the response path; once for each
    #[arg(long, value_name = "URI")]
    pub shadow: Vec<String>,
    /// Release versions by these rules: a file of Flagger's Canary objects; the first model must be an alias or a stage
    #[arg(long, value_name = "FILE", env = "SERIN_CANARY")]
    pub canary: Option<PathBuf>,
    /// Version to release; models:/NAME@challenger of the first model without it
    #[arg(long, value_name = "URI", requires = "canary")]
    pub candidate: Option<String>,
    /// Allow looks closer together than Flagger's 10 seconds, for demonstrations and tests
    #[arg(long, requires = "canary")]
    pub fast_canary: bool,
    /// Registry and state folder.
    #[command(flatten)]
    pub state: State,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// Seconds between looks at the registry for a newer model
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    pub poll: f64,
    /// Seconds between two words to the monitoring server about the traffic that was seen
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
    pub monitor_every: f64,
    /// Greatest age of a payment that the monitor counts at the hour of its event: 90d, 12h. Older payments are decided and
    /// logged with their time, and counted at the hour of their decision; 36500d for traffic of the past that is played again
    #[arg(long, default_value = "90d", value_name = "AGE", value_parser = age_ms)]
    pub max_event_age: i64,
    /// Start without a model and wait (unready) until one is registered
    #[arg(long)]
    pub wait_for_model: bool,
    /// Where decisions are recorded.
    #[command(flatten)]
    pub log: LogOptions,
    /// What decides where the model cannot.
    #[command(flatten)]
    pub fallback: FallbackOptions,
    /// Let this share of the alerts at the threshold through, falling to a tenth of it at score 1, and log with which
    /// probability: labels of those say what becomes of what is stopped. 0.05 is a beginning; a half is the most
    #[arg(long, value_name = "SHARE", env = "SERIN_EXPLORE", value_parser = exploration)]
    pub explore: Option<Exploration>,
    /// File of API keys, one a line: whoever decides, or looks at anything but health, must show one
    #[arg(long, value_name = "FILE", env = "SERIN_API_KEY_FILE")]
    pub api_key_file: Option<PathBuf>,
    /// PEM file of the certificate with its chain: connections are encrypted; it is read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "SERIN_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "SERIN_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Threads that answer [default: one a core]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Open connections; more get an immediate 503
    #[arg(long, default_value_t = 4096, value_name = "N")]
    pub max_connections: usize,
    /// Seconds for the head of a request, and for the pause before it
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    pub header_timeout: f64,
    /// Seconds for a whole request
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    pub request_timeout: f64,
    /// Largest request body in bytes
    #[arg(long, default_value_t = 8 << 20, value_name = "BYTES")]
    pub max_body_bytes: usize,
    /// Most rows in one request
    #[arg(long, default_value_t = 10_000, value_name = "ROWS")]
    pub max_rows: usize,
}

/// Word of a command line that has another form than its option; the text says which.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidArgument(pub String);

fn exploration(text: &str) -> Result<Exploration, InvalidArgument> {
    let share = text.parse().map_err(|_| InvalidArgument("it is a share such as 0.05".to_owned()))?;
    Exploration::new(share).map_err(|error| InvalidArgument(error.to_string()))
}

/// What happens where the model cannot decide, or not in time.
#[derive(Debug, Args, Clone, Default)]
pub struct FallbackOptions {
    /// What decides when no model is loaded, its time is over or its score is no number; tried in this order:
    /// last-good (the copy of the last model that was loaded), rules:FILE (a JSON file of rules), allow, decline.
    /// Such decisions are marked in answer and log [default: refuse them with 503]
    #[arg(long, value_name = "STEPS", value_delimiter = ',', env = "SERIN_FALLBACK")]
    pub fallback: Vec<String>,
    /// Seconds for a decision, from the request's head; later ones fall back
    #[arg(long, value_name = "SECONDS")]
    pub deadline: Option<f64>,
}

/// Where decisions are recorded.
#[derive(Debug, Args, Clone, Default)]
pub struct LogOptions {
    /// Folder of the decision log [default: decisions/ in the state folder; none for a model given by path]
    #[arg(long, value_name = "DIR", env = "SERIN_DECISION_LOG")]
    pub decision_log: Option<PathBuf>,
    /// Record no decision
    #[arg(long, conflicts_with = "decision_log")]
    pub no_decision_log: bool,
    /// When a decision cannot be recorded, as on a full disk: refuse it (503), or give it and count it
    #[arg(long, value_enum, default_value_t = LogFull::Refuse, value_name = "POLICY")]
    pub decision_log_full: LogFull,
    /// Remove decisions older than this: 90d, 12h [default: keep them]
    #[arg(long, value_name = "AGE", value_parser = age_ms)]
    pub keep_decisions: Option<i64>,
    /// Remove the oldest decisions while they and their indexes take more bytes than this [default: keep them]
    #[arg(long, value_name = "BYTES")]
    pub keep_decision_bytes: Option<u64>,
    /// Write sealed segments (those that are full, or an hour old) as Parquet to this folder or s3://bucket/prefix
    #[arg(long, value_name = "DIR", env = "SERIN_EXPORT_DECISIONS")]
    pub export_decisions: Option<String>,
    /// For which exported decisions to write what moved the score most
    #[arg(long, value_enum, default_value_t = Reasons::None, value_name = "WHICH")]
    pub export_reasons: Reasons,
}

/// Decisions that get reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Reasons {
    /// None
    #[default]
    None,
    /// Alerts
    Alerts,
    /// All; some hundred microseconds of one core each
    All,
}

/// What to do when a decision cannot be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFull {
    /// Answer 503: no decision without a record
    #[default]
    Refuse,
    /// Answer, and count it in serin_decisions_unlogged_total
    DropAndCount,
}

/// Milliseconds of `30d`, `12h`, `90m`.
///
/// # Errors
/// With how an age is written.
pub fn age_ms(text: &str) -> Result<i64, InvalidArgument> {
    let usage = || InvalidArgument("write an age such as 30d, 12h or 90m".to_owned());
    let unit = match text.chars().last() {
        Some('d') => 86_400_000,
        Some('h') => 3_600_000,
        Some('m') => 60_000,
        _ => return Err(usage()),
    };
    let count: i64 = text[..text.len() - 1].parse().map_err(|_| usage())?;
    count.checked_mul(unit).filter(|age| *age >= 0).ok_or_else(usage)
}
