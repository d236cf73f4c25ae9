//! The door of a SoC: one task that listens, closes the door (`refuse`) and opens it again on the same port.
//!
//! It owns the connections' tasks: dropping it ends them all.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::accepted;
use super::fault::ConnectionFault;
use super::simulated_soc::{Control, Inner};

/// Connections that may wait to be accepted: during a hang, those of many redials.
const BACKLOG: u32 = 1024;
/// The wait before the next try if accepting or listening fails. Most likely no open files are left.
const PAUSE: Duration = Duration::from_millis(50);

/// Takes the address. SO_REUSEADDR, because earlier connections may still exist.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bind(address)?.listen(BACKLOG)
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

enum Door {
    Open(TcpListener),
    /// Bound but not listening: connections are refused, and no other process gets the port. `None` if binding failed too.
    Shut(Option<TcpSocket>),
}

impl Door {
    fn shut(self, address: SocketAddr) -> Self {
        match self {
            Self::Open(listener) => {
                drop(listener);
                Self::Shut(bind(address).ok())
            }
            shut => shut,
        }
    }

    fn open(self, address: SocketAddr) -> Self {
        match self {
            Self::Shut(socket) => match socket.map_or_else(|| bind(address), Ok) {
                Ok(socket) => socket.listen(BACKLOG).map_or(Self::Shut(None), Self::Open),
                Err(_) => Self::Shut(None),
            },
            open => open,
        }
    }
}

/// Accepts connections until the SoC is dropped.
pub(super) async fn run(listener: TcpListener, soc: Arc<Inner>, mut control: watch::Receiver<Control>) {
    let mut door = Door::Open(listener);
    let mut connections = JoinSet::new();
    loop {
        let fault = control.borrow_and_update().fault.clone();
        door = match fault {
            ConnectionFault::Refuse => door.shut(soc.address()),
            _ => door.open(soc.address()),
        };
        let again = !matches!(
            (&door, &fault),
            (Door::Open(_), _) | (Door::Shut(Some(_)), ConnectionFault::Refuse)
        );
        tokio::select! {
            biased;
            changed = control.changed() => if changed.is_err() {
                return;
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = accept(&door), if fault != ConnectionFault::Hang => match accepted {
                Ok(tcp) => {
                    connections.spawn(accepted::run(tcp, soc.clone(), soc.watch()));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            () = tokio::time::sleep(PAUSE), if again => {}
        }
    }
}

async fn accept(door: &Door) -> io::Result<tokio::net::TcpStream> {
    match door {
        Door::Open(listener) => Ok(listener.accept().await?.0),
        Door::Shut(_) => std::future::pending().await,
    }
}
