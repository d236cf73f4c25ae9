//! gRPC on h2, by hand: the prefix of messages, headers, trailers, errors, deadlines. It knows nothing of SoCs.

use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::fault::{Code, Compression, H2Code, ReplyFault};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
/// Length of a message's prefix, in bytes: one for the compression flag and four for the length.
pub(super) const PREFIX: usize = 5;
/// The longest request that is read, in bytes. A real one is a few bytes.
const REQUEST_MAX: usize = 64 * 1024;

/// Whether a request is gRPC at all.
pub(super) fn is_grpc(head: &http::request::Parts) -> bool {
    let kind = head.headers.get(CONTENT_TYPE);
    head.method == http::Method::POST && kind.is_some_and(|kind| kind.as_bytes().starts_with(GRPC.as_bytes()))
}

/// Reads the one message of a request, with its prefix. `None` if there is not exactly one.
pub(super) async fn read(mut body: RecvStream) -> Result<Option<Bytes>, h2::Error> {
    let mut whole = Bytes::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        // Almost every client sends a request in one part.
        whole = match whole.is_empty() {
            true => part,
            false => [whole, part].concat().into(),
        };
        if whole.len() > REQUEST_MAX {
            return Ok(None);
        }
    }
    Ok(match whole.first_chunk::<PREFIX>() {
        Some([0, length @ ..]) if u32::from_be_bytes(*length) as usize == whole.len() - PREFIX => Some(whole),
        _ => None,
    })
}

/// A head, with what the fault adds to it.
pub(super) fn headers(fault: &ReplyFault) -> Response<()> {
    let mut response = Response::new(());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC);
    let encoding = match fault {
        ReplyFault::Compressed(how) => match how {
            Compression::Gzip | Compression::HeaderOnly | Compression::Bomb => Some("gzip"),
            Compression::Deflate | Compression::RawDeflate => Some("deflate"),
            Compression::Unknown => Some("snappy"),
            Compression::Unannounced => None,
        },
        _ => None,
    };
    if let Some(encoding) = encoding {
        headers.insert("grpc-encoding", HeaderValue::from_static(encoding));
    }
    add_details(headers, fault);
    response
}

fn add_details(headers: &mut HeaderMap, fault: &ReplyFault) {
    if let ReplyFault::DetailsBin { value, .. } = fault
        && let Ok(value) = HeaderValue::from_str(value)
    {
        headers.insert("grpc-status-details-bin", value);
    }
}

pub(super) fn trailers(code: Option<Code>, fault: &ReplyFault) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(
        "grpc-status",
        HeaderValue::from(code.map_or(0, |code| code as u16)),
    );
    add_details(&mut trailers, fault);
    trailers
}

/// A gRPC error: headers and trailers in one.
pub(super) fn status(respond: &mut SendResponse<Bytes>, code: Code, message: &str) -> Result<(), h2::Error> {
    status_with(respond, code, message, &ReplyFault::None)
}

/// The same, with what the fault adds to it.
pub(super) fn status_with(
    respond: &mut SendResponse<Bytes>,
    code: Code,
    message: &str,
    fault: &ReplyFault,
) -> Result<(), h2::Error> {
    let mut response = headers(fault);
    let headers = response.headers_mut();
    headers.insert("grpc-status", HeaderValue::from(code as u16));
    if let Ok(message) = HeaderValue::try_from(percent_encoded(message))
        && !message.is_empty()
    {
        headers.insert("grpc-message", message);
    }
    respond.send_response(response, true).map(drop)
}

pub(super) fn http_status(respond: &mut SendResponse<Bytes>, status: StatusCode) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    respond.send_response(response, true).map(drop)
}

/// A page of a web server.
pub(super) fn web_page(
    respond: &mut SendResponse<Bytes>,
    status: u16,
    content_type: Option<&str>,
) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    if let Some(kind) = content_type.and_then(|kind| HeaderValue::from_str(kind).ok()) {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    let mut stream = respond.send_response(response, false)?;
    stream.send_data(
        Bytes::from_static(b"<!DOCTYPE html><title>It works</title>"),
        true,
    )
}

/// In the form that gRPC requires for `grpc-message`: everything except printable ASCII as %XX, and the percent sign too.
fn percent_encoded(message: &str) -> String {
    message.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b' '..=b'~' if byte != b'%' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
        text
    })
}

/// In gRPC's own notation `500m` is 500 milliseconds.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The same code in h2's type.
pub(super) fn reason(code: H2Code) -> Reason {
    Reason::from(code as u32)
}
