//! Accepts connections and serves each with HTTP/2. A panic in a connection ends that connection; after one while accepting,
//! accepting continues.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, warn};

use super::client_places::{ClientPlace, ClientPlaces};
use super::counted_socket::CountedSocket;
use super::surface_calls::Calls;
use super::{MOST_CALLS, MOST_CLIENTS, WINDOW};
use crate::model::component::GRPC;
use crate::runtime::bucket::Bucket;
use crate::runtime::defect::caught;

/// Wait after an error of `accept` that may last, such as too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How often such an error, and that a client was refused, is logged.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Bytes of requests of all calls of a connection that may wait to be read. It is HTTP/2's own default.
const CONNECTION_WINDOW: u32 = 65_535;
/// Bytes of a request's headers.
const HEADER_SIZE: u32 = 16 * 1024;
/// Bytes of an answer that wait in h2. Small: h2 counts only them, not what it keeps with each piece of them, and a Watch has
/// pieces of 7 bytes.
const SEND_BUFFER: usize = 64;
/// How often a client is asked whether it is still there, and how long it may take to answer.
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// Accepts from one listener.
pub(super) struct SurfaceListener {
    pub(super) listener: TcpListener,
    pub(super) calls: Calls,
    pub(super) places: ClientPlaces,
    pub(super) clients: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl SurfaceListener {
    /// Accepts until the stop.
    pub(super) async fn run(self) {
        // Started again only after a panic.
        while let Err(defect) = caught(Box::pin(self.accept())).await {
            error!(target: GRPC, %defect, again_in = ?ACCEPT_AGAIN, "accepting gRPC clients failed by a defect of this program, please report it");
            let _ = timeout(ACCEPT_AGAIN, self.stop.cancelled()).await;
        }
    }

    async fn accept(&self) {
        let mut lines = Bucket::new(1, TELL_EVERY);
        loop {
            // Both arms are cancel-safe.
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let now = Instant::now();
            match accepted {
                Ok((stream, client)) => match self.places.take(now) {
                    Some(place) => self.spawn(stream, place),
                    None if lines.take(now) => {
                        warn!(target: GRPC, %client, limit = MOST_CLIENTS, "a gRPC client was refused: all connections are in use");
                    }
                    None => {}
                },
                Err(error) => {
                    if lines.take(now) {
                        warn!(target: GRPC, %error, again_in = ?ACCEPT_AGAIN, "cannot accept a gRPC client");
                    }
                    let _ = timeout(ACCEPT_AGAIN, self.stop.cancelled()).await;
                }
            }
        }
    }

    fn spawn(&self, stream: TcpStream, place: ClientPlace) {
        let (calls, stop) = (self.calls.clone(), self.stop.clone());
        self.clients
            .spawn(async move { Box::pin(serve(stream, calls, Arc::new(place), stop)).await });
    }
}

/// Serves one client to its end.
async fn serve(stream: TcpStream, calls: Calls, place: Arc<ClientPlace>, stop: CancellationToken) {
    // An answer is one write, so delaying small packets (Nagle) gains nothing.
    let _ = stream.set_nodelay(true);
    let mut socket = CountedSocket::new(stream);
    {
        let service = service_fn(|request| calls.clone().answer(request, place.clone()));
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MOST_CALLS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEADER_SIZE)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_WITHIN)
            .serve_connection(TokioIo::new(&mut socket), service);
        let mut connection = pin!(connection);
        let mut stopping = false;
        loop {
            // All arms are cancel-safe: the connection's state is in `connection`.
            tokio::select! {
                ended = &mut connection => {
                    if let Err(error) = ended {
                        debug!(target: GRPC, %error, "a gRPC connection ended");
                    }
                    break;
                }
                () = place.lost() => return,
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
    // Its place is free already for another client.
    drop((calls, place));
    if let Some(excess) = socket.excess() {
        debug!(target: GRPC, reason = excess.text(), "a gRPC client does too much");
        socket.farewell(excess).await;
    }
}
