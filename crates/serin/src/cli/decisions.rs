//! Options of the commands on what a scoring server leaves behind.

use clap::Args;
use serin_scorer::options::{InvalidArgument, Reasons, State};
use std::path::PathBuf;

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
    /// of the log, replaced when it is exported again; --since and --until are widened to whole hours, as a file is of one hour
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
pub(crate) fn moment(text: &str) -> Result<i64, InvalidArgument> {
    let usage = |error: jiff::Error| InvalidArgument(format!("write 2026-11-25 or 2026-11-25T10:00:00Z ({error})"));
    let time = match text.len() {
        10 => text.parse::<jiff::civil::Date>().and_then(|day| Ok(day.in_tz("UTC")?.timestamp())),
        _ => text.parse::<jiff::Timestamp>(),
    };
    time.map(|time| time.as_millisecond()).map_err(usage)
}
