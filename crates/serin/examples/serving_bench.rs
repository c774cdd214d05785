//! What `make bench-serving` needs beside the servers it measures: the limit and the load.
//!
//! - `axum PORT`, `hyper PORT`: servers that parse the same body and answer a constant;
//! - `load HOST:PORT PATH BODY-FILE CONNECTIONS SECONDS [RATE]`: prints JSON. Without a rate each connection sends its
//!   next request when the answer is in (throughput; its latencies leave out what a slow server kept from being sent).
//!   With a rate requests are due at fixed times and a latency counts from when its request was due, so a stall is
//!   charged to every request that it delayed (no coordinated omission).
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first thing that is wrong")]
#![expect(clippy::print_stdout, reason = "it prints its figures")]

use axum::routing::post;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &str = r#"{"predictions":[0],"latency":0.000012345}"#;

fn parse(body: &[u8]) -> usize {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    body["data"].as_array().unwrap().len()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize| arguments.get(i).unwrap_or_else(|| panic!("argument {i} is missing")).as_str();
    match argument(0) {
        "axum" => {
            let app = axum::Router::new().route("/predict", post(axum_constant));
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind(("127.0.0.1", argument(1).parse().unwrap())).await.unwrap();
                axum::serve(listener, app).await.unwrap();
            });
        }
        "hyper" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind(("127.0.0.1", argument(1).parse().unwrap())).await.unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    tokio::spawn(async move {
                        let connection = hyper::server::conn::http1::Builder::new()
                            .pipeline_flush(true)
                            .serve_connection(TokioIo::new(stream), service_fn(hyper_constant));
                        let _ = connection.await;
                    });
                }
            });
        }
        "load" => {
            let body = std::fs::read(argument(3)).unwrap();
            let request = [
                format!(
                    "POST {} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    argument(2),
                    body.len()
                )
                .into_bytes(),
                body,
            ]
            .concat();
            let rate = arguments.get(6).and_then(|rate| rate.parse().ok());
            let seconds = Duration::from_secs_f64(argument(5).parse().unwrap());
            load(argument(1), request, argument(4).parse().unwrap(), seconds, rate);
        }
        other => panic!("no mode {other:?}"),
    }
}

async fn axum_constant(body: axum::body::Bytes) -> ([(&'static str, &'static str); 1], &'static str) {
    assert!(parse(&body) > 0);
    ([("content-type", "application/json")], ANSWER)
}

async fn hyper_constant(request: hyper::Request<Incoming>) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    assert!(parse(&body) > 0);
    let answer = hyper::Response::builder().header("content-type", "application/json");
    Ok(answer.body(Full::new(Bytes::from_static(ANSWER.as_bytes()))).unwrap())
}

fn load(address: &str, request: Vec<u8>, connections: usize, length: Duration, rate: Option<f64>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let request: &'static [u8] = request.leak();
    let (mut latencies, refused) = runtime.block_on(async {
        let start = Instant::now();
        let tasks: Vec<_> = (0..connections)
            .map(|connection| {
                let address = address.to_owned();
                let due = rate.map(|rate: f64| (connection as f64 / rate, connections as f64 / rate));
                tokio::spawn(async move { one(&address, request, start, length, due).await })
            })
            .collect();
        let (mut all, mut refused) = (Vec::new(), 0);
        for task in tasks {
            let (latencies, others) = task.await.unwrap();
            all.extend(latencies);
            refused += others;
        }
        (all, refused)
    });
    latencies.sort_unstable();
    let quantile = |share: f64| {
        let at = ((latencies.len().max(1) - 1) as f64 * share) as usize;
        latencies.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
    };
    println!(
        "{}",
        serde_json::json!({
            "requests": latencies.len(), "refused": refused, "rate": latencies.len() as f64 / length.as_secs_f64(),
            "p50_us": quantile(0.5), "p99_us": quantile(0.99), "p999_us": quantile(0.999), "max_us": quantile(1.0),
        })
    );
}

/// Latencies of one connection, and how many answers were not 200. `due`: first and step of its schedule, seconds.
async fn one(
    address: &str,
    request: &'static [u8],
    start: Instant,
    length: Duration,
    due: Option<(f64, f64)>,
) -> (Vec<Duration>, usize) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut latencies, mut refused, mut buffer) = (Vec::with_capacity(1 << 16), 0, vec![0; 1 << 16]);
    for number in 0.. {
        let mut sent = Instant::now();
        if let Some((first, step)) = due {
            let at = start + Duration::from_secs_f64(first + step * f64::from(number));
            // Spinning: the runtime's timers are a millisecond coarse, twenty times what is measured.
            while Instant::now() < at {
                tokio::task::yield_now().await;
            }
            sent = at;
        }
        if start.elapsed() > length {
            break;
        }
        stream.write_all(request).await.unwrap();
        let mut filled = 0;
        let status = loop {
            let count = stream.read(&mut buffer[filled..]).await.unwrap();
            assert!(count > 0, "the server closed: {}", String::from_utf8_lossy(&buffer[..filled]));
            filled += count;
            if let Some(status) = whole(&buffer[..filled]) {
                break status;
            }
        };
        if status == b"200" {
            latencies.push(sent.elapsed());
        } else {
            refused += 1;
        }
    }
    (latencies, refused)
}

/// The status, once the answer is complete.
fn whole(answer: &[u8]) -> Option<&[u8]> {
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&answer[..head]).ok()?;
    let length: usize = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    })?;
    (answer.len() >= head + 4 + length).then(|| &answer[9..12])
}
