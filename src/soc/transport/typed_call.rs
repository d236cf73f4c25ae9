//! One RPC whose messages have a type: the few and small messages of the SoCs.
//!
//! Not with tonic's generated clients, which do what `raw_call` does already: with them a round took a quarter more instructions.

use std::fmt;
use std::marker::PhantomData;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::uri::PathAndQuery;
use prost::Message;
use tonic::Status;

use super::Transport;
use super::grpc_status::unreadable;
use super::raw_call::{self, RawMessages};
use crate::model::{MessagePrefix, PREFIX_LEN};

/// The messages of a reply.
pub(crate) struct TypedMessages<R>(RawMessages, PhantomData<R>);

/// A unary RPC.
pub(crate) fn unary<'a, Q: Message, R: Message + Default>(
    transport: &'a Transport,
    path: &'static str,
    request: &Q,
) -> impl Future<Output = Result<R, Status>> + use<'a, Q, R> {
    let framed = framed(request);
    async move {
        let path = PathAndQuery::from_static(path);
        read(raw_call::one(transport, &path, framed).await?)
    }
}

/// A server stream.
pub(crate) fn stream<Q: Message, R>(
    transport: &Transport,
    path: &'static str,
    request: &Q,
) -> impl Future<Output = Result<TypedMessages<R>, Status>> + use<Q, R> {
    let sent = transport.call(&PathAndQuery::from_static(path), framed(request));
    async { Ok(TypedMessages(RawMessages::new(sent.await?), PhantomData)) }
}

impl<R: Message + Default> TypedMessages<R> {
    /// The next message. `None`: the RPC has ended with OK. Must not be called again after an error.
    pub(crate) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<R>, Status>> {
        let message = ready!(self.0.poll_message(cx))?;
        Poll::Ready(message.map(read).transpose())
    }
}

impl<R> fmt::Debug for TypedMessages<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A message with its prefix.
fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX_LEN + length);
    framed.put_slice(&MessagePrefix::plain(length));
    // It grows as needed, so this cannot fail.
    let _ = message.encode(&mut framed);
    framed.freeze()
}

fn read<R: Message + Default>(message: Bytes) -> Result<R, Status> {
    R::decode(message).map_err(|error| unreadable(error.to_string()))
}
