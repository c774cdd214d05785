//! Every metric of the data plane: name, unit, help.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

const REQUESTS: &str = "serin_http_requests_total";
const SECONDS: &str = "serin_http_request_seconds";
const DECISIONS: &str = "serin_decisions_total";
const LOADS: &str = "serin_model_loads_total";
const MODEL: &str = "serin_model_info";

const BUCKETS: [f64; 14] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// Makes this process's recorder and describes the metrics. Once a process.
///
/// # Errors
/// When a recorder is already installed.
pub fn install() -> Result<PrometheusHandle, String> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(SECONDS.to_owned()), &BUCKETS)
        .map_err(|e| e.to_string())?;
    let handle = builder.install_recorder().map_err(|e| e.to_string())?;
    describe_counter!(REQUESTS, "Requests answered, by route and status.");
    describe_histogram!(SECONDS, "Seconds from the decoded head of a request to its answer, by route.");
    describe_counter!(DECISIONS, "Decisions, by action: alert or pass.");
    describe_counter!(LOADS, "Attempts to load a model, by result: loaded or refused.");
    describe_gauge!(MODEL, "1 for the live model; its name, version and SHA-256 are labels.");
    Ok(handle)
}

pub(crate) fn record_request(route: &'static str, status: u16, seconds: f64) {
    counter!(REQUESTS, "route" => route, "status" => status.to_string()).increment(1);
    histogram!(SECONDS, "route" => route).record(seconds);
}

pub(crate) fn record_decisions(alerts: u64, passes: u64) {
    counter!(DECISIONS, "action" => "alert").increment(alerts);
    counter!(DECISIONS, "action" => "pass").increment(passes);
}

pub(crate) fn record_load(loaded: bool) {
    counter!(LOADS, "result" => if loaded { "loaded" } else { "refused" }).increment(1);
}

pub(crate) fn record_live(name: &str, version: &str, sha256: &str, live: bool) {
    gauge!(MODEL, "name" => name.to_owned(), "version" => version.to_owned(), "sha256" => sha256.to_owned())
        .set(if live { 1.0 } else { 0.0 });
}
