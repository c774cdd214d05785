//! Whether hours without a decision are an outage, or hours in which nothing comes anyway.

use super::profile::MonitorProfile;
use super::{Budget, HOUR_MS, Pane};

/// Number of full hours without a decision below which there is no outage.
const LEAST_HOURS: i64 = 2;
/// Hours of a day: one look each, over which the budget of false alarms is spread.
const LOOKS_A_DAY: f64 = 24.0;

/// Returns whether the hours from the end of the newest one with a decision (`newest_ms`, its beginning) to `end_ms` are an
/// outage (epoch milliseconds): at least two, in which the reference expects so many decisions that none at all would come by
/// chance (Poisson) less than once in the budget's days. `lately` are the panes before: where less comes than in the
/// reference, less is expected. Without a reference that knows hours two of them are enough.
#[must_use]
pub fn is_outage(
    profile: Option<&MonitorProfile>,
    lately: &[Pane],
    newest_ms: i64,
    end_ms: i64,
    budget: &Budget,
) -> bool {
    let quiet_from = newest_ms.saturating_add(HOUR_MS);
    if end_ms.saturating_sub(quiet_from) < LEAST_HOURS * HOUR_MS {
        return false;
    }
    let Some(profile) = profile else { return true };
    let Some(expected) = profile.expected_rows(quiet_from, end_ms) else { return true };
    let seen: u64 = lately.iter().map(Pane::rows).sum();
    let first = lately.iter().map(|pane| pane.from_ms).min();
    let known = first.and_then(|first| profile.expected_rows(first, quiet_from)).filter(|known| *known > 0.0);
    // More than in the reference is no reason to expect more: it may have been a burst in an hour that knows none.
    let scale = known.map_or(1.0, |known| (seen as f64 / known).min(1.0));
    expected * scale >= (budget.days_between_alarms.max(1.0) * LOOKS_A_DAY).ln()
}

#[cfg(test)]
mod tests {
    use super::super::DAY_MS;
    use super::super::profile::{ReferenceRows, Watched};
    use super::*;

    /// A shop that is open from 8 to 22, but for Sundays, with these decisions an hour over four weeks.
    fn shop(an_hour: i64) -> MonitorProfile {
        let open = |hour: i64| (8..22).contains(&(hour % 24)) && (hour / 24) % 7 != 3;
        let hours = (0..24 * 28).filter(|hour| open(*hour));
        let times: Vec<i64> = hours.flat_map(|hour| (0..an_hour).map(move |i| hour * HOUR_MS + i * 1000)).collect();
        let columns = [Watched { name: "amount".to_owned(), levels: None, gain: 1.0 }];
        let values = vec![1.0; times.len()];
        let rows =
            ReferenceRows { columns: &columns, features: &values, times: &times, scores: &values, threshold: 2.0 };
        MonitorProfile::of(&rows)
    }

    fn open_day(profile: &MonitorProfile, day: i64, rows: u64) -> Vec<Pane> {
        let pane = |hour: i64| {
            let mut pane = Pane::new(profile, day * DAY_MS + hour * HOUR_MS);
            (0..rows).for_each(|_| pane.add(profile, &[1.0], 1.0, false));
            pane
        };
        (8..22).map(pane).collect()
    }

    #[test]
    fn a_shop_that_is_closed_at_night_and_on_sundays_has_no_outage_then() {
        let (profile, budget) = (shop(100), Budget::default());
        // Day 34 is a Wednesday.
        let lately = open_day(&profile, 34, 100);
        let outage = |newest: i64, end: i64| {
            is_outage(Some(&profile), &lately, 34 * DAY_MS + newest * HOUR_MS, 34 * DAY_MS + end * HOUR_MS, &budget)
        };
        for hour in 22..=24 + 8 {
            assert!(!outage(21, hour), "closed until {hour}");
        }
        assert!(outage(21, 24 + 9), "an hour of the next day without a payment, after the night");
        assert!(outage(12, 15), "two hours at noon");
        assert!(!outage(12, 14), "one hour is no outage");
        // Saturday's last hour to Monday's opening: days 37 and 39.
        let saturday = open_day(&profile, 37, 100);
        let quiet = |end_ms: i64| is_outage(Some(&profile), &saturday, 37 * DAY_MS + 21 * HOUR_MS, end_ms, &budget);
        assert!(!quiet(38 * DAY_MS), "the night before Sunday");
        assert!(quiet(39 * DAY_MS + 10 * HOUR_MS), "Monday, two hours open");
    }

    #[test]
    fn few_decisions_an_hour_need_more_hours_and_an_unknown_reference_two() {
        let (profile, budget) = (shop(100), Budget::default());
        let at = |hour: i64| 34 * DAY_MS + hour * HOUR_MS;
        // One decision an hour: two quiet ones are nothing, a whole day is.
        let thin = open_day(&profile, 34, 1);
        assert!(!is_outage(Some(&profile), &thin[..5], at(12), at(15), &budget));
        assert!(is_outage(Some(&profile), &thin[..5], at(12), at(12 + 24), &budget));
        assert!(is_outage(None, &[], at(12), at(15), &budget));
        assert!(!is_outage(None, &[], at(12), at(14), &budget));
        // Times at the end of what can be written.
        assert!(!is_outage(None, &[], i64::MAX, at(14), &budget));
    }
}
