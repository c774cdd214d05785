//! Drift in the shape of Evidently's `Report.json()`, so that what reads those today goes on reading
//! (<https://docs.evidentlyai.com>; recorded from evidently 0.7.23). Values and names are Evidently's, ids are ours.

use super::Drift;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Result of the drift test of one column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnDrift {
    /// Name of the tested column.
    pub column: String,
    /// Evidently's name of the test, as its reports show it.
    pub method: &'static str,
    /// p-value or distance; NaN where the test says nothing.
    pub score: f64,
    /// Score at which drift begins; whether it is reached from above or below depends on the test.
    pub threshold: f64,
    /// True if the score counts as drift at this threshold.
    pub drifted: bool,
}

impl ColumnDrift {
    /// Takes over the result of a test, under the test's Evidently name.
    #[must_use]
    pub fn of(column: &str, found: &Drift) -> Self {
        Self {
            column: column.to_owned(),
            method: found.method.display_name(),
            score: found.score,
            threshold: found.threshold,
            drifted: found.drifted,
        }
    }
}

/// Returns the number of drifted columns and their fraction of all columns, 0 to 1.
#[must_use]
pub fn drifted_columns(columns: &[ColumnDrift]) -> (usize, f64) {
    let drifted = columns.iter().filter(|column| column.drifted).count();
    (drifted, drifted as f64 / columns.len().max(1) as f64)
}

fn kind(name: &str) -> String {
    format!("evidently:metric_v2:{name}")
}

/// A metric's identity: the type's name and its parameters, in Evidently's order.
#[derive(Debug, Clone)]
pub struct Metric {
    /// 32 hex digits, made of the name.
    pub id: String,
    /// Type and parameters, as `ValueDrift(column=amount,…)`.
    pub name: String,
    /// Type and parameters as a JSON object.
    pub config: Value,
}

impl Metric {
    /// Makes a metric of this type with these parameters.
    #[must_use]
    pub fn of(metric: &str, parameters: &[(&str, Value)]) -> Self {
        let text = |value: &Value| value.as_str().map_or_else(|| python_number(value), str::to_owned);
        let listed: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
        let name = format!("{metric}({})", listed.join(","));
        let mut config = json!({ "type": kind(metric) });
        for (parameter, value) in parameters {
            config[*parameter] = value.clone();
        }
        let id = hex_digits(name.as_bytes());
        Self { id, name, config }
    }

    /// How many columns drifted; `share` is the fraction of columns, 0 to 1, from which the whole counts as drifted.
    #[must_use]
    pub fn drifted_columns(share: f64) -> Self {
        Self::of("DriftedColumnsCount", &[("drift_share", json!(share))])
    }

    /// Makes the metric for the drift of one column.
    #[must_use]
    pub fn of_column(found: &ColumnDrift) -> Self {
        let parameters =
            [("column", json!(found.column)), ("method", json!(found.method)), ("threshold", json!(found.threshold))];
        Self::of("ValueDrift", &parameters)
    }
}

/// Formats a number as Python prints it: a whole float with `.0`.
fn python_number(value: &Value) -> String {
    value.as_f64().filter(|number| number.fract() == 0.0).map_or_else(|| value.to_string(), |n| format!("{n:.1}"))
}

/// Builds a report in the shape of `Report.json()`. `drift_share` is the fraction of drifted columns, 0 to 1, from which the
/// test of the whole fails.
#[must_use]
pub fn evidently_report(columns: &[ColumnDrift], drift_share: f64) -> Value {
    let (count, share) = drifted_columns(columns);
    let shown = |metric: Metric, value: Value| json!({ "id": metric.id, "metric_name": metric.name, "config": metric.config, "value": value });
    let mut metrics =
        vec![shown(Metric::drifted_columns(drift_share), json!({ "count": count as f64, "share": share }))];
    metrics.extend(columns.iter().map(|column| shown(Metric::of_column(column), json!(column.score))));
    let passed = share < drift_share;
    let tests = json!([{
        "id": "lt", "name": format!("Share of Drifted Columns: Less {drift_share:.3}"),
        "description": format!("Share of Drifted Columns: Actual value {share:.3} {} {drift_share:.3}", if passed { "<" } else { ">=" }),
        "status": if passed { "SUCCESS" } else { "FAIL" },
    }]);
    json!({ "metrics": metrics, "tests": tests })
}

/// The first 32 hex digits of a SHA-256.
fn hex_digits(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_pythons_and_what_is_no_number_is_null() {
        let column = |score: f64, drifted| ColumnDrift {
            column: "amount".to_owned(),
            method: "Wasserstein distance (normed)",
            score,
            threshold: 0.1,
            drifted,
        };
        let report = evidently_report(&[column(0.366, true), column(f64::NAN, false)], 1.0);
        assert_eq!(report["metrics"][0]["metric_name"], "DriftedColumnsCount(drift_share=1.0)");
        assert_eq!(
            report["metrics"][1]["metric_name"],
            "ValueDrift(column=amount,method=Wasserstein distance (normed),threshold=0.1)"
        );
        assert_eq!((&report["metrics"][1]["value"], &report["metrics"][2]["value"]), (&json!(0.366), &Value::Null));
        assert_eq!(report["tests"][0]["status"], "SUCCESS");
    }
}
