//! Counts of one hour of traffic.

use super::profile::MonitorProfile;
use super::{CellCounts, HOUR_MS, SparseCounts};
use serde::{Deserialize, Serialize};

/// Counts of the decisions whose events happened in one hour.
#[derive(Debug, Clone, PartialEq)]
pub struct Pane {
    /// Beginning of the hour, epoch milliseconds.
    pub from_ms: i64,
    /// Number of decisions that were alerts.
    pub alerts: u64,
    /// Counts of every column of the model, in the model's order.
    pub columns: Vec<CellCounts>,
    /// Counts of the scores that the model gave.
    pub score: CellCounts,
}

/// A pane without its empty cells, as it is stored or sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SparsePane {
    from_ms: i64,
    alerts: u64,
    columns: Vec<SparseCounts>,
    score: SparseCounts,
}

impl Pane {
    /// Makes an empty pane of the hour that holds a point in time (epoch milliseconds).
    #[must_use]
    pub fn new(profile: &MonitorProfile, at_ms: i64) -> Self {
        Self {
            from_ms: at_ms.div_euclid(HOUR_MS) * HOUR_MS,
            alerts: 0,
            columns: profile.columns.iter().map(|column| CellCounts::new(&column.edges)).collect(),
            score: CellCounts::new(&profile.score.edges),
        }
    }

    /// Counts a decision; `features` are in the model's order, one value for each column.
    pub fn add(&mut self, profile: &MonitorProfile, features: &[f32], score: f32, alert: bool) {
        for ((counts, column), value) in self.columns.iter_mut().zip(&profile.columns).zip(features) {
            counts.add(&column.edges, *value);
        }
        self.score.add(&profile.score.edges, score);
        self.alerts += u64::from(alert);
    }

    /// Number of decisions in the hour.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.score.rows()
    }

    /// Returns the pane without its empty cells, to store or to send.
    #[must_use]
    pub fn sparse(&self) -> SparsePane {
        SparsePane {
            from_ms: self.from_ms,
            alerts: self.alerts,
            columns: self.columns.iter().map(CellCounts::sparse).collect(),
            score: self.score.sparse(),
        }
    }

    /// Adds a pane of the same hour that was stored or sent.
    pub fn merge(&mut self, other: &SparsePane) {
        self.alerts += other.alerts;
        for (mine, theirs) in self.columns.iter_mut().zip(&other.columns) {
            mine.merge_sparse(theirs);
        }
        self.score.merge_sparse(&other.score);
    }
}

impl SparsePane {
    /// Beginning of the hour, epoch milliseconds.
    #[must_use]
    pub fn from_ms(&self) -> i64 {
        self.from_ms
    }
}
