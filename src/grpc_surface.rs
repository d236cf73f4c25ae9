//! The exporter's own gRPC services (`--grpc.listen-address`): health of each target, server reflection, InfoService.
//!
//! They only read. What is served comes from the one `View`, which is made anew when a target begins or ceases to serve, not for each
//! request: see `health_board`. Everything runs on a thread of its own with low priority, so no client delays a probe or a scrape.
//! Without the flag nothing of this exists.
//!
//! | module | what it holds |
//! |---|---|
//! | `health_board` | which service has which status; the task that keeps it |
//! | `health_answers` | Check, List, Watch |
//! | `reflection_answers` | server reflection (pure) |
//! | `info_answers` | InfoService in both dialects (pure) |
//! | `surface_method` | the methods, by their paths (pure) |
//! | `surface_calls` | from a request to its answer |
//! | `request_messages` | the messages that a client sends, and their limits |
//! | `answer_body` | the messages that a client gets |
//! | `serve_client` | accepts a connection and serves it with HTTP/2 |
//! | `client_places` | how many connections there may be, and which one makes room |
//! | `counted_socket` | a client's socket: counts frames and PINGs, ends a client that reads nothing |
//! | `ping_policy` | how often a client may send a PING (pure) |
//!
//! Why not tonic's server: with it neither PINGs nor the memory of all clients together can be limited. Why not tonic-reflection: it
//! reads the descriptors when the program starts, for which it needs prost-types in the program, and answers an unknown name by
//! ending the stream, where the protocol wants an error and the next question. The table that it would make is made by the build
//! (crates/proto).
//!
//! What a client may cost: `MOST_CLIENTS` connections, `MOST_CALLS` calls on each. A call holds at most `WINDOW` bytes of requests,
//! longer ones share `LONG_REQUESTS`. Of a Watch only the newest status waits for the client.
//!
//! Imports `model`, `runtime`; from `soc` how frames are counted (`channel`), from `web` the source of views and how a connection
//! ends. It does not import the fleet.

mod answer_body;
mod client_places;
mod counted_socket;
mod health_answers;
mod health_board;
mod info_answers;
mod ping_policy;
mod reflection_answers;
mod request_messages;
mod serve_client;
mod surface_calls;
mod surface_method;

use std::io;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::runtime::low_thread::on_low_thread;
use crate::web::ViewSource;
use client_places::ClientPlaces;
use serve_client::SurfaceListener;
use surface_calls::Calls;

/// Connections, over all listeners. A health checker needs one.
pub const MOST_CLIENTS: usize = 32;
/// Calls at a time on one connection.
const MOST_CALLS: u32 = 100;
/// Bytes of requests that a client may send ahead on one call. A real request has a few dozen.
const WINDOW: u32 = 4 * 1024;
/// Bytes of the requests over `WINDOW`, of all clients together, that may wait for their end.
const LONG_REQUESTS: usize = 2 * 1024 * 1024;

/// What the services need.
#[derive(Clone)]
pub struct GrpcSurface {
    /// Makes a view of this moment.
    pub view: ViewSource,
    /// Whether `/-/ready` answers 200.
    pub ready: watch::Receiver<bool>,
    /// Reports that a target serves or no longer does, or that targets came or went.
    pub changed: watch::Receiver<()>,
}

impl std::fmt::Debug for GrpcSurface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrpcSurface").finish_non_exhaustive()
    }
}

/// Serves the listeners until `stop`, then ends all calls. If the future is dropped, it ends at once.
pub async fn serve(
    listeners: Vec<TcpListener>,
    surface: GrpcSurface,
    stop: CancellationToken,
) -> io::Result<()> {
    // A socket belongs to one tokio runtime: take it out of this one, for the runtime of the thread.
    let listeners = listeners.into_iter().map(TcpListener::into_std);
    let listeners = listeners.collect::<io::Result<Vec<_>>>()?;
    on_low_thread("grpc", move || accept_all(listeners, surface, stop)).await
}

/// Accepts until the stop, then waits until all connections have ended.
async fn accept_all(
    listeners: Vec<std::net::TcpListener>,
    surface: GrpcSurface,
    stop: CancellationToken,
) -> io::Result<()> {
    let (keeping, board) = health_board::keep(surface);
    let keeping = tokio::spawn(stop.clone().run_until_cancelled_owned(keeping));
    let (calls, places) = (Calls::new(board.clone(), stop.clone()), ClientPlaces::default());
    let clients = TaskTracker::new();
    let mut accepting = Vec::new();
    for listener in listeners {
        let listener = SurfaceListener {
            listener: TcpListener::from_std(listener)?,
            calls: calls.clone(),
            places: places.clone(),
            clients: clients.clone(),
            stop: stop.clone(),
        };
        accepting.push(listener.run());
    }
    // Before the first view every port would be unknown. Clients that come earlier wait for this.
    if health_board::is_read(board).await {
        futures_util::future::join_all(accepting).await;
    } else {
        stop.cancelled().await;
    }
    clients.close();
    clients.wait().await;
    let _ = keeping.await;
    Ok(())
}
