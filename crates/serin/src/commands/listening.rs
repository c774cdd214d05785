//! A listening server: bound, answering, drained on SIGTERM.

use anyhow::Context;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};

/// Requests under way get this long to end after SIGTERM.
pub(crate) const DRAIN: Duration = Duration::from_secs(30);

/// Connections that may wait to be accepted: a crowd of clients that starts at once fits, and none has to try again.
const BACKLOG: u32 = 4096;

/// A socket that listens; within a Tokio runtime.
pub(crate) fn bind(host: IpAddr, port: u16) -> anyhow::Result<std::net::TcpListener> {
    let listen = || {
        let socket = if host.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A server that is started again need not wait for the last one's connections to be forgotten.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind((host, port).into())?;
        socket.listen(BACKLOG)?.into_std()
    };
    listen()
        .with_context(|| format!("cannot listen on {host}:{port}; choose another --port or stop what listens there"))
}

/// A server that answers; see [`Listening::stop`].
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    stop: tokio::sync::watch::Sender<bool>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Listening {
    pub(crate) async fn start(host: IpAddr, port: u16, router: axum::Router) -> anyhow::Result<Self> {
        let listener = bind(host, port)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let server = axum::serve(listener, router).with_graceful_shutdown(async move {
            // An error means that the sender is gone, which is a stop too.
            let _ = stopped.changed().await;
        });
        Ok(Self { address, stop, server: tokio::spawn(async move { server.await }) })
    }

    /// Takes no new connections, lets requests under way end, and returns.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(true);
        if tokio::time::timeout(DRAIN, self.server).await.is_err() {
            tracing::warn!("connections were still open {} s after the stop; closing them", DRAIN.as_secs());
        }
    }
}

pub(crate) async fn shutdown_signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
        match terminate {
            Ok(mut terminate) => {
                tokio::select! { _ = interrupt => {}, _ = terminate.recv() => {} }
            }
            Err(_) => drop(interrupt.await),
        }
    }
    #[cfg(not(unix))]
    drop(interrupt.await);
}
