//! One HTTP/2 connection from its TCP socket to its end: drives h2, proves the peer, sends PINGs, reports what happened.
//!
//! `next` is cancel-safe: everything it waits for lives in the struct.

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
use crate::model::{Cause, Limit};
use crate::soc::arrivals::Arrivals;

/// A SoC's headers are a few hundred bytes, and `transport` refuses those over 16 KiB. But it can do so only with what h2 has read to
/// its end, and h2 gives up the connection of a peer that sends a block in too many pieces: with this limit in more than 320. What
/// it is in all is bounded by the sniffer.
const MAX_HEADER_LIST: u32 = 4 * 1024 * 1024;
/// How long the RPCs in flight may go on after a GOAWAY: longer than any probe's usual deadline.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// Streams that we reset (a deadline) and whose late frames are still expected: several rounds of a slow SoC.
const REMEMBERED_RESETS: usize = 64;
/// How long they are remembered. Later frames are answered with a reset: correct, but more work than needed.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);
/// How much of a stream a SoC may send ahead of our reading: replies are under 100 bytes.
const WINDOW: u32 = 16 * 1024;
/// What h2 may set aside for small frames, before it ends the connection: it counts 256 bytes for each of them, less what is in
/// it, until it is read. No limit: the streams' windows are full first, and a SoC that has much to announce just has to wait. And h2
/// never takes off its count what belonged to streams that we have reset: 4,000 late replies were the end of a connection.
const SMALL_FRAMES: usize = usize::MAX;

/// Looks into the socket before a peer is given up. One is enough, unless there was something to write first.
const MOST_LOOKS: u8 = 2;

/// A timer that fires so much later than it should is a sign that we get too little CPU; tokio's own are up to 1 ms late.
const LATE: Duration = Duration::from_millis(5);

/// What happened on a connection.
#[derive(Debug)]
pub(super) enum Happened {
    /// The peer's SETTINGS are in: it speaks HTTP/2.
    Proven,
    /// Our PING was answered after this long.
    Pong(Duration),
    /// The peer will take no new RPC. Those in flight may finish: see `drain`.
    GoAway {
        /// HTTP/2's error code.
        reason: Reason,
        /// For people; servers send `too_many_pings` here.
        debug: String,
    },
    /// It is over.
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
    /// Sends our preface over `io` and starts the keepalive (no `keepalive_time`: PINGs only when asked for). That this succeeds
    /// says nothing about the peer.
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
            // The sniffer sees to that: h2 would end the connection after so many late replies in all, however slowly they come.
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
            // `poll_keepalive` sets it.
            timer: Box::pin(tokio::time::sleep_until(now)),
        };
        Ok((connection, requests))
    }

    /// The next thing that happens. Not to be called again after `Lost`.
    pub(super) async fn next(&mut self) -> Happened {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// What has come in and was not reported yet: we may have noticed a deadline of ours late.
    pub(super) fn look(&mut self) -> Option<Happened> {
        self.arrivals.ask();
        self.next().now_or_never()
    }

    /// When things happened on it.
    pub(super) fn arrivals(&self) -> Arc<Arrivals> {
        self.arrivals.clone()
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        self.arrivals.driven_by(cx.waker());
        self.seen.new_turn();
        // h2 first: after a pause of our own (a suspended machine) the answer may be in although the timer has fired.
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
                // It may have lain in the socket.
                let lay = now.saturating_duration_since(self.arrivals.last());
                return Poll::Ready(Happened::Pong(rtt.saturating_sub(lay)));
            }
            match self.keepalive.due(Instant::now().into_std()) {
                // The caller that asks for a PING polls us after that.
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
                // Replies that came in while we got no CPU must not be mixed with the answer to this PING: the kernel stamps
                // what is read at one go as a whole.
                Due::Ping if self.looks == 0 && self.timer.deadline().elapsed() > LATE => {
                    return self.look_first(cx);
                }
                Due::Ping => {
                    // It cannot fail here: no other PING is out, and a closed connection was noticed above.
                    let _ = self.ping.send_ping(Ping::opaque());
                    self.pinged = true;
                    self.keepalive.sent(Instant::now().into_std());
                    self.looks = 0;
                }
                // The answer may be in the socket, and we are late: what is there counts.
                Due::GiveUp if self.looks < MOST_LOOKS => return self.look_first(cx),
                Due::GiveUp => {
                    let detail = "no answer to our PING";
                    return Poll::Ready(Happened::Lost(Failure::new(Cause::KeepaliveTimeout, detail)));
                }
            }
        }
    }

    /// Reads what is in the socket before anything else.
    fn look_first(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        self.looks += 1;
        self.arrivals.ask();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// A PING goes out with the next poll, unless one is out already.
    pub(super) fn ask_for_ping(&mut self) {
        self.keepalive.ask(Instant::now().into_std());
    }

    /// Whether the peer may have been sent a PING.
    pub(super) fn has_pinged(&self) -> bool {
        self.pinged
    }

    /// Lets the RPCs in flight finish after a GOAWAY, for a while.
    pub(super) async fn drain(mut self) {
        let end = poll_fn(|cx| {
            self.arrivals.driven_by(cx.waker());
            self.seen.new_turn();
            Pin::new(&mut self.h2).poll(cx)
        });
        // The callers see the outcome of each RPC; how the connection ends was reported already.
        let _ = tokio::time::timeout(DRAIN_TIME, end).await;
    }
}

fn failure_of(error: &h2::Error, seen: &SeenFrames) -> Failure {
    if let Some(failure) = seen.other_protocol() {
        return failure;
    }
    if let Some(io) = error.get_io() {
        return seen.failure().cloned().unwrap_or_else(|| Failure::from_io(io));
    }
    // h2's own counters, of empty DATA and CONTINUATION frames: ours to say, as the SoC did not.
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
