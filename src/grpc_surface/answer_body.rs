//! What a client gets: messages, and then a status in the trailers. A message is made when the client can take it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body, Frame};
use tonic::Status;

use super::client_places::OpenCall;
use crate::model::{MessagePrefix, PREFIX_LEN};

/// Messages as they are sent, or pieces of them. An error is the status that ends the call; otherwise it ends with OK.
pub(super) type Answers = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// A message as it is sent: with its compressed flag and its length.
pub(super) fn framed(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX_LEN + length);
    bytes.extend_from_slice(&MessagePrefix::plain(length));
    // A `BytesMut` grows, so this cannot fail.
    let _ = message.encode(&mut bytes);
    bytes.freeze()
}

/// One message.
pub(super) fn one(message: Bytes) -> Answers {
    Box::pin(stream::iter([Ok(message)]))
}

/// The body of an answer. By default an empty one.
#[derive(Default)]
pub(super) struct CallBody {
    answers: Option<Answers>,
    _call: Option<OpenCall>,
}

/// The whole answer. An error before the first message has no body: its status is in the headers.
pub(super) fn response(answers: Result<Answers, Status>, call: OpenCall) -> Response<CallBody> {
    let mut response = match answers {
        Err(status) => status.into_http(),
        Ok(answers) => {
            let mut response = Response::new(CallBody {
                answers: Some(answers),
                _call: Some(call),
            });
            let grpc = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
            response
        }
    };
    let accepted = HeaderValue::from_static("identity");
    response.headers_mut().insert("grpc-accept-encoding", accepted);
    response
}

impl Body for CallBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(answers) = &mut self.answers else {
            return Poll::Ready(None);
        };
        let status = match ready!(answers.as_mut().poll_next(cx)) {
            Some(Ok(message)) => return Poll::Ready(Some(Ok(Frame::data(message)))),
            Some(Err(status)) => status,
            None => Status::ok(""),
        };
        self.answers = None;
        let mut trailers = HeaderMap::new();
        // It fails for text that is no header's, which none of ours is.
        let _ = status.add_header(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.answers.is_none()
    }
}
