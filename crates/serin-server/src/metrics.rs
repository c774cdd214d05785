//! Every metric of the data plane: name, unit, help.

use crate::scoring::decide::WhenFull;
use axum::http::StatusCode;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::borrow::Cow;
use std::time::Duration;

const REQUESTS: &str = "serin_http_requests_total";
const SECONDS: &str = "serin_http_request_seconds";
const DECISIONS: &str = "serin_decisions_total";
const UNLOGGED: &str = "serin_decisions_unlogged_total";
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
    describe_counter!(
        UNLOGGED,
        "Decisions the log could not take, by result: refused, or dropped (given without a record)."
    );
    describe_counter!(LOADS, "Attempts to load a model, by result: loaded or refused.");
    describe_gauge!(MODEL, "1 for the live model; its name, version and SHA-256 are labels.");
    Ok(handle)
}

pub(crate) fn record_request(route: &'static str, status: StatusCode, took: Duration) {
    counter!(REQUESTS, "route" => route, "status" => status_text(status)).increment(1);
    histogram!(SECONDS, "route" => route).record(took.as_secs_f64());
}

pub(crate) fn record_decisions(alerts: u64, passes: u64) {
    counter!(DECISIONS, "action" => "alert").increment(alerts);
    counter!(DECISIONS, "action" => "pass").increment(passes);
}

/// The usual ones without an allocation.
fn status_text(status: StatusCode) -> Cow<'static, str> {
    match status.as_u16() {
        200 => Cow::Borrowed("200"),
        400 => Cow::Borrowed("400"),
        422 => Cow::Borrowed("422"),
        503 => Cow::Borrowed("503"),
        other => Cow::Owned(other.to_string()),
    }
}

pub(crate) fn record_unlogged(count: u64, when_full: WhenFull) {
    let result = if when_full == WhenFull::Refuse { "refused" } else { "dropped" };
    counter!(UNLOGGED, "result" => result).increment(count);
}

pub(crate) fn record_load(loaded: bool) {
    counter!(LOADS, "result" => if loaded { "loaded" } else { "refused" }).increment(1);
}

pub(crate) fn record_live(name: &str, version: &str, sha256: &str, live: bool) {
    gauge!(MODEL, "name" => name.to_owned(), "version" => version.to_owned(), "sha256" => sha256.to_owned())
        .set(if live { 1.0 } else { 0.0 });
}
