//! Accepts connections, secures each one with TLS if web.config.file asks for it, and has it served (`http_versions`).
//!
//! A panic in a connection ends that connection. A panic while accepting is logged, and accepting continues.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, warn};

use super::access::Access;
use super::client_socket::{ClientSocket, Standing};
use super::gate::{Admission, Gate};
use super::http_versions::{Serving, linger};
use super::out_of_date::OutOfDate;
use crate::model::Refusal;
use crate::model::component::WEB;
use crate::runtime::defect::caught;

/// Wait after an error of `accept` that may last, such as too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// The name by which ALPN chooses HTTP/2.
const ALPN_H2: &[u8] = b"h2";

/// Accepts from one listener.
pub(super) struct Server {
    pub(super) listener: TcpListener,
    pub(super) gate: Gate,
    pub(super) router: Router,
    pub(super) access: Arc<Access>,
    pub(super) connections: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl Server {
    /// Accepts until the stop.
    pub(super) async fn run(self) {
        // Started again only after a panic.
        while let Err(defect) = caught(Box::pin(self.accept())).await {
            error!(target: WEB, %defect, again_in = ?ACCEPT_AGAIN, "accepting web connections failed by a defect of this program, please report it");
            let _ = timeout(ACCEPT_AGAIN, self.stop.cancelled()).await;
        }
    }

    async fn accept(&self) {
        let mut told: Option<Instant> = None;
        loop {
            // Both arms are cancel-safe.
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => match self.admit(peer.ip()).await {
                    Ok(place) => self.spawn(stream, place),
                    Err(reason) => self.gate.refused(peer.ip(), reason, now()),
                },
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    if told.is_none_or(|told| told.elapsed() > Duration::from_secs(60)) {
                        told = Some(Instant::now());
                        warn!(target: WEB, %error, again_in = ?ACCEPT_AGAIN, "cannot accept a web connection");
                    }
                    let _ = timeout(ACCEPT_AGAIN, self.stop.cancelled()).await;
                }
            }
        }
    }

    /// The client may have closed an older connection just before. So if there is no place, the tasks of other connections get a
    /// chance to notice a close, before an idle connection is closed for this one.
    async fn admit(&self, peer: IpAddr) -> Result<Admission, Refusal> {
        if let Ok(place) = self.gate.admit(peer, now()) {
            return Ok(place);
        }
        tokio::task::yield_now().await;
        self.gate.admit_instead(peer, now())
    }

    fn spawn(&self, stream: TcpStream, place: Admission) {
        let standing = Standing::new(place);
        let serving = Serving {
            router: self.router.clone(),
            access: self.access.clone(),
            limits: self.gate.limits(),
            stop: self.stop.clone(),
            standing: standing.clone(),
            out_of_date: OutOfDate::default(),
        };
        self.connections.spawn(async move {
            let served = Box::pin(serve(stream, serving));
            // `None`: the gate has closed this connection and has already counted it.
            if let Some(Some(reason)) = either(served, standing.place().lost()).await {
                standing.place().refused(reason);
            }
        });
    }
}

/// The output of `work`, or `None` if `end` comes first. Cancel-safe if both are.
async fn either<T>(work: impl Future<Output = T>, end: impl Future<Output = ()>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = end => None,
    }
}

fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Whether only the connection that was being accepted has failed. Then the next one can be accepted at once.
fn is_of_the_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// Serves one connection to its end; returns the limit that ended it, if one did.
async fn serve(stream: TcpStream, serving: Serving) -> Option<Refusal> {
    // Head and first piece of an answer are one write, so delaying small packets (Nagle) gains nothing.
    let _ = stream.set_nodelay(true);
    let socket = ClientSocket::new(stream, serving.standing.clone(), serving.limits.untaken);
    let mut config = serving.access.config();
    let tls = config
        .borrow_and_update()
        .tls
        .as_ref()
        .map(|tls| tls.config.clone());
    let Some(tls) = tls else {
        return serving.http1(Box::new(socket), config).await;
    };
    match handshake(socket, tls, &serving).await {
        Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(ALPN_H2) => {
            serving.http2(Box::new(stream), config).await
        }
        Ok(stream) => serving.http1(Box::new(stream), config).await,
        Err(refusal) => refusal,
    }
}

/// From a socket to one that is secured; an error is the limit that ended it, if one did.
async fn handshake(
    socket: ClientSocket<TcpStream>,
    tls: Arc<ServerConfig>,
    serving: &Serving,
) -> Result<TlsStream<ClientSocket<TcpStream>>, Option<Refusal>> {
    let accepting = TlsAcceptor::from(tls).accept(socket).into_fallible();
    let accepted = tokio::select! {
        accepted = timeout(serving.limits.handshake, accepting) => accepted,
        () = serving.stop.cancelled() => return Err(None),
    };
    match accepted {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err((error, socket))) => {
            debug!(target: WEB, %error, "a TLS handshake with a web client failed");
            // The client can read our alert.
            linger(socket).await;
            Err(None)
        }
        Err(_) => Err(Some(Refusal::Handshake)),
    }
}
