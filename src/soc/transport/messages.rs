//! gRPC's messages in a stream of DATA, however the stream is split: their limits and their decompression. No I/O.
//!
//! The output is the same stream with every message uncompressed, so that only this file knows of compression. Only one message is
//! decompressed at a time: one frame may hold hundreds of them, of which each grows a thousandfold.

use bytes::{Bytes, BytesMut};

use super::unpacker::Unpacker;
pub(super) use super::unpacker::{BadMessage, Encoding};
use crate::model::{MessagePrefix, PREFIX_LEN};

/// The longest message that is accepted from a SoC, in bytes after decompression. A real one is under 100 bytes. A module may have
/// another limit.
pub(super) const MAX_MESSAGE: usize = 64 * 1024;
/// Bytes that compression may add to a message that cannot be compressed: a header of about 20 bytes, and 5 for each block.
const MAX_OVERHEAD: usize = 1024;
/// What we offer, in the order of gRPC's own C client.
pub(super) const ACCEPTED: &str = "identity, deflate, gzip";

/// The present place in the stream.
#[derive(Debug)]
enum Part {
    /// In a prefix, of which this many bytes have arrived.
    Prefix([u8; PREFIX_LEN], usize),
    /// In an uncompressed message, this many bytes before its end.
    Plain(usize),
    /// In a compressed message, this many bytes before its end.
    Packed(usize, Unpacker),
}

/// Follows the messages of one reply.
#[derive(Debug)]
pub(super) struct Messages {
    encoding: Encoding,
    part: Part,
    /// What has come and was not passed on yet.
    rest: Bytes,
    /// Messages begun.
    begun: u64,
    max: u64,
    /// The longest message, in bytes after decompression.
    limit: usize,
}

impl Messages {
    /// At most `max` messages of at most `limit` bytes each.
    pub(super) fn new(encoding: Encoding, max: u64, limit: usize) -> Self {
        Self {
            encoding,
            part: Part::Prefix([0; PREFIX_LEN], 0),
            rest: Bytes::new(),
            begun: 0,
            max,
            limit,
        }
    }

    /// The reply goes on with these bytes. Before that `next` must have returned `None`.
    pub(super) fn feed(&mut self, data: Bytes) {
        debug_assert!(self.rest.is_empty());
        self.rest = data;
    }

    /// Whether nothing of a message has come whose rest is missing. Before that `next` must have returned `None`.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.part, Part::Prefix(_, 0))
    }

    /// The next bytes of the reply to pass on. `None`: more must come before.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, BadMessage> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        // The usual case: nothing is compressed, and no prefix is split.
        if let Some((left, begun)) = self.plain(&self.rest) {
            self.part = match left {
                0 => Part::Prefix([0; PREFIX_LEN], 0),
                left => Part::Plain(left),
            };
            self.begun = begun;
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        let mut out = BytesMut::new();
        while !self.rest.is_empty() {
            if matches!(self.part, Part::Packed(..)) {
                if !out.is_empty() {
                    break;
                }
                if let Some(message) = self.unpack()? {
                    return Ok(Some(message));
                }
            } else {
                out.reserve(self.rest.len());
                self.step(&mut out)?;
            }
        }
        Ok((!out.is_empty()).then(|| out.freeze()))
    }

    /// Where the data ends, if it can be passed on unchanged: how much of a message is left, and how many messages have begun.
    fn plain(&self, mut data: &[u8]) -> Option<(usize, u64)> {
        let (mut left, mut begun) = match self.part {
            Part::Prefix(_, 0) => (0, self.begun),
            Part::Plain(left) => (left, self.begun),
            Part::Prefix(..) | Part::Packed(..) => return None,
        };
        loop {
            let n = data.len().min(left);
            (left, data) = (left - n, &data[n..]);
            if data.is_empty() {
                return Some((left, begun));
            }
            let prefix = MessagePrefix::first(data)?;
            left = prefix.length;
            begun += 1;
            if prefix.flag != 0 || left > self.limit || begun > self.max {
                return None;
            }
            data = &data[PREFIX_LEN..];
        }
    }

    /// Passes some of the rest on that is not compressed.
    fn step(&mut self, out: &mut BytesMut) -> Result<(), BadMessage> {
        match &mut self.part {
            Part::Prefix(bytes, have) => {
                let part = self.rest.split_to(self.rest.len().min(PREFIX_LEN - *have));
                bytes[*have..*have + part.len()].copy_from_slice(&part);
                *have += part.len();
                if *have == PREFIX_LEN {
                    let prefix = *bytes;
                    self.begin(prefix.into(), out)?;
                }
            }
            Part::Plain(left) => {
                let part = self.rest.split_to(self.rest.len().min(*left));
                out.extend_from_slice(&part);
                *left -= part.len();
                if *left == 0 {
                    self.part = Part::Prefix([0; PREFIX_LEN], 0);
                }
            }
            Part::Packed(..) => {}
        }
        Ok(())
    }

    /// Takes more of a compressed message from the rest. Returns the message with its prefix when it is complete.
    fn unpack(&mut self) -> Result<Option<Bytes>, BadMessage> {
        let Part::Packed(left, unpacker) = &mut self.part else {
            return Ok(None);
        };
        let part = self.rest.split_to(self.rest.len().min(*left));
        *left -= part.len();
        unpacker.feed(&part)?;
        if *left > 0 {
            return Ok(None);
        }
        let message = unpacker.finish()?;
        self.part = Part::Prefix([0; PREFIX_LEN], 0);
        Ok(Some(message))
    }

    /// A prefix is complete.
    fn begin(&mut self, prefix: MessagePrefix, out: &mut BytesMut) -> Result<(), BadMessage> {
        let MessagePrefix { flag, length } = prefix;
        let limit = match flag {
            0 => self.limit,
            1 => self.limit + MAX_OVERHEAD,
            flag => return Err(BadMessage::Flag(flag)),
        };
        if length > limit {
            return Err(BadMessage::TooLong(format!("{length} bytes").into(), self.limit));
        }
        self.begun += 1;
        if self.begun > self.max {
            return Err(BadMessage::TooMany);
        }
        self.part = match (flag, length) {
            (0, 0) => Part::Prefix([0; PREFIX_LEN], 0),
            (0, length) => Part::Plain(length),
            // A message that cannot be decompressed is refused before it comes.
            (_, length) => Part::Packed(length, self.encoding.unpacker(length, self.limit)?),
        };
        if flag == 0 {
            out.extend_from_slice(&MessagePrefix::plain(length));
        } else if length == 0 {
            // An empty message is complete now.
            out.extend_from_slice(&MessagePrefix::plain(0));
            self.part = Part::Prefix([0; PREFIX_LEN], 0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![flag];
        bytes.extend(u32::try_from(message.len()).expect("fits").to_be_bytes());
        bytes.extend(message);
        bytes
    }

    fn gzip(message: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(message).expect("memory");
        encoder.finish().expect("memory")
    }

    fn zlib(message: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(message).expect("memory");
        encoder.finish().expect("memory")
    }

    fn raw_deflate(message: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(message).expect("memory");
        encoder.finish().expect("memory")
    }

    fn read_all(encoding: &str, bytes: &[u8], cut: usize) -> Result<Vec<u8>, BadMessage> {
        let mut messages = Messages::new(Encoding::of(encoding.as_bytes()), u64::MAX, MAX_MESSAGE);
        let mut out = Vec::new();
        for part in bytes.chunks(cut) {
            messages.feed(Bytes::copy_from_slice(part));
            while let Some(data) = messages.next()? {
                out.extend(data);
            }
        }
        Ok(out)
    }

    fn too_long(bytes: &str) -> BadMessage {
        BadMessage::TooLong(bytes.to_owned().into(), MAX_MESSAGE)
    }

    #[test]
    fn a_message_of_the_limit_passes_and_one_byte_more_does_not() {
        let whole = framed(0, &[7; MAX_MESSAGE]);
        assert_eq!(read_all("", &whole, 9000), Ok(whole));
        let more = framed(0, &[7; MAX_MESSAGE + 1]);
        assert_eq!(read_all("", &more, 9000), Err(too_long("65537 bytes")));
    }

    #[test]
    fn a_length_that_is_only_announced_is_enough() {
        let problem = read_all("gzip", &[0, 0xff, 0xff, 0xff, 0xff], 5);
        assert_eq!(problem, Err(too_long("4294967295 bytes")));
        let problem = read_all("gzip", &[1, 0xff, 0xff, 0xff, 0xff], 5);
        assert_eq!(problem, Err(too_long("4294967295 bytes")));
    }

    #[test]
    fn the_flag_says_whether_a_message_is_compressed_and_the_header_how() {
        let plain = framed(0, b"hello");
        let check = |encoding: &str, packed: Vec<u8>| {
            let bytes = [plain.clone(), framed(1, &packed), plain.clone()].concat();
            let expected = [&plain[..]; 3].concat();
            assert_eq!(read_all(encoding, &bytes, usize::MAX), Ok(expected), "{encoding}");
        };
        check("gzip", gzip(b"hello"));
        check(" GZIP ", gzip(b"hello"));
        check("deflate", zlib(b"hello"));
        check("deflate", raw_deflate(b"hello"));
        // Several gzip members are one message.
        check("gzip", [gzip(b"hel"), gzip(b"lo")].concat());
        let empty = framed(0, b"");
        assert_eq!(read_all("gzip", &framed(1, b""), 3), Ok(empty.clone()));
        assert_eq!(read_all("gzip", &framed(1, &gzip(b"")), 3), Ok(empty));
        for encoding in ["", "identity", "gzip", "snappy"] {
            assert_eq!(read_all(encoding, &plain, 4), Ok(plain.clone()), "{encoding}");
        }
    }

    #[test]
    fn what_cannot_be_decompressed_is_told() {
        let check = |encoding: &str, bytes: &[u8], expected| {
            assert_eq!(
                read_all(encoding, bytes, 7),
                Err(expected),
                "{encoding} {bytes:?}"
            );
        };
        check("", &framed(1, &gzip(b"x")), BadMessage::NoEncoding);
        check("identity", &framed(1, b""), BadMessage::NoEncoding);
        check(
            "snappy",
            &framed(1, b"x"),
            BadMessage::UnknownEncoding("snappy".into()),
        );
        check("gzip", &framed(2, b"x"), BadMessage::Flag(2));
        check("gzip", &framed(1, b"no gzip at all"), BadMessage::Broken("gzip"));
        check(
            "deflate",
            &framed(1, b"no zlib at all"),
            BadMessage::Broken("deflate"),
        );
        for (encoding, whole) in [
            ("gzip", gzip(b"hello")),
            ("deflate", zlib(b"hello")),
            ("deflate", raw_deflate(b"hello")),
        ] {
            let problem = BadMessage::Broken(encoding);
            check(encoding, &framed(1, &whole[..whole.len() / 2]), problem);
        }
    }

    #[test]
    fn limits_count_decompressed_bytes_and_a_bomb_is_not_unpacked() {
        let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
            .take(MAX_MESSAGE)
            .collect();
        let bomb = vec![0; 60_000_000];
        type Pack = fn(&[u8]) -> Vec<u8>;
        for (encoding, pack) in [
            ("gzip", gzip as Pack),
            ("deflate", zlib),
            ("deflate", raw_deflate),
        ] {
            // Longer than the limit on the wire, but not after decompression.
            let packed = pack(&noise);
            assert!(packed.len() > MAX_MESSAGE);
            assert_eq!(
                read_all(encoding, &framed(1, &packed), 5000),
                Ok(framed(0, &noise))
            );
            let packed = pack(&bomb);
            assert!(packed.len() < MAX_MESSAGE);
            let problem = too_long("more than 65536 bytes, once decompressed");
            assert_eq!(read_all(encoding, &framed(1, &packed), 5000), Err(problem));
        }
    }

    #[test]
    fn no_more_messages_than_are_wanted_are_taken() {
        let mut messages = Messages::new(Encoding::Identity, 1, MAX_MESSAGE);
        let one = Bytes::from(framed(0, b"a"));
        messages.feed(one.clone());
        assert_eq!(messages.next(), Ok(Some(one.clone())));
        assert_eq!(messages.next(), Ok(None));
        messages.feed(one);
        assert_eq!(messages.next(), Err(BadMessage::TooMany));
    }

    #[test]
    fn of_many_compressed_messages_one_at_a_time_is_in_memory() {
        let zeros = [0; MAX_MESSAGE];
        let one = framed(0, b"one");
        let bytes = [&one[..], &framed(1, &gzip(&zeros)).repeat(100), &one].concat();
        let mut messages = Messages::new(Encoding::Gzip, u64::MAX, MAX_MESSAGE);
        messages.feed(bytes.into());
        let whole = framed(0, &zeros);
        assert_eq!(messages.next(), Ok(Some(one.clone().into())));
        for _ in 0..100 {
            assert_eq!(messages.next(), Ok(Some(whole.clone().into())));
        }
        assert_eq!(messages.next(), Ok(Some(one.into())));
        assert_eq!(messages.next(), Ok(None));
    }

    proptest! {
        #[test]
        fn many_messages_pass_however_they_are_cut(
            messages in prop::collection::vec((any::<bool>(), 0usize..300), 1..20), cut in 1usize..50,
        ) {
            let plain: Vec<Vec<u8>> = messages.iter().map(|(_, length)| vec![7; *length]).collect();
            let expected: Vec<u8> = plain.iter().flat_map(|message| framed(0, message)).collect();
            for (encoding, pack) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("deflate", zlib)] {
                let sent = messages.iter().zip(&plain).flat_map(|((packed, _), message)| match packed {
                    true => framed(1, &pack(message)),
                    false => framed(0, message),
                });
                let sent: Vec<u8> = sent.collect();
                prop_assert_eq!(read_all(encoding, &sent, cut), Ok(expected.clone()));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 1usize..50) {
            for encoding in ["", "gzip", "deflate"] {
                let mut sent = framed(1, &bytes);
                sent.extend(&bytes);
                let _ = read_all(encoding, &sent, cut);
                let _ = read_all(encoding, &bytes, cut);
            }
        }
    }
}
