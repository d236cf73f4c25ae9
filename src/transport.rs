//! The tower service that tonic's generated clients call: one RPC over the session's own h2 connection.
//! `channel` makes it, `probe` uses it; it belongs to neither.
//!
//! It bypasses tonic's transport, so it does what that would have done: the `user-agent`, the configured metadata, flow
//! control, h2's errors as gRPC status codes, and a limit on what a SoC may answer.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame};
use percent_encoding::percent_decode;
use tonic::{Code, Status};
use tower_service::Service;

use crate::arrivals::Arrivals;
use crate::model::{Security, Target};

/// No message of a SoC may be longer; a true one is under 100 bytes.
const MAX_MESSAGE: usize = 64 * 1024;
/// A compressed flag and a length stand before each gRPC message.
const PREFIX_LEN: usize = 5;
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const USER_AGENT: &str = concat!("dualtor-exporter/", env!("CARGO_PKG_VERSION"));

/// What every RPC to one SoC has in common; made once per target.
#[derive(Debug)]
pub(crate) struct Outgoing {
    origin: Uri,
    metadata: Vec<(HeaderName, HeaderValue)>,
}

/// Metadata or an address that HTTP cannot carry. The configuration is checked earlier: this is the last line.
#[derive(Debug, thiserror::Error)]
#[error("cannot be sent over HTTP/2: {0}")]
pub struct OutgoingError(#[from] http::Error);

impl Outgoing {
    pub(crate) fn new(target: &Target) -> Result<Self, OutgoingError> {
        let (scheme, name) = match &target.channel.security {
            Security::Plain => ("http", None),
            Security::Tls(tls) => ("https", tls.server_name.as_deref()),
            // Nothing is ever sent.
            Security::Unusable(_) => ("https", None),
        };
        // gRPC's own clients send the name in place of the address, too: a proxy may route by it.
        let authority = match name.and_then(authority) {
            Some(authority) => authority,
            None => target
                .address
                .to_string()
                .parse::<Authority>()
                .map_err(http::Error::from)?,
        };
        let origin = Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query("/")
            .build()?;
        let mut metadata = vec![(http::header::USER_AGENT, HeaderValue::from_static(USER_AGENT))];
        for (name, value) in &target.channel.metadata {
            let value = value
                .replace("${soc_ip}", &target.address.ip().to_string())
                .replace("${port}", target.port.as_str());
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(http::Error::from)?;
            metadata.push((name, HeaderValue::from_str(&value).map_err(http::Error::from)?));
        }
        Ok(Self { origin, metadata })
    }
}

/// A server name as it stands in a URI, an IPv6 address in brackets; `None`: it is no name at all, and no dial succeeds.
fn authority(name: &str) -> Option<Authority> {
    let text = match name.parse() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        Ok(IpAddr::V4(_)) | Err(_) => name.to_owned(),
    };
    text.parse().ok()
}

/// A way to send RPCs over one connection, as long as that lives. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Transport {
    requests: SendRequest<Bytes>,
    outgoing: Arc<Outgoing>,
    arrivals: Arc<Arrivals>,
    timeout: Option<HeaderValue>,
    /// The stream of the last RPC, where somebody wants to know it; 0: none yet.
    stream: Option<Arc<AtomicU32>>,
}

impl Transport {
    pub(crate) fn new(
        requests: SendRequest<Bytes>,
        outgoing: Arc<Outgoing>,
        arrivals: Arc<Arrivals>,
    ) -> Self {
        Self {
            requests,
            outgoing,
            arrivals,
            timeout: None,
            stream: None,
        }
    }

    /// When things happened on its connection.
    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    /// The same for one RPC, whose end `ended` tells.
    pub fn for_one(&self) -> Self {
        let stream = Some(Arc::default());
        Self {
            stream,
            ..self.clone()
        }
    }

    /// When the last bytes of this RPC's reply came in; `None`: there were none, or it is not known.
    pub fn ended(&self) -> Option<Instant> {
        let stream = self.stream.as_ref()?.load(Ordering::Relaxed);
        self.arrivals.end_of(stream)
    }

    /// The same for unary RPCs: with a `grpc-timeout` on each (the caller must keep the deadline, too: the peer may not),
    /// and with one message per reply.
    pub fn for_queries(mut self, timeout: Duration) -> Self {
        self.timeout = grpc_timeout(timeout);
        self
    }

    /// What tonic's `Client::with_origin` wants.
    pub fn origin(&self) -> Uri {
        self.outgoing.origin.clone()
    }

    /// How many RPCs the peer allows at a time.
    pub fn max_streams(&self) -> usize {
        self.requests.current_max_send_streams()
    }
}

impl Service<Request<tonic::body::Body>> for Transport {
    type Response = Response<ReplyBody>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.requests.poll_ready(cx).map_err(|error| status_of(&error))
    }

    fn call(&mut self, mut request: Request<tonic::body::Body>) -> Self::Future {
        let headers = request.headers_mut();
        for (name, value) in &self.outgoing.metadata {
            headers.insert(name, value.clone());
        }
        if let Some(timeout) = &self.timeout {
            headers.insert(GRPC_TIMEOUT, timeout.clone());
        }
        let max_messages = if self.timeout.is_some() { 1 } else { u64::MAX };
        Box::pin(send(
            self.requests.clone(),
            request,
            max_messages,
            self.stream.clone(),
        ))
    }
}

async fn send(
    requests: SendRequest<Bytes>,
    request: Request<tonic::body::Body>,
    max_messages: u64,
    number: Option<Arc<AtomicU32>>,
) -> Result<Response<ReplyBody>, Status> {
    let (head, body) = request.into_parts();
    // Every request of ours is one message of a few bytes: it goes out as one DATA frame.
    let message = collect(body).await?;
    let mut requests = requests.ready().await.map_err(|error| status_of(&error))?;
    let (response, mut stream) = requests
        .send_request(Request::from_parts(head, ()), false)
        .map_err(|error| status_of(&error))?;
    if let Some(number) = number {
        number.store(response.stream_id().as_u32(), Ordering::Relaxed);
    }
    stream
        .send_data(message, true)
        .map_err(|error| status_of(&error))?;
    let mut response = response.await.map_err(|error| status_of(&error))?;
    drop_unreadable_message(response.headers_mut());
    let trailers_only = response.headers().contains_key(GRPC_STATUS);
    if !trailers_only && response.status() != StatusCode::OK {
        return Err(not_grpc(response.status()));
    }
    Ok(response.map(|stream| ReplyBody::new(stream, trailers_only, max_messages)))
}

/// gRPC allows eight digits and a unit.
fn grpc_timeout(timeout: Duration) -> Option<HeaderValue> {
    let text = match (timeout.as_micros(), timeout.as_millis()) {
        (micros @ ..100_000_000, _) => format!("{micros}u"),
        (_, millis @ ..100_000_000) => format!("{millis}m"),
        _ => format!("{}S", timeout.as_secs().min(99_999_999)),
    };
    HeaderValue::from_str(&text).ok()
}

async fn collect(mut body: tonic::body::Body) -> Result<Bytes, Status> {
    let mut first = Bytes::new();
    let mut more: Option<BytesMut> = None;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(data) = frame?.into_data() else { continue };
        match &mut more {
            None if first.is_empty() => first = data,
            None => more = Some(BytesMut::from_iter(first.iter().chain(data.iter()))),
            Some(all) => all.extend_from_slice(&data),
        }
    }
    Ok(more.map_or(first, BytesMut::freeze))
}

/// A response's body: gives flow control back, and refuses a message that is, or says it will be, too long.
#[derive(Debug)]
pub struct ReplyBody {
    stream: RecvStream,
    state: State,
    prefix: Prefix,
    max_messages: u64,
    trailers_only: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Data,
    Trailers,
    Done,
}

impl ReplyBody {
    fn new(stream: RecvStream, trailers_only: bool, max_messages: u64) -> Self {
        Self {
            stream,
            state: State::Data,
            prefix: Prefix::default(),
            max_messages,
            trailers_only,
        }
    }

    fn fail(&mut self, status: Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.state = State::Done;
        Poll::Ready(Some(Err(status)))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.state == State::Data {
            match ready!(this.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // An error here means that the stream is gone: the next poll tells.
                    let _ = this.stream.flow_control().release_capacity(data.len());
                    if let Err(length) = this.prefix.check(&data) {
                        let text = format!("a reply of {length} bytes, the limit is {MAX_MESSAGE}");
                        return this.fail(Status::resource_exhausted(text));
                    }
                    if this.prefix.messages > this.max_messages {
                        return this.fail(Status::internal("more than one message in the reply"));
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => {
                    let status = status_of(&error);
                    return this.fail(status);
                }
                None => this.state = State::Trailers,
            }
        }
        if this.state == State::Done {
            return Poll::Ready(None);
        }
        match ready!(this.stream.poll_trailers(cx)) {
            Ok(Some(mut trailers)) => {
                this.state = State::Done;
                drop_unreadable_message(&mut trailers);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Ok(None) if this.trailers_only => {
                this.state = State::Done;
                Poll::Ready(None)
            }
            // Without a status nobody has said that the message is good.
            Ok(None) => this.fail(Status::internal("the stream ended without a grpc-status")),
            Err(error) => {
                let status = status_of(&error);
                this.fail(status)
            }
        }
    }
}

/// Follows the length prefixes of the messages in a stream of DATA, however it is cut.
#[derive(Debug, Default)]
struct Prefix {
    bytes: [u8; PREFIX_LEN],
    have: usize,
    left: usize,
    /// Messages begun.
    messages: u64,
}

impl Prefix {
    /// The length of the first message that is too long.
    fn check(&mut self, mut data: &[u8]) -> Result<(), usize> {
        while !data.is_empty() {
            if self.left > 0 {
                let n = data.len().min(self.left);
                self.left -= n;
                data = &data[n..];
                continue;
            }
            let n = data.len().min(PREFIX_LEN - self.have);
            self.bytes[self.have..self.have + n].copy_from_slice(&data[..n]);
            self.have += n;
            data = &data[n..];
            if self.have == PREFIX_LEN {
                let [_, a, b, c, d] = self.bytes;
                self.have = 0;
                self.messages += 1;
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                if self.left > MAX_MESSAGE {
                    return Err(self.left);
                }
            }
        }
        Ok(())
    }
}

/// tonic gives up a status whose message is not percent-encoded UTF-8; gRPC wants the code to survive that.
fn drop_unreadable_message(headers: &mut HeaderMap) {
    let readable = |value: &HeaderValue| percent_decode(value.as_bytes()).decode_utf8().is_ok();
    if headers.get(GRPC_MESSAGE).is_some_and(|value| !readable(value)) {
        headers.remove(GRPC_MESSAGE);
    }
}

/// gRPC's table for answers of something that is not gRPC, a proxy for example.
fn not_grpc(http: StatusCode) -> Status {
    let code = match http.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    Status::new(
        code,
        format!("HTTP status {} instead of a gRPC answer", http.as_u16()),
    )
}

/// gRPC over HTTP/2's table of error codes; whatever ended the whole connection is UNAVAILABLE.
fn status_of(error: &h2::Error) -> Status {
    let code = match error.reason() {
        _ if error.is_io() || error.is_go_away() => Code::Unavailable,
        Some(Reason::REFUSED_STREAM) => Code::Unavailable,
        Some(Reason::CANCEL) => Code::Cancelled,
        Some(Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
        Some(Reason::INADEQUATE_SECURITY) => Code::PermissionDenied,
        Some(_) => Code::Internal,
        None => Code::Unavailable,
    };
    Status::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{ChannelSettings, Port, Side, TlsSettings};

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(length).expect("fits").to_be_bytes());
        bytes.resize(PREFIX_LEN + length, 7);
        bytes
    }

    #[test]
    fn the_origin_says_how_the_channel_is_secured_and_whose_certificate_is_expected() {
        let check = |security: Security, expected: &str| {
            let target = Target {
                namespace: "".into(),
                port: Port::new("Ethernet0").expect("a port"),
                address: ([127, 0, 0, 1], 50075).into(),
                side: Side::Upper,
                channel: Arc::new(ChannelSettings {
                    security,
                    ..ChannelSettings::default()
                }),
            };
            let outgoing = Outgoing::new(&target).expect("sendable");
            assert_eq!(outgoing.origin.to_string(), expected);
        };
        let tls = |name: Option<&str>| {
            Security::Tls(TlsSettings {
                ca: "ca.crt".into(),
                client: None,
                server_name: name.map(str::to_owned),
            })
        };
        check(Security::Plain, "http://127.0.0.1:50075/");
        check(tls(None), "https://127.0.0.1:50075/");
        check(tls(Some("soc.example")), "https://soc.example/");
        check(tls(Some("fc02::1")), "https://[fc02::1]/");
        // No dial succeeds with it, but the target must be there to say so.
        check(tls(Some("soc one")), "https://127.0.0.1:50075/");
        check(Security::Unusable("no CA".into()), "https://127.0.0.1:50075/");
    }

    #[test]
    fn a_timeout_is_at_most_eight_digits_and_a_unit() {
        let check = |timeout, expected: &str| assert_eq!(grpc_timeout(timeout).expect("a value"), expected);
        check(Duration::from_millis(500), "500000u");
        check(Duration::from_secs(100), "100000m");
        check(Duration::from_secs(1_000_000), "1000000S");
        check(Duration::MAX, "99999999S");
    }

    #[test]
    fn a_message_of_the_limit_passes_and_one_byte_more_does_not() {
        assert_eq!(Prefix::default().check(&message(MAX_MESSAGE)), Ok(()));
        assert_eq!(
            Prefix::default().check(&message(MAX_MESSAGE + 1)),
            Err(MAX_MESSAGE + 1)
        );
    }

    #[test]
    fn a_length_that_is_only_announced_is_enough() {
        assert_eq!(
            Prefix::default().check(&[0, 0xff, 0xff, 0xff, 0xff]),
            Err(0xffff_ffff)
        );
    }

    #[test]
    fn a_message_that_cannot_be_read_does_not_cost_the_code() {
        let check = |message: &'static [u8], kept: bool| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", HeaderValue::from_static("13"));
            headers.insert(
                "grpc-message",
                HeaderValue::from_bytes(message).expect("a header"),
            );
            drop_unreadable_message(&mut headers);
            assert_eq!(headers.contains_key("grpc-message"), kept, "{message:?}");
            assert_eq!(
                Status::from_header_map(&headers).map(|s| s.code()),
                Some(Code::Internal)
            );
        };
        check(b"no cable", true);
        check(b"%C3%A9 100%", true);
        check(b"%ff%fe", false);
        check(b"\xff", false);
    }

    proptest! {
        #[test]
        fn many_messages_pass_however_they_are_cut(
            lengths in prop::collection::vec(0usize..300, 1..20), cut in 1usize..50,
        ) {
            let bytes: Vec<u8> = lengths.iter().flat_map(|n| message(*n)).collect();
            let mut prefix = Prefix::default();
            for chunk in bytes.chunks(cut) {
                prop_assert_eq!(prefix.check(chunk), Ok(()));
            }
            prop_assert_eq!((prefix.have, prefix.left), (0, 0));
            prop_assert_eq!(prefix.messages, lengths.len() as u64);
        }
    }
}
