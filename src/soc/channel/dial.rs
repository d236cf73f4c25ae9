//! From an address to a connected socket. The source address is bound here.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::failure::Failure;
use crate::model::component::CHANNEL;
use crate::model::{Cause, SourceAddress};

/// Connects TCP to the first of the addresses that can be reached, from `source`. Each gets an equal share of the time that is
/// left. The last one has no limit: the caller drops this at `deadline`.
pub(super) async fn first_of(
    addresses: &[SocketAddr],
    source: &SourceAddress,
    deadline: Instant,
) -> Result<(TcpStream, IpAddr), Failure> {
    let mut failed = Failure::new(Cause::Resolve, "the name has no address");
    for (n, address) in addresses.iter().enumerate() {
        let dial = tcp(*address, source);
        let left = u32::try_from(addresses.len() - n).unwrap_or(u32::MAX);
        let dialed = match left {
            1 => dial.await,
            left => {
                let share = deadline.saturating_duration_since(Instant::now()) / left;
                timeout(share, dial).await.unwrap_or_else(|_| {
                    let text = format!("no TCP connection to {address} within {share:?}");
                    Err(Failure::new(Cause::ConnectTimeout, text))
                })
            }
        };
        match dialed {
            Ok(stream) => return Ok((stream, address.ip())),
            Err(failure) => failed = failure,
        }
    }
    Err(failed)
}

/// Connects TCP from `source`. It has no time limit of its own: the caller drops it at its deadline.
pub(super) async fn tcp(address: SocketAddr, source: &SourceAddress) -> Result<TcpStream, Failure> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
    .map_err(|error| connect_failure(&error))?;
    bind(&socket, address, source)?;
    let stream = socket
        .connect(address)
        .await
        .map_err(|error| connect_failure(&error))?;
    // Queries and PINGs are tiny. Waiting to fill a segment would only add latency.
    stream
        .set_nodelay(true)
        .map_err(|error| Failure::from_io(&error))?;
    Ok(stream)
}

fn bind(socket: &TcpSocket, address: SocketAddr, source: &SourceAddress) -> Result<(), Failure> {
    let ip = match source {
        SourceAddress::Any => return Ok(()),
        SourceAddress::Prefer(ip) if ip.is_ipv4() != address.is_ipv4() => return Ok(()),
        SourceAddress::Prefer(ip) | SourceAddress::Fixed(ip) => *ip,
        SourceAddress::Missing(why) => return Err(Failure::new(Cause::SourceAddress, why.clone())),
    };
    match (socket.bind(SocketAddr::new(ip, 0)), source) {
        (Ok(()), _) => Ok(()),
        (Err(error), SourceAddress::Prefer(_)) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            debug!(target: CHANNEL, %address, source = %ip, "the source address is not on this host: the kernel chooses one");
            Ok(())
        }
        (Err(error), _) => {
            let detail = format!("cannot bind the source address {ip}: {error}");
            Err(Failure::new(Cause::SourceAddress, detail))
        }
    }
}

fn connect_failure(error: &io::Error) -> Failure {
    use io::ErrorKind as Kind;
    let cause = match error.kind() {
        Kind::ConnectionRefused => Cause::Refused,
        Kind::ConnectionReset => Cause::Reset,
        Kind::TimedOut => Cause::ConnectTimeout,
        Kind::AddrNotAvailable => Cause::SourceAddress,
        // No route, EPERM from a firewall, an address family that is disabled: in all these cases the peer cannot be reached.
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown | Kind::PermissionDenied => {
            Cause::Unreachable
        }
        // ENFILE, EMFILE, ENOMEM, ENOBUFS: no file descriptors or no memory. The problem is on this machine.
        _ if matches!(error.raw_os_error(), Some(23 | 24 | 12 | 105)) => Cause::Local,
        _ => Cause::Unreachable,
    };
    Failure::new(cause, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[tokio::test]
    async fn a_port_nobody_listens_on_is_refused() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        drop(listener);
        let failure = tcp(address, &SourceAddress::Any).await.expect_err("refused");
        assert_eq!(failure.cause, Cause::Refused);
    }

    #[tokio::test]
    async fn a_source_address_of_another_host_is_named() {
        let address = "127.0.0.1:9".parse().expect("address");
        let source = SourceAddress::Fixed("192.0.2.1".parse().expect("documentation address"));
        let failure = tcp(address, &source).await.expect_err("cannot bind");
        assert_eq!(failure.cause, Cause::SourceAddress);
        assert!(failure.detail.contains("192.0.2.1"), "{failure}");
    }

    #[tokio::test]
    async fn a_connection_comes_from_the_source_address() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let source: IpAddr = "127.9.8.7".parse().expect("address");
        for wanted in [SourceAddress::Fixed(source), SourceAddress::Prefer(source)] {
            let (dialed, accepted) = tokio::join!(tcp(address, &wanted), listener.accept());
            dialed.expect("dialed");
            assert_eq!(accepted.expect("accepted").1.ip(), source, "{wanted:?}");
        }
    }

    #[tokio::test]
    async fn a_preferred_source_address_that_cannot_serve_is_left_out() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        for elsewhere in ["192.0.2.1", "2001:db8::1"] {
            let source = SourceAddress::Prefer(elsewhere.parse().expect("documentation address"));
            tcp(address, &source).await.expect("dialed");
        }
        let source = SourceAddress::Missing("no Loopback3".into());
        let failure = tcp(address, &source).await.expect_err("nothing to bind");
        assert_eq!(failure, Failure::new(Cause::SourceAddress, "no Loopback3"));
    }
}
