//! What can be wrong with a SoC: one fault of its connections and one of its replies at a time.
//!
//! Plain data, read from scenario files and set at run time. `accepted`, `rpc` and `rpc_reply` act on it.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::duration;

/// What is wrong with a SoC's TCP and HTTP/2 connections.
///
/// A change also affects connections that exist: [`Hang`](Self::Hang) freezes them, the reset faults reset them, and all others
/// except [`Goaway`](Self::Goaway) close them. [`None`](Self::None) unfreezes connections that hung and closes those that never
/// used HTTP/2.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ConnectionFault {
    /// Nothing is wrong.
    #[default]
    None,
    /// As after SIGSTOP: nothing is read or written, PINGs are not answered, TCP stays open. The kernel still accepts
    /// connections (they do not count as connections), but they are not served. When the fault ends, everything continues.
    Hang,
    /// Accepts TCP and never sends a byte.
    Mute,
    /// Sends HTTP/2 PING frames, one per second, and never SETTINGS.
    PingsOnly,
    /// Answers the first bytes with an HTTP/1.1 400 and closes.
    Http1,
    /// The same, but leaves the connection open.
    Http1KeepOpen,
    /// Sends back the bytes that it receives.
    Echo,
    /// Sends random bytes and then nothing.
    Garbage,
    /// Nothing listens. When the fault ends, the same port listens again.
    Refuse,
    /// Resets (RST) each connection right after accept.
    Reset,
    /// Resets each new connection after the client has acknowledged our SETTINGS, so it was READY for a moment.
    ResetAfterSettings,
    /// Closes (FIN) each connection right after accept.
    Close,
    /// Serves, and sends meaningless frames without end, as fast as the client reads.
    Flood(FloodFrame),
    /// Sends one GOAWAY on the connections that exist. It does not last: it ends the previous fault, and new connections are
    /// served normally.
    Goaway(GoAway),
}

/// A GOAWAY frame, and what follows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GoAway {
    /// The error code. `no_error` is a graceful shutdown.
    pub code: H2Code,
    /// The debug data, for example `too_many_pings`.
    pub debug: String,
    /// How long streams in flight may continue before the connection is closed. The default is 5 s for `no_error` and nothing
    /// for an error, as in gRPC's own servers.
    #[serde(deserialize_with = "duration::optional")]
    pub grace: Option<Duration>,
}

impl GoAway {
    /// The grace in use.
    pub(super) fn grace(&self) -> Duration {
        self.grace.unwrap_or(match self.code {
            H2Code::NoError => Duration::from_secs(5),
            _ => Duration::ZERO,
        })
    }
}

/// The frame of a flood. All are allowed, and none has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FloodFrame {
    /// Of an unknown type, empty: 9 bytes.
    Unknown,
    /// PRIORITY of stream 1.
    Priority,
    /// PING: the client must answer each.
    Ping,
    /// SETTINGS without a value. The client must answer each, and the first answer ends the connection, because h2 did not send
    /// these SETTINGS.
    Settings,
    /// WINDOW_UPDATE of the connection, by 1.
    WindowUpdate,
    /// RST_STREAM of stream 1.
    Reset,
}

/// How a reply's messages are compressed, or marked as compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// gzip.
    Gzip,
    /// zlib's format, which gRPC calls deflate.
    Deflate,
    /// deflate without zlib's header, as some servers send it.
    RawDeflate,
    /// The head announces gzip, but the message is not compressed: grpcio does this with a small message.
    HeaderOnly,
    /// The message is marked as compressed with an encoding that the client has not offered.
    Unknown,
    /// The message is marked as compressed, but the head does not name the encoding.
    Unannounced,
    /// gzip of 4 MiB.
    Bomb,
}

/// HTTP/2's error codes (RFC 9113, section 7). The discriminant is the number on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u32)]
#[allow(missing_docs)] // The RFC explains the names.
pub enum H2Code {
    #[default]
    NoError = 0,
    ProtocolError,
    InternalError,
    FlowControlError,
    SettingsTimeout,
    StreamClosed,
    FrameSizeError,
    RefusedStream,
    Cancel,
    CompressionError,
    ConnectError,
    EnhanceYourCalm,
    InadequateSecurity,
    #[serde(rename = "http_1_1_required")]
    Http11Required,
}

/// What is wrong with a SoC's replies. Faults of portids affect only replies that have portids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ReplyFault {
    /// Nothing is wrong.
    #[default]
    None,
    /// The right reply, later. After the client's `grpc-timeout` it is DEADLINE_EXCEEDED instead.
    Slow {
        /// How much later.
        #[serde(deserialize_with = "duration::deserialize")]
        delay: Duration,
    },
    /// No reply at all, whatever the client's `grpc-timeout` is. PINGs are answered.
    Stall,
    /// An empty message with status OK.
    Empty,
    /// portid `[1, 0]`, the states in the same order: valid.
    Swapped,
    /// portid `[0, 7]`.
    WrongPortids,
    /// portid `[0, 0]`.
    DuplicatePortids,
    /// One portid, one state.
    Short,
    /// Two portids, one state.
    LengthsDiffer,
    /// Three portids, three states.
    Extra,
    /// A gRPC error.
    Code {
        /// The code.
        code: Code,
        /// `grpc-message`.
        #[serde(default)]
        message: String,
    },
    /// The right reply, enlarged by an unknown field.
    Oversized {
        /// By how many bytes. The default is 100 KiB.
        #[serde(default = "oversized_bytes")]
        bytes: usize,
    },
    /// A message that announces 4 GiB and is then not sent.
    HugeAnnounced,
    /// Headers and the right message, but neither trailers nor the end of the stream.
    HalfClosed,
    /// The stream ends after the right message, without a `grpc-status`.
    NoTrailers,
    /// Something that is not gRPC answers.
    HttpStatus {
        /// For example 503.
        status: u16,
    },
    /// A message that is not protobuf, with status OK.
    GarbageMessage,
    /// RST_STREAM(CANCEL), as some servers do when the deadline comes.
    Cancel {
        /// The time, counted from the request.
        #[serde(deserialize_with = "duration::deserialize")]
        after: Duration,
    },
    /// RST_STREAM at once.
    ResetStream {
        /// With this code.
        code: H2Code,
    },
    /// The right reply, later, even if the client has cancelled: all of it is sent, on a stream that may be closed.
    Late {
        /// How much later.
        #[serde(deserialize_with = "duration::deserialize")]
        delay: Duration,
    },
    /// The header `grpc-status-details-bin`: in the head and trailers of a right reply, or in a head that reports INTERNAL.
    DetailsBin {
        /// Its value: base64 or not.
        value: String,
        /// In a head without message and trailers.
        #[serde(default)]
        head: bool,
    },
    /// INTERNAL with a `grpc-message` of this many bytes: in trailers after the right message, or in a head without message and
    /// trailers.
    LongMessage {
        /// How many.
        bytes: usize,
        /// In a head without message and trailers.
        #[serde(default)]
        head: bool,
        /// How many bytes of the header block each frame has. The default is the most that is allowed.
        #[serde(default = "largest_piece")]
        piece: usize,
    },
    /// Informational heads (status 103) before the right reply.
    Informational {
        /// How many. The default is without end.
        #[serde(default)]
        count: Option<u64>,
    },
    /// The right reply, compressed.
    Compressed(Compression),
    /// A page of a web server.
    WebPage {
        /// For example 200.
        status: u16,
        /// `content-type`. The default is none.
        #[serde(default)]
        content_type: Option<String>,
    },
}

fn largest_piece() -> usize {
    usize::MAX
}

fn oversized_bytes() -> usize {
    100 * 1024
}

/// gRPC's status codes except OK. The discriminant is the number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(u8)]
#[allow(missing_docs)] // gRPC explains the names.
pub enum Code {
    Cancelled = 1,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

impl Code {
    /// All sixteen, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];
}

impl fmt::Display for ConnectionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "connections work again",
            Self::Hang => "hang",
            Self::Mute => "mute",
            Self::PingsOnly => "pings only",
            Self::Http1 => "http1",
            Self::Http1KeepOpen => "http1, kept open",
            Self::Echo => "echo",
            Self::Garbage => "garbage",
            Self::Refuse => "refuse",
            Self::Reset => "reset",
            Self::ResetAfterSettings => "reset after settings",
            Self::Close => "close",
            Self::Flood(frame) => return write!(f, "flood of {frame:?}"),
            Self::Goaway(goaway) => {
                return write!(f, "goaway {:?} {:?}", goaway.code, goaway.debug);
            }
        })
    }
}

impl fmt::Display for ReplyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("replies are right again"),
            Self::Slow { delay } => write!(f, "replies {} late", duration::format(*delay)),
            Self::Stall => f.write_str("no replies"),
            Self::Empty => f.write_str("empty replies"),
            Self::Swapped => f.write_str("portids swapped"),
            Self::WrongPortids => f.write_str("wrong portids"),
            Self::DuplicatePortids => f.write_str("duplicate portids"),
            Self::Short => f.write_str("short lists"),
            Self::LengthsDiffer => f.write_str("lists of different lengths"),
            Self::Extra => f.write_str("one portid too many"),
            Self::Code { code, message } => write!(f, "replies {code:?} {message:?}"),
            Self::Oversized { bytes } => write!(f, "replies of {bytes} bytes"),
            Self::HugeAnnounced => f.write_str("replies announce 4 GiB"),
            Self::HalfClosed => f.write_str("replies never end"),
            Self::NoTrailers => f.write_str("replies without a status"),
            Self::HttpStatus { status } => write!(f, "replies HTTP status {status}"),
            Self::GarbageMessage => f.write_str("replies are not protobuf"),
            Self::Cancel { after } => write!(f, "cancels after {}", duration::format(*after)),
            Self::ResetStream { code } => write!(f, "resets streams with {code:?}"),
            Self::Late { delay } => write!(
                f,
                "replies {} late, even after a cancel",
                duration::format(*delay)
            ),
            Self::DetailsBin { value, .. } => write!(f, "replies with grpc-status-details-bin {value:?}"),
            Self::LongMessage { bytes, .. } => write!(f, "grpc-message of {bytes} bytes"),
            Self::Informational { count: Some(count) } => write!(f, "{count} informational heads"),
            Self::Informational { count: None } => f.write_str("informational heads without end"),
            Self::Compressed(how) => write!(f, "replies compressed ({how:?})"),
            Self::WebPage { status, content_type } => {
                write!(
                    f,
                    "a web page: {status}, {}",
                    content_type.as_deref().unwrap_or("no type")
                )
            }
        }
    }
}
