//! Evidently's own shapes: of `Report.json()`, and of a snapshot as its service takes it, so that what reads those today
//! goes on reading (<https://docs.evidentlyai.com>; recorded from evidently 0.7.23). Values and names are its, ids are ours.

use super::notify::{SendError, post};
use crate::settings::EvidentlySettings;
use serde_json::{Value, json};
use serin_analysis::drift::Method;
use serin_analysis::drift::evidently::{ColumnDrift, Metric, drifted_columns};
use serin_analysis::monitor::{Certainty, Report, Watch};
use serin_analysis::performance::Performance;
use std::collections::BTreeMap;

/// Content of one snapshot for Evidently's service.
#[derive(Debug, Default)]
struct Snapshot {
    /// End of the window as text, without a zone (UTC).
    timestamp: String,
    /// Metadata that the service filters by.
    metadata: BTreeMap<&'static str, String>,
    /// Columns that were compared with the reference.
    columns: Vec<ColumnDrift>,
    /// Share of drifted columns from which the whole data set counts as drifted, 0 to 1.
    drift_share: f64,
    /// Figures beside drift, such as performance.
    figures: Vec<Figure>,
}

/// Type of a figure, its parameters, and its value.
type Figure = (&'static str, Vec<(&'static str, String)>, f64);

/// Snapshot of the window that was last looked at, as `POST /api/v2/snapshots/{project}` takes it.
pub(crate) fn snapshot(model: &str, version: &str, report: &Report, performance: Option<&Performance>) -> Value {
    let known = |watch: &&Watch| !matches!(watch.certainty, Certainty::Insufficient(..));
    let method = |watch: &Watch| watch.measure.parse::<Method>().map_or(watch.measure, Method::display_name);
    let columns = report.drift.iter().filter(known).map(|watch| ColumnDrift {
        column: watch.name.clone(),
        method: method(watch),
        score: watch.value,
        threshold: watch.threshold,
        drifted: watch.alarm,
    });
    let mut figures = vec![
        ("RowCount", vec![], report.rows as f64),
        ("SerinAlertRate", vec![], report.alert_rate.value),
        ("SerinDriftedImportance", vec![], report.drifted_importance),
    ];
    let missing = report.quality.iter().map(|watch| {
        ("SerinMissingShare", vec![("column", watch.name.clone()), ("kind", watch.measure.to_owned())], watch.value)
    });
    figures.extend(missing);
    let named = [
        ("precision", "Precision"),
        ("recall", "Recall"),
        ("auc_roc", "RocAuc"),
        ("log_loss", "LogLoss"),
        ("average_precision", "SerinAveragePrecision"),
    ];
    for (ours, theirs) in named {
        figures.extend(performance.and_then(|found| Some((theirs, vec![], *found.metrics.get(ours)?))));
    }
    let at = jiff::Timestamp::from_millisecond(report.window_ms.1).unwrap_or_default();
    let snapshot = Snapshot {
        timestamp: at.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
        metadata: BTreeMap::from([("model", model.to_owned()), ("version", version.to_owned())]),
        columns: columns.collect(),
        drift_share: 0.5,
        figures,
    };
    snapshot.json()
}

/// Sends a snapshot; what fails is in the log, as the figures are in the database anyway.
pub(crate) fn push(settings: &EvidentlySettings, snapshot: Value) {
    let settings = settings.clone();
    tokio::spawn(async move {
        if let Err(problem) = send(&settings, &snapshot).await {
            tracing::warn!("a snapshot did not reach Evidently: {problem}");
        }
    });
}

async fn send(settings: &EvidentlySettings, snapshot: &Value) -> Result<(), SendError> {
    let url = format!("{}/api/v2/snapshots/{}", settings.url.trim_end_matches('/'), settings.project);
    let secret = settings.secret()?;
    post(&url, snapshot, secret.as_deref().map(|secret| ("evidently-secret", secret))).await
}

impl Snapshot {
    /// Figures that are no number are left out.
    fn json(&self) -> Value {
        let mut results = serde_json::Map::new();
        let mut order = Vec::new();
        let mut add = |metric: &Metric, result: Value| {
            order.push(metric.id.clone());
            results.insert(metric.id.clone(), result);
        };
        let (count, share) = drifted_columns(&self.columns);
        let metric = Metric::drifted_columns(self.drift_share);
        let part = |kind: &str, value: f64| {
            single(&metric, "Count of Drifted Columns", &json!({ "value_type": kind }), value, &[])
        };
        let failed = |failed: bool| if failed { "FAIL" } else { "SUCCESS" };
        let mut whole = result(&metric, "CountValue", "Count of Drifted Columns", &json!({}));
        whole["tests"] = json!([test(
            &metric,
            "lt",
            &format!("Share of Drifted Columns: Less {:.3}", self.drift_share),
            &format!("Actual value {share:.3}"),
            failed(share >= self.drift_share)
        )]);
        (whole["count"], whole["share"]) = (part("count", count as f64), part("share", share));
        add(&metric, whole);
        for column in self.columns.iter().filter(|column| column.score.is_finite()) {
            let metric = Metric::of_column(column);
            let name = format!("Value Drift for column {}", column.column);
            let said = format!(
                "Drift score is {:.2}. The drift detection method is {}. The drift threshold is {:.2}.",
                column.score, column.method, column.threshold
            );
            let tests = [test(&metric, "drift", &name, &said, failed(column.drifted))];
            add(&metric, single(&metric, &name, &json!({}), column.score, &tests));
        }
        for (name, parameters, value) in self.figures.iter().filter(|(.., value)| value.is_finite()) {
            let parameters: Vec<(&str, Value)> = parameters.iter().map(|(name, value)| (*name, json!(value))).collect();
            let metric = Metric::of(name, &parameters);
            add(&metric, single(&metric, &metric.name, &json!({}), *value, &[]));
        }
        json!({
            "report": { "items": [] }, "name": "serin", "timestamp": self.timestamp, "metadata": self.metadata,
            "tags": ["serin"], "metric_results": results, "top_level_metrics": order, "widgets": [], "tests_widgets": [],
        })
    }
}

fn result(metric: &Metric, kind: &str, display_name: &str, param: &Value) -> Value {
    json!({
        "type": format!("evidently:metric_result_v2:{kind}"), "display_name": display_name,
        "metric_value_location": { "metric": { "metric_id": metric.id, "params": metric.config }, "param": param },
        "widget": [], "tests": [],
    })
}

fn single(metric: &Metric, display_name: &str, param: &Value, value: f64, tests: &[Value]) -> Value {
    let mut shown = result(metric, "SingleValue", display_name, param);
    (shown["value"], shown["tests"]) = (json!(value), json!(tests));
    shown
}

fn test(metric: &Metric, id: &str, name: &str, description: &str, status: &str) -> Value {
    json!({
        "id": id, "name": name, "description": description, "status": status, "test_config": {}, "bound_test": null,
        "metric_config": { "metric_id": metric.id, "params": metric.config },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_left_out() {
        let none = Snapshot { drift_share: 0.5, figures: vec![("AlertRate", vec![], f64::NAN)], ..Snapshot::default() };
        assert_eq!(none.json()["metric_results"].as_object().expect("an object").len(), 1);
    }
}
