//! The tower service that tonic's generated clients call: one RPC over the session's own h2 connection. `channel` makes it and
//! `probe` uses it, but it belongs to neither.
//!
//! It replaces tonic's transport, so it does the same work: the `user-agent`, the configured metadata, flow control, h2's
//! errors as gRPC status codes, decompression, and a limit for the replies of a SoC. Of a SoC's headers, tonic sees only status
//! and message.
//!
//! Imports `model` and `config` (files), and in `soc` `arrivals`.
//!
//! | file | job |
//! |---|---|
//! | messages | the messages of a reply, their limits; pure |
//! | unpacker | decompresses one of them; pure |
//! | grpc_status | which headers tonic sees; the statuses that we make; pure |
//! | reply | a response's body |
//! | raw_call | RPCs whose messages are bytes |
//! | metadata_files | request metadata from files |
//! | outgoing | what all RPCs to one target have in common |
//! | places | how many RPCs run at the same time |
//! | round_trace | the trace that a SoC is told |

mod grpc_status;
mod messages;
mod metadata_files;
mod outgoing;
mod places;
pub(crate) mod raw_call;
mod reply;
mod round_trace;
mod unpacker;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::TryFutureExt as _;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderName, HeaderValue, Request, Response, Uri};
use http_body::Body;
use tonic::{Code, Status};
use tower_service::Service;

use crate::model::Limit;
use crate::soc::arrivals::Arrivals;
use grpc_status::{Fields, GRPC_STATUS, is_grpc, ours, status_of};
pub(crate) use grpc_status::{is_peers, is_unreadable};
use messages::{ACCEPTED, Encoding, MAX_MESSAGE, Messages};
pub(crate) use outgoing::Outgoing;
pub use outgoing::OutgoingError;
pub(crate) use places::OpenRpcs;
use places::{Places, StreamPlace};
pub use reply::ReplyBody;
use round_trace::{RoundTrace, TRACEPARENT};

/// Informational heads (1xx) before the head of a response. HTTP allows any number of them, and h2 keeps each until it is read.
/// A gRPC server sends none.
const MAX_INFORMATIONAL: usize = 8;
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Sends RPCs over one connection while that exists. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Transport {
    link: Arc<SharedConnection>,
    /// Shared: it is cloned for each query of a round.
    timeout: Option<Arc<HeaderValue>>,
    /// The stream of the last RPC, if the caller needs it. 0: none yet.
    stream: Option<Arc<AtomicU32>>,
    /// The trace of the round, if the SoC is told.
    traced: Option<Arc<RoundTrace>>,
    /// The longest message of a reply, in bytes. Small, as a session holds several of these.
    max_message: u32,
    /// A reply may have any number of messages, although there is a deadline.
    many: bool,
}

/// What all RPCs on one connection share. Cloning h2's handle takes the connection's lock, and dropping the clone takes it
/// again: an RPC does this only once.
#[derive(Debug)]
struct SharedConnection {
    requests: SendRequest<Bytes>,
    places: Arc<Places>,
    outgoing: Arc<Outgoing>,
    arrivals: Arc<Arrivals>,
}

impl Transport {
    pub(crate) fn new(
        requests: SendRequest<Bytes>,
        outgoing: Arc<Outgoing>,
        arrivals: Arc<Arrivals>,
    ) -> Self {
        let link = SharedConnection {
            requests,
            places: Arc::default(),
            outgoing,
            arrivals,
        };
        Self {
            link: Arc::new(link),
            timeout: None,
            stream: None,
            max_message: MAX_MESSAGE as u32,
            many: false,
            traced: None,
        }
    }

    /// When data arrived on its connection.
    pub fn arrivals(&self) -> &Arrivals {
        &self.link.arrivals
    }

    /// The same for one RPC. `ended` then returns when its reply ended.
    pub fn for_one(&self) -> Self {
        let stream = Some(Arc::default());
        Self {
            stream,
            ..self.clone()
        }
    }

    /// When the last bytes of this RPC's reply arrived. `None`: there were none, or it is not known.
    pub fn ended(&self) -> Option<Instant> {
        let stream = self.stream.as_ref()?.load(Ordering::Relaxed);
        self.link.arrivals.end_of(stream)
    }

    /// The same for unary RPCs: each has a `grpc-timeout` and one message in its reply. The caller must enforce the deadline
    /// too, because the peer may not.
    pub fn for_queries(mut self, timeout: Duration) -> Self {
        self.timeout = grpc_timeout(timeout).map(Arc::new);
        self
    }

    /// The same with this limit for a message of a reply, in bytes after decompression.
    pub fn with_limit(self, max_message: u32) -> Self {
        Self { max_message, ..self }
    }

    /// The same for a server stream with a deadline: its reply may have any number of messages.
    pub fn for_many(self) -> Self {
        Self { many: true, ..self }
    }

    /// The origin for tonic's `Client::with_origin`.
    pub fn origin(&self) -> Uri {
        self.link.outgoing.origin.clone()
    }

    /// Reads the files whose content is sent as metadata, if there are any. The error says which one cannot be used.
    pub async fn refresh_metadata(&self) -> Result<(), String> {
        match &self.link.outgoing.from_files {
            Some(files) => files.read().await,
            None => Ok(()),
        }
    }

    /// Counts the RPCs that are open on the connection.
    pub(crate) fn open_rpcs(&self) -> OpenRpcs {
        OpenRpcs::of(&self.link.places)
    }

    /// How many RPCs the peer allows at the same time.
    pub fn max_streams(&self) -> usize {
        self.link.requests.current_max_send_streams()
    }
}

impl Service<Request<tonic::body::Body>> for Transport {
    type Response = Response<ReplyBody>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    /// Always ready: `send` waits. tonic's generated clients would report every error from here as UNKNOWN.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<tonic::body::Body>) -> Self::Future {
        let headers = request.headers_mut();
        for (name, value) in &self.link.outgoing.metadata {
            headers.insert(name, value.clone());
        }
        if let Some(files) = &self.link.outgoing.from_files {
            files.add_to(headers);
        }
        if let Some(timeout) = &self.timeout {
            headers.insert(GRPC_TIMEOUT, HeaderValue::clone(timeout));
        }
        if let Some(parent) = self.traced.as_ref().and_then(|trace| trace.parent()) {
            headers.insert(TRACEPARENT, parent.clone());
        }
        headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
        let limits = match self.timeout {
            Some(_) if !self.many => (1, self.max_message as usize),
            _ => (u64::MAX, self.max_message as usize),
        };
        let (link, number) = (self.link.clone(), self.stream.clone());
        let (head, body) = request.into_parts();
        // Two futures, of which the second replaces the first: while the reply is awaited, nothing of the request is kept. The block
        // stands here as an async function would hold its arguments twice.
        let sent = async move {
            // Every request of ours is one message of a few bytes: it goes out as one DATA frame.
            let message = collect(body).await?;
            let place = place(&link).await?;
            // Nothing has been sent with this handle, so it is ready.
            let mut requests = link.requests.clone();
            let (response, mut stream) = requests
                .send_request(Request::from_parts(head, ()), false)
                .map_err(|error| status_of(&error))?;
            if let Some(number) = number {
                number.store(response.stream_id().as_u32(), Ordering::Relaxed);
            }
            stream
                .send_data(message, true)
                .map_err(|error| status_of(&error))?;
            Ok((response, stream, place))
        };
        Box::pin(sent.and_then(move |(response, stream, place)| reply(response, stream, place, limits)))
    }
}

/// Waits until the peer allows one RPC more.
async fn place(link: &SharedConnection) -> Result<StreamPlace, Status> {
    let allowed = || link.requests.current_max_send_streams();
    let max = allowed();
    if max == 0 {
        let text = "the SoC allows no RPC at all (SETTINGS_MAX_CONCURRENT_STREAMS is 0)";
        return Err(ours(Code::Unavailable, text));
    }
    Ok(match link.places.enter_now(max) {
        Some(place) => place,
        None => link.places.enter(allowed).await,
    })
}

/// Waits for the head of the reply.
async fn reply(
    response: ResponseFuture,
    stream: SendStream<Bytes>,
    place: StreamPlace,
    (messages, bytes): (u64, usize),
) -> Result<Response<ReplyBody>, Status> {
    let (head, body) = answer(response, stream).await?.into_parts();
    let fields = Fields::of(&head.headers);
    is_grpc(head.status, &fields)?;
    let encoding = fields
        .encoding
        .map_or_else(Encoding::default, |header| Encoding::of(header.as_bytes()));
    let headers = fields.told()?;
    let trailers_only = headers.contains_key(GRPC_STATUS);
    let messages = Messages::new(encoding, messages, bytes);
    let mut response = Response::new(ReplyBody::new(body, trailers_only, messages, place));
    *response.status_mut() = head.status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Waits for the head of the response and skips informational ones.
async fn answer(
    mut response: ResponseFuture,
    mut stream: SendStream<Bytes>,
) -> Result<Response<RecvStream>, Status> {
    let mut informational = 0;
    poll_fn(|cx| {
        // If this is pending, the response is pending too.
        while let Some(head) = ready!(response.poll_informational(cx)) {
            head.map_err(|error| status_of(&error))?;
            informational += 1;
            if informational > MAX_INFORMATIONAL {
                stream.send_reset(Reason::ENHANCE_YOUR_CALM);
                let text = format!(
                    "{}: more than {MAX_INFORMATIONAL} (HTTP status 1xx)",
                    Limit::Heads
                );
                return Poll::Ready(Err(ours(Code::Internal, text)));
            }
        }
        Pin::new(&mut response)
            .poll(cx)
            .map_err(|error| status_of(&error))
    })
    .await
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChannelSettings, Peer, Port, Security, Side, Target, TlsSettings};
    use dualtor_proto::LinkStateRequest;
    use dualtor_proto::dual_to_r_active_client::DualToRActiveClient;

    #[test]
    fn the_origin_says_how_the_channel_is_secured_and_whose_certificate_is_expected() {
        let check = |security: Security, expected: &str| {
            let target = Target {
                namespace: "".into(),
                id: Port::new("Ethernet0").expect("a port").into(),
                address: ([127, 0, 0, 1], 50075).into(),
                side: Side::Upper,
                channel: Arc::new(ChannelSettings {
                    security,
                    ..ChannelSettings::default()
                }),
            };
            let outgoing = Outgoing::new(&Peer::from(&target)).expect("sendable");
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

    #[tokio::test]
    async fn a_connection_that_is_gone_is_unavailable_whoever_asks() {
        let (ours, peer) = tokio::io::duplex(1024);
        let (requests, connection) = h2::client::handshake(ours).await.expect("a handshake");
        drop(peer);
        let _ = connection.await;
        let target = Target {
            namespace: "".into(),
            id: Port::new("Ethernet0").expect("a port").into(),
            address: ([127, 0, 0, 1], 50075).into(),
            side: Side::Upper,
            channel: Arc::default(),
        };
        let outgoing = Arc::new(Outgoing::new(&Peer::from(&target)).expect("sendable"));
        let transport = Transport::new(requests, outgoing, Arc::default());
        let mut client = DualToRActiveClient::with_origin(transport.clone(), transport.origin());
        let status = client.query_link_state(LinkStateRequest::default()).await;
        assert_eq!(
            status.map_err(|status| status.code()).err(),
            Some(Code::Unavailable)
        );
    }

    #[test]
    fn a_timeout_is_at_most_eight_digits_and_a_unit() {
        let check = |timeout, expected: &str| assert_eq!(grpc_timeout(timeout).expect("a value"), expected);
        check(Duration::from_millis(500), "500000u");
        check(Duration::from_secs(100), "100000m");
        check(Duration::from_secs(1_000_000), "1000000S");
        check(Duration::MAX, "99999999S");
    }
}
