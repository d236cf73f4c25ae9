//! The messages of one call as a client sends them, with a limit for each, and one for the long ones of all clients together.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status};

use super::WINDOW;
use crate::model::{MessagePrefix, PREFIX_LEN};

/// Bytes of a message. The same as for a SoC's replies.
const LONGEST: usize = 64 * 1024;

/// A message. While it is held, it counts for the limit of the long ones.
#[derive(Debug)]
pub(super) struct RequestMessage {
    pub(super) bytes: Bytes,
    _place: Option<OwnedSemaphorePermit>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct RequestMessages<B> {
    body: B,
    arrived: BytesMut,
    /// One permit is one byte.
    long: Arc<Semaphore>,
}

impl<B: Body<Data = Bytes> + Unpin> RequestMessages<B> {
    /// `long`: the limit that all calls share.
    pub(super) fn new(body: B, long: Arc<Semaphore>) -> Self {
        Self {
            body,
            arrived: BytesMut::new(),
            long,
        }
    }

    /// The next message; `None`: there are no more. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<RequestMessage>, Status> {
        self.has(PREFIX_LEN).await?;
        let Some(MessagePrefix { flag, length }) = MessagePrefix::first(&self.arrived) else {
            return match self.arrived.is_empty() {
                true => Ok(None),
                false => Err(Status::internal("the request ends within a message")),
            };
        };
        match flag {
            0 => {}
            1 => return Err(Status::unimplemented("compressed messages are not accepted here")),
            _ => return Err(Status::internal("a message's compressed flag is neither 0 nor 1")),
        }
        let too_much = |what: &str| Err(Status::new(Code::ResourceExhausted, what));
        if length > LONGEST {
            return too_much(&format!("the message is longer than {LONGEST} bytes"));
        }
        let place = match u32::try_from(length) {
            Ok(length) if length > WINDOW => match self.long.clone().try_acquire_many_owned(length) {
                Ok(place) => Some(place),
                Err(_) => return too_much("too many long messages at a time; try again"),
            },
            _ => None,
        };
        if !self.has(PREFIX_LEN + length).await? {
            return Err(Status::internal("the request ends within a message"));
        }
        self.arrived.advance(PREFIX_LEN);
        Ok(Some(RequestMessage {
            bytes: self.arrived.split_to(length).freeze(),
            _place: place,
        }))
    }

    /// Waits until so many bytes have arrived; false: the request has ended before.
    async fn has(&mut self, bytes: usize) -> Result<bool, Status> {
        while self.arrived.len() < bytes {
            let frame = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await;
            match frame {
                Some(Ok(frame)) => self
                    .arrived
                    .extend_from_slice(&frame.into_data().unwrap_or_default()),
                Some(Err(_)) => return Err(Status::cancelled("the client has given up the call")),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::task::{Context, Poll};

    use http_body::Frame;

    use super::*;

    struct Pieces(VecDeque<Bytes>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    fn message(flag: u8, length: usize, have: usize) -> Vec<u8> {
        let mut bytes = vec![flag];
        bytes.extend((length as u32).to_be_bytes());
        bytes.extend((0..have).map(|n| n as u8));
        bytes
    }

    async fn read(bytes: &[u8], cut: usize, long: usize) -> (Vec<usize>, Code) {
        let pieces = bytes.chunks(cut).map(Bytes::copy_from_slice).collect();
        let mut messages = RequestMessages::new(Pieces(pieces), Arc::new(Semaphore::new(long)));
        let mut lengths = Vec::new();
        loop {
            match messages.next().await {
                Ok(Some(message)) => lengths.push(message.bytes.len()),
                Ok(None) => return (lengths, Code::Ok),
                Err(status) => return (lengths, status.code()),
            }
        }
    }

    #[tokio::test]
    async fn messages_are_found_however_they_are_cut_and_bad_ones_end_the_call() {
        let good = [message(0, 7, 7), message(0, 0, 0), message(0, 9_000, 9_000)].concat();
        for cut in [1, 3, 7, 4096, 100_000] {
            assert_eq!(
                read(&good, cut, 100_000).await,
                (vec![7, 0, 9_000], Code::Ok),
                "{cut}"
            );
        }
        let check =
            async |bytes: Vec<u8>, code: Code| assert_eq!(read(&bytes, 9, 100_000).await, (vec![], code));
        check(vec![], Code::Ok).await;
        check(vec![0, 0], Code::Internal).await;
        check(message(0, 9, 8), Code::Internal).await;
        check(message(2, 0, 0), Code::Internal).await;
        check(message(1, 4, 4), Code::Unimplemented).await;
        check(message(0, LONGEST + 1, 0), Code::ResourceExhausted).await;
        check(message(0, u32::MAX as usize, 0), Code::ResourceExhausted).await;
        assert_eq!(
            read(&message(0, LONGEST, LONGEST), 9, LONGEST).await,
            (vec![LONGEST], Code::Ok)
        );
    }

    #[tokio::test]
    async fn long_messages_share_a_limit_and_short_ones_need_none() {
        assert_eq!(
            read(&message(0, 4_096, 4_096), 99, 0).await,
            (vec![4_096], Code::Ok)
        );
        let long = message(0, 5_000, 5_000);
        assert_eq!(read(&long, 99, 4_999).await, (vec![], Code::ResourceExhausted));
        // One after the other.
        assert_eq!(read(&long.repeat(3), 99, 5_000).await, (vec![5_000; 3], Code::Ok));
    }
}
