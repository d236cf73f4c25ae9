//! One RPC whose messages are bytes: for replies that are read field by field, because a peer decides how many there are of each, and
//! under `typed_call`.
//!
//! Not with tonic's client: it copies a message twice, and for a moment holds twice its length more. A module's reply may have
//! megabytes.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http::uri::PathAndQuery;
use tonic::Status;

use super::Transport;
use super::grpc_status::{is_unreadable, unreadable};
use super::reply::ReplyBody;
use crate::model::{MessagePrefix, PREFIX_LEN};

/// How a unary RPC ended.
#[derive(Debug)]
pub(crate) enum RawReply {
    /// With OK and one message.
    One(Bytes),
    /// Not with exactly one message that can be read.
    Unreadable(String),
    /// With another status.
    Failed(Status),
}

/// The messages of a reply.
#[derive(Debug)]
pub(crate) struct RawMessages {
    body: ReplyBody,
    /// What has come and belongs to no message yet.
    rest: Bytes,
    /// The beginning of a message that comes in more than one piece, with its prefix.
    partial: BytesMut,
}

/// A unary RPC.
pub(crate) async fn unary(transport: &Transport, path: &PathAndQuery, message: Bytes) -> RawReply {
    match one(transport, path, framed(&[message])).await {
        Ok(message) => RawReply::One(message),
        Err(status) if is_unreadable(&status) => RawReply::Unreadable(status.message().to_owned()),
        Err(status) => RawReply::Failed(status),
    }
}

/// A unary RPC whose request has its prefix.
pub(super) async fn one(transport: &Transport, path: &PathAndQuery, framed: Bytes) -> Result<Bytes, Status> {
    // The body takes one message: a second one is refused by its prefix, while the first is still in memory.
    let mut messages = RawMessages::new(transport.call(path, framed).await?);
    let Some(first) = messages.message().await? else {
        return Err(unreadable("no message in the reply"));
    };
    match messages.message().await? {
        None => Ok(first),
        Some(_) => Err(unreadable("more than one message in the reply")),
    }
}

/// A streaming RPC: all requests at once, then the replies one by one.
pub(crate) async fn stream(
    transport: &Transport,
    path: &PathAndQuery,
    messages: Vec<Bytes>,
) -> Result<RawMessages, Status> {
    let sent = transport.clone().for_many().call(path, framed(&messages));
    sent.await.map(RawMessages::new)
}

/// Messages with their prefixes.
fn framed(messages: &[Bytes]) -> Bytes {
    let bytes = messages.iter().map(|message| PREFIX_LEN + message.len()).sum();
    let mut framed = BytesMut::with_capacity(bytes);
    for message in messages {
        framed.extend_from_slice(&MessagePrefix::plain(message.len()));
        framed.extend_from_slice(message);
    }
    framed.freeze()
}

impl RawMessages {
    pub(super) fn new(body: ReplyBody) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            partial: BytesMut::new(),
        }
    }

    /// The next message. `None`: the RPC has ended with OK. Must not be called again after an error.
    pub(crate) async fn message(&mut self) -> Result<Option<Bytes>, Status> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    /// The same.
    pub(super) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        loop {
            if let Some(message) = self.whole() {
                return Poll::Ready(Ok(Some(message)));
            }
            match ready!(self.body.poll_data(cx)).transpose()? {
                Some(data) => self.rest = data,
                None => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// The next message, if all of it has come. The body has checked its length.
    fn whole(&mut self) -> Option<Bytes> {
        loop {
            if self.partial.is_empty()
                && let Some(MessagePrefix { length, .. }) = MessagePrefix::first(&self.rest)
                && self.rest.len() >= PREFIX_LEN + length
            {
                // In one piece: it is not copied.
                self.rest.advance(PREFIX_LEN);
                return Some(self.rest.split_to(length));
            }
            let (have, wanted) = (
                self.partial.len(),
                PREFIX_LEN + MessagePrefix::first(&self.partial).map_or(0, |prefix| prefix.length),
            );
            if have >= PREFIX_LEN && have == wanted {
                let mut message = std::mem::take(&mut self.partial).freeze();
                message.advance(PREFIX_LEN);
                return Some(message);
            }
            if self.rest.is_empty() {
                return None;
            }
            let part = self.rest.split_to(self.rest.len().min(wanted - have));
            self.partial.reserve(wanted - have);
            self.partial.extend_from_slice(&part);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use h2::Reason;
    use http::{HeaderMap, HeaderName, HeaderValue, Response};
    use tokio::io::{DuplexStream, duplex};

    use super::super::tests::transport;
    use super::*;

    type Fields = &'static [(&'static str, &'static str)];

    const METHOD: &str = "/a.service/Method";
    const OK: Fields = &[("grpc-status", "0")];

    /// A reply, as a peer sends it.
    #[derive(Clone)]
    struct Sent {
        head: Fields,
        data: Vec<Vec<u8>>,
        trailers: Option<Fields>,
    }

    fn fields(fields: Fields) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    /// Sends this reply to each request.
    async fn serve(io: DuplexStream, sent: Sent) {
        let mut connection = h2::server::handshake(io).await.expect("a handshake");
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let mut head = Response::new(());
            *head.headers_mut() = fields(sent.head);
            head.headers_mut()
                .insert("content-type", HeaderValue::from_static("application/grpc"));
            let ends = sent.data.is_empty() && sent.trailers.is_none();
            let mut stream = respond.send_response(head, ends).expect("open");
            for (n, data) in sent.data.iter().enumerate() {
                let ends = sent.trailers.is_none() && n + 1 == sent.data.len();
                stream.send_data(data.clone().into(), ends).expect("open");
            }
            if let Some(trailers) = sent.trailers {
                stream.send_trailers(fields(trailers)).expect("open");
            }
        }
    }

    async fn asked(sent: Sent) -> Result<Vec<u8>, String> {
        let (ours, theirs) = duplex(64 * 1024);
        tokio::spawn(serve(theirs, sent));
        let (requests, connection) = h2::client::handshake(ours).await.expect("a handshake");
        tokio::spawn(connection);
        let transport = transport(requests).for_queries(Duration::from_secs(60));
        let reply = unary(&transport, &PathAndQuery::from_static(METHOD), Bytes::new()).await;
        assert_eq!(transport.open_rpcs().count(), 0);
        match reply {
            RawReply::One(message) => Ok(message.into()),
            RawReply::Unreadable(text) => Err(text),
            RawReply::Failed(status) => Err(format!("{:?} {}", status.code(), status.message())),
        }
    }

    fn message(flag: u8, text: &[u8]) -> Vec<u8> {
        [&[flag, 0, 0, 0, text.len() as u8], text].concat()
    }

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).expect("memory");
        message(1, &encoder.finish().expect("memory"))
    }

    #[tokio::test]
    async fn a_reply_is_one_whole_message_and_the_status_ok() {
        let check = async |head, data: &[u8], trailers, expected: Result<&str, &str>| {
            for cut in [1, 3, usize::MAX] {
                let data = data.chunks(cut).map(<[u8]>::to_vec).collect();
                let found = asked(Sent { head, data, trailers }).await;
                let expected = expected
                    .map(|text| text.as_bytes().to_vec())
                    .map_err(str::to_owned);
                assert_eq!(found, expected, "{head:?} {trailers:?}, in pieces of {cut}");
            }
        };
        const GZIP: Fields = &[("grpc-encoding", "gzip")];
        const GONE: Fields = &[("grpc-status", "5"), ("grpc-message", "gone")];
        const OTHER: Fields = &[("x-other", "0")];
        let (one, gzip) = (message(0, b"one"), packed(b"one"));
        let plus = |bytes: &[u8]| [&one[..], bytes].concat();
        check(&[], &one, Some(OK), Ok("one")).await;
        check(GZIP, &gzip, Some(OK), Ok("one")).await;
        check(OK, &one, None, Ok("one")).await;

        let (none, many) = ("no message in the reply", "more than one message in the reply");
        check(OK, &[], None, Err(none)).await;
        check(&[], &[], Some(OK), Err(none)).await;
        check(&[], &plus(&one), Some(OK), Err(many)).await;
        check(&[], &plus(&message(0, b"")), Some(OK), Err(many)).await;

        let cut = "the stream ended within a message";
        check(&[], &one[..7], Some(OK), Err(cut)).await;
        check(&[], &one[..2], Some(OK), Err(cut)).await;
        check(GZIP, &gzip[..7], Some(OK), Err(cut)).await;
        check(&[], &plus(&[0]), Some(OK), Err(cut)).await;
        check(OK, &one[..7], None, Err(cut)).await;

        let endless = "the stream ended without a grpc-status";
        check(&[], &one, None, Err(endless)).await;
        check(&[], &one, Some(OTHER), Err(endless)).await;
        check(OK, &one, Some(OTHER), Err(endless)).await;
        check(&[], &one, Some(GONE), Err("NotFound gone")).await;
        check(&[], &one[..7], Some(GONE), Err("NotFound gone")).await;
        check(OK, &one, Some(GONE), Err("NotFound gone")).await;
        check(GONE, &[], None, Err("NotFound gone")).await;
    }

    #[tokio::test]
    async fn an_rpc_that_no_one_waits_for_any_more_is_cancelled_at_the_peer() {
        let (ours, theirs) = duplex(64 * 1024);
        let (client, server) = tokio::join!(h2::client::handshake(ours), h2::server::handshake(theirs));
        let (requests, connection) = client.expect("a handshake");
        tokio::spawn(connection);
        let (transport, mut server) = (transport(requests), server.expect("a handshake"));
        let path = PathAndQuery::from_static(METHOD);
        let mut asked = Box::pin(unary(&transport, &path, Bytes::new()));
        let mut respond = tokio::select! {
            request = server.accept() => request.expect("a request").expect("well-formed").1,
            _ = &mut asked => panic!("answered"),
        };
        assert_eq!(transport.open_rpcs().count(), 1);
        drop(asked);
        assert_eq!(transport.open_rpcs().count(), 0);
        tokio::spawn(async move { while server.accept().await.is_some() {} });
        let reason = poll_fn(|cx| respond.poll_reset(cx)).await;
        assert_eq!(reason.expect("a reset"), Reason::CANCEL);
    }

    #[tokio::test]
    async fn a_reset_is_reported_with_what_its_code_means() {
        for (reason, expected) in [
            (
                Reason::NO_ERROR,
                "Internal the peer has reset the stream without an error (RST_STREAM, NO_ERROR)",
            ),
            (
                Reason::REFUSED_STREAM,
                "Unavailable stream error received: refused stream before processing any application logic",
            ),
        ] {
            let (ours, theirs) = duplex(64 * 1024);
            let (client, server) = tokio::join!(h2::client::handshake(ours), h2::server::handshake(theirs));
            let (requests, connection) = client.expect("a handshake");
            tokio::spawn(connection);
            let mut server = server.expect("a handshake");
            tokio::spawn(async move {
                while let Some(Ok((_, mut respond))) = server.accept().await {
                    respond.send_reset(reason);
                }
            });
            let reply = unary(
                &transport(requests),
                &PathAndQuery::from_static(METHOD),
                Bytes::new(),
            )
            .await;
            let RawReply::Failed(status) = reply else {
                panic!("{reply:?}");
            };
            assert_eq!(format!("{:?} {}", status.code(), status.message()), expected);
        }
    }
}
