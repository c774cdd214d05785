//! How far days that the reference could have had exceed the thresholds: such days are made of its own hours and compared
//! with its other half.
//!
//! A resampled day takes each hour from a random day of the same season (hour of the day, working day or weekend), so there
//! are far more of them than days; its distances are compared with the thresholds, and what exceeds them too often raises all.

use super::profile::MonitorProfile;
use super::{Budget, DAY_MS, Pane, Report, report, season};
use crate::draws::Draws;
use std::collections::BTreeMap;

/// Days that are made out of each half.
const DAYS: usize = 250;
/// Days of the reference below which halves are too unlike.
const LEAST_DAYS: usize = 6;

/// By how much each resampled day exceeds the thresholds, or not: the largest figure over its threshold. Empty where
/// the reference is too short, or has no times. `panes` are hours of the reference in the profile's cells.
pub(super) fn resample(profile: &MonitorProfile, panes: &[Pane]) -> Vec<f32> {
    let mut days: Vec<i64> = panes.iter().map(|pane| pane.from_ms.div_euclid(DAY_MS)).collect();
    days.sort_unstable();
    days.dedup();
    if days.len() < LEAST_DAYS {
        return Vec::new();
    }
    let middle = days[days.len() / 2] * DAY_MS;
    let (early, late): (Vec<&Pane>, Vec<&Pane>) = panes.iter().partition(|pane| pane.from_ms < middle);
    // Whatever there is to say is said: few rows are noisy, which is in the figure.
    let budget = Budget { min_rows: 1, ..Budget::default() };
    let mut exceeded = Vec::with_capacity(2 * DAYS);
    for (reference, drawn) in [(&early, &late), (&late, &early)] {
        let half = profile.with_seasons_of(reference);
        let mut seasons: BTreeMap<usize, Vec<&Pane>> = BTreeMap::new();
        for pane in drawn {
            seasons.entry(season(pane.from_ms)).or_default().push(pane);
        }
        let mut draws = Draws(0x5eed);
        for _ in 0..DAYS {
            // Weekends as often as they are in it.
            let like = drawn[draws.below(drawn.len() as u64)].from_ms.div_euclid(DAY_MS) * DAY_MS;
            let hours = (0..24).filter_map(|hour| {
                let from_ms = like + hour * super::HOUR_MS;
                let hours = seasons.get(&season(from_ms))?;
                Some(Pane { from_ms, ..hours[draws.below(hours.len() as u64)].clone() })
            });
            let day: Vec<Pane> = hours.collect();
            exceeded.extend(report(&half, &day, &budget).map(|found| largest(&found)));
        }
    }
    exceeded
}

/// Returns the largest ratio of what a figure has over the reference's own to what its threshold has; 0 where no ratio is
/// finite.
fn largest(report: &Report) -> f32 {
    let watches = report.drift.iter().chain(&report.quality).chain([&report.alert_rate]);
    let ratios = watches
        .filter(|watch| watch.threshold > watch.expected)
        .map(|watch| (watch.value - watch.expected) / (watch.threshold - watch.expected));
    ratios.filter(|ratio| ratio.is_finite()).fold(0.0, f64::max) as f32
}

#[cfg(test)]
mod tests {
    use super::super::profile::factor;

    #[test]
    fn thresholds_rise_until_as_many_days_exceed_them_as_may() {
        let ratios: Vec<f32> = (1..=500).map(|i| i as f32 / 250.0).collect();
        // Five of 500 days in 90: 496 to 500 exceed, 495 does not.
        assert!((factor(&ratios, 90.0) - 495.0 / 250.0).abs() < 1e-6);
        assert!((factor(&ratios, 1e9) - 2.0).abs() < 1e-6);
        assert_eq!(factor(&ratios[..100], 90.0), 1.0);
        assert_eq!((factor(&[], 90.0), factor(&[3.0], 90.0), factor(&[3.0], 1.0)), (1.0, 3.0, 1.0));
    }
}
