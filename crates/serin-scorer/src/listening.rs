//! What every server does: bind, and drain on SIGTERM.

use anyhow::Context;
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::TcpSocket;

/// Requests under way get this long to end after SIGTERM.
pub const DRAIN: Duration = Duration::from_secs(30);

/// Connections that may wait to be accepted: a crowd of clients that starts at once fits, and none has to try again.
const BACKLOG: u32 = 4096;

/// A socket that listens; within a Tokio runtime.
///
/// # Errors
/// When the address is taken or not this machine's, with the way out.
pub fn bind(host: IpAddr, port: u16) -> anyhow::Result<std::net::TcpListener> {
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

/// Waits for Ctrl-C or SIGTERM.
pub async fn shutdown_signal() {
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
