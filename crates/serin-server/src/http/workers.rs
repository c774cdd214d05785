//! The data plane's listener: one thread a core, each with its own event loop and its own connections.
//!
//! A request is read, scored and answered on one thread, without waking another: a runtime that moves tasks between
//! threads costs a fifth of the throughput. New connections go to the thread that has fewest. Beyond the limit a
//! connection gets an immediate 503, so those that are in keep their latency; a connection has one request under way,
//! so what waits is bounded by it too.

use crate::http::error::ApiError;
use crate::routes::{DataPlane, data_plane};
use crate::scoring::handlers::predicted;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::Method;
use axum::response::IntoResponse;
use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tower_service::Service;

/// Refusals under way at once; beyond it connections are closed without a word.
const REFUSALS: usize = 256;
const REFUSAL: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 66\r\n\r\n{\"detail\":\"too many connections; come back in a second, or reuse\"}";

/// How many may connect, and how long they may take.
#[derive(Debug, Clone, Copy)]
pub struct Connections {
    /// Threads; each has an event loop.
    pub threads: usize,
    /// Open connections; more are refused.
    pub most: usize,
    /// For the head of a request, and for the pause before it.
    pub head: Duration,
    /// For a whole request, from its head to its answer.
    pub request: Duration,
}

impl Default for Connections {
    /// A thread a core, 4,096 connections, 30 s and 30 s.
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            most: 4096,
            head: Duration::from_secs(30),
            request: Duration::from_secs(30),
        }
    }
}

/// A listener that answers; see [`Self::stop`].
#[derive(Debug)]
pub struct Workers {
    /// Where.
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// What the acceptor knows of a worker.
struct Worker {
    connections: mpsc::UnboundedSender<std::net::TcpStream>,
    open: Arc<AtomicUsize>,
}

impl Workers {
    /// Answers what comes to `listener` by the routes of the data plane.
    ///
    /// # Errors
    /// When threads or event loops cannot be made.
    pub fn start(listener: std::net::TcpListener, state: &DataPlane, limits: Connections) -> io::Result<Self> {
        let router = data_plane(state.clone());
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let (mut threads, mut workers) = (Vec::new(), Vec::new());
        for number in 0..limits.threads.max(1) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (connections, assigned) = mpsc::unbounded_channel();
            let open = Arc::new(AtomicUsize::new(0));
            workers.push(Worker { connections, open: Arc::clone(&open) });
            let routed = Routed { state: state.clone(), router: router.clone(), limit: limits.request };
            let stopped = stopped.clone();
            let work = move || runtime.block_on(answer(assigned, routed, open, stopped, limits));
            threads.push(std::thread::Builder::new().name(format!("worker-{number}")).spawn(work)?);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || runtime.block_on(accept(listener, workers, stopped, limits.most));
        threads.push(std::thread::Builder::new().name("acceptor".to_owned()).spawn(work)?);
        Ok(Self { address, stop, threads })
    }

    /// Takes no new connections, lets requests under way end, at most for `patience`, and returns whether they did.
    pub async fn stop(self, patience: Duration) -> bool {
        // An error would say that all threads have ended, which is as good.
        let _ = self.stop.send(true);
        let ended = tokio::task::spawn_blocking(move || self.threads.into_iter().all(|thread| thread.join().is_ok()));
        tokio::time::timeout(patience, ended).await.is_ok_and(|ended| ended.unwrap_or(false))
    }
}

async fn accept(
    listener: std::net::TcpListener,
    workers: Vec<Worker>,
    mut stopped: watch::Receiver<bool>,
    most: usize,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let refusals = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = tokio::select! {
            _ = stopped.changed() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: the open connections go on.
                    tracing::warn!("a connection cannot be accepted: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            }
        };
        let all: usize = workers.iter().map(|worker| worker.open.load(Ordering::Relaxed)).sum();
        let fewest = workers.iter().min_by_key(|worker| worker.open.load(Ordering::Relaxed));
        match (fewest, stream.into_std()) {
            (Some(worker), Ok(stream)) if all < most => {
                worker.open.fetch_add(1, Ordering::Relaxed);
                if worker.connections.send(stream).is_err() {
                    worker.open.fetch_sub(1, Ordering::Relaxed);
                }
            }
            (_, Ok(stream)) if refusals.load(Ordering::Relaxed) < REFUSALS => {
                refusals.fetch_add(1, Ordering::Relaxed);
                let refusals = Arc::clone(&refusals);
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(Duration::from_secs(1), refuse(stream)).await;
                    refusals.fetch_sub(1, Ordering::Relaxed);
                });
            }
            _ => {}
        }
    }
}

/// Says no, and waits for the other side to have heard it: closing at once could take the answer back.
async fn refuse(stream: std::net::TcpStream) -> io::Result<()> {
    let mut stream = TcpStream::from_std(stream)?;
    stream.write_all(REFUSAL.as_bytes()).await?;
    stream.shutdown().await?;
    let (mut ignored, mut read) = ([0; 1024], 0);
    while read < 1 << 16 {
        match stream.read(&mut ignored).await? {
            0 => break,
            count => read += count,
        }
    }
    Ok(())
}

/// The life of one thread.
async fn answer(
    mut assigned: mpsc::UnboundedReceiver<std::net::TcpStream>,
    routed: Routed,
    open: Arc<AtomicUsize>,
    mut stopped: watch::Receiver<bool>,
    limits: Connections,
) {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head).pipeline_flush(true);
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            loop {
                let stream = tokio::select! {
                    _ = stopped.changed() => break,
                    stream = assigned.recv() => match stream {
                        Some(stream) => stream,
                        None => break,
                    }
                };
                let Ok(stream) = TcpStream::from_std(stream) else {
                    open.fetch_sub(1, Ordering::Relaxed);
                    continue;
                };
                // An error means that the other side is gone already; the connection finds out by itself.
                let _ = stream.set_nodelay(true);
                let connection = builder.serve_connection(TokioIo::new(stream), routed.clone());
                let (open, mut stopped) = (Open(Arc::clone(&open)), stopped.clone());
                tokio::task::spawn_local(async move {
                    // Counted as open until here, also when a request panics.
                    let _open = open;
                    let mut connection = std::pin::pin!(connection);
                    // What breaks a connection is the client's affair: it is gone, or was too slow.
                    let _ = tokio::select! {
                        ended = connection.as_mut() => ended,
                        _ = stopped.changed() => {
                            connection.as_mut().graceful_shutdown();
                            connection.await
                        }
                    };
                });
            }
        })
        .await;
    // Stopped: idle connections close, those with a request under way end it.
    local.await;
}

/// One open connection.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The routes as hyper calls them.
#[derive(Clone)]
struct Routed {
    state: DataPlane,
    router: Router,
    limit: Duration,
}

type Answer = axum::response::Response;

impl hyper::service::Service<hyper::Request<Incoming>> for Routed {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>>>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let (state, mut router, limit) = (self.state.clone(), self.router.clone(), self.limit);
        Box::pin(async move {
            let answered = async {
                if let Some(keys) = &state.keys
                    && !keys.admit(request.uri().path(), request.headers())
                {
                    return Ok(ApiError::NoKey.into_response());
                }
                // The one route that is all of the traffic goes past the router, which costs as much as scoring does.
                if request.method() == Method::POST && request.uri().path() == "/predict" {
                    let most = state.limits.body_bytes;
                    let body = whole(request.into_body(), most).await;
                    return Ok(predicted(&state, body));
                }
                let request: Request = request.map(Body::new);
                router.call(request).await
            };
            match tokio::time::timeout(limit, answered).await {
                Ok(answered) => answered,
                Err(_) => {
                    let mut late = Answer::new(Body::from(
                        "{\"detail\":\"the request was not complete in time; send it faster, or raise --request-timeout\"}",
                    ));
                    *late.status_mut() = axum::http::StatusCode::REQUEST_TIMEOUT;
                    late.headers_mut().insert("content-type", axum::http::HeaderValue::from_static("application/json"));
                    late.headers_mut().insert("connection", axum::http::HeaderValue::from_static("close"));
                    Ok(late)
                }
            }
        })
    }
}

/// The whole body, at most `most` bytes.
async fn whole(mut body: Incoming, most: usize) -> Result<Bytes, ApiError> {
    if body.size_hint().lower() > most as u64 {
        return Err(ApiError::TooLarge(most));
    }
    let mut gathered: Option<BytesMut> = None;
    let mut first = Bytes::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::Unreadable(format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if gathered.as_ref().map_or(first.len(), BytesMut::len) + data.len() > most {
            return Err(ApiError::TooLarge(most));
        }
        match &mut gathered {
            Some(gathered) => gathered.extend_from_slice(&data),
            None if first.is_empty() => first = data,
            None => gathered.insert(BytesMut::from(&first[..])).extend_from_slice(&data),
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(gathered.map_or(first, BytesMut::freeze))
}

#[cfg(test)]
mod tests {
    use super::REFUSAL;

    #[test]
    fn the_refusal_has_the_length_it_says() {
        let (head, body) = REFUSAL.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
    }
}
