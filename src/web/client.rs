//! Accepts connections, serves each one, and ends it: when the client closes it, over a limit, or at the stop.
//!
//! hyper handles HTTP and limits the time for a request header. `client_socket` limits the time for reading an answer. If a
//! request is refused while the client still sends, the exporter reads on for a moment: otherwise the kernel would send a reset,
//! and the client could not read the answer.
//!
//! A panic while a request is answered becomes a 500 for that request. Any other panic in a connection ends that connection. A
//! panic while accepting is logged, and accepting continues.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, warn};

use super::client_socket::{ClientSocket, Standing};
use super::gate::{Admission, Gate};
use super::limits::Limits;
use super::routes;
use crate::model::Refusal;
use crate::model::component::WEB;
use crate::runtime::defect::caught;

/// Wait after an error of `accept` that may last, such as too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How long an ended connection is still read from, so that the client can read its answer.
const LINGER: Duration = Duration::from_secs(1);
/// Most bytes that are then read.
const LINGER_BYTES: usize = 256 * 1024;

/// Accepts from one listener.
pub(super) struct Server {
    pub(super) listener: TcpListener,
    pub(super) gate: Gate,
    pub(super) router: Router,
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
        let (router, stop) = (self.router.clone(), self.stop.clone());
        let limits = self.gate.limits();
        self.connections.spawn(async move {
            let standing = Standing::new(place);
            let served = serve(stream, router, limits, &stop, &standing);
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

type Answered = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

fn failed(defect: &crate::runtime::defect::Defect) -> Response<Body> {
    error!(target: WEB, %defect, "a web request failed by a defect of this program, please report it");
    let text = "the request failed because of a defect of the exporter; its log has the details\n";
    let close = [(axum::http::header::CONNECTION, "close")];
    (StatusCode::INTERNAL_SERVER_ERROR, close, text).into_response()
}

/// An answer's body that reports its end to `standing`.
struct Answering {
    body: Body,
    standing: Arc<Standing>,
}

impl http_body::Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.standing.answered();
    }
}

/// Serves one connection to its end; returns the limit that ended it, if one did.
async fn serve(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    stop: &CancellationToken,
    standing: &Arc<Standing>,
) -> Option<Refusal> {
    // Head and first piece of an answer are one write, so delaying small packets (Nagle) gains nothing.
    let _ = stream.set_nodelay(true);
    let socket = ClientSocket::new(stream, standing.clone(), limits.untaken);
    let asked = standing.clone();
    let service = service_fn(move |request: Request<Incoming>| -> Answered {
        asked.asked(!request.body().is_end_stream());
        let (answering, standing) = (routes::answer(router.clone(), request), asked.clone());
        Box::pin(async move {
            let response = match caught(Box::pin(answering)).await {
                Ok(Ok(response)) => response,
                Err(defect) => failed(&defect),
            };
            Ok(response.map(|body| Body::new(Answering { body, standing })))
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_header_size(Limits::HEADER_SIZE)
        // This also limits the unsent part of an answer, to this size and one piece.
        .max_buf_size(Limits::HEADER_SIZE)
        .half_close(true)
        .serve_connection(TokioIo::new(socket), service);
    let mut stopping = false;
    let outcome = loop {
        // Both arms are cancel-safe: the connection's state is in `connection`.
        tokio::select! {
            outcome = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break outcome,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let late = match &outcome {
        Err(error) if error.is_timeout() => standing.owes(),
        // A body ends in an error only if the shelf has dropped the answer (answer.rs).
        Err(error) => standing.untaken() || error.is_user(),
        Ok(()) => false,
    };
    if let Err(error) = &outcome {
        debug!(target: WEB, %error, "a web connection ended");
    }
    let unread = outcome.is_err() || standing.leaves_unread();
    if unread && !late && !stopping {
        linger(connection.into_parts().io.into_inner()).await;
    }
    late.then_some(Refusal::Timeout)
}

/// Closes our direction, and reads what the client still sends.
async fn linger(mut socket: ClientSocket<TcpStream>) {
    let reading = async {
        socket.shutdown().await?;
        let mut scratch = [0; 4096];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match socket.read(&mut scratch).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok::<_, std::io::Error>(())
    };
    tokio::select! {
        // The outcome does not matter.
        _ = reading => {}
        () = sleep(LINGER) => {}
    }
}
