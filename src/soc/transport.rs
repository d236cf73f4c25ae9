//! One RPC over the session's own h2 connection. `channel` makes it and `probe` uses it, but it belongs to neither.
//!
//! It does what a gRPC client does: the `user-agent`, the configured metadata, deadlines, flow control, h2's errors as gRPC status
//! codes, decompression; and it has a limit for all that a peer sends. Of a peer's headers only content-type, encoding, status and
//! message are read.
//!
//! Imports `model` and `config` (files), and in `soc` `arrivals`.
//!
//! | file | job |
//! |---|---|
//! | messages | the messages of a reply, their limits; pure |
//! | unpacker | decompresses one of them; pure |
//! | grpc_status | what head and trailers say; the statuses that we make; pure |
//! | reply | a response's body |
//! | raw_call | RPCs whose messages are bytes |
//! | typed_call | RPCs whose messages have a type |
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
pub(crate) mod typed_call;
mod unpacker;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryFutureExt as _;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Response};
use tonic::{Code, Status};

use crate::model::Limit;
use crate::soc::arrivals::Arrivals;
use grpc_status::{Fields, is_grpc, ours, status_of};
pub(crate) use grpc_status::{is_peers, is_unreadable};
use messages::{Encoding, MAX_MESSAGE, Messages};
pub(crate) use outgoing::Outgoing;
pub use outgoing::OutgoingError;
pub(crate) use places::OpenRpcs;
use places::{Places, StreamPlace};
use reply::ReplyBody;
use round_trace::{RoundTrace, TRACEPARENT};

/// Informational heads (1xx) before the head of a response. HTTP allows any number of them, and h2 keeps each until it is read.
/// A gRPC server sends none.
const MAX_INFORMATIONAL: usize = 8;

/// Sends RPCs over one connection while that exists. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Transport {
    link: Arc<SharedConnection>,
    /// The headers of RPCs with a deadline: made once for all queries of a round.
    timed: Option<Arc<HeaderMap>>,
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
            timed: None,
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
        self.timed = Some(Arc::new(self.link.outgoing.headers(grpc_timeout(timeout))));
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

    /// Sends one RPC with all its messages, and waits for the head of its reply.
    fn call(
        &self,
        path: &PathAndQuery,
        messages: Bytes,
    ) -> impl Future<Output = Result<ReplyBody, Status>> + use<> {
        let head = self.link.outgoing.request(path, self.headers());
        let limits = match self.timed {
            Some(_) if !self.many => (1, self.max_message as usize),
            _ => (u64::MAX, self.max_message as usize),
        };
        let (link, number) = (self.link.clone(), self.stream.clone());
        // Two futures, of which the second replaces the first: while the reply is awaited, nothing of the request is kept. The block
        // stands here as an async function would hold its arguments twice.
        let sent = async move {
            let head = head?;
            let place = place(&link).await?;
            // Nothing has been sent with this handle, so it is ready.
            let mut requests = link.requests.clone();
            let (response, mut stream) = requests
                .send_request(head, false)
                .map_err(|error| status_of(&error))?;
            if let Some(number) = number {
                number.store(response.stream_id().as_u32(), Ordering::Relaxed);
            }
            // They are a few bytes: they go out as one DATA frame.
            stream
                .send_data(messages, true)
                .map_err(|error| status_of(&error))?;
            Ok((response, stream, place))
        };
        sent.and_then(move |(response, stream, place)| reply(response, stream, place, limits))
    }

    fn headers(&self) -> HeaderMap {
        let outgoing = &self.link.outgoing;
        let mut headers = match &self.timed {
            Some(headers) => HeaderMap::clone(headers),
            None => outgoing.headers(None),
        };
        if let Some(files) = &outgoing.from_files {
            files.add_to(&mut headers);
        }
        if let Some(parent) = self.traced.as_ref().and_then(|trace| trace.parent()) {
            headers.insert(TRACEPARENT, parent.clone());
        }
        headers
    }
}

/// Waits until the peer allows one RPC more.
async fn place(link: &SharedConnection) -> Result<StreamPlace, Status> {
    let allowed = || link.requests.current_max_send_streams();
    let max = allowed();
    if max == 0 {
        let text = "the peer allows no RPC at all (SETTINGS_MAX_CONCURRENT_STREAMS is 0)";
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
) -> Result<ReplyBody, Status> {
    let (head, body) = answer(response, stream).await?.into_parts();
    let fields = Fields::of(&head.headers);
    is_grpc(head.status, &fields)?;
    let encoding = fields
        .encoding
        .map_or_else(Encoding::default, |header| Encoding::of(header.as_bytes()));
    // With a status in it there need be no trailers.
    let has_status = fields.ended()?;
    let messages = Messages::new(encoding, messages, bytes);
    Ok(ReplyBody::new(body, has_status, messages, place))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChannelSettings, Peer, Port, Security, Side, Target, TlsSettings};
    use dualtor_proto::{LinkStateReply, LinkStateRequest};

    fn outgoing(security: Security) -> Outgoing {
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
        Outgoing::new(&Peer::from(&target)).expect("sendable")
    }

    /// On this connection.
    pub(super) fn transport(requests: SendRequest<Bytes>) -> Transport {
        Transport::new(requests, Arc::new(outgoing(Security::Plain)), Arc::default())
    }

    #[test]
    fn the_origin_says_how_the_channel_is_secured_and_whose_certificate_is_expected() {
        let check = |security: Security, expected: &str| {
            let request = outgoing(security).request(&PathAndQuery::from_static("/"), HeaderMap::new());
            assert_eq!(request.expect("sendable").uri().to_string(), expected);
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
        let transport = transport(requests);
        let asked = typed_call::unary(&transport, "/a.service/Method", &LinkStateRequest::default());
        let status: Result<LinkStateReply, _> = asked.await;
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
