//! Watches the bytes that come from the peer (above TLS) and records what h2 reports late or not at all: the peer's SETTINGS
//! frame (the proof that it speaks HTTP/2), a GOAWAY with its code and debug data, the meaning of a read error (h2 keeps only
//! its text), a peer that speaks TLS or HTTP/1 on a plain-text channel, and the bytes with which a stream ended.
//!
//! It also protects h2 from floods. It passes on a limited number of bytes per turn. Otherwise h2 would read as long as there
//! are bytes. That would use up the budget that tokio gives a task for everything it waits for, and timers in the same select
//! would not fire. It also closes the connection of a peer that sends a flood (`flood`) or an endless header block.
//!
//! It reads only frame headers (9 bytes) and the payload of a GOAWAY. Whether the bytes are valid is decided by h2.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::failure::Failure;
use super::flood::{BURST, Flood, PER_SECOND};
use super::frames::{DATA, FLAG_ACK, FrameCutter, GOAWAY, HEADER_LEN, HEADERS, Head, Streams, type_name};
use super::layer::as_below;
use super::seen_frames::{GoAway, SeenFrames};
use super::tls;
use crate::model::{Cause, Limit};
use crate::soc::arrivals::Arrivals;

const TYPE_SETTINGS: u8 = 0x4;
/// The first bytes of a TLS record: alert or handshake, then the version's 3.
const TLS_ALERT: u8 = 21;
const TLS_HANDSHAKE: u8 = 22;
const TLS_MAJOR: u8 = 3;
/// Bytes of a GOAWAY before its debug data: last stream id (4) and code (4).
const GOAWAY_FIXED: usize = 8;
/// How many bytes of a GOAWAY's debug data are kept: enough for every text that gRPC servers send.
const MAX_DEBUG: usize = 128;

/// How an answer of a web server begins. Some answer an HTTP/2 request with the page alone, as in HTTP/0.9.
const HTTP1: &[u8] = b"HTTP/";
const HTML: &[u8] = b"<!DOCTYPE";

/// Bytes: a smaller read counts as this many, because each read also takes from the task's budget (tokio's is 128 reads).
const MIN_READ: usize = 2 * 1024;
/// Bytes of a header block. A block of one megabyte must fail only its own query; the rest is for what HPACK adds.
const MAX_BLOCK: usize = 1024 * 1024 + 16 * 1024;
/// Bytes. A longer block is passed on frame by frame. For each part h2 decodes the last incomplete name again, and a block made
/// for that, split into single bytes, took h2 seconds in one turn. A real block comes in one frame.
const LONG_BLOCK: usize = 4 * 1024;
/// Bytes that h2 may decode for one header block, repetitions included. A megabyte in parts of 10,000 bytes is 55 MiB.
const MAX_BLOCK_WORK: usize = 64 * 1024 * 1024;
/// Bytes of such a frame that are passed on in one read.
const PART: usize = 4 * 1024;

/// The I/O under h2.
#[derive(Debug)]
pub(super) struct Sniffer<IO> {
    io: IO,
    frames: Frames,
    outgoing: FrameCutter,
    flood: Flood,
}

impl<IO> Sniffer<IO> {
    pub(super) fn new(io: IO, arrivals: Arc<Arrivals>) -> (Self, Arc<SeenFrames>) {
        let seen = Arc::new(SeenFrames::default());
        seen.new_turn();
        let sniffer = Self {
            io,
            frames: Frames::new(seen.clone(), arrivals),
            outgoing: FrameCutter::of_client(),
            flood: Flood::new(),
        };
        (sniffer, seen)
    }

    /// Checks bytes that arrived. An error closes the connection.
    fn judge(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.frames.idle = 0;
        self.frames.feed(bytes);
        let detail = if self.frames.idle > 0 && self.flood.saw(self.frames.idle, Instant::now()) {
            let last = type_name(self.frames.last_idle);
            format!(
                "{}: a flood ({last}), the limit is {PER_SECOND} a second and {BURST} at once",
                Limit::Frames
            )
        } else if self.frames.block > MAX_BLOCK {
            format!("{}: more than {MAX_BLOCK} bytes", Limit::Headers)
        } else if self.frames.block_work > MAX_BLOCK_WORK {
            format!("{}: long ones in very small pieces", Limit::Headers)
        } else {
            return Ok(());
        };
        self.frames
            .seen
            .set_failure(Failure::new(Cause::Protocol, &*detail));
        Err(io::Error::other(detail))
    }

    fn wrote(&mut self, bytes: &[u8]) {
        let streams = &mut self.frames.streams;
        self.outgoing.feed(bytes, |head| streams.sent(head));
    }
}

/// Splits a byte stream into frames and keeps only what it looks for.
#[derive(Debug)]
struct Frames {
    seen: Arc<SeenFrames>,
    arrivals: Arc<Arrivals>,
    header: [u8; HEADER_LEN],
    /// Bytes of the header that have arrived.
    have: usize,
    /// Bytes of the payload that are still to come.
    payload_left: usize,
    goaway: Vec<u8>,
    /// No frame is complete yet.
    first: bool,
    /// Our streams on which an answer is awaited.
    streams: Streams,
    /// What has arrived since this was last set to 0 and answers nothing, counted as `flood` does, and the type of the last
    /// such frame.
    idle: u32,
    last_idle: u8,
    /// Bytes of the header block that is arriving, or that arrived last.
    block: usize,
    /// Whether more of it is to come.
    block_open: bool,
    /// Bytes that h2 has decoded for it: the sum of the block's length after each of its frames.
    block_work: usize,
}

fn is_web_server(begin: &[u8]) -> bool {
    begin.starts_with(HTTP1) || begin.to_ascii_uppercase().starts_with(HTML)
}

impl Frames {
    fn new(seen: Arc<SeenFrames>, arrivals: Arc<Arrivals>) -> Self {
        Self {
            seen,
            arrivals,
            header: [0; HEADER_LEN],
            have: 0,
            payload_left: 0,
            goaway: Vec::new(),
            first: true,
            streams: Streams::default(),
            idle: 0,
            last_idle: 0,
            block: 0,
            block_open: false,
            block_work: 0,
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.have < HEADER_LEN {
                let n = bytes.len().min(HEADER_LEN - self.have);
                self.header[self.have..self.have + n].copy_from_slice(&bytes[..n]);
                self.have += n;
                bytes = &bytes[n..];
                let tls_record = matches!(self.header, [TLS_ALERT | TLS_HANDSHAKE, TLS_MAJOR, ..]);
                if self.first && self.have >= 2 && tls_record {
                    self.seen.speaks_tls();
                }
                if self.first && is_web_server(&self.header[..self.have]) {
                    self.seen.speaks_http1();
                }
                if self.have == HEADER_LEN {
                    self.frame_begins(Head::of(self.header));
                }
            } else {
                let n = bytes.len().min(self.payload_left);
                if self.header[3] == GOAWAY {
                    let room = (GOAWAY_FIXED + MAX_DEBUG) - self.goaway.len();
                    self.goaway.extend_from_slice(&bytes[..n.min(room)]);
                }
                self.payload_left -= n;
                bytes = &bytes[n..];
            }
            if self.have == HEADER_LEN && self.payload_left == 0 {
                self.frame_complete();
                self.have = 0;
                self.first = false;
            }
        }
    }

    fn frame_begins(&mut self, head: Head) {
        self.payload_left = head.length;
        if matches!(head.kind, HEADERS | DATA) {
            self.seen.set_reply();
        }
        self.block = match head.continues_block() {
            true => self.block + head.length,
            false => head.length * usize::from(head.begins_block()),
        };
        self.block_open = head.leaves_block_open();
        self.block_work = match head.continues_block() {
            true => self.block_work + self.block,
            false => 0,
        };
        let idle = self.streams.received(head);
        if idle > 0 {
            self.idle = self.idle.saturating_add(idle);
            self.last_idle = head.kind;
        }
    }

    /// How many bytes may be read of a long header block: to the end of the frame's header, or of the frame. `None`: no limit.
    fn cut(&self) -> Option<usize> {
        let long = self.block_open && self.block > LONG_BLOCK;
        long.then_some(match self.have {
            HEADER_LEN => self.payload_left,
            have => HEADER_LEN - have,
        })
    }

    fn frame_complete(&mut self) {
        match (self.header[3], self.header[4]) {
            (TYPE_SETTINGS, flags) if flags & FLAG_ACK == 0 => {
                self.seen.set_settings();
            }
            (GOAWAY, _) => {
                let payload = std::mem::take(&mut self.goaway);
                if let Some((fixed, debug)) = payload.split_at_checked(GOAWAY_FIXED) {
                    self.seen.set_goaway(GoAway {
                        code: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
                        debug: debug.to_vec(),
                    });
                }
            }
            _ => {
                if let Some(stream) = Head::of(self.header).last_of() {
                    self.arrivals.ended(stream);
                }
            }
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Sniffer<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let turn = this.frames.seen.left_in_turn();
        if turn == 0 {
            // First the other tasks, then this one again.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let result = match this.frames.cut() {
            None => Pin::new(&mut this.io).poll_read(cx, buf),
            Some(at) => {
                let mut bytes = [0; PART];
                let mut part = ReadBuf::new(&mut bytes[..at.min(PART).min(buf.remaining())]);
                let result = Pin::new(&mut this.io).poll_read(cx, &mut part);
                buf.put_slice(part.filled());
                result
            }
        };
        match &result {
            Poll::Ready(Ok(())) => {
                let bytes = &buf.filled()[before..];
                let work = this.frames.block_work;
                let judgement = this.judge(bytes);
                // A new block begins at 0.
                let work = this.frames.block_work.saturating_sub(work);
                let left = turn.saturating_sub(bytes.len().max(MIN_READ) + work);
                this.frames.seen.set_left_in_turn(left);
                return Poll::Ready(judgement);
            }
            Poll::Ready(Err(error)) => {
                this.frames.seen.set_failure(tls::of_io(error));
            }
            Poll::Pending => {}
        }
        result
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Sniffer<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = &result {
            this.wrote(&buf[..*written]);
        }
        result
    }

    as_below!(io);

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(written)) = &result {
            let mut left = *written;
            for buf in bufs {
                let n = buf.len().min(left);
                this.wrote(&buf[..n]);
                left -= n;
            }
        }
        result
    }
}

#[cfg(test)]
mod tests;
