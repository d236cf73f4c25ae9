//! How much waits between the parts, for the view.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::fleet::FleetHandle;
use crate::fleet::mailbox::Backlog;
use crate::model::{Event, Notice, QueueLengths, QueueName, StateDbStatus};
use crate::soc::channel::DialLimiter;
use crate::soc::probe::RoundLimiter;
use crate::soc::session::{Pulses, SessionId};

/// Where it waits.
#[derive(Debug, Clone, Default)]
pub(super) struct Queues {
    /// Weak: when the sessions have gone, the fleet must see that.
    pub(super) events: Option<mpsc::WeakSender<(SessionId, Event)>>,
    pub(super) rows: Vec<Backlog>,
    pub(super) notices: Vec<Backlog<Notice>>,
    pub(super) rounds: Arc<RoundLimiter>,
    pub(super) dials: Arc<DialLimiter>,
    /// What each session is doing.
    pub(super) pulses: Arc<Pulses>,
}

impl Queues {
    pub(super) fn lengths(&self, fleet: &FleetHandle, state_db: Option<&StateDbStatus>) -> QueueLengths {
        let mut lengths = QueueLengths::default();
        let events = self.events.as_ref().and_then(mpsc::WeakSender::upgrade);
        let events = events.map_or(0, |events| events.max_capacity() - events.capacity());
        let rows: usize = self.rows.iter().map(Backlog::waiting).sum();
        let notices: usize = self.notices.iter().map(Backlog::waiting).sum();
        // Those that a publisher has taken wait there until Redis has them.
        let taken = state_db.map_or(0, |status| status.rows_waiting);
        for (queue, length) in [
            (QueueName::Events, events as u64),
            (QueueName::Questions, fleet.questions_waiting() as u64),
            (QueueName::Rows, rows as u64 + taken),
            (QueueName::Notices, notices as u64),
            (QueueName::Rounds, self.rounds.waiting()),
            (QueueName::Dials, self.dials.waiting(Instant::now())),
        ] {
            lengths[queue.index()] = length;
        }
        lengths
    }
}
