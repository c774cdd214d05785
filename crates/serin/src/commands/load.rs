//! A closed-loop load of payments, one a request: each connection sends its next one when the answer is in.

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the load saw. Closed loop: a slow answer delays the next request, so quantiles are a floor under real load.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    latencies: Vec<Duration>,
    pub(crate) alerts: usize,
    pub(crate) seconds: f64,
    /// Score and id of the decision that was the surest alert.
    pub(crate) surest: Option<(f64, String)>,
}

impl Seen {
    pub(crate) fn requests(&self) -> usize {
        self.latencies.len()
    }

    /// Milliseconds within which a share of the requests was answered; 0 without any.
    pub(crate) fn quantile_ms(&mut self, share: f64) -> f64 {
        self.latencies.sort_unstable();
        let place = (self.latencies.len().saturating_sub(1) as f64 * share) as usize;
        self.latencies.get(place).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.alerts += other.alerts;
        self.seconds += other.seconds;
        self.surest = surer(self.surest.take(), other.surest);
    }
}

/// The alert with the higher score.
pub(crate) fn surer(one: Option<(f64, String)>, other: Option<(f64, String)>) -> Option<(f64, String)> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.0 > one.0 { other } else { one }),
        (one, other) => one.or(other),
    }
}

/// Posts each body once to `/v1/decisions`, spread over connections.
pub(crate) async fn send(address: SocketAddr, bodies: Vec<Bytes>, connections: usize) -> anyhow::Result<Seen> {
    let (start, bodies) = (Instant::now(), Arc::new(bodies));
    let tasks: Vec<_> =
        (0..connections).map(|first| tokio::spawn(one(address, Arc::clone(&bodies), first, connections))).collect();
    let mut seen = Seen::default();
    for task in tasks {
        seen.add(task.await??);
    }
    seen.seconds = start.elapsed().as_secs_f64();
    Ok(seen)
}

async fn one(address: SocketAddr, bodies: Arc<Vec<Bytes>>, first: usize, step: usize) -> anyhow::Result<Seen> {
    let stream = tokio::net::TcpStream::connect(address).await.context("cannot connect to the scoring server")?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut seen = Seen::default();
    for body in bodies.iter().skip(first).step_by(step) {
        let request = hyper::Request::post("/v1/decisions")
            .header("host", address.to_string())
            .header("content-type", "application/json")
            .body(Full::new(body.clone()))?;
        let sent = Instant::now();
        let response = sender.send_request(request).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        seen.latencies.push(sent.elapsed());
        if !status.is_success() {
            bail!("/v1/decisions answered {status}: {}", String::from_utf8_lossy(&answer));
        }
        if answer.windows(16).any(|part| part == b"\"action\":\"alert\"") {
            seen.alerts += 1;
            let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
            let decided = &answer["decisions"][0];
            let found = decided["score"].as_f64().zip(decided["decision_id"].as_str().map(str::to_owned));
            seen.surest = surer(seen.surest.take(), found);
        }
    }
    drop(sender);
    // The connection task ends by itself once the sender is gone; its result says nothing new.
    let _ = connection.await;
    Ok(seen)
}
