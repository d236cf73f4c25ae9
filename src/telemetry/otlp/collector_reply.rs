//! What a collector's reply says: the message, or why the request did not succeed and whether it may be sent again.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::HttpBody as _;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode, header};
use hyper::body::Incoming;

use super::grpc_frames::{GrpcStatus, message_of};
use crate::model::text;
use crate::soc::channel::ServerFault;
use dualtor_proto::wire::{WireFields, WireValue};

/// The longest reply. A collector's is a few bytes, or a sentence about what it rejects.
pub(super) const MAX_REPLY: usize = 64 * 1024;

/// Why a request did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SendError {
    /// For people.
    pub(super) text: String,
    /// Whether it makes sense to send the same again.
    pub(super) again: bool,
    /// The collector does not accept our login.
    pub(super) login: bool,
    /// The collector asks to wait this long before the next request.
    pub(super) after: Option<Duration>,
}

impl SendError {
    pub(super) fn again(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            again: true,
            login: false,
            after: None,
        }
    }

    pub(super) fn refused(text: String) -> Self {
        Self {
            text,
            again: false,
            login: false,
            after: None,
        }
    }
}

/// The message of a reply over HTTP.
pub(super) async fn of_http(response: Response<Incoming>) -> Result<Bytes, SendError> {
    let (status, retry) = (response.status(), retry_after(response.headers()));
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_page = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    let body = collect(response.into_body()).await;
    if status.is_success() {
        let (body, _) = body.map_err(SendError::again)?;
        return match is_page {
            true => Err(SendError::refused(
                "expected an answer of OTLP, got a web page".to_owned(),
            )),
            false => Ok(body),
        };
    }
    // The status counts, whatever else comes.
    let reason = body.map_or_else(|_| String::new(), |(body, _)| reason_of(&body));
    Err(SendError {
        text: format!("expected the status 200, got {}{reason}", status.as_u16()),
        again: may_be_repeated(status),
        login: is_about_the_login(status),
        after: retry.filter(|_| may_be_repeated(status)),
    })
}

/// These and no others may be repeated, by the specifications of OTLP and of gRPC.
fn may_be_repeated(status: StatusCode) -> bool {
    [429, 502, 503, 504].contains(&status.as_u16())
}

fn is_about_the_login(status: StatusCode) -> bool {
    [401, 403].contains(&status.as_u16())
}

/// Why a collector refuses a request, if it says so: in the message of a `google.rpc.Status`, or as text.
fn reason_of(body: &[u8]) -> String {
    const MESSAGE: u64 = 2;
    let fields: Result<Vec<_>, _> = WireFields::of(body).collect();
    let said = fields.ok().and_then(|fields| {
        fields.into_iter().find_map(|(number, value)| match value {
            WireValue::Bytes(said) if number == MESSAGE => Some(said),
            _ => None,
        })
    });
    match std::str::from_utf8(said.unwrap_or(body)).map(str::trim) {
        Ok(said) if !said.is_empty() => format!(": {}", text::quote(said)),
        _ => String::new(),
    }
}

/// The message of a reply of gRPC.
pub(super) async fn of_grpc(response: Response<Incoming>) -> Result<Bytes, SendError> {
    let (http, early) = (response.status(), GrpcStatus::of(response.headers()));
    if http != StatusCode::OK {
        return Err(SendError {
            text: format!("expected the HTTP status 200, got {}", http.as_u16()),
            again: may_be_repeated(http),
            login: is_about_the_login(http),
            after: None,
        });
    }
    let (body, trailers) = collect(response.into_body()).await.map_err(SendError::again)?;
    let status = early.or_else(|| trailers.as_ref().and_then(GrpcStatus::of));
    match status {
        // gRPC's UNKNOWN.
        None => Err(SendError::refused("the reply has no grpc-status".to_owned())),
        Some(GrpcStatus { code: 0, .. }) => message_of(body).map_err(SendError::refused),
        Some(status) => Err(SendError {
            text: format!("gRPC status {}: {}", status.code, text::quote(&status.message)),
            again: status.may_be_repeated(),
            login: status.is_about_the_login(),
            after: None,
        }),
    }
}

/// Seconds only. A date would need a clock that both sides agree on.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

async fn collect(mut body: Incoming) -> Result<(Bytes, Option<HeaderMap>), String> {
    let (mut all, mut trailers) = (BytesMut::new(), None);
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|error| format!("the reply breaks off: {}", ServerFault::of(&error)))?;
        match frame.into_data() {
            Ok(data) if all.len() + data.len() > MAX_REPLY => {
                return Err(format!("expected a reply of at most {} KiB", MAX_REPLY >> 10));
            }
            Ok(data) => all.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok().or(trailers),
        }
    }
    Ok((all.freeze(), trailers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_message_of_a_status_or_text() {
        assert_eq!(reason_of(b""), "");
        assert_eq!(reason_of(b"no such tenant\n"), ": no such tenant");
        assert_eq!(reason_of(b"\x08\x03\x12\x05wrong"), ": wrong");
        assert_eq!(reason_of(&[0xff, 0xfe]), "");
        assert!(reason_of(&[b'x'; 60_000]).len() < 1_000);
    }
}
