//! One RPC whose messages are bytes: for replies that are read field by field, because a peer decides how many there are of each.
//!
//! Not with tonic's client: it copies a message twice, and holds twice its length once more. A module's reply may have megabytes.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use http_body::{Body, Frame};
use tonic::{Code, Status};
use tower_service::Service as _;

use super::grpc_status::{GRPC_STATUS, is_unreadable, ours, unreadable};
use super::{ReplyBody, Transport};
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

/// The body of a request: all of it is there.
struct WholeBody(Option<Bytes>);

impl Body for WholeBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
    }
}

/// A unary RPC.
pub(crate) async fn unary(transport: &Transport, path: &PathAndQuery, message: Bytes) -> RawReply {
    match exactly_one(transport, path, message).await {
        Ok(reply) => reply,
        Err(status) if is_unreadable(&status) => RawReply::Unreadable(status.message().to_owned()),
        Err(status) => RawReply::Failed(status),
    }
}

async fn exactly_one(transport: &Transport, path: &PathAndQuery, message: Bytes) -> Result<RawReply, Status> {
    // The transport takes one message: a second one is refused by its prefix, while the first is still in memory.
    let mut messages = open(transport.clone(), path, vec![message]).await?;
    let Some(first) = messages.message().await? else {
        return Err(unreadable("no message in the reply"));
    };
    match messages.message().await? {
        None => Ok(RawReply::One(first)),
        Some(_) => Err(unreadable("more than one message in the reply")),
    }
}

/// A streaming RPC: all requests at once, then the replies one by one.
pub(crate) async fn stream(
    transport: &Transport,
    path: &PathAndQuery,
    messages: Vec<Bytes>,
) -> Result<RawMessages, Status> {
    open(transport.clone().for_many(), path, messages).await
}

async fn open(
    mut transport: Transport,
    path: &PathAndQuery,
    messages: Vec<Bytes>,
) -> Result<RawMessages, Status> {
    let response = transport.call(request(&transport, path, &messages)?).await?;
    ended_well(response.headers())?;
    Ok(RawMessages {
        body: response.into_body(),
        rest: Bytes::new(),
        partial: BytesMut::new(),
    })
}

fn request(
    transport: &Transport,
    path: &PathAndQuery,
    messages: &[Bytes],
) -> Result<Request<tonic::body::Body>, Status> {
    let mut framed = BytesMut::new();
    for message in messages {
        framed.extend_from_slice(&MessagePrefix::plain(message.len()));
        framed.extend_from_slice(message);
    }
    let mut uri = transport.origin().into_parts();
    uri.path_and_query = Some(path.clone());
    let uri = Uri::from_parts(uri).map_err(|error| ours(Code::Internal, error.to_string()))?;
    let mut request = Request::new(tonic::body::Body::new(WholeBody(Some(framed.freeze()))));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(request)
}

/// The status of a head or of trailers. A head need not have one.
fn ended_well(headers: &HeaderMap) -> Result<(), Status> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(()),
    }
}

impl RawMessages {
    /// The next message. `None`: the RPC has ended with OK.
    pub(crate) async fn message(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.whole() {
                return Ok(Some(message));
            }
            let frame = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await;
            match frame.transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => self.rest = data,
                Some(Err(trailers)) => {
                    let trailers = trailers.into_trailers().unwrap_or_default();
                    ended_well(&trailers)?;
                    if !trailers.contains_key(GRPC_STATUS) {
                        return Err(unreadable("the stream ended without a grpc-status"));
                    }
                    return self.end();
                }
                None => return self.end(),
            }
        }
    }

    fn end(&self) -> Result<Option<Bytes>, Status> {
        match self.partial.is_empty() {
            true => Ok(None),
            false => Err(unreadable("the stream ended within a message")),
        }
    }

    /// The next message, if all of it has come. The transport has checked its length.
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
