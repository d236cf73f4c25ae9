//! A response's body. It returns flow control to the peer, and refuses a message that is too long or announces that it will be.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame};
use tonic::{Code, Status};

use super::grpc_status::{ours, status_of, told, unreadable};
use super::messages::{BadMessage, Messages};
use super::places::StreamPlace;

/// A response's body.
#[derive(Debug)]
pub struct ReplyBody {
    stream: RecvStream,
    state: BodyState,
    messages: Messages,
    trailers_only: bool,
    _place: StreamPlace,
}

#[derive(Debug, PartialEq, Eq)]
enum BodyState {
    Data,
    Trailers,
    Done,
}

impl ReplyBody {
    pub(super) fn new(
        stream: RecvStream,
        trailers_only: bool,
        messages: Messages,
        place: StreamPlace,
    ) -> Self {
        Self {
            stream,
            state: BodyState::Data,
            messages,
            trailers_only,
            _place: place,
        }
    }

    fn fail(&mut self, status: Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.state = BodyState::Done;
        Poll::Ready(Some(Err(status)))
    }
}

fn status_of_problem(problem: &BadMessage) -> Status {
    match problem {
        BadMessage::TooLong(..) => ours(Code::ResourceExhausted, problem.to_string()),
        BadMessage::TooMany
        | BadMessage::Flag(_)
        | BadMessage::NoEncoding
        | BadMessage::UnknownEncoding(_)
        | BadMessage::Broken(_) => unreadable(problem.to_string()),
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        while this.state == BodyState::Data {
            match this.messages.next() {
                Ok(Some(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(None) => {}
                Err(problem) => return this.fail(status_of_problem(&problem)),
            }
            match ready!(this.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // An error here means that the stream is gone: the next poll reports it.
                    let _ = this.stream.flow_control().release_capacity(data.len());
                    this.messages.feed(data);
                }
                Some(Err(error)) => {
                    let status = status_of(&error);
                    return this.fail(status);
                }
                None => this.state = BodyState::Trailers,
            }
        }
        if this.state == BodyState::Done {
            return Poll::Ready(None);
        }
        match ready!(this.stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => match told(trailers) {
                Ok(trailers) => {
                    this.state = BodyState::Done;
                    Poll::Ready(Some(Ok(Frame::trailers(trailers))))
                }
                Err(status) => this.fail(status),
            },
            Ok(None) if this.trailers_only => {
                this.state = BodyState::Done;
                Poll::Ready(None)
            }
            // Without a status, the message may be incomplete.
            Ok(None) => this.fail(unreadable("the stream ended without a grpc-status")),
            Err(error) => {
                let status = status_of(&error);
                this.fail(status)
            }
        }
    }
}
