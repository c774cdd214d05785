//! Options of the commands that make models of labelled rows and score them.

use super::{InvalidArgument, State, name_value};
use clap::{Args, Parser};
use std::path::PathBuf;

/// Which column is what.
#[derive(Debug, Args, Clone)]
pub(crate) struct Columns {
    /// CSV (also .csv.gz) or Parquet: a path, or a quoted glob such as 'data/2018-*.parquet'
    pub(crate) data: String,
    /// Label column: 1 or true is fraud
    #[arg(long, value_name = "COLUMN")]
    pub(crate) label: String,
    /// Time column, for time splits and daily figures
    #[arg(long, value_name = "COLUMN")]
    pub(crate) time: Option<String>,
    /// Card or customer column, for card precision; never a feature
    #[arg(long, value_name = "COLUMN")]
    pub(crate) entity: Option<String>,
    /// Amount column, for cost; stays a feature
    #[arg(long, value_name = "COLUMN")]
    pub(crate) amount: Option<String>,
    /// How many rows each stands for, as where some were sampled; never a feature
    #[arg(long, value_name = "COLUMN")]
    pub(crate) weight: Option<String>,
    /// Features, comma-separated [default: every column but label, time and entity]
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    pub(crate) features: Option<Vec<String>>,
    /// Columns that are no features, comma-separated
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', conflicts_with = "features")]
    pub(crate) exclude: Vec<String>,
}

/// How the line between alert and no alert is drawn.
#[derive(Debug, Args, Clone, Default)]
#[group(multiple = false)]
pub(crate) struct ThresholdRule {
    /// A fixed score [default: 0.5]
    #[arg(long, value_name = "SCORE")]
    pub(crate) threshold: Option<f32>,
    /// At most this share of test rows, e.g. 0.005
    #[arg(long, value_name = "SHARE")]
    pub(crate) alert_rate: Option<f64>,
    /// At most so many alerts a day, e.g. 200/day
    #[arg(long, value_name = "N/day", value_parser = per_day)]
    pub(crate) review_capacity: Option<f64>,
    /// Least money lost, where a review costs this much (needs --amount)
    #[arg(long, value_name = "REVIEW_COST")]
    pub(crate) cost: Option<f64>,
}

#[derive(Debug, Args, Clone)]
#[command(
    after_help = "Example:\n  serin train payments.csv --label is_fraud --time created_at --entity card --amount amount \\\n    --alert-rate 0.005 --stage Production"
)]
pub(crate) struct Train {
    #[command(flatten)]
    pub(crate) columns: Columns,
    /// First day of the training window, e.g. 2018-07-25 [default: the first day of the data]
    #[arg(long, value_name = "DATE")]
    pub(crate) train_from: Option<String>,
    /// Days of training [default: all up to the delay]
    #[arg(long, value_name = "N", requires = "train_from")]
    pub(crate) train_days: Option<u32>,
    /// Days until a label is known; rows in between are not used
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub(crate) delay_days: u32,
    /// Days of testing, after the delay
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub(crate) test_days: u32,
    /// Test on a random share instead of later days (leaks the future into training)
    #[arg(long, value_name = "SHARE", conflicts_with_all = ["train_from", "train_days"])]
    pub(crate) random_split: Option<f64>,
    /// Keep test rows of cards whose fraud was already known
    #[arg(long)]
    pub(crate) keep_known_cards: bool,
    /// Name of the registered model that the version is of
    #[arg(long, value_name = "NAME", default_value = "fraud_detection")]
    pub(crate) model_name: String,
    /// Keep the run but register no version
    #[arg(long, conflicts_with_all = ["alias", "stage"])]
    pub(crate) no_register: bool,
    /// Point this alias at the new version, e.g. champion
    #[arg(long)]
    pub(crate) alias: Option<String>,
    /// Move the new version to this stage, e.g. Production (archives the one there)
    #[arg(long)]
    pub(crate) stage: Option<String>,
    #[command(flatten)]
    pub(crate) options: TrainingOptions,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) state: State,
}

/// What `serin train` and `serin retrain` ask of a training alike.
#[derive(Debug, Args, Clone)]
pub(crate) struct TrainingOptions {
    #[command(flatten)]
    pub(crate) rule: ThresholdRule,
    /// Rows after the training window that go into the package as they are, for exact drift tests on live rows; 0 for none
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    pub(crate) reference_rows: usize,
    /// XGBoost parameter, repeatable: --set max_depth=6 --set eta=0.3 --set scale_pos_weight=1
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_value)]
    pub(crate) set: Vec<(String, String)>,
    /// Boosting rounds (at most, with early stopping)
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) rounds: usize,
    /// Stop after N rounds without a better score on the last fifth of the training window
    #[arg(long, value_name = "N")]
    pub(crate) early_stopping: Option<usize>,
    /// What reasons call a column in front of people, repeatable: --describe TX_AMOUNT="Amount of the payment"
    #[arg(long, value_name = "COLUMN=TEXT", value_parser = name_value)]
    pub(crate) describe: Vec<(String, String)>,
    /// Tag of the run, repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_value)]
    pub(crate) tag: Vec<(String, String)>,
    /// Experiment of the run
    #[arg(long, value_name = "NAME", default_value = "fraud_detection")]
    pub(crate) experiment: String,
}

/// Options of a training that stand behind the `--` of `serin retrain`.
#[derive(Debug, Parser)]
#[command(name = "serin retrain --", no_binary_name = true, disable_help_flag = true)]
struct TrainingLine {
    #[command(flatten)]
    options: TrainingOptions,
}

impl ThresholdRule {
    /// Returns whether any of the rules was asked for.
    pub(crate) fn is_given(&self) -> bool {
        self.threshold.is_some() || self.alert_rate.is_some() || self.review_capacity.is_some() || self.cost.is_some()
    }
}

impl TrainingOptions {
    /// Reads what stands behind the `--`.
    pub(crate) fn of(line: &[String]) -> Result<Self, clap::Error> {
        Ok(TrainingLine::try_parse_from(line)?.options)
    }
}

#[derive(Debug, Args, Clone)]
pub(crate) struct Evaluate {
    #[command(flatten)]
    pub(crate) columns: Columns,
    /// Model to score with
    #[arg(long, short, default_value = "models:/fraud_detection/Production")]
    pub(crate) model: String,
    /// Cost of a review, for the cost figures
    #[arg(long, default_value_t = 0.0)]
    pub(crate) review_cost: f64,
    /// Write curves and metrics to this HTML file
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Print the metrics as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) state: State,
}

fn per_day(text: &str) -> Result<f64, InvalidArgument> {
    let number = text.strip_suffix("/day").unwrap_or(text);
    number
        .parse()
        .ok()
        .filter(|n: &f64| n.is_finite() && *n >= 0.0)
        .ok_or_else(|| InvalidArgument("write a number a day, such as 200/day".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn options_behind_the_dashes_say_how_to_train_and_not_on_what() {
        TrainingLine::command().debug_assert();
        let read = |line: &[&str]| TrainingOptions::of(&line.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let options = read(&["--rounds", "7", "--set", "max_depth=3", "--alert-rate", "0.1"]).unwrap();
        assert_eq!((options.rounds, options.rule.alert_rate, options.rule.is_given()), (7, Some(0.1), true));
        assert_eq!(options.set, [("max_depth".to_owned(), "3".to_owned())]);
        assert!(!read(&[]).unwrap().rule.is_given());
        for column in ["--time", "--label", "--features", "--state", "--no-register", "--alias", "--stage", "--help"] {
            let refused = read(&[column, "x"]).unwrap_err().to_string();
            assert!(refused.contains(column), "{refused}");
        }
        assert!(read(&["--cost", "1", "--threshold", "0.5"]).is_err(), "one rule");
    }
}
