//! One HTTP/2 connection from its TCP socket to its end. It drives h2, waits for the peer's proof, sends PINGs, and reports
//! what happens.
//!
//! `next` is cancel-safe: everything it waits for is kept in the struct.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::client::SendRequest;
use h2::{Ping, PingPong, Reason};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

use super::failure::Failure;
use super::keepalive::{Due, Keepalive};
use super::seen_frames::SeenFrames;
use super::sniffer::Sniffer;
use super::tls;
use crate::model::{Cause, Limit};
use crate::soc::arrivals::Arrivals;

/// Bytes. A SoC's headers are a few hundred bytes, and `transport` refuses more than 16 KiB. But `transport` sees only header
/// blocks that h2 has read to the end, and h2 closes a connection whose block comes in too many frames. This limit allows 320
/// frames. The sniffer limits the total size.
const MAX_HEADER_LIST: u32 = 4 * 1024 * 1024;
/// How long the RPCs in flight may continue after a GOAWAY: longer than a probe's default timeout.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// How many streams that we have reset (at a deadline) h2 remembers, because late frames may still come: several rounds of a
/// slow SoC.
const REMEMBERED_RESETS: usize = 64;
/// How long h2 remembers them. It answers later frames with another reset, which is correct but unnecessary work.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);
/// How many bytes of a stream a SoC may send before we read them. Replies are under 100 bytes.
const WINDOW: u32 = 16 * 1024;
/// How many bytes h2 may set aside for small frames before it closes the connection. No limit, for two reasons. The windows of
/// the streams are full first, and then the SoC just has to wait. And h2 never subtracts the frames of streams that we have
/// reset: with a limit, 4,000 late replies ended a connection.
const SMALL_FRAMES: usize = usize::MAX;

/// How often the socket is checked before a peer is given up. The second check is for the case that something had to be written
/// first.
const MOST_LOOKS: u8 = 2;

/// A timer that fires this late shows that this process gets too little CPU. tokio's own timers are up to 1 ms late.
const LATE: Duration = Duration::from_millis(5);

/// What happened on a connection.
#[derive(Debug)]
pub(super) enum Happened {
    /// The peer's SETTINGS have arrived: it speaks HTTP/2.
    Proven,
    /// Our PING was answered after this long.
    Pong(Duration),
    /// The peer accepts no new RPC. Those in flight may finish: see `drain`.
    GoAway {
        /// HTTP/2's error code.
        reason: Reason,
        /// For people. gRPC servers send `too_many_pings` here.
        debug: String,
    },
    /// The connection is closed.
    Lost(Failure),
}

/// A live connection.
#[derive(Debug)]
pub(super) struct Connection<IO: AsyncRead + AsyncWrite + Unpin> {
    h2: h2::client::Connection<Sniffer<IO>, Bytes>,
    ping: PingPong,
    seen: Arc<SeenFrames>,
    arrivals: Arc<Arrivals>,
    /// How often the socket was checked, since the last PING, for an answer that has already arrived.
    looks: u8,
    proven: bool,
    /// We have sent a PING.
    pinged: bool,
    keepalive: Keepalive,
    timer: Pin<Box<Sleep>>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// Sends our preface over `io` and starts the keepalive. Without `keepalive_time`, a PING is sent only when `ask_for_ping`
    /// is called. Success here proves nothing about the peer.
    pub(super) async fn open(
        io: IO,
        arrivals: Arc<Arrivals>,
        keepalive_time: Option<Duration>,
        keepalive_timeout: Duration,
    ) -> Result<(Self, SendRequest<Bytes>), Failure> {
        let (io, seen) = Sniffer::new(io, arrivals.clone());
        let (requests, mut h2) = h2::client::Builder::new()
            .enable_push(false)
            .max_header_list_size(MAX_HEADER_LIST)
            .max_concurrent_reset_streams(REMEMBERED_RESETS)
            .reset_stream_duration(REMEMBERED_FOR)
            // The sniffer limits these. h2 would close the connection after a total number of late replies, however slowly they
            // come.
            .max_local_error_reset_streams(None)
            .initial_window_size(WINDOW)
            .data_frame_budget(SMALL_FRAMES)
            .handshake(io)
            .await
            .map_err(|error| failure_of(&error, &seen))?;
        let ping = h2
            .ping_pong()
            .ok_or_else(|| Failure::new(Cause::Local, "h2 gave no handle for PINGs"))?;
        let now = Instant::now();
        let connection = Self {
            h2,
            ping,
            seen,
            arrivals,
            looks: 0,
            proven: false,
            pinged: false,
            keepalive: Keepalive::new(keepalive_time, keepalive_timeout, now.into_std()),
            // `poll_keepalive` sets the right time.
            timer: Box::pin(tokio::time::sleep_until(now)),
        };
        Ok((connection, requests))
    }

    /// The next thing that happens. Must not be called again after `Lost`.
    pub(super) async fn next(&mut self) -> Happened {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// What has arrived and was not reported yet. Called at a deadline, because this process may be late.
    pub(super) fn look(&mut self) -> Option<Happened> {
        self.arrivals.ask();
        self.next().now_or_never()
    }

    /// When data arrived on this connection.
    pub(super) fn arrivals(&self) -> Arc<Arrivals> {
        self.arrivals.clone()
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        self.arrivals.driven_by(cx.waker());
        self.seen.new_turn();
        // h2 first: after a pause of this process (a suspended machine) the answer may be there although the timer has fired.
        let over = match Pin::new(&mut self.h2).poll(cx) {
            Poll::Pending => None,
            Poll::Ready(Ok(())) => Some(
                self.seen
                    .other_protocol()
                    .unwrap_or_else(|| Failure::new(Cause::Closed, "the peer closed the connection")),
            ),
            Poll::Ready(Err(error)) => Some(failure_of(&error, &self.seen)),
        };
        if let Some(goaway) = self.seen.take_goaway() {
            return Poll::Ready(Happened::GoAway {
                reason: Reason::from(goaway.code),
                debug: String::from_utf8_lossy(&goaway.debug).escape_debug().collect(),
            });
        }
        if let Some(failure) = over {
            return Poll::Ready(Happened::Lost(failure));
        }
        if !self.proven && self.seen.settings() {
            self.proven = true;
            return Poll::Ready(Happened::Proven);
        }
        self.poll_keepalive(cx)
    }

    fn poll_keepalive(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        loop {
            if let Poll::Ready(Ok(_)) = self.ping.poll_pong(cx)
                && let now = Instant::now().into_std()
                && let Some(rtt) = self.keepalive.answered(now)
            {
                // The answer may have waited in the socket.
                let lay = now.saturating_duration_since(self.arrivals.last());
                return Poll::Ready(Happened::Pong(rtt.saturating_sub(lay)));
            }
            match self.keepalive.due(Instant::now().into_std()) {
                // After `ask_for_ping` the caller polls this again.
                Due::Nothing(None) => return Poll::Pending,
                Due::Nothing(Some(until)) => {
                    let until = Instant::from_std(until);
                    if self.timer.deadline() != until {
                        self.timer.as_mut().reset(until);
                    }
                    if self.timer.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
                // Replies that arrived while this process got no CPU must not be mixed with the answer to this PING: the kernel
                // gives one time stamp for everything that is read together.
                Due::Ping if self.looks == 0 && self.timer.deadline().elapsed() > LATE => {
                    return self.look_first(cx);
                }
                Due::Ping => {
                    // It cannot fail here: no other PING is in flight, and a closed connection was noticed above.
                    let _ = self.ping.send_ping(Ping::opaque());
                    self.pinged = true;
                    self.keepalive.sent(Instant::now().into_std());
                    self.looks = 0;
                }
                // The answer may be in the socket, because this process may be late. It counts.
                Due::GiveUp if self.looks < MOST_LOOKS => return self.look_first(cx),
                Due::GiveUp => {
                    let detail = "no answer to our PING";
                    return Poll::Ready(Happened::Lost(Failure::new(Cause::KeepaliveTimeout, detail)));
                }
            }
        }
    }

    /// Reads what is in the socket before it does anything else.
    fn look_first(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        self.looks += 1;
        self.arrivals.ask();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// A PING is sent with the next poll, unless one is in flight.
    pub(super) fn ask_for_ping(&mut self) {
        self.keepalive.ask(Instant::now().into_std());
    }

    /// Whether any part of a reply has arrived since this was last called.
    pub(super) fn take_reply(&self) -> bool {
        self.seen.take_reply()
    }

    /// Whether a PING may have been sent to the peer.
    pub(super) fn has_pinged(&self) -> bool {
        self.pinged
    }

    /// Lets the RPCs in flight finish after a GOAWAY, for `DRAIN_TIME` at most.
    pub(super) async fn drain(mut self) {
        let end = poll_fn(|cx| {
            self.arrivals.driven_by(cx.waker());
            self.seen.new_turn();
            Pin::new(&mut self.h2).poll(cx)
        });
        // The callers see the result of each RPC. How the connection ends was reported already.
        let _ = tokio::time::timeout(DRAIN_TIME, end).await;
    }
}

fn failure_of(error: &h2::Error, seen: &SeenFrames) -> Failure {
    if let Some(failure) = seen.other_protocol() {
        return failure;
    }
    if let Some(io) = error.get_io() {
        return seen.failure().cloned().unwrap_or_else(|| tls::of_io(io));
    }
    // h2's own limits for empty DATA and CONTINUATION frames. The SoC did not send this error, so the text must say that we
    // closed.
    if error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
        return Failure::new(Cause::Protocol, format!("{}: {error}", Limit::Frames));
    }
    let cause = if error.is_remote() {
        Cause::Goaway
    } else {
        Cause::Protocol
    };
    Failure::new(cause, error.to_string())
}
