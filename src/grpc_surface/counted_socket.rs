//! A client's socket under hyper. It counts what hyper answers without a limit, and ends a client that reads nothing.
//!
//! PINGs have their own policy; other frames that belong to no message (`flood`) are limited in number. Over a limit, reading fails.
//! hyper then gives up the connection, and [`CountedSocket::farewell`] tells the client why.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::ping_policy::PingPolicy;
use crate::soc::channel::flood::Flood;
use crate::soc::channel::frames::{DATA, FLAG_ACK, FrameCutter, GOAWAY, HEADERS, Head, PING};
use crate::web::linger;

/// How long a client may read no byte of what waits for it.
const UNREAD: Duration = Duration::from_secs(60);
/// HTTP/2's code for a client that does too much.
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// What a client did too much of: the debug data of its GOAWAY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    /// gRPC's clients know this text: they send fewer PINGs from then on.
    Pings,
    Frames,
}

impl Excess {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Pings => "too_many_pings",
            Self::Frames => "too_many_frames",
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct CountedSocket<S> {
    inner: S,
    incoming: FrameCutter,
    outgoing: FrameCutter,
    pings: PingPolicy,
    flood: Flood,
    /// The last stream that the client has opened.
    last_stream: u32,
    excess: Option<Excess>,
    /// Runs while a write waits.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> CountedSocket<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            incoming: FrameCutter::of_client(),
            outgoing: FrameCutter::of_server(),
            pings: PingPolicy::default(),
            flood: Flood::new(),
            last_stream: 0,
            excess: None,
            timer: None,
        }
    }

    fn received(&mut self, bytes: &[u8], now: Instant) {
        let Self {
            incoming,
            pings,
            flood,
            last_stream,
            excess,
            ..
        } = self;
        incoming.feed(bytes, |head| {
            let too_many = match head.kind {
                PING if head.flags & FLAG_ACK == 0 => pings.on_ping(now).then_some(Excess::Pings),
                HEADERS => {
                    *last_stream = head.stream.max(*last_stream);
                    None
                }
                // Flow control limits it.
                DATA if head.length > 0 => None,
                _ => flood.saw(weight(head), now).then_some(Excess::Frames),
            };
            *excess = excess.or(too_many);
        });
    }

    /// A write that the kernel does not take: pending, or an error when the client has read nothing for too long.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(UNREAD)));
        ready!(timer.as_mut().poll(cx));
        let text = format!("the client read nothing for {UNREAD:?}");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
    }

    pub(super) fn excess(&self) -> Option<Excess> {
        self.excess
    }
}

/// A long frame counts for more.
fn weight(head: Head) -> u32 {
    1 + u32::try_from(head.length / 1024).unwrap_or(u32::from(u16::MAX))
}

impl<S: AsyncRead + AsyncWrite + Unpin> CountedSocket<S> {
    /// Says why the connection ends, if a frame of ours is not half sent. hyper must have given it up.
    pub(super) async fn farewell(mut self, excess: Excess) {
        if !self.outgoing.is_between_frames() {
            return;
        }
        let mut frame = vec![0, 0, 8 + excess.text().len() as u8, GOAWAY, 0, 0, 0, 0, 0];
        frame.extend(self.last_stream.to_be_bytes());
        frame.extend(ENHANCE_YOUR_CALM.to_be_bytes());
        frame.extend(excess.text().bytes());
        // It is a few bytes: either there is room for them now, or the client does not read.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.inner.write_all(&frame)).await;
        linger(self.inner).await;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CountedSocket<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        this.received(&buf.filled()[before..], Instant::now());
        Poll::Ready(match this.excess {
            Some(excess) => Err(io::Error::other(excess.text())),
            None => Ok(()),
        })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountedSocket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match Pin::new(&mut this.inner).poll_write(cx, data) {
            Poll::Pending => return this.wait(cx),
            Poll::Ready(written) => written?,
        };
        this.timer = None;
        let pings = &mut this.pings;
        this.outgoing.feed(&data[..written], |head| {
            if matches!(head.kind, DATA | HEADERS) {
                pings.on_answer();
            }
        });
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, duplex};

    use super::*;
    use crate::soc::channel::flood::BURST;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, stream: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, stream];
        frame.resize(frame.len() + usize::from(length), 0);
        frame
    }

    fn excess_of(frames: &[Vec<u8>]) -> Option<Excess> {
        let (near, _far) = duplex(1);
        let mut socket = CountedSocket::new(near);
        let now = Instant::now();
        socket.received(PREFACE, now);
        for frame in frames {
            socket.received(frame, now);
        }
        socket.excess()
    }

    #[test]
    fn pings_are_counted_and_answers_to_ours_are_not() {
        let pings = |flags, count| vec![frame(PING, flags, 0, 8); count];
        assert_eq!(excess_of(&pings(0, 3)), None);
        assert_eq!(excess_of(&pings(0, 4)), Some(Excess::Pings));
        assert_eq!(excess_of(&pings(FLAG_ACK, 100)), None);
    }

    #[test]
    fn frames_without_a_message_are_limited_and_calls_are_not() {
        let many = |frame: Vec<u8>| vec![frame; BURST as usize + 2];
        const WINDOW_UPDATE: u8 = 8;
        assert_eq!(
            excess_of(&many(frame(WINDOW_UPDATE, 0, 0, 4))),
            Some(Excess::Frames)
        );
        assert_eq!(excess_of(&many(frame(DATA, 0, 1, 0))), Some(Excess::Frames));
        assert_eq!(excess_of(&many(frame(DATA, 0, 1, 7))), None);
        assert_eq!(excess_of(&many(frame(HEADERS, 4, 1, 7))), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_for_a_minute_is_given_up() {
        let (near, _far) = duplex(4);
        let mut socket = CountedSocket::new(near);
        let began = tokio::time::Instant::now();
        let error = socket.write_all(&frame(DATA, 0, 1, 9)).await;
        assert_eq!(error.expect_err("unread").kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), UNREAD);
    }

    #[tokio::test]
    async fn the_farewell_says_why_and_never_in_the_middle_of_a_frame() {
        let (near, mut far) = duplex(1024);
        let mut socket = CountedSocket::new(near);
        socket.received(PREFACE, Instant::now());
        socket.received(&frame(HEADERS, 4, 5, 1), Instant::now());
        let last = frame(DATA, 0, 1, 9);
        socket.write_all(&last).await.expect("room");
        let read = async {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.expect("an end");
            // Else the other end lingers.
            drop(far);
            all
        };
        let (all, ()) = tokio::join!(read, socket.farewell(Excess::Pings));
        let goaway = all.strip_prefix(&*last).expect("our last frame first");
        assert_eq!(
            goaway[..17],
            [0, 0, 22, GOAWAY, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 11]
        );
        assert_eq!(&goaway[17..], b"too_many_pings");

        let (near, mut far) = duplex(1024);
        let mut socket = CountedSocket::new(near);
        socket.write_all(&last[..12]).await.expect("room");
        socket.farewell(Excess::Pings).await;
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.expect("an end");
        assert_eq!(all, last[..12]);
    }
}
