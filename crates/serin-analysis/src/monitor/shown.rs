//! Forms in which a monitor's report is shown.

use super::{Certainty, Report, Watch};
use serde_json::{Value, json};

/// A report as JSON; times are epoch milliseconds.
#[must_use]
pub fn drift_json(report: &Report) -> Value {
    let all = |watches: &[Watch]| watches.iter().map(watch).collect::<Vec<_>>();
    json!({
        "from": report.window_ms.0, "until": report.window_ms.1, "decisions": report.rows,
        "season_matched": report.matched, "drifted_importance": report.drifted_importance,
        "calibration": { "resampled_days": report.calibration.0, "threshold_factor": report.calibration.1 },
        "drift": all(&report.drift), "data_quality": all(&report.quality), "alert_rate": watch(&report.alert_rate),
    })
}

/// `exact`, `certified` or `insufficient`: how far a value can be trusted.
#[must_use]
pub fn certainty_word(watch: &Watch) -> &'static str {
    match watch.certainty {
        Certainty::Exact => "exact",
        Certainty::Certified(..) => "certified",
        Certainty::Insufficient(..) => "insufficient",
    }
}

fn watch(watch: &Watch) -> Value {
    let certainty = match watch.certainty {
        Certainty::Exact => json!("exact"),
        // Nothing bounds it from above where different values share a cell.
        Certainty::Certified(low, high) => json!({ "certified": [low, Some(high).filter(|high| high.is_finite())] }),
        Certainty::Insufficient(rows, need) => json!({ "insufficient": rows, "need": need }),
    };
    json!({
        "name": watch.name, "measure": watch.measure, "value": Some(watch.value).filter(|value| value.is_finite()),
        "certainty": certainty, "threshold": watch.threshold, "alarm": watch.alarm, "importance": watch.importance,
    })
}
