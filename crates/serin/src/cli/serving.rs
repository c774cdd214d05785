//! Options of the scoring server and of what it leaves behind.

use super::{State, age_ms};
use clap::Args;
use serin_server::Exploration;
use std::net::IpAddr;
use std::path::PathBuf;

#[derive(Debug, Args, Clone)]
pub(crate) struct Serve {
    /// models:/NAME/Production, models:/NAME/3, models:/NAME@champion, runs:/ID/model, or a path; once for each model,
    /// the first answers where a request names none
    #[arg(long, short, env = "MODEL_URI", default_value = "models:/fraud_detection/Production", value_delimiter = ',')]
    pub(crate) model: Vec<String>,
    /// A candidate that scores everything the first model decides, off the response path; once for each
    #[arg(long, value_name = "URI")]
    pub(crate) shadow: Vec<String>,
    /// Release versions by these rules: a file of Flagger's Canary objects; the first model must be an alias or a stage
    #[arg(long, value_name = "FILE", env = "SERIN_CANARY")]
    pub(crate) canary: Option<PathBuf>,
    /// Version to release; models:/NAME@challenger of the first model without it
    #[arg(long, value_name = "URI", requires = "canary")]
    pub(crate) candidate: Option<String>,
    /// Allow looks closer together than Flagger's 10 seconds, for demonstrations and tests
    #[arg(long, requires = "canary")]
    pub(crate) fast_canary: bool,
    #[command(flatten)]
    pub(crate) state: State,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// Port to listen on
    #[arg(long, default_value_t = 8000)]
    pub(crate) port: u16,
    /// Seconds between looks at the registry for a newer model
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    pub(crate) poll: f64,
    /// Seconds between two words to the monitoring server about the traffic that was seen
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
    pub(crate) monitor_every: f64,
    /// Start without a model and wait (unready) until one is registered
    #[arg(long)]
    pub(crate) wait_for_model: bool,
    #[command(flatten)]
    pub(crate) log: LogOptions,
    #[command(flatten)]
    pub(crate) fallback: FallbackOptions,
    /// Let this share of the alerts at the threshold through, falling to a tenth of it at score 1, and log with which
    /// probability: labels of those say what becomes of what is stopped. 0.05 is a beginning; a half is the most
    #[arg(long, value_name = "SHARE", env = "SERIN_EXPLORE", value_parser = exploration)]
    pub(crate) explore: Option<Exploration>,
    /// File of API keys, one a line: whoever decides, or looks at anything but health, must show one
    #[arg(long, value_name = "FILE", env = "SERIN_API_KEY_FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// PEM file of the certificate with its chain: connections are encrypted; it is read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "SERIN_TLS_CERT")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "SERIN_TLS_KEY")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Threads that answer [default: one a core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Open connections; more get an immediate 503
    #[arg(long, default_value_t = 4096, value_name = "N")]
    pub(crate) max_connections: usize,
    /// Seconds for the head of a request, and for the pause before it
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    pub(crate) header_timeout: f64,
    /// Seconds for a whole request
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    pub(crate) request_timeout: f64,
    /// Largest request body in bytes
    #[arg(long, default_value_t = 8 << 20, value_name = "BYTES")]
    pub(crate) max_body_bytes: usize,
    /// Most rows in one request
    #[arg(long, default_value_t = 10_000, value_name = "ROWS")]
    pub(crate) max_rows: usize,
}

fn exploration(text: &str) -> Result<Exploration, String> {
    text.parse().map_err(|_| "it is a share such as 0.05".to_owned()).and_then(Exploration::new)
}

/// What happens where the model cannot decide, or not in time.
#[derive(Debug, Args, Clone, Default)]
pub(crate) struct FallbackOptions {
    /// What decides when no model is loaded, its time is over or its score is no number; tried in this order:
    /// last-good (the copy of the last model that was loaded), rules:FILE (a JSON file of rules), allow, decline.
    /// Such decisions are marked in answer and log [default: refuse them with 503]
    #[arg(long, value_name = "STEPS", value_delimiter = ',', env = "SERIN_FALLBACK")]
    pub(crate) fallback: Vec<String>,
    /// Seconds for a decision, from the request's head; later ones fall back
    #[arg(long, value_name = "SECONDS")]
    pub(crate) deadline: Option<f64>,
}

/// Where decisions are recorded.
#[derive(Debug, Args, Clone, Default)]
pub(crate) struct LogOptions {
    /// Folder of the decision log [default: decisions/ in the state folder; none for a model given by path]
    #[arg(long, value_name = "DIR", env = "SERIN_DECISION_LOG")]
    pub(crate) decision_log: Option<PathBuf>,
    /// Record no decision
    #[arg(long, conflicts_with = "decision_log")]
    pub(crate) no_decision_log: bool,
    /// When a decision cannot be recorded, as on a full disk: refuse it (503), or give it and count it
    #[arg(long, value_enum, default_value_t = LogFull::Refuse, value_name = "POLICY")]
    pub(crate) decision_log_full: LogFull,
    /// Remove decisions older than this: 90d, 12h [default: keep them]
    #[arg(long, value_name = "AGE", value_parser = age_ms)]
    pub(crate) keep_decisions: Option<i64>,
    /// Remove the oldest decisions while there are more bytes than this [default: keep them]
    #[arg(long, value_name = "BYTES")]
    pub(crate) keep_decision_bytes: Option<u64>,
    /// Write sealed segments (those that are full, or an hour old) as Parquet to this folder or s3://bucket/prefix
    #[arg(long, value_name = "DIR", env = "SERIN_EXPORT_DECISIONS")]
    pub(crate) export_decisions: Option<String>,
    /// For which exported decisions to write what moved the score most
    #[arg(long, value_enum, default_value_t = Reasons::None, value_name = "WHICH")]
    pub(crate) export_reasons: Reasons,
}

#[derive(Debug, Args, Clone)]
#[command(
    after_help = "Examples:\n  serin replay --id 019ab…            # one decision: what it was made of, and whether it comes out the same\n  serin replay --since 2026-11-01 --model models:/fraud_detection/8      # logged traffic through another version\n  serin replay --model models:/fraud_detection/8 --labels chargebacks.csv:tx,fraud,amount  # and who was right\n  serin replay --erase-entity card-7  # forget a card"
)]
pub(crate) struct Replay {
    /// One decision, by its id
    #[arg(long, conflicts_with_all = ["model", "erase_entity"])]
    pub(crate) id: Option<String>,
    /// Re-score the log with this model: models:/NAME/3, models:/NAME@challenger, runs:/ID/model, or a path
    #[arg(long, short)]
    pub(crate) model: Option<String>,
    /// With --model: labels to judge both by, as FILE or FILE:ID,LABEL or FILE:ID,LABEL,AMOUNT (CSV or Parquet; the
    /// columns are transaction_id and label where none is named)
    #[arg(long, value_name = "FILE", requires = "model")]
    pub(crate) labels: Option<String>,
    /// Remove every decision about this entity from the sealed part of the log
    #[arg(long, value_name = "ENTITY", conflicts_with = "model")]
    pub(crate) erase_entity: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) logged: Logged,
}

#[derive(Debug, Args, Clone)]
#[command(
    after_help = "Example:\n  serin export --out decisions --since 2026-11-01\n  duckdb -c \"SELECT version, avg(alert::int) FROM read_parquet('decisions/**/*.parquet', hive_partitioning=true) GROUP BY 1\""
)]
pub(crate) struct Export {
    /// Folder, or s3://bucket/prefix, for model=NAME/version=V/hour=YYYY-MM-DDTHH/….parquet; a file for each segment
    /// of the log, replaced when it is exported again
    #[arg(long, value_name = "DIR")]
    pub(crate) out: String,
    /// For which decisions to write what moved the score most; only where the model that decided is still there
    #[arg(long, value_enum, default_value_t = Reasons::None, value_name = "WHICH")]
    pub(crate) reasons: Reasons,
    #[command(flatten)]
    pub(crate) logged: Logged,
}

/// Which logged decisions.
#[derive(Debug, Args, Clone)]
pub(crate) struct Logged {
    /// Decisions made from this time on: 2026-11-25, or 2026-11-25T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Option<i64>,
    /// Decisions made before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) until: Option<i64>,
    /// Folder of the decision log [default: decisions/ in the state folder]
    #[arg(long, value_name = "DIR", env = "SERIN_DECISION_LOG")]
    pub(crate) decision_log: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) state: State,
}

/// A day (its beginning in UTC) or a moment, as epoch milliseconds.
pub(crate) fn moment(text: &str) -> Result<i64, String> {
    let usage = |error: jiff::Error| format!("write 2026-11-25 or 2026-11-25T10:00:00Z ({error})");
    let time = match text.len() {
        10 => text.parse::<jiff::civil::Date>().and_then(|day| Ok(day.in_tz("UTC")?.timestamp())),
        _ => text.parse::<jiff::Timestamp>(),
    };
    time.map(|time| time.as_millisecond()).map_err(usage)
}

/// Decisions that get reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Reasons {
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
pub(crate) enum LogFull {
    /// Answer 503: no decision without a record
    #[default]
    Refuse,
    /// Answer, and count it in serin_decisions_unlogged_total
    DropAndCount,
}
