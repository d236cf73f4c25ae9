//! What a program needs from its host: sockets to serve on, signals, open files.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context, bail};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{debug, warn};

use crate::model::component::APP;
use crate::model::text;

/// The sockets that systemd has passed (`--web.systemd-socket`), at least one. They come by variables of the environment, which are
/// removed here: call this before there is another thread.
pub fn passed_sockets() -> anyhow::Result<Vec<std::net::TcpListener>> {
    let mut passed = listenfd::ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..passed.len() {
        let expected = "--web.systemd-socket: expected TCP sockets that listen (ListenStream=PORT)";
        let listener = passed.take_tcp_listener(index).context(expected)?;
        let listener = listener.context(expected)?;
        if !rustix::net::sockopt::socket_acceptconn(&listener)? {
            bail!("{expected}, got one that does not");
        }
        listener.set_nonblocking(true)?;
        listeners.push(listener);
    }
    if listeners.is_empty() {
        bail!(
            "--web.systemd-socket: no socket was passed (LISTEN_FDS): start this by a socket unit of systemd"
        );
    }
    Ok(listeners)
}

/// Binds one `--web.listen-address`. `:9075` means every address of this host, IPv4 and IPv6.
pub async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    if address.starts_with("vsock://") {
        bail!("vsock is not supported: expected HOST:PORT, such as :9075");
    }
    let Some((host, port)) = address.rsplit_once(':') else {
        bail!("expected HOST:PORT, such as :9075 or 127.0.0.1:9075");
    };
    let Ok(port) = port.parse::<u16>() else {
        bail!("expected a port from 0 to 65535 after the last colon");
    };
    let both_families = host.is_empty();
    let candidates: Vec<SocketAddr> = if both_families {
        // The second is for hosts without IPv6.
        vec![([0u16; 8], port).into(), ([0u8; 4], port).into()]
    } else {
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let found = tokio::net::lookup_host((name, port)).await;
        found
            .with_context(|| format!("cannot resolve {:?}", text::quote(name)))?
            .collect()
    };
    let mut last = None;
    for candidate in candidates {
        match bind(candidate, both_families) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                bail!("{candidate} is in use: stop what listens there, or choose another port");
            }
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(error) => anyhow::Error::new(error).context("cannot listen"),
        None => anyhow::anyhow!("{:?} has no address", text::quote(host)),
    })
}

/// Binds one `--grpc.listen-address`. Only addresses that no other host reaches: what is served there has neither TLS nor logins.
pub async fn listen_on_loopback(address: &str) -> anyhow::Result<TcpListener> {
    const EXPECTED: &str =
        "expected an address of this host alone, such as 127.0.0.1:9076 or [::1]:9076: there is no TLS here";
    if address.starts_with(':') {
        bail!(EXPECTED);
    }
    let listener = listen(address).await?;
    if !listener.local_addr()?.ip().to_canonical().is_loopback() {
        bail!(EXPECTED);
    }
    Ok(listener)
}

/// `both_families`: an IPv6 socket also serves IPv4, whatever net.ipv6.bindv6only is. Otherwise that setting decides for
/// `[::]`.
fn bind(address: SocketAddr, both_families: bool) -> io::Result<TcpListener> {
    /// Connections that wait to be accepted: more than `--web.max-connections`. The kernel's default limit is 4096.
    const BACKLOG: u32 = 1024;
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if both_families && address.is_ipv6() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    // A restart need not wait until the connections of the previous process are gone.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// SIGTERM or SIGINT, whichever comes first.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Waits for the first of them.
    pub async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// After this call the signals no longer end the process.
pub fn stop_signals() -> anyhow::Result<StopSignals> {
    Ok(StopSignals {
        terminate: signal(SignalKind::terminate()).context("cannot handle SIGTERM")?,
        interrupt: signal(SignalKind::interrupt()).context("cannot handle SIGINT")?,
    })
}

/// Raises the soft limit of open files to the hard limit: each SoC needs one.
pub fn raise_open_files() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => debug!(target: APP, limit, "open files"),
        Err(error) => warn!(target: APP, %error, "cannot raise the limit of open files"),
    }
}
