//! One attempt to connect, in stages: TCP, then TLS (if it is used) and our preface, then the peer's proof that it speaks
//! HTTP/2. The channel begins a stage when the previous one has succeeded.
//!
//! All stages share one deadline. A stage that misses it checks once more before it fails, because this process may be late and
//! not the peer. Each `wait` is cancel-safe: what it waits for is kept in the struct, and it awaits nothing after it has taken
//! a result.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::client::SendRequest;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::connection::{Connection, Happened};
use super::dial;
use super::failure::Failure;
use super::name_lookup;
use super::socket::Socket;
use super::tls::{self, SocStream, Witness};
use crate::model::{Cause, ChannelSettings, Endpoint, Security};
use crate::soc::arrivals::Arrivals;

type Stage<T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send>>;

/// A TCP connection with the address that was reached, and the TLS material.
type Reached = ((TcpStream, IpAddr), Option<Arc<tls::Material>>);

/// TCP is not up yet.
pub(super) struct Dialing {
    timeout: Duration,
    deadline: Instant,
    dial: Stage<Reached>,
}

/// A TCP connection, and the TLS material for it.
pub(super) struct Dialed {
    tcp: TcpStream,
    /// Of the addresses of a name, the one that was reached.
    ip: IpAddr,
    material: Option<Arc<tls::Material>>,
    deadline: Instant,
}

impl Dialing {
    /// Dials `endpoint`. `set`: the certificate files, if TLS is used.
    pub(super) fn begin(
        endpoint: Endpoint,
        settings: Arc<ChannelSettings>,
        set: Option<Arc<tls::Set>>,
    ) -> Self {
        let (now, timeout) = (Instant::now(), settings.dial_timeout());
        let deadline = now + timeout;
        let dial = async move {
            if let Security::Unusable(why) = &settings.security {
                return Err(Failure::new(Cause::TlsConfig, why.clone()));
            }
            // Before TCP: the SoC need not see that we have no certificate to show.
            let material = match set {
                Some(set) => Some(set.material(deadline).await?),
                None => None,
            };
            let addresses = name_lookup::addresses(&endpoint, now, timeout).await?;
            let dialed = dial::first_of(&addresses, &settings.source_address, deadline).await?;
            Ok((dialed, material))
        };
        Self {
            timeout,
            deadline,
            dial: Box::pin(dial),
        }
    }

    /// The TCP connection, or why there is none.
    pub(super) async fn wait(&mut self) -> Result<Dialed, Failure> {
        let mut dialed = timeout_at(self.deadline, self.dial.as_mut()).await;
        if dialed.is_err() {
            // This process may be late and not the peer: poll once more.
            tokio::task::yield_now().await;
            dialed = self.dial.as_mut().now_or_never().map_or(dialed, Ok);
        }
        let late = |_| {
            let text = format!("no TCP connection within {:?}", self.timeout);
            Failure::new(Cause::ConnectTimeout, text)
        };
        let ((tcp, ip), material) = dialed.map_err(late)??;
        Ok(Dialed {
            tcp,
            ip,
            material,
            deadline: self.deadline,
        })
    }
}

/// TCP is up. TLS, if it is used, is not up yet, and our preface has not been sent.
pub(super) struct Opening {
    deadline: Instant,
    opening: Stage<(Box<Connection<SocStream>>, SendRequest<Bytes>)>,
    /// What the handshake has seen so far.
    pub(super) witness: Arc<Witness>,
    arrivals: Arc<Arrivals>,
}

impl Opening {
    /// Does the TLS handshake and opens the connection to `endpoint`. `time` and `timeout`: its keepalive.
    pub(super) fn begin(
        dialed: Dialed,
        endpoint: Endpoint,
        time: Option<Duration>,
        timeout: Duration,
    ) -> Self {
        let Dialed {
            tcp,
            ip,
            material,
            deadline,
        } = dialed;
        let witness = Arc::new(Witness::default());
        let of_handshake = witness.clone();
        let (tcp, arrivals) = Socket::new(tcp);
        let of_connection = arrivals.clone();
        let opening = async move {
            let stream = match material {
                Some(material) => tls::handshake(tcp, (&endpoint, ip), &material, of_handshake).await?,
                None => SocStream::plain(tcp),
            };
            let (connection, requests) = Connection::open(stream, of_connection, time, timeout).await?;
            Ok((Box::new(connection), requests))
        };
        Self {
            deadline,
            opening: Box::pin(opening),
            witness,
            arrivals,
        }
    }

    /// The connection after our preface was sent, or why there is none.
    pub(super) async fn wait(&mut self) -> Result<Proving, Failure> {
        let mut opened = timeout_at(self.deadline, self.opening.as_mut()).await;
        if opened.is_err() {
            // This process may be late and not the peer.
            self.arrivals.ask();
            opened = self.opening.as_mut().now_or_never().map_or(opened, Ok);
        }
        let opened = opened.map_err(|_| {
            let text = "TCP is up, but the TLS handshake did not finish";
            Failure::new(Cause::KeepaliveTimeout, text)
        })?;
        let opened = opened.map_err(|failure| tls::of_silence(failure, &self.witness));
        opened.map(|(connection, requests)| Proving {
            deadline: self.deadline,
            connection,
            requests,
            witness: self.witness.clone(),
        })
    }
}

/// The preface has been sent. The peer must prove that it speaks HTTP/2.
pub(super) struct Proving {
    deadline: Instant,
    pub(super) connection: Box<Connection<SocStream>>,
    /// For the transport, once the peer has proven itself.
    pub(super) requests: SendRequest<Bytes>,
    pub(super) witness: Arc<Witness>,
}

impl Proving {
    /// What happens on the connection, or why waiting makes no sense any more.
    pub(super) async fn wait(&mut self) -> Result<Happened, Failure> {
        match timeout_at(self.deadline, self.connection.next()).await {
            Ok(happened) => Ok(happened),
            Err(_) => self.connection.look().ok_or_else(|| {
                let text = "TCP is up, but the peer did not prove that it speaks HTTP/2";
                Failure::new(Cause::KeepaliveTimeout, text)
            }),
        }
    }
}
