//! Which of a peer's frames belong to an answer that we wait for. Pure.
//!
//! It also follows our own frames: an answer is awaited on a stream of ours from our HEADERS until its end or our reset. A
//! frame after that is late and answers nothing.

/// Length of a frame's header, in bytes (RFC 9113, section 4.1). The types and flags below are also from RFC 9113.
pub(crate) const HEADER_LEN: usize = 9;
/// Of SETTINGS and PING.
pub(crate) const FLAG_ACK: u8 = 0x1;
/// Of DATA and HEADERS.
const FLAG_END_STREAM: u8 = 0x1;
const FLAG_PADDED: u8 = 0x8;
/// Of HEADERS, PUSH_PROMISE and CONTINUATION.
const FLAG_END_HEADERS: u8 = 0x4;
pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const PUSH_PROMISE: u8 = 0x5;
pub(crate) const PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;
const CONTINUATION: u8 = 0x9;
/// Length of the text that a client sends first, in bytes (RFC 9113, section 3.4).
const PREFACE_LEN: usize = 24;

/// A frame type's name, for people.
pub(crate) fn type_name(kind: u8) -> String {
    const NAMES: [&str; 10] = [
        "DATA",
        "HEADERS",
        "PRIORITY",
        "RST_STREAM",
        "SETTINGS",
        "PUSH_PROMISE",
        "PING",
        "GOAWAY",
        "WINDOW_UPDATE",
        "CONTINUATION",
    ];
    let name = NAMES.get(usize::from(kind)).copied();
    name.map_or_else(|| format!("unknown type {kind:#04x}"), str::to_owned)
}

/// What a frame's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl Head {
    pub(crate) fn of([l0, l1, l2, kind, flags, s0, s1, s2, s3]: [u8; HEADER_LEN]) -> Self {
        Self {
            length: usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2),
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        }
    }

    pub(super) fn begins_block(&self) -> bool {
        matches!(self.kind, HEADERS | PUSH_PROMISE)
    }

    pub(super) fn continues_block(&self) -> bool {
        self.kind == CONTINUATION
    }

    /// The stream that this frame ends, if it ends one.
    pub(super) fn last_of(&self) -> Option<u32> {
        (self.ends_stream() || self.kind == RST_STREAM).then_some(self.stream)
    }

    /// More of a header block is to come.
    pub(super) fn leaves_block_open(&self) -> bool {
        (self.begins_block() || self.continues_block()) && self.flags & FLAG_END_HEADERS == 0
    }

    fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & FLAG_END_STREAM != 0
    }
}

/// Our streams on which an answer is awaited.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Only a few: a round's queries, and two streams that stay open.
    awaited: Vec<u32>,
    /// Whether the header block that is arriving belongs to such a stream.
    block_is_awaited: bool,
}

impl Streams {
    /// We sent a frame.
    pub(super) fn sent(&mut self, head: Head) {
        match head.kind {
            HEADERS => self.awaited.push(head.stream),
            RST_STREAM => self.remove(head.stream),
            _ => {}
        }
    }

    /// The peer sent a frame. Returns how much it counts for `flood`. A frame that is part of an answer counts 0. Any other
    /// counts 1, and 1 more per KiB, because nothing costs us more than decoding a long header block. A head that does not end
    /// its answer counts 1, whatever its length: each answer has one, but a thousand informational heads would be a flood. A
    /// frame with padding counts 1 too.
    pub(super) fn received(&mut self, head: Head) -> u32 {
        let awaited = match head.kind {
            CONTINUATION => self.block_is_awaited,
            DATA | HEADERS | RST_STREAM => self.awaited.contains(&head.stream),
            _ => false,
        };
        if head.begins_block() {
            self.block_is_awaited = awaited;
        }
        if !awaited {
            // A frame has at most 16 KiB.
            return 1 + u32::try_from(head.length / 1024).unwrap_or(u32::from(u16::MAX));
        }
        let ends = head.ends_stream();
        if ends || head.kind == RST_STREAM {
            self.remove(head.stream);
        }
        let data = head.kind == DATA && head.length > 0 && head.flags & FLAG_PADDED == 0;
        u32::from(!(ends || data))
    }

    fn remove(&mut self, stream: u32) {
        self.awaited.retain(|awaited| *awaited != stream);
    }
}

/// Splits what one side of a connection sends into frames.
#[derive(Debug)]
pub(crate) struct FrameCutter {
    header: [u8; HEADER_LEN],
    have: usize,
    /// Bytes to skip before the next header.
    skip: usize,
}

impl FrameCutter {
    /// Of what a client sends: its preface comes first.
    pub(crate) fn of_client() -> Self {
        Self {
            skip: PREFACE_LEN,
            ..Self::of_server()
        }
    }

    /// Of what a server sends.
    pub(crate) fn of_server() -> Self {
        Self {
            header: [0; HEADER_LEN],
            have: 0,
            skip: 0,
        }
    }

    /// Whether the last frame is complete.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.have == 0 && self.skip == 0
    }

    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut on_head: impl FnMut(Head)) {
        while !bytes.is_empty() {
            let skipped = bytes.len().min(self.skip);
            (self.skip, bytes) = (self.skip - skipped, &bytes[skipped..]);
            let n = bytes.len().min(HEADER_LEN - self.have);
            self.header[self.have..self.have + n].copy_from_slice(&bytes[..n]);
            (self.have, bytes) = (self.have + n, &bytes[n..]);
            if self.have == HEADER_LEN {
                let head = Head::of(self.header);
                (self.have, self.skip) = (0, head.length);
                on_head(head);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: u8, flags: u8, stream: u32, length: usize) -> Head {
        Head {
            length,
            kind,
            flags,
            stream,
        }
    }

    #[test]
    fn a_frame_answers_something_only_on_a_stream_that_is_awaited() {
        let mut streams = Streams::default();
        let check = |streams: &mut Streams, head: Head, answers: bool| {
            assert_eq!(streams.received(head) == 0, answers, "{head:?} with {streams:?}");
        };
        check(&mut streams, head(DATA, 0, 1, 9), false);
        streams.sent(head(HEADERS, 4, 1, 99));
        streams.sent(head(HEADERS, 4, 3, 9));
        streams.sent(head(DATA, FLAG_END_STREAM, 1, 9));
        check(&mut streams, head(HEADERS, 4, 1, 9), false);
        check(&mut streams, head(DATA, 0, 1, 9), true);
        check(&mut streams, head(DATA, 0, 1, 0), false);
        check(&mut streams, head(DATA, FLAG_PADDED, 1, 9), false);
        check(&mut streams, head(8, 0, 1, 4), false);
        check(&mut streams, head(HEADERS, FLAG_END_STREAM | 4, 1, 9), true);
        // It has ended.
        check(&mut streams, head(DATA, 0, 1, 9), false);
        // Then we reset it, and its frames are late.
        check(&mut streams, head(DATA, 0, 3, 9), true);
        streams.sent(head(RST_STREAM, 0, 3, 4));
        check(&mut streams, head(DATA, 0, 3, 9), false);
        check(&mut streams, head(HEADERS, FLAG_END_STREAM, 3, 9), false);
        assert!(streams.awaited.is_empty());
    }

    #[test]
    fn what_answers_nothing_counts_by_its_length_and_a_block_that_is_awaited_does_not() {
        let mut streams = Streams::default();
        assert_eq!(streams.received(head(0xbb, 0, 0, 16_384)), 17);
        assert_eq!(streams.received(head(HEADERS, 0, 1, 16_384)), 17);
        assert_eq!(streams.received(head(CONTINUATION, 0, 1, 16_384)), 17);
        streams.sent(head(HEADERS, 4, 1, 99));
        assert_eq!(streams.received(head(HEADERS, 0, 1, 16_384)), 1);
        assert_eq!(streams.received(head(CONTINUATION, 4, 1, 16_384)), 1);
        assert_eq!(streams.received(head(HEADERS, FLAG_END_STREAM, 1, 16_384)), 0);
        assert_eq!(streams.received(head(CONTINUATION, 4, 1, 16_384)), 1);
        assert_eq!(streams.received(head(6, 0, 0, 8)), 1);
    }

    #[test]
    fn our_frames_are_found_however_they_are_cut() {
        let mut bytes = vec![b'P'; PREFACE_LEN];
        bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
        bytes.extend([0, 0, 3, HEADERS, 5, 0, 0, 0, 7, 1, 2, 3]);
        bytes.extend([0, 0, 4, RST_STREAM, 0, 0, 0, 1, 0, 0, 0, 0, 8]);
        let expected = [
            head(4, 0, 0, 0),
            head(HEADERS, 5, 7, 3),
            head(RST_STREAM, 0, 256, 4),
        ];
        for cut in 1..40 {
            let (mut outgoing, mut heads) = (FrameCutter::of_client(), Vec::new());
            for part in bytes.chunks(cut) {
                outgoing.feed(part, |head| heads.push(head));
            }
            assert_eq!(heads, expected, "{cut}");
        }
    }

    #[test]
    fn types_have_their_names() {
        assert_eq!(type_name(2), "PRIORITY");
        assert_eq!(type_name(0xbb), "unknown type 0xbb");
    }
}
