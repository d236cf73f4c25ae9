//! gRPC's health service: Check, List, Watch.

use std::sync::Arc;

use bytes::Bytes;
use dualtor_proto::served::{HealthCheckResponse, ServingStatus};
use futures_util::stream;
use tokio::sync::Semaphore;
use tonic::Status;

use super::answer_body::{Answers, framed, one};
use super::health_board::BoardReader;

/// Lists that are being sent at the same time, to all clients. They may be of different moments, and each is as long as there are
/// targets.
const MOST_LISTS: usize = 16;
/// Bytes of a list that are handed on at a time. They are copied, so that an unread end of a list does not hold the rest.
const PIECE: usize = 4 * 1024;
/// A longer name is no service's: a kind, a rack and a port, or a module and a target.
const LONGEST_NAME: usize = 200;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(super) struct HealthAnswers {
    board: BoardReader,
    lists: Arc<Semaphore>,
}

/// The status of calls that the stop ends.
pub(super) fn stopping() -> Status {
    Status::unavailable("the exporter is stopping")
}

fn message(status: ServingStatus) -> Bytes {
    framed(&HealthCheckResponse {
        status: status.into(),
    })
}

impl HealthAnswers {
    pub(super) fn new(board: BoardReader) -> Self {
        Self {
            board,
            lists: Arc::new(Semaphore::new(MOST_LISTS)),
        }
    }

    /// A board that is not kept any more is out of date.
    fn is_kept(&self) -> Result<(), Status> {
        self.board.has_changed().map(|_| ()).map_err(|_| stopping())
    }

    pub(super) fn check(&self, service: &str) -> Result<Answers, Status> {
        self.is_kept()?;
        match self.board.borrow().status(service) {
            Some(status) => Ok(one(message(status))),
            None => Err(Status::not_found("no target has this name")),
        }
    }

    pub(super) fn list(&self) -> Result<Answers, Status> {
        self.is_kept()?;
        let place = self.lists.clone().try_acquire_owned();
        let place = place.map_err(|_| {
            Status::resource_exhausted(format!("more than {MOST_LISTS} lists at a time; try again"))
        })?;
        let list = self.board.borrow().list().cloned();
        let list = list.ok_or_else(|| Status::resource_exhausted("there are too many targets for a list"))?;
        Ok(Box::pin(stream::unfold(
            (list, place),
            async |(mut list, place)| {
                let piece = list.split_to(list.len().min(PIECE));
                (!piece.is_empty()).then(|| (Ok(Bytes::copy_from_slice(&piece)), (list, place)))
            },
        )))
    }

    /// The status now, and then each other one that it has when the client can take one.
    pub(super) fn watch(&self, service: String) -> Answers {
        // Not kept as long as the client likes.
        let service = (service.len() <= LONGEST_NAME).then_some(service);
        let begin = Some((self.board.clone(), None));
        Box::pin(stream::unfold(begin, move |state| {
            next_status(state, service.clone())
        }))
    }
}

/// Where a Watch is: the board, and the status that was sent last. `None`: it has ended.
type Watching = Option<(BoardReader, Option<ServingStatus>)>;

async fn next_status(
    watching: Watching,
    service: Option<String>,
) -> Option<(Result<Bytes, Status>, Watching)> {
    let (mut board, sent) = watching?;
    loop {
        let known = service
            .as_deref()
            .and_then(|service| board.borrow_and_update().status(service));
        let status = known.unwrap_or(ServingStatus::ServiceUnknown);
        if sent != Some(status) {
            return Some((Ok(message(status)), Some((board, Some(status)))));
        }
        if board.changed().await.is_err() {
            return Some((Err(stopping()), None));
        }
    }
}
