//! Options of `serin drift`.

use super::name_value;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Args, Clone)]
#[command(
    after_help = "Examples:\n  serin drift training.parquet last-week.parquet --html drift.html\n  serin drift reference.csv current.csv --method psi --fail-on dataset      # status 3 on drift\nTests: ks, wasserstein, jensenshannon, psi, kl_div, hellinger, chisquare, z, t_test, mannw, es, anderson, cramer_von_mises, ed, g_test, fisher_exact"
)]
pub(crate) struct Drift {
    /// What the data should be like: CSV or Parquet, a path or a glob
    pub(crate) reference: String,
    /// What the data is like
    pub(crate) current: String,
    /// Columns to compare [default: all of the reference]
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    pub(crate) columns: Vec<String>,
    /// Test of all columns [default: by size, type and distinct values, as Evidently]
    #[arg(long, value_name = "TEST")]
    pub(crate) method: Option<String>,
    /// Test of numbers
    #[arg(long, value_name = "TEST")]
    pub(crate) num_method: Option<String>,
    /// Test of categories
    #[arg(long, value_name = "TEST")]
    pub(crate) cat_method: Option<String>,
    /// Test of one column, repeatable
    #[arg(long, value_name = "COLUMN=TEST", value_parser = name_value)]
    pub(crate) column_method: Vec<(String, String)>,
    /// Where drift begins [default: the test's own]
    #[arg(long, value_name = "SCORE")]
    pub(crate) threshold: Option<f64>,
    /// Share of drifted columns that is drift of the whole
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    pub(crate) drift_share: f64,
    /// Write a page with histograms
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write the result in the shape of Evidently's reports
    #[arg(long, value_name = "FILE")]
    pub(crate) evidently_json: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Exit with status 3 when
    #[arg(long, value_enum, default_value_t = FailOn::Never, value_name = "WHAT")]
    pub(crate) fail_on: FailOn,
}

/// What a pipeline stops at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// Nothing
    #[default]
    Never,
    /// The share of drifted columns is reached
    Dataset,
    /// Any column drifted
    Column,
}
