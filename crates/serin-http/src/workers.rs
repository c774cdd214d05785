//! A listener for many small requests: one thread a core, each with its own event loop and its own connections.
//!
//! A request is read, scored and answered on one thread, without waking another: a runtime that moves tasks between
//! threads costs a fifth of the throughput. New connections go to the thread that has fewest. Beyond the limit a
//! connection gets an immediate 503, so those that are in keep their latency; a connection has one request under way,
//! so what waits is bounded by it too.

use crate::connection::{self, Answers};
use crate::tls::Tls;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

/// Refusals under way at once; beyond it connections are closed without a word.
const REFUSALS: usize = 256;
const REFUSAL: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 66\r\n\r\n{\"detail\":\"too many connections; come back in a second, or reuse\"}";

/// Limits on the number of connections and on their time.
#[derive(Debug, Clone, Copy)]
pub struct Connections {
    /// Number of threads, each with an event loop.
    pub threads: usize,
    /// Most connections open at once; more are refused.
    pub most: usize,
    /// Most time for the head of a request, and for the pause before it.
    pub head: Duration,
    /// Most time for a whole request, from its head to its answer.
    pub request: Duration,
}

impl Default for Connections {
    /// Default limits: a thread a core, 4,096 connections, 30 s and 30 s.
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
    /// Address that the listener is bound to.
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// Channel to one worker, and the number of its open connections.
struct Worker {
    connections: mpsc::UnboundedSender<std::net::TcpStream>,
    open: Arc<AtomicUsize>,
}

impl Workers {
    /// Answers what comes to `listener` by `service`, encrypted where `tls` is there.
    ///
    /// # Errors
    /// When threads or event loops cannot be made.
    pub fn start<S: Answers>(
        listener: std::net::TcpListener,
        service: &S,
        limits: Connections,
        tls: Option<&Arc<Tls>>,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let (mut threads, mut workers) = (Vec::new(), Vec::new());
        for number in 0..limits.threads.max(1) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (connections, assigned) = mpsc::unbounded_channel();
            let open = Arc::new(AtomicUsize::new(0));
            workers.push(Worker { connections, open: Arc::clone(&open) });
            let routed = service.clone();
            let (stopped, tls) = (stopped.clone(), tls.cloned());
            let work = move || runtime.block_on(answer(assigned, routed, open, stopped, limits, tls));
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
async fn answer<S: Answers>(
    mut assigned: mpsc::UnboundedReceiver<std::net::TcpStream>,
    routed: S,
    open: Arc<AtomicUsize>,
    mut stopped: watch::Receiver<bool>,
    limits: Connections,
    tls: Option<Arc<Tls>>,
) {
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
                let (open, stopped) = (Open(Arc::clone(&open)), stopped.clone());
                let (routed, tls) = (routed.clone(), tls.clone());
                tokio::task::spawn_local(async move {
                    // Counted as open until here, also when a request panics.
                    let _open = open;
                    connection::converse(stream, routed, tls.as_deref(), stopped, limits.head).await;
                });
            }
        })
        .await;
    // Stopped: idle connections close, those with a request under way end it.
    local.await;
}

/// Counts one open connection; dropping it takes it off the count.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
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
