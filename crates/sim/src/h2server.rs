//! HTTP/2 on one connection: accepts calls, runs them, and sends GOAWAY when asked.
//!
//! The calls run in this task, in a `FuturesUnordered`. So a call that is answered at once needs no spawn and no wake-up, and
//! freezing the task freezes the whole connection.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use http::Request;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::fault::{FloodFrame, GoAway, H2Code};
use super::server_wire::{GOAWAY, Io, Raw, Socket, Wire, frame};
use super::simulated_soc::{Control, Inner};
use super::{raw_frames, rpc};

/// The highest possible stream: "everything that you have sent will be answered".
const LAST_STREAM: u32 = 0x7fff_ffff;

/// Serves until the connection ends. `goaways`: how many GOAWAYs there were when the connection was accepted.
pub(super) async fn serve(
    socket: Arc<Socket>,
    soc: Arc<Inner>,
    mut control: watch::Receiver<Control>,
    goaways: u64,
    flood: Option<FloodFrame>,
) {
    let Some(io) = secured(&socket, &soc).await else {
        return;
    };
    let Ok(mut connection) = handshake(&socket, io, &soc).await else {
        return;
    };
    let mut calls = FuturesUnordered::new();
    let mut flooding = pin!(async {
        match flood {
            Some(frame) => socket.inject_for_ever(&raw_frames::flood(frame)).await,
            None => pending().await,
        }
    });
    // Set with the GOAWAY: whether h2 itself waits for the streams to end, and when the grace ends.
    let mut leaving: Option<(bool, Instant)> = None;
    loop {
        let grace_ends = leaving.map(|(_, end)| end);
        let drained_by_us = matches!(leaving, Some((false, _)));
        tokio::select! {
            biased;
            Ok(()) = control.changed(), if leaving.is_none() => {
                let now = control.borrow_and_update();
                if now.goaways != goaways {
                    let graceful = say_goaway(&mut connection, &socket, &now.goaway);
                    leaving = Some((graceful, Instant::now() + now.goaway.grace()));
                }
            }
            () = socket.too_many_pings(), if leaving.is_none() => {
                let goaway = GoAway {
                    code: H2Code::EnhanceYourCalm,
                    debug: "too_many_pings".to_owned(),
                    grace: None,
                };
                let graceful = say_goaway(&mut connection, &socket, &goaway);
                leaving = Some((graceful, Instant::now() + goaway.grace()));
            }
            Some(()) = calls.next(), if !calls.is_empty() => {}
            () = &mut flooding => {}
            call = next_call(&mut connection, &socket, drained_by_us) => match call {
                Some((request, respond)) => {
                    let socket = socket.clone();
                    calls.push(rpc::serve(soc.clone(), socket, control.clone(), request, respond));
                }
                None => return,
            },
            () = sleep_until(grace_ends.unwrap_or_else(Instant::now)), if grace_ends.is_some() => {
                return;
            }
        }
    }
}

/// The stream for HTTP/2. `None` if the TLS handshake failed; rustls has sent the client an alert.
async fn secured(socket: &Arc<Socket>, soc: &Inner) -> Option<Io> {
    let raw = Raw::new(socket.clone());
    let Some(tls) = soc.with_state(|state| state.tls.clone()) else {
        return Some(Io::Plain(raw));
    };
    let stream = tls.acceptor().ok()?.accept(raw).await.ok()?;
    Some(Io::Tls(Box::new(stream)))
}

async fn handshake(socket: &Arc<Socket>, io: Io, soc: &Inner) -> Result<Connection<Wire, Bytes>, h2::Error> {
    let mut builder = Builder::new();
    builder
        // After a hang there may be very many calls that were cancelled. h2 would treat them as an attack and send a GOAWAY,
        // which is not the configured fault.
        .max_pending_accept_reset_streams(100_000)
        .max_concurrent_reset_streams(1_000);
    if let Some(max) = soc.with_state(|state| state.max_concurrent_streams) {
        builder.max_concurrent_streams(max);
    }
    builder.handshake(Wire::new(socket.clone(), io)).await
}

/// Sends the client a GOAWAY. Returns whether h2 itself ends the connection after the streams in flight.
fn say_goaway(connection: &mut Connection<Wire, Bytes>, socket: &Socket, goaway: &GoAway) -> bool {
    let graceful = goaway.code == H2Code::NoError;
    if !graceful || !goaway.debug.is_empty() {
        let last = if graceful {
            LAST_STREAM
        } else {
            socket.last_stream()
        };
        let mut payload = Vec::with_capacity(8 + goaway.debug.len());
        payload.extend_from_slice(&last.to_be_bytes());
        payload.extend_from_slice(&(goaway.code as u32).to_be_bytes());
        payload.extend_from_slice(goaway.debug.as_bytes());
        socket.inject(&frame(GOAWAY, 0, &payload));
    }
    if graceful {
        connection.graceful_shutdown();
    }
    graceful
}

/// The next call. `None` at the end of the connection, or when h2 has closed it with an error. Cancel-safe, because `accept`
/// and `drained` are: what has arrived stays in the connection.
async fn next_call(
    connection: &mut Connection<Wire, Bytes>,
    socket: &Socket,
    drained_by_us: bool,
) -> Option<(Request<RecvStream>, SendResponse<Bytes>)> {
    if drained_by_us {
        drained(connection, socket).await;
        return None;
    }
    connection.accept().await?.ok()
}

/// Waits until our own GOAWAY was sent and the streams in flight have ended. Cancel-safe: it holds nothing.
async fn drained(connection: &mut Connection<Wire, Bytes>, socket: &Socket) {
    poll_fn(|cx| {
        let closed = connection.poll_closed(cx).is_ready();
        if closed || (socket.injected() && !connection.has_streams()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
