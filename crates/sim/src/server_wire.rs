//! What is under HTTP/2: the socket, or TLS over it. It counts the client's PINGs, acts if they are too many, and can insert
//! frames between two of h2's own, because h2 cannot send a GOAWAY with debug data.
//!
//! The connection's task and h2 share [`Socket`], so that the task still has the TCP stream when h2 is gone.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;

use super::pings::Pings;
use super::simulated_soc::Inner;

/// Length of an HTTP/2 frame's head, in bytes.
const HEAD: usize = 9;
/// Length of the client's connection preface, in bytes.
pub(super) const PREFACE: usize = 24;
const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
/// Flag of SETTINGS and PING.
pub(super) const ACK: u8 = 1;

/// The bytes of a frame that belongs to the connection.
pub(super) fn frame(kind: u8, flags: u8, payload: &[u8]) -> Bytes {
    frame_on(kind, flags, 0, payload)
}

/// The bytes of a frame that belongs to a stream.
pub(super) fn frame_on(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Bytes {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut bytes = Vec::with_capacity(HEAD + payload.len());
    bytes.extend_from_slice(&length[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes.into()
}

/// The content of a frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

/// Follows one direction of a connection from frame to frame.
#[derive(Debug, Default)]
pub(super) struct Walker {
    /// Bytes to skip before the next head.
    skip: usize,
    head: [u8; HEAD],
    have: usize,
}

impl Walker {
    /// Starts before `preface` bytes that are not frames.
    pub(super) fn after(preface: usize) -> Self {
        Self {
            skip: preface,
            ..Self::default()
        }
    }

    pub(super) fn advance(&mut self, mut bytes: &[u8], mut on_head: impl FnMut(Head)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len());
                self.skip -= n;
                bytes = &bytes[n..];
                continue;
            }
            let n = (HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + n].copy_from_slice(&bytes[..n]);
            self.have += n;
            bytes = &bytes[n..];
            if self.have == HEAD {
                let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = self.head;
                self.have = 0;
                self.skip = u32::from_be_bytes([0, l0, l1, l2]) as usize;
                on_head(Head {
                    kind,
                    flags,
                    stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
                });
            }
        }
    }

    fn between_frames(&self) -> bool {
        self.skip == 0 && self.have == 0
    }

    /// How many bytes may pass without going beyond the end of the current frame.
    fn left(&self) -> usize {
        if self.have > 0 {
            HEAD - self.have
        } else {
            self.skip
        }
    }
}

/// One accepted connection.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) tcp: TcpStream,
    soc: Arc<Inner>,
    /// Highest stream the client has opened.
    last_stream: AtomicU32,
    /// A std mutex: held while a few bytes are moved, never across an await.
    inject: Mutex<BytesMut>,
    /// Everything that was inserted has been sent.
    drained: Notify,
    too_many_pings: Notify,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream, soc: Arc<Inner>) -> Self {
        Self {
            tcp,
            soc,
            last_stream: AtomicU32::new(0),
            inject: Mutex::default(),
            drained: Notify::new(),
            too_many_pings: Notify::new(),
        }
    }

    pub(super) fn last_stream(&self) -> u32 {
        self.last_stream.load(Ordering::Relaxed)
    }

    /// Keeps frames to be written between two of h2's. They are sent when h2 is polled.
    pub(super) fn inject(&self, frames: &[u8]) {
        let mut inject = self.inject.lock().unwrap_or_else(PoisonError::into_inner);
        inject.extend_from_slice(frames);
    }

    /// Inserts these frames again and again.
    pub(super) async fn inject_for_ever(&self, frames: &[u8]) {
        loop {
            self.inject(frames);
            while !self.injected() {
                self.drained.notified().await;
            }
        }
    }

    /// Waits until the client has sent more PINGs than the SoC's policy allows. Cancel-safe.
    pub(super) async fn too_many_pings(&self) {
        self.too_many_pings.notified().await;
    }

    /// Whether the inserted frame was sent.
    pub(super) fn injected(&self) -> bool {
        self.inject
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }
}

/// The socket as a stream.
#[derive(Debug)]
pub(super) struct Raw(Arc<Socket>);

impl Raw {
    pub(super) fn new(socket: Arc<Socket>) -> Self {
        Self(socket)
    }
}

impl AsyncRead for Raw {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.tcp.poll_read_ready(cx))?;
            match self.0.tcp.try_read_buf(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done.map(drop)),
            }
        }
    }
}

impl AsyncWrite for Raw {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.tcp.poll_write_ready(cx))?;
            match self.0.tcp.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The connection's task closes the socket, in the way that its ending requires.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Plain text or TLS.
#[derive(Debug)]
pub(super) enum Io {
    Plain(Raw),
    /// Boxed: thousands of plain connections need not have its size.
    Tls(Box<TlsStream<Raw>>),
}

impl Io {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(raw) => Pin::new(raw).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(raw) => Pin::new(raw).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(raw) => Pin::new(raw).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }
}

/// The stream that h2 reads and writes.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Arc<Socket>,
    io: Io,
    incoming: Walker,
    outgoing: Walker,
    /// Part of an inserted frame was sent: the rest must follow before anything else.
    injecting: bool,
    pings: Option<Pings>,
}

impl Wire {
    pub(super) fn new(socket: Arc<Socket>, io: Io) -> Self {
        let pings = socket.soc.with_state(|state| state.pings).map(Pings::new);
        Self {
            pings,
            socket,
            io,
            incoming: Walker::after(PREFACE),
            outgoing: Walker::default(),
            injecting: false,
        }
    }

    /// Writes what must be inserted, if this is the place for it.
    fn poll_inject(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.injecting && !self.outgoing.between_frames() {
            return Poll::Ready(Ok(()));
        }
        let socket = self.socket.clone();
        let mut frame = socket.inject.lock().unwrap_or_else(PoisonError::into_inner);
        while !frame.is_empty() {
            let sent = ready!(self.io.poll_write(cx, &frame))?;
            frame.advance(sent);
            self.injecting = !frame.is_empty();
            if frame.is_empty() {
                socket.drained.notify_waiters();
                socket.drained.notify_one();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(this.io.poll_read(cx, buf))?;
        let (socket, pings) = (&this.socket, &mut this.pings);
        this.incoming
            .advance(&buf.filled()[before..], |head| match head.kind {
                PING if head.flags & ACK == 0 => {
                    socket.soc.saw_ping();
                    if pings.as_mut().is_some_and(|pings| pings.came(Instant::now())) {
                        socket.too_many_pings.notify_one();
                    }
                }
                HEADERS => {
                    socket.last_stream.fetch_max(head.stream, Ordering::Relaxed);
                }
                _ => {}
            });
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_inject(cx))?;
        let bytes = if this.socket.injected() {
            bytes
        } else {
            // Something must be inserted after this frame.
            &bytes[..bytes.len().min(this.outgoing.left())]
        };
        let sent = ready!(this.io.poll_write(cx, bytes))?;
        let pings = &mut this.pings;
        this.outgoing.advance(&bytes[..sent], |head| {
            if let (Some(pings), DATA | HEADERS) = (pings.as_mut(), head.kind) {
                pings.replied();
            }
        });
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_inject(cx))?;
        this.io.poll_flush(cx)
    }

    /// The connection's task closes the socket, in the way that its ending requires.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let mut bytes = vec![b'x'; PREFACE];
        bytes.extend_from_slice(&frame(SETTINGS, 0, &[]));
        bytes.extend_from_slice(&frame(PING, ACK, &[7; 8]));
        bytes.extend_from_slice(&frame(GOAWAY, 0, &[0; 300]));
        for size in 1..40 {
            let mut walker = Walker::after(PREFACE);
            let mut kinds = Vec::new();
            for part in bytes.chunks(size) {
                walker.advance(part, |head| kinds.push((head.kind, head.flags)));
            }
            assert_eq!(kinds, [(SETTINGS, 0), (PING, ACK), (GOAWAY, 0)], "{size}");
            assert!(walker.between_frames());
        }
    }

    #[test]
    fn the_rest_of_a_frame_is_known_inside_head_and_payload() {
        let mut walker = Walker::default();
        let bytes = frame(PING, 0, &[0; 8]);
        walker.advance(&bytes[..4], |_| {});
        assert_eq!(walker.left(), 5);
        walker.advance(&bytes[4..12], |_| {});
        assert_eq!(walker.left(), 5);
        walker.advance(&bytes[12..], |_| {});
        assert!(walker.between_frames());
    }
}
