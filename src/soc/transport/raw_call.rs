//! One RPC whose messages are bytes: for replies that are read field by field, because a peer decides how many there are of each, and
//! under `typed_call`.
//!
//! Not with tonic's client: it copies a message twice, and holds twice its length once more. A module's reply may have megabytes.

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
    // The transport takes one message: a second one is refused by its prefix, while the first is still in memory.
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

    /// The next message. `None`: the RPC has ended with OK.
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
                None => return Poll::Ready(self.end()),
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
