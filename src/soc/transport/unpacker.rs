//! Decompresses a message of a reply while it comes: what is compressed is never kept, and what it becomes has a limit. No I/O.

use std::borrow::Cow;
use std::io::{self, Write};

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status, write::MultiGzDecoder};

use crate::model::{Limit, MessagePrefix, PREFIX_LEN};

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

    /// What decompresses a message of `length` bytes to at most `limit` bytes.
    pub(super) fn unpacker(&self, length: usize, limit: usize) -> Result<Unpacker, BadMessage> {
        let message = CappedMessage::new(length, limit);
        match self {
            Self::Identity => Err(BadMessage::NoEncoding),
            Self::Unknown(name) => Err(BadMessage::UnknownEncoding(name.clone())),
            Self::Gzip => Ok(Unpacker::Gzip(Box::new(MultiGzDecoder::new(message)))),
            Self::Deflate => Ok(Unpacker::Deflate(Box::new(Inflating {
                head: Vec::new(),
                inflater: None,
                message,
                ended: false,
            }))),
        }
    }
}

/// A decompressed message after room for its prefix. Nothing is added over its limit.
#[derive(Debug)]
pub(super) struct CappedMessage {
    bytes: Vec<u8>,
    limit: usize,
    is_over: bool,
}

/// The most that a byte can become by deflate.
const MOST_GROWTH: usize = 1032;

impl CappedMessage {
    /// As much as `length` bytes can become at most is reserved, so that the message is never moved. What is not written takes no
    /// memory.
    fn new(length: usize, limit: usize) -> Self {
        let most = length.saturating_mul(MOST_GROWTH).min(limit);
        let mut bytes = Vec::with_capacity(PREFIX_LEN + most);
        bytes.resize(PREFIX_LEN, 0);
        Self {
            bytes,
            limit: PREFIX_LEN + limit,
            is_over: false,
        }
    }

    /// The message with its prefix.
    fn take(&mut self) -> Bytes {
        let mut bytes = std::mem::take(&mut self.bytes);
        let length = bytes.len() - PREFIX_LEN;
        bytes[..PREFIX_LEN].copy_from_slice(&MessagePrefix::plain(length));
        bytes.into()
    }

    fn too_long(&self) -> BadMessage {
        let limit = self.limit - PREFIX_LEN;
        let text = format!("more than {limit} bytes, once decompressed");
        BadMessage::TooLong(text.into(), limit)
    }
}

impl Write for CappedMessage {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if more.len() > self.limit - self.bytes.len() {
            self.is_over = true;
            return Err(io::Error::other("over the limit"));
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decompresses a message while it comes.
#[derive(Debug)]
pub(super) enum Unpacker {
    Gzip(Box<MultiGzDecoder<CappedMessage>>),
    Deflate(Box<Inflating>),
}

impl Unpacker {
    /// The next of its bytes.
    pub(super) fn feed(&mut self, packed: &[u8]) -> Result<(), BadMessage> {
        match self {
            Self::Gzip(decoder) => {
                let fed = decoder.write_all(packed);
                fed.map_err(|_| broken_gzip(decoder.get_ref()))
            }
            Self::Deflate(inflating) => inflating.feed(packed),
        }
    }

    /// All of it has come.
    pub(super) fn finish(&mut self) -> Result<Bytes, BadMessage> {
        match self {
            Self::Gzip(decoder) => {
                let ended = decoder.try_finish();
                ended.map_err(|_| broken_gzip(decoder.get_ref()))?;
                Ok(decoder.get_mut().take())
            }
            Self::Deflate(inflating) => inflating.finish(),
        }
    }
}

fn broken_gzip(message: &CappedMessage) -> BadMessage {
    match message.is_over {
        true => message.too_long(),
        false => BadMessage::Broken("gzip"),
    }
}

/// The same for deflate. gRPC means zlib's format by it, but some servers send it without zlib's header. flate2's writer is not
/// used: it takes a truncated stream for a complete one.
#[derive(Debug)]
pub(super) struct Inflating {
    /// The first bytes, until they say which of both it is.
    head: Vec<u8>,
    inflater: Option<Decompress>,
    message: CappedMessage,
    ended: bool,
}

/// Bytes that are decompressed at a time.
const BLOCK: usize = 16 * 1024;

impl Inflating {
    fn feed(&mut self, packed: &[u8]) -> Result<(), BadMessage> {
        if self.inflater.is_some() {
            return self.inflate(packed);
        }
        self.head.extend_from_slice(packed);
        match self.head[..] {
            [first, second, ..] => {
                let zlib = first & 0x0f == 8 && u16::from_be_bytes([first, second]).is_multiple_of(31);
                self.begin(zlib)
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, zlib: bool) -> Result<(), BadMessage> {
        self.inflater = Some(Decompress::new(zlib));
        let head = std::mem::take(&mut self.head);
        self.inflate(&head)
    }

    fn inflate(&mut self, mut packed: &[u8]) -> Result<(), BadMessage> {
        let Some(inflater) = &mut self.inflater else {
            return Ok(());
        };
        let mut block = [0; BLOCK];
        while !self.ended {
            let before = (inflater.total_in(), inflater.total_out());
            // Not `Finish`: more may come.
            let status = inflater.decompress(packed, &mut block, FlushDecompress::None);
            let status = status.map_err(|_| BadMessage::Broken("deflate"))?;
            // Both are at most the lengths of `packed` and `block`.
            let read = (inflater.total_in() - before.0) as usize;
            let written = (inflater.total_out() - before.1) as usize;
            packed = packed.get(read..).unwrap_or_default();
            let added = self.message.write_all(block.get(..written).unwrap_or_default());
            added.map_err(|_| self.message.too_long())?;
            self.ended = status == Status::StreamEnd;
            // It has taken all, and gave what it could.
            if written < BLOCK && (packed.is_empty() || read == 0) {
                break;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Bytes, BadMessage> {
        if self.inflater.is_none() {
            self.begin(false)?;
        }
        match self.ended {
            true => Ok(self.message.take()),
            false => Err(BadMessage::Broken("deflate")),
        }
    }
}
