//! Which differences between a window of live traffic and its reference are alarms.
//!
//! A threshold is what a day of the reference would exceed once in the stated time: the upper prediction limit of
//! Student's t over the reference's own days (each day against the other half of the days, so that what days and weeks
//! differ by is in it), raised where resampled days exceed them more often, and never below a floor that matters in
//! practice. Hours of the window are matched with the same hours of the reference.

use super::profile::{ColumnReference, Distance, MonitorProfile};
use super::{CellCounts, Pane, SEASONS, season};
use crate::drift::special::student_two_sided;

/// Degrees of freedom from which Student's t is a normal deviate.
const NORMAL: f64 = 1e6;
/// Highest threshold of a Jensen-Shannon distance, which is √ln 2 = 0.833 at most.
const MOST_JENSEN_SHANNON: f64 = 0.8;

/// How large a difference must be, and how rare, to be an alarm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Expected days between two false alarms of a model, over all its columns.
    pub days_between_alarms: f64,
    /// Distance below which no column counts as drifted (Evidently's threshold).
    pub drift_floor: f64,
    /// Change of the fraction of missing values, 0 to 1, below which nothing is wrong.
    pub missing_floor: f64,
    /// Factor by which the alert rate must rise or fall.
    pub alert_factor: f64,
    /// Number of rows below which nothing is said.
    pub min_rows: u64,
}

impl Default for Budget {
    /// At most one false alarm a quarter, in expectation.
    fn default() -> Self {
        Self { days_between_alarms: 90.0, drift_floor: 0.1, missing_floor: 0.02, alert_factor: 2.0, min_rows: 2000 }
    }
}

/// How well a figure is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Certainty {
    /// The figure is what the rows themselves would give.
    Exact,
    /// The figure lies between this lower and this upper bound.
    Certified(f64, f64),
    /// There are too few rows: their number, and the number that is needed.
    Insufficient(u64, u64),
}

/// One watched figure with its threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// Name of the column, or `score` or `alert_rate`.
    pub name: String,
    /// What is measured: `wasserstein`, `jensenshannon`, `missing`, `unknown category` or `rate`.
    pub measure: &'static str,
    /// The figure, in the measure's unit; its lower bound where it is not exact, NaN where there are no values.
    pub value: f64,
    /// How well the figure is known.
    pub certainty: Certainty,
    /// Figure of the reference itself, over which a factor raises thresholds: 0 for distances.
    pub expected: f64,
    /// Value from which the figure is an alarm, always one that the figure can reach; for the alert rate the upper of two.
    pub threshold: f64,
    /// True if the figure is proven to be beyond its threshold, not merely possibly so.
    pub alarm: bool,
    /// Fraction of the model's total gain that the column has, 0 to 1; 0 for the score and the alert rate.
    pub importance: f64,
}

/// Comparison of a window of traffic with the reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Beginning of the first hour and end of the last one, epoch milliseconds.
    pub window_ms: (i64, i64),
    /// Number of decisions in the window.
    pub rows: u64,
    /// Fraction of the rows in hours that the reference knows, 0 to 1; 1 where it has no times.
    pub matched: f64,
    /// Distances of the columns, in the model's order, and of the score, which is last.
    pub drift: Vec<Watch>,
    /// Fractions of missing values or unknown categories, in the same order.
    pub quality: Vec<Watch>,
    /// Fraction of the decisions that are alerts, 0 to 1.
    pub alert_rate: Watch,
    /// Fraction of the model's gain that the drifted columns have, 0 to 1.
    pub drifted_importance: f64,
    /// Number of resampled days of the reference that the thresholds went by, and the factor by which those raised them.
    pub calibration: (usize, f64),
}

/// Compares panes, which are added up, with the reference. None without a decision.
#[must_use]
pub fn report(profile: &MonitorProfile, panes: &[Pane], budget: &Budget) -> Option<Report> {
    let rows: u64 = panes.iter().map(Pane::rows).sum();
    if rows == 0 {
        return None;
    }
    let first = panes.iter().map(|pane| pane.from_ms).min()?;
    let last = panes.iter().map(|pane| pane.from_ms).max()?;
    let mut mix = [0.0; SEASONS];
    for pane in panes {
        mix[season(pane.from_ms)] += pane.rows() as f64;
    }
    let tests = 2 * profile.columns.len() + 2;
    let level = 1.0 / (budget.days_between_alarms * tests as f64);
    let factor = profile.factor(budget.days_between_alarms);
    let limits = Limits { level, z: student_quantile(level / 2.0, NORMAL), day_rows: profile.day_rows, factor };
    let sum = |column: &ColumnReference, of: &dyn Fn(&Pane) -> &CellCounts| {
        let mut sum = CellCounts::new(&column.edges);
        panes.iter().for_each(|pane| sum.merge(of(pane)));
        sum
    };
    let (mut drift, mut quality, mut matched) = (Vec::new(), Vec::new(), 1.0);
    for (place, column) in profile.columns.iter().enumerate() {
        let counts = sum(column, &|pane| &pane.columns[place]);
        let (watch, seen) = drift_of(column, &counts, &mix, &limits, budget);
        matched = f64::min(matched, seen);
        drift.push(watch);
        quality.push(missing_of(column, &counts, &limits, budget));
    }
    let score = sum(&profile.score, &|pane| &pane.score);
    drift.push(drift_of(&profile.score, &score, &mix, &limits, budget).0);
    quality.push(missing_of(&profile.score, &score, &limits, budget));
    let alerts: u64 = panes.iter().map(|pane| pane.alerts).sum();
    // From +0.0: the sum of nothing would be -0.0.
    let drifted = drift.iter().filter(|watch| watch.alarm).fold(0.0, |sum, watch| sum + watch.importance);
    Some(Report {
        window_ms: (first, last + super::HOUR_MS),
        rows,
        matched,
        drift,
        quality,
        alert_rate: alert_rate(profile, alerts, rows, &limits, budget),
        drifted_importance: drifted,
        calibration: (profile.resampled.len(), factor),
    })
}

/// Limits that chance and the days of the reference set.
struct Limits {
    /// Probability that one figure is beyond its limit on a quiet day.
    level: f64,
    /// Normal deviate that is exceeded, on either side, with that probability.
    z: f64,
    day_rows: f64,
    /// Factor by which resampled days raise what thresholds have over the reference's own figure.
    factor: f64,
}

impl Limits {
    /// Raises the threshold of a share whose reference is `before`, both 0 to 1, by the factor. It stays in the middle between
    /// the reference and 1 at most, so that the share can reach it.
    fn raised(&self, before: f64, threshold: f64) -> f64 {
        (before + (threshold - before) * self.factor).min(f64::midpoint(before, 1.0))
    }

    /// Returns the mean of some days' figures, and the margin above it up to which the next one is predicted; none for fewer
    /// than three days.
    fn above(&self, days: &[f64]) -> Option<(f64, f64)> {
        if days.len() < 3 {
            return None;
        }
        let n = days.len() as f64;
        let mean = days.iter().sum::<f64>() / n;
        let variance = days.iter().map(|day| (day - mean).powi(2)).sum::<f64>() / (n - 1.0);
        Some((mean, student_quantile(self.level, n - 1.0) * (variance * (1.0 + 1.0 / n)).sqrt()))
    }
}

/// Returns the t that is exceeded with this probability.
fn student_quantile(level: f64, dof: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1e6);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if student_two_sided(middle, dof) / 2.0 > level {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

fn drift_of(
    column: &ColumnReference,
    counts: &CellCounts,
    mix: &[f64; SEASONS],
    limits: &Limits,
    budget: &Budget,
) -> (Watch, f64) {
    let measure = match column.distance {
        Distance::Wasserstein => "wasserstein",
        Distance::JensenShannon => "jensenshannon",
    };
    let categories = if column.distance == Distance::JensenShannon { column.edges.values().len() as u64 } else { 0 };
    let need = budget.min_rows.max(25 * categories.saturating_sub(1));
    let n = counts.present();
    let mut watch = Watch {
        name: column.name.clone(),
        measure,
        value: f64::NAN,
        certainty: Certainty::Insufficient(n, need),
        expected: 0.0,
        threshold: budget.drift_floor,
        alarm: false,
        importance: column.importance,
    };
    let (Some((reference, seen)), Some(current)) = (column.matched(mix), counts.shares()) else { return (watch, 0.0) };
    let (low, high) = column.distance(&reference, &current);
    watch.value = low;
    // A smaller window is noisier than the days that were seen: E[W1] ≈ 1.43 sd / √n at most, E[JS] ≈ √((K - 1) / 8n).
    let noise = |rows: f64| match column.distance {
        Distance::Wasserstein => 1.43 / rows.sqrt(),
        Distance::JensenShannon => ((categories.max(2) - 1) as f64 / 8.0 / rows).sqrt(),
    };
    if let Some((mean, margin)) = limits.above(&column.days) {
        // Days in a row are alike, so what they differ by may be too little. Where a distance is all chance, its mean tells
        // its tail: of W1 that of the integral of a Brownian bridge (deviation 1/√12, mean distance √(2π)/8), of JS at most
        // that of a normal deviate (1, √(2/π)).
        let chance = limits.z
            * match column.distance {
                Distance::Wasserstein => 0.9213,
                Distance::JensenShannon => 1.2533,
            };
        watch.threshold = watch.threshold.max(mean + margin).max(chance * mean);
    }
    watch.threshold = watch.threshold * limits.factor + (noise(n as f64) - noise(limits.day_rows.max(1.0))).max(0.0);
    if column.distance == Distance::JensenShannon {
        watch.threshold = watch.threshold.min(MOST_JENSEN_SHANNON);
    }
    // Nights say nothing of days: most hours of the window must be known.
    if seen < 0.5 {
        watch.certainty = Certainty::Insufficient((n as f64 * seen) as u64, need.max(n / 2));
    } else if n >= need {
        watch.certainty = if high - low <= 1e-9 * high { Certainty::Exact } else { Certainty::Certified(low, high) };
        watch.alarm = low >= watch.threshold;
    }
    (watch, seen)
}

fn missing_of(column: &ColumnReference, counts: &CellCounts, limits: &Limits, budget: &Budget) -> Watch {
    let (rows, before) = (counts.rows(), column.missing_share());
    let share = if rows == 0 { 0.0 } else { counts.missing as f64 / rows as f64 };
    let mut threshold = before + budget.missing_floor;
    if let Some((mean, margin)) = limits.above(&column.missing_days) {
        threshold = threshold.max(mean + margin);
    }
    threshold = limits.raised(before, threshold);
    let need = budget.min_rows.min(100);
    let enough = rows >= need;
    Watch {
        name: column.name.clone(),
        measure: if column.is_category && before == 0.0 { "unknown category" } else { "missing" },
        value: share,
        certainty: if enough { Certainty::Exact } else { Certainty::Insufficient(rows, need) },
        expected: before,
        threshold,
        alarm: enough && share >= threshold && share > before,
        importance: column.importance,
    }
}

fn alert_rate(profile: &MonitorProfile, alerts: u64, rows: u64, limits: &Limits, budget: &Budget) -> Watch {
    let before = profile.alert_rate;
    let rate = alerts as f64 / rows as f64;
    // Chance in this window, beside what days differ by (which has a day's chance in it).
    let chance = limits.z * (before.max(1.0 / rows as f64) * (1.0 - before) / rows as f64).sqrt();
    let (mean, margin) = limits.above(&profile.alert_days).unwrap_or((before, 0.0));
    let wide = margin.max(chance);
    let upper = limits.raised(before, (mean + wide).max(before * budget.alert_factor));
    let lower = before - (before - (mean - wide).min(before / budget.alert_factor)) * limits.factor;
    // A bound below zero says nothing. That no alert comes at all is then tested as what it is, a Poisson count of zero, at
    // the lowest rate that a quiet day may have.
    let lowest = profile.alert_days.iter().copied().fold(before, f64::min) / budget.alert_factor;
    let vanished = alerts == 0 && (-lowest * rows as f64).exp() <= limits.level / 2.0;
    let enough = rows >= budget.min_rows;
    Watch {
        name: "alert_rate".to_owned(),
        measure: "rate",
        value: rate,
        certainty: if enough { Certainty::Exact } else { Certainty::Insufficient(rows, budget.min_rows) },
        expected: before,
        threshold: upper,
        alarm: enough && (rate > upper || rate < lower || vanished),
        importance: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::profile::{ReferenceRows, Watched};
    use super::*;

    const HOUR: i64 = super::super::HOUR_MS;

    fn noise(i: usize, step: f64) -> f32 {
        ((i as f64 + 0.5) * step).fract() as f32
    }

    /// Two columns and a score by the hour: amounts double at night, a flag says so.
    fn rows(hours: std::ops::Range<i64>, factor: f32) -> (Vec<f32>, Vec<i64>, Vec<f32>) {
        let (mut features, mut times, mut scores) = (Vec::new(), Vec::new(), Vec::new());
        for hour in hours {
            let night = hour % 24 < 6;
            for i in 0..100 {
                let at = (hour * 1000 + i) as usize;
                let amount = noise(at, 0.618_034) * if night { 2.0 } else { 1.0 } * factor;
                features.extend([amount, f32::from(u8::from(night))]);
                times.push(hour * HOUR + i * 30_000);
                scores.push(noise(at, 0.414_214) * if night { 1.0 } else { 0.5 });
            }
        }
        (features, times, scores)
    }

    fn profile(timed: bool) -> MonitorProfile {
        let (features, times, scores) = rows(0..24 * 14, 1.0);
        let columns = ["amount", "night"].map(|name| Watched { name: name.to_owned(), levels: None, gain: 1.0 });
        let times = if timed { &times[..] } else { &[] };
        MonitorProfile::of(&ReferenceRows {
            columns: &columns,
            features: &features,
            times,
            scores: &scores,
            threshold: 0.45,
        })
    }

    fn panes(profile: &MonitorProfile, hours: std::ops::Range<i64>, factor: f32) -> Vec<Pane> {
        let (features, times, scores) = rows(hours, factor);
        let mut panes: Vec<Pane> = Vec::new();
        for ((features, at), score) in features.chunks(2).zip(times).zip(scores) {
            if panes.last().is_none_or(|pane| at - pane.from_ms >= HOUR) {
                panes.push(Pane::new(profile, at));
            }
            panes.last_mut().expect("one was made").add(profile, features, score, score >= 0.45);
        }
        panes
    }

    fn alarms(report: &Report) -> Vec<&str> {
        let watches = report.drift.iter().chain(&report.quality).chain([&report.alert_rate]);
        watches.filter(|watch| watch.alarm).map(|watch| watch.name.as_str()).collect()
    }

    #[test]
    fn the_same_hours_are_compared() {
        let profile =
            MonitorProfile::from_bytes(&serde_json::to_vec(&profile(true)).expect("JSON")).expect("a profile");
        // A whole day, and a night alone: amounts, flags and scores are of the night.
        for hours in [24 * 20..24 * 21, 24 * 20..24 * 20 + 12, 24 * 22 + 6..24 * 22 + 20] {
            let found = report(&profile, &panes(&profile, hours.clone(), 1.0), &Budget::default()).expect("rows");
            let distances: Vec<&Watch> = found.drift.iter().collect();
            assert!(distances.iter().all(|watch| !watch.alarm), "{hours:?}: {distances:?}");
            assert!((found.matched - 1.0).abs() < 1e-12);
        }
        let found = report(&profile, &panes(&profile, 24 * 20..24 * 21, 1.4), &Budget::default()).expect("rows");
        assert_eq!(alarms(&found), ["amount"]);
        assert_eq!(found.drifted_importance, 0.5);
        assert!(matches!(found.drift[0].certainty, Certainty::Certified(..)), "{found:?}");
        assert_eq!(found.drift[1].certainty, Certainty::Exact);
        let wrong = super::super::MonitorProfile { format: 99, ..profile };
        assert!(MonitorProfile::from_bytes(&serde_json::to_vec(&wrong).expect("JSON")).is_err());
    }

    #[test]
    fn few_rows_say_nothing_and_none_is_no_report() {
        let profile = profile(false);
        assert!(report(&profile, &[], &Budget::default()).is_none());
        let mut one = Pane::new(&profile, 0);
        assert!(report(&profile, &[one.clone()], &Budget::default()).is_none());
        one.add(&profile, &[f32::NAN, 1e30], f32::NAN, true);
        let found = report(&profile, &[one], &Budget::default()).expect("a row");
        assert!(alarms(&found).is_empty());
        assert_eq!(found.drift[1].certainty, Certainty::Insufficient(1, 2000));
        assert_eq!(found.drift[0].certainty, Certainty::Insufficient(0, 2000));
    }

    #[test]
    fn missing_values_and_the_alert_rate_are_watched() {
        let profile = profile(true);
        let mut day = panes(&profile, 24 * 20..24 * 21, 1.0);
        for pane in &mut day {
            (0..5).for_each(|_| pane.add(&profile, &[f32::NAN, 0.0], 0.1, false));
        }
        let found = report(&profile, &day, &Budget::default()).expect("rows");
        assert_eq!(alarms(&found), ["amount"]);
        assert_eq!((found.quality[0].measure, found.drift[0].alarm), ("missing", false));
        for pane in &mut day {
            pane.alerts = 0;
        }
        assert!(alarms(&report(&profile, &day, &Budget::default()).expect("rows")).contains(&"alert_rate"));
    }

    #[test]
    fn thresholds_stay_within_what_a_share_can_be() {
        // Three short days of a reference whose resampled days went far beyond: the factor is 5, Student's t has 2 degrees.
        let few = profile(true);
        let mut made = MonitorProfile { resampled: vec![5.0; 500], alert_days: few.alert_days[..3].to_vec(), ..few };
        made.columns.iter_mut().for_each(|column| column.missing_days = vec![0.0, 0.3, 0.0]);
        let found = report(&made, &panes(&made, 24 * 20..24 * 21, 1.0), &Budget::default()).expect("rows");
        for watch in found.quality.iter().chain([&found.alert_rate]) {
            assert!(watch.threshold < 1.0 && watch.threshold > watch.expected, "{watch:?}");
        }
        assert!(found.drift[1].threshold < 0.83, "{:?}", found.drift[1]);
        assert!(alarms(&found).is_empty(), "{:?}", alarms(&found));

        // Everything missing, every decision an alert, and none at all are alarms still.
        let mut empty = panes(&made, 24 * 20..24 * 21, 1.0);
        for pane in &mut empty {
            let (rows, from_ms) = (pane.rows(), pane.from_ms);
            *pane = Pane::new(&made, from_ms);
            (0..rows).for_each(|_| pane.add(&made, &[f32::NAN, 0.0], 0.9, true));
        }
        let found = report(&made, &empty, &Budget::default()).expect("rows");
        assert!(found.quality[0].alarm && found.alert_rate.alarm, "{found:?}");
        empty.iter_mut().for_each(|pane| pane.alerts = 0);
        let found = report(&made, &empty, &Budget::default()).expect("rows");
        assert!(found.alert_rate.alarm, "{:?}", found.alert_rate);
    }

    #[test]
    fn panes_of_several_planes_are_one() {
        let profile = profile(true);
        let whole = panes(&profile, 500..540, 1.0);
        let mut parts: Vec<Pane> = whole.iter().map(|pane| Pane::new(&profile, pane.from_ms)).collect();
        let (features, times, scores) = rows(500..540, 1.0);
        for plane in 0..3 {
            for (part, from) in parts.iter_mut().zip(whole.iter().map(|pane| pane.from_ms)) {
                let mut own = Pane::new(&profile, from);
                for (i, at) in
                    times.iter().enumerate().filter(|(i, at)| i % 3 == plane && (from..from + HOUR).contains(*at))
                {
                    own.add(&profile, &features[2 * i..2 * i + 2], scores[i], scores[i] >= 0.45);
                    debug_assert!(*at >= from);
                }
                part.merge(&own.sparse());
            }
        }
        let [one, three] = [&whole, &parts].map(|panes| report(&profile, panes, &Budget::default()).expect("rows"));
        for (a, b) in one.drift.iter().zip(&three.drift) {
            assert!((a.value - b.value).abs() < 1e-9 && a.alarm == b.alarm, "{a:?} {b:?}");
        }
        assert_eq!((one.rows, one.alert_rate), (three.rows, three.alert_rate));
    }
}
