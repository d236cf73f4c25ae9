//! Serves HTTP on a connection: HTTP/1, and HTTP/2 if the client has chosen it during the TLS handshake (ALPN).
//!
//! hyper handles both, with limits for headers. `client_socket` limits the time for reading an answer. HTTP/2 has many requests
//! on one connection, and hyper does not limit their time, so [`Serving::http2`] looks twice a second whether the connection waits
//! for a request or an answer is not read. HTTP/2 without TLS is not served, as Go's servers do not either.
//!
//! If a request is refused while the client still sends, the exporter reads on for a moment: otherwise the kernel would send a
//! reset, and the client could not read the answer. A panic while a request is answered becomes a 500 for that request.
//!
//! A connection that was accepted before web.config.file changed ends after its request, and its event stream at once, so that what
//! was removed from the file stops counting.

use std::convert::Infallible;
use std::future::poll_fn;
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
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::access::{Access, InForce};
use super::client_socket::{Exchange, Standing};
use super::error_form::ErrorForm;
use super::limits::Limits;
use super::out_of_date::OutOfDate;
use super::peer_address::PeerAddress;
use crate::model::Refusal;
use crate::model::component::WEB;
use crate::runtime::defect::{Defect, caught};

/// How long an ended connection is still read from, so that the client can read its answer.
const LINGER: Duration = Duration::from_secs(1);
/// Most bytes that are then read.
const LINGER_BYTES: usize = 256 * 1024;
/// How often an HTTP/2 connection is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long an HTTP/2 connection that was told to end may take, if no request is open. A client that has read its answers ends it
/// at once.
const END_WITHIN: Duration = Duration::from_secs(5);

/// What serving a connection needs.
pub(super) struct Serving {
    pub(super) router: Router,
    pub(super) access: Arc<Access>,
    pub(super) limits: Limits,
    pub(super) stop: CancellationToken,
    pub(super) standing: Arc<Standing>,
    pub(super) out_of_date: OutOfDate,
}

/// A client's stream, plain or TLS. One type for both keeps the program small: hyper's machines are compiled once.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

type Answered = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

fn failed(defect: &Defect, form: ErrorForm) -> Response<Body> {
    error!(target: WEB, %defect, "a web request failed by a defect of this program, please report it");
    let text = "the request failed because of a defect of the exporter; its log has the details";
    let close = [(axum::http::header::CONNECTION, "close")];
    let answer = form.answer(StatusCode::INTERNAL_SERVER_ERROR, "defect", text);
    (close, answer).into_response()
}

/// An answer's body that reports its progress and its end.
struct Answering {
    body: Body,
    exchange: Exchange,
}

impl http_body::Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.exchange.goes_on();
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Ends when web.config.file has changed.
async fn outdated(config: &mut InForce) {
    if config.changed().await.is_err() {
        // Nothing can change any more.
        std::future::pending::<()>().await;
    }
}

impl Serving {
    /// Answers one request, whatever happens.
    fn answer(&self, mut request: Request<Incoming>) -> Answered {
        request.extensions_mut().insert(self.out_of_date.clone());
        let peer = PeerAddress(self.standing.place().peer());
        request.extensions_mut().insert(peer);
        let exchange = self.standing.asked(!request.body().is_end_stream());
        let (access, router) = (self.access.clone(), self.router.clone());
        let (uri, began) = (request.uri().clone(), Instant::now());
        Box::pin(async move {
            let answering = access.clone().answer(router, request);
            let mut response = match caught(Box::pin(answering)).await {
                Ok(Ok(response)) => response,
                Err(defect) => failed(&defect, access.error_form(&uri)),
            };
            access.add_headers(&mut response);
            access.answered(&uri, response.status(), began.elapsed());
            Ok(response.map(|body| Body::new(Answering { body, exchange })))
        })
    }

    /// Serves HTTP/1 to its end; returns the limit that ended it, if one did.
    pub(super) async fn http1(self, stream: Box<dyn Stream>, mut config: InForce) -> Option<Refusal> {
        let service = service_fn(|request| self.answer(request));
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header)
            .max_header_size(Limits::HEADER_SIZE)
            // This also limits the unsent part of an answer, to this size and one piece.
            .max_buf_size(Limits::HEADER_SIZE)
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        let mut stopping = false;
        let outcome = loop {
            // All arms are cancel-safe: the connection's state is in `connection`.
            tokio::select! {
                outcome = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break outcome,
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
                () = outdated(&mut config), if !self.out_of_date.0.is_cancelled() => {
                    self.out_of_date.0.cancel();
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        let standing = &self.standing;
        let late = match &outcome {
            Err(error) if error.is_timeout() => standing.owes(),
            // A body ends in an error only if the shelf has dropped the answer (answer.rs).
            Err(error) => standing.untaken() || error.is_user(),
            Ok(()) => false,
        };
        if let Err(error) = &outcome {
            debug!(target: WEB, %error, "a web connection ended");
        }
        let mut stream = connection.into_parts().io.into_inner();
        if late || stopping {
            return late.then_some(Refusal::Timeout);
        }
        if outcome.is_err() || standing.leaves_unread() {
            linger(stream).await;
        } else {
            // Over TLS, this says that the answer is complete.
            let _ = tokio::time::timeout(LINGER, stream.shutdown()).await;
        }
        None
    }

    /// Serves HTTP/2 to its end; returns the limit that ended it, if one did.
    pub(super) async fn http2(self, stream: Box<dyn Stream>, mut config: InForce) -> Option<Refusal> {
        let service = service_fn(|request| self.answer(request));
        let mut connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(Limits::STREAMS)
            .max_header_list_size(Limits::HEADER_SIZE as u32)
            .max_send_buf_size(Limits::HEADER_SIZE)
            .keep_alive_interval(self.limits.ping_every)
            .keep_alive_timeout(self.limits.pong_within)
            .serve_connection(TokioIo::new(stream), service);
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let began = Instant::now();
        let mut ending: Option<Instant> = None;
        let mut stopping = false;
        let outcome = loop {
            // All arms are cancel-safe: the connection's state is in `connection`.
            tokio::select! {
                outcome = &mut connection => break outcome,
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
                () = outdated(&mut config), if !self.out_of_date.0.is_cancelled() => {
                    self.out_of_date.0.cancel();
                    Pin::new(&mut connection).graceful_shutdown();
                }
                now = look.tick() => {
                    if self.standing.is_stalled(now, self.limits.untaken) {
                        return Some(Refusal::Timeout);
                    }
                    let idle = self.standing.is_idle(now, self.limits.header);
                    match ending {
                        Some(since) if idle && now - since >= END_WITHIN => return Some(Refusal::Timeout),
                        None if idle || now - began >= self.limits.age => {
                            ending = Some(now);
                            Pin::new(&mut connection).graceful_shutdown();
                        }
                        _ => {}
                    }
                }
            }
        };
        if let Err(error) = &outcome {
            debug!(target: WEB, %error, "a web connection ended");
        }
        // hyper's own time-out: a PING was not answered.
        let is_gone = outcome.is_err_and(|error| error.is_timeout());
        let late = is_gone || self.standing.untaken() || self.standing.has_never_asked() && ending.is_some();
        late.then_some(Refusal::Timeout)
    }
}

/// Closes our direction, and reads what the client still sends.
pub(crate) async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S) {
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
