//! What the database should hold, and what we know of what it does hold: the latest status of each port, no history.
//!
//! Takes in the fleet's changes, decides what to send next and reads the answers. No I/O: `state_db` carries the batches. Rows wait in
//! the order in which they changed, each at most once, so nothing here outgrows the number of ports. The states of a row:
//!
//! | a row is | until | and then |
//! |---|---|---|
//! | held: it changed too often | its turn comes; or a rewrite, its deletion, a stop | queued |
//! | queued | it is sent; at the first contact its counters are read before | in a batch |
//! | in a batch | Redis answers | as we left it; after a deletion, forgotten |
//! | | Redis does not answer, or refuses | queued: it may or may not have been carried out |
//! | as we left it | the fleet changes it | queued, or held |
//! | | it is doubted, looked at, and not as we left it | queued |
//!
//! Rows are held because linkmgrd reads each write: a port that flaps must not keep it awake. After some changes in a row, the row waits
//! for its turn and then has the status of that moment. Ours go on from the counters that were found, so that they grow across a restart.
//!
//! | file | job |
//! |---|---|
//! | batches | what is sent next |
//! | answers | what the replies make of the rows |
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

/// How many rows' counters are asked for, or how many rows deleted, at once: at most 150 bytes per DEL.
const SMALL: usize = 64;

/// Changes of one row that are written at once: a restart that flaps, and the rounds that follow.
const BURST: u32 = 10;
/// The time between two writes of one row in the long run, and the longest time that its last change waits.
const EVERY: Duration = Duration::from_millis(500);

/// One port's row.
#[derive(Debug)]
struct LedgerRow {
    /// What it should hold; `None`: the port is gone, delete it.
    status: Option<Arc<SocStatus>>,
    /// The counters found in the row at the first contact with it.
    base: Option<Counters>,
    /// What earlier sessions of this port counted: the port stayed, its status began anew.
    carried: Counters,
    /// The `time_post` that we expect to find there; `None`: whatever is there is the baseline.
    expected: Option<Vec<u8>>,
    /// Whether it waits to be written.
    queued: bool,
    /// When it is looked at, if it may no longer hold what we wrote.
    doubted: Option<Instant>,
    /// When another process' write was last found in it, and undone.
    repaired: Option<Instant>,
    pace: Bucket,
    /// Until when it is held, before it waits.
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
    /// Rows to be looked at, and when.
    doubts: BTreeSet<(Instant, Port)>,
    /// The row that was looked at last, of those that are looked at in turn.
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

    /// Whether there is nothing that should be in the database or be deleted from it.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many rows wait to be written or deleted.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// When the first of the rows may be written that are held; `None`: none is.
    pub(super) fn next_release(&self) -> Option<Instant> {
        self.held.first().map(|(at, _)| *at)
    }

    /// Takes in the fleet's changes.
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

    /// Lets those rows wait to be written that need not be held any longer.
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

    /// The same for all of them: there will be no more changes.
    pub(super) fn release_all(&mut self) {
        while let Some((_, port)) = self.held.first().cloned() {
            self.enqueue(port);
        }
    }

    /// After a new connection: every row is written again, whatever it may hold by now.
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
        // Kept for the case that the port comes back before its row could be deleted.
        if let Some(last) = self.status.take() {
            self.carried = self.carried.plus(Counters::own(&last));
        }
    }
}

#[cfg(test)]
mod tests;
