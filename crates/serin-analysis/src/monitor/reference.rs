//! Making the profile of a model from rows that it was not trained on.

use super::calibration::resample;
use super::profile::{ColumnReference, DAY_ROWS, MonitorProfile, ReferenceRows};
use super::{DAY_MS, HOUR_MS, Pane};
use std::collections::BTreeMap;

impl MonitorProfile {
    /// Makes the profile of rows in any order.
    #[must_use]
    pub fn of(rows: &ReferenceRows<'_>) -> Self {
        let width = rows.columns.len();
        let total: f64 = rows.columns.iter().map(|column| column.gain.max(0.0)).sum();
        let columns = rows.columns.iter().enumerate().map(|(place, column)| {
            let values: Vec<f32> = rows.features.iter().skip(place).step_by(width).copied().collect();
            let importance = if total > 0.0 { column.gain.max(0.0) / total } else { 0.0 };
            ColumnReference::of(&column.name, column.levels, importance, &values, rows.times)
        });
        let alerts = |rows: &[f32], threshold: f32| rows.iter().filter(|score| **score >= threshold).count();
        let n = rows.scores.len();
        let mut days: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
        for (at, score) in rows.times.iter().zip(rows.scores) {
            let day = days.entry(at.div_euclid(DAY_MS)).or_default();
            day.0 += 1;
            day.1 += u64::from(*score >= rows.threshold);
        }
        let mut made = Self {
            format: Self::FORMAT,
            rows: n as u64,
            day_rows: if days.is_empty() { n as f64 } else { n as f64 / days.len() as f64 },
            columns: columns.collect(),
            score: ColumnReference::of("score", None, 0.0, rows.scores, rows.times),
            alert_rate: if n == 0 { 0.0 } else { alerts(rows.scores, rows.threshold) as f64 / n as f64 },
            alert_days: days
                .values()
                .filter(|(rows, _)| *rows >= DAY_ROWS)
                .map(|(rows, alerts)| *alerts as f64 / *rows as f64)
                .collect(),
            resampled: Vec::new(),
        };
        made.resampled = resample(&made, &made.hours(rows));
        made
    }

    /// Counts the rows by hour, in this profile's cells; panes are ascending in time.
    fn hours(&self, rows: &ReferenceRows<'_>) -> Vec<Pane> {
        let mut hours: BTreeMap<i64, Pane> = BTreeMap::new();
        let features = rows.features.chunks_exact(rows.columns.len().max(1));
        for ((features, at_ms), score) in features.zip(rows.times).zip(rows.scores) {
            let hour = hours.entry(at_ms.div_euclid(HOUR_MS)).or_insert_with(|| Pane::new(self, *at_ms));
            hour.add(self, features, *score, *score >= rows.threshold);
        }
        hours.into_values().collect()
    }
}
