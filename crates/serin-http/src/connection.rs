//! The life of one connection: TLS, HTTP/1 or HTTP/2, and who answers a request.

use crate::tls::Tls;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// First bytes of a client that speaks HTTP/2 without TLS (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Most requests under way on one HTTP/2 connection; more wait at the client.
const STREAMS: u32 = 128;
/// Time between two looks at first bytes that are too few to tell.
const AGAIN: Duration = Duration::from_millis(2);

/// An answer under way. It stays on the thread of its connection.
pub type Answering = Pin<Box<dyn Future<Output = Result<Answer, Infallible>>>>;

/// The answer to one request.
pub type Answer = axum::response::Response;

/// Answers requests as hyper hands them over; each connection has a copy.
pub trait Answers:
    hyper::service::Service<hyper::Request<Incoming>, Response = Answer, Error = Infallible, Future = Answering>
    + Clone
    + Send
    + 'static
{
}

impl<S> Answers for S where
    S: hyper::service::Service<hyper::Request<Incoming>, Response = Answer, Error = Infallible, Future = Answering>
        + Clone
        + Send
        + 'static
{
}

/// Answers until the client goes, is too slow (`patience` for the handshake and for the head of a request), or the
/// server stops. What breaks a connection is the client's affair.
pub(crate) async fn converse<S: Answers>(
    stream: TcpStream,
    routed: S,
    tls: Option<&Tls>,
    stopped: watch::Receiver<bool>,
    patience: Duration,
) {
    match tls {
        None => {
            if let Ok(Ok(http2)) = tokio::time::timeout(patience, speaks_http2(&stream)).await {
                serve(stream, http2, routed, stopped, patience).await;
            }
        }
        Some(tls) => {
            let Ok(Ok(stream)) = tokio::time::timeout(patience, tls.acceptor().accept(stream)).await else { return };
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            serve(stream, http2, routed, stopped, patience).await;
        }
    }
}

/// True if the bytes that wait to be read begin HTTP/2; they stay unread.
async fn speaks_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut first).await?;
        if count == 0 || !PREFACE.starts_with(&first[..count]) {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn serve<S: Answers>(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    http2: bool,
    routed: S,
    mut stopped: watch::Receiver<bool>,
    patience: Duration,
) {
    // The same words twice: hyper's two kinds of connections share no trait.
    if http2 {
        let mut builder = hyper::server::conn::http2::Builder::new(SameThread);
        builder.timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
        let watched = Watched { routed, activity: Rc::default() };
        let activity = Rc::clone(&watched.activity);
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), watched));
        let _ = tokio::select! {
            ended = connection.as_mut() => ended,
            () = idle(&activity, patience) => return,
            _ = stopped.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
    } else {
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(patience).pipeline_flush(true);
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), routed));
        let _ = tokio::select! {
            ended = connection.as_mut() => ended,
            _ = stopped.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
    }
}

/// Requests of one HTTP/2 connection: begun so far, and under way.
#[derive(Default)]
struct Activity {
    begun: Cell<u64>,
    open: Cell<u64>,
}

/// Ends when nothing was asked for so long; HTTP/1 has a limit of its own.
async fn idle(activity: &Activity, patience: Duration) {
    let mut seen = None;
    while activity.open.get() > 0 || seen != Some(activity.begun.get()) {
        seen = Some(activity.begun.get());
        tokio::time::sleep(patience).await;
    }
}

/// Counts what is asked.
struct Watched<S> {
    routed: S,
    activity: Rc<Activity>,
}

/// One request under way, whatever ends it.
struct UnderWay(Rc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.open.update(|open| open - 1);
    }
}

impl<S: Answers> hyper::service::Service<hyper::Request<Incoming>> for Watched<S> {
    type Response = Answer;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        self.activity.begun.update(|begun| begun + 1);
        self.activity.open.update(|open| open + 1);
        let under_way = UnderWay(Rc::clone(&self.activity));
        let answered = self.routed.call(request);
        Box::pin(async move {
            let _under_way = under_way;
            answered.await
        })
    }
}

/// Runs what HTTP/2 starts for a connection on the connection's own thread.
#[derive(Clone)]
struct SameThread;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for SameThread {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
