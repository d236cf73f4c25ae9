//! A TCP port for a program that cannot choose a free one itself.

use std::net::IpAddr;

use tokio::net::TcpSocket;

/// A port of one address. While this exists, the kernel chooses it for no one, neither for a server that asks for any port nor for a
/// client. A program that is given its number can listen on it, also more than once, if it sets SO_REUSEADDR, as servers do.
#[derive(Debug)]
pub struct ReservedPort {
    number: u16,
    /// Bound, and does not listen.
    _socket: TcpSocket,
}

impl ReservedPort {
    /// An IPv4 address.
    pub fn on(ip: IpAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option");
        socket.bind((ip, 0).into()).expect("a port");
        Self {
            number: socket.local_addr().expect("an address").port(),
            _socket: socket,
        }
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_reserved_port_is_for_those_who_know_its_number() {
        let reserved = ReservedPort::on(Ipv4Addr::LOCALHOST.into());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, reserved.number()));
        for _ in 0..2 {
            let refused = TcpStream::connect(address).expect_err("no one listens");
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            let server = TcpListener::bind(address).expect("free");
            let client = TcpStream::connect(address).expect("a server");
            let (served, _) = server.accept().expect("a client");
            // The server closes first: its side of the connection stays for a while.
            drop((served, server));
            drop(client);
        }
        let other = TcpSocket::new_v4().expect("a socket");
        let taken = other.bind(address).expect_err("without SO_REUSEADDR");
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    }
}
