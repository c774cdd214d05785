//! Every metric of the data plane: name, unit, help; counted in place, written as Prometheus text when asked for.
//!
//! Plain atomics instead of a metrics library: looking handles up by their labels took a tenth of a request, and
//! histograms kept every value in memory until the next scrape.

use crate::keeping::WhenFull;
use crate::models::Models;
use crate::monitor::LiveMonitor;
use crate::shadow::Shadow;
use axum::http::StatusCode;
use serin_decisions::Fallback;
use serin_http::Text;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the latency buckets, nanoseconds.
const BUCKETS: [u64; 14] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
    5_000_000_000,
];
/// Statuses that a scoring route answers; the last stands for any other.
const STATUSES: [u16; 8] = [200, 400, 404, 413, 415, 422, 503, 500];

/// A route that decides.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Route {
    Predict,
    Decisions,
    Invocations,
    Infer,
    Grpc,
}

const ROUTES: [(Route, &str); 5] = [
    (Route::Predict, "/predict"),
    (Route::Decisions, "/v1/decisions"),
    (Route::Invocations, "/invocations"),
    (Route::Infer, "/v2/models/{name}/infer"),
    (Route::Grpc, "/inference.GRPCInferenceService/ModelInfer"),
];

#[derive(Debug, Default)]
struct RouteMetrics {
    statuses: [AtomicU64; STATUSES.len()],
    buckets: [AtomicU64; BUCKETS.len()],
    nanoseconds: AtomicU64,
}

/// Counters of one server.
#[derive(Debug, Default)]
pub struct Metrics {
    routes: [RouteMetrics; ROUTES.len()],
    alerts: AtomicU64,
    explored: AtomicU64,
    passes: AtomicU64,
    fallbacks: [AtomicU64; Fallback::ALL.len()],
    late: AtomicU64,
    not_finite: AtomicU64,
    unlogged_refused: AtomicU64,
    unlogged_dropped: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Metrics {
    pub(crate) fn record_request(&self, route: Route, status: StatusCode, took: Duration) {
        let metrics = &self.routes[route as usize];
        let known = STATUSES.iter().position(|known| *known == status.as_u16()).unwrap_or(STATUSES.len() - 1);
        add(&metrics.statuses[known], 1);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = BUCKETS.iter().position(|bound| nanoseconds <= *bound) {
            add(&metrics.buckets[bucket], 1);
        }
        add(&metrics.nanoseconds, nanoseconds);
    }

    pub(crate) fn record_decisions(&self, alerts: u64, passes: u64) {
        add(&self.alerts, alerts);
        add(&self.passes, passes);
    }

    pub(crate) fn record_explored(&self, count: u64) {
        add(&self.explored, count);
    }

    pub(crate) fn record_fallbacks(&self, fallbacks: &[Option<Fallback>]) {
        for fallback in fallbacks.iter().flatten() {
            add(&self.fallbacks[*fallback as usize], 1);
        }
    }

    /// Counts rows to which the model that answers gave no score: in time, or no finite one.
    pub(crate) fn record_unscored(&self, late: u64, not_finite: u64) {
        add(&self.late, late);
        add(&self.not_finite, not_finite);
    }

    pub(crate) fn record_unlogged(&self, count: u64, when_full: WhenFull) {
        let counter = match when_full {
            WhenFull::Refuse => &self.unlogged_refused,
            WhenFull::DropAndCount => &self.unlogged_dropped,
        };
        add(counter, count);
    }

    /// All metrics in Prometheus' text format, version 0.0.4.
    pub(crate) fn render(&self, models: &Models, shadow: Option<&Shadow>, monitor: Option<&LiveMonitor>) -> String {
        let mut out = Text::default();
        out.head("serin_http_requests_total", "counter", "Requests answered, by route and status.");
        for (metrics, (_, route)) in self.routes.iter().zip(ROUTES) {
            for (count, status) in metrics.statuses.iter().zip(STATUSES).filter(|(count, _)| read(count) > 0) {
                out.line(&[("route", route), ("status", &status.to_string())], read(count));
            }
        }
        let help = "Seconds from the body of a request to its answer, by route.";
        out.head("serin_http_request_seconds", "histogram", help);
        for (metrics, (_, route)) in self.routes.iter().zip(ROUTES) {
            let count: u64 = metrics.statuses.iter().map(read).sum();
            if count == 0 {
                continue;
            }
            let mut below = 0;
            for (bucket, bound) in metrics.buckets.iter().zip(BUCKETS) {
                below += read(bucket);
                let bound = (bound as f64 / 1e9).to_string();
                out.part("_bucket", &[("route", route), ("le", &bound)], below);
            }
            out.part("_bucket", &[("route", route), ("le", "+Inf")], count.max(below));
            out.part("_sum", &[("route", route)], read(&metrics.nanoseconds) as f64 / 1e9);
            out.part("_count", &[("route", route)], count.max(below));
        }
        out.head("serin_decisions_total", "counter", "Decisions, by action: alert or pass.");
        out.line(&[("action", "alert")], read(&self.alerts));
        out.line(&[("action", "pass")], read(&self.passes));
        out.head("serin_explored_total", "counter", "Alerts that were let through by --explore.");
        out.line(&[], read(&self.explored));
        let help = "Decisions that the model did not make in time, by what made them.";
        out.head("serin_fallbacks_total", "counter", help);
        for (count, fallback) in self.fallbacks.iter().zip(Fallback::ALL) {
            out.line(&[("fallback", fallback.name())], read(count));
        }
        let help = "Rows without a score of the model that answers, by reason: late, or not_finite (score or margin is NaN or infinite).";
        out.head("serin_unscored_total", "counter", help);
        out.line(&[("reason", "late")], read(&self.late));
        out.line(&[("reason", "not_finite")], read(&self.not_finite));
        let help = "Decisions the log could not take, by result: refused, or dropped (given without a record).";
        out.head("serin_decisions_unlogged_total", "counter", help);
        out.line(&[("result", "refused")], read(&self.unlogged_refused));
        out.line(&[("result", "dropped")], read(&self.unlogged_dropped));
        out.head("serin_model_loads_total", "counter", "Attempts to load a model, by result: loaded or refused.");
        for slot in models.slots() {
            let (loaded, refused) = slot.loads();
            out.line(&[("model", slot.name()), ("result", "loaded")], loaded);
            out.line(&[("model", slot.name()), ("result", "refused")], refused);
        }
        out.head("serin_model_info", "gauge", "1 for a model that answers; its version and SHA-256 are labels.");
        for slot in models.slots() {
            if let Some(live) = slot.live() {
                let sha256 = live.package.model_sha256.as_str();
                out.line(&[("name", live.name.as_str()), ("version", live.version.as_str()), ("sha256", sha256)], 1);
            }
        }
        if let Some(shadow) = shadow {
            shadow_families(&mut out, shadow);
        }
        if let Some(monitor) = monitor {
            monitor_families(&mut out, monitor);
        }
        out.finish()
    }
}

fn shadow_families(out: &mut Text, shadow: &Shadow) {
    let help = "Rows that candidates scored beside the live model, by candidate and result: agree, pass_to_alert (the live model passed, the candidate alerts), alert_to_pass, unscored.";
    out.head("serin_shadow_rows_total", "counter", help);
    for (slot, compared) in shadow.candidates() {
        let (all, raised, lowered) =
            (read(&compared.decisions), read(&compared.pass_to_alert), read(&compared.alert_to_pass));
        for (result, count) in [
            ("agree", all.saturating_sub(raised + lowered)),
            ("pass_to_alert", raised),
            ("alert_to_pass", lowered),
            ("unscored", read(&compared.unscored)),
        ] {
            out.line(&[("candidate", slot.uri()), ("result", result)], count);
        }
    }
    out.head("serin_shadow_alerts_total", "counter", "Rows on which a candidate would have alerted.");
    for (slot, compared) in shadow.candidates() {
        out.line(&[("candidate", slot.uri())], read(&compared.alerts));
    }
    out.head("serin_shadow_nan_total", "counter", "Rows to which a candidate gave no number.");
    for (slot, compared) in shadow.candidates() {
        out.line(&[("candidate", slot.uri())], read(&compared.not_a_number));
    }
    out.head("serin_shadow_dropped_total", "counter", "Rows that no candidate saw, for want of room in the queue.");
    out.line(&[], shadow.dropped());
}

fn monitor_families(out: &mut Text, monitor: &LiveMonitor) {
    out.head("serin_monitor_rows_total", "counter", "Decisions that the monitor has counted, by model.");
    for (model, rows, _) in monitor.streams() {
        out.line(&[("model", &model)], rows);
    }
    let help =
        "How often ADWIN saw the mean of a stream change (score, alert rate); the hour of the day changes it, too.";
    out.head("serin_monitor_changes_total", "counter", help);
    for (model, _, changes) in monitor.streams() {
        for (stream, count) in ["score", "alert_rate"].iter().zip(changes) {
            out.line(&[("model", model.as_str()), ("stream", *stream)], count);
        }
    }
    out.head("serin_monitor_dropped_total", "counter", "Decisions that the monitor did not see, for want of room.");
    out.line(&[], monitor.dropped());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_stay_within_their_quotes() {
        assert!(ROUTES.iter().enumerate().all(|(i, (route, _))| *route as usize == i));
    }

    #[test]
    fn a_latency_on_a_bound_belongs_below_it() {
        let metrics = Metrics::default();
        metrics.record_request(Route::Predict, StatusCode::OK, Duration::from_nanos(50_000));
        metrics.record_request(Route::Predict, StatusCode::IM_A_TEAPOT, Duration::from_secs(60));
        let counts: Vec<u64> = metrics.routes[0].buckets.iter().map(read).collect();
        assert_eq!((counts[0], counts.iter().sum::<u64>()), (1, 1));
        assert_eq!(read(&metrics.routes[0].statuses[STATUSES.len() - 1]), 1);
    }
}
