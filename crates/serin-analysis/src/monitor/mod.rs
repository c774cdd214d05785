//! Watching live traffic without labels: what the training data looked like by hour of the day, what live hours look like,
//! and which differences are too large for the days that were seen.
//!
//! Data flows [`MonitorProfile`] (made at training, in the model package) and [`Pane`]s (an hour of traffic each, from any number
//! of data planes, added up) → [`report()`] → alarms. Times are epoch milliseconds UTC.

mod adwin;
mod alerts;
mod calibration;
mod cells;
mod histogram;
mod pane;
mod profile;
mod reference;
mod report;
mod shown;
mod silence;

pub use adwin::Adwin;
pub use alerts::{AlertBook, Change, Condition, Hysteresis, Rule, conditions};
pub use cells::{CellCounts, Edges, Shares, SparseCounts, jensen_shannon, wasserstein};
pub use histogram::{Bin, histogram};
pub use pane::{Pane, SparsePane};
pub use profile::{ColumnReference, Distance, MonitorProfile, ProfileError, ReferenceRows, Watched};
pub use report::{Budget, Certainty, Report, Watch, report};
pub use shown::{certainty_word, drift_json};
pub use silence::is_outage;

/// Fraction of the model's gain, 0 to 1, in drifted columns from which the whole model counts as drifted.
pub const SHARE: f64 = 0.3;
/// Length of a pane, milliseconds.
pub const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Number of seasons: 24 hours of a working day, then 24 hours of Saturday and Sunday.
const SEASONS: usize = 48;

/// Returns the season, 0 to 47, of a point in time (epoch milliseconds, UTC).
fn season(at_ms: i64) -> usize {
    // 1970-01-01 was a Thursday.
    let weekday = (at_ms.div_euclid(DAY_MS) + 3).rem_euclid(7);
    let hour = at_ms.rem_euclid(DAY_MS) / HOUR_MS;
    hour as usize + if weekday >= 5 { 24 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seasons_are_hours_of_working_days_and_weekends() {
        // 2018-04-01 was a Sunday.
        let sunday = 1_522_540_800_000;
        assert_eq!([sunday, sunday + HOUR_MS, sunday + DAY_MS, sunday - 1].map(season), [24, 25, 0, 47]);
        assert_eq!([-1, sunday + 5 * DAY_MS + 23 * HOUR_MS].map(season), [23, 23]);
    }
}
