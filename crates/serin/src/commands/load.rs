//! A closed-loop load on `/predict`: each connection sends its next request when the answer is in.

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What the load saw. Closed loop: a slow answer delays the next request, so p99 is a floor under real load.
pub(crate) struct Seen {
    pub(crate) requests: usize,
    pub(crate) alerts: usize,
    pub(crate) seconds: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

pub(crate) async fn send(
    address: SocketAddr,
    bodies: Vec<Bytes>,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Seen> {
    let start = Instant::now();
    let bodies = std::sync::Arc::new(bodies);
    let tasks: Vec<_> = (0..connections)
        .map(|connection| {
            tokio::spawn(one_connection(
                address,
                std::sync::Arc::clone(&bodies),
                connection,
                connections,
                start,
                duration,
            ))
        })
        .collect();
    let mut latencies = Vec::new();
    let mut alerts = 0;
    for task in tasks {
        let (times, found) = task.await??;
        latencies.extend(times);
        alerts += found;
    }
    let seconds = start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    if latencies.is_empty() {
        bail!("no request was answered");
    }
    let quantile = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    Ok(Seen { requests: latencies.len(), alerts, seconds, p50_ms: quantile(0.5), p99_ms: quantile(0.99) })
}

async fn one_connection(
    address: SocketAddr,
    bodies: std::sync::Arc<Vec<Bytes>>,
    first: usize,
    step: usize,
    start: Instant,
    duration: Duration,
) -> anyhow::Result<(Vec<Duration>, usize)> {
    let stream = tokio::net::TcpStream::connect(address).await.context("cannot connect to the scoring server")?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let (mut times, mut alerts, mut next) = (Vec::new(), 0, first);
    while start.elapsed() < duration {
        let body = bodies[next % bodies.len()].clone();
        next += step;
        let request = hyper::Request::post("/predict")
            .header("host", address.to_string())
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        let sent = Instant::now();
        let response = sender.send_request(request).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        times.push(sent.elapsed());
        if !status.is_success() {
            bail!("/predict answered {status}: {}", String::from_utf8_lossy(&answer));
        }
        alerts += usize::from(answer.starts_with(b"{\"predictions\":[1]"));
    }
    drop(sender);
    // The connection task ends by itself once the sender is gone; its result says nothing new.
    let _ = connection.await;
    Ok((times, alerts))
}
