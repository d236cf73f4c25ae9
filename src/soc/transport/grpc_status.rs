//! gRPC statuses: what a peer's head and trailers say, and the statuses that we make ourselves. No I/O.

use std::fmt;
use std::sync::Arc;

use h2::Reason;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use percent_encoding::percent_decode;
use tonic::{Code, Status};

use crate::model::{Limit, NOT_GRPC};

const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The longest head or trailers that are accepted from a SoC, in bytes. Real ones are a few hundred bytes. h2 reads much longer
/// ones to the end (channel/connection.rs), so that they fail their own query and not the connection.
const MAX_BLOCK: usize = 16 * 1024;
/// Bytes that HTTP/2 counts for each field in addition to its text (RFC 9113, section 6.5.2).
const FIELD_OVERHEAD: usize = 32;
/// Bytes of a content-type that are shown: enough to recognise it.
const MAX_SHOWN: usize = 80;

/// Marks a status as ours: the peer has not sent it.
#[derive(Debug)]
enum Ours {
    /// What the peer sent is not the reply that gRPC promises.
    Unreadable,
    Other,
}

impl fmt::Display for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not sent by the peer")
    }
}

impl std::error::Error for Ours {}

/// A status that we make.
pub(super) fn ours(code: Code, text: impl Into<String>) -> Status {
    marked(code, text, Ours::Other)
}

/// The status of a reply that cannot be read: compressed wrongly, cut off, or with more messages than one. INTERNAL is the code that
/// gRPC's own clients give it.
pub(super) fn unreadable(text: impl Into<String>) -> Status {
    marked(Code::Internal, text, Ours::Unreadable)
}

fn marked(code: Code, text: impl Into<String>, mark: Ours) -> Status {
    let mut status = Status::new(code, text);
    status.set_source(Arc::new(mark));
    status
}

/// Whether the status is that of a reply that cannot be read.
pub(crate) fn is_unreadable(status: &Status) -> bool {
    let source = std::error::Error::source(status);
    source.is_some_and(|source| matches!(source.downcast_ref(), Some(Ours::Unreadable)))
}

/// Whether the peer itself, as a gRPC server, sent this code. A status that we make must never count as the SoC's.
pub(crate) fn is_peers(status: &Status) -> bool {
    let source = std::error::Error::source(status);
    !source.is_some_and(|source| source.is::<Ours>())
}

/// The fields of a head or of trailers that matter to us, found in one pass, because looking up one field by name costs as
/// much. If a field is there twice, the first counts.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    /// In bytes, as HTTP/2 counts it.
    size: usize,
    status: Option<&'a HeaderValue>,
    message: Option<&'a HeaderValue>,
    content_type: Option<&'a HeaderValue>,
    pub(super) encoding: Option<&'a HeaderValue>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            fields.size += name.as_str().len() + value.len() + FIELD_OVERHEAD;
            let place = if *name == GRPC_STATUS {
                &mut fields.status
            } else if *name == GRPC_MESSAGE {
                &mut fields.message
            } else if *name == CONTENT_TYPE {
                &mut fields.content_type
            } else if *name == GRPC_ENCODING {
                &mut fields.encoding
            } else {
                continue;
            };
            place.get_or_insert(value);
        }
        fields
    }

    /// How the RPC ended: with OK, or with the peer's status as the error. `false`: these fields do not say. Of an error only code and
    /// message are read, and of the message as much as can be: gRPC requires that the code survives a message that is not
    /// percent-encoded UTF-8. tonic's own reader discards it, and panics on a `grpc-status-details-bin` that is not base64.
    pub(super) fn ended(&self) -> Result<bool, Status> {
        let size = self.size;
        if size > MAX_BLOCK {
            let text = format!("{}: {size} bytes, the limit is {MAX_BLOCK}", Limit::Headers);
            return Err(ours(Code::ResourceExhausted, text));
        }
        match self.status {
            None => Ok(false),
            Some(status) if status.as_bytes() == b"0" => Ok(true),
            Some(status) => Err(peers(status, self.message)),
        }
    }
}

/// A status that the peer sent.
fn peers(status: &HeaderValue, message: Option<&HeaderValue>) -> Status {
    let message = percent_decode(message.map_or(b"", HeaderValue::as_bytes)).decode_utf8_lossy();
    Status::new(Code::from_bytes(status.as_bytes()), message)
}

/// Checks that a head is from a gRPC server. The error says what it is instead.
pub(super) fn is_grpc(http: StatusCode, head: &Fields<'_>) -> Result<(), Status> {
    let kind = head.content_type.map(HeaderValue::as_bytes);
    if !kind.is_some_and(is_grpc_type) {
        let with = match kind {
            Some(kind) => {
                let kind = String::from_utf8_lossy(&kind[..kind.len().min(MAX_SHOWN)]);
                format!("with content-type {kind}")
            }
            None => "without a content-type".to_owned(),
        };
        // A proxy for browsers speaks gRPC-Web. People easily take it for gRPC.
        let web = if kind.is_some_and(|kind| kind.starts_with(b"application/grpc-web")) {
            " but gRPC-Web"
        } else {
            ""
        };
        let text = format!("{NOT_GRPC}{web}: HTTP {} {with}", http.as_u16());
        return Err(ours(code_of(http), text));
    }
    if http != StatusCode::OK && head.status.is_none() {
        let text = format!("HTTP status {} instead of a gRPC answer", http.as_u16());
        return Err(ours(code_of(http), text));
    }
    Ok(())
}

/// `application/grpc`, alone or followed by `+proto`, `; charset=...` and the like.
fn is_grpc_type(kind: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let kind = kind.trim_ascii();
    let Some((start, rest)) = kind.split_at_checked(GRPC.len()) else {
        return false;
    };
    start.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// gRPC's table for answers that are not gRPC, for example from a proxy.
fn code_of(http: StatusCode) -> Code {
    match http.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// The table of error codes in "gRPC over HTTP/2". Anything that ended the whole connection is UNAVAILABLE.
pub(super) fn status_of(error: &h2::Error) -> Status {
    let code = match error.reason() {
        _ if error.is_io() || error.is_go_away() => Code::Unavailable,
        Some(Reason::REFUSED_STREAM) => Code::Unavailable,
        Some(Reason::CANCEL) => Code::Cancelled,
        Some(Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
        Some(Reason::INADEQUATE_SECURITY) => Code::PermissionDenied,
        Some(_) => Code::Internal,
        None => Code::Unavailable,
    };
    // h2's own text for this is "not a result of an error".
    let is_no_error = error.is_remote() && error.reason() == Some(Reason::NO_ERROR);
    match (is_no_error, error.is_go_away(), error.is_reset()) {
        (true, true, _) => ours(code, "the peer has ended the connection in good order (GOAWAY)"),
        (true, _, true) => ours(
            code,
            "the peer has reset the stream without an error (RST_STREAM, NO_ERROR)",
        ),
        _ => ours(code, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static [u8])]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static [u8])| {
            let value = HeaderValue::from_bytes(value).expect("a value");
            (HeaderName::from_static(name), value)
        };
        fields.iter().map(field).collect()
    }

    fn ended(headers: &HeaderMap) -> Result<bool, Status> {
        Fields::of(headers).ended()
    }

    #[test]
    fn a_message_that_cannot_be_read_costs_neither_the_code_nor_the_rest_of_it() {
        let check = |message: &'static [u8], expected: &str| {
            let status = ended(&headers(&[("grpc-status", b"13"), ("grpc-message", message)]));
            let status = status.expect_err("an error");
            assert_eq!((status.code(), status.message()), (Code::Internal, expected));
        };
        check(b"no cable", "no cable");
        check(b"%C3%A9 100%", "\u{e9} 100%");
        check(b"port 3%: %ff%fe lost", "port 3%: \u{fffd}\u{fffd} lost");
        check(b"\xff", "\u{fffd}");
        check(b"%00%0a", "\0\n");
        check(b"", "");
    }

    #[test]
    fn status_and_message_count_and_nothing_else() {
        for details in [&b"!!!"[..], b"CAU=,CAU=", b"CAU="] {
            let status = ended(&headers(&[
                ("grpc-status", b"5"),
                ("grpc-message", b"gone"),
                ("grpc-status-details-bin", details),
                ("grpc-encoding", b"snappy"),
                ("x-anything", b"else"),
            ]));
            let status = status.expect_err("an error");
            assert_eq!((status.code(), status.message()), (Code::NotFound, "gone"));
            assert!(is_peers(&status));
        }
        let ends = |fields: &[(&'static str, &'static [u8])]| {
            ended(&headers(fields)).map_err(|status| status.code())
        };
        assert_eq!(ends(&[("grpc-message", b"alone")]), Ok(false));
        assert_eq!(
            ends(&[("grpc-status", b"0"), ("grpc-message", b"fine")]),
            Ok(true)
        );
        assert_eq!(ends(&[("grpc-status", b"16")]), Err(Code::Unauthenticated));
        for odd in [&b"00"[..], b"", b"17", b"-1", b"ok", b"\xff"] {
            assert_eq!(ends(&[("grpc-status", odd)]), Err(Code::Unknown), "{odd:?}");
        }
    }

    #[test]
    fn a_block_over_the_limit_is_resource_exhausted() {
        let check = |length: usize, expected: Option<Code>| {
            let mut long = headers(&[("grpc-status", b"0")]);
            long.insert(
                GRPC_MESSAGE,
                HeaderValue::try_from("x".repeat(length)).expect("a value"),
            );
            assert_eq!(
                ended(&long).err().map(|status| status.code()),
                expected,
                "{length}"
            );
        };
        let others = "grpc-status".len() + 1 + "grpc-message".len() + 2 * FIELD_OVERHEAD;
        check(MAX_BLOCK - others, None);
        check(MAX_BLOCK - others + 1, Some(Code::ResourceExhausted));
        check(70_000, Some(Code::ResourceExhausted));
    }

    #[test]
    fn a_head_is_a_grpc_servers_if_its_content_type_says_so() {
        let check = |http: u16, kind: Option<&'static [u8]>, expected: Result<(), (Code, &str)>| {
            let headers = kind.map_or_else(HeaderMap::new, |kind| headers(&[("content-type", kind)]));
            let http = StatusCode::from_u16(http).expect("a status");
            let found = is_grpc(http, &Fields::of(&headers));
            if let Err(status) = &found {
                assert!(!is_peers(status), "{status}");
            }
            let found = found
                .as_ref()
                .err()
                .map(|status| (status.code(), status.message()));
            assert_eq!(found, expected.err(), "{http} {kind:?}");
        };
        for good in [
            &b"application/grpc"[..],
            b"application/grpc+proto",
            b"Application/GRPC; charset=utf-8",
        ] {
            check(200, Some(good), Ok(()));
        }
        let html = "not a gRPC server: HTTP 200 with content-type text/html";
        check(200, Some(b"text/html"), Err((Code::Unknown, html)));
        let none = "not a gRPC server: HTTP 200 without a content-type";
        check(200, None, Err((Code::Unknown, none)));
        let web = "not a gRPC server but gRPC-Web: HTTP 200 with content-type application/grpc-web";
        check(200, Some(b"application/grpc-web"), Err((Code::Unknown, web)));
        let missing = "not a gRPC server: HTTP 404 with content-type text/plain";
        check(404, Some(b"text/plain"), Err((Code::Unimplemented, missing)));
        let proxy = "HTTP status 503 instead of a gRPC answer";
        check(503, Some(b"application/grpc"), Err((Code::Unavailable, proxy)));
    }

    #[test]
    fn what_the_peer_says_is_told_from_what_we_make() {
        let peers = ended(&headers(&[("grpc-status", b"12")])).expect_err("an error");
        assert!(is_peers(&peers));
        let status = ours(Code::Unimplemented, "made here");
        assert_eq!(status.code(), Code::Unimplemented);
        assert!(!is_peers(&status));
    }
}
