//! What the database should hold, and what we know of what it does hold: the latest status of each port, no history.
//!
//! Takes in the fleet's changes, says what to send next and reads the answers. No I/O: `state_db` carries the batches.
//! Rows wait in the order in which they changed, each at most once, so nothing here outgrows the number of ports.
//!
//! A port that flaps must not keep linkmgrd awake, which reads each write: after some changes in a row its row is *held* until
//! its turn, and then says what is true then. Only the fleet's changes are held: not a rewrite, a deletion or a stop.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use redis::{Cmd, FromRedisValue, RedisError, Value};

use super::batch::{Batch, BatchKind, Outcome};
use crate::config::StateDbSettings;
use crate::fleet::mailbox::Change;
use crate::model::{Port, SocStatus};
use crate::runtime::bucket::Bucket;
use crate::sonic::redis_link::{BATCH_BYTES, Reply, wire_size};
use crate::sonic::rows::{self, Counters};

/// How many rows' counters are asked for, or how many rows deleted, at once: at most 150 bytes per DEL.
const SMALL: usize = 64;

/// Changes of one row that are written at once: a restart that flaps, and the rounds that follow.
const BURST: u32 = 10;
/// From write to write of one row in the long run, and the longest that its last change waits.
const EVERY: Duration = Duration::from_millis(500);

/// One port's row.
#[derive(Debug)]
struct Row {
    /// What it should say; `None`: the port is gone, delete it.
    status: Option<Arc<SocStatus>>,
    /// The counters found in the row at the first contact with it.
    base: Option<Counters>,
    /// What earlier sessions of this port counted: the port stayed, its status began anew.
    carried: Counters,
    /// The `time_post` that we expect to find there; `None`: whatever is there is the baseline.
    expected: Option<Vec<u8>>,
    /// Whether it waits to be written.
    queued: bool,
    /// When it is to be looked at, if it may not say any more what we wrote.
    doubted: Option<Instant>,
    /// When somebody else's write was last found in it, and undone.
    repaired: Option<Instant>,
    pace: Bucket,
    /// Until when it is held, before it waits.
    held: Option<Instant>,
}

impl Default for Row {
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
    rows: BTreeMap<Port, Row>,
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

    /// Takes in what the fleet says.
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

    /// What to send next, with at most `max` rows in it; `None`: nothing waits.
    pub(super) fn next_batch(&mut self, max: usize, now: SystemTime) -> Option<Batch> {
        let first = self.front()?;
        if first.status.is_none() {
            return Some(self.delete_batch(max));
        }
        if first.base.is_none() {
            return Some(self.bases_batch());
        }
        Some(self.put_batch(max, now))
    }

    /// Returns a batch that was not answered: its rows wait again.
    pub(super) fn put_back(&mut self, batch: Batch) {
        for port in batch.ports {
            self.enqueue(port);
        }
    }

    /// Reads the answers to `batch`.
    pub(super) fn settle(&mut self, batch: Batch, replies: Vec<Reply>, now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        let mut replies = replies.into_iter();
        let mut next = || replies.next().unwrap_or(Ok(Value::Nil));
        let mut based = Vec::new();
        for port in batch.ports {
            match &batch.kind {
                BatchKind::Bases => match next() {
                    Ok(values) => based.push((port, values)),
                    Err(error) => self.refused_base(port, error, &mut outcome),
                },
                BatchKind::Check => self.settle_check(port, next(), now, &mut outcome),
                BatchKind::Put { time_post } => {
                    let (found, written) = (next(), next());
                    self.settle_put(port, time_post, found, written, &mut outcome);
                }
                BatchKind::Delete => match next() {
                    Ok(_) => {
                        outcome.ok += 1;
                        self.deleted(&port);
                    }
                    Err(error) => self.refused(port, error, &mut outcome),
                },
            }
        }
        // From the back, so that they keep their order at the head of the queue.
        for (port, values) in based.into_iter().rev() {
            self.settle_base(port, values);
        }
        outcome
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

    fn front(&self) -> Option<&Row> {
        self.queue.front().and_then(|port| self.rows.get(port))
    }

    fn pop(&mut self) -> Option<Port> {
        let port = self.queue.pop_front()?;
        if let Some(row) = self.rows.get_mut(&port) {
            row.queued = false;
        }
        Some(port)
    }

    fn key(&self, port: &Port) -> String {
        rows::row_key(&self.settings, port)
    }

    /// Takes the rows at the head of the queue that are `wanted`, at most `max`.
    fn take_while(&mut self, max: usize, wanted: fn(&Row) -> bool) -> Vec<Port> {
        let mut ports = Vec::new();
        while ports.len() < max
            && self.front().is_some_and(wanted)
            && let Some(port) = self.pop()
        {
            ports.push(port);
        }
        ports
    }

    fn bases_batch(&mut self) -> Batch {
        let mut batch = Batch::new(BatchKind::Bases);
        for port in self.take_while(SMALL, |row| row.status.is_some() && row.base.is_none()) {
            let mut read = redis::cmd("HMGET");
            read.arg(self.key(&port)).arg(&Counters::FIELDS);
            batch.add(port, [read]);
        }
        batch
    }

    fn delete_batch(&mut self, max: usize) -> Batch {
        let mut batch = Batch::new(BatchKind::Delete);
        for port in self.take_while(max.min(SMALL), |row| row.status.is_none()) {
            let mut delete = redis::cmd("DEL");
            delete.arg(self.key(&port));
            batch.add(port, [delete]);
        }
        batch
    }

    fn put_batch(&mut self, max: usize, now: SystemTime) -> Batch {
        let time_post = rows::time_post(now);
        let mut commands = Vec::new();
        let mut size = 0;
        for port in self.queue.iter().take(max) {
            let Some(pair) = self.put_commands(port, &time_post) else {
                break;
            };
            size += pair.iter().map(wire_size).sum::<usize>();
            if size > BATCH_BYTES && !commands.is_empty() {
                break;
            }
            commands.push(pair);
        }
        let mut batch = Batch::new(BatchKind::Put { time_post });
        for pair in commands {
            if let Some(port) = self.pop() {
                batch.add(port, pair);
            }
        }
        batch
    }

    /// No MULTI around the two: Redis runs what it read at one go without a break, and one HSET is a whole row.
    fn put_commands(&self, port: &Port, time_post: &str) -> Option<[Cmd; 2]> {
        let row = self.rows.get(port)?;
        let (status, base) = (row.status.as_ref()?, row.base?);
        let key = self.key(port);
        let mut find = redis::cmd("HGET");
        find.arg(&key).arg(rows::TIME_POST);
        let mut write = redis::cmd("HSET");
        write.arg(&key);
        let base = base.plus(row.carried);
        for (name, value) in rows::fields(status, self.settings.schema, base, time_post) {
            write.arg(name).arg(value.as_ref());
        }
        Some([find, write])
    }

    /// Forgets a row that is gone, unless the port has come back meanwhile.
    fn deleted(&mut self, port: &Port) {
        let gone = |row: &Row| row.status.is_none() && !row.queued;
        if self.rows.get(port).is_some_and(gone) {
            self.rows.remove(port);
        }
    }

    fn settle_base(&mut self, port: Port, values: Value) {
        let Some(row) = self.rows.get_mut(&port) else {
            return;
        };
        let values = Vec::<Option<Vec<u8>>>::from_redis_value(values).unwrap_or_default();
        row.base = Some(Counters::from_row(&values));
        if !row.queued {
            row.queued = true;
            self.queue.push_front(port);
        }
    }

    fn settle_put(
        &mut self,
        port: Port,
        time_post: &str,
        found: Reply,
        written: Reply,
        outcome: &mut Outcome,
    ) {
        if let Some(row) = self.rows.get_mut(&port) {
            if let Ok(Value::BulkString(found)) = &found {
                if row.expected.as_ref().is_some_and(|ours| ours != found) {
                    outcome.foreign.push(port.clone());
                }
                // Counted once, also where our own write is refused now.
                row.expected = Some(found.clone());
            }
            if written.is_ok() {
                row.expected = Some(time_post.into());
            }
        }
        match (written, found) {
            (Err(error), _) => self.refused(port, error, outcome),
            (Ok(_), found) => {
                outcome.ok += 1;
                // Without the right to read, a second writer stays hidden from us; the row is right all the same.
                let failure = found.err().filter(|error| error.code() != Some("NOPERM"));
                outcome.failure = outcome.failure.take().or(failure);
            }
        }
    }

    /// A key that is no hash holds no counters.
    fn refused_base(&mut self, port: Port, error: RedisError, outcome: &mut Outcome) {
        if error.code() == Some("WRONGTYPE")
            && let Some(row) = self.rows.get_mut(&port)
        {
            row.base = Some(Counters::default());
        }
        self.refused(port, error, outcome);
    }

    fn refused(&mut self, port: Port, error: RedisError, outcome: &mut Outcome) {
        outcome.refused += 1;
        if error.code() == Some("WRONGTYPE") {
            outcome.wrong_type = Some(port);
        } else {
            outcome.failure = Some(error);
            self.enqueue(port);
        }
    }
}

impl Row {
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

mod doubts;
#[cfg(test)]
mod tests;
