//! Frames that no HTTP/2 library sends: answers on closed streams, header blocks in small parts, floods. Bytes only.
//!
//! `server_wire` inserts them between h2's own frames. Their header blocks do not use HPACK's dynamic table, so they do not
//! affect h2's.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::fault::FloodFrame;
use super::server_wire::{HEADERS, PING, SETTINGS, frame, frame_on};

const DATA: u8 = 0;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const UNKNOWN: u8 = 0xbb;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The longest frame, in bytes, unless the client allows more (RFC 9113, section 6.5.2).
const FRAME_MAX: usize = 16 * 1024;
/// Bytes of a flood that are written at once: some thousand frames.
const FLOOD_BYTES: usize = 64 * 1024;
/// HPACK's `:status 200`, from its static table.
const STATUS_200: u8 = 0x88;

/// A header block.
#[derive(Debug)]
pub(super) struct Block(Vec<u8>);

impl Block {
    /// Trailers.
    pub(super) fn trailers(fields: &[(&str, &str)]) -> Self {
        let mut block = Vec::new();
        for (name, value) in fields {
            // A literal with a new name, not added to HPACK's table.
            block.push(0);
            string(&mut block, name);
            string(&mut block, value);
        }
        Self(block)
    }

    /// A gRPC head.
    pub(super) fn head(fields: &[(&str, &str)]) -> Self {
        let all = [&[("content-type", "application/grpc")], fields].concat();
        let mut block = vec![STATUS_200];
        block.extend(Self::trailers(&all).0);
        Self(block)
    }

    /// As HEADERS and, if it is longer than `piece`, CONTINUATION frames.
    fn frames(&self, stream: u32, flags: u8, piece: usize, out: &mut BytesMut) {
        let pieces: Vec<&[u8]> = self.0.chunks(piece.clamp(1, FRAME_MAX)).collect();
        for (n, part) in pieces.iter().enumerate() {
            let (kind, mut flags) = if n == 0 {
                (HEADERS, flags)
            } else {
                (CONTINUATION, 0)
            };
            if n + 1 == pieces.len() {
                flags |= END_HEADERS;
            }
            out.put(frame_on(kind, flags, stream, part));
        }
    }
}

fn string(block: &mut Vec<u8>, text: &str) {
    integer(block, 7, text.len());
    block.extend_from_slice(text.as_bytes());
}

/// An integer as in RFC 7541, section 5.1. The bits before the prefix are 0.
fn integer(block: &mut Vec<u8>, prefix: u32, value: usize) {
    let max = (1 << prefix) - 1;
    let byte = |value: usize| value.to_be_bytes()[size_of::<usize>() - 1];
    if value < max {
        block.push(byte(value));
        return;
    }
    block.push(byte(max));
    let mut rest = value - max;
    while rest >= 128 {
        block.push(byte(rest % 128 + 128));
        rest /= 128;
    }
    block.push(byte(rest));
}

/// A whole answer. Without message and trailers it is only the head.
pub(super) fn answer(stream: u32, head: &Block, rest: Option<(&[u8], &Block)>, piece: usize) -> Bytes {
    let mut out = BytesMut::new();
    let end = if rest.is_none() { END_STREAM } else { 0 };
    head.frames(stream, end, piece, &mut out);
    if let Some((message, trailers)) = rest {
        if !message.is_empty() {
            out.put(frame_on(DATA, 0, stream, message));
        }
        trailers.frames(stream, END_STREAM, piece, &mut out);
    }
    out.freeze()
}

/// `count` informational heads.
pub(super) fn informational(stream: u32, count: u64) -> Bytes {
    let mut block = vec![8];
    string(&mut block, "103");
    block.extend(Block::trailers(&[("link", &"x".repeat(100))]).0);
    let one = frame_on(HEADERS, END_HEADERS, stream, &block);
    (0..count).flat_map(|_| one.clone()).collect()
}

/// The bytes that are sent again and again.
pub(super) fn flood(kind: FloodFrame) -> Bytes {
    let one = match kind {
        FloodFrame::Unknown => frame(UNKNOWN, 0, &[]),
        FloodFrame::Priority => frame_on(PRIORITY, 0, 1, &[0, 0, 0, 0, 0]),
        FloodFrame::Ping => frame(PING, 0, &[7; 8]),
        FloodFrame::Settings => frame(SETTINGS, 0, &[]),
        FloodFrame::WindowUpdate => frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]),
        FloodFrame::Reset => frame_on(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
    };
    one.repeat(FLOOD_BYTES / one.len()).into()
}

/// Informational heads that are written at once in a flood: about as many bytes as `FLOOD_BYTES`.
pub(super) const INFORMATIONAL_AT_ONCE: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_is_what_the_rfc_shows() {
        let check = |prefix, value, expected: &[u8]| {
            let mut block = Vec::new();
            integer(&mut block, prefix, value);
            assert_eq!(block, expected);
        };
        check(5, 10, &[10]);
        check(5, 1337, &[31, 154, 10]);
        check(7, 126, &[126]);
        check(7, 127, &[127, 0]);
    }

    #[test]
    fn a_block_is_cut_into_pieces() {
        let bytes = answer(3, &Block::trailers(&[("a", "b")]), None, 2);
        let expected = [
            &[0, 0, 2, HEADERS, END_STREAM, 0, 0, 0, 3, 0, 1][..],
            &[0, 0, 2, CONTINUATION, 0, 0, 0, 0, 3, b'a', 1],
            &[0, 0, 1, CONTINUATION, END_HEADERS, 0, 0, 0, 3, b'b'],
        ];
        assert_eq!(bytes, expected.concat());
    }
}
