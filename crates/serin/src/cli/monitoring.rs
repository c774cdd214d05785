//! Options of the commands about what became of decisions.

use super::{Backend, Columns, State, name_value};
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args, Clone)]
pub(crate) struct Labels {
    #[command(subcommand)]
    pub(crate) command: LabelsCommand,
}

#[derive(Debug, Subcommand, Clone)]
pub(crate) enum LabelsCommand {
    /// Add labels of a CSV or Parquet file; labels that are there already change nothing
    Import(Box<ImportLabels>),
    /// Show everything that was said of one transaction
    Show(ShowLabels),
}

#[derive(Debug, Args, Clone)]
#[command(
    after_help = "Examples:\n  serin labels import labels.csv                     # transaction_id, label, source, occurred_at, known_at, amount\n  serin labels import payments.parquet --column transaction_id=TRANSACTION_ID --column label=TX_FRAUD \\\n      --column occurred_at=TX_DATETIME --source chargeback --known-after 7d"
)]
pub(crate) struct ImportLabels {
    /// CSV or Parquet: a path or a glob
    pub(crate) data: String,
    /// Another name of a column, repeatable: transaction_id (or decision_id), label, source, occurred_at, known_at, amount
    #[arg(long, value_name = "OURS=THEIRS", value_parser = name_value)]
    pub(crate) column: Vec<(String, String)>,
    /// Source of labels that name none: chargeback, analyst, random-review, timeout-genuine
    #[arg(long, value_name = "SOURCE")]
    pub(crate) source: Option<String>,
    /// Labels that do not say so are known this long after they occurred: 7d, 12h [default: since now]
    #[arg(long, value_name = "AGE", value_parser = super::age_ms)]
    pub(crate) known_after: Option<i64>,
    /// Only labels that are known before this time: 2026-11-25, or 2026-11-25T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = super::decisions::moment)]
    pub(crate) known_before: Option<i64>,
    #[command(flatten)]
    pub(crate) state: State,
}

#[derive(Debug, Args, Clone)]
pub(crate) struct ShowLabels {
    /// The caller's id of the transaction
    #[arg(long, value_name = "ID", required_unless_present = "decision_id", conflicts_with = "decision_id")]
    pub(crate) transaction_id: Option<String>,
    /// Id of the decision
    #[arg(long, value_name = "UUID")]
    pub(crate) decision_id: Option<String>,
    #[command(flatten)]
    pub(crate) state: State,
}

/// How the decision log is counted, once labels are known.
#[derive(Debug, Args, Clone)]
pub(crate) struct Counting {
    /// Days after which labels are complete; younger transactions do not count
    #[arg(long, value_name = "DAYS", default_value_t = 7.0)]
    pub(crate) maturity_days: f64,
    /// What a matured transaction without a label is: excluded, or genuine (where only frauds are reported)
    #[arg(long, value_name = "WHAT", default_value = "excluded")]
    pub(crate) unlabelled: String,
    /// Cost of a review
    #[arg(long, value_name = "MONEY", default_value_t = 0.0)]
    pub(crate) review_cost: f64,
    /// Folder of the decision log [default: decisions/ in the state folder]
    #[arg(long, value_name = "DIR", env = "SERIN_DECISION_LOG")]
    pub(crate) decision_log: Option<PathBuf>,
}

#[derive(Debug, Args, Clone)]
#[command(
    after_help = "Examples:\n  serin performance                                      # of fraud_detection, rows older than 7 days\n  serin performance --by version --amount TX_AMOUNT --review-cost 2\n  serin performance --by segment:TX_DURING_NIGHT --unlabelled genuine\n  serin performance --as-of newest                       # a log of the past, played again"
)]
pub(crate) struct Performance {
    /// Registered model
    #[arg(long, value_name = "NAME", default_value = "fraud_detection")]
    pub(crate) model: String,
    /// Transactions that happened from then on: 2026-11-25, or 2026-11-25T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = super::decisions::moment)]
    pub(crate) since: Option<i64>,
    /// Transactions that happened before
    #[arg(long, value_name = "TIME", value_parser = super::decisions::moment)]
    pub(crate) until: Option<i64>,
    /// Count what was known at this time, or "newest" for that of the newest transaction [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) as_of: Option<String>,
    #[command(flatten)]
    pub(crate) counting: Counting,
    /// Split by version, day (UTC) and version, arm (of a rollout) or segment:COLUMN
    #[arg(long, value_name = "WHAT")]
    pub(crate) by: Option<String>,
    /// Column with the money at stake, for labels without an amount
    #[arg(long, value_name = "COLUMN")]
    pub(crate) amount: Option<String>,
    /// Cards looked at a day, for card precision
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) cards: usize,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) state: State,
}

#[derive(Debug, Args, Clone)]
#[command(
    after_help = "Example:\n  serin monitor last-month.parquet --model models:/fraud_detection@champion --label TX_FRAUD --time TX_DATETIME\nThe monitor looks once an hour of the file at the 24 hours before, as it does on live traffic."
)]
pub(crate) struct Monitor {
    #[command(flatten)]
    pub(crate) columns: Columns,
    /// Model, made by `serin train`: its package holds what traffic should look like
    #[arg(long, short, default_value = "models:/fraud_detection/Production")]
    pub(crate) model: String,
    /// Expected days between two false alarms
    #[arg(long, value_name = "DAYS", default_value_t = 90.0)]
    pub(crate) days_between_alarms: f64,
    /// Hours of a window
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(i64).range(1..=672))]
    pub(crate) window: i64,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) state: State,
}

#[derive(Debug, Args, Clone)]
#[command(
    after_help = "Examples:\n  serin retrain                                    # on the decision log and its labels, against @champion\n  serin retrain --unlabelled genuine --amount TX_AMOUNT --review-cost 2 -- --rounds 200\n  serin retrain --data payments.parquet --label TX_FRAUD --time TX_DATETIME --amount TX_AMOUNT\nOptions of `serin train` that say how to train go behind --. The result is accepted only where it is not worse in average precision, cost,\ncalibration and latency, and better in average precision or cost, on transactions that neither model was trained on."
)]
pub(crate) struct Retrain {
    /// Registered model
    #[arg(long, value_name = "NAME", default_value = "fraud_detection")]
    pub(crate) model: String,
    /// The live version [default: the model's alias champion]
    #[arg(long, value_name = "URI")]
    pub(crate) champion: Option<String>,
    /// Alias that an accepted version gets: servers with --canary release it
    #[arg(long, value_name = "ALIAS", default_value = "challenger")]
    pub(crate) challenger: String,
    /// Train on this file instead of the decision log: CSV or Parquet, a path or a glob
    #[arg(long, value_name = "FILE", requires = "label", requires = "time")]
    pub(crate) data: Option<String>,
    /// Label column of the file
    #[arg(long, value_name = "COLUMN")]
    pub(crate) label: Option<String>,
    /// Time column of the file
    #[arg(long, value_name = "COLUMN")]
    pub(crate) time: Option<String>,
    /// Card or customer column of the file
    #[arg(long, value_name = "COLUMN")]
    pub(crate) entity: Option<String>,
    /// Column with the money at stake
    #[arg(long, value_name = "COLUMN")]
    pub(crate) amount: Option<String>,
    /// The time whose knowledge counts: 2026-11-25T10:00:00Z, epoch milliseconds, or "newest" [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) as_of: Option<String>,
    #[command(flatten)]
    pub(crate) counting: Counting,
    /// Days of the newest matured transactions that both models are judged by, and none is trained on
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    pub(crate) gate_days: u32,
    /// Days before them to train on
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    pub(crate) train_days: u32,
    /// The last of those days, which only set the threshold
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    pub(crate) test_days: u32,
    /// Least frauds to train on, and to judge by
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) min_frauds: u64,
    /// Least share of the matured transactions that is labelled
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    pub(crate) min_coverage: f64,
    /// What set it off, for the run's tags and the history
    #[arg(long, value_name = "WORD", default_value = "manual")]
    pub(crate) cause: String,
    /// In a sentence
    #[arg(long, value_name = "TEXT", default_value = "asked for by hand")]
    pub(crate) reason: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) backend: Backend,
    /// Options of `serin train` that say how to train: --set, --rounds, --early-stopping, --threshold and its kind,
    /// --reference-rows, --describe, --tag, --experiment
    #[arg(last = true, value_name = "TRAINING OPTIONS")]
    pub(crate) training: Vec<String>,
}
