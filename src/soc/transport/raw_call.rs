//! One RPC whose messages are bytes: for replies that are read field by field, because a peer decides how many there are of each.

use std::pin::Pin;

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Status, Streaming};

use super::Transport;

/// Bytes. Requests are small, and a reply's buffer grows with it; tonic would allocate 8 KiB for each.
const BUFFER: usize = 256;
/// Bytes. No request has this much.
const YIELD_THRESHOLD: usize = 32 * 1024;

/// Messages as they are on the wire.
#[derive(Debug, Clone, Copy)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD_THRESHOLD)
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD_THRESHOLD)
    }
}

/// How a unary RPC ended.
#[derive(Debug)]
pub(crate) enum RawReply {
    /// With OK and one message.
    One(Bytes),
    /// With OK, and with no message or more than one.
    NotOne(&'static str),
    /// With another status.
    Failed(Status),
}

/// The messages of a reply.
pub(crate) type RawMessages = Streaming<Bytes>;

/// A unary RPC.
pub(crate) async fn unary(transport: &Transport, path: &PathAndQuery, message: Bytes) -> RawReply {
    match exactly_one(transport, path, message).await {
        Ok(reply) => reply,
        Err(status) => RawReply::Failed(status),
    }
}

async fn exactly_one(transport: &Transport, path: &PathAndQuery, message: Bytes) -> Result<RawReply, Status> {
    let mut messages = stream(transport, path, vec![message]).await?;
    let Some(first) = messages.message().await? else {
        return Ok(RawReply::NotOne("no message in the reply"));
    };
    match messages.message().await? {
        None => Ok(RawReply::One(first)),
        Some(_) => Ok(RawReply::NotOne("more than one message in the reply")),
    }
}

/// A streaming RPC: all requests at once, then the replies one by one.
pub(crate) async fn stream(
    transport: &Transport,
    path: &PathAndQuery,
    messages: Vec<Bytes>,
) -> Result<RawMessages, Status> {
    let transport = transport.clone().for_many();
    let origin = transport.origin();
    // `transport` has the limit for a message.
    let mut client = Grpc::with_origin(transport, origin).max_decoding_message_size(usize::MAX);
    client.ready().await?;
    let requests = futures_util::stream::iter(messages);
    let opened = client.streaming(Request::new(requests), path.clone(), RawCodec);
    // Boxed: tonic's futures are large.
    let opened: Pin<Box<_>> = Box::pin(opened);
    opened.await.map(tonic::Response::into_inner)
}
