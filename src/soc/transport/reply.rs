//! A response's body. It returns flow control to the peer, and refuses a message that is too long or announces that it will be.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use tonic::{Code, Status};

use super::grpc_status::{Fields, ours, status_of, unreadable};
use super::messages::{BadMessage, Messages};
use super::places::StreamPlace;

/// A response's body.
#[derive(Debug)]
pub(super) struct ReplyBody {
    stream: RecvStream,
    state: BodyState,
    messages: Messages,
    has_status: bool,
    _place: StreamPlace,
}

#[derive(Debug, PartialEq, Eq)]
enum BodyState {
    Data,
    Trailers,
    Done,
}

impl ReplyBody {
    pub(super) fn new(stream: RecvStream, has_status: bool, messages: Messages, place: StreamPlace) -> Self {
        Self {
            stream,
            state: BodyState::Data,
            messages,
            has_status,
            _place: place,
        }
    }

    fn fail(&mut self, status: Status) -> Poll<Option<Result<Bytes, Status>>> {
        self.state = BodyState::Done;
        Poll::Ready(Some(Err(status)))
    }

    /// The next piece: messages with their prefixes, decompressed. `None`: the RPC has ended with OK, after a whole message. Must
    /// not be called again after an error.
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        while self.state == BodyState::Data {
            match self.messages.next() {
                Ok(Some(data)) => return Poll::Ready(Some(Ok(data))),
                Ok(None) => {}
                Err(problem) => return self.fail(status_of_problem(&problem)),
            }
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // An error here means that the stream is gone: the next poll reports it.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    self.messages.feed(data);
                }
                Some(Err(error)) => return self.fail(status_of(&error)),
                None => self.state = BodyState::Trailers,
            }
        }
        if self.state == BodyState::Done {
            return Poll::Ready(None);
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        self.state = BodyState::Done;
        let ended = match trailers {
            Ok(Some(trailers)) => Fields::of(&trailers).ended(),
            Ok(None) => Ok(self.has_status),
            Err(error) => Err(status_of(&error)),
        };
        Poll::Ready(match ended {
            Ok(true) if self.messages.is_complete() => None,
            Ok(true) => Some(Err(unreadable("the stream ended within a message"))),
            // Without a status, the message may be incomplete.
            Ok(false) => Some(Err(unreadable("the stream ended without a grpc-status"))),
            Err(status) => Some(Err(status)),
        })
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
