//! gRPC's frames and statuses, as far as one unary call to a collector needs them. Pure.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::HeaderMap;
use percent_encoding::percent_decode_str;

use crate::model::{MessagePrefix, PREFIX_LEN};

/// One message, ready to be sent.
pub(super) fn framed(message: &[u8], packed: bool) -> Bytes {
    let prefix = MessagePrefix {
        flag: packed.into(),
        length: message.len(),
    };
    let mut framed = BytesMut::with_capacity(PREFIX_LEN + message.len());
    framed.extend_from_slice(&prefix.bytes());
    framed.extend_from_slice(message);
    framed.freeze()
}

/// The message of a reply. An empty body is an empty message: a collector may leave it out.
pub(super) fn message_of(mut body: Bytes) -> Result<Bytes, String> {
    if body.is_empty() {
        return Ok(body);
    }
    let Some(MessagePrefix { flag, length }) = MessagePrefix::first(&body) else {
        return Err("the reply's message has no head".to_owned());
    };
    if flag != 0 {
        return Err("the reply is compressed, which was not asked for".to_owned());
    }
    body.advance(PREFIX_LEN);
    if body.len() < length {
        return Err(format!(
            "the reply's message has {} of {length} bytes",
            body.len()
        ));
    }
    Ok(body.split_to(length))
}

/// How a call ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GrpcStatus {
    pub(super) code: u32,
    pub(super) message: String,
}

impl GrpcStatus {
    /// From the trailers, or from the headers of a reply that has nothing else.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let code = text("grpc-status")?.parse().ok()?;
        let message = percent_decode_str(text("grpc-message").unwrap_or("")).decode_utf8_lossy();
        Some(Self {
            code,
            message: message.into_owned(),
        })
    }

    /// Whether the specification of OTLP lets the request be repeated.
    pub(super) fn may_be_repeated(&self) -> bool {
        /// CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS. RESOURCE_EXHAUSTED only with RetryInfo,
        /// which we do not read.
        const AGAIN: [u32; 6] = [1, 4, 10, 11, 14, 15];
        AGAIN.contains(&self.code)
    }

    /// PERMISSION_DENIED, UNAUTHENTICATED.
    pub(super) fn is_about_the_login(&self) -> bool {
        [7, 16].contains(&self.code)
    }
}

/// The header `grpc-timeout`.
pub(super) fn timeout_header(timeout: Duration) -> String {
    format!("{}m", timeout.as_millis().clamp(1, 99_999_999))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_framed_is_read() {
        let framed = framed(b"abc", false);
        assert_eq!(&framed[..], b"\0\0\0\0\x03abc");
        assert_eq!(message_of(framed), Ok(Bytes::from_static(b"abc")));
        assert_eq!(message_of(Bytes::new()), Ok(Bytes::new()));
    }

    #[test]
    fn a_broken_reply_is_an_error() {
        for body in [&b"\0\0\0"[..], b"\x01\0\0\0\0", b"\0\0\0\0\x09abc"] {
            assert!(message_of(Bytes::from_static(body)).is_err(), "{body:?}");
        }
    }

    #[test]
    fn a_status_is_read_from_headers() {
        let mut headers = HeaderMap::new();
        assert_eq!(GrpcStatus::of(&headers), None);
        headers.insert("grpc-status", "14".parse().expect("a value"));
        headers.insert("grpc-message", "no%20way".parse().expect("a value"));
        let status = GrpcStatus::of(&headers).expect("a status");
        assert_eq!((status.code, &*status.message), (14, "no way"));
        assert!(status.may_be_repeated());
        let refused = GrpcStatus {
            code: 3,
            message: String::new(),
        };
        assert!(!refused.may_be_repeated());
    }

    proptest! {
        #[test]
        fn no_reply_panics(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = message_of(body.into());
        }
    }
}
