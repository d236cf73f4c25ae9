//! gRPC's messages in a stream of DATA, however the stream is split: their limits and their decompression. No I/O.
//!
//! The output is the same stream with every message uncompressed, so that tonic need not know of compression. tonic would
//! refuse `grpc-encoding` even if no message is compressed, and it does not have our limit.

use std::borrow::Cow;
use std::io::{self, Read};

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress, Status, read::MultiGzDecoder};

use crate::model::Limit;

/// The longest message that is accepted from a SoC, in bytes after decompression. A real one is under 100 bytes. A module may have
/// another limit.
pub(super) const MAX_MESSAGE: usize = 64 * 1024;
/// Bytes that compression may add to a message that cannot be compressed: a header of about 20 bytes, and 5 for each block.
const MAX_OVERHEAD: usize = 1024;
/// Bytes before each gRPC message: a compressed flag and a length.
const PREFIX_LEN: usize = 5;
/// What we offer, in the order of gRPC's own C client.
pub(super) const ACCEPTED: &str = "identity, deflate, gzip";

/// Why a reply's messages cannot be taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadMessage {
    /// By the length before the message, or after its decompression.
    #[error("{limit}: {0}, the limit is {1}", limit = Limit::Reply)]
    TooLong(Cow<'static, str>, usize),
    #[error("more than one message in the reply")]
    TooMany,
    #[error("a message with the compressed flag {0}, expected 0 or 1")]
    Flag(u8),
    #[error("a message is marked as compressed, but there is no grpc-encoding")]
    NoEncoding,
    #[error("a message is compressed with {0:?}, but only gzip and deflate were offered")]
    UnknownEncoding(Box<str>),
    #[error("a compressed message cannot be decompressed ({0})")]
    Broken(&'static str),
}

/// The value of `grpc-encoding`. It alone decides nothing: each message has a flag that says whether it is compressed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    #[default]
    Identity,
    Gzip,
    Deflate,
    Unknown(Box<str>),
}

impl Encoding {
    pub(super) fn of(header: &[u8]) -> Self {
        match header.trim_ascii() {
            b"" => Self::Identity,
            name if name.eq_ignore_ascii_case(b"identity") => Self::Identity,
            name if name.eq_ignore_ascii_case(b"gzip") => Self::Gzip,
            name if name.eq_ignore_ascii_case(b"deflate") => Self::Deflate,
            // Enough of the name to recognise it.
            name => Self::Unknown(String::from_utf8_lossy(&name[..name.len().min(40)]).into()),
        }
    }

    /// At most `limit` bytes.
    fn decompress(&self, packed: &[u8], limit: usize) -> Result<Vec<u8>, BadMessage> {
        let message = match self {
            Self::Identity => return Err(BadMessage::NoEncoding),
            Self::Unknown(name) => return Err(BadMessage::UnknownEncoding(name.clone())),
            _ if packed.is_empty() => return Ok(Vec::new()),
            Self::Gzip => gunzip(packed, limit).map_err(|_| BadMessage::Broken("gzip"))?,
            Self::Deflate => inflate(packed, limit).ok_or(BadMessage::Broken("deflate"))?,
        };
        if message.len() > limit {
            let text = format!("more than {limit} bytes, once decompressed");
            return Err(BadMessage::TooLong(text.into(), limit));
        }
        Ok(message)
    }
}

/// At most one byte more than the limit, however much there would be.
fn gunzip(packed: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let mut limited = MultiGzDecoder::new(packed).take(limit as u64 + 1);
    limited.read_to_end(&mut message)?;
    Ok(message)
}

/// The same for deflate. gRPC means zlib's format by it, but some servers send it without zlib's header. flate2's reader is not
/// used: it takes a truncated stream for a complete one.
fn inflate(packed: &[u8], limit: usize) -> Option<Vec<u8>> {
    let zlib = match packed {
        [first, second, ..] => first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31),
        _ => false,
    };
    let mut inflater = Decompress::new(zlib);
    let mut message = Vec::new();
    loop {
        if message.len() == message.capacity() {
            // At most one byte more than the limit. A block at a time: the limit may be megabytes.
            message.reserve_exact((limit + 1 - message.len()).min(message.len().max(MAX_MESSAGE)));
        }
        let before = (inflater.total_in(), inflater.total_out());
        let read = usize::try_from(before.0).ok()?;
        let rest = packed.get(read..)?;
        let status = inflater
            // Not `Finish`: it cannot go on once the output was full.
            .decompress_vec(rest, &mut message, FlushDecompress::None)
            .ok()?;
        let full = message.len() > limit;
        match status {
            Status::StreamEnd => return Some(message),
            Status::Ok | Status::BufError if full => return Some(message),
            Status::Ok | Status::BufError => {
                let has_room = message.len() < message.capacity();
                if has_room && (inflater.total_in(), inflater.total_out()) == before {
                    return None;
                }
            }
        }
    }
}

/// The present place in the stream.
#[derive(Debug)]
enum Part {
    /// In a prefix, of which this many bytes have arrived.
    Prefix([u8; PREFIX_LEN], usize),
    /// In an uncompressed message, this many bytes before its end.
    Plain(usize),
    /// In a compressed message of this length.
    Packed(usize, BytesMut),
}

/// Follows the messages of one reply.
#[derive(Debug)]
pub(super) struct Messages {
    encoding: Encoding,
    part: Part,
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
            begun: 0,
            max,
            limit,
        }
    }

    /// The next bytes of the reply to pass on. May be empty.
    pub(super) fn feed(&mut self, data: Bytes) -> Result<Bytes, BadMessage> {
        // The usual case: nothing is compressed, and no prefix is split.
        if let Some((left, begun)) = self.plain(&data) {
            self.part = match left {
                0 => Part::Prefix([0; PREFIX_LEN], 0),
                left => Part::Plain(left),
            };
            self.begun = begun;
            return Ok(data);
        }
        let mut rest = &data[..];
        let mut out = BytesMut::with_capacity(data.len());
        while !rest.is_empty() {
            rest = self.step(rest, &mut out)?;
        }
        Ok(out.freeze())
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
            let [flag, a, b, c, d] = *data.first_chunk::<PREFIX_LEN>()?;
            left = u32::from_be_bytes([a, b, c, d]) as usize;
            begun += 1;
            if flag != 0 || left > self.limit || begun > self.max {
                return None;
            }
            data = &data[PREFIX_LEN..];
        }
    }

    /// Takes some of the data and returns the rest.
    fn step<'a>(&mut self, data: &'a [u8], out: &mut BytesMut) -> Result<&'a [u8], BadMessage> {
        match &mut self.part {
            Part::Prefix(bytes, have) => {
                let n = data.len().min(PREFIX_LEN - *have);
                bytes[*have..*have + n].copy_from_slice(&data[..n]);
                *have += n;
                if *have == PREFIX_LEN {
                    let prefix = *bytes;
                    self.begin(prefix, out)?;
                }
                Ok(&data[n..])
            }
            Part::Plain(left) => {
                let n = data.len().min(*left);
                out.extend_from_slice(&data[..n]);
                *left -= n;
                if *left == 0 {
                    self.part = Part::Prefix([0; PREFIX_LEN], 0);
                }
                Ok(&data[n..])
            }
            Part::Packed(length, packed) => {
                let n = data.len().min(*length - packed.len());
                packed.extend_from_slice(&data[..n]);
                if packed.len() == *length {
                    let message = self.encoding.decompress(packed, self.limit)?;
                    put_prefix(out, message.len());
                    out.extend_from_slice(&message);
                    self.part = Part::Prefix([0; PREFIX_LEN], 0);
                }
                Ok(&data[n..])
            }
        }
    }

    /// A prefix is complete.
    fn begin(&mut self, [flag, a, b, c, d]: [u8; PREFIX_LEN], out: &mut BytesMut) -> Result<(), BadMessage> {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
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
            _ => Part::Packed(length, BytesMut::new()),
        };
        if flag == 0 {
            put_prefix(out, length);
        } else {
            // A message that cannot be decompressed is refused before it is complete. An empty message is complete now.
            self.encoding.decompress(&[], self.limit)?;
            if length == 0 {
                put_prefix(out, 0);
                self.part = Part::Prefix([0; PREFIX_LEN], 0);
            }
        }
        Ok(())
    }
}

fn put_prefix(out: &mut BytesMut, length: usize) {
    out.put_u8(0);
    // It is never longer than the limit.
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
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
            out.extend(messages.feed(Bytes::copy_from_slice(part))?);
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
        assert_eq!(messages.feed(one.clone()), Ok(one.clone()));
        assert_eq!(messages.feed(one), Err(BadMessage::TooMany));
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
