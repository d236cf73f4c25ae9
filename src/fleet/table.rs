//! The table of all SoCs: status, history and the running session of each. Only the fleet writes it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::fleet::reduce::Effect;
use crate::model::{History, Report, RoundRecord, SocStatus, Target, TargetId};
use crate::runtime::defect::Restarts;
use crate::soc::session::SessionId;

/// One SoC.
pub(super) struct Watched {
    pub(super) status: Arc<SocStatus>,
    /// Not part of the status: publishers keep statuses, and would keep a copy of the history with each.
    pub(super) history: Arc<History>,
    /// Sends the session a changed target that its channel can still serve.
    pub(super) target: watch::Sender<Target>,
    /// Aborting the task closes the connection.
    pub(super) task: AbortHandle,
    /// When the session began, or will begin after a wait.
    pub(super) began: Instant,
    pub(super) restarts: Restarts,
}

impl Watched {
    /// Changes the status. All changes go through here, so that every transition is added to the history.
    pub(super) fn change(
        &mut self,
        change: impl FnOnce(&mut SocStatus) -> Effect,
    ) -> (Arc<SocStatus>, Effect) {
        let effect = change(Arc::make_mut(&mut self.status));
        for transition in &effect.transitions {
            Arc::make_mut(&mut self.history).add_transition(transition);
        }
        (self.status.clone(), effect)
    }

    pub(super) fn add_round(&mut self, report: &Report, now: SystemTime) {
        let round = RoundRecord::new(report, self.status.channel.state, now);
        Arc::make_mut(&mut self.history).add_round(round, !report.is_all_answered());
    }
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct SocTable {
    entries: HashMap<SessionId, Watched>,
    by_id: HashMap<TargetId, SessionId>,
    /// Sorted by rack and port name, for snapshots.
    order: Vec<SessionId>,
    next_id: u64,
}

impl SocTable {
    /// An id that no other session has had.
    pub(super) fn new_session(&mut self) -> SessionId {
        let id = SessionId(self.next_id);
        self.next_id += 1;
        id
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &TargetId> {
        self.by_id.keys()
    }

    pub(super) fn of_session(&mut self, session: SessionId) -> Option<&mut Watched> {
        self.entries.get_mut(&session)
    }

    pub(super) fn get(&self, id: &TargetId) -> Option<&Watched> {
        self.by_id.get(id).and_then(|session| self.entries.get(session))
    }

    pub(super) fn get_mut(&mut self, id: &TargetId) -> Option<&mut Watched> {
        let session = self.by_id.get(id)?;
        self.entries.get_mut(session)
    }

    /// A new SoC appears in snapshots only after `sort`.
    pub(super) fn insert(&mut self, session: SessionId, entry: Watched) {
        self.by_id.insert(entry.status.target.id.clone(), session);
        self.entries.insert(session, entry);
    }

    pub(super) fn remove(&mut self, id: &TargetId) -> Option<(SessionId, Watched)> {
        let session = self.by_id.remove(id)?;
        Some((session, self.entries.remove(&session)?))
    }

    /// Gives the SoC of an ended session another session id. It keeps its place in the order.
    pub(super) fn change_session(&mut self, ended: SessionId, anew: SessionId) {
        let Some(entry) = self.entries.remove(&ended) else {
            return;
        };
        for place in self.order.iter_mut().filter(|place| **place == ended) {
            *place = anew;
        }
        self.insert(anew, entry);
    }

    /// Must be called after SoCs were inserted or removed.
    pub(super) fn sort(&mut self) {
        let mut by_name: Vec<_> = self.by_id.iter().collect();
        by_name.sort();
        self.order = by_name.into_iter().map(|(_, session)| *session).collect();
    }

    /// All statuses, sorted by rack and port name.
    pub(super) fn statuses(&self) -> Arc<[Arc<SocStatus>]> {
        let entries = self.order.iter().filter_map(|id| self.entries.get(id));
        entries.map(|entry| entry.status.clone()).collect()
    }
}
