//! What the database should contain, and what we know of its content: the latest status of each port, no history.
//!
//! It takes the fleet's changes, decides what to send next, and reads the answers. No I/O: `state_db` carries the batches. Rows
//! wait in the order in which they changed, each at most once, so nothing here grows beyond the number of ports. The states of
//! a row:
//!
//! | a row is | until | and then |
//! |---|---|---|
//! | held: it changed too often | its turn comes; or a rewrite, its deletion, a stop | queued |
//! | queued | it is sent; at first contact its counters are read before that | in a batch |
//! | in a batch | Redis answers | as we left it; after a deletion, forgotten |
//! | | Redis does not answer, or refuses | queued: it may or may not have been written |
//! | as we left it | the fleet changes it | queued, or held |
//! | | it may have changed, is checked, and has changed | queued |
//!
//! Rows are held because linkmgrd reads each write: a port that flaps must not keep it busy. After several changes in a row,
//! the row waits for its turn and then has the status of that moment. Counters continue from those that were found in the row,
//! so that they grow across a restart.
//!
//! Imports `model`, `runtime`, `config` and `fleet`; in `sonic` `redis_link` and `rows`, in `state_db` `batch`.
//!
//! | file | job |
//! |---|---|
//! | batches | what is sent next |
//! | answers | what the replies mean for the rows |
//! | doubts | rows that another process may have changed |

mod answers;
mod batches;
mod doubts;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::{Batch, BatchKind, Outcome};
use crate::config::StateDbSettings;
use crate::fleet::mailbox::Change;
use crate::model::{Port, SocStatus};
use crate::runtime::bucket::Bucket;
use crate::sonic::redis_link::{BATCH_BYTES, Reply, wire_size};
use crate::sonic::rows::Counters;

/// How many rows are checked, deleted, or asked for their counters at once. A DEL takes at most 150 bytes, so the DELs
/// fit into `BATCH_BYTES`.
const SMALL: usize = 64;

/// Changes of one row that are written at once: a restart that flaps, and the rounds that follow.
const BURST: u32 = 10;
/// The time between two writes of one row in the long run, and the longest time that its last change waits.
const EVERY: Duration = Duration::from_millis(500);

/// One port's row.
#[derive(Debug)]
struct LedgerRow {
    /// What it should contain. `None`: the port is gone, so the row must be deleted.
    status: Option<Arc<SocStatus>>,
    /// The counters that were found in the row at first contact.
    base: Option<Counters>,
    /// What earlier sessions of this port counted: the port stayed, but its status started again.
    carried: Counters,
    /// The `time_post` that we expect to find. `None`: whatever is found is accepted.
    expected: Option<Vec<u8>>,
    /// Whether it waits to be written.
    queued: bool,
    /// When it is checked, if it may no longer contain what we wrote.
    doubted: Option<Instant>,
    /// When another process' write was last found and corrected.
    repaired: Option<Instant>,
    pace: Bucket,
    /// Until when it is held before it is queued.
    held: Option<Instant>,
}

impl Default for LedgerRow {
    fn default() -> Self {
        Self {
            status: None,
            base: None,
            carried: Counters::default(),
            expected: None,
            queued: false,
            doubted: None,
            repaired: None,
            pace: Bucket::new(BURST, EVERY),
            held: None,
        }
    }
}

/// All rows.
#[derive(Debug)]
pub(super) struct Ledger {
    settings: Arc<StateDbSettings>,
    rows: BTreeMap<Port, LedgerRow>,
    queue: VecDeque<Port>,
    /// Rows to check, and when.
    doubts: BTreeSet<(Instant, Port)>,
    /// The last row that was checked in turn.
    turn: Option<Port>,
    /// Which rows are held, and until when.
    held: BTreeSet<(Instant, Port)>,
}

impl Ledger {
    pub(super) fn new(settings: Arc<StateDbSettings>) -> Self {
        Self {
            settings,
            rows: BTreeMap::new(),
            queue: VecDeque::new(),
            doubts: BTreeSet::new(),
            turn: None,
            held: BTreeSet::new(),
        }
    }

    /// Whether there is no row: none that should be in the database, and none to delete.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many rows wait to be written or deleted.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// When the first held row may be written. `None`: no row is held.
    pub(super) fn next_release(&self) -> Option<Instant> {
        self.held.first().map(|(at, _)| *at)
    }

    /// Takes the fleet's changes.
    pub(super) fn absorb(&mut self, changes: HashMap<Port, Change>, now: Instant) {
        for (port, change) in changes {
            let row = self.rows.entry(port.clone()).or_default();
            match change {
                Change::Put(status) => {
                    row.put(status);
                    if row.queued || row.held.is_some() {
                        continue;
                    }
                    let at = row.pace.next(now);
                    if at > now {
                        row.held = Some(at);
                        self.held.insert((at, port));
                        continue;
                    }
                    row.pace.spend(now);
                }
                Change::Remove => row.leave(),
            }
            self.enqueue(port);
        }
    }

    /// Queues the held rows whose turn has come.
    pub(super) fn release(&mut self, now: Instant) {
        while let Some((at, port)) = self.held.first().cloned()
            && at <= now
        {
            if let Some(row) = self.rows.get_mut(&port) {
                row.pace.spend(now);
            }
            self.enqueue(port);
        }
    }

    /// Queues all held rows: there will be no more changes.
    pub(super) fn release_all(&mut self) {
        while let Some((_, port)) = self.held.first().cloned() {
            self.enqueue(port);
        }
    }

    /// After a new connection: every row is written again, whatever it contains now.
    pub(super) fn rewrite_all(&mut self) {
        for row in self.rows.values_mut() {
            row.expected = None;
        }
        for port in self.rows.keys().cloned().collect::<Vec<_>>() {
            self.enqueue(port);
        }
    }

    fn enqueue(&mut self, port: Port) {
        let Some(row) = self.rows.get_mut(&port) else {
            return;
        };
        if let Some(at) = row.held.take() {
            self.held.remove(&(at, port.clone()));
        }
        if !row.queued {
            row.queued = true;
            self.queue.push_back(port);
        }
    }

    fn front(&self) -> Option<&LedgerRow> {
        self.queue.front().and_then(|port| self.rows.get(port))
    }

    fn pop(&mut self) -> Option<Port> {
        let port = self.queue.pop_front()?;
        if let Some(row) = self.rows.get_mut(&port) {
            row.queued = false;
        }
        Some(port)
    }
}

impl LedgerRow {
    fn put(&mut self, status: Arc<SocStatus>) {
        if let Some(last) = &self.status {
            let counted = Counters::own(last);
            if Counters::own(&status).restarted_since(counted) {
                self.carried = self.carried.plus(counted);
            }
        }
        self.status = Some(status);
    }

    fn leave(&mut self) {
        // Kept in case the port comes back before its row could be deleted.
        if let Some(last) = self.status.take() {
            self.carried = self.carried.plus(Counters::own(&last));
        }
    }
}

#[cfg(test)]
mod tests;
