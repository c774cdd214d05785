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

/// Ctrl-C and SIGTERM, caught from the moment that this value is made: a signal that comes before somebody waits for it ends the
/// server as one that comes later, with its requests answered.
#[derive(Debug)]
pub struct Shutdown {
    #[cfg(unix)]
    signals: [tokio::signal::unix::Signal; 2],
}

impl Shutdown {
    /// Catches the signals from now on (elsewhere than on Unix, from the first wait); within a Tokio runtime. A server makes it
    /// before it says where it listens, and not before it is started: Ctrl-C must end a start that hangs.
    ///
    /// # Errors
    /// When the system does not let the process catch them.
    pub fn catch() -> std::io::Result<Self> {
        #[cfg(unix)]
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            #[cfg(unix)]
            signals: [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?],
        })
    }

    /// Waits until a signal has come.
    pub async fn requested(mut self) {
        #[cfg(unix)]
        {
            let [interrupt, terminate] = &mut self.signals;
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        }
        #[cfg(not(unix))]
        drop(tokio::signal::ctrl_c().await);
    }
}
